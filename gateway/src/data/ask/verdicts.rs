//! What a plugin has said of who asks, for as long as that holds: never longer than a minute, never
//! longer than its pods are the same, and not after it was said to forget it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use forward_plan::routes::PluginId;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

use crate::{
    callers::Caller,
    data::{
        clock::{TICK, Tick},
        snapshot::{Endpoint, Plugin},
    },
};

/// How long anything is kept at most: what is taken back counts no longer on.
const LONGEST: Duration = Duration::from_secs(60);
/// How many callers are kept for each middleware: some hundred bytes each.
const MOST: usize = 4096;

/// What something was said of: a plugin that is asked for, and the values of headers, as a hash, so
/// that no credential is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

/// The pods that a plugin has at a moment.
#[derive(Clone, Debug)]
pub struct Pods(Arc<Vec<Arc<Endpoint>>>);

/// What was said, by which pods.
#[derive(Debug, Default)]
pub struct Verdicts(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    pods: Option<Pods>,
    by: HashMap<Key, Verdict>,
}

#[derive(Debug)]
struct Verdict {
    until: Tick,
    caller: Arc<Caller>,
}

impl Key {
    /// What a request for `plugin` shows in these headers; `None` where it shows nothing.
    pub fn of(plugin: &PluginId, names: &[HeaderName], headers: &HeaderMap) -> Option<Self> {
        if !names.iter().any(|name| headers.contains_key(name)) {
            return None;
        }
        let mut hash = Sha256::new();
        // Each text with its length, so that no two lists of them read the same.
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        add(plugin.namespace.as_bytes());
        add(plugin.name.as_bytes());
        for name in names {
            add(name.as_str().as_bytes());
            let values = headers.get_all(name);
            add(&(values.iter().count() as u64).to_be_bytes());
            values.iter().for_each(|value| add(value.as_bytes()));
        }
        Some(Self(hash.finalize().into()))
    }
}

impl Pods {
    pub fn of(plugin: &Plugin) -> Self {
        Self(plugin.endpoints().clone())
    }

    /// Whether the plugin has these now.
    pub fn are_of(&self, plugin: &Plugin) -> bool {
        Arc::ptr_eq(&self.0, &plugin.endpoints())
    }

    fn are(&self, others: &Self) -> bool {
        Arc::ptr_eq(&self.0, &others.0)
    }
}

impl Verdicts {
    /// Who asks, where these pods have said it and it holds.
    pub fn find(&self, key: &Key, pods: &Pods, now: Tick) -> Option<Arc<Caller>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.belong_to(pods);
        let verdict = held.by.get(key)?;
        if verdict.until <= now {
            held.by.remove(key);
            return None;
        }
        Some(verdict.caller.clone())
    }

    /// Keep what these pods have said.
    pub fn keep(&self, key: Key, pods: Pods, caller: Arc<Caller>, holds: Duration, now: Tick) {
        // Rounded down: it ends early rather than late.
        let ticks = holds.min(LONGEST).as_millis() / TICK.as_millis();
        let Some(ticks) = Tick::try_from(ticks).ok().filter(|ticks| *ticks > 0) else { return };
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.belong_to(&pods);
        if held.by.len() >= MOST && !held.by.contains_key(&key) {
            held.make_room(now);
        }
        held.by.insert(key, Verdict { until: now + ticks, caller });
    }
}

impl Held {
    fn belong_to(&mut self, pods: &Pods) {
        if !self.pods.as_ref().is_some_and(|own| own.are(pods)) {
            self.by.clear();
            self.pods = Some(pods.clone());
        }
    }

