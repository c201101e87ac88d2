//! The plugins of one namespace and the graph between them, kept up to date event by event. Owns
//! what follows from an event: a plugin's standing is worked out again when it, something it needs
//! or something that holds it changed, and for nobody else.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use forward_crds::{Plugin, Word};
use petgraph::{
    Direction,
    stable_graph::{NodeIndex, StableDiGraph},
};

use crate::{
    agreement::{Claims, Disagreement},
    assess::View,
    cycles::{Circle, circles},
    facts::{Facts, Need, Wish},
    inherited::revision,
    model::{Observed, Settings},
    places::Places,
    slots::Slots,
};

/// An incremental index over the plugins of one namespace.
///
/// What it decides is a function of the plugins, observations and settings that it holds now, and
/// not of the order in which they came.
pub struct Namespace {
    pub(crate) settings: Settings,
    pub(crate) names: BTreeMap<Word, NodeIndex>,
    /// From a plugin to what it needs; the weight says whether it can do without.
    pub(crate) graph: StableDiGraph<Node, Optional>,
    pub(crate) slots: Slots,
    pub(crate) places: Places,
    assessed: u64,
}

/// Whether a plugin can do without what an edge leads to.
pub(crate) type Optional = bool;

/// A plugin, or a name that a plugin needs and that nobody has.
pub(crate) struct Node {
    pub name: Word,
    pub facts: Option<Facts>,
    /// The circle of required dependencies that it is part of.
    pub cycle: Circle,
    /// The circle of dependencies of both kinds.
    pub knot: Circle,
    pub view: View,
    /// What those who need it claim of it.
    pub claims: Claims,
    /// What they cannot agree on.
    pub disagreement: Option<Arc<Disagreement>>,
}

/// How a plugin holds one of its dependencies.
#[derive(Clone, PartialEq, Eq)]
struct Grip {
    keeps: bool,
    refuses: bool,
    /// The range that counts when an update is held, as it is written.
    range: Option<Option<Word>>,
}

/// Which edges a circle is made of.
#[derive(Clone, Copy)]
enum Kind {
    Required,
    Any,
}

impl Default for Namespace {
    fn default() -> Self {
        let settings = Settings::default();
        let slots = Slots::new(settings.max_concurrent_rollouts);
        let places = Places::default();
        Self { settings, names: BTreeMap::new(), graph: StableDiGraph::new(), slots, places, assessed: 0 }
    }
}

impl Namespace {
    /// An empty namespace with default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Take in a plugin and what is observed of it. The answer is the names of all plugins that
    /// must be decided on again; it is empty when nothing changed that a decision looks at.
    pub fn apply(&mut self, plugin: Arc<Plugin>, observed: Observed) -> BTreeSet<String> {
        let name = plugin.metadata.name.clone().unwrap_or_default();
        let index = self.node(&name);
        let node = &mut self.graph[index];
        let facts = Facts::read(plugin, observed, &self.settings, node.facts.as_ref());
        match &node.facts {
            Some(before) if !facts.differs_from(before) => {
                node.facts = Some(facts);
                BTreeSet::new()
            }
            _ => self.replace(index, Some(facts)),
        }
    }

    /// Take in that a plugin is gone. The answer is as for [`Namespace::apply`].
    pub fn remove(&mut self, name: &str) -> BTreeSet<String> {
        match self.names.get(name) {
            Some(index) if self.graph[*index].facts.is_some() => self.replace(*index, None),
            _ => BTreeSet::new(),
        }
    }

