//! What a plugin's registration comes to: decided from what is known, without I/O or a clock.

use std::collections::{BTreeMap, BTreeSet};

use forward_crds::{
    Ailment, AnnouncedSchema, Condition, Health, MiddlewareSource, MiddlewareState, MiddlewareStatus, Plugin,
    PluginStatus, Protocol, ProvidedMiddleware, ReloadStatus, Route, RouteStatus, Word,
};
use forward_plan::{Answer, ConditionReason, PodHealth, Standing, Thresholds};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::{
    call::{DescribeError, Description, Reloaded, Said},
    health::health,
    index::announced,
    provide, reload,
    slice::Ready,
};

/// The condition for what a plugin offers.
pub const REGISTERED: &str = "Registered";
/// The condition for how it fares.
pub const HEALTHY: &str = "Healthy";

/// How many routes a message names; the rest is counted.
const NAMED: usize = 3;

/// The gateway's part of a plugin's status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registration {
    pub routes: Vec<RouteStatus>,
    pub middleware: Vec<MiddlewareStatus>,
    pub provides_middleware: Vec<ProvidedMiddleware>,
    pub health: Option<Health>,
    pub reload: Option<ReloadStatus>,
    pub config_from_changed: Option<Time>,
    pub config_schema: Option<AnnouncedSchema>,
    pub conditions: Vec<Condition>,
}

/// How far one registration is from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    None,
    /// In details of the health, which change by themselves.
    Details,
    /// In that, and in what is said of the health.
    Words,
    /// In what others go by.
    Matters,
}

impl Registration {
    /// How far it is from another one.
    pub fn difference(&self, other: &Self) -> Difference {
        if self == other {
            return Difference::None;
        }
        let without_details = |it: &Self| {
            let mut it = it.clone();
            it.health.iter_mut().for_each(|health| health.details.clear());
            it
        };
        let (mut a, mut b) = (without_details(self), without_details(other));
        if a == b {
            return Difference::Details;
        }
        for it in [&mut a, &mut b] {
            if let Some(health) = &mut it.health {
                health.message.clear();
                health.timestamp = Time(Timestamp::UNIX_EPOCH);
            }
            let healthy = it.conditions.iter_mut().filter(|condition| condition.type_ == HEALTHY);
            healthy.for_each(|condition| condition.message = Word::default());
        }
        if a == b { Difference::Words } else { Difference::Matters }
    }
}

/// What is known of a pod.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    description: Option<Result<Description, DescribeError>>,
    refusals: u32,
    pub(super) health: PodHealth,
    /// What it said last that fits what counts.
    pub(super) last: Option<Result<Said, String>>,
    reload: Option<Reloaded>,
    config_from_changed: Option<String>,
}

/// What a decision starts from.
pub struct Facts<'a> {
    pub plugin: &'a Plugin,
    /// The ready pods, and what is known of them by UID.
    pub ready: &'a [Ready],
    pub pods: &'a BTreeMap<String, Pod>,
    /// Whether pods of so many plugins do not answer that this gateway mistrusts itself.
    pub mistrusted: bool,
    pub now: Timestamp,
}

/// What becomes of what a plugin offers.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    pub routes: Vec<RouteStatus>,
    pub middleware: Vec<MiddlewareStatus>,
    /// The names of what it provides for other plugins without leave.
    pub withheld: Vec<String>,
}

/// What the ready pods offer together.
enum Offered {
    /// There is no ready pod.
    Nobody,
    /// Not every pod has been asked.
    Pending,
    Failed {
        reason: ConditionReason,
        message: String,
    },
    Agreed {
        routes: Vec<Route>,
        middleware: Vec<ProvidedMiddleware>,
        /// The schema of the configuration, as JSON.
        schema: Option<String>,
        remark: Option<String>,
    },
}

