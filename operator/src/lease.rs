//! Which replica acts. A lease manager takes and renews the Lease; because it does not tell when
//! the API server stops answering, a probe reads the Lease too, and a replica stops acting
//! [`MARGIN`] before the last renewal that it saw there runs out: before another one may start.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::{
    api::coordination::v1::Lease,
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, Client};
use kube_lease_manager::LeaseManagerBuilder;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, interval, timeout},
};

use crate::metrics::LeaseCounters;

/// How long the Lease holds without renewal, in seconds.
const DURATION: u64 = 20;
/// How long before its end the Lease is renewed, in seconds: an API server that is away for ten
/// seconds does not cost the Lease.
const GRACE: u64 = 12;
/// How long before the Lease's end its holder stops acting: more than a probe and the difference
/// of two machines' clocks take.
const MARGIN: Duration = Duration::from_secs(2);
/// The time between two probes, and how long one may take.
const PROBE: Duration = Duration::from_secs(1);

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
    pub async fn seek(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        counters: LeaseCounters,
    ) -> Result<Self> {
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
        let probe = tokio::spawn(probe(lease, name.to_owned(), identity.to_owned(), held, sender, counters));
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

/// Publish "leading" while the manager says so and the Lease that was last seen is ours and holds.
async fn probe(
    lease: Api<Lease>,
    name: String,
    identity: String,
    mut held: watch::Receiver<bool>,
    leading: watch::Sender<bool>,
    counters: LeaseCounters,
) {
    let mut ticks = interval(PROBE);
    let mut holds_until: Option<Instant> = None;
    let mut renewed = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = held.changed() => if changed.is_err() { return },
        }
        let asked = Instant::now();
        if let Ok(Ok(lease)) = timeout(PROBE, lease.get(&name)).await {
            holds_until = remaining(&lease, &identity, Timestamp::now()).map(|left| asked + left);
            let renewal = holds_until.and(lease.spec.and_then(|spec| spec.renew_time));
            if renewal.is_some() && renewal != renewed {
                counters.renewals.inc();
                renewed = renewal;
            }
        } else {
            counters.failed_probes.inc();
        }
        let ours = *held.borrow() && holds_until.is_some_and(|end| Instant::now() < end);
        leading.send_if_modified(|leading| std::mem::replace(leading, ours) != ours);
    }
}

/// How long the holder may go on acting; none for who does not hold the Lease.
fn remaining(lease: &Lease, identity: &str, now: Timestamp) -> Option<Duration> {
    let spec = lease.spec.as_ref()?;
    if spec.holder_identity.as_deref() != Some(identity) {
        return None;
    }
    let age = now.duration_since(spec.renew_time.as_ref()?.0);
    let left = SignedDuration::try_from(Duration::from_secs(DURATION) - MARGIN).ok()? - age;
    Duration::try_from(left).ok()
}

#[cfg(test)]
mod tests {
    use http::{Request, Response, StatusCode};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// An API server that knows the holder until it fails.
    async fn serve(holder: &'static str, answers: u32) -> (watch::Receiver<bool>, watch::Sender<bool>) {
        let (leading, held, _) = serve_counted(holder, answers).await;
        (leading, held)
    }

    async fn serve_counted(
        holder: &'static str,
        answers: u32,
    ) -> (watch::Receiver<bool>, watch::Sender<bool>, LeaseCounters) {
        let (service, mut server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let lease = Api::<Lease>::namespaced(Client::new(service, "system"), "system");
        let (held, is_held) = watch::channel(true);
        let (leading, is_leading) = watch::channel(false);
        let counters = LeaseCounters::default();
        let (name, identity) = ("lease".to_owned(), "me".to_owned());
        tokio::spawn(probe(lease, name, identity, is_held, leading, counters.clone()));
        tokio::spawn(async move {
            let (mut count, begin) = (0, Timestamp::now());
            while let Some((_, send)) = server.next_request().await {
                count += 1;
                // Renewed between every second answer and the next.
                let renewed = MicroTime(begin + SignedDuration::from_micros(i64::from(count / 2)));
                let spec = json!({"holderIdentity": holder, "renewTime": renewed});
                let body = json!({"metadata": {"name": "lease"}, "spec": spec});
                let status = if count <= answers { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                let body = Body::from(serde_json::to_vec(&body).unwrap());
                send.send_response(Response::builder().status(status).body(body).unwrap());
            }
        });
        (is_leading, held, counters)
    }

    #[tokio::test(start_paused = true)]
    async fn stops_acting_before_an_unconfirmed_lease_can_be_taken() {
        let (mut leading, _held) = serve("me", 3).await;
        leading.wait_for(|leading| *leading).await.unwrap();
        let begin = Instant::now();
        leading.wait_for(|leading| !leading).await.unwrap();
        // Three answers came, a probe apart; the Lease that the last one showed ends after DURATION.
        let end = PROBE * 2 + Duration::from_secs(DURATION);
        assert!(begin.elapsed() < end - PROBE, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn counts_renewals_of_its_own_and_reads_without_an_answer() {
        let (mut leading, _held, counters) = serve_counted("me", 3).await;
        leading.wait_for(|leading| *leading).await.unwrap();
        leading.wait_for(|leading| !leading).await.unwrap();
        assert_eq!(counters.renewals.get(), 2, "three answers showed two renewals");
        assert!(counters.failed_probes.get() > 3, "{}", counters.failed_probes.get());
    }

    #[test]
    fn what_is_left_counts_from_the_last_renewal() {
        let renewed = Timestamp::from_second(1_800_000_000).unwrap();
        let lease = |holder: &str| -> Lease {
            let spec = json!({"holderIdentity": holder, "renewTime": MicroTime(renewed)});
            serde_json::from_value(json!({"spec": spec})).unwrap()
        };
        let after = |seconds| renewed + SignedDuration::from_secs(seconds);
        assert_eq!(remaining(&lease("me"), "me", after(8)), Some(Duration::from_secs(10)));
        assert_eq!(remaining(&lease("me"), "me", after(30)), None);
        assert_eq!(remaining(&lease("another"), "me", after(0)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_act_on_the_lease_of_another() {
        let (mut leading, _held) = serve("another", u32::MAX).await;
        let waited = timeout(Duration::from_secs(60), leading.wait_for(|leading| *leading)).await;
        assert!(waited.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn stops_acting_when_the_manager_lets_go() {
        let (mut leading, held) = serve("me", u32::MAX).await;
        leading.wait_for(|leading| *leading).await.unwrap();
        held.send_replace(false);
        timeout(PROBE, leading.wait_for(|leading| !leading)).await.unwrap().unwrap();
    }
}
