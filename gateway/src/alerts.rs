//! Tells receivers of alerts what is wrong with plugins.
//!
//! Owns the way to the receivers. Refuses to own what is wrong, which follows from the plugins' status,
//! and when what is to be told, which is decided in `plan`. Each receiver is a task of its own, so that
//! one that does not answer keeps nothing from the others. The alerts of a namespace are told by one
//! replica; another one that takes over finds the same alerts in the API.

pub mod counts;
pub mod post;
pub mod receiver;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use forward_crds::AlertReceiver;
use forward_plan::alerts::{Alert, Key};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::{sync::watch, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use self::{counts::Counts, post::Poster, receiver::Receiver};
use crate::{
    control::{index::Handle, watchlist::Watched},
    events::Events,
};

/// How often it is looked what is wrong.
const LOOK: Duration = Duration::from_millis(500);

/// What is to be told to a receiver, as long as it is.
pub type Firing = Arc<BTreeMap<Key, Alert>>;

/// A receiver that is told.
struct Telling {
    spec: AlertReceiver,
    system: String,
    firing: watch::Sender<Firing>,
    _task: AbortOnDropHandle<()>,
}

/// Tell what is wrong until dropped.
pub async fn run(index: Handle, poster: Poster, counts: Counts, events: Events) {
    let mut tellings = BTreeMap::<(String, String), Telling>::new();
    loop {
        let watched = index.lock().watched();
        let now = Timestamp::now();
        let mut present = Vec::new();
        let mut count = 0;
        for namespace in &watched {
            let firing = firing(namespace, now);
            count += firing.len();
            for spec in &namespace.alerts.receivers {
                let key = (namespace.namespace.clone(), spec.name.clone());
                let wanted = firing.iter().filter(|(key, _)| spec.wants(key.name));
                let wanted: Firing = Arc::new(wanted.map(|(key, it)| (key.clone(), it.clone())).collect());
                let same = tellings.get(&key).filter(|it| it.spec == *spec && it.system == namespace.uid);
                match same {
                    Some(telling) => {
                        telling.firing.send_if_modified(|current| {
                            let differs = *current != wanted;
                            *current = wanted.clone();
                            differs
                        });
                    }
                    None => {
                        let (firing, wrong) = watch::channel(wanted);
                        let about = events.about_system(&namespace.namespace, &namespace.uid);
                        let receiver = Receiver::new(spec, about, poster.clone(), counts.clone());
                        let Some(receiver) = receiver else { continue };
                        let task = AbortOnDropHandle::new(tokio::spawn(receiver.run(wrong)));
                        let (spec, system) = (spec.clone(), namespace.uid.clone());
                        tellings.insert(key.clone(), Telling { spec, system, firing, _task: task });
                    }
                }
                present.push(key);
            }
        }
        tellings.retain(|key, _| present.contains(key));
        counts.firing(count);
        sleep(LOOK).await;
    }
}

/// What has been wrong for long enough.
fn firing(watched: &Watched, now: Timestamp) -> BTreeMap<Key, Alert> {
    let hold = SignedDuration::try_from(watched.alerts.hold().get()).unwrap_or(SignedDuration::MAX);
    let due = watched.raised.iter().filter(|alert| alert.is_due(hold, now));
    due.map(|alert| (alert.key.clone(), alert.clone())).collect()
}
