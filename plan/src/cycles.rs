//! Which plugins need each other in a circle, and what would open it. Owns the search; it looks at
//! what can be reached from a plugin whose edges changed and at nothing else.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use petgraph::{algo::tarjan_scc, graph::DiGraph, stable_graph::NodeIndex};

/// How many edges the search for the fewest that open a circle may look at: a few milliseconds.
/// Circles of 200 plugins that one edge opens are within it, and so are tangles of a dozen that a
/// few edges open; what is beyond is told without a way out.
const LOOKS: usize = 50_000;

/// From a plugin to what it needs.
pub type Edge<T> = (T, T);

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

/// All smallest sets of edges without which there is no circle, in order, each in order; nothing
/// where the search takes too long.
pub fn openings<T: Ord + Copy>(edges: &BTreeSet<Edge<T>>) -> BTreeSet<BTreeSet<Edge<T>>> {
    let mut search = Openings { looks: 0, found: BTreeSet::new() };
    for size in 0..=edges.len() {
        let in_time = search.open(&mut edges.clone(), &mut BTreeSet::new(), size);
        if in_time.is_none() {
            return BTreeSet::new();
        }
        if !search.found.is_empty() {
            break;
        }
    }
    search.found
}

struct Openings<T> {
    looks: usize,
    found: BTreeSet<BTreeSet<Edge<T>>>,
}

impl<T: Ord + Copy> Openings<T> {
    /// Take at most `left` more edges out: one of every circle has to go, so that it is enough to
    /// try those of any. Answers nothing where that takes too long.
    fn open(
        &mut self,
        edges: &mut BTreeSet<Edge<T>>,
        out: &mut BTreeSet<Edge<T>>,
        left: usize,
    ) -> Option<()> {
        self.looks += edges.len();
        if self.looks > LOOKS {
            return None;
        }
        let Some(circle) = any_circle(edges) else {
            self.found.insert(out.clone());
            return Some(());
        };
        if left == 0 {
            return Some(());
        }
        for edge in circle {
            edges.remove(&edge);
            out.insert(edge);
            self.open(edges, out, left - 1)?;
            out.remove(&edge);
            edges.insert(edge);
        }
        Some(())
    }
}

/// The edges of a circle, where there is one.
fn any_circle<T: Ord + Copy>(edges: &BTreeSet<Edge<T>>) -> Option<Vec<Edge<T>>> {
    let mut next: BTreeMap<T, Vec<T>> = BTreeMap::new();
    for (from, to) in edges {
        next.entry(*from).or_default().push(*to);
    }
    let mut done = BTreeSet::new();
    for start in next.keys() {
        if done.contains(start) {
            continue;
        }
        // Where on the way each node is, and how many of its edges were tried.
        let (mut way, mut places) = (vec![(*start, 0)], BTreeMap::from([(*start, 0)]));
        while let Some((node, tried)) = way.last_mut() {
            let (node, target) = (*node, next.get(node).and_then(|targets| targets.get(*tried)));
            *tried += 1;
            if let Some(place) = target.and_then(|target| places.get(target)) {
                let nodes: Vec<T> = way[*place..].iter().map(|(node, _)| *node).collect();
                let targets = nodes.iter().cycle().skip(1);
                return Some(nodes.iter().copied().zip(targets.copied()).collect());
            }
            match target {
                Some(target) if done.contains(target) => {}
                Some(target) => {
                    places.insert(*target, way.len());
                    way.push((*target, 0));
                }
                None => {
                    way.pop();
                    places.remove(&node);
                    done.insert(node);
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_of_what_is_large_or_tangled_are_found_within_bounds_or_not_at_all() {
        let ring: BTreeSet<Edge<usize>> = (0..200).map(|node| (node, (node + 1) % 200)).collect();
        assert_eq!(openings(&ring), ring.iter().map(|edge| BTreeSet::from([*edge])).collect());
        // A hub that needs six, all of which need it: each pair takes one edge, either.
        let pairs: BTreeSet<Edge<usize>> = (1..7).flat_map(|node| [(0, node), (node, 0)]).collect();
        let found = openings(&pairs);
        assert_eq!((found.len(), found.iter().all(|edges| edges.len() == 6)), (64, true));
        // All need all: that would take for ever.
        let pairs = (0..12).flat_map(|from| (0..12).map(move |to| (from, to)));
        assert!(openings(&pairs.filter(|(from, to)| from != to).collect()).is_empty());
    }
}
