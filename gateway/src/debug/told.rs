//! A plugin's profile as it is told: numbers with their units, and as lines for people.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    profile::{Profiler, Window},
    text::{bytes, seconds, table},
};
use crate::{
    control::process::{Processes, Told},
    data::{
        clock::{SECOND, present},
        snapshot::Plugin,
        stats::{Course, PluginTotals, UpstreamError},
    },
};

/// How a plugin fares. Times are in seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub plugin: String,
    pub in_flight: i64,
    pub endpoints: usize,
    pub ejected: usize,
    /// When a request ended last, exact to a tenth of a second; `None` before the first.
    pub last_activity: Option<Timestamp>,
    pub windows: Vec<Shown>,
    /// Requests that the plugin could not answer since this replica started, by kind.
    pub upstream_errors: Vec<(&'static str, u64)>,
    /// What the pods say of themselves that this replica asks; each plugin is asked by one.
    pub processes: Vec<Process>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    window: &'static str,
    seconds: f64,
    requests: u64,
    /// Requests in a second.
    rate: f64,
    /// Answered with 5xx.
    failed: u64,
    error_rate: Option<f64>,
    mean: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    pod: String,
    memory_bytes: Option<f64>,
    /// Since it started.
    cpu_seconds: Option<f64>,
    /// In cores, over the last minute.
    cpu: Option<f64>,
    threads: Option<f64>,
    started: Option<Timestamp>,
    requests: Option<f64>,
    last_request: Option<Timestamp>,
}

impl Profile {
    pub fn of(plugin: &Arc<Plugin>, profiler: &Profiler, processes: &Processes) -> Self {
        let totals = PluginTotals::of(plugin.stats.iter());
        let errors = UpstreamError::ALL.iter().zip(totals.errors).filter(|(_, count)| *count > 0);
        Self {
            plugin: plugin.label.clone(),
            in_flight: totals.in_flight,
            endpoints: plugin.endpoints().len(),
            ejected: plugin.ejected(),
            last_activity: last(Course::of(plugin.stats.iter()).last),
            windows: profiler.windows(plugin, Instant::now()).iter().map(Shown::of).collect(),
            upstream_errors: errors.map(|(kind, count)| (kind.as_str(), count)).collect(),
            processes: processes.of(&plugin.id).iter().map(Process::of).collect(),
        }
    }
}

impl Shown {
    fn of(window: &Window) -> Self {
        let Window { name, seconds, requests, failed, mean, percentiles } = window;
        let [p50, p95, p99] = percentiles.map_or([None; 3], |all| all.map(Some));
        let error_rate = (*requests > 0).then(|| *failed as f64 / *requests as f64);
        let (requests, failed, rate) = (*requests, *failed, window.rate());
        Self {
            window: name,
            seconds: *seconds,
            requests,
            rate,
            failed,
            error_rate,
            mean: *mean,
            p50,
            p95,
            p99,
        }
    }
}

impl Process {
    fn of(told: &Told) -> Self {
        let crate::control::process::Process {
            memory_bytes,
            cpu_seconds,
            threads,
            started,
            requests,
            last_request,
        } = told.process;
        Self {
            pod: told.pod.clone(),
            memory_bytes,
            cpu_seconds,
            cpu: told.cpu,
            threads,
            started: started.and_then(moment),
            requests,
            last_request: last_request.and_then(moment),
        }
    }
}

/// The moment of a tick.
fn last(tick: u64) -> Option<Timestamp> {
    let ago = present().saturating_sub(tick).saturating_mul(1_000 / SECOND);
    let now = Timestamp::now().as_millisecond();
    let then = now.saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX));
    (tick > 0).then(|| Timestamp::from_millisecond(then).ok()).flatten()
}

fn moment(seconds: f64) -> Option<Timestamp> {
    // What is no time that can be written is not told.
    Timestamp::from_millisecond((seconds * 1_000.0) as i64).ok()
}

/// Some plugins for people: a line each.
pub fn lines(profiles: &[Profile]) -> String {
    let head = [
        "PLUGIN",
        "WINDOW",
        "RATE",
        "ERRORS",
        "MEAN",
        "P50",
        "P95",
        "P99",
        "IN FLIGHT",
        "MEMORY",
        "CPU",
        "LAST",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for profile in profiles {
        for (at, window) in profile.windows.iter().enumerate() {
            let sum = |value: fn(&Process) -> Option<f64>| {
                let all = profile.processes.iter().filter_map(value).collect::<Vec<_>>();
                (!all.is_empty()).then(|| all.iter().sum::<f64>())
            };
            let once = |text: String| if at == 0 { text } else { String::new() };
            let cpu = sum(|it| it.cpu).map_or("-".to_owned(), |cores| format!("{cores:.3}"));
            rows.push(vec![
                once(profile.plugin.clone()),
                window.window.to_owned(),
                format!("{:.2}/s", window.rate),
                window.error_rate.map_or("-".to_owned(), |rate| format!("{:.2}%", rate * 100.0)),
                seconds(window.mean),
                seconds(window.p50),
                seconds(window.p95),
                seconds(window.p99),
                once(profile.in_flight.to_string()),
                once(sum(|it| it.memory_bytes).map_or("-".to_owned(), bytes)),
                once(cpu),
                once(profile.last_activity.map_or("-".to_owned(), |at| format!("{at:.0}"))),
            ]);
        }
    }
    table(&rows)
}

/// One plugin for people.
pub fn page(profile: &Profile) -> String {
    let Profile { endpoints, ejected, upstream_errors, processes, .. } = profile;
    let mut page = lines(std::slice::from_ref(profile));
    page.push_str(&format!("\npods ready: {endpoints}, of them ejected: {ejected}\n"));
    for (kind, count) in upstream_errors {
        page.push_str(&format!("not answered, {kind}: {count}\n"));
    }
    if processes.is_empty() {
        page.push_str("\nThis replica does not ask the pods, or they do not tell of their processes.\n");
        return page;
    }
    let head = ["POD", "MEMORY", "CPU", "CPU TIME", "THREADS", "STARTED", "REQUESTS", "LAST"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
    let time = |value: Option<Timestamp>| value.map_or("-".to_owned(), |at| format!("{at:.0}"));
    for it in processes {
        rows.push(vec![
            it.pod.clone(),
            it.memory_bytes.map_or("-".to_owned(), bytes),
            it.cpu.map_or("-".to_owned(), |cores| format!("{cores:.3}")),
            seconds(it.cpu_seconds),
            number(it.threads),
            time(it.started),
            number(it.requests),
            time(it.last_request),
        ]);
    }
    page.push('\n');
    page.push_str(&table(&rows));
    page
}
