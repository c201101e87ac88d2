//! The container of a plugin: its environment, probes and limits.

use std::collections::BTreeMap;

use forward_crds::{
    CPU, Duration, FileSystem, HealthCheck, MEMORY, Plugin, PluginSystemSpec, Protocol, Reload, Sandbox,
    TIMEOUT,
};
use forward_plan::config_from_changed;
use forward_proto::plugin::v1::probe;
use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, ContainerPort, EnvVar, GRPCAction, HTTPGetAction, Lifecycle,
        LifecycleHandler, Probe, ResourceRequirements, SecurityContext, SleepAction, TCPSocketAction,
        VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use kube::ResourceExt;

use super::{CONTAINER, Input, PORT, stage};

/// Where the configuration is mounted.
const CONFIG_DIR: &str = "/etc/goforward";
/// How long a plugin goes on serving after it was told to stop: kube-proxy and the gateway need
/// that long, at worst, to learn that the pod is going.
pub const DRAIN: Duration = Duration::from_secs(5);
/// The policy by which the end of a log becomes the termination message.
pub const FALLBACK_TO_LOGS: &str = "FallbackToLogsOnError";
/// Probes in a row that must fail before a pod is taken out of traffic.
const READINESS_FAILURES: i32 = 3;

/// `sandbox` with the namespace's defaults and ours filled in.
pub struct Limits {
    pub memory: Quantity,
    pub cpu: Quantity,
    pub filesystem: FileSystem,
    pub tmp_size: Option<Quantity>,
    pub timeout: Duration,
}

impl Limits {
    pub fn of(plugin: &Plugin, system: Option<&PluginSystemSpec>) -> Self {
        let Sandbox { memory, cpu, filesystem, tmp_size, network: _, timeout } =
            plugin.spec.sandbox.clone().unwrap_or_default();
        let defaults = system.and_then(|system| system.sandbox.clone()).unwrap_or_default();
        Self {
            memory: memory.or(defaults.memory).unwrap_or_else(|| Quantity(MEMORY.to_owned())),
            cpu: cpu.or(defaults.cpu).unwrap_or_else(|| Quantity(CPU.to_owned())),
            filesystem,
            tmp_size,
            timeout: timeout.or(system.and_then(|system| system.timeout)).unwrap_or(TIMEOUT),
        }
    }
}

