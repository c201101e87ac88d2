//! What is told to Prometheus: the workers' own counters, added up when they are asked for, and
//! what the control side counts. Besides plugins and their route patterns, labels are closed sets.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::UNIX_EPOCH,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, text::encode},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::{Registry, Unit},
};

use crate::{
    alerts::counts::Counts,
    control::{
        index::{Counted, Handle},
        process::{Process, Processes},
    },
    data::{
        stats::{
            BOUNDS, Exemplar, METHODS, Measure, PluginTotals, RouteStats, RouteTotals, STATUSES,
            UpstreamError,
        },
        worker::Shared,
    },
    mounts::Count,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What the control side counts.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    describes: Family<Outcome, Counter>,
    healths: Family<Outcome, Counter>,
    writes: Family<Outcome, Counter>,
    handshakes: Family<Outcome, Counter>,
    certificates: Family<State, Gauge>,
    expires: Gauge,
    key_sets: Family<State, Gauge>,
    fetches: Family<Outcome, Counter>,
    /// What plugins say of their processes.
    pub processes: Processes,
    /// Of alerts.
    pub alerts: Counts,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

impl Calls {
    /// A pod was asked to describe itself.
    pub fn described(&self, ok: bool) {
        count(&self.describes, if ok { "ok" } else { "failed" });
    }

    /// A pod was asked how it fares; `None` when it did not say.
    pub fn health(&self, healthy: Option<bool>) {
        count(
            &self.healths,
            match healthy {
                Some(true) => "healthy",
                Some(false) => "unhealthy",
                None => "failed",
            },
        );
    }

    /// A handshake of TLS has ended in this way.
    pub fn handshake(&self, outcome: &'static str) {
        count(&self.handshakes, outcome);
    }

    /// In what states the certificates are, and when the first of them ends.
    pub fn certificates(&self, count: Count, expires: Option<i64>) {
        set(&self.certificates, count);
        self.expires.set(expires.unwrap_or_default());
    }

    /// In what states the sets of keys are by which callers are known.
    pub fn key_sets(&self, count: Count) {
        set(&self.key_sets, count);
    }

    /// An issuer's keys were fetched, or not.
    pub fn fetched(&self, ok: bool) {
        count(&self.fetches, if ok { "ok" } else { "failed" });
    }

    /// A status was written, or not.
    pub fn wrote(&self, ok: bool) {
        count(&self.writes, if ok { "ok" } else { "failed" });
    }
}

fn set(family: &Family<State, Gauge>, count: Count) {
    let Count { current, stale, missing } = count;
    for (state, count) in [("current", current), ("stale", stale), ("missing", missing)] {
        family.get_or_create(&State { state }).set(count.into());
    }
}

fn count(family: &Family<Outcome, Counter>, outcome: &'static str) {
    family.get_or_create(&Outcome { outcome }).inc();
}

/// The gateway's metrics.
pub struct Metrics {
    registry: Registry,
    index: Handle,
}

impl Metrics {
    pub fn new(shared: Arc<Shared>, index: Handle, calls: &Calls) -> Self {
        let mut registry = Registry::with_prefix("forward_gateway");
        let Calls {
            describes,
            healths,
            writes,
            handshakes,
            certificates,
            expires,
            key_sets,
            fetches,
            processes,
            alerts,
        } = calls.clone();
        registry.register("describes", "Describe calls to plugins by outcome", describes);
        registry.register("health_checks", "Health calls to plugins by outcome", healths);
        registry.register("status_writes", "Writes of plugins' status by outcome", writes);
        registry.register("tls_handshakes", "Handshakes of TLS by outcome", handshakes);
        registry.register("tls_certificates", "Secrets with certificates by state", certificates);
        let help = "When the first certificate that is shown ends, in seconds since 1970";
        registry.register("tls_certificate_expires_timestamp_seconds", help, expires);
        registry.register("key_sets", "Secrets with keys of callers by state", key_sets);
        registry.register("jwks_fetches", "Fetches of issuers' keys by outcome", fetches);
        alerts.register(&mut registry);
        let traffic = Traffic { shared, index: index.clone(), processes };
        registry.register_collector(Box::new(traffic));
        Self { registry, index }
    }

    /// All metrics in the OpenMetrics text format.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        let plugins = self.index.lock().counted();
        Ok(exemplified(text, &plugins))
    }
}

/// What the workers have counted.
struct Traffic {
    shared: Arc<Shared>,
    index: Handle,
    processes: Processes,
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic").finish_non_exhaustive()
    }
}

