//! Which middleware requests meet and in which order: golden cases, each with what is declared and
//! what comes of it (`UPDATE_GOLDEN=1` writes that), and that nothing depends on the order in which
//! entries came.
#![expect(clippy::disallowed_methods, reason = "the runner reads files; what it tests does not")]
#![expect(clippy::unwrap_used, reason = "a case that cannot be read fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write,
    fs,
    path::Path,
};

use forward_crds::{Middleware, ProvidedMiddleware, Route};
use forward_plan::{
    middleware::{Chain, provided},
    routes::{Claimant, Offer, PluginId},
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

/// What is declared.
#[derive(Clone, Debug, Deserialize)]
struct Case {
    #[serde(default)]
    system: Vec<Middleware>,
    #[serde(default)]
    plugin: Vec<Middleware>,
    /// What plugins provide, the plugin `pay` that all of this is for among them.
    #[serde(default)]
    provided: Vec<(String, ProvidedMiddleware)>,
    /// The plugins that may be asked about requests of others.
    #[serde(default)]
    middleware_from: Vec<String>,
    /// As `METHOD /path`.
    routes: Vec<String>,
}

impl Case {
    fn offer(&self) -> Offer {
        let routes = self.routes.iter().map(|text| {
            let (method, path) = text.split_once(' ').unwrap();
            Route { host: String::new(), method: method.to_owned(), path: path.to_owned() }
        });
        let claimant = Claimant { id: PluginId::new("shop", "pay").into(), priority: 0, created: 0 };
        Offer::new(claimant, &[], &routes.collect::<Vec<_>>(), &[])
    }

    /// The status, and for each route what its requests meet.
    fn outcome(&self) -> String {
        let mut providers = BTreeMap::<_, Vec<_>>::new();
        for (provider, entry) in &self.provided {
            providers.entry(provider.as_str()).or_default().push(entry.clone());
        }
        let providers = providers.iter().map(|(name, entries)| (*name, entries.as_slice()));
        let provided = provided::for_plugin("pay", providers, &self.middleware_from);
        let chain = Chain::new(&self.system, &self.plugin, &provided).of_plugin("pay");
        let offer = self.offer();
        let mut text = String::new();
        for entry in chain.status(&offer) {
            writeln!(text, "{}", serde_json::to_string(&entry).unwrap()).unwrap();
        }
        for (slot, pattern) in offer.slots() {
            let names = chain.of_route(&slot.path, slot.method).map(|entry| entry.name.as_str());
            let names = names.collect::<Vec<_>>().join(" > ");
            writeln!(
                text,
                "{} {pattern}: {}",
                slot.method,
                if names.is_empty() { "nothing" } else { &names }
            )
            .unwrap();
        }
        text
    }
}

#[test]
fn cases_come_out_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/middleware");
    let files: BTreeSet<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut wrong = Vec::new();
    for path in &files {
        let (yaml, txt) = (path.with_extension("yaml"), path.with_extension("txt"));
        assert!(files.contains(&yaml), "{} belongs to nothing", path.display());
        let case: Case = serde_saphyr::from_str(&fs::read_to_string(&yaml).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", yaml.display()));
        let actual = case.outcome();
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&txt, &actual).unwrap();
        } else if fs::read_to_string(&txt).unwrap_or_default() != actual {
            wrong.push(format!("{}: UPDATE_GOLDEN=1 would write\n{actual}", txt.display()));
        }
    }
    assert!(!files.is_empty() && wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An entry of one of some kinds.
fn entry(name: usize, kind: usize, priority: i32, routed: bool) -> Value {
    let (kind, what) = [
        ("headers", json!({"request": {"remove": ["X-A"]}})),
        ("ipFilter", json!({"deny": ["10.0.0.0/8"]})),
        ("ipFilter", json!({"deny": ["10.0.0.0/99"]})),
        ("rateLimit", json!({"requests": 1})),
        ("cors", json!({"origins": ["*"]})),
    ][kind]
        .clone();
    let routes = if routed { json!([{"path": "/a"}]) } else { json!([]) };
    json!({"name": format!("m{name}"), "priority": priority, "routes": routes, kind: what})
}

/// An entry of a plugin, of one of some names and scopes.
fn offered(name: usize, scope: usize, priority: i32) -> ProvidedMiddleware {
    let phase = ["Identify", "Limit", "Transform", "Observe"][name];
    let mut entry = json!({"name": format!("m{name}"), "phase": phase, "priority": priority});
    let scope =
        [json!({}), json!({"scope": "Named", "plugins": ["pay"]}), json!({"scope": "All"})][scope].clone();
    entry.as_object_mut().unwrap().extend(scope.as_object().unwrap().clone());
    serde_json::from_value(entry).unwrap()
}

fn shuffle<T>(list: &mut [T], turn: usize, pick: &prop::sample::Index) {
    if !list.is_empty() {
        list.swap(turn % list.len(), pick.index(list.len()));
    }
}

proptest! {
    /// The same entries in any order give the same chain, to the byte.
    #[test]
    fn the_order_of_creation_does_not_matter(
        kinds in prop::collection::vec((0..5_usize, -1..=1_i32, any::<bool>(), any::<bool>()), 1..12),
        offers in prop::collection::vec((0..3_usize, 0..4_usize, 0..3_usize, -1..=1_i32), 0..8),
        shuffles in prop::collection::vec(any::<prop::sample::Index>(), 32),
    ) {
        let entries = kinds.iter().enumerate().map(|(name, (kind, priority, routed, system))| {
            (*system, serde_json::from_value::<Middleware>(entry(name / 2, *kind, *priority, *routed)).unwrap())
        });
        // Names are one-off in each list.
        let (mut system, mut plugin) = (Vec::new(), Vec::new());
        for (of_system, entry) in entries {
            let list: &mut Vec<Middleware> = if of_system { &mut system } else { &mut plugin };
            if list.iter().all(|other| other.name != entry.name) {
                list.push(entry);
            }
        }
        let provided = offers.into_iter().map(|(provider, name, scope, priority)| {
            (["auth", "count", "pay"][provider].to_owned(), offered(name, scope, priority))
        });
        let mut case = Case {
            system,
            plugin,
            provided: provided.collect(),
            middleware_from: vec!["auth".to_owned(), "other".to_owned()],
            routes: vec!["GET /a".to_owned(), "GET /b".to_owned()],
        };
        // So are those of one plugin.
        let mut names = BTreeSet::new();
        case.provided.retain(|(provider, entry)| names.insert((provider.clone(), entry.name.clone())));
        let before = case.outcome();
        for (turn, pick) in shuffles.iter().enumerate() {
            for list in [&mut case.system, &mut case.plugin] {
                shuffle(list, turn, pick);
            }
            shuffle(&mut case.provided, turn, pick);
            shuffle(&mut case.middleware_from, turn, pick);
        }
        prop_assert_eq!(before, case.outcome());
    }
}
