//! Whether what a warning rests on is still so. The index follows the API server by some milliseconds,
//! and `kubectl apply` of several objects is as fast: what was applied just before must not be
//! called missing.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use forward_crds::Plugin;
use forward_plan::{Cause, Hindrance, Warning};
use futures::future::join_all;
use kube::{Api, Client, ResourceExt};
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Reviewer,
    review::{Foreseen, Judgement},
};
use crate::index::lock;

/// How many dependencies are asked for: the API server is not to be burdened by who makes mistakes.
const ASKED: usize = 8;
/// How long the API server may take to answer, and then the watch to bring what it knows.
const PATIENCE: Duration = Duration::from_millis(500);

/// Looks again before it warns.
#[derive(Clone)]
pub struct Confirmer {
    pub client: Client,
    /// Told whenever the index changes.
    pub changed: Arc<Notify>,
}

impl Confirmer {
    /// The judgement again, once the index knows what the API server knows of the dependencies that
    /// are warned about.
    pub async fn confirm(&self, reviewer: &Reviewer, foreseen: Foreseen) -> Judgement {
        let namespace = foreseen.prospect.manifest.namespace().unwrap_or_default();
        let api = Api::<Plugin>::namespaced(self.client.clone(), &namespace);
        let known = |name: &str| {
            let plugin = lock(&reviewer.index).plugin(&namespace, name);
            plugin.and_then(|plugin| plugin.resource_version())
        };
        if !is_name(&namespace) {
            return Judgement::Foreseen(foreseen);
        }
        let asked: Vec<_> =
            doubtful(&foreseen.warnings).into_iter().map(|name| (known(&name), name)).collect();
        let calls = asked.iter().map(|(_, name)| timeout(PATIENCE, api.get_metadata_opt(name)));
        let mut behind = Vec::new();
        for ((before, name), answer) in asked.iter().zip(join_all(calls).await) {
            // What can not be asked can not be heard of either.
            let Ok(Ok(there)) = answer else { continue };
            if there.and_then(|there| there.resource_version()) != *before {
                behind.push((before, name));
            }
        }
        if behind.is_empty() {
            return Judgement::Foreseen(foreseen);
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let changed = self.changed.notified();
            if behind.iter().all(|(before, name)| known(name) != **before)
                || timeout_at(end, changed).await.is_err()
            {
                return reviewer.foresee(foreseen.prospect);
            }
        }
    }
}

/// Dependencies that are warned about for what they are themselves.
fn doubtful(warnings: &[Warning]) -> BTreeSet<String> {
    let names = warnings.iter().filter_map(|warning| match warning {
        Warning::Dependency(obstacle) => match obstacle.hindrance {
            Hindrance::Direct(Cause::Failed(_) | Cause::Cycle | Cause::Held) => None,
            Hindrance::Direct(_) => Some(obstacle.name.clone()),
            Hindrance::Indirect { .. } | Hindrance::OnItsWay => None,
        },
        _ => None,
    });
    names.filter(|name| is_name(name)).take(ASKED).collect()
}

/// Names become part of a request's path, and it is not only the API server that can send a review.
fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_plain)
}
