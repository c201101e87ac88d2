//! The decision for one plugin, from how it stands.

use std::collections::BTreeSet;

use forward_crds::{Condition, DependencyStatus, Plugin};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use petgraph::stable_graph::NodeIndex;

use crate::{
    assess::Obstruction,
    conditions::{self, Situation},
    conflict::{EDITS, Edit, RESOLUTIONS, Resolution},
    cycles::{openings, shortest_way_round},
    decision::{Action, Decision},
    facts::{Facts, Wish},
    hooks::{Ledger, Turn},
    model::PodPhase,
    namespace::Namespace,
    places::Surplus,
    reason::{Obstacle, Purpose, Reason, Switch},
};

impl Namespace {
    /// What should happen to a plugin and why; nothing where there is no such plugin.
    pub fn decide(&self, name: &str) -> Option<Decision> {
        let index = *self.names.get(name)?;
        let facts = self.facts(index)?;
        let obstacles = self.obstacles(index, facts);
        let mut ledger = Ledger::read(facts, &self.settings);
        let (action, reason) = match facts.wish {
            Wish::Run => self.decide_run(index, facts, &obstacles, ledger.as_mut()),
            Wish::Stop => self.decide_stop(index, facts, ledger.as_mut()),
            Wish::Unload => self.decide_unload(index, facts, ledger.as_mut()),
            Wish::Delete => self.decide_delete(index, facts, ledger.as_mut()),
        };
        let (hooks, calls, stage) = ledger.map(Ledger::close).unwrap_or_default();
        let dependencies = self.dependency_table(index, facts, &obstacles);
        let situation = Situation {
            cycle: self.graph[index].cycle.is_some() && !self.stays(facts),
            needs: facts.needs.len(),
            obstacles: &obstacles,
            judged: &facts.config,
            available: facts.wish == Wish::Run && facts.is_rolled_out(&self.settings),
            overdue: facts.workload().is_some_and(|workload| workload.progress_deadline_exceeded),
            serves_on: self.serves_on(facts),
            lost: self.lost(facts, &obstacles, &dependencies),
        };
        Some(Decision {
            action,
            state: facts.state(),
            conditions: conditions::view(&reason, &situation),
            dependencies,
            reason,
            version: facts.serving.as_ref().map(|serving| serving.text.clone()),
            config_hash: facts.config_that_serves(),
            hooks,
            calls,
            stage,
        })
    }

    /// Whether the current spec runs, so that dependencies are judged by whether they serve.
    pub(crate) fn stays(&self, facts: &Facts) -> bool {
        facts.wish == Wish::Run && facts.is_applied(&self.settings)
    }

    /// The dependencies that are not as the plugin needs them, optional ones too, by name.
    fn obstacles(&self, index: NodeIndex, facts: &Facts) -> Vec<Obstacle> {
        let stays = self.stays(facts);
        let obstacle = |(dependency, _, need)| {
            if stays {
                self.obstacle_to_stay(facts, dependency, need)
            } else {
                self.obstacle_to_go(facts, dependency, need)
            }
        };
        self.needs(index).filter_map(obstacle).collect()
    }

    fn decide_run(
        &self,
        index: NodeIndex,
        facts: &Facts,
        obstacles: &[Obstacle],
        ledger: Option<&mut Ledger<'_>>,
    ) -> (Action, Reason) {
        let Facts { plugin, .. } = facts;
        if let Err(message) = &facts.version {
            return (Action::Hold, Reason::Invalid { message: message.clone() });
        }
        if let Some(reason) = facts.forbidden(&self.settings) {
            return (Action::Hold, reason);
        }
        if facts.is_applied(&self.settings) {
            return (Action::Apply, self.explain_running(facts, obstacles, ledger));
        }
        if let Some(violations) = facts.violations() {
            return (Action::Hold, Reason::ConfigInvalid { violations: violations.to_vec() });
        }
        if let Some(surplus) = self.explain_surplus(index) {
            return (Action::Hold, surplus);
        }
        let since = || since(plugin);
        let reason = match self.obstruction(index, facts) {
            Some(Obstruction::Cycle) => self.explain_cycle(index),
            Some(Obstruction::Refused(dependents)) => {
                let version = plugin.spec.version.clone();
                let resolutions = self.ways_out(index, facts.version.as_ref().ok());
                Reason::Refused { version, dependents, resolutions }
            }
            Some(Obstruction::Blocked(obstacles)) => Reason::Blocked { obstacles, since: since() },
            Some(Obstruction::Waiting(obstacles)) => Reason::Waiting { obstacles, since: since() },
            None => return self.decide_load(index, facts, ledger),
        };
        (Action::Hold, reason)
    }