impl Registration {
    /// What is in the status now.
    pub fn of(plugin: &Plugin) -> Self {
        let status = plugin.status.clone().unwrap_or_default();
        let PluginStatus {
            routes,
            middleware,
            provides_middleware,
            health,
            reload,
            config_from_changed,
            config_schema,
            mut conditions,
            ..
        } = status;
        conditions.retain(|condition| [REGISTERED, HEALTHY].contains(&condition.type_.as_str()));
        let mut registration = Self {
            routes,
            middleware,
            provides_middleware,
            health: health.map(|health| *health),
            reload: reload.map(|reload| *reload),
            config_from_changed,
            config_schema: config_schema.map(|schema| *schema),
            conditions,
        };
        registration.sort();
        registration
    }

    /// The server keeps lists in an order of its own.
    fn sort(&mut self) {
        self.routes.sort_by(|a, b| (&a.host, &a.path, &a.method).cmp(&(&b.host, &b.path, &b.method)));
        self.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    }

    fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

impl Pod {
    /// Take in what it says it is. That it does not answer counts from the second time on: a pod
    /// that has just become ready may not be reachable from everywhere yet.
    pub fn described(&mut self, described: Result<Description, DescribeError>) {
        if matches!(described, Err(DescribeError::Call(_))) {
            self.refusals = self.refusals.saturating_add(1);
            if self.refusals < 2 {
                return;
            }
        }
        self.description = Some(described);
    }

    /// One of which the status said this, when somebody else asked it.
    pub fn resumed(ailment: Ailment) -> Self {
        let standing = match ailment {
            Ailment::Unhealthy => Standing::Unhealthy,
            Ailment::Unanswered => Standing::Unanswered,
        };
        Self { health: PodHealth::resumed(standing), ..Self::default() }
    }

    /// Take in an answer about its health.
    pub fn said(&mut self, said: Result<Said, String>, thresholds: Thresholds) {
        let answer = match &said {
            Ok(said) if said.healthy => Answer::Healthy,
            Ok(_) => Answer::Unhealthy,
            Err(_) => Answer::Nothing,
        };
        self.health.take(answer, thresholds);
        if let Ok(said) = &said {
            self.reload = said.reload.clone();
            self.config_from_changed = said.config_from_changed.clone();
        }
        // What is told is the word for what counts: not that of a pod that may be well again.
        let fits = match self.health.standing() {
            Some(Standing::Healthy) => answer == Answer::Healthy,
            Some(Standing::Unhealthy) => answer == Answer::Unhealthy,
            Some(Standing::Unanswered) => answer == Answer::Nothing,
            None => true,
        };
        if fits {
            self.last = Some(said);
        }
    }

    /// What it has said last about values of `configFrom` that are others than it started with.
    pub(super) fn config_from_changed(&self) -> Option<&str> {
        self.config_from_changed.as_deref()
    }

    /// What it has said last about a configuration that it was given while it ran.
    pub(super) fn reload(&self) -> Option<&Reloaded> {
        self.reload.as_ref()
    }
}

/// Decide what a plugin's status should say. `judge` tells what becomes of the plugin's routes and
/// its middleware if it announces these routes, and provides this middleware.
pub fn decide(facts: &Facts<'_>, judge: impl Fn(&[Route], &[ProvidedMiddleware]) -> Judged) -> Registration {
    let before = Registration::of(facts.plugin);
    let offered = offered(facts);
    let (routes, provides_middleware) = match &offered {
        Offered::Agreed { routes, middleware, .. } => (routes.clone(), middleware.clone()),
        // The last that was good.
        Offered::Nobody | Offered::Pending | Offered::Failed { .. } => {
            (announced(facts.plugin), provide::announced(facts.plugin).to_vec())
        }
    };
    let judged = judge(&routes, &provides_middleware);
    let config_schema = config_schema(facts.plugin, &offered).unwrap_or_else(|| before.config_schema.clone());
    let (health, healthy) = health(facts, before.health.as_ref());
    let generation = facts.plugin.metadata.generation;
    let new = |type_: &str, (status, reason, message): Verdict| Condition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.as_str().into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: before
            .condition(type_)
            .filter(|earlier| earlier.status == status)
            // What is unknown for another reason is another thing, and alerts count from it.
            .filter(|earlier| status != "Unknown" || earlier.reason == reason.as_str())
            .map_or(Time(facts.now), |earlier| earlier.last_transition_time.clone()),
    };
    let registered = registered(facts, &offered, &judged)
        .map(|verdict| new(REGISTERED, verdict))
        .or_else(|| before.condition(REGISTERED).cloned());
    let healthy = healthy.map(|verdict| new(HEALTHY, verdict));
    let config_from_changed = reload::config_from_changed(facts, before.config_from_changed.as_ref());
    let reload = reload::decide(facts, before.reload);
    let conditions = registered.into_iter().chain(healthy).collect();
    let Judged { routes, middleware, withheld: _ } = judged;
    let mut registration = Registration {
        routes,
        middleware,
        provides_middleware,
        health,
        reload,
        config_from_changed,
        config_schema,
        conditions,
    };
    registration.sort();
    registration
}

