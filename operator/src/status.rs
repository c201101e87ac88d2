//! The operator's part of a plugin's status: built from the decision, written by server-side
//! apply under the operator's name, and only when it differs from what is there.

use std::time::Duration;

use forward_crds::{Condition, HookOutcome, HookStatus, PLUGIN_LABEL, Plugin, PluginState, PluginStatus};
use forward_plan::{ConditionReason, ConditionView, Workload, state_time, timings};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    apply::{Kind, call_if_there},
    error::Error,
    index::Snapshot,
    observe::observe,
    ownership::MANAGER,
};

/// The operator's part of the status that a decision leads to. `now` is when conditions that
/// change their status changed it.
pub fn build(snapshot: &Snapshot, now: Timestamp) -> PluginStatus {
    let Snapshot { plugin, overrides, live, decision, .. } = snapshot;
    let generation = plugin.metadata.generation;
    let before = plugin.status.clone().unwrap_or_default();
    let observed = observe(live);
    let replicas = |count: fn(&Workload) -> i32| Some(observed.workload.as_ref().map_or(0, count));
    PluginStatus {
        state: Some(decision.state),
        state_time: Some(state_time(&before, decision.state, now)),
        timings: timings(&before, &observed, now),
        observed_generation: generation,
        version: decision.version.clone(),
        config_hash: decision.config_hash.clone(),
        replicas: replicas(|workload| workload.total_replicas),
        ready_replicas: replicas(|workload| workload.ready_replicas),
        selector: Some(format!("{PLUGIN_LABEL}={}", plugin.name_any()).into()),
        dependencies: decision.dependencies.clone(),
        hooks: decision.hooks.iter().map(|hook| timed(hook, now)).collect(),
        overrides: overrides.clone(),
        conditions: decision
            .conditions
            .iter()
            .map(|view| condition(view, &before.conditions, generation, now))
            .collect(),
        routes: Vec::new(),
        middleware: Vec::new(),
        provides_middleware: Vec::new(),
        health: None,
        reload: None,
        config_from_changed: None,
        config_schema: None,
    }
}

/// What is new of a hook is so since now.
fn timed(hook: &HookStatus, now: Timestamp) -> HookStatus {
    HookStatus { time: Some(hook.time.clone().unwrap_or(Time(now))), ..hook.clone() }
}

fn condition(
    view: &ConditionView,
    before: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let ConditionView { type_, status, reason, message } = view;
    let same = before.iter().find(|condition| condition.type_ == *type_ && condition.status == *status);
    Condition {
        type_: type_.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: same.map_or(Time(now), |condition| condition.last_transition_time.clone()),
    }
}

/// How long a change took that `after` ends: from when the plugin began to reconcile, or was made where
/// nothing was told of it yet, until it became ready. The times are exact to a second.
pub fn time_to_ready(plugin: &Plugin, after: &PluginStatus) -> Option<Duration> {
    let before = plugin.status.as_ref()?;
    let since = |status: &PluginStatus, type_| {
        let holds = status.condition(type_).filter(|condition| condition.status == "True");
        holds.map(|condition| condition.last_transition_time.0)
    };
    let made = plugin.meta().creation_timestamp.as_ref().filter(|_| before.state.is_none());
    let reconciling = || since(before, "Reconciling").filter(|_| since(before, "Ready").is_none());
    let begun = made.map(|made| made.0).or_else(reconciling)?;
    Duration::try_from(since(after, "Ready")?.duration_since(begun)).ok()
}

/// Turn `status` into that of a plugin whose objects cannot be: accepted no more, and stalled until
/// it is changed.
pub fn refuse(status: &mut PluginStatus, plugin: &Plugin, error: &Error, now: Timestamp) {
    let before = plugin.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    for (type_, value) in
        [("Accepted", "False"), ("Ready", "False"), ("Reconciling", "False"), ("Stalled", "True")]
    {
        let view = ConditionView {
            type_: type_.to_owned(),
            status: value.to_owned(),
            reason: ConditionReason::ObjectRefused.as_str().to_owned(),
            message: error.to_string(),
        };
        let refused = condition(&view, before, plugin.metadata.generation, now);
        status.conditions.retain(|condition| condition.type_ != type_);
        status.conditions.push(refused);
    }
}

/// The condition of the operator that is not always there.
const CONFIG_VALID: &str = "ConfigValid";
const DEPENDENCIES_READY: &str = "DependenciesReady";

/// How the status that there is differs from the one that there should be, in the operator's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    None,
    /// In words and counts that tell how far something is that goes on anyway.
    Details,
    /// In that, and the plugin is on its way up and has come a step further; also in that nothing was
    /// told of it yet.
    Step,
    /// In what people and tools wait for: an error or a way down, what serves, whether a condition holds.
    News,
}

