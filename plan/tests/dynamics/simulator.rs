//! A cluster in a few lines: does what is decided, lets pods come up and go, and checks at every
//! step what must hold at every step.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use forward_crds::{Condition, FORCE_DELETE, Plugin, RESTART, Word};
use forward_plan::{
    Action, Decision, Namespace, Observed, Plan, Pod, PodPhase, Problem, Settings, Workload, revision,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use semver::{Version, VersionReq};

use crate::{
    sketch::{Event, Sketch, name},
    transitions::check_transition,
};

/// Rounds after which a cluster that still moves is taken to move for ever.
const ROUNDS: usize = 400;

pub struct Cluster {
    pub settings: Settings,
    pub plugins: BTreeMap<String, Arc<Plugin>>,
    pub observed: BTreeMap<String, Observed>,
    pub namespace: Namespace,
    generations: BTreeMap<String, i64>,
    decisions: BTreeMap<String, Decision>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            plugins: BTreeMap::new(),
            observed: BTreeMap::new(),
            namespace: Namespace::new(),
            generations: BTreeMap::new(),
            decisions: BTreeMap::new(),
        }
    }
}

impl Cluster {
    pub fn happen(&mut self, event: Event) {
        match event {
            Event::Put(index, sketch) => self.put(index, &sketch),
            Event::Delete { plugin, force } => self.delete(&name(plugin), force),
            Event::Settings(rules) => {
                self.settings = rules.settings();
                let touched = self.namespace.configure(self.settings.clone());
                self.check_touched(&touched);
            }
            Event::Crash(index) => self.crash(&name(index)),
            Event::Restart(index, value) => self.restart(&name(index), value),
            Event::Act => self.act(),
            Event::ActOnce(index) => {
                let steps = self.namespace.plan().steps;
                if let Some(step) = steps.get(index) {
                    self.carry_out(&step.name, self.decisions[&step.name].action);
                }
            }
            Event::Advance(bits) => {
                let names: Vec<_> = self.plugins.keys().cloned().collect();
                for (place, name) in names.iter().enumerate() {
                    if bits & (1 << place) != 0 {
                        self.advance(name);
                    }
                }
            }
        }
    }

    pub fn put(&mut self, index: usize, sketch: &Sketch) {
        let name = name(index);
        let generation = self.generations.entry(name.clone()).or_default();
        let mut plugin = sketch.plugin(index, *generation + 1);
        if let Some(before) = self.plugins.get(&name) {
            if is_deleting(before) || before.spec == plugin.spec {
                return;
            }
            plugin.status = before.status.clone();
            plugin.metadata.annotations = before.metadata.annotations.clone();
        }
        *generation += 1;
        self.plugins.insert(name.clone(), Arc::new(plugin));
        self.report(&name);
    }

    pub fn delete(&mut self, name: &str, force: bool) {
        let Some(plugin) = self.plugins.get_mut(name) else { return };
        let metadata = &mut Arc::make_mut(plugin).metadata;
        metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        if force {
            metadata.annotations.get_or_insert_default().insert(FORCE_DELETE.to_owned(), "true".to_owned());
        }
        self.report(name);
    }

    fn restart(&mut self, name: &str, value: u8) {
        let Some(plugin) = self.plugins.get_mut(name) else { return };
        let annotations = Arc::make_mut(plugin).metadata.annotations.get_or_insert_default();
        annotations.insert(RESTART.to_owned(), value.to_string());
        self.report(name);
    }

    fn crash(&mut self, name: &str) {
        let Some(observed) = self.observed.get_mut(name).filter(|_| self.plugins.contains_key(name)) else {
            return;
        };
        for pod in observed.pods.iter_mut().filter(|pod| pod.phase == PodPhase::Ready) {
            pod.phase = PodPhase::Loaded;
            pod.problem = Some(Problem::Exited { code: 1, message: String::new(), restarts: 1 });
        }
        count(observed);
        self.report(name);
    }

    /// Do all that is planned, from one plan: what was decided at one moment must go together.
    pub fn act(&mut self) {
        let (before, loaded_before) = (self.climbing(), self.loaded());
        let Plan { steps, decisions } = self.namespace.plan();
        let decisions: BTreeMap<_, _> = decisions.into_iter().collect();
        for step in steps {
            self.carry_out(&step.name, decisions[&step.name].action);
        }
        // Who was on the way when the limit was lowered stays.
        let (after, limit) = (self.climbing(), self.settings.max_concurrent_rollouts);
        assert!(after <= limit.max(before), "{after} climb at once, {limit} may");
        let (loaded, limit) = (self.loaded(), self.settings.max_plugins.unwrap_or(usize::MAX));
        assert!(loaded <= limit.max(loaded_before), "{loaded} are loaded, {limit} may");
    }

    /// Let the cluster go on until nothing moves.
    pub fn rest(&mut self) {
        for _ in 0..ROUNDS {
            let names: Vec<_> = self.plugins.keys().cloned().collect();
            let planned = self.namespace.plan().steps;
            self.act();
            let moved = names.iter().filter(|name| self.advance(name)).count();
            if planned.is_empty() && moved == 0 {
                return;
            }
        }
        panic!("still moving: {:?}", self.namespace.plan().steps);
    }

