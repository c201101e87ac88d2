//! Which middleware the routes get, and what is told of it.

use std::sync::Arc;

use forward_crds::{MiddlewareState, Plugin, PluginSystem};
use forward_gateway::{
    control::index::Object,
    data::{chain::Chain, snapshot::Match},
};
use serde_json::{Value, json};

use crate::{
    objects::{plugin, route, routes, system},
    table::Table,
};

impl Table {
    /// Apply the plugin `pay` with these routes and this middleware.
    fn pay(&mut self, list: &[&str], middleware: Value) -> Plugin {
        let plugin = pay(list, middleware);
        self.take(Object::Plugin(Arc::new(plugin.clone())));
        plugin
    }

    fn system(&mut self, namespace: &str, middleware: Value) {
        self.take(Object::System(Arc::new(configured(namespace, middleware))));
    }

    fn find(&self, path: &str) -> Match {
        self.shared.snapshot.load().find("any", &http::Method::GET, path)
    }

    fn chain(&self, path: &str) -> Option<Arc<Chain>> {
        match self.find(path) {
            Match::Route(route) => route.chain.clone(),
            other => panic!("{path}: {other:?}"),
        }
    }

    /// The kinds of the steps, in order.
    fn steps(&self, path: &str) -> String {
        let Some(chain) = self.chain(path) else { return "none".to_owned() };
        let text = format!("{chain:?}");
        let mut found = ["IpFilter(", "BodyLimit(", "Respond(", "Unusable("]
            .iter()
            .filter_map(|kind| Some((text.find(kind)?, kind.trim_end_matches('('))))
            .collect::<Vec<_>>();
        found.sort_unstable();
        found.into_iter().map(|(_, kind)| kind).collect::<Vec<_>>().join(" ")
    }
}

fn pay(list: &[&str], middleware: Value) -> Plugin {
    let mut spec = routes(list);
    spec["http"]["middleware"] = middleware;
    plugin("pay", spec, json!({}))
}

fn configured(namespace: &str, middleware: Value) -> PluginSystem {
    let mut system = system(namespace, "default", &[]);
    system.spec.middleware = serde_json::from_value(middleware).unwrap();
    system
}

fn filter(network: &str) -> Value {
    json!({"name": "office", "ipFilter": {"allow": [network]}})
}

#[test]
fn routes_meet_what_their_plugin_and_its_namespace_declare() {
    let mut table = Table::new();
    table.pay(
        &["GET /x", "GET /y"],
        json!([{"name": "b", "routes": [{"path": "/x"}], "bodyLimit": {"maxBytes": 1}}]),
    );
    assert_eq!((table.steps("/x"), table.steps("/y")), ("BodyLimit".into(), "none".into()));
    table.system("shop", json!([filter("10.0.0.0/8")]));
    table.system("other", json!([{"name": "gone", "respond": {"status": 410}}]));
    assert_eq!((table.steps("/x"), table.steps("/y")), ("IpFilter BodyLimit".into(), "IpFilter".into()));
    table.pay(&["GET /x", "GET /y"], json!([]));
    assert_eq!(table.steps("/x"), "IpFilter");
    table.delete(Object::System(Arc::new(configured("shop", json!([])))));
    assert_eq!(table.steps("/x"), "none");
}

#[test]
fn a_bad_entry_leaves_served_routes_as_they_are_and_lets_nothing_pass_on_others() {
    let mut table = Table::new();
    table.pay(&["GET /x"], json!([filter("10.0.0.0/8")]));
    let good = table.chain("/x").unwrap();
    let bad = table.pay(
        &["GET /x", "GET /y"],
        json!([filter("10.0.0.0/99"), {"name": "new", "respond": {"status": 410}}]),
    );
    assert!(Arc::ptr_eq(&good, &table.chain("/x").unwrap()));
    assert_eq!(table.steps("/y"), "Unusable Respond");
    let told = table.index.middleware(&bad, &[]);
    assert_eq!((told[0].name.as_str(), told[0].state), ("office", MiddlewareState::Refused));
    assert!(told[0].message.as_ref().unwrap().contains("10.0.0.0/99"), "{told:?}");
    table.pay(&["GET /x", "GET /y"], json!([filter("10.0.0.0/9")]));
    assert!(!Arc::ptr_eq(&good, &table.chain("/x").unwrap()));
    assert_eq!((table.steps("/x"), table.steps("/y")), ("IpFilter".into(), "IpFilter".into()));
}

#[test]
fn a_gateway_that_starts_with_a_bad_entry_lets_nothing_pass_for_that_plugin_alone() {
    let mut table = Table::new();
    table.pay(&["GET /x"], json!([filter("office")]));
    table.take(Object::Plugin(Arc::new(plugin("other", routes(&["GET /other"]), json!({})))));
    assert_eq!((table.steps("/x"), table.steps("/other")), ("Unusable".into(), "none".into()));
}

#[test]
fn no_request_sees_routes_while_what_may_guard_them_is_not_listed() {
    let mut table = Table::new();
    table.index.hold();
    table.pay(&["GET /x"], json!([]));
    assert!(matches!(table.find("/x"), Match::NotFound));
    table.system("shop", json!([filter("10.0.0.0/8")]));
    assert!(matches!(table.find("/x"), Match::NotFound));
    table.index.complete();
    table.index.publish();
    assert_eq!(table.steps("/x"), "IpFilter");
}

#[test]
fn where_some_routes_are_guarded_paths_of_the_others_are_read_in_one_way_only() {
    let mut table = Table::new();
    let guard = json!({"name": "a", "routes": [{"path": "/x"}], "permissions": {"require": ["a"]}});
    let limit = json!({"name": "b", "routes": [{"path": "/x"}], "bodyLimit": {"maxBytes": 1}});
    let is_plain_only = |table: &Table, path: &str| {
        table.chain(path).is_some_and(|chain| format!("{chain:?}").contains("plain_paths: true"))
    };
    for (entries, expected) in
        [(json!([guard, limit]), true), (json!([limit]), false), (json!([guard]), true)]
    {
        table.pay(&["GET /x", "GET /y"], entries);
        assert_eq!((is_plain_only(&table, "/x"), is_plain_only(&table, "/y")), (expected, expected));
    }
}

#[test]
fn a_route_that_changes_hands_gets_the_middleware_of_its_new_owner() {
    let mut table = Table::new();
    table.pay(&["GET /x"], json!([filter("10.0.0.0/8")]));
    let mut spec = routes(&["GET /x"]);
    spec["priority"] = json!(5);
    let high = Arc::new(plugin("high", spec, json!({})));
    table.take(Object::Plugin(high.clone()));
    assert_eq!(table.steps("/x"), "none");
    table.pay(&["GET /x"], json!([filter("10.0.0.0/99")]));
    table.index.delete(Object::Plugin(high));
    table.index.publish();
    assert_eq!(table.steps("/x"), "Unusable", "what it had before it lost the route is of no use");
}

#[test]
fn tells_of_middleware_for_routes_that_are_announced_later() {
    let mut table = Table::new();
    let entry = json!([{"name": "b", "routes": [{"path": "/late"}], "bodyLimit": {"maxBytes": 1}}]);
    let plugin = table.pay(&["GET /x"], entry);
    assert_eq!(table.index.middleware(&plugin, &[])[0].state, MiddlewareState::Unused);
    let announced = [serde_json::from_value(route("GET /late")).unwrap()];
    assert_eq!(table.index.middleware(&plugin, &announced)[0].state, MiddlewareState::Active);
}
