//! Everything at once: all decisions of a namespace in the order of going, for people and goldens.
//! Costs what the namespace is large; no event needs it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use petgraph::stable_graph::NodeIndex;

use crate::{
    decision::{Action, Change, Decision, Plan, Step},
    facts::Facts,
    namespace::Namespace,
};

impl Namespace {
    /// What is to be done now, and the decision for every plugin.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        let (mut down, mut up) = (Vec::new(), Vec::new());
        for index in self.order() {
            let name = self.name(index).to_owned();
            let (Some(facts), Some(decision)) = (self.facts(index), self.decide(&name)) else { continue };
            if let Some(change) = self.change(facts, &decision) {
                let steps = if change.is_down() { &mut down } else { &mut up };
                steps.push(Step { name: name.clone(), change });
            }
            plan.decisions.push((name, decision));
        }
        down.reverse();
        plan.steps = down;
        plan.steps.append(&mut up);
        plan
    }

    /// Dependencies before dependents; among those without order between them, higher priority
    /// before lower, then by name. Where dependencies are circular the one that would be first
    /// otherwise goes first.
    fn order(&self) -> Vec<NodeIndex> {
        let plugins = self.names.values().filter(|index| self.facts(**index).is_some());
        let mut missing: BTreeMap<NodeIndex, usize> = BTreeMap::new();
        for index in plugins {
            let knot = self.graph[*index].knot.as_ref();
            let outside = |needed: &NodeIndex| {
                self.facts(*needed).is_some() && !knot.is_some_and(|knot| knot.contains(needed))
            };
            let count = self.needs(*index).filter(|(needed, _, _)| outside(needed)).count();
            missing.insert(*index, count);
        }
        let key = |index: NodeIndex| {
            let priority = self.facts(index).map_or(0, |facts| facts.plugin.spec.priority);
            (priority, Reverse(self.name(index)), index)
        };
        let free = missing.iter().filter(|(_, count)| **count == 0).map(|(index, _)| key(*index));
        let mut free: BinaryHeap<_> = free.collect();
        let mut seen = BTreeSet::new();
        let mut order = Vec::new();
        while let Some((_, _, index)) = free.pop() {
            if !seen.insert(index) {
                continue;
            }
            order.push(index);
            let knot = self.graph[index].knot.as_ref();
            for dependent in self.dependents(index) {
                if knot.is_some_and(|knot| knot.contains(&dependent)) {
                    continue;
                }
                if let Some(count) = missing.get_mut(&dependent) {
                    *count -= 1;
                    if *count == 0 {
                        free.push(key(dependent));
                    }
                }
            }
        }
        order
    }

    /// What a decision changes; nothing where it leaves things as they are.
    fn change(&self, facts: &Facts, decision: &Decision) -> Option<Change> {
        let applied = facts.is_applied(&self.settings);
        let version = facts.plugin.spec.version.clone();
        match (decision.action, facts.workload()) {
            (Action::Hold, _) => None,
            (Action::Apply, None) => Some(Change::Start { version }),
            (Action::Apply, Some(workload)) if !applied => {
                Some(if workload.replicas == 0 && workload.total_replicas == 0 {
                    Change::Start { version }
                } else {
                    Change::Update { from: workload.version.to_string(), version }
                })
            }
            (Action::Apply, Some(_)) => None,
            (Action::Stop, workload) => {
                let stopped = workload.is_some_and(|workload| workload.replicas == 0);
                (!stopped || !applied).then_some(Change::Stop)
            }
            (Action::Unload, workload) => workload.is_some().then_some(Change::Unload),
            (Action::Delete, _) => Some(Change::Delete),
        }
    }
}
