//! Tells receivers of alerts what is wrong with plugins.
//!
//! Owns the way to the receivers. Refuses to own what is wrong, which follows from the plugins' status,
//! and when what is to be told, which is decided in `plan`. Each receiver is a task of its own, so that
//! one that does not answer keeps nothing from the others. The alerts of a namespace are told by one
//! replica; another one that takes over finds the same alerts in the API.

pub mod counts;
pub mod post;
pub mod receiver;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use forward_plan::alerts::{self, Alert, Key, outbox::Terms};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::{sync::watch, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use self::{
    counts::Counts,
    post::Poster,
    receiver::{Place, Receiver},
};
use crate::{
    control::{index::Handle, watchlist::Watched},
    events::Events,
};

/// How often it is looked what is wrong.
const LOOK: Duration = Duration::from_millis(500);

/// What is wrong, for as long as it is to be told.
type Firing = BTreeMap<Key, Alert>;

/// What a receiver is to be told, and by which terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub terms: Terms,
    pub firing: Arc<Firing>,
}

/// A receiver that is told. It stays the same under other terms, as it has been told things.
struct Telling {
    place: Place,
    system: String,
    wanted: watch::Sender<Wanted>,
    _task: AbortOnDropHandle<()>,
}

/// Tell what is wrong until dropped.
pub async fn run(index: Handle, poster: Poster, counts: Counts, events: Events) {
    let mut tellings = BTreeMap::<(String, String), Telling>::new();
    // By namespace.
    let mut fired = BTreeMap::<String, Firing>::new();
    let mut settled = None;
    loop {
        let watched = index.lock().watched();
        if settled.as_ref() == Some(&watched) {
            sleep(LOOK).await;
            continue;
        }
        let now = Timestamp::now();
        let before = std::mem::take(&mut fired);
        let mut present = BTreeSet::new();
        for namespace in &watched {
            let firing = firing(namespace, now, before.get(&namespace.namespace));
            for spec in &namespace.alerts.receivers {
                // The API server lets nobody write one that is of no kind.
                let Some(place) = Place::of(spec) else { continue };
                let key = (namespace.namespace.clone(), spec.name.clone());
                present.insert(key.clone());
                let wanted = firing.iter().filter(|(key, _)| spec.wants(key.name));
                let wanted = wanted.map(|(key, it)| (key.clone(), it.clone())).collect();
                let wanted = Wanted { terms: Terms::of(spec), firing: Arc::new(wanted) };
                let same = tellings.get(&key).filter(|it| it.place == place && it.system == namespace.uid);
                if let Some(telling) = same {
                    telling.wanted.send_if_modified(|current| {
                        let differs = *current != wanted;
                        *current = wanted;
                        differs
                    });
                    continue;
                }
                let about = events.about_receiver(&namespace.namespace, &namespace.uid, &spec.name);
                let name = spec.name.clone();
                let receiver =
                    Receiver::new(name, place.clone(), &wanted.terms, about, poster.clone(), counts.clone());
                let (wanted, wants) = watch::channel(wanted);
                let task = AbortOnDropHandle::new(tokio::spawn(receiver.run(wants)));
                let system = namespace.uid.clone();
                tellings.insert(key, Telling { place, system, wanted, _task: task });
            }
            fired.insert(namespace.namespace.clone(), firing);
        }
        tellings.retain(|key, _| present.contains(key));
        counts.firing(fired.values().map(BTreeMap::len).sum());
        // Of what fires already nothing becomes due.
        let is_settled = |it: &Watched| fired.get(&it.namespace).map(BTreeMap::len) == Some(it.raised.len());
        settled = watched.iter().all(is_settled).then_some(watched);
        sleep(LOOK).await;
    }
}

/// What is to be told of a namespace.
fn firing(watched: &Watched, now: Timestamp, before: Option<&Firing>) -> Firing {
    let hold = SignedDuration::try_from(watched.alerts.hold().get()).unwrap_or(SignedDuration::MAX);
    alerts::firing(&watched.raised, hold, now, before.unwrap_or(&Firing::new()))
}
