//! Which plugins are to be looked at, and when: so many at the same time, and none twice at the same
//! time. Of a plugin that nobody waits for nothing is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use forward_crds::{Plugin, Word};
use kube::runtime::reflector::ObjectRef;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::index::lock;

/// A plugin's namespace and name.
pub type Key = (Word, Word);

/// Where plugins go that must be looked at: to who works on them, while this replica acts.
#[derive(Clone, Debug, Default)]
pub struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Absent while this replica stands by.
    agenda: Mutex<Option<Agenda>>,
    pushed: Notify,
}

/// What is still to be done.
#[derive(Debug, Default)]
struct Agenda {
    /// When each plugin is to be looked at.
    due: BTreeMap<Key, Instant>,
    /// The same by time, but for those that are being looked at.
    order: BTreeSet<(Instant, Key)>,
    busy: BTreeSet<Key>,
}

/// The right to work on what is in a queue, which takes nothing in without it.
#[derive(Debug)]
pub struct Turns(Queue);

impl Queue {
    /// Begin anew, with nobody waiting.
    pub fn open(&self) -> Turns {
        *lock(&self.0.agenda) = Some(Agenda::default());
        Turns(self.clone())
    }

    /// Look at these plugins as soon as it can be.
    pub fn push(&self, touched: Vec<ObjectRef<Plugin>>) {
        let now = Instant::now();
        self.change(|agenda| {
            for plugin in touched {
                agenda.add((plugin.namespace.unwrap_or_default().into(), plugin.name.into()), now);
            }
        });
        self.0.pushed.notify_one();
    }

    /// How many plugins wait to be looked at, whose time has come. Those that are being looked at wait
    /// where they are to be once more.
    pub fn len(&self) -> usize {
        let now = Instant::now();
        self.change(|agenda| agenda.due.values().filter(|at| **at <= now).count())
    }

    /// What `change` answers, or its default where nobody works.
    fn change<T: Default>(&self, change: impl FnOnce(&mut Agenda) -> T) -> T {
        lock(&self.0.agenda).as_mut().map(change).unwrap_or_default()
    }
}

impl Turns {
    /// Look at each plugin whose time has come, and at it again after the time that `look` answers with.
    /// Works until it is dropped, and with it all looks, in the middle of what they do.
    pub async fn work<F>(self, at_once: usize, look: impl Fn(Key) -> F)
    where
        F: Future<Output = Option<Duration>> + Send + 'static,
    {
        let Self(queue) = &self;
        let mut looks = JoinSet::new();
        loop {
            while looks.len() < at_once
                && let Some(plugin) = queue.change(|agenda| agenda.begin(Instant::now()))
            {
                let looked = look(plugin.clone());
                looks.spawn(async move { (plugin, looked.await) });
            }
            let next = queue.change(|agenda| agenda.next()).filter(|_| looks.len() < at_once);
            let is_due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = queue.0.pushed.notified() => {}
                Some(ended) = looks.join_next() => {
                    let (plugin, again) = ended.expect("only a bug has it panic");
                    queue.change(|agenda| agenda.end(&plugin, again.map(|after| Instant::now() + after)));
                }
                () = is_due => {}
            }
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        *lock(&self.0.0.agenda) = None;
    }
}

impl Agenda {
    /// Look at a plugin then, or earlier where that is to be.
    fn add(&mut self, plugin: Key, at: Instant) {
        match self.due.get(&plugin) {
            Some(due) if *due <= at => return,
            Some(due) => drop(self.order.remove(&(*due, plugin.clone()))),
            None => {}
        }
        if !self.busy.contains(&plugin) {
            self.order.insert((at, plugin.clone()));
        }
        self.due.insert(plugin, at);
    }

    /// A plugin that is to be looked at now, which nobody does; it counts as looked at until the end.
    fn begin(&mut self, now: Instant) -> Option<Key> {
        self.next().filter(|at| *at <= now)?;
        let (_, plugin) = self.order.pop_first()?;
        self.due.remove(&plugin);
        self.busy.insert(plugin.clone());
        Some(plugin)
    }

    /// A plugin was looked at, and is to be again then.
    fn end(&mut self, plugin: &Key, again: Option<Instant>) {
        self.busy.remove(plugin);
        // Something happened meanwhile.
        if let Some(at) = self.due.get(plugin) {
            self.order.insert((*at, plugin.clone()));
        }
        if let Some(again) = again {
            self.add(plugin.clone(), again);
        }
    }