impl Collector for Traffic {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let plugins = self.index.lock().counted();
        let routes = routes(&self.shared, &plugins);
        requests(&mut encoder, &routes)?;
        latencies(&mut encoder, &routes)?;
        upstreams(&mut encoder, &plugins)?;
        processes(&mut encoder, &self.processes)?;
        spans(&mut encoder, &self.shared)?;
        let snapshot = self.shared.snapshot.load();
        gauge(&mut encoder, "snapshot_version", "Changes of the routes since the start", snapshot.version)?;
        let count = plugins.iter().map(|plugin| plugin.routes.len()).sum::<usize>();
        gauge(&mut encoder, "routes", "Path patterns that are served", count as u64)?;
        gauge(&mut encoder, "plugins", "Plugins that are known", plugins.len() as u64)?;
        let connections = &self.shared.connections;
        gauge(&mut encoder, "connections", "Connections of clients", connections.open() as u64)?;
        let help = "Connections that were closed at once, as there were as many as may be";
        let refused = encoder.encode_descriptor("refused_connections", help, None, MetricType::Counter)?;
        ConstCounter::new(connections.refused()).encode(refused)?;
        let help = "Connections of HTTP/1.1 that have been without a request for a while";
        gauge(&mut encoder, "dormant_connections", help, self.shared.dormant.load(Relaxed) as u64)
    }
}

/// The text with a request that a trace is kept of behind each bucket that has one: the library gives no
/// way to pass on those that the workers have.
fn exemplified(text: String, plugins: &[Counted]) -> String {
    let mut lines = BTreeMap::new();
    for plugin in plugins {
        for (route, stats) in &plugin.routes {
            let bounds = BOUNDS.iter().map(|bound| format!("{bound:?}")).chain(["+Inf".to_owned()]);
            for (exemplar, bound) in RouteStats::exemplars(stats.iter()).into_iter().zip(bounds) {
                let Some(Exemplar { trace, seconds, at }) = exemplar else { continue };
                let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
                let line = format!("{BUCKET}le=\"{bound}\",plugin=\"{}\",route=\"{route}\"}} ", plugin.label);
                lines.insert(line, format!(" # {{trace_id=\"{trace:032x}\"}} {seconds} {at:.3}"));
            }
        }
    }
    if lines.is_empty() {
        return text;
    }
    let mut all = String::with_capacity(text.len());
    for line in text.lines() {
        all.push_str(line);
        let key = Some(line).filter(|line| line.starts_with(BUCKET)).and_then(|line| line.find("} "));
        if let Some(exemplar) = key.and_then(|end| lines.get(&line[..end + 2])) {
            all.push_str(exemplar);
        }
        all.push('\n');
    }
    all
}

/// How a line of a bucket begins.
const BUCKET: &str = "forward_gateway_request_duration_seconds_bucket{";

struct RouteCount<'a> {
    plugin: &'a str,
    route: &'a str,
    totals: RouteTotals,
}

/// The counts of all routes; those of requests without a route under empty names.
fn routes<'a>(shared: &Shared, plugins: &'a [Counted]) -> Vec<RouteCount<'a>> {
    let unmatched = RouteCount { plugin: "", route: "", totals: RouteTotals::of(&shared.unmatched) };
    let routes = plugins.iter().flat_map(|plugin| {
        plugin.routes.iter().map(|(route, stats)| RouteCount {
            plugin: &plugin.label,
            route,
            totals: RouteTotals::of(stats.iter()),
        })
    });
    std::iter::once(unmatched).chain(routes).collect()
}

