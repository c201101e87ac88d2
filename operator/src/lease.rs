//! Which replica acts. A lease manager takes and renews the Lease; because it does not tell when
//! the API server stops answering, a probe reads the Lease too, and a replica that has not seen
//! its own name there for [`FENCE`] stops acting before another one may start.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_lease_manager::LeaseManagerBuilder;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, interval, timeout},
};

/// How long the Lease holds without renewal, in seconds.
const DURATION: u64 = 15;
/// How long before its end the Lease is renewed, in seconds.
const GRACE: u64 = 5;
/// A replica that has not confirmed its Lease for this long stops acting. Less than [`DURATION`]
/// by more than a probe and the clocks' difference take.
const FENCE: Duration = Duration::from_secs(10);
/// The time between two probes, and how long one may take.
const PROBE: Duration = Duration::from_secs(2);

/// Whether this replica leads, and the way to let go.
pub struct Leadership {
    /// True while this replica may act.
    pub leading: watch::Receiver<bool>,
    manager: JoinHandle<Result<kube_lease_manager::LeaseManager, kube_lease_manager::LeaseManagerError>>,
    probe: JoinHandle<()>,
}

impl Leadership {
    /// Start to seek the Lease. `client` must not retry by itself: a renewal that comes late is
    /// worse than one that fails.
    pub async fn seek(client: Client, namespace: &str, name: &str, identity: &str) -> Result<Self> {
        let lease = Api::<Lease>::namespaced(client.clone(), namespace);
        let manager = LeaseManagerBuilder::new(client, name)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_field_manager(format!("forward-operator-{identity}"))
            .with_duration(DURATION)
            .with_grace(GRACE)
            .build()
            .await
            .with_context(|| format!("set up lease {namespace}/{name}"))?;
        let (held, manager) = manager.watch().await;
        let (sender, leading) = watch::channel(false);
        let probe = tokio::spawn(probe(lease, name.to_owned(), identity.to_owned(), held, sender));
        Ok(Self { leading, manager, probe })
    }

    /// Let the Lease go, so that another replica takes over at once.
    pub async fn release(self) -> Result<()> {
        self.probe.abort();
        // The probe holds the manager's only receiver: with it gone, the manager releases and ends.
        self.probe.await.ok();
        self.manager.await.context("join the lease manager")?.context("release the lease")?;
        Ok(())
    }
}

/// Publish "leading" while the manager says so and the Lease was seen to be ours lately.
async fn probe(
    lease: Api<Lease>,
    name: String,
    identity: String,
    mut held: watch::Receiver<bool>,
    leading: watch::Sender<bool>,
) {
    let mut ticks = interval(PROBE);
    let mut confirmed: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = held.changed() => if changed.is_err() { return },
        }
        let asked = Instant::now();
        if let Ok(Ok(lease)) = timeout(PROBE, lease.get(&name)).await {
            let holder = lease.spec.and_then(|spec| spec.holder_identity);
            confirmed = (holder.as_deref() == Some(identity.as_str())).then_some(asked);
        }
        let ours = *held.borrow() && confirmed.is_some_and(|at| at.elapsed() < FENCE);
        leading.send_if_modified(|leading| std::mem::replace(leading, ours) != ours);
    }
}