    /// For a plugin that nothing but its turn and its own hooks keeps from going.
    fn decide_load(
        &self,
        index: NodeIndex,
        facts: &Facts,
        ledger: Option<&mut Ledger<'_>>,
    ) -> (Action, Reason) {
        if let Some(reason) = ledger.as_ref().and_then(|ledger| ledger.keeps_from_loading()) {
            return (Action::Hold, reason);
        }
        if !self.slots.is_granted(self.name(index)) {
            return (Action::Hold, Reason::Queued { limit: self.slots.limit() });
        }
        if let Some(ledger) = ledger {
            if let Some(reason) = ledger.before_load() {
                return (Action::Hold, reason);
            }
            // Nothing can hold pods that there are not.
            let _held = ledger.permit();
        }
        (Action::Apply, rolling_out(facts, 0))
    }

    /// Why there is no place for a plugin of which nothing is there yet; nothing where there is one.
    fn explain_surplus(&self, index: NodeIndex) -> Option<Reason> {
        let Surplus { limit, rank } = self.places.surplus(self.name(index))?;
        Some(Reason::Surplus { limit, rank })
    }

    fn explain_cycle(&self, index: NodeIndex) -> Reason {
        let members = self.graph[index].cycle.clone().unwrap_or_default();
        self.cycle(index, &members, &|node| self.required(node))
    }

    /// The cycle with some members, from one of them on.
    pub(crate) fn cycle(
        &self,
        index: NodeIndex,
        members: &BTreeSet<NodeIndex>,
        required: &impl Fn(NodeIndex) -> Vec<NodeIndex>,
    ) -> Reason {
        let name = |index: &NodeIndex| self.name(*index).to_owned();
        let within = |node| {
            let mut targets = required(node);
            targets.retain(|target| members.contains(target));
            targets
        };
        let path = shortest_way_round(index, within).unwrap_or_default();
        let path = path.iter().map(name).collect();
        let mut names: Vec<String> = members.iter().map(name).collect();
        names.sort();
        Reason::Cycle { members: names, path, resolutions: self.ways_to_open(members, within) }
    }

    /// What would open a cycle.
    fn ways_to_open(
        &self,
        members: &BTreeSet<NodeIndex>,
        within: impl Fn(NodeIndex) -> Vec<NodeIndex>,
    ) -> Vec<Resolution> {
        let edges = members.iter().flat_map(|from| {
            let targets = within(*from).into_iter();
            targets.map(|to| (self.name(*from), self.name(to)))
        });
        let optional = |(plugin, dependency): &(&str, &str)| Edit::MakeOptional {
            plugin: (*plugin).to_owned(),
            dependency: (*dependency).to_owned(),
        };
        let resolution = |edges: BTreeSet<_>| Resolution {
            others: edges.len() > EDITS,
            edits: edges.iter().take(EDITS).map(optional).collect(),
        };
        openings(&edges.collect()).into_iter().take(RESOLUTIONS).map(resolution).collect()
    }

