//! Random plugins and random events.

use forward_crds::Plugin;
use proptest::prelude::*;
use serde_json::json;

/// How many names there are. Few, so that plugins meet.
pub const NAMES: usize = 8;
const VERSIONS: [&str; 4] = ["1.0.0", "1.1.0", "2.0.0", "2.0.0-rc.1"];
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
    pub needs: Vec<Edge>,
}

#[derive(Clone, Debug)]
pub struct Edge {
    pub to: usize,
    pub range: usize,
    pub optional: bool,
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
    Limit(i32),
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
    (0..VERSIONS.len(), -2..3, rarely(0.92), rarely(0.06), 0..4, rarely(0.12), needs).prop_map(
        |(version, priority, enabled, suspend, replicas, broken, needs)| Sketch {
            version,
            priority,
            enabled,
            suspend,
            replicas: if replicas == 0 { 0 } else { (replicas + 1) / 2 },
            broken,
            needs,
        },
    )
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..NAMES, sketch()).prop_map(|(plugin, sketch)| Event::Put(plugin, sketch)),
        1 => (0..NAMES, prop::bool::weighted(0.2)).prop_map(|(plugin, force)| Event::Delete { plugin, force }),
        1 => (1..4).prop_map(Event::Limit),
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
            "metadata": {"name": name(index), "generation": generation},
            "spec": {
                "version": VERSIONS[self.version],
                "image": "example/plugin:1",
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
