//! Which replica acts: the one that holds the Lease, as client-go's leader election has it. Every
//! write of the Lease names the version that it was decided from, so of two replicas that reach for
//! it one is refused; and no clock is compared with another machine's.
//!
//! What the API server has not confirmed is not relied on: a holder stops acting [`MARGIN`] before
//! another one can take over, and what it sent before and nobody received is thrown away within that
//! time ([`connect`](crate::connect)).

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout_at},
};

use crate::metrics::LeaseCounters;

/// How long the Lease holds without renewal. A replica that dies is followed within it and a
/// [`LOOK`].
const DURATION: Duration = Duration::from_secs(4);
/// How long before the end of its Lease a holder stops acting.
pub const MARGIN: Duration = Duration::from_secs(1);
/// The time between two renewals, and how long one may take.
const RENEW: Duration = Duration::from_secs(1);
/// The time between two looks of a replica that does not hold the Lease, and after a failure.
const LOOK: Duration = Duration::from_millis(500);

/// Until when a replica may act; none for one that does not lead. The time may have passed: a process
/// that was stopped and goes on does not know of it before it looks.
pub type Mandate = watch::Receiver<Option<Instant>>;

/// Whether a replica may act at this moment.
pub fn may_act(mandate: &Option<Instant>) -> bool {
    mandate.is_some_and(|end| Instant::now() < end)
}

/// The search for the Lease, and the way to let go.
pub struct Leadership {
    pub mandate: Mandate,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Leadership {
    /// Start to seek the Lease. `client` must not retry by itself: a renewal that comes late is
    /// worse than one that fails.
    pub fn seek(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        counters: LeaseCounters,
    ) -> Self {
        let (name, identity) = (name.to_owned(), identity.to_owned());
        let candidate = Candidate { api: Api::namespaced(client, namespace), name, identity, seen: None };
        let (sender, mandate) = watch::channel(None);
        let (stop, stopped) = oneshot::channel();
        Self { mandate, stop, task: tokio::spawn(seek(candidate, sender, stopped, counters)) }
    }

    /// Let the Lease go, so that another replica takes over at once.
    pub async fn release(self) -> Result<()> {
        drop(self.stop);
        self.task.await.context("join the search for the lease")?
    }
}

/// Take and renew the Lease, and publish until when it may be relied on, until told to stop.
async fn seek(
    mut candidate: Candidate,
    mandate: watch::Sender<Option<Instant>>,
    mut stop: oneshot::Receiver<()>,
    counters: LeaseCounters,
) -> Result<()> {
    let mut until: Option<Instant> = None;
    loop {
        let asked = Instant::now();
        // While this replica leads, a question must not outlast its right to.
        let patience = until.filter(|end| *end > asked).unwrap_or(asked + RENEW).min(asked + RENEW);
        let held = tokio::select! {
            _ = &mut stop => break,
            held = timeout_at(patience, candidate.reach()) => held,
        };
        let next = match held {
            Ok(Ok(true)) => {
                counters.renewals.inc();
                until = Some(asked + DURATION.saturating_sub(MARGIN));
                asked + RENEW
            }
            Ok(Ok(false)) => {
                until = None;
                asked + LOOK
            }
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the lease was not confirmed");
                counters.failures.inc();
                asked + LOOK
            }
            Err(_) => {
                counters.failures.inc();
                Instant::now()
            }
        };
        until = until.filter(|_| may_act(&until));
        mandate.send_if_modified(|published| std::mem::replace(published, until) != until);
        tokio::select! {
            _ = &mut stop => break,
            () = sleep_until(next) => {}
        }
    }
    mandate.send_replace(None);
    candidate.release().await
}

/// A replica that wants the Lease.
struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// The Lease as it was last seen, and when it was first seen so.
    seen: Option<(Lease, Instant)>,
}

impl Candidate {
    /// Renew the Lease, or take it where nobody holds it. Whether it is this replica's then.
    async fn reach(&mut self) -> Result<bool, kube::Error> {
        // Forgotten unless the answer comes: what a call without one has done is not known.
        let before = self.seen.take();
        let (lease, since) = match before {
            Some((lease, since)) if self.holds(&lease) => (lease, since),
            before => self.look(before).await?,
        };
        if !self.holds(&lease) && !is_free(&lease, since.elapsed()) {
            self.seen = Some((lease, since));
            return Ok(false);
        }
        match self.api.replace(&self.name, &PostParams::default(), &self.claim(lease)).await {
            Ok(lease) => {
                self.seen = Some((lease, Instant::now()));
                Ok(true)
            }
            // Somebody else was faster.
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The Lease as it is, and since when it is known to be so.
    async fn look(&self, before: Option<(Lease, Instant)>) -> Result<(Lease, Instant), kube::Error> {
        let now = match self.api.get_opt(&self.name).await? {
            Some(lease) => lease,
            None => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                let lease = Lease { metadata, ..Lease::default() };
                self.api.create(&PostParams::default(), &lease).await?
            }
        };
        Ok(match before {
            Some((lease, since)) if lease.spec == now.spec => (now, since),
            _ => (now, Instant::now()),
        })
    }

    fn holds(&self, lease: &Lease) -> bool {
        holder(lease) == Some(&self.identity)
    }

    /// The Lease with this replica as its holder, renewed now.
    fn claim(&self, mut lease: Lease) -> Lease {
        let (ours, now) = (self.holds(&lease), MicroTime(Timestamp::now()));
        let spec = lease.spec.take().unwrap_or_default();
        let changes = spec.lease_transitions.unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            acquire_time: spec.acquire_time.filter(|_| ours).or_else(|| Some(now.clone())),
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            lease_transitions: Some(if ours { changes } else { changes + 1 }),
            renew_time: Some(now),
            ..spec
        });
        lease
    }

    /// Take this replica's name off the Lease, if it stands there.
    async fn release(&self) -> Result<()> {
        let Some(mut lease) = self.api.get_opt(&self.name).await.context("read the lease")? else {
            return Ok(());
        };
        if !self.holds(&lease) {
            return Ok(());
        }
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        match self.api.replace(&self.name, &PostParams::default(), &lease).await {
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
            result => result.map(drop).context("release the lease"),
        }
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

/// Whether a Lease that has stood as it is for `unchanged` can be taken. A holder of another release
/// may have written another duration than ours.
fn is_free(lease: &Lease, unchanged: Duration) -> bool {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let duration =
        seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION, Duration::from_secs);
    holder(lease).is_none() || unchanged >= duration
}

#[cfg(test)]
mod tests;
