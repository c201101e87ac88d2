//! What plugins are built with that their namespace says, and the word for what a plugin is built
//! from. Owns the rule that this word changes when, and only when, what is built does: so an edit
//! of a PluginSystem rolls those plugins that it changes, and nobody else.

use std::fmt::Write;

use forward_crds::{
    CPU, Duration, MEMORY, Network, NetworkMode, Plugin, RESTART, Reload, SandboxDefaults, TIMEOUT,
};

use crate::{model::Settings, overrides::OVERRIDDEN};

/// `sandbox` of plugins that do not set it; absent where the namespace does not set it either, or
/// sets what it would be anyway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    timeout: Option<Duration>,
    memory: Option<String>,
    cpu: Option<String>,
    network: Option<NetworkMode>,
}

impl Inherited {
    /// What a PluginSystem says.
    pub fn new(timeout: Option<Duration>, sandbox: SandboxDefaults) -> Self {
        let SandboxDefaults { memory, cpu, network } = sandbox;
        Self {
            timeout: timeout.filter(|timeout| *timeout != TIMEOUT),
            memory: memory.map(|memory| memory.0).filter(|memory| memory != MEMORY),
            cpu: cpu.map(|cpu| cpu.0).filter(|cpu| cpu != CPU),
            network: network.and_then(|network| network.mode).filter(|mode| *mode != NetworkMode::All),
        }
    }

    /// That part of it which a plugin does not set itself, in a word; `0` where that is nothing.
    pub(crate) fn used_by(&self, plugin: &Plugin) -> String {
        let Self { timeout, memory, cpu, network } = self;
        let own = plugin.spec.sandbox.clone().unwrap_or_default();
        let timeout = timeout.filter(|_| own.timeout.is_none()).map(|timeout| timeout.to_string());
        let memory = memory.clone().filter(|_| own.memory.is_none());
        let cpu = cpu.clone().filter(|_| own.cpu.is_none());
        let says_nothing = |own: Network| own.mode.is_none() && own.egress.is_empty();
        let network = network.filter(|_| own.network.is_none_or(says_nothing));
        let network = network.map(|mode| format!("{mode:?}"));
        let values = [("timeout", timeout), ("memory", memory), ("cpu", cpu), ("network", network)];
        let used = values.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        let used: Vec<String> = used.collect();
        if used.is_empty() { "0".to_owned() } else { used.join(",") }
    }
}

/// What a plugin's Deployment is built from, in a word: the generation of its spec, what it uses of
/// its namespace's settings, the digest of a configuration that is overridden, the value by which it
/// was last told to restart, and when a value of `configFrom` became another. For example `3-0`, or `3-timeout=1m,cpu=1-2026-11-24`.
pub fn revision(plugin: &Plugin, settings: &Settings) -> String {
    let generation = plugin.metadata.generation.unwrap_or(0);
    let mut text = format!("{generation}-{}", settings.inherited.used_by(plugin));
    for value in [overridden(plugin), restart(plugin)].into_iter().flatten() {
        write!(text, "-{value}").expect("writing to a string cannot fail");
    }
    if let Some(changed) = config_from_changed(plugin) {
        write!(text, "-configFrom={changed}").expect("writing to a string cannot fail");
    }
    text
}

/// The time since which pods have to be started to know the values of `configFrom`, as text; nothing
/// where they learn of them while they run.
pub fn config_from_changed(plugin: &Plugin) -> Option<String> {
    let spec = &plugin.spec;
    let changed = plugin.status.as_ref()?.config_from_changed.as_ref()?;
    let read_at_start = spec.reload == Reload::Rolling && !spec.config_from.is_empty();
    read_at_start.then(|| changed.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The digest of a plugin's configuration, where overrides are part of it.
fn overridden(plugin: &Plugin) -> Option<&str> {
    plugin.metadata.annotations.as_ref()?.get(OVERRIDDEN).map(String::as_str)
}

/// The value by which a plugin was last told to restart.
pub fn restart(plugin: &Plugin) -> Option<&str> {
    plugin.metadata.annotations.as_ref()?.get(RESTART).map(String::as_str)
}