    /// What an index says that knows only how things stand, told in the order of `names`.
    pub fn plan_from_scratch<'a>(&'a self, names: impl Iterator<Item = &'a String>) -> Plan {
        let mut namespace = Namespace::new();
        namespace.configure(self.settings.clone());
        for name in names {
            let observed = self.observed.get(name).cloned().unwrap_or_default();
            namespace.apply(self.plugins[name].clone(), observed);
        }
        namespace.plan()
    }

    fn carry_out(&mut self, name: &str, action: Action) {
        let plugin = self.plugins[name].clone();
        self.check_action(&plugin, action);
        let observed = self.observed.entry(name.to_owned()).or_default();
        match action {
            Action::Hold => {}
            Action::Apply => apply(observed, &plugin, &self.settings, plugin.spec.replicas),
            Action::Stop => apply(observed, &plugin, &self.settings, 0),
            Action::Unload | Action::Delete => {
                observed.workload = None;
                observed.pods.iter_mut().for_each(|pod| pod.phase = PodPhase::Terminating);
            }
        }
        self.report(name);
    }

    /// Let pods come up and go, and the gateway and the operator do their part. Answers whether
    /// anything moved.
    fn advance(&mut self, name: &str) -> bool {
        let Some(plugin) = self.plugins.get(name).cloned() else { return false };
        let observed = self.observed.entry(name.to_owned()).or_default();
        let before = observed.clone();
        if is_deleting(&plugin) && observed.workload.is_none() && observed.pods.is_empty() {
            // The finalizer goes only where that was decided.
            if self.decisions[name].action != Action::Delete {
                return false;
            }
            self.plugins.remove(name);
            self.observed.remove(name);
            let touched = self.namespace.remove(name);
            self.check_touched(&touched);
            return true;
        }
        observed.pods.retain(|pod| pod.phase != PodPhase::Terminating);
        observed.pods.iter_mut().filter(|pod| pod.current).for_each(|pod| come_up(pod, &plugin));
        if observed.pods.iter().any(|pod| pod.current && pod.phase == PodPhase::Ready) {
            observed.pods.retain(|pod| pod.current);
        }
        count(observed);
        let moved = *observed != before;
        let registered = observed.workload.as_ref().is_some_and(|workload| workload.rolled_out)
            && self.register(name, plugin.metadata.generation);
        self.report(name);
        let told = self.tell_dependencies(name);
        moved || registered || told
    }

    /// Write into the status what was decided of a plugin's dependencies, as the operator does.
    fn tell_dependencies(&mut self, name: &str) -> bool {
        let decided = self.decisions[name].dependencies.clone();
        let Some(plugin) = self.plugins.get_mut(name) else { return false };
        let said = &mut Arc::make_mut(plugin).status.get_or_insert_default().dependencies;
        if *said == decided {
            return false;
        }
        *said = decided;
        self.report(name);
        true
    }

    fn register(&mut self, name: &str, generation: Option<i64>) -> bool {
        let Some(plugin) = self.plugins.get_mut(name) else { return false };
        let conditions = &mut Arc::make_mut(plugin).status.get_or_insert_default().conditions;
        if conditions.iter().any(|condition| condition.observed_generation == generation) {
            return false;
        }
        *conditions = vec![Condition {
            type_: "Registered".into(),
            status: "True".into(),
            reason: "Registered".into(),
            message: Word::default(),
            observed_generation: generation,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }];
        true
    }

    fn report(&mut self, name: &str) {
        let observed = self.observed.get(name).cloned().unwrap_or_default();
        let touched = self.namespace.apply(self.plugins[name].clone(), observed);
        self.check_touched(&touched);
    }

    /// Whose decision changed is among those who were to be looked at again.
    fn check_touched(&mut self, touched: &BTreeSet<String>) {
        let after: BTreeMap<String, Decision> = self.namespace.plan().decisions.into_iter().collect();
        for (name, decision) in &after {
            let before = self.decisions.get(name);
            check_transition(name, before.map(|before| before.state), decision.state);
            assert!(
                before == Some(decision) || touched.contains(name),
                "nobody said that {name} changed from {:?} to {:?}",
                before.map(|before| (before.action, &before.reason)),
                (decision.action, &decision.reason),
            );
        }
        assert!(touched.iter().all(|name| after.contains_key(name)), "{touched:?} has strangers");
        self.decisions = after;
    }

    fn check_action(&self, plugin: &Plugin, action: Action) {
        match action {
            Action::Hold => {}
            Action::Apply => self.check_start(plugin),
            Action::Stop | Action::Unload => self.check_end(plugin),
            Action::Delete if is_forced(plugin) => {}
            Action::Delete => self.check_end(plugin),
        }
    }

    /// Nothing starts before what it needs.
    fn check_start(&self, plugin: &Plugin) {
        let name = plugin.metadata.name.as_deref().unwrap();
        for need in plugin.spec.dependencies.iter().filter(|need| !need.optional) {
            let workload =
                self.observed.get(need.name.as_str()).and_then(|observed| observed.workload.as_ref());
            let workload = workload.unwrap_or_else(|| panic!("{name} starts without {}", need.name));
            assert!(workload.ready_replicas > 0, "{name} starts before {} is ready", need.name);
            let range = need.version.as_deref().map(|range| VersionReq::parse(range).unwrap());
            let version = Version::parse(&workload.version).unwrap();
            assert!(
                range.is_none_or(|range| range.matches(&version)),
                "{name} starts with a wrong {}",
                need.name
            );
        }
    }

    /// Nothing ends before what needs it, circles aside.
    fn check_end(&self, plugin: &Plugin) {
        let name = plugin.metadata.name.as_deref().unwrap();
        let runs = |name: &str| self.observed.get(name).is_some_and(|observed| !observed.pods.is_empty());
        if !runs(name) {
            return;
        }
        for (other, dependent) in &self.plugins {
            let needs = dependent.spec.dependencies.iter().any(|need| need.name == name && !need.optional);
            let serves = self.observed.get(other).and_then(|observed| observed.workload.as_ref());
            let serves = serves.is_some_and(|workload| workload.ready_replicas > 0);
            assert!(!needs || !serves || self.reaches(name, other), "{name} ends before {other}");
        }
    }

    /// How many plugins have something in the cluster.
    fn loaded(&self) -> usize {
        let is_loaded = |observed: &&Observed| observed.workload.is_some() || !observed.pods.is_empty();
        self.observed.values().filter(is_loaded).count()
    }

    /// How many plugins are on their way up.
    fn climbing(&self) -> usize {
        let climbs = |(name, plugin): &(&String, &Arc<Plugin>)| {
            let Some(observed) = self.observed.get(*name) else { return false };
            let Some(workload) = &observed.workload else { return false };
            let is_enabled = plugin.spec.enabled && self.settings.enabled;
            let is_wanted = !is_deleting(plugin) && is_enabled && workload.replicas > 0;
            let is_broken = observed.pods.iter().any(|pod| pod.current && pod.problem.is_some());
            let is_applied = workload.revision == revision(plugin, &self.settings);
            is_wanted && is_applied && !workload.rolled_out && !is_broken
        };
        self.plugins.iter().filter(climbs).count()
    }

    /// Whether `from` needs `to`, directly or not.
    pub fn reaches(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![from.to_owned()];
        while let Some(name) = open.pop() {
            let needs = self.plugins.get(&name).map(|plugin| plugin.spec.dependencies.clone());
            for need in needs.unwrap_or_default().into_iter().filter(|need| !need.optional) {
                if need.name == to {
                    return true;
                }
                if seen.insert(need.name.clone()) {
                    open.push(need.name.to_string());
                }
            }
        }
        false
    }
}

