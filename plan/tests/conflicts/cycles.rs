//! All graphs of four plugins, circles and all. A graph is a number: a bit for each edge.

use std::collections::BTreeSet;

use forward_plan::{Edit, Reason, Resolution};

use crate::plugins::{Plugins, at_rest};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const GRAPHS: usize = 1 << 12;

/// From and to of each edge that there can be; its bit is that of its place.
#[rustfmt::skip]
const EDGES: [(usize, usize); 12] =
    [(0, 1), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3), (2, 0), (2, 1), (2, 3), (3, 0), (3, 1), (3, 2)];

fn within(graph: usize, members: &[usize]) -> usize {
    let is_inside = |place: &usize| {
        let (from, to) = EDGES[*place];
        members.contains(&from) && members.contains(&to)
    };
    (0..EDGES.len()).filter(is_inside).map(|place| graph & (1 << place)).sum()
}

/// Which nodes each of the four reaches.
fn reach(graph: usize) -> [[bool; 4]; 4] {
    let mut reach = [[false; 4]; 4];
    for (place, (from, to)) in EDGES.into_iter().enumerate() {
        reach[from][to] = graph & (1 << place) != 0;
    }
    for by in 0..4 {
        for from in 0..4 {
            for to in 0..4 {
                reach[from][to] |= reach[from][by] && reach[by][to];
            }
        }
    }
    reach
}

fn sets() -> impl Iterator<Item = Vec<usize>> {
    (0..16_usize).map(|bits| (0..4).filter(|node| bits & (1 << node) != 0).collect())
}

/// All smallest sets of edges without which `graph` has no circle.
fn smallest_openings(graph: usize, open: &[bool]) -> Vec<usize> {
    let (mut subsets, mut set) = (vec![0], graph);
    while set != 0 {
        subsets.push(set);
        set = (set - 1) & graph;
    }
    subsets.retain(|edges| open[graph & !edges]);
    let least = subsets.iter().map(|edges| edges.count_ones()).min().unwrap();
    subsets.retain(|edges| edges.count_ones() == least);
    subsets
}

fn bits(resolution: &Resolution) -> usize {
    assert!(!resolution.others);
    let bit = |edit: &Edit| {
        let Edit::MakeOptional { plugin, dependency } = edit else { panic!("{edit:?}") };
        let found = EDGES.iter().position(|(from, to)| NAMES[*from] == plugin && NAMES[*to] == dependency);
        1 << found.unwrap()
    };
    resolution.edits.iter().map(bit).sum()
}

#[test]
fn every_cycle_is_told_a_shortest_way_round_and_the_fewest_edits() {
    let reach: Vec<_> = (0..GRAPHS).map(reach).collect();
    let open: Vec<bool> = reach.iter().map(|reach| !(0..4).any(|node| reach[node][node])).collect();
    let smallest: Vec<_> = (0..GRAPHS).map(|graph| smallest_openings(graph, &open)).collect();
    let mut plugins = Plugins::default();
    let mut told = 0;
    for graph in 0..GRAPHS {
        let needs = |node: usize| {
            let own = EDGES.iter().enumerate().filter(move |(_, (from, _))| *from == node);
            own.filter(|(place, _)| graph & (1 << place) != 0)
                .map(|(_, (_, to))| (NAMES[*to], None))
                .collect()
        };
        let plugin = |node: usize| plugins.get(NAMES[node], "1.0.0", needs(node));
        let namespace = at_rest((0..4).map(plugin).collect::<Vec<_>>());
        for node in 0..4 {
            let reason = namespace.decide(NAMES[node]).unwrap().reason;
            let Reason::Cycle { path, resolutions, .. } = reason else {
                assert!(!reach[graph][node][node], "{graph:b}: {reason}");
                continue;
            };
            let needs_itself =
                |members: &Vec<usize>| members.contains(&node) && reach[within(graph, members)][node][node];
            assert_eq!(Some(path.len() - 1), sets().filter(needs_itself).map(|members| members.len()).min());
            let circle: Vec<usize> = (0..4)
                .filter(|other| *other == node || (reach[graph][node][*other] && reach[graph][*other][node]))
                .collect();
            let expected = &smallest[within(graph, &circle)];
            let found: BTreeSet<usize> = resolutions.iter().map(bits).collect();
            assert!(found.iter().all(|edges| expected.contains(edges)), "{graph:b}: {resolutions:?}");
            assert_eq!((found.len(), resolutions.len()), (expected.len().min(3), expected.len().min(3)));
            told += 1;
        }
    }
    assert!(told > 10_000, "only {told} plugins in cycles");
}
