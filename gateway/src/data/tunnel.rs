//! A connection that is no longer HTTP: after `101 Switching Protocols` bytes go both ways until
//! either end is done.

use std::rc::Rc;

use http::{HeaderMap, HeaderValue, Response, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy_bidirectional};

use super::{body::Answer, pool::Lease, record::Underway, worker::Worker};

/// Let the client change to the protocol that the plugin has agreed to. `None` when there is
/// nothing to change: the client did not ask for it.
pub fn open(
    worker: &Rc<Worker>,
    client: Option<OnUpgrade>,
    protocol: &HeaderValue,
    response: Response<Incoming>,
    lease: Lease,
    underway: Underway,
) -> Option<Response<Answer>> {
    let client = client?;
    let (mut head, _) = response.into_parts();
    let open = worker.connections.enter(worker.shared.connections.go_on());
    tokio::task::spawn_local(async move {
        let label = underway.plugin_label();
        if let Err(error) = carry(client, lease).await {
            tracing::debug!(plugin = %label, %error, "tunnel broke");
        }
        drop((open, underway));
    });
    set_upgrade(&mut head.headers, protocol.clone());
    Some(Response::from_parts(head, Answer::empty()))
}

/// Say on this connection that the protocol changes.
pub fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

async fn carry(client: OnUpgrade, mut lease: Lease) -> Result<(), Box<dyn std::error::Error>> {
    let mut client = TokioIo::new(client.await?);
    let Some((mut plugin, early)) = lease.take_link().and_then(super::pool::Link::into_tunnel) else {
        return Err("the plugin closed the connection".into());
    };
    client.write_all(&early).await?;
    copy_bidirectional(&mut client, &mut plugin).await?;
    Ok(())
}
