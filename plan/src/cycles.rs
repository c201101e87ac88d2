//! Which plugins need each other in a circle. Owns the search; it looks at what can be reached from
//! a plugin whose edges changed and at nothing else.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use petgraph::{algo::tarjan_scc, graph::DiGraph, stable_graph::NodeIndex};

/// Plugins that all need each other, by way of each other.
pub type Circle = Option<Arc<BTreeSet<NodeIndex>>>;

/// The circles among what can be reached from `roots` by `next`: for each node reached, the nodes
/// that reach it and are reached by it, or nothing where it is in no circle.
pub fn circles(
    roots: &BTreeSet<NodeIndex>,
    next: impl Fn(NodeIndex) -> Vec<NodeIndex>,
) -> BTreeMap<NodeIndex, Circle> {
    let mut reached = DiGraph::<NodeIndex, ()>::new();
    let mut known = BTreeMap::new();
    for root in roots {
        known.insert(*root, reached.add_node(*root));
    }
    let mut stack: Vec<NodeIndex> = roots.iter().copied().collect();
    while let Some(node) = stack.pop() {
        for target in next(node) {
            let (from, to) = (known[&node], known.get(&target).copied());
            let to = to.unwrap_or_else(|| {
                stack.push(target);
                *known.entry(target).or_insert(reached.add_node(target))
            });
            reached.update_edge(from, to, ());
        }
    }
    let mut found = BTreeMap::new();
    for component in tarjan_scc(&reached) {
        let members: Arc<BTreeSet<NodeIndex>> =
            Arc::new(component.iter().map(|index| reached[*index]).collect());
        let circle = component.len() > 1 || reached.contains_edge(component[0], component[0]);
        for member in members.iter() {
            found.insert(*member, circle.then(|| members.clone()));
        }
    }
    found
}

/// A shortest way from `start` back to it, both ends included. Among ways of equal length the one
/// that takes the first of `next` wins.
pub fn shortest_way_round(
    start: NodeIndex,
    next: impl Fn(NodeIndex) -> Vec<NodeIndex>,
) -> Option<Vec<NodeIndex>> {
    let mut before = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for target in next(node) {
            if target == start {
                let mut way = vec![node];
                while let Some(previous) = before.get(way.last().expect("the way has an end")) {
                    way.push(*previous);
                }
                way.reverse();
                way.push(start);
                return Some(way);
            }
            before.entry(target).or_insert_with(|| {
                queue.push_back(target);
                node
            });
        }
    }
    None
}