/// How far `desired` is from what the plugin's status says.
pub fn difference(plugin: &Plugin, desired: &PluginStatus) -> Difference {
    let Some(before) = &plugin.status else { return Difference::News };
    if is_current(desired, before) {
        return Difference::None;
    }
    if before.state.is_none() && is_on_its_way(desired) {
        return Difference::Step;
    }
    let holds = |condition: &Condition| {
        before.conditions.iter().any(|it| it.type_ == condition.type_ && it.status == condition.status)
            // It goes on from there by itself, and how far it then is says more.
            || condition.type_ == DEPENDENCIES_READY && condition.status == "True"
    };
    let goes_on = before.observed_generation == desired.observed_generation
        && before.version == desired.version
        && before.config_hash == desired.config_hash
        && before.overrides.len() == desired.overrides.len()
        && before.hooks == desired.hooks
        && desired.conditions.iter().all(holds);
    match (before.state, desired.state) {
        (before, desired) if goes_on && before == desired => Difference::Details,
        (Some(before), Some(desired)) if goes_on && before < desired && desired <= PluginState::Started => {
            Difference::Step
        }
        _ => Difference::News,
    }
}

/// Whether a plugin comes up by itself and does not serve yet, so that there will be more to tell of it.
/// Hooks are told of before they run.
fn is_on_its_way(status: &PluginStatus) -> bool {
    let comes_up = |reason: &str| reason == ConditionReason::RollingOut.as_str() || is_passing(reason);
    let serves = status.condition("Available").is_some_and(|available| available.status == "True");
    status.hooks.is_empty()
        && !serves
        && status.condition("Ready").is_some_and(|ready| comes_up(&ready.reason))
}

/// Whether a reason is a wait that ends by itself.
pub fn is_passing(reason: &str) -> bool {
    use ConditionReason::{WaitingForDependencies, WaitingForRegistration, WaitingForSlot};
    [WaitingForDependencies, WaitingForSlot, WaitingForRegistration]
        .map(ConditionReason::as_str)
        .contains(&reason)
}

/// Whether the operator's part of what is there is already `desired`.
fn is_current(desired: &PluginStatus, before: &PluginStatus) -> bool {
    let mut seen = own(before);
    let is_own =
        |type_: &str| desired.conditions.iter().any(|own| own.type_ == type_) || type_ == CONFIG_VALID;
    seen.conditions.retain(|condition| is_own(&condition.type_));
    seen.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    let mut desired = desired.clone();
    desired.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    // The server orders lists by their first writer.
    seen.dependencies.sort_by(|a, b| a.name.cmp(&b.name));
    desired.dependencies.sort_by(|a, b| a.name.cmp(&b.name));
    for hooks in [&mut seen.hooks, &mut desired.hooks] {
        hooks.sort_by_key(|hook| hook.hook);
    }
    for overrides in [&mut seen.overrides, &mut desired.overrides] {
        overrides.sort_by(|a, b| (&a.field, &a.variable).cmp(&(&b.field, &b.variable)));
    }
    seen == desired
}

/// The operator's part of a status. A new field must be given its place here.
fn own(status: &PluginStatus) -> PluginStatus {
    let mut own = status.clone();
    let PluginStatus {
        state: _,
        state_time: _,
        timings: _,
        observed_generation: _,
        version: _,
        config_hash: _,
        replicas: _,
        ready_replicas: _,
        selector: _,
        dependencies: _,
        hooks: _,
        overrides: _,
        conditions: _,
        routes,
        middleware,
        provides_middleware,
        health,
        reload,
        config_from_changed,
        config_schema,
    } = &mut own;
    (*routes, *middleware, *provides_middleware) = Default::default();
    (*health, *reload, *config_from_changed, *config_schema) = Default::default();
    own
}

/// Whether a hook is to run that was not before.
fn begins_hook(plugin: &Plugin, desired: &PluginStatus) -> bool {
    let before = plugin.status.as_ref().map_or(&[][..], |status| &status.hooks);
    let is_new = |hook: &HookStatus| hook.outcome == HookOutcome::Running && !before.contains(hook);
    desired.hooks.iter().any(is_new)
}