fn is_deleting(plugin: &Plugin) -> bool {
    plugin.metadata.deletion_timestamp.is_some()
}

fn is_forced(plugin: &Plugin) -> bool {
    plugin.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(FORCE_DELETE))
}

fn apply(observed: &mut Observed, plugin: &Plugin, settings: &Settings, replicas: i32) {
    let version = Word::from(&plugin.spec.version);
    observed.pods.retain(|pod| pod.phase == PodPhase::Ready || pod.phase == PodPhase::Terminating);
    for pod in &mut observed.pods {
        pod.current = false;
        if replicas == 0 {
            pod.phase = PodPhase::Terminating;
        }
    }
    for number in 0..replicas {
        let name = format!("{}-{number}", plugin.metadata.generation.unwrap()).into();
        observed.pods.push(Pod { name, current: true, version: version.clone(), ..Pod::default() });
    }
    observed.workload = Some(Workload {
        revision: revision(plugin, settings).into(),
        version,
        replicas,
        ..Workload::default()
    });
    count(observed);
}

fn come_up(pod: &mut Pod, plugin: &Plugin) {
    let broken = plugin.spec.config.as_ref().is_some_and(|config| config.read()["broken"] == true);
    pod.phase = match pod.phase {
        PodPhase::Pending => PodPhase::Loaded,
        PodPhase::Loaded if broken => {
            pod.problem = Some(Problem::Exited { code: 1, message: String::new(), restarts: 4 });
            PodPhase::Loaded
        }
        PodPhase::Loaded => PodPhase::Initialized,
        PodPhase::Initialized => PodPhase::Ready,
        phase => phase,
    };
    if pod.phase == PodPhase::Ready {
        pod.problem = None;
    }
}

fn count(observed: &mut Observed) {
    let Observed { workload: Some(workload), pods, .. } = observed else { return };
    let number = |wanted: &dyn Fn(&Pod) -> bool| pods.iter().filter(|pod| wanted(pod)).count() as i32;
    workload.total_replicas = number(&|pod| pod.phase != PodPhase::Terminating);
    workload.updated_replicas = number(&|pod| pod.current);
    workload.ready_replicas = number(&|pod| pod.phase == PodPhase::Ready);
    let all = [workload.total_replicas, workload.updated_replicas, workload.ready_replicas];
    workload.rolled_out = all.iter().all(|count| *count == workload.replicas);
}