/// What is new about the schema: that of the pods that run the image that the spec names, which is
/// once it is rolled out.
fn config_schema(plugin: &Plugin, offered: &Offered) -> Option<Option<AnnouncedSchema>> {
    match offered {
        Offered::Agreed { schema, .. } if is_rolled_out(plugin) => {
            let image = plugin.spec.image.clone();
            Some(schema.clone().map(|schema| AnnouncedSchema { image, schema }))
        }
        _ => None,
    }
}

/// Status, reason and message of a condition.
pub(super) type Verdict = (&'static str, ConditionReason, String);

/// What is new about [`REGISTERED`]. It is said of a generation only when that generation's pods
/// are the ones that have been asked, which is once it is rolled out.
fn registered(facts: &Facts<'_>, offered: &Offered, judged: &Judged) -> Option<Verdict> {
    let Judged { routes, middleware, withheld } = judged;
    if !is_rolled_out(facts.plugin) {
        return None;
    }
    match offered {
        Offered::Nobody | Offered::Pending => None,
        Offered::Failed { reason, message } => Some(("False", *reason, message.clone())),
        Offered::Agreed { .. } if middleware.iter().any(is_refused) => {
            let refused = middleware.iter().filter(|entry| is_refused(entry)).map(describe).take(NAMED);
            Some(("False", ConditionReason::InvalidMiddleware, refused.collect::<Vec<_>>().join("; ")))
        }
        Offered::Agreed { .. } if !withheld.is_empty() => {
            let names = withheld.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            let message = format!(
                "middleware {names} is for other plugins, and middlewareFrom of the PluginSystem does not name this one"
            );
            Some(("False", ConditionReason::MiddlewareNotAllowed, message))
        }
        Offered::Agreed { remark, .. } => {
            let lost = routes.iter().filter_map(|route| route.message.as_deref()).collect::<Vec<_>>();
            if lost.is_empty() {
                let count = match routes.len() {
                    0 => "the plugin has no routes".to_owned(),
                    1 => "1 route is served".to_owned(),
                    count => format!("{count} routes are served"),
                };
                let remark = remark.as_ref().map(|remark| format!("; {remark}")).unwrap_or_default();
                return Some(("True", ConditionReason::Registered, format!("{count}{remark}")));
            }
            let mut message = lost.iter().take(NAMED).copied().collect::<Vec<_>>().join("; ");
            if lost.len() > NAMED {
                message.push_str(&format!("; and {} more", lost.len() - NAMED));
            }
            Some(("False", ConditionReason::RouteConflict, message))
        }
    }
}

/// What another plugin provides without leave is that one's affair.
fn is_refused(entry: &MiddlewareStatus) -> bool {
    entry.state == MiddlewareState::Refused && entry.source != MiddlewareSource::Provider
}

fn describe(entry: &MiddlewareStatus) -> String {
    let MiddlewareStatus { name, source, message, .. } = entry;
    let whose = match source {
        MiddlewareSource::System => "middleware of the PluginSystem",
        MiddlewareSource::Plugin | MiddlewareSource::Provider => "middleware",
    };
    format!("{whose} {name}: {}", message.as_deref().unwrap_or_default())
}

fn is_rolled_out(plugin: &Plugin) -> bool {
    let generation = plugin.metadata.generation;
    plugin.status.as_ref().is_some_and(|status| {
        status.observed_generation == generation
            && status
                .condition("Available")
                .is_some_and(|it| it.status == "True" && it.observed_generation == generation)
    })
}

fn offered(facts: &Facts<'_>) -> Offered {
    if facts.ready.is_empty() {
        return Offered::Nobody;
    }
    if facts.plugin.spec.protocol == Protocol::Http {
        return Offered::Agreed { routes: Vec::new(), middleware: Vec::new(), schema: None, remark: None };
    }
    let mut descriptions = Vec::new();
    let mut pending = false;
    for ready in facts.ready {
        match facts.pods.get(&ready.uid).and_then(|pod| pod.description.as_ref()) {
            None => pending = true,
            Some(Ok(description)) => descriptions.push(description),
            Some(Err(error)) => {
                let reason = match error {
                    DescribeError::Call(_) => ConditionReason::DescribeFailed,
                    DescribeError::Route(_) => ConditionReason::InvalidRoute,
                    DescribeError::Middleware(_) => ConditionReason::InvalidMiddleware,
                };
                return Offered::Failed { reason, message: format!("pod {}: {error}", ready.pod) };
            }
        }
    }
    if pending {
        return Offered::Pending;
    }
    let schema = descriptions.first().and_then(|it| it.config_schema.clone().ok().flatten());
    Offered::Agreed {
        routes: common(&descriptions),
        middleware: common_middleware(&descriptions),
        schema,
        remark: remark(facts.plugin, &descriptions),
    }
}

/// The routes that every pod has, in the order of the first.
fn common(descriptions: &[&Description]) -> Vec<Route> {
    let Some((first, others)) = descriptions.split_first() else { return Vec::new() };
    let others = others.iter().map(|other| other.routes.iter().collect::<BTreeSet<_>>()).collect::<Vec<_>>();
    let everywhere = |route: &&Route| others.iter().all(|other| other.contains(route));
    first.routes.iter().filter(everywhere).cloned().collect()
}

/// The middleware that every pod knows by its name, as the first has it: in the middle of a rollout
/// that changes it, requests go on meeting it.
fn common_middleware(descriptions: &[&Description]) -> Vec<ProvidedMiddleware> {
    let Some((first, others)) = descriptions.split_first() else { return Vec::new() };
    let knows = |other: &&&Description, name: &str| other.middleware.iter().any(|entry| entry.name == name);
    let everywhere = |entry: &&ProvidedMiddleware| others.iter().all(|other| knows(&other, &entry.name));
    first.middleware.iter().filter(everywhere).cloned().collect()
}

/// What the plugin calls itself, where that is not what its manifest calls it, and why its schema is
/// not used.
fn remark(plugin: &Plugin, descriptions: &[&Description]) -> Option<String> {
    let name = plugin.metadata.name.as_deref().unwrap_or_default();
    let other = descriptions.iter().find(|it| it.name != name || it.version != plugin.spec.version);
    let other = other.map(|it| format!("it calls itself {:?} in version {:?}", it.name, it.version));
    let refused = descriptions.iter().find_map(|it| it.config_schema.as_ref().err());
    let refused = refused.map(|why| format!("its schema for the configuration is not used: {why}"));
    let remarks: Vec<String> = other.into_iter().chain(refused).collect();
    (!remarks.is_empty()).then(|| remarks.join("; "))
}