fn requests(encoder: &mut DescriptorEncoder, routes: &[RouteCount<'_>]) -> fmt::Result {
    let help = "Requests by plugin, route, method and class of status";
    let mut metric = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
    for RouteCount { plugin, route, totals } in routes {
        for (method, statuses) in METHODS.iter().zip(&totals.requests) {
            for (status, count) in STATUSES.iter().zip(statuses).filter(|(_, count)| **count > 0) {
                let labels =
                    [("plugin", *plugin), ("route", *route), ("method", *method), ("status", *status)];
                ConstCounter::new(*count).encode(metric.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

fn latencies(encoder: &mut DescriptorEncoder, routes: &[RouteCount<'_>]) -> fmt::Result {
    let help = "Time from the head of a request to the end of its answer, by plugin and route";
    let seconds = Some(&Unit::Seconds);
    let mut metric = encoder.encode_descriptor("request_duration", help, seconds, MetricType::Histogram)?;
    for RouteCount { plugin, route, totals } in routes {
        let count = totals.buckets.iter().sum::<u64>();
        if count > 0 {
            let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
            let buckets = bounds.zip(totals.buckets).collect::<Vec<_>>();
            let labels = [("plugin", *plugin), ("route", *route)];
            histogram(&mut metric.encode_family(&labels)?, totals.seconds, count, &buckets)?;
        }
    }
    Ok(())
}

fn histogram(encoder: &mut MetricEncoder<'_>, sum: f64, count: u64, buckets: &[(f64, u64)]) -> fmt::Result {
    encoder.encode_histogram::<[(&str, &str); 0]>(sum, count, buckets, None)
}

fn upstreams(encoder: &mut DescriptorEncoder, plugins: &[Counted]) -> fmt::Result {
    let totals =
        plugins.iter().map(|plugin| (plugin, PluginTotals::of(plugin.plugin.iter()))).collect::<Vec<_>>();
    let help = "Requests that a plugin could not answer, by kind";
    let mut metric = encoder.encode_descriptor("upstream_errors", help, None, MetricType::Counter)?;
    for (plugin, totals) in &totals {
        for (kind, count) in UpstreamError::ALL.iter().zip(totals.errors).filter(|(_, count)| *count > 0) {
            let labels = [("plugin", plugin.label.as_str()), ("kind", kind.as_str())];
            ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
        }
    }
    measures(encoder, &totals)?;
    gauges(encoder, "in_flight", "Requests under way by plugin", &totals, |_, totals| totals.in_flight)?;
    gauges(encoder, "endpoints", "Ready pods by plugin", &totals, |plugin, _| whole(plugin.endpoints))?;
    let help = "Ready pods that get no requests as they are not healthy, by plugin";
    gauges(encoder, "unhealthy_endpoints", help, &totals, |plugin, _| whole(plugin.unhealthy))?;
    let help = "Ready pods that are ejected, by plugin";
    gauges(encoder, "ejected_endpoints", help, &totals, |plugin, _| whole(plugin.ejected))
}

fn measures(encoder: &mut DescriptorEncoder, all: &[(&Counted, PluginTotals)]) -> fmt::Result {
    let counted = |encoder: &mut DescriptorEncoder, name, help, kinds: &[(&str, Measure)]| {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (plugin, totals) in all {
            for (kind, measure) in kinds {
                let count = totals.measures[*measure as usize];
                let labels = [("plugin", plugin.label.as_str()), ("kind", kind)];
                // A metric of one kind has no label for it.
                let labels = &labels[..if kind.is_empty() { 1 } else { 2 }];
                if count > 0 {
                    ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    };
    counted(encoder, "ejections", "Pods that were ejected, by plugin", &[("", Measure::Eject)])?;
    let kinds = [
        ("unsent", Measure::Resend),
        ("stale", Measure::Reconnect),
        ("repeated", Measure::Repeat),
        ("hedged", Measure::Hedge),
        ("refused", Measure::Forgo),
    ];
    counted(encoder, "retries", "Requests that were sent once more, by plugin and kind", &kinds)?;
    let kinds = [("respond", Measure::Answer), ("plugin", Measure::Substitute)];
    counted(encoder, "fallbacks", "Requests that a fallback answered, by plugin and kind", &kinds)
}

/// A gauge by plugin.
fn gauges(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    all: &[(&Counted, PluginTotals)],
    value: impl Fn(&Counted, &PluginTotals) -> i64,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (plugin, totals) in all {
        let labels = [("plugin", plugin.label.as_str())];
        ConstGauge::new(value(plugin, totals)).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// What the pods say of their processes.
fn processes(encoder: &mut DescriptorEncoder, processes: &Processes) -> fmt::Result {
    let all = processes.all();
    let each = |encoder: &mut DescriptorEncoder, name, help, kind, value: fn(&Process) -> Option<f64>| {
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        for (id, told) in &all {
            let Some(value) = value(&told.process) else { continue };
            let plugin = id.to_string();
            let labels = [("plugin", plugin.as_str()), ("pod", told.pod.as_str())];
            let mut metric = metric.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(metric)?,
                _ => metric.encode_gauge(&value)?,
            }
        }
        Ok::<_, fmt::Error>(())
    };
    let (counter, gauge) = (MetricType::Counter, MetricType::Gauge);
    let help = "Memory that a plugin's process holds, in bytes";
    each(encoder, "plugin_memory_bytes", help, gauge, |it| it.memory_bytes)?;
    let help = "Time of the CPU that a plugin's process has used";
    each(encoder, "plugin_cpu_seconds", help, counter, |it| it.cpu_seconds)?;
    each(encoder, "plugin_threads", "Threads of a plugin's process", gauge, |it| it.threads)?;
    let help = "When a plugin's process was started, in seconds since 1970";
    each(encoder, "plugin_start_timestamp_seconds", help, gauge, |it| it.started)?;
    let help = "When a request came to a plugin's process last, in seconds since 1970";
    each(encoder, "plugin_last_request_timestamp_seconds", help, gauge, |it| it.last_request)
}

/// What became of spans.
fn spans(encoder: &mut DescriptorEncoder, shared: &Shared) -> fmt::Result {
    let mut metric =
        encoder.encode_descriptor("spans", "Spans of requests by outcome", None, MetricType::Counter)?;
    let Some(spans) = &shared.settings.spans else { return Ok(()) };
    for (outcome, count) in [("sent", &spans.sent), ("dropped", &spans.dropped)] {
        ConstCounter::new(count.load(Relaxed)).encode(metric.encode_family(&[("outcome", outcome)])?)?;
    }
    Ok(())
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)
}
