//! What holds when a plugin fails or is slow.

use std::time::Duration;

use forward_crds::{self as crds, Priority, RetryCause};
use http::StatusCode;

use super::{
    Respond, StepError,
    step::{percent, positive, status_code},
};

/// When an endpoint that fails is ejected.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitBreaker {
    /// After how many failures in a row; 0: never.
    pub failures: u16,
    /// For how long the first time.
    pub ejection: Duration,
    /// For how long at most; at least [`CircuitBreaker::ejection`].
    pub longest: Duration,
    /// How many in a hundred endpoints at a time, from 1 to 100.
    pub max_ejected: u8,
    /// Statuses of answers that are failures.
    pub statuses: Vec<StatusCode>,
}

/// Which requests are sent once more.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// How often at most.
    pub attempts: u32,
    /// Of a hundred requests, how many.
    pub budget: u8,
    /// After how long without an answer it is sent to another endpoint as well.
    pub hedge_after: Option<Duration>,
    broken: bool,
    timeout: bool,
    statuses: Vec<StatusCode>,
}

/// How many requests may be under way, or who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// So many at most.
    Max(u32),
    /// Those of this priority.
    Priority(Priority),
}

/// What is answered where the plugin cannot.
#[derive(Clone, Debug, PartialEq)]
pub enum Fallback {
    /// Always the same.
    Respond(Respond),
    /// What the plugin of this name answers.
    Plugin(String),
}

impl CircuitBreaker {
    pub(super) fn read(breaker: &crds::CircuitBreaker, routes: usize) -> Result<Self, StepError> {
        let crds::CircuitBreaker { failures, statuses, ejection, longest_ejection, max_ejected_percent } =
            breaker;
        if routes > 0 {
            return Err(StepError::AllRoutes);
        }
        let out = |field, value: i32| StepError::OutOfRange { field, value: value.into() };
        let failures = u16::try_from(*failures).map_err(|_| out("failures", *failures))?;
        if longest_ejection < ejection {
            return Err(StepError::LongestEjection);
        }
        let max_ejected = percent("maxEjectedPercent", *max_ejected_percent)?;
        if max_ejected == 0 {
            return Err(out("maxEjectedPercent", 0));
        }
        let (ejection, longest) = (ejection.get(), longest_ejection.get());
        Ok(Self { failures, ejection, longest, max_ejected, statuses: server_errors(statuses)? })
    }

    /// Whether an answer with this status is a failure.
    pub fn is_failure(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status)
    }

    /// Whether the last endpoint may be ejected too, so that requests are refused at once.
    pub fn may_refuse(&self) -> bool {
        self.max_ejected == 100
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            failures: 5,
            ejection: Duration::from_secs(10),
            longest: Duration::from_secs(5 * 60),
            max_ejected: 50,
            statuses: Vec::new(),
        }
    }
}

impl Retry {
    pub(super) fn read(retry: &crds::Retry) -> Result<Self, StepError> {
        let crds::Retry { attempts, causes, statuses, hedge_after, budget_percent } = retry;
        if causes.is_empty() && statuses.is_empty() && hedge_after.is_none() {
            return Err(StepError::Missing("causes, statuses or hedgeAfter"));
        }
        Ok(Self {
            attempts: positive("attempts", (*attempts).into())?,
            budget: percent("budgetPercent", *budget_percent)?,
            hedge_after: hedge_after.map(crds::Duration::get),
            broken: causes.contains(&RetryCause::Broken),
            timeout: causes.contains(&RetryCause::Timeout),
            statuses: server_errors(statuses)?,
        })
    }

    /// Whether a request is sent once more after this.
    pub fn is_on(&self, cause: RetryCause) -> bool {
        match cause {
            RetryCause::Broken => self.broken,
            RetryCause::Timeout => self.timeout,
        }
    }

    /// Whether a request is sent once more after an answer with this status.
    pub fn is_on_status(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status)
    }
}

impl Concurrency {
    pub(super) fn read(concurrency: &crds::Concurrency) -> Result<Self, StepError> {
        match (concurrency.max, concurrency.priority) {
            (Some(max), None) => positive("max", max.into()).map(Self::Max),
            (None, Some(priority)) => Ok(Self::Priority(priority)),
            (None, None) => Err(StepError::Missing("max or priority")),
            (Some(_), Some(_)) => Err(StepError::Kinds(2)),
        }
    }
}

/// Of so many places, up to how many requests of a priority may take one, rounded up.
pub fn places(priority: Priority, all: usize) -> usize {
    let percent = match priority {
        Priority::High => return all,
        Priority::Normal => 90,
        Priority::Low => 70,
    };
    all / 100 * percent + (all % 100 * percent).div_ceil(100)
}

impl Fallback {
    pub(super) fn read(fallback: &crds::Fallback) -> Result<Self, StepError> {
        match (&fallback.respond, &fallback.plugin) {
            (Some(respond), None) => Respond::read(respond).map(Self::Respond),
            (None, Some(plugin)) => Ok(Self::Plugin(plugin.clone())),
            (None, None) => Err(StepError::Missing("respond or plugin")),
            (Some(_), Some(_)) => Err(StepError::Kinds(2)),
        }
    }
}

fn server_errors(statuses: &[i32]) -> Result<Vec<StatusCode>, StepError> {
    statuses.iter().map(|status| status_code(*status, 500..=599)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn without_an_entry_what_an_empty_one_says_holds() {
        let declared: crds::CircuitBreaker = serde_json::from_value(json!({})).unwrap();
        assert_eq!(CircuitBreaker::read(&declared, 0), Ok(CircuitBreaker::default()));
    }

    #[test]
    fn who_matters_less_finds_fewer_places_and_nobody_none() {
        for (all, normal, low) in [(0, 0, 0), (1, 1, 1), (10, 9, 7), (101, 91, 71), (1024, 922, 717)] {
            assert_eq!((places(Priority::High, all), places(Priority::Normal, all)), (all, normal));
            assert_eq!(places(Priority::Low, all), low);
        }
        assert!(places(Priority::Low, usize::MAX) < places(Priority::Normal, usize::MAX));
    }

    #[test]
    fn knows_after_what_to_send_once_more() {
        let read = |value| Retry::read(&serde_json::from_value(value).unwrap());
        let usual = read(json!({})).unwrap();
        assert_eq!((usual.is_on(RetryCause::Broken), usual.is_on(RetryCause::Timeout)), (true, false));
        let status = read(json!({"causes": [], "statuses": [503]})).unwrap();
        assert!(!status.is_on(RetryCause::Broken) && status.is_on_status(StatusCode::SERVICE_UNAVAILABLE));
        assert!(!status.is_on_status(StatusCode::BAD_GATEWAY));
        let hedged = read(json!({"causes": [], "hedgeAfter": "80ms"})).unwrap();
        assert_eq!((status.hedge_after, hedged.hedge_after), (None, Some(Duration::from_millis(80))));
        assert!(!hedged.is_on(RetryCause::Broken));
    }
}
