//! All graphs of four plugins, circles and all. A graph is a number: a bit for each edge.

use std::collections::BTreeSet;

use forward_plan::{Edit, Reason, Resolution};

use crate::plugins::{Plugins, at_rest};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const GRAPHS: usize = 1 << 12;

/// From, to and the bit of each edge that there can be.
fn edges() -> Vec<(usize, usize, usize)> {
    let pairs = (0..4).flat_map(|from| (0..4).map(move |to| (from, to))).filter(|(from, to)| from != to);
    pairs.enumerate().map(|(place, (from, to))| (from, to, 1 << place)).collect()
}

fn within(graph: usize, members: &[usize]) -> usize {
    let inside = |(from, to, _): &(usize, usize, usize)| members.contains(from) && members.contains(to);
    edges().iter().filter(|edge| inside(edge)).map(|(_, _, bit)| graph & bit).sum()
}

fn reaches(graph: usize, from: usize, to: usize) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(node) = open.pop() {
        for (_, next, _) in edges().iter().filter(|(start, _, bit)| *start == node && graph & bit != 0) {
            if *next == to {
                return true;
            }
            if seen.insert(*next) {
                open.push(*next);
            }
        }
    }
    false
}

fn sets() -> impl Iterator<Item = Vec<usize>> {
    (0..16_usize).map(|bits| (0..4).filter(|node| bits & (1 << node) != 0).collect())
}

/// All smallest sets of edges without which `graph` has no circle.
fn smallest_openings(graph: usize, open: &[bool]) -> Vec<usize> {
    let subsets = (0..GRAPHS).filter(|edges| edges & graph == *edges && open[graph & !edges]);
    let subsets: Vec<usize> = subsets.collect();
    let least = subsets.iter().map(|edges| edges.count_ones()).min().unwrap();
    subsets.into_iter().filter(|edges| edges.count_ones() == least).collect()
}

fn bits(resolution: &Resolution) -> usize {
    assert!(!resolution.others);
    let bit = |edit: &Edit| {
        let Edit::MakeOptional { plugin, dependency } = edit else { panic!("{edit:?}") };
        let found =
            edges().into_iter().find(|(from, to, _)| NAMES[*from] == plugin && NAMES[*to] == dependency);
        found.unwrap().2
    };
    resolution.edits.iter().map(bit).sum()
}

#[test]
fn every_cycle_is_told_a_shortest_way_round_and_the_fewest_edits() {
    let edges = edges();
    let open: Vec<bool> = (0..GRAPHS).map(|graph| !(0..4).any(|node| reaches(graph, node, node))).collect();
    let mut plugins = Plugins::default();
    let mut told = 0;
    for graph in 0..GRAPHS {
        let needs =
            |node: usize| edges.iter().filter(move |(from, _, bit)| *from == node && graph & bit != 0);
        let plugin = |node: usize| {
            plugins.get(NAMES[node], "1.0.0", needs(node).map(|(_, to, _)| (NAMES[*to], None)).collect())
        };
        let namespace = at_rest((0..4).map(plugin).collect::<Vec<_>>());
        for node in 0..4 {
            let reason = namespace.decide(NAMES[node]).unwrap().reason;
            let Reason::Cycle { path, resolutions, .. } = reason else {
                assert!(!reaches(graph, node, node), "{graph:b}: {reason}");
                continue;
            };
            let needs_itself =
                |members: &Vec<usize>| members.contains(&node) && reaches(within(graph, members), node, node);
            assert_eq!(Some(path.len() - 1), sets().filter(needs_itself).map(|members| members.len()).min());
            let circle: Vec<usize> = (0..4)
                .filter(|other| {
                    *other == node || (reaches(graph, node, *other) && reaches(graph, *other, node))
                })
                .collect();
            let expected = smallest_openings(within(graph, &circle), &open);
            let found: BTreeSet<usize> = resolutions.iter().map(bits).collect();
            assert!(found.iter().all(|edges| expected.contains(edges)), "{graph:b}: {resolutions:?}");
            assert_eq!((found.len(), resolutions.len()), (expected.len().min(3), expected.len().min(3)));
            told += 1;
        }
    }
    assert!(told > 10_000, "only {told} plugins in cycles");
}
