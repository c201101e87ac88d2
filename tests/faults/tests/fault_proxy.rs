//! The API server fails, hesitates and repeats itself: in the end there is what there would be
//! anyway, no step breaks order, nothing stops that is to run, and nobody asks all the time.

use std::{collections::BTreeSet, env, time::Duration};

use anyhow::{Context, Result, ensure};
use forward_faults::{
    Call, Disturbance, Fault, Operator, Plan, Rule, Site, Target, Verb, run_on_site,
    scenario::{Course, await_down, bring_down, bring_over, bring_up, same_as, undisturbed},
};
use forward_tests::{FIELD_MANAGER, plugin, seconds, started};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

/// How long each part of the scenario may take with all that goes wrong.
const PART: Duration = seconds(150);
/// For so long it is watched whether there is quiet.
const WATCHED: Duration = seconds(6);
/// So long after all is as it should be there may be no quiet yet: events that come late are answered,
/// and what is written then comes late in its turn.
const SETTLING: Duration = seconds(30);
/// So many calls a second are quiet: the Lease is read once a second, and renewed now and then.
const QUIET: usize = 3;
/// So many calls a second are no busy loop where twelve plugins cannot be written: each of them is
/// tried with growing pauses.
const TRYING: usize = 30;

/// What decides which calls are hit; a failure names it, and `FORWARD_FAULT_SEED` brings it back.
fn seed() -> u64 {
    let given = env::var("FORWARD_FAULT_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()))
}

fn rule<What>(on: Target, percent: u64, times: usize, what: What) -> Rule<What> {
    Rule { on, percent, times, what }
}

fn calls(rules: Vec<Rule<Fault>>) -> Plan {
    Plan { seed: seed(), calls: rules, ..Plan::default() }
}

fn events(rules: Vec<Rule<Disturbance>>) -> Plan {
    Plan { seed: seed(), events: rules, ..Plan::default() }
}

fn refuse(code: u16, retry_after: Option<u32>) -> Fault {
    Fault::Refuse { code, retry_after }
}

/// Whether a write stops what runs.
fn stops(call: &Call) -> bool {
    call.is_on("deployments", "") && (call.verb == Verb::Delete || call.body["spec"]["replicas"] == 0)
}

/// Let time pass, and count the calls and the writes in it.
async fn count(site: &Site<'_>) -> (usize, usize) {
    let from = site.proxy.count();
    timeout(WATCHED, std::future::pending::<()>()).await.ok();
    (site.proxy.count() - from, site.proxy.steps(from).len())
}

/// Wait until there are no writes, and hardly a call.
async fn await_quiet(site: &Site<'_>) -> Result<()> {
    let (begin, bound) = (Instant::now(), QUIET * usize::try_from(WATCHED.as_secs())?);
    loop {
        let from = site.proxy.count();
        let (calls, writes) = count(site).await;
        if writes == 0 && calls <= bound {
            return Ok(());
        }
        let last = site.proxy.steps(from);
        let told = "nothing was to be done";
        ensure!(begin.elapsed() < SETTLING, "{calls} calls in {WATCHED:?}, and {told}; writes: {last:#?}");
    }
}

/// Go through the scenario while `plan` goes wrong.
async fn survive(site: &Site<'_>, course: &Course, what: &str, plan: Plan) -> Result<()> {
    let (from, seed, begin) = (site.proxy.count(), plan.seed, Instant::now());
    let told = || format!("{what}, with FORWARD_FAULT_SEED={seed}");
    site.proxy.follow(plan);
    bring_up(site).await?;
    site.await_state("all to be up", &course.up, PART).await.with_context(told)?;
    bring_over(site).await?;
    site.await_state("some to be over", &course.over, PART).await.with_context(told)?;
    let stopped: Vec<_> = site.proxy.steps(from).into_iter().filter(stops).collect();
    ensure!(stopped.is_empty(), "{}: stopped what was to run: {stopped:#?}", told());
    await_quiet(site).await.with_context(told)?;
    bring_down(site).await?;
    await_down(site, PART).await.with_context(told)?;
    site.check_order().with_context(told)?;
    let (calls, hits) = (site.proxy.count() - from, site.proxy.hits());
    eprintln!("{what}: {hits} hits, {calls} calls, {:.0?}", begin.elapsed());
    ensure!(hits > 0, "{}: nothing went wrong", told());
    site.heal();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_fail_change_nothing_about_the_end() {
    run_on_site("calls_that_fail_change_nothing_about_the_end", seconds(600), async |site| {
        let course = undisturbed(site).await.context("undisturbed")?;
        let throttled = vec![rule(Target::Calls, 25, 60, refuse(429, Some(1)))];
        survive(site, &course, "429", calls(throttled)).await?;
        let failing = [500, 503, 504].map(|code| rule(Target::Calls, 15, 30, refuse(code, None)));
        survive(site, &course, "500, 503 and 504", calls(failing.into())).await?;
        let conflicts = vec![
            rule(Target::Kind("plugins", "status"), 40, 60, refuse(409, None)),
            rule(Target::Kind("deployments", ""), 40, 20, refuse(409, None)),
        ];
        survive(site, &course, "conflicts", calls(conflicts)).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_or_late_change_nothing_about_the_end() {
    run_on_site("answers_that_are_lost_or_late", seconds(600), async |site| {
        let course = undisturbed(site).await.context("undisturbed")?;
        let lost = vec![rule(Target::Writes, 15, 40, Fault::Lose), rule(Target::Writes, 15, 40, Fault::Cut)];
        survive(site, &course, "answers that are lost", calls(lost)).await?;
        let hanging = vec![rule(Target::Writes, 5, 8, Fault::Hang)];
        survive(site, &course, "no answers", calls(hanging)).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_are_late_doubled_or_missed_change_nothing_about_the_end() {
    run_on_site("events_that_are_late_doubled_or_missed", seconds(600), async |site| {
        let course = undisturbed(site).await.context("undisturbed")?;
        let late = |kind, by| rule(Target::Kind(kind, ""), 60, usize::MAX, Disturbance::Delay(by));
        let out_of_order = vec![
            late("deployments", Duration::from_millis(700)),
            late("pods", Duration::from_millis(200)),
            late("configmaps", Duration::from_millis(1_200)),
            rule(Target::Watches, 30, usize::MAX, Disturbance::Repeat),
        ];
        survive(site, &course, "events out of order", events(out_of_order)).await?;
        let stale = vec![late("plugins", seconds(2))];
        survive(site, &course, "plugins as they were", events(stale)).await?;
        let missed = vec![
            rule(Target::Watches, 6, 60, Disturbance::Expire),
            rule(Target::Watches, 6, 60, Disturbance::Close),
        ];
        survive(site, &course, "events that are missed", events(missed)).await
    })
    .await;
}

/// What the operator's clock is set to, in seconds off the machine's, one after the other.
const JUMPS: [i64; 6] = [3_600, -3_600, 90, -86_400, 86_400, 0];

/// The day since which a plugin is in its state, where a write says so.
fn day(call: &Call) -> Option<String> {
    Some(call.body["status"]["stateTime"].as_str()?.get(..10)?.to_owned())
}

/// Set the operator's clock again and again, until dropped.
async fn jump(operator: &Operator) -> Result<()> {
    for off in JUMPS.into_iter().cycle() {
        operator.set_clock(off)?;
        sleep(seconds(2)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_changes_nothing_about_the_end() {
    run_on_site("a_clock_that_jumps", seconds(300), async |site| {
        let course = undisturbed(site).await.context("undisturbed")?;
        site.operator.set_clock(0)?;
        site.operator.kill().await;
        let from = site.proxy.count();
        let all = async {
            same_as(site, &course, PART).await?;
            bring_up(site).await?;
            site.await_state("all to be up again", &course.up, PART).await?;
            await_quiet(site).await
        };
        tokio::select! {
            outcome = all => outcome?,
            outcome = jump(&site.operator) => outcome?,
        }
        let days: BTreeSet<_> = site.proxy.steps(from).iter().filter_map(day).collect();
        ensure!(days.len() > 1, "the operator's clock did not jump: it wrote of {days:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_takes_no_writes_is_not_asked_all_the_time() {
    run_on_site("an_api_server_that_takes_no_writes", seconds(300), async |site| {
        let course = undisturbed(site).await.context("undisturbed")?;
        for code in [500, 409, 429] {
            let none = vec![rule(Target::Writes, 100, usize::MAX, refuse(code, None))];
            site.proxy.follow(calls(none));
            bring_up(site).await?;
            // In the first half each plugin is tried for the first time; in the second, the Lease is not
            // confirmed any more, and is all that is tried.
            let halves = [count(site).await, count(site).await];
            let [calls, writes] = [halves[0].0 + halves[1].0, halves[0].1 + halves[1].1];
            let watched = WATCHED * 2;
            eprintln!("{code}: {calls} calls in {watched:?} while no write is taken");
            ensure!(writes == 0, "{code}: {writes} writes were taken");
            ensure!(calls <= TRYING * usize::try_from(watched.as_secs())?, "{code}: {calls} calls");
            site.heal();
            site.await_state("all to be up", &course.up, PART).await.with_context(|| code.to_string())?;
            bring_down(site).await?;
            await_down(site, PART).await?;
        }
        site.check_order()
    })
    .await;
}

/// The chart's webhook with nobody behind it.
fn webhook() -> serde_json::Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "faults.goforward.dev"},
        "webhooks": [{
            "name": "plugins.goforward.dev", "failurePolicy": "Ignore", "sideEffects": "None",
            "matchPolicy": "Equivalent", "timeoutSeconds": 5, "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://127.0.0.1:1/validate"},
            "rules": [{"apiGroups": ["goforward.dev"], "apiVersions": ["v1alpha1"], "resources": ["plugins"],
                       "operations": ["CREATE", "UPDATE", "DELETE"]}],
        }],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugins_come_and_go_while_nobody_answers_at_the_webhook() {
    run_on_site("plugins_come_and_go_without_a_webhook", seconds(120), async |site| {
        let kind =
            GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration");
        let resource = ApiResource::from_gvk(&kind);
        let client = site.namespace.cluster.client.clone();
        let webhooks = Api::<DynamicObject>::all_with(client, &resource);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        webhooks.patch("faults.goforward.dev", &params, &Patch::Apply(webhook())).await?;
        let outcome = come_and_go(site).await;
        webhooks.delete("faults.goforward.dev", &DeleteParams::default()).await?;
        outcome
    })
    .await;
}

async fn come_and_go(site: &Site<'_>) -> Result<()> {
    let namespace = site.namespace;
    namespace.apply(&plugin("below")).await?;
    namespace.apply(&plugin("above").needs("below")).await?;
    namespace.await_plugin("above", "to start", seconds(30), started).await?;
    for name in ["below", "above"] {
        namespace.delete_plugin(name).await?;
    }
    for name in ["below", "above"] {
        namespace.await_plugin_gone(name, seconds(30)).await?;
    }
    site.check_order()
}