    /// Forget what is over, or else any quarter: they are asked about again.
    fn make_room(&mut self, now: Tick) {
        self.by.retain(|_, verdict| verdict.until > now);
        if self.by.len() >= MOST {
            let some = self.by.keys().take(MOST / 4).copied().collect::<Vec<_>>();
            some.iter().for_each(|key| drop(self.by.remove(key)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::HeaderValue;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn plugin() -> Arc<Plugin> {
        Plugin::new(PluginId::new("shop", "auth"), 1)
    }

    fn caller(name: &str) -> Arc<Caller> {
        Arc::new(Caller::new(name, BTreeSet::new()).unwrap())
    }

    fn key_for(plugin: &str, names: &[&'static str], headers: &[(&'static str, &str)]) -> Option<Key> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let names = names.iter().copied().map(HeaderName::from_static).collect::<Vec<_>>();
        Key::of(&PluginId::new("shop", plugin), &names, &map)
    }

    fn numbered(number: usize) -> Key {
        key_for("pay", &["cookie"], &[("cookie", &number.to_string())]).unwrap()
    }

    #[test]
    fn no_two_requests_are_one_that_show_something_else() {
        let names = ["authorization", "cookie"];
        let mut seen = BTreeSet::new();
        for headers in [
            &[("cookie", "a")][..],
            &[("authorization", "a")],
            &[("authorization", "a"), ("cookie", "a")],
            &[("cookie", "a"), ("cookie", "b")],
            &[("cookie", "b"), ("cookie", "a")],
            &[("cookie", "a, b")],
            &[("cookie", "ab")],
            &[("cookie", "")],
            &[("cookie", "A")],
        ] {
            let key = key_for("pay", &names, headers).unwrap();
            assert!(seen.insert(format!("{key:?}")), "{headers:?}");
            let other = key_for("cart", &names, headers).unwrap();
            assert!(seen.insert(format!("{other:?}")), "for another plugin");
        }
        assert_eq!(key_for("pay", &names, &[("x-other", "a")]), None, "it shows nothing");
        assert_eq!(key_for("pay", &[], &[("cookie", "a")]), None);
        let first = key_for("pay", &names, &[("x-other", "1"), ("cookie", "a")]);
        assert_eq!(
            first,
            key_for("pay", &names, &[("cookie", "a"), ("x-other", "2")]),
            "nor by what is not asked for"
        );
    }

    #[test]
    fn holds_for_as_long_as_was_said_and_no_longer_than_a_minute() {
        let (verdicts, plugin) = (Verdicts::default(), plugin());
        let pods = Pods::of(&plugin);
        for (holds, ticks) in [
            (Duration::from_millis(1_999), 19),
            (Duration::from_secs(2), 20),
            (MINUTE, 600),
            (Duration::MAX, 600),
        ] {
            verdicts.keep(numbered(1), pods.clone(), caller("ada"), holds, 1_000);
            assert_eq!(verdicts.find(&numbered(1), &pods, 1_000 + ticks - 1).unwrap().subject, "ada");
            assert!(verdicts.find(&numbered(1), &pods, 1_000 + ticks).is_none(), "{holds:?}");
        }
        for holds in [Duration::ZERO, Duration::from_millis(99)] {
            verdicts.keep(numbered(2), pods.clone(), caller("ada"), holds, 1_000);
            assert!(verdicts.find(&numbered(2), &pods, 1_000).is_none());
        }
    }

    #[test]
    fn is_forgotten_with_the_pods_that_have_said_it() {
        let (verdicts, plugin) = (Verdicts::default(), plugin());
        let at = |pod: &str| [(pod.to_owned(), ([127, 0, 0, 1], 1).into())];
        plugin.set_endpoints(&at("a"));
        let before = Pods::of(&plugin);
        verdicts.keep(numbered(1), before.clone(), caller("ada"), MINUTE, 0);
        assert!(verdicts.find(&numbered(1), &before, 1).is_some());
        plugin.forget_callers();
        let again = Pods::of(&plugin);
        assert!(verdicts.find(&numbered(1), &again, 1).is_none(), "it was taken back");
        assert!(!before.are_of(&plugin), "what is being asked counts no more");
        verdicts.keep(numbered(1), again, caller("ada"), MINUTE, 0);
        let before = Pods::of(&plugin);
        assert!(verdicts.find(&numbered(1), &before, 1).is_some());
        plugin.set_endpoints(&at("b"));
        assert!(!before.are_of(&plugin));
        assert!(verdicts.find(&numbered(1), &Pods::of(&plugin), 1).is_none());
        assert!(verdicts.find(&numbered(1), &before, 1).is_none(), "it does not come back");
    }

    #[test]
    fn keeps_so_many_and_goes_on() {
        let (verdicts, pods) = (Verdicts::default(), Pods::of(&plugin()));
        for number in 0..MOST * 3 {
            verdicts.keep(numbered(number), pods.clone(), caller(&format!("n{number}")), MINUTE, 0);
            assert_eq!(
                verdicts.find(&numbered(number), &pods, 0).unwrap().subject,
                format!("n{number}").as_str()
            );
        }
        let held = verdicts.0.lock().unwrap();
        assert!(held.by.len() <= MOST && held.by.len() >= MOST / 2, "{}", held.by.len());
        for number in 0..MOST * 3 {
            let verdict = held.by.get(&numbered(number));
            assert!(verdict.is_none_or(|it| it.caller.subject == format!("n{number}").as_str()));
        }
    }
}