    /// Why a plugin whose current spec was applied is not Ready, or that it is.
    fn explain_running(
        &self,
        facts: &Facts,
        obstacles: &[Obstacle],
        ledger: Option<&mut Ledger<'_>>,
    ) -> Reason {
        let version = facts.plugin.spec.version.clone();
        let rolled_out = facts.is_rolled_out(&self.settings);
        let held = ledger.and_then(|ledger| {
            let held = ledger.permit();
            if rolled_out { ledger.after_start() } else { held }
        });
        if !rolled_out && facts.failure().is_some() {
            return match facts.problem() {
                Some(problem) => Reason::Failed { version, problem },
                None => Reason::Overdue { version },
            };
        }
        let (optional, required): (Vec<_>, Vec<_>) = obstacles.iter().cloned().partition(|it| it.optional);
        if !required.is_empty() {
            return Reason::Degraded { obstacles: required };
        }
        if facts.reloading().is_some() {
            return Reason::Reloading { version };
        }
        if let Some(reason) = held {
            return reason;
        }
        if !rolled_out {
            return rolling_out(facts, facts.workload().map_or(0, |workload| workload.updated_replicas));
        }
        if let Some(reason) = gateway_objection(&facts.plugin) {
            return reason;
        }
        if optional.iter().any(Obstacle::is_refused) {
            let obstacles = optional.into_iter().filter(Obstacle::is_refused).collect();
            return Reason::Degraded { obstacles };
        }
        Reason::Serving { version, without: optional }
    }

    fn decide_stop(
        &self,
        index: NodeIndex,
        facts: &Facts,
        ledger: Option<&mut Ledger<'_>>,
    ) -> (Action, Reason) {
        if let Some(surplus) = self.explain_surplus(index) {
            return (Action::Hold, surplus);
        }
        let held = self.held(index).filter(|_| facts.is_left());
        let done = !facts.is_left() && facts.is_applied(&self.settings);
        match held {
            Some(by) => (Action::Hold, Reason::Needed { by, purpose: Purpose::Stop }),
            None => end(Action::Stop, Reason::Stopped { suspended: facts.plugin.spec.suspend, done }, ledger),
        }
    }

    fn decide_unload(
        &self,
        index: NodeIndex,
        facts: &Facts,
        ledger: Option<&mut Ledger<'_>>,
    ) -> (Action, Reason) {
        match self.held(index).filter(|_| facts.is_left()) {
            Some(by) => (Action::Hold, Reason::Needed { by, purpose: Purpose::Unload }),
            None => {
                let by = if facts.plugin.spec.enabled { Switch::System } else { Switch::Plugin };
                end(Action::Unload, Reason::Disabled { by, done: !facts.is_left() }, ledger)
            }
        }
    }

    fn decide_delete(
        &self,
        index: NodeIndex,
        facts: &Facts,
        ledger: Option<&mut Ledger<'_>>,
    ) -> (Action, Reason) {
        let forced = facts.is_forced();
        match self.held(index).filter(|_| !forced) {
            Some(by) => (Action::Hold, Reason::Needed { by, purpose: Purpose::Delete }),
            None => end(Action::Delete, Reason::Deleting { forced }, ledger.filter(|_| !forced)),
        }
    }

    /// Those for whose sake a plugin must not go down.
    fn held(&self, index: NodeIndex) -> Option<Vec<String>> {
        let dependents = self.dependents(index).into_iter();
        let by = dependents.filter(|dependent| self.keeps(*dependent, index));
        let by: Vec<String> = by.map(|dependent| self.name(dependent).to_owned()).collect();
        (!by.is_empty()).then_some(by)
    }