/// Write `desired`, over the version of the plugin that it was made from where that must be the last one
/// (`exact`). Answers whether the plugin was still there.
pub async fn apply(
    client: &Client,
    plugin: &Plugin,
    desired: &PluginStatus,
    exact: bool,
) -> Result<bool, Error> {
    let name = plugin.name_any();
    let mut body = json!({
        "apiVersion": Plugin::api_version(&()),
        "kind": Plugin::kind(&()),
        // With the uid, a plugin that was deleted and made anew does not get its predecessor's status.
        "metadata": {"name": name, "uid": plugin.uid()},
        "status": desired,
    });
    // Who has not yet seen that a hook was begun must not begin it again.
    if exact || begins_hook(plugin, desired) {
        body["metadata"]["resourceVersion"] = json!(plugin.resource_version());
    }
    let api = Api::<Plugin>::namespaced(client.clone(), &plugin.namespace().unwrap_or_default());
    let params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(body);
    let call = api.patch_status(&name, &params, &patch);
    let written = call_if_there("write the status of", Plugin::NAME, &name, call).await?;
    Ok(written.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn view(type_: &str, status: &str) -> ConditionView {
        let [type_, status, reason, message] = [type_, status, "Because", "of this"].map(str::to_owned);
        ConditionView { type_, status, reason, message }
    }

    fn status(conditions: Value) -> PluginStatus {
        serde_json::from_value(json!({"state": "Started", "observedGeneration": 2, "conditions": conditions}))
            .unwrap()
    }

    fn ready(status: &str) -> Value {
        json!({"type": "Ready", "status": status, "reason": "R", "message": "", "observedGeneration": 2,
               "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn a_transition_is_a_change_of_status() {
        let before = status(json!([ready("True")])).conditions;
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let same = condition(&view("Ready", "True"), &before, Some(3), now);
        assert_eq!(same.last_transition_time, before[0].last_transition_time);
        assert_eq!((same.reason.as_str(), same.observed_generation), ("Because", Some(3)));
        assert_eq!(condition(&view("Ready", "False"), &before, Some(3), now).last_transition_time, Time(now));
        assert_eq!(
            condition(&view("Stalled", "True"), &before, Some(3), now).last_transition_time,
            Time(now)
        );
    }

    #[test]
    fn a_change_takes_from_its_first_decision_until_ready() {
        let at = |type_: &str, status: &str, second: u32| {
            json!({"type": type_, "status": status, "reason": "R", "message": "", "observedGeneration": 2,
                   "lastTransitionTime": format!("2026-01-01T00:00:{second:02}Z")})
        };
        let moving = status(json!([at("Ready", "False", 1), at("Reconciling", "True", 10)]));
        let ready = status(json!([at("Ready", "True", 42), at("Reconciling", "False", 42)]));
        let stalled = status(json!([at("Ready", "False", 1), at("Reconciling", "False", 10)]));
        let of = |before: &PluginStatus, after: &PluginStatus| {
            let metadata = json!({"name": "a", "creationTimestamp": "2026-01-01T00:00:02Z"});
            let spec = json!({"version": "1.0.0", "image": "a"});
            let plugin = json!({"metadata": metadata, "spec": spec, "status": before});
            time_to_ready(&serde_json::from_value(plugin).unwrap(), after)
        };
        assert_eq!(of(&moving, &ready), Some(Duration::from_secs(32)));
        assert_eq!(of(&stalled, &ready), None, "it did not change");
        let serving = status(json!([at("Ready", "True", 1), at("Reconciling", "True", 10)]));
        assert_eq!(of(&serving, &ready), None, "it was ready before");
        assert_eq!(of(&moving, &moving), None, "it is not ready yet");
        let unobserved = PluginStatus { observed_generation: Some(-1), ..PluginStatus::default() };
        assert_eq!(of(&unobserved, &ready), Some(Duration::from_secs(40)), "nothing was told of it");
        assert_eq!(of(&unobserved, &moving), None);
    }

    #[test]
    fn what_the_gateway_writes_is_no_difference() {
        let desired = status(json!([ready("True")]));
        let mut registered = ready("True");
        registered["type"] = "Registered".into();
        let mut seen = status(json!([registered, ready("True")]));
        seen.health =
            serde_json::from_value(json!({"status": "Healthy", "timestamp": "2026-01-01T00:00:00Z"}))
                .unwrap();
        seen.config_schema = serde_json::from_value(json!({"image": "a", "schema": "{}"})).unwrap();
        let entry =
            json!({"phase": "Limit", "name": "a", "source": "Plugin", "kind": "timeout", "state": "Active"});
        seen.middleware.push(serde_json::from_value(entry).unwrap());
        let provided = json!({"name": "auth", "phase": "Authenticate"});
        seen.provides_middleware.push(serde_json::from_value(provided).unwrap());
        assert!(is_current(&desired, &seen));
        seen.conditions[1].message = "another".into();
        assert!(!is_current(&desired, &seen));
        seen.conditions.pop();
        assert!(!is_current(&desired, &seen), "a condition is missing");
    }

    #[test]
    fn words_are_details_the_way_up_is_steps_and_the_rest_is_news() {
        let satisfied = |status: &str| {
            json!({"type": "DependenciesReady", "status": status, "reason": "R", "message": "",
                   "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let loaded = |mut status: PluginStatus| {
            status.state = Some(PluginState::Loaded);
            status
        };
        let before = loaded(status(json!([ready("False"), satisfied("False")])));
        let mut plugin: Plugin = serde_json::from_value(
            json!({"metadata": {"name": "a"}, "spec": {"version": "1.0.0", "image": "a"}}),
        )
        .unwrap();
        assert_eq!(difference(&plugin, &before), Difference::News, "there is no status yet");
        plugin.status = Some(before.clone());
        assert_eq!(difference(&plugin, &before), Difference::None);
        let details: [fn(&mut PluginStatus); 4] = [
            |status| status.conditions[1].status = "True".into(),
            |status| status.conditions[0].message = "2 of 3".into(),
            |status| status.conditions[0].reason = "Other".into(),
            |status| status.replicas = Some(2),
        ];
        let news: [fn(&mut PluginStatus); 10] = [
            |status| status.state = Some(PluginState::Unloaded),
            |status| status.state = Some(PluginState::Error),
            |status| {
                status.state = Some(PluginState::Started);
                status.conditions[0].status = "True".into();
            },
            |status| status.conditions[0].status = "True".into(),
            |status| status.conditions[1].status = "Unknown".into(),
            |status| status.conditions[0].type_ = "Stalled".into(),
            |status| status.state = None,
            |status| status.observed_generation = Some(3),
            |status| status.version = Some("2.0.0".into()),
            |status| {
                status.hooks = serde_json::from_value(
                    json!([{"hook": "beforeLoad", "revision": "1", "outcome": "Running"}]),
                )
                .unwrap()
            },
        ];
        let step = |status: &mut PluginStatus| status.state = Some(PluginState::Started);
        let steps: [fn(&mut PluginStatus); 1] = [step];
        let kinds = [
            (Difference::Details, &details[..]),
            (Difference::Step, &steps[..]),
            (Difference::News, &news[..]),
        ];
        for (expected, changes) in kinds {
            for (number, change) in changes.iter().enumerate() {
                let mut desired = before.clone();
                change(&mut desired);
                assert_eq!(difference(&plugin, &desired), expected, "{number}");
            }
        }
    }

    #[test]
    fn that_a_plugin_is_on_its_way_may_wait_for_what_comes_of_it() {
        let told = |ready: &str, available: &str, hooks: Value| {
            let condition = |type_: &str, status: &str, reason: &str| {
                json!({"type": type_, "status": status, "reason": reason, "message": "",
                       "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"})
            };
            let ready = condition("Ready", "False", ready);
            let mut status = status(json!([condition("Available", available, "Because"), ready]));
            status.hooks = serde_json::from_value(hooks).unwrap();
            status
        };
        let first = |desired: &PluginStatus| {
            let plugin = json!({"metadata": {"name": "a"}, "spec": {"version": "1.0.0", "image": "a"},
                                "status": {"observedGeneration": -1}});
            difference(&serde_json::from_value(plugin).unwrap(), desired)
        };
        let hook = json!([{"hook": "beforeLoad", "revision": "1", "outcome": "Running"}]);
        for (ready, available, hooks, expected) in [
            ("WaitingForDependencies", "False", json!([]), Difference::Step),
            ("RollingOut", "False", json!([]), Difference::Step),
            ("WaitingForRegistration", "True", json!([]), Difference::News),
            ("RollingOut", "False", hook, Difference::News),
            ("DependencyMissing", "False", json!([]), Difference::News),
            ("InvalidSpec", "False", json!([]), Difference::News),
            ("Ready", "True", json!([]), Difference::News),
        ] {
            assert_eq!(first(&told(ready, available, hooks)), expected, "{ready}");
        }
    }

    #[test]
    fn a_verdict_on_the_configuration_goes_with_its_schema() {
        let desired = status(json!([ready("True")]));
        let mut verdict = ready("True");
        verdict["type"] = "ConfigValid".into();
        assert!(!is_current(&desired, &status(json!([ready("True"), verdict]))));
    }

    #[test]
    fn a_refused_object_stalls_the_plugin() {
        let mut refused = status(json!([ready("True")]));
        let plugin: Plugin = serde_json::from_value(json!({
            "metadata": {"name": "hello", "generation": 2}, "spec": {"version": "1.0.0", "image": "a"},
            "status": status(json!([ready("True")])),
        }))
        .unwrap();
        let error = Error::ForeignObject { kind: "Service", name: "hello".to_owned() };
        refuse(&mut refused, &plugin, &error, Timestamp::UNIX_EPOCH);
        let found: Vec<_> =
            refused.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
        assert_eq!(
            found,
            [("Accepted", "False"), ("Ready", "False"), ("Reconciling", "False"), ("Stalled", "True")]
        );
        assert!(refused.conditions[1].message.contains("Service \"hello\""), "{:?}", refused.conditions[1]);
    }
}