pub fn container(input: &Input<'_>, limits: &Limits) -> Container {
    let spec = &input.plugin.spec;
    let probes = Probes::of(input, limits);
    Container {
        name: CONTAINER.to_owned(),
        image: Some(spec.image.clone()),
        ports: Some(vec![ContainerPort {
            name: Some(PORT.to_owned()),
            container_port: port(input.plugin),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        env: Some(environment(input, limits)),
        resources: Some(resources(limits)),
        volume_mounts: Some(mounts(limits.filesystem).into_iter().chain(stage::mount(input)).collect()),
        startup_probe: probes.startup,
        readiness_probe: Some(probes.readiness),
        liveness_probe: probes.liveness,
        lifecycle: (spec.protocol == Protocol::Http).then(sleep_before_stop),
        termination_message_policy: Some(last_words(spec.protocol).to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            read_only_root_filesystem: Some(limits.filesystem != FileSystem::ReadWrite),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// The configuration, and what can be written. Container runtimes give every container a /dev/shm
/// that anybody can write to; where nothing is to be written, an empty one takes its place.
fn mounts(filesystem: FileSystem) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let other = match filesystem {
        FileSystem::None => mount(memory_volume(filesystem), "/dev/shm", true),
        FileSystem::ReadOnly | FileSystem::ReadWrite => mount(memory_volume(filesystem), "/tmp", false),
    };
    vec![mount("config", CONFIG_DIR, true), other]
}

/// The name of the pod's volume in memory.
pub fn memory_volume(filesystem: FileSystem) -> &'static str {
    match filesystem {
        FileSystem::None => "shm",
        FileSystem::ReadOnly | FileSystem::ReadWrite => "tmp",
    }
}

/// Where the reason for a failure is found: plugins of the contract write it down, others log it.
fn last_words(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Grpc => "File",
        Protocol::Http => FALLBACK_TO_LOGS,
    }
}

fn port(plugin: &Plugin) -> i32 {
    plugin.spec.http.clone().unwrap_or_default().port
}

/// The contract's variables, then the template's: the API server keeps the last of a name, so the
/// template's own `GOFORWARD_` variables are left out instead of winning.
fn environment(input: &Input<'_>, limits: &Limits) -> Vec<EnvVar> {
    let plugin = input.plugin;
    let namespace = plugin.namespace().unwrap_or_default();
    let own = [
        ("PLUGIN_NAME", plugin.name_any()),
        ("PLUGIN_NAMESPACE", namespace.clone()),
        ("PLUGIN_VERSION", plugin.spec.version.clone()),
        ("PORT", port(plugin).to_string()),
        ("CONFIG_DIR", CONFIG_DIR.to_owned()),
        ("TIMEOUT", limits.timeout.to_string()),
        ("DRAIN", DRAIN.to_string()),
    ];
    let reload = (plugin.spec.reload == Reload::InPlace).then(|| ("RELOAD", "InPlace".to_owned()));
    let config_from = config_from_changed(plugin).map(|changed| ("CONFIG_FROM", changed));
    let dependencies: BTreeMap<_, _> = plugin
        .spec
        .dependencies
        .iter()
        .map(|dependency| {
            let variable = dependency.name.to_uppercase().replace('-', "_");
            (variable, format!("http://{}.{namespace}.svc", dependency.name))
        })
        .collect();
    let variable = |name: String, value: String| EnvVar { name, value: Some(value), value_from: None };
    let template = plugin.spec.template.iter().flat_map(|template| template.env.clone());
    own.into_iter()
        .chain(reload)
        .chain(config_from)
        .map(|(name, value)| variable(format!("GOFORWARD_{name}"), value))
        .chain(stage::variable(input))
        .chain(
            dependencies.into_iter().map(|(name, url)| variable(format!("GOFORWARD_DEPENDENCY_{name}"), url)),
        )
        .chain(template.filter(|variable| !variable.name.starts_with("GOFORWARD_")))
        .collect()
}

fn resources(limits: &Limits) -> ResourceRequirements {
    let entry = |name: &str, quantity: &Quantity| (name.to_owned(), quantity.clone());
    ResourceRequirements {
        limits: Some([entry("memory", &limits.memory), entry("cpu", &limits.cpu)].into()),
        requests: Some([entry("memory", &limits.memory), entry("cpu", &tenth(&limits.cpu))].into()),
        ..ResourceRequirements::default()
    }
}

/// A tenth of a CPU quantity in whole millicores, at least one; a quantity in another unit than
/// cores or millicores is requested in full.
fn tenth(cpu: &Quantity) -> Quantity {
    let millicores = match cpu.0.strip_suffix('m') {
        Some(millicores) => millicores.parse::<f64>(),
        None => cpu.0.parse::<f64>().map(|cores| cores * 1_000.0),
    };
    match millicores {
        Ok(millicores) => Quantity(format!("{}m", (millicores / 10.0).max(1.0).floor())),
        Err(_) => cpu.clone(),
    }
}

/// An image that does not know the contract goes on serving while the cluster learns of its end.
fn sleep_before_stop() -> Lifecycle {
    Lifecycle {
        pre_stop: Some(LifecycleHandler {
            sleep: Some(SleepAction { seconds: DRAIN.whole_seconds().into() }),
            ..LifecycleHandler::default()
        }),
        ..Lifecycle::default()
    }
}

struct Probes {
    startup: Option<Probe>,
    readiness: Probe,
    liveness: Option<Probe>,
}

impl Probes {
    fn of(input: &Input<'_>, limits: &Limits) -> Self {
        match input.plugin.spec.protocol {
            Protocol::Grpc => Self::grpc(input, limits),
            Protocol::Http => Self::http(input.plugin),
        }
    }

    /// Startup tells Initialized, readiness tells Started. The kubelet asks for readiness at once
    /// when startup has succeeded.
    fn grpc(input: &Input<'_>, limits: &Limits) -> Self {
        let plugin = input.plugin;
        let ask = |service: &str, period: i32, failures: i32| Probe {
            grpc: Some(GRPCAction { port: port(plugin), service: Some(service.to_owned()) }),
            period_seconds: Some(period),
            timeout_seconds: Some(2),
            failure_threshold: Some(failures),
            ..Probe::default()
        };
        // The SDK ends a plugin that passes its timeout; the probe is for one that does not. The
        // kubelet counts on over restarts, until a probe succeeds or the number is reached.
        // For one that waits to be permitted there is no number.
        let patience = match input.stage {
            Some(_) => i32::MAX,
            None => limits.timeout.whole_seconds().saturating_mul(2).saturating_add(5),
        };
        Self {
            startup: Some(ask(probe::INITIALIZED, 1, patience)),
            readiness: ask(probe::READY, 2, READINESS_FAILURES),
            liveness: Some(ask(probe::LIVENESS, 10, READINESS_FAILURES)),
        }
    }

    fn http(plugin: &Plugin) -> Self {
        // Of pods that cannot be asked the kubelet thinks for itself.
        let HealthCheck { path, interval, timeout, failure_threshold, success_threshold, panic_percent: _ } =
            plugin.spec.health.as_deref().cloned().unwrap_or_default();
        let named = || IntOrString::String(PORT.to_owned());
        let tcp = path.is_none().then(|| TCPSocketAction { port: named(), host: None });
        let get =
            path.map(|path| HTTPGetAction { path: Some(path), port: named(), ..HTTPGetAction::default() });
        let readiness = Probe {
            tcp_socket: tcp,
            http_get: get,
            period_seconds: Some(interval.map_or(2, Duration::whole_seconds)),
            timeout_seconds: Some(timeout.map_or(2, Duration::whole_seconds)),
            failure_threshold: Some(failure_threshold.unwrap_or(READINESS_FAILURES)),
            success_threshold,
            ..Probe::default()
        };
        Self { startup: None, readiness, liveness: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_a_tenth_of_the_cpu_in_millicores() {
        let tenth = |cpu: &str| tenth(&Quantity(cpu.to_owned())).0;
        assert_eq!([tenth("500m"), tenth("2"), tenth("0.5"), tenth("5m")], ["50m", "200m", "50m", "1m"]);
        assert_eq!(tenth("1k"), "1k");
    }
}
