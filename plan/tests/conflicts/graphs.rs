//! All graphs of up to four plugins without a circle, with versions and ranges: each plugin needs
//! any of those before it, in any of some ranges; of one there may be none.

use forward_plan::{Cause, Hindrance, Reason};

use crate::{
    plugins::{Need, Plugins, at_rest},
    search::{Dependent, Star, Universe},
};

const NAMES: [&str; 4] = ["d", "c", "b", "a"];
/// Of the first, the second and the third plugin; nobody needs the fourth.
const VERSIONS: [&[Option<&str>]; 3] =
    [&[None, Some("1.0.0"), Some("2.0.0")], &[Some("1.0.0"), Some("2.0.0")], &[Some("1.0.0"), Some("2.0.0")]];
/// The ranges of an edge; it can be missing as well.
const RANGES: [&str; 2] = ["1.0", "^2"];
const EDGES: [(usize, usize); 6] = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)];

struct Graph {
    versions: [Option<&'static str>; 4],
    needs: [Vec<Need>; 4],
}

fn graph(mut number: usize, versions: [Option<&'static str>; 4]) -> Graph {
    let mut needs = [const { Vec::new() }; 4];
    for (from, to) in EDGES {
        if let Some(range) = RANGES.get(number % (RANGES.len() + 1)) {
            needs[from].push((NAMES[to], Some(*range)));
        }
        number /= RANGES.len() + 1;
    }
    Graph { versions, needs }
}

fn all() -> impl Iterator<Item = Graph> {
    let [first, second, third] = VERSIONS;
    let versions = first.iter().flat_map(move |a| {
        second.iter().flat_map(move |b| third.iter().map(move |c| [*a, *b, *c, Some("1.0.0")]))
    });
    versions.flat_map(|versions| {
        (0..(RANGES.len() + 1).pow(EDGES.len() as u32)).map(move |number| graph(number, versions))
    })
}

fn place(name: &str) -> usize {
    NAMES.iter().position(|known| *known == name).unwrap()
}

impl Graph {
    /// Whether another graph says the same: one in which a plugin that nobody needs has the first
    /// of its versions.
    fn is_repeated(&self) -> bool {
        let is_needed = |hub: usize| self.needs.iter().flatten().any(|(name, _)| *name == NAMES[hub]);
        (0..3).any(|hub| !is_needed(hub) && self.versions[hub] != VERSIONS[hub][0])
    }

    /// A plugin with those who need it; one that there is not needs nobody.
    fn star(&self, hub: usize, universe: &mut Universe) -> Star {
        let there = (0..4).filter(|node| self.versions[*node].is_some());
        let version = self.versions[hub].map(|version| (version, universe.of_version(version)));
        let need = |node: usize| {
            let (_, range) = self.needs[node].iter().find(|(name, _)| *name == NAMES[hub])?;
            Some(Dependent { name: NAMES[node], accepts: universe.of_range(*range) })
        };
        Star { hub: NAMES[hub], version, dependents: there.filter_map(need).collect() }
    }
}

#[test]
fn every_graph_is_told_of_each_conflict_and_of_no_other() {
    let (mut universe, mut plugins, mut conflicts) = (Universe::new(), Plugins::default(), 0);
    for graph in all().filter(|graph| !graph.is_repeated()) {
        let there = (0..4).filter_map(|node| Some((node, graph.versions[node]?)));
        let there = there.map(|(node, version)| plugins.get(NAMES[node], version, graph.needs[node].clone()));
        let namespace = at_rest(there.collect::<Vec<_>>());
        let reasons = NAMES.map(|name| namespace.decide(name).map(|decision| decision.reason));
        for hub in 0..3 {
            let star = graph.star(hub, &mut universe);
            for dependent in &star.dependents {
                let refuses = star.refuses(dependent);
                let obstacles = match reasons[place(dependent.name)].as_ref().unwrap() {
                    Reason::Blocked { obstacles, .. } | Reason::Waiting { obstacles, .. } => obstacles,
                    reason => panic!("{} needs somebody and nobody runs: {reason}", dependent.name),
                };
                let obstacle = obstacles.iter().find(|obstacle| obstacle.name == star.hub).unwrap();
                let direct =
                    matches!(obstacle.hindrance, Hindrance::Direct(Cause::Missing | Cause::VersionConflict));
                assert_eq!((refuses, refuses), (direct, obstacle.conflict.is_some()), "{obstacle}");
                if let Some(conflict) = &obstacle.conflict {
                    star.check_conflict(dependent.name, conflict, &mut universe);
                    conflicts += 1;
                }
            }
        }
    }
    assert!(conflicts > 5_000, "only {conflicts} conflicts");
}
