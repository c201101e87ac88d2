//! Waits: on a predicate, with a bound, and with what was seen last when it passes.

use std::{fmt::Debug, pin::pin, time::Duration};

use anyhow::{Result, bail};
use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Watch one object until `done` says so of it; `None` is an object that is not there.
pub async fn await_object<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    bound: Duration,
    mut done: impl FnMut(Option<&K>) -> bool,
) -> Result<Option<K>>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = pin!(watcher(api.clone(), config).default_backoff());
    let (mut seen, mut problem) = (None, None);
    let waited = timeout(bound, async {
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => {
                    seen = None;
                    continue;
                }
                Ok(Event::InitApply(object)) => {
                    seen = Some(object);
                    continue;
                }
                Ok(Event::InitDone) => {}
                Ok(Event::Apply(object)) => seen = Some(object),
                Ok(Event::Delete(_)) => seen = None,
                // The API server may be away for a while: the watch goes on when it is back.
                Err(error) => {
                    problem = Some(error);
                    continue;
                }
            }
            problem = None;
            if done(seen.as_ref()) {
                return;
            }
        }
    });
    if waited.await.is_ok() {
        return Ok(seen);
    }
    let kind = K::kind(&K::DynamicType::default()).to_lowercase();
    match problem {
        Some(error) => bail!("waited {bound:?} for {kind} {name} {what}; the watch failed: {error}"),
        None => bail!("waited {bound:?} for {kind} {name} {what}; last seen: {}", describe(seen.as_ref())),
    }
}

/// Ask `probe` again and again until it gives a value: for what can not be watched, such as an
/// answer of the gateway. Its error says what is still amiss.
pub async fn await_until<T>(
    what: &str,
    bound: Duration,
    mut probe: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let mut ticks = interval(Duration::from_millis(50));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut amiss = None;
    let waited = timeout(bound, async {
        loop {
            ticks.tick().await;
            match probe().await {
                Ok(value) => return value,
                Err(error) => amiss = Some(error),
            }
        }
    })
    .await;
    match (waited, amiss) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(error)) => Err(error.context(format!("waited {bound:?} for {what}"))),
        (Err(_), None) => bail!("waited {bound:?} for {what}; the first probe did not end"),
    }
}

/// The status of an object, or all of one that has none.
fn describe(object: Option<&impl Serialize>) -> String {
    let Some(object) = object else { return "not there".to_owned() };
    let value = serde_json::to_value(object).unwrap_or_default();
    let part = value.get("status").filter(|status| !status.is_null()).unwrap_or(&value);
    serde_saphyr::to_string(part).map_or_else(|error| error.to_string(), |text| format!("\n{text}"))
}