    /// What a plugin that runs does without and should not have to: what it cannot do without, what it
    /// does not accept, and what it had before.
    fn lost<'a>(
        &self,
        facts: &Facts,
        obstacles: &'a [Obstacle],
        dependencies: &[DependencyStatus],
    ) -> Vec<&'a Obstacle> {
        if !self.stays(facts) || !facts.is_alive() {
            return Vec::new();
        }
        let was_there = |name: &str| dependencies.iter().any(|entry| entry.lost && entry.name == name);
        let counts =
            |obstacle: &&Obstacle| !obstacle.optional || obstacle.is_refused() || was_there(&obstacle.name);
        obstacles.iter().filter(counts).collect()
    }

    /// Every dependency and how it is. That one is lost is known from what the status said before:
    /// the one place that remembers, whoever of the operators writes it.
    fn dependency_table(
        &self,
        index: NodeIndex,
        facts: &Facts,
        obstacles: &[Obstacle],
    ) -> Vec<DependencyStatus> {
        let stays = self.stays(facts);
        let was_there = |name: &str| {
            let before = facts.plugin.status.iter().flat_map(|status| &status.dependencies);
            before.into_iter().any(|before| before.name == name && (before.ready || before.lost))
        };
        let status = |(dependency, name, need): (NodeIndex, &str, &crate::facts::Need)| {
            let view = &self.graph[dependency].view;
            let obstacle = obstacles.iter().find(|obstacle| obstacle.name == name);
            DependencyStatus {
                name: name.into(),
                constraint: need.text.clone(),
                optional: need.optional,
                version: view.version.clone(),
                state: view.state,
                ready: obstacle.is_none(),
                lost: stays && obstacle.is_some() && was_there(name),
                message: obstacle.map(|obstacle| obstacle.why().into()),
            }
        };
        self.needs(index).map(status).collect()
    }

    /// What goes on serving while a plugin is not at its current spec.
    fn serves_on(&self, facts: &Facts) -> Option<String> {
        let is_held = facts.forbidden(&self.settings).is_some();
        let is_short = is_held || (facts.wish == Wish::Run && !facts.is_rolled_out(&self.settings));
        let serving = facts.serving.as_ref().filter(|_| is_short)?;
        let is_old = |phase: PodPhase, current: bool| phase == PodPhase::Ready && !current;
        if is_held || serving.text != facts.plugin.spec.version {
            Some(serving.text.to_string())
        } else if !facts.is_applied(&self.settings)
            || facts.keeps_former_config()
            || facts.observed.pods.iter().any(|pod| is_old(pod.phase, pod.current))
        {
            Some("what ran before".to_owned())
        } else {
            None
        }
    }
}

/// What a plugin that is free to go down does, with its hooks before and after that.
fn end(action: Action, reason: Reason, ledger: Option<&mut Ledger<'_>>) -> (Action, Reason) {
    let Some(ledger) = ledger else { return (action, reason) };
    match ledger.before_end() {
        Turn::Halt(halt) => return (Action::Hold, halt),
        Turn::Wait => return (Action::Hold, reason),
        Turn::Go => {}
    }
    match ledger.after_end() {
        // The objects of a plugin that is gone could not be the hook's; those of others stay right.
        Turn::Halt(halt) if action == Action::Delete => (Action::Hold, halt),
        Turn::Halt(halt) => (action, halt),
        Turn::Wait | Turn::Go => (action, reason),
    }
}

fn rolling_out(facts: &Facts, updated: i32) -> Reason {
    Reason::RollingOut {
        version: facts.plugin.spec.version.clone(),
        updated,
        ready: facts.workload().map_or(0, |workload| workload.ready_replicas),
        wanted: facts.plugin.spec.replicas,
    }
}

fn condition<'a>(plugin: &'a Plugin, type_: &str) -> Option<&'a Condition> {
    plugin.status.as_ref()?.condition(type_)
}

/// What the gateway has against calling a plugin ready.
fn gateway_objection(plugin: &Plugin) -> Option<Reason> {
    let is_current = |condition: &&Condition| condition.observed_generation == plugin.metadata.generation;
    match condition(plugin, "Registered").filter(is_current) {
        None => return Some(Reason::Unregistered),
        Some(registered) if registered.status != "True" => {
            let (reason, message) = (registered.reason.to_string(), registered.message.to_string());
            return Some(Reason::NotRegistered { reason, message });
        }
        Some(_) => {}
    }
    let unhealthy = condition(plugin, "Healthy").filter(|healthy| healthy.status == "False")?;
    Some(Reason::Unhealthy { message: unhealthy.message.to_string() })
}

/// Since when a plugin waits for its dependencies: since its status says so.
fn since(plugin: &Plugin) -> Option<Time> {
    let waiting = condition(plugin, "DependenciesReady").filter(|condition| condition.status == "False")?;
    Some(waiting.last_transition_time.clone())
}
