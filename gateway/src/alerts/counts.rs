//! What is counted of alerts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sent {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// What is counted of alerts.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    firing: Gauge,
    waiting: Gauge,
    sent: Family<Sent, Counter>,
    dropped: Family<Kind, Counter>,
}

/// How many alerts one receiver waits for, among all; none any more when it is dropped.
#[derive(Debug)]
pub struct Waiting {
    all: Gauge,
    own: i64,
}

impl Counts {
    pub fn register(self, registry: &mut Registry) {
        let Self { firing, waiting, sent, dropped } = self;
        registry.register("alerts_firing", "Alerts of the namespaces that this replica tells of", firing);
        let help = "Alerts of which receivers do not have the newest state yet, each receiver's counted";
        registry.register("alerts_waiting", help, waiting);
        let help = "Messages to receivers of alerts by their kind and outcome";
        registry.register("alerts_notifications", help, sent);
        let help = "Alerts that a receiver is not told of for want of room, by its kind";
        registry.register("alerts_dropped", help, dropped);
    }

    /// So many alerts are on.
    pub fn firing(&self, count: usize) {
        self.firing.set(whole(count));
    }

    /// A message has arrived or not.
    pub fn sent(&self, kind: &'static str, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        self.sent.get_or_create(&Sent { kind, outcome }).inc();
    }

    /// There was no room for alerts.
    pub fn dropped(&self, kind: &'static str, count: usize) {
        self.dropped.get_or_create(&Kind { kind }).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// One more receiver.
    pub fn waiting(&self) -> Waiting {
        Waiting { all: self.waiting.clone(), own: 0 }
    }
}

impl Waiting {
    /// It waits for so many alerts now.
    pub fn set(&mut self, count: usize) {
        let count = whole(count);
        self.all.inc_by(count - self.own);
        self.own = count;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.set(0);
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
