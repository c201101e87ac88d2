//! Random plugins and random events.

use forward_crds::{Plugin, PluginSystem};
use forward_plan::Settings;
use proptest::prelude::*;
use serde_json::json;

/// How many names there are. Few, so that plugins meet.
pub const NAMES: usize = 8;
const VERSIONS: [&str; 4] = ["1.0.0", "1.1.0", "2.0.0", "2.0.0-rc.1"];
const IMAGES: [&str; 2] = ["example/plugin:1", "registry.example/plugin:1"];
const PREFIXES: [&[&str]; 3] = [&[], &["docker.io/example"], &["registry.example", "localhost:5000/x"]];
const TIMEOUTS: [Option<&str>; 3] = [None, Some("30s"), Some("1m")];
const RANGES: [Option<&str>; 6] =
    [None, Some("^1"), Some("1.1"), Some("^2"), Some(">=1, <3"), Some(">=2.0.0-rc.1, <2.0.0")];

/// A plugin in a few numbers.
#[derive(Clone, Debug)]
pub struct Sketch {
    pub version: usize,
    pub priority: i32,
    pub enabled: bool,
    pub suspend: bool,
    pub replicas: i32,
    /// Its pods never become ready.
    pub broken: bool,
    pub image: usize,
    pub needs: Vec<Edge>,
}

#[derive(Clone, Debug)]
pub struct Edge {
    pub to: usize,
    pub range: usize,
    pub optional: bool,
}

/// A PluginSystem in a few numbers.
#[derive(Clone, Debug)]
pub struct Rules {
    pub enabled: bool,
    pub rollouts: i32,
    pub max_plugins: Option<i32>,
    pub prefixes: usize,
    pub timeout: usize,
    /// Of no concern to the operator.
    pub hosts: bool,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A plugin is created or edited.
    Put(usize, Sketch),
    Delete {
        plugin: usize,
        force: bool,
    },
    Settings(Rules),
    /// The processes of a plugin that answers end, and are started again.
    Crash(usize),
    /// A plugin is told to restart, by this value.
    Restart(usize, u8),
    /// Everything that is planned is done.
    Act,
    /// One step of what is planned is done.
    ActOnce(usize),
    /// The pods and the gateway of the plugins whose bit is set go on.
    Advance(u16),
}

pub fn name(index: usize) -> String {
    format!("p{index}")
}

pub fn sketch() -> impl Strategy<Value = Sketch> {
    let edge = (0..NAMES, 0..RANGES.len(), prop::bool::weighted(0.3));
    let edge = edge.prop_map(|(to, range, optional)| Edge { to, range, optional });
    let rarely = |p| prop::bool::weighted(p);
    let needs = prop::collection::vec(edge, 0..4);
    let rest = (rarely(0.12), rarely(0.2), needs);
    (0..VERSIONS.len(), -2..3, rarely(0.92), rarely(0.06), 0..4, rest).prop_map(
        |(version, priority, enabled, suspend, replicas, (broken, elsewhere, needs))| Sketch {
            version,
            priority,
            enabled,
            suspend,
            replicas: if replicas == 0 { 0 } else { (replicas + 1) / 2 },
            broken,
            image: usize::from(elsewhere),
            needs,
        },
    )
}

pub fn rules() -> impl Strategy<Value = Rules> {
    let (max_plugins, prefixes) = (prop::option::of(1..6), 0..PREFIXES.len());
    (prop::bool::weighted(0.8), 1..4, max_plugins, prefixes, 0..TIMEOUTS.len(), any::<bool>()).prop_map(
        |(enabled, rollouts, max_plugins, prefixes, timeout, hosts)| Rules {
            enabled,
            rollouts,
            max_plugins,
            prefixes,
            timeout,
            hosts,
        },
    )
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..NAMES, sketch()).prop_map(|(plugin, sketch)| Event::Put(plugin, sketch)),
        1 => (0..NAMES, prop::bool::weighted(0.2)).prop_map(|(plugin, force)| Event::Delete { plugin, force }),
        1 => rules().prop_map(Event::Settings),
        1 => (0..NAMES).prop_map(Event::Crash),
        1 => (0..NAMES, 0..3_u8).prop_map(|(plugin, value)| Event::Restart(plugin, value)),
        4 => Just(Event::Act),
        2 => (0..NAMES).prop_map(Event::ActOnce),
        6 => any::<u16>().prop_map(Event::Advance),
    ]
}

impl Sketch {
    pub fn plugin(&self, index: usize, generation: i64) -> Plugin {
        let needs = self.needs.iter().filter(|edge| edge.to != index);
        let needs: std::collections::BTreeMap<_, _> = needs.map(|edge| (edge.to, edge)).collect();
        let dependencies: Vec<_> = needs
            .values()
            .map(|edge| json!({"name": name(edge.to), "version": RANGES[edge.range], "optional": edge.optional}))
            .collect();
        let plugin = json!({
            "apiVersion": "goforward.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": {
                "name": name(index),
                "generation": generation,
                // Neither the order of names nor that of events.
                "creationTimestamp": format!("2026-01-01T00:00:0{}Z", (index * 3 + 1) % NAMES / 2),
            },
            "spec": {
                "version": VERSIONS[self.version],
                "image": IMAGES[self.image],
                "priority": self.priority,
                "enabled": self.enabled,
                "suspend": self.suspend,
                "replicas": self.replicas,
                "dependencies": dependencies,
                "config": {"broken": self.broken},
            },
        });
        serde_json::from_value(plugin).unwrap()
    }
}

impl Rules {
    pub fn settings(&self) -> Settings {
        let system = json!({
            "apiVersion": "goforward.dev/v1alpha1",
            "kind": "PluginSystem",
            "metadata": {"name": "default"},
            "spec": {
                "enabled": self.enabled,
                "maxConcurrentRollouts": self.rollouts,
                "maxPlugins": self.max_plugins,
                "imagePrefixes": PREFIXES[self.prefixes],
                "timeout": TIMEOUTS[self.timeout],
                "hosts": if self.hosts { vec!["shop.example"] } else { vec![] },
            },
        });
        Settings::from(Some(&serde_json::from_value::<PluginSystem>(system).unwrap()))
    }
}
