//! The states of a plugin and the ways between them, as data: every way is walked once, and no other
//! one is ever taken.

use std::{collections::BTreeSet, sync::Arc};

use forward_crds::{
    Plugin,
    PluginState::{self, Error, Initialized, Loaded, Started, Stopped, Unloaded},
};
use forward_plan::{Namespace, Observed, Settings, Workload, revision};
use serde_json::{Value, json};

/// From, to, and what leads there. Steps that pass between two looks are skipped: then one sees a
/// way that is several of these.
const WAYS: [(PluginState, PluginState, &str); 19] = [
    (Unloaded, Loaded, "its process is started"),
    (Loaded, Initialized, "Initialize succeeds"),
    (Initialized, Started, "Start succeeds"),
    (Started, Initialized, "it stops answering, its process stays"),
    (Started, Loaded, "what served before is lost while the new version comes up"),
    (Started, Stopped, "it is suspended"),
    (Initialized, Stopped, "it is suspended before it answers"),
    (Loaded, Stopped, "it is suspended while it initializes"),
    (Unloaded, Stopped, "it is suspended before its process is there"),
    (Stopped, Unloaded, "it is resumed, or disabled"),
    (Started, Unloaded, "it is disabled, or all its pods are lost"),
    (Initialized, Unloaded, "it is disabled before it answers, or its pods are replaced"),
    (Loaded, Unloaded, "it is disabled while it initializes, or its pods are replaced"),
    (Unloaded, Error, "its image cannot be had"),
    (Loaded, Error, "Initialize fails"),
    (Initialized, Error, "Start fails"),
    (Started, Error, "its process ends"),
    (Error, Stopped, "it is suspended after it failed"),
    (Error, Unloaded, "it is restarted or changed after it failed"),
];

/// Out of Error by itself: what failed is tried again by the kubelet.
const RECOVERIES: [(PluginState, PluginState, &str); 2] = [
    (Error, Loaded, "its image can be had again"),
    (Error, Started, "its process was started again and answers"),
];

fn is_allowed(from: PluginState, to: PluginState) -> bool {
    from == to || WAYS.iter().chain(&RECOVERIES).any(|(a, b, _)| (*a, *b) == (from, to))
}

/// A plugin that was not there before begins without anything.
pub fn check_transition(name: &str, from: Option<PluginState>, to: PluginState) {
    assert!(is_allowed(from.unwrap_or(Unloaded), to), "{name} went from {from:?} to {to:?}");
}

/// What is there of the plugin: nothing, or one pod.
fn there(plugin: &Plugin, replicas: i32, pods: Value) -> Observed {
    let pods: Observed = serde_json::from_value(json!({"pods": pods})).unwrap();
    let ready = pods.pods.iter().filter(|pod| pod.phase == forward_plan::PodPhase::Ready).count() as i32;
    let workload = Workload {
        revision: revision(plugin, &Settings::default()).into(),
        version: "1.0.0".into(),
        replicas,
        total_replicas: pods.pods.len() as i32,
        updated_replicas: pods.pods.len() as i32,
        ready_replicas: ready,
        rolled_out: ready == replicas && replicas > 0,
        ..Workload::default()
    };
    Observed { workload: Some(workload), ..pods }
}

/// A spec, the pods wanted in its Deployment (or none at all), the pods there, and the state.
type Look = (Value, Option<i32>, Value, PluginState);

fn looks(steps: Vec<Look>) -> Vec<PluginState> {
    let mut namespace = Namespace::new();
    let look = |(spec, replicas, pods, expected): Look| {
        let mut object = json!({
            "apiVersion": "goforward.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": {"name": "cart", "generation": 1},
            "spec": {"version": "1.0.0", "image": "cart:1"},
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let plugin: Plugin = serde_json::from_value(object).unwrap();
        let observed = match replicas {
            Some(replicas) => there(&plugin, replicas, pods.clone()),
            None => serde_json::from_value(json!({"pods": pods})).unwrap(),
        };
        namespace.apply(Arc::new(plugin), observed);
        let state = namespace.decide("cart").unwrap().state;
        assert_eq!(state, expected, "{spec} with {replicas:?} pods wanted and {pods}");
        state
    };
    steps.into_iter().map(look).collect()
}

fn pod(phase: &str) -> Value {
    json!([{"name": "a", "current": true, "phase": phase, "version": "1.0.0"}])
}

fn broken(phase: &str, problem: Value) -> Value {
    let mut pods = pod(phase);
    pods[0]["problem"] = problem;
    pods
}

#[test]
fn every_way_is_walked_and_no_other() {
    let (run, suspend, disable) = (json!({}), json!({"suspend": true}), json!({"enabled": false}));
    let crash = || json!({"Exited": {"code": 1, "message": "", "restarts": 1}});
    let no_image = json!({"ImageNotPulled": {"image": "cart:1", "message": "no"}});
    let none = || json!([]);
    let run = |pods, state| (run.clone(), Some(1), pods, state);
    let stopped = |pods| (suspend.clone(), Some(0), pods, Stopped);
    let unloaded = |pods| (disable.clone(), None, pods, Unloaded);
    let walk = vec![
        (json!({}), None, none(), Unloaded),
        run(pod("Pending"), Unloaded),
        run(broken("Pending", no_image), Error),
        run(pod("Loaded"), Loaded),
        run(pod("Initialized"), Initialized),
        run(pod("Ready"), Started),
        run(pod("Initialized"), Initialized),
        run(pod("Ready"), Started),
        run(broken("Loaded", crash()), Error),
        run(broken("Initialized", crash()), Error),
        run(pod("Ready"), Started),
        run(json!([{"name": "old", "phase": "Ready", "version": "0.9.0"}, pod("Loaded")[0]]), Started),
        run(pod("Loaded"), Loaded),
        run(pod("Initialized"), Initialized),
        run(pod("Ready"), Started),
        // Told to stop, and kept as long as it is needed.
        (suspend.clone(), Some(1), pod("Ready"), Started),
        stopped(pod("Terminating")),
        stopped(none()),
        run(none(), Unloaded),
        run(pod("Loaded"), Loaded),
        stopped(pod("Terminating")),
        run(pod("Pending"), Unloaded),
        run(pod("Loaded"), Loaded),
        run(broken("Pending", crash()), Error),
        // Failing until that is carried out.
        (suspend.clone(), Some(1), broken("Pending", crash()), Error),
        stopped(pod("Terminating")),
        unloaded(none()),
        run(pod("Loaded"), Loaded),
        run(pod("Initialized"), Initialized),
        stopped(pod("Terminating")),
        unloaded(none()),
        stopped(none()),
        unloaded(none()),
        run(pod("Loaded"), Loaded),
        unloaded(pod("Terminating")),
        run(pod("Loaded"), Loaded),
        run(pod("Initialized"), Initialized),
        unloaded(pod("Terminating")),
        run(pod("Loaded"), Loaded),
        run(pod("Initialized"), Initialized),
        run(broken("Pending", crash()), Error),
        run(pod("Pending"), Unloaded),
        run(pod("Loaded"), Loaded),
        run(pod("Initialized"), Initialized),
        run(pod("Ready"), Started),
        unloaded(pod("Terminating")),
    ];
    let states = looks(walk);
    let walked: BTreeSet<_> =
        states.windows(2).map(|pair| (pair[0], pair[1])).filter(|(from, to)| from != to).collect();
    let allowed: BTreeSet<_> = WAYS.iter().chain(&RECOVERIES).map(|(from, to, _)| (*from, *to)).collect();
    assert_eq!(walked, allowed);
}
