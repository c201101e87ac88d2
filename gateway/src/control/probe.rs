//! Follows one ready pod: asks it to describe itself until it does, and how it fares, again and again.
//! What it learns it sends on.

use std::time::Duration;

use forward_crds::{HealthCheck, Plugin};
use forward_plan::Thresholds;
use k8s_openapi::jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{
    call::{Callee, DescribeError, Description, Said},
    reload::is_reloading,
    slice::Ready,
};
use crate::{data::balance::Dice, metrics::Calls};

/// The first and the longest pause after a failed Describe.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// The shortest time between two questions: one thread asks for all namespaces.
const MOST_OFTEN: Duration = Duration::from_millis(100);

/// How often a pod is asked from which one waits to hear that it has taken a configuration.
const WHILE_RELOADING: Duration = Duration::from_secs(1);

/// What has been learned of a pod.
#[derive(Debug)]
pub enum News {
    Described(Result<Description, DescribeError>),
    Health(Result<Said, String>),
}

/// The same with the pod's UID. Boxed: a channel has room for many messages from the beginning, and each
/// plugin has one.
pub type Told = Box<(String, News)>;

/// How a plugin's health is asked, with the defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub interval: Duration,
    pub timeout: Duration,
    pub thresholds: Thresholds,
}

impl Terms {
    /// Those of a plugin. One that is taking a new configuration is asked often.
    pub fn of(plugin: &Plugin) -> Self {
        let terms = Self::new(plugin.spec.health.as_deref());
        match is_reloading(plugin) {
            true => Self { interval: terms.interval.min(WHILE_RELOADING), ..terms },
            false => terms,
        }
    }

    fn new(check: Option<&HealthCheck>) -> Self {
        let seconds = |duration: Option<forward_crds::Duration>, default: u64| {
            duration.map_or(Duration::from_secs(default), forward_crds::Duration::get)
        };
        Self {
            interval: seconds(check.and_then(|check| check.interval), 10).max(MOST_OFTEN),
            timeout: seconds(check.and_then(|check| check.timeout), 2),
            thresholds: Thresholds {
                failure: number(check.and_then(|check| check.failure_threshold), 3),
                success: number(check.and_then(|check| check.success_threshold), 2),
            },
        }
    }
}

/// With how many of a hundred pods without an answer the gateway mistrusts itself.
pub fn panic_percent(plugin: &Plugin) -> u32 {
    number(plugin.spec.health.as_ref().and_then(|check| check.panic_percent), 50)
}

fn number(value: Option<i32>, default: u32) -> u32 {
    value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default)
}

/// Follow a pod until dropped, or until nobody listens.
pub async fn follow(ready: Ready, mut terms: watch::Receiver<Terms>, news: mpsc::Sender<Told>, calls: Calls) {
    let (mut callee, dice) = (Callee::new(ready.address), Dice::new());
    // Until it has described itself: when it is asked to next, and how long after that again.
    let mut describe = Some((Instant::now(), RETRY.0));
    // When its health was asked, and how much of the interval is between that and the next time.
    let mut asked: Option<(Instant, u32)> = None;
    loop {
        if let Some((_, pause)) = describe.filter(|(when, _)| *when <= Instant::now()) {
            let described = callee.describe().await;
            calls.described(described.is_ok());
            let retry = matches!(described, Err(DescribeError::Call(_)));
            if news.send(Box::new((ready.uid.clone(), News::Described(described)))).await.is_err() {
                return;
            }
            let again = Instant::now() + pause * jitter(&dice) / 100;
            describe = retry.then(|| (again, (pause * 2).min(RETRY.1)));
        }
        // One that does not describe itself is asked all the same: whoever is silent is known to be.
        let Terms { interval, timeout, .. } = *terms.borrow_and_update();
        let due = |(asked, percent)| asked + interval * percent / 100;
        if asked.is_none_or(|asked| due(asked) <= Instant::now()) {
            asked = Some((Instant::now(), jitter(&dice)));
            let said = callee.health(timeout, Timestamp::now()).await;
            calls.health(said.as_ref().ok().map(|said| said.healthy));
            if news.send(Box::new((ready.uid.clone(), News::Health(said)))).await.is_err() {
                return;
            }
        }
        let next = asked.map(due).into_iter().chain(describe.map(|(when, _)| when)).min();
        tokio::select! {
            () = sleep_until(next.unwrap_or_else(Instant::now)) => {}
            // Other terms hold from now on, not from when the old interval is over.
            changed = terms.changed() => if changed.is_err() { return },
        }
    }
}

/// How much of a time is waited, in percent: a tenth more or less, so that not all are asked at once.
fn jitter(dice: &Dice) -> u32 {
    dice.within(90..=110).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_the_defaults() {
        let terms = Terms::new(None);
        assert_eq!((terms.interval.as_secs(), terms.timeout.as_secs()), (10, 2));
        assert_eq!(terms.thresholds, Thresholds { failure: 3, success: 2 });
        let check = HealthCheck {
            interval: Some("1s".parse().unwrap()),
            failure_threshold: Some(1),
            ..HealthCheck::default()
        };
        let terms = Terms::new(Some(&check));
        assert_eq!((terms.interval.as_secs(), terms.timeout.as_secs()), (1, 2));
        assert_eq!(terms.thresholds, Thresholds { failure: 1, success: 2 });
    }

    #[test]
    fn spreads_questions_by_a_tenth() {
        let dice = Dice::new();
        for _ in 0..100 {
            assert!((90..=110).contains(&jitter(&dice)));
        }
    }
}