    /// When the next plugin is to be looked at that nobody looks at.
    fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
impl Queue {
    /// Begin on each plugin whose time has come.
    pub fn begun(&self) -> Vec<String> {
        let begin = || self.change(|agenda| agenda.begin(Instant::now()));
        std::iter::from_fn(begin).map(|(_, name)| name.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plugin(name: &str) -> Key {
        ("shop".into(), name.into())
    }

    fn touched(names: &[&str]) -> Vec<ObjectRef<Plugin>> {
        names.iter().map(|name| ObjectRef::new(name).within("shop")).collect()
    }

    fn names(agenda: &mut Agenda, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| agenda.begin(now)).map(|(_, name)| name.to_string()).collect()
    }

    #[test]
    fn the_earlier_time_counts_and_the_first_goes_first() {
        let (mut agenda, now) = (Agenda::default(), Instant::now());
        for (name, seconds) in [("b", 3), ("a", 2), ("b", 1), ("b", 2)] {
            agenda.add(plugin(name), now + SECOND * seconds);
        }
        assert_eq!(agenda.next(), Some(now + SECOND));
        assert!(names(&mut agenda, now).is_empty());
        assert_eq!(names(&mut agenda, now + SECOND * 2), ["b", "a"]);
        assert!(agenda.due.is_empty() && agenda.order.is_empty(), "each once");
    }

    #[test]
    fn what_happens_to_a_plugin_while_it_is_looked_at_is_looked_at_afterwards() {
        let (mut agenda, now) = (Agenda::default(), Instant::now());
        agenda.add(plugin("a"), now);
        assert_eq!(names(&mut agenda, now), ["a"]);
        agenda.add(plugin("a"), now);
        assert_eq!(agenda.next(), None, "not twice at the same time");
        agenda.end(&plugin("a"), Some(now + SECOND));
        assert_eq!(names(&mut agenda, now), ["a"]);
        agenda.end(&plugin("a"), None);
        assert_eq!(agenda.next(), None);
        assert!(agenda.due.is_empty() && agenda.busy.is_empty(), "at rest nothing is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn waits_whose_time_has_come_while_somebody_works() {
        let queue = Queue::default();
        queue.push(touched(&["a"]));
        assert_eq!(queue.len(), 0, "nobody acts here");
        let turns = queue.open();
        queue.push(touched(&["a", "b", "a"]));
        assert_eq!(queue.len(), 2, "each once");
        assert_eq!(queue.begun(), ["a", "b"]);
        assert_eq!(queue.len(), 0);
        queue.push(touched(&["a"]));
        assert_eq!(queue.len(), 1, "it is to begin again");
        queue.change(|agenda| agenda.end(&plugin("b"), Some(Instant::now() + SECOND)));
        assert_eq!(queue.len(), 1);
        advance(SECOND).await;
        assert_eq!(queue.len(), 2);
        drop(turns);
        queue.push(touched(&["c"]));
        assert_eq!(queue.len(), 0, "nobody acts any more");
        let _turns = queue.open();
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_looked_at_at_once_and_again_after_a_time() {
        let queue = Queue::default();
        let turns = queue.open();
        let (begin, seen) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let look = |(_, name): Key| {
            let seen = seen.clone();
            async move {
                sleep(SECOND).await;
                let mut seen = lock(&seen);
                seen.push((name.to_string(), begin.elapsed().as_secs()));
                // The first only: once more.
                (seen.len() == 1).then_some(SECOND * 5)
            }
        };
        let events = async {
            queue.push(touched(&["a", "b", "c"]));
            sleep(SECOND * 30).await;
            queue.push(touched(&["d"]));
            sleep(SECOND * 30).await;
        };
        tokio::select! {
            () = turns.work(2, look) => panic!("it works until it is dropped"),
            () = events => {}
        }
        let mut seen = std::mem::take(&mut *lock(&seen));
        seen[..2].sort();
        let again = if seen[3].0 == "a" { "a" } else { "b" };
        let expected = [("a", 1), ("b", 1), ("c", 2), (again, 7), ("d", 31)];
        assert_eq!(seen, expected.map(|(name, second)| (name.to_owned(), second)));
    }
}