    /// Take in the namespace's settings. The answer is as for [`Namespace::apply`].
    pub fn configure(&mut self, settings: Settings) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        if settings == self.settings {
            return touched;
        }
        let before = mem::replace(&mut self.settings, settings);
        if before.max_concurrent_rollouts != self.settings.max_concurrent_rollouts {
            self.slots.set_limit(self.settings.max_concurrent_rollouts, &mut touched);
        }
        let changed = self.names.values().filter(|index| self.is_changed(**index, &before));
        let mut affected: BTreeSet<NodeIndex> = changed.copied().collect();
        self.places.set_limit(self.settings.max_plugins);
        for index in &affected {
            self.claim_place(*index);
        }
        self.settle_places(&mut affected);
        if before.enabled != self.settings.enabled {
            for index in self.names.values().copied().collect::<Vec<_>>() {
                let again = |facts: &Facts| (facts.plugin.clone(), facts.observed.clone());
                let Some((plugin, observed)) = self.facts(index).map(again) else { continue };
                let facts = Facts::read(plugin, observed, &self.settings, self.facts(index));
                touched.append(&mut self.replace(index, Some(facts)));
            }
        }
        self.settle(affected, &mut touched);
        touched
    }

    /// Whether other settings make a difference to what a plugin is built from or may be.
    fn is_changed(&self, index: NodeIndex, before: &Settings) -> bool {
        let Some(facts) = self.facts(index) else { return false };
        // Who is not allowed is told what would be.
        facts.forbidden(&self.settings) != facts.forbidden(before)
            || revision(&facts.plugin, &self.settings) != revision(&facts.plugin, before)
    }

    /// How many times a plugin's standing was worked out: what the events so far have cost.
    pub fn assessed(&self) -> u64 {
        self.assessed
    }

    pub(crate) fn facts(&self, index: NodeIndex) -> Option<&Facts> {
        self.graph[index].facts.as_ref()
    }

    pub(crate) fn name(&self, index: NodeIndex) -> &str {
        &self.graph[index].name
    }

    /// What a plugin needs, with the nodes of it, by name.
    pub(crate) fn needs(&self, index: NodeIndex) -> impl Iterator<Item = (NodeIndex, &str, &Need)> {
        let needs = self.facts(index).into_iter().flat_map(|facts| &facts.needs);
        needs.map(|(name, need)| (self.names[name], name.as_str(), need))
    }

    /// Who needs a plugin, by name.
    pub(crate) fn dependents(&self, index: NodeIndex) -> Vec<NodeIndex> {
        let mut found: Vec<_> = self.graph.neighbors_directed(index, Direction::Incoming).collect();
        found.sort_by(|a, b| self.name(*a).cmp(self.name(*b)));
        found
    }

    /// What a plugin cannot do without, by name.
    pub(crate) fn required(&self, index: NodeIndex) -> Vec<NodeIndex> {
        self.targets(index, Kind::Required)
    }

    fn targets(&self, index: NodeIndex, kind: Kind) -> Vec<NodeIndex> {
        let wanted = |need: &Need| matches!(kind, Kind::Any) || !need.optional;
        self.needs(index).filter(|(_, _, need)| wanted(need)).map(|(target, _, _)| target).collect()
    }

    pub(crate) fn is_same_cycle(&self, a: NodeIndex, b: NodeIndex) -> bool {
        self.graph[a].cycle.as_ref().is_some_and(|members| members.contains(&b))
    }

    /// Whether `dependency` must not go down for the sake of `dependent`.
    pub(crate) fn keeps(&self, dependent: NodeIndex, dependency: NodeIndex) -> bool {
        self.clings(dependent, self.name(dependency)) && !self.is_same_cycle(dependent, dependency)
    }

    /// Whether a plugin has something that runs and cannot do without another.
    pub(crate) fn clings(&self, dependent: NodeIndex, name: &str) -> bool {
        let Some(facts) = self.facts(dependent) else { return false };
        facts.needs.get(name).is_some_and(|need| !need.optional) && facts.keeps_dependencies()
    }

    fn node(&mut self, name: &str) -> NodeIndex {
        if let Some(index) = self.names.get(name) {
            return *index;
        }
        let name = Word::from(name);
        let node = Node {
            name: name.clone(),
            facts: None,
            cycle: None,
            knot: None,
            view: View::default(),
            claims: Claims::new(),
            disagreement: None,
        };
        let index = self.graph.add_node(node);
        self.names.insert(name, index);
        index
    }

    fn replace(&mut self, index: NodeIndex, facts: Option<Facts>) -> BTreeSet<String> {
        let (mut grips, stake) = (self.grips(index), self.stake(index));
        let needed: Vec<NodeIndex> = self.graph.neighbors(index).collect();
        self.graph[index].facts = facts;
        let mut affected = self.link(index);
        affected.insert(index);
        self.claim_place(index);
        self.settle_places(&mut affected);
        for (dependency, grip) in self.grips(index) {
            if grips.remove(&dependency).as_ref() != Some(&grip) {
                grips.insert(dependency, grip);
            }
        }
        // What is left of the grips is those that are gone, new or different.
        affected.extend(grips.into_keys().filter(|dependency| self.heeds_grips(*dependency)));
        let mut touched = BTreeSet::new();
        self.restake(index, stake, &mut touched);
        self.settle(affected, &mut touched);
        for index in needed.into_iter().chain([index]) {
            self.forget_unused(index);
        }
        touched
    }

    /// Enter what a plugin has to do with places now.
    fn claim_place(&mut self, index: NodeIndex) {
        let claim = self.facts(index).and_then(|facts| facts.place(&self.settings));
        self.places.set(&self.graph[index].name, claim);
    }

    /// `affected` gets those who stand otherwise with places than before.
    fn settle_places(&mut self, affected: &mut BTreeSet<NodeIndex>) {
        let told = self.places.settle();
        affected.extend(told.iter().filter_map(|name| self.names.get(name.as_str())));
    }

    fn grips(&self, index: NodeIndex) -> BTreeMap<NodeIndex, Grip> {
        let grip = |dependency| Grip {
            keeps: self.keeps(index, dependency),
            refuses: self.refusal(index, dependency).is_some(),
            range: self.running_need(index, dependency).map(|need| need.text.clone()),
        };
        let held = self.required(index).into_iter().map(|dependency| (dependency, grip(dependency)));
        held.filter(|(_, grip)| grip.keeps || grip.refuses).collect()
    }

    /// Whether it makes a difference to a plugin how others hold it.
    fn heeds_grips(&self, index: NodeIndex) -> bool {
        let heeds = |facts: &Facts| facts.wish != Wish::Run || !facts.is_applied(&self.settings);
        self.facts(index).is_some_and(heeds)
    }

    /// Bring the edges that go out from a plugin in line with what it needs. The answer is those
    /// plugins that are now in other circles than before, or in one that is made otherwise.
    fn link(&mut self, index: NodeIndex) -> BTreeSet<NodeIndex> {
        let needs = self.facts(index).map(|facts| facts.needs.clone()).unwrap_or_default();
        let wanted: BTreeMap<NodeIndex, Optional> =
            needs.iter().map(|(name, need)| (self.node(name), need.optional)).collect();
        let edges = |graph: &StableDiGraph<Node, Optional>| -> BTreeMap<NodeIndex, Optional> {
            let targets = graph.neighbors(index).filter_map(|to| Some((to, graph.find_edge(index, to)?)));
            targets.filter_map(|(to, edge)| Some((to, *graph.edge_weight(edge)?))).collect()
        };
        let before = edges(&self.graph);
        if before == wanted {
            return BTreeSet::new();
        }
        for target in before.keys().filter(|target| !wanted.contains_key(*target)) {
            if let Some(edge) = self.graph.find_edge(index, *target) {
                self.graph.remove_edge(edge);
            }
        }
        for (target, optional) in wanted {
            self.graph.update_edge(index, target, optional);
        }
        let mut changed = self.close_circles(index, Kind::Required);
        changed.append(&mut self.close_circles(index, Kind::Any));
        // Even in the circle of before, another way round may be the shortest now.
        changed.extend(self.graph[index].cycle.iter().flat_map(|members| members.iter()));
        changed
    }

    /// Find the circles anew that the edges of a plugin can have closed or opened.
    fn close_circles(&mut self, index: NodeIndex, kind: Kind) -> BTreeSet<NodeIndex> {
        let circle = |node: &Node| match kind {
            Kind::Required => node.cycle.clone(),
            Kind::Any => node.knot.clone(),
        };
        let mut roots = circle(&self.graph[index]).map(|members| (*members).clone()).unwrap_or_default();
        if self.graph.neighbors_directed(index, Direction::Incoming).next().is_some() {
            roots.insert(index);
        }
        let mut changed = BTreeSet::new();
        for (member, found) in circles(&roots, |node| self.targets(node, kind)) {
            if circle(&self.graph[member]) != found {
                match kind {
                    Kind::Required => self.graph[member].cycle = found,
                    Kind::Any => self.graph[member].knot = found,
                }
                changed.insert(member);
            }
        }
        changed
    }

    /// Work out the standing of plugins and of all whose standing follows from it.
    fn settle(&mut self, mut affected: BTreeSet<NodeIndex>, touched: &mut BTreeSet<String>) {
        touched.extend(affected.iter().map(|index| self.name(*index).to_owned()));
        while let Some(index) = affected.pop_first() {
            self.assessed += 1;
            let (view, claim) = self.assess(index);
            let Node { name, view: before, .. } = &mut self.graph[index];
            self.slots.set(name, claim);
            if *before != view {
                *before = view;
                for dependent in self.graph.neighbors_directed(index, Direction::Incoming) {
                    touched.insert(self.graph[dependent].name.to_string());
                    affected.insert(dependent);
                }
            }
        }
        self.slots.settle(touched);
        touched
            .retain(|name| self.names.get(name.as_str()).is_some_and(|index| self.facts(*index).is_some()));
    }

    fn forget_unused(&mut self, index: NodeIndex) {
        let unused = self.graph.node_weight(index).is_some_and(|node| node.facts.is_none())
            && self.graph.neighbors_directed(index, Direction::Incoming).next().is_none();
        if unused && let Some(node) = self.graph.remove_node(index) {
            self.names.remove(&node.name);
        }
    }
}
