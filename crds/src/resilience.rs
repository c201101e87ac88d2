//! Middleware for when plugins fail or are slow.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Respond, defaults, rules::middleware as own};

/// When a pod that fails is ejected: it gets no requests for a while, then a few, one at a time, and
/// all that are its share again once those were answered. Failures are connections that do not come
/// about or break, answers that are not HTTP, those that do not begin in time, and those with one of
/// `statuses`. Without an entry the defaults hold. It is for all routes of the plugin, as its pods are.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = own::longest_ejection_is_longest())]
pub struct CircuitBreaker {
    /// After how many failures, with no answer between them, a pod is ejected. 0: never.
    #[serde(default = "defaults::failures")]
    #[schemars(default = "defaults::failures", range(min = 0, max = 1000))]
    pub failures: i32,
    /// Statuses of the plugin's answers that are failures too, from 500 to 599. Clients get these
    /// answers all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(range(min = 500, max = 599)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub statuses: Vec<i32>,
    /// How long a pod is ejected the first time. It is twice as long each further time.
    #[serde(default = "defaults::ejection")]
    #[schemars(default = "defaults::ejection")]
    #[x_kube(validation = own::at_most_a_day())]
    pub ejection: Duration,
    /// How long a pod is ejected at most.
    #[serde(default = "defaults::longest_ejection")]
    #[schemars(default = "defaults::longest_ejection")]
    #[x_kube(validation = own::at_most_a_day())]
    pub longest_ejection: Duration,
    /// How many of a hundred pods may be ejected at a time, rounded down, but one where there are
    /// several. With less than 100 the last one never is. With 100 it is too: while all are,
    /// requests get 503 with Retry-After at once.
    #[serde(default = "defaults::max_ejected_percent")]
    #[schemars(default = "defaults::max_ejected_percent", range(min = 1, max = 100))]
    pub max_ejected_percent: i32,
}

/// Which requests are sent once more: those whose method is idempotent and which have no body, of
/// whose answer the client has got nothing, each time to a pod that has not had it, and within a
/// budget. Requests that never reached a pod are sent to another one anyway.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = own::retry_has_a_cause())]
pub struct Retry {
    /// How often a request is sent once more at most.
    #[serde(default = "defaults::retry_attempts")]
    #[schemars(default = "defaults::retry_attempts", range(min = 1, max = 5))]
    pub attempts: i32,
    /// After what.
    #[serde(default = "defaults::retry_causes")]
    #[schemars(default = "defaults::retry_causes", length(max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub causes: Vec<RetryCause>,
    /// After which statuses of the plugin's answer, from 500 to 599.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(range(min = 500, max = 599)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub statuses: Vec<i32>,
    /// After how long without the head of an answer a request is sent to another pod as well; the client
    /// gets what is answered first. Only where the method is safe: GET, HEAD, OPTIONS or TRACE. Counts
    /// as being sent once more. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge_after: Option<Duration>,
    /// Of a hundred requests that came in the last ten seconds, how many may be sent once more;
    /// some few may besides, so that a quiet plugin has retries too.
    #[serde(default = "defaults::retry_budget_percent")]
    #[schemars(default = "defaults::retry_budget_percent", range(min = 0, max = 100))]
    pub budget_percent: i32,
}

/// What can go wrong so that a request is sent once more.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryCause {
    /// The connection breaks before anything of an answer came.
    Broken,
    /// The answer does not begin in time. Each time that it is sent, a request has all of that time.
    Timeout,
}

/// How many requests the plugin may have under way, or which of them go without first. What is above
/// gets 503 with Retry-After at once. One of its fields is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = own::max_or_priority())]
pub struct Concurrency {
    /// The most requests at a time, from when they are sent to the last byte of the answer; of
    /// WebSockets, to their end. The ready replicas of the gateway share it out evenly, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: Option<i32>,
    /// Of how much of the plugin's places the requests of these routes may take the last one, where
    /// others want them too. Routes of which nothing is said have High.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

/// Who goes first where a plugin has no places for all. It holds for each limit that a request
/// meets, and for the bound that there is without one.
#[derive(
    Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum Priority {
    /// They get a place while fewer than 70 of a hundred are taken.
    Low,
    /// While fewer than 90 are.
    Normal,
    /// While one is free.
    #[default]
    High,
}

/// What is answered where the plugin cannot: it has no ready pod, is unhealthy, cannot be reached,
/// breaks the connection, takes too long, or has too much under way. Exactly one of its fields says
/// what. Calls of gRPC have no fallback.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = own::one_fallback())]
pub struct Fallback {
    /// Always the same answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
    /// What this other plugin of the namespace answers to the same request. It gets requests that
    /// no pod has seen, and those that may be sent once more (see `retry`). They have passed the
    /// middleware of this plugin, and pass none of the other's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    #[x_kube(validation = crate::rules::dependency_name())]
    pub plugin: Option<String>,
}
