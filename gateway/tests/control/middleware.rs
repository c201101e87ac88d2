//! Which middleware the routes get, and what is told of it.

use std::sync::Arc;

use forward_crds::{MiddlewareState, Plugin, PluginSystem};
use forward_gateway::{
    control::index::Object,
    data::{chain::Chain, snapshot::Match},
};
use serde_json::{Value, json};

use crate::{
    objects::{plugin, rolled_out, route, routes, slice, system},
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
        let mut found = ["IpFilter(", "BodyLimit(", "Respond(", "Unusable(", "Ask("]
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
    let judge = json!({"name": "c", "routes": [{"path": "/x"}], "validate": {"body": {"schema": {}}}});
    let unusable =
        json!({"name": "d", "routes": [{"path": "/x"}], "validate": {"body": {"schema": {"type": 1}}}});
    let everywhere = json!({"name": "e", "validate": {"body": {"schema": {}}}});
    let is_plain_only = |table: &Table, path: &str| {
        table.chain(path).is_some_and(|chain| format!("{chain:?}").contains("plain_paths: true"))
    };
    for (entries, expected) in [
        (json!([guard, limit]), true),
        (json!([limit]), false),
        (json!([guard]), true),
        (json!([judge]), true),
        (json!([unusable]), true),
        (json!([everywhere]), false),
    ] {
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

#[test]
fn what_a_plugin_says_of_failures_goes_before_what_its_namespace_says() {
    let mut table = Table::new();
    let breaker = |failures: u32| json!([{"name": "pods", "circuitBreaker": {"failures": failures}}]);
    let failures = |table: &Table| table.chain("/x").map_or(5, |chain| chain.policies.breaker.failures);
    table.pay(&["GET /x"], json!([]));
    assert_eq!(failures(&table), 5);
    table.system("shop", breaker(7));
    assert_eq!(failures(&table), 7);
    table.pay(&["GET /x"], breaker(9));
    assert_eq!(failures(&table), 9);
    table.system("shop", json!([]));
    table.pay(
        &["GET /x"],
        json!([
            {"name": "a", "circuitBreaker": {"failures": 1}},
            {"name": "b", "priority": 1, "circuitBreaker": {"failures": 2}},
        ]),
    );
    assert_eq!(failures(&table), 2, "the first in the order");
}

fn jwt() -> Value {
    json!({"issuer": "https://id.example.com/", "audiences": ["shop"], "algorithms": ["RS256"],
           "jwksUrl": "https://id.example.com/keys"})
}

#[test]
fn a_fallback_finds_its_plugin_whenever_that_comes_and_in_its_namespace_only() {
    let mut table = Table::new();
    table.pay(&["GET /x"], json!([{"name": "spare", "fallback": {"plugin": "spare"}}]));
    let Match::Route(route) = table.shared.snapshot.load().find("", &http::Method::GET, "/x") else {
        panic!("no route");
    };
    let found = || route.policies().substitute(&route.plugin).map(|plugin| plugin.label.clone());
    assert_eq!(found(), None);
    let mut foreign = plugin("spare", routes(&[]), json!({}));
    foreign.metadata.namespace = Some("other".to_owned());
    table.take(Object::Plugin(Arc::new(foreign)));
    assert_eq!(found(), None);
    let spare = Arc::new(plugin("spare", routes(&[]), json!({})));
    table.take(Object::Plugin(spare.clone()));
    assert_eq!(found().as_deref(), Some("shop/spare"));
    let mut guarded = Plugin::clone(&spare);
    let needed = json!({"middleware": [{"name": "who", "permissions": {"require": ["a"]}}]});
    guarded.spec.http = serde_json::from_value(needed).unwrap();
    table.take(Object::Plugin(Arc::new(guarded)));
    assert_eq!(found(), None, "it asks who calls, which those for another were not asked");
    table.take(Object::Plugin(spare.clone()));
    assert_eq!(found().as_deref(), Some("shop/spare"));
    table.system("shop", json!([{"name": "admins", "routes": [{"path": "/admin"}], "jwt": jwt()}]));
    assert_eq!(found(), None, "its namespace asks on some of its routes");
    table.system("shop", json!([]));
    assert_eq!(found().as_deref(), Some("shop/spare"));
    table.pay(
        &["GET /x"],
        json!([{"name": "spare", "fallback": {"plugin": "spare"}}, {"name": "who", "jwt": jwt()}]),
    );
    let Match::Route(guarded) = table.shared.snapshot.load().find("", &http::Method::GET, "/x") else {
        panic!("no route");
    };
    assert!(guarded.policies().target().is_none(), "who is known to one plugin alone is nobody to another");
    table.delete(Object::Plugin(spare));
    assert_eq!(found(), None);
}

#[test]
fn a_plugin_is_not_its_own_fallback() {
    let mut table = Table::new();
    let own = table.pay(&["GET /x"], json!([{"name": "spare", "fallback": {"plugin": "pay"}}]));
    let told = table.index.middleware(&own, &[]);
    assert_eq!(told[0].state, MiddlewareState::Refused, "{told:?}");
}

/// A plugin without routes that provides this, by its manifest or announced.
fn provider(name: &str, manifest: Value, announced: Value) -> Plugin {
    plugin(name, json!({"providesMiddleware": manifest}), json!({"providesMiddleware": announced}))
}

fn allowed(names: &[&str]) -> Object {
    let mut system = system("shop", "default", &[]);
    system.spec.middleware_from = names.iter().map(|name| (*name).to_owned()).collect();
    Object::System(Arc::new(system))
}

fn apply(plugin: &Plugin) -> Object {
    Object::Plugin(Arc::new(plugin.clone()))
}

#[test]
fn plugins_are_asked_about_requests_that_they_may_see() {
    let mut table = Table::new();
    let pay = table.pay(&["GET /x"], json!([]));
    let auth =
        provider("auth", json!([]), json!([{"name": "check", "phase": "Authenticate", "scope": "All"}]));
    table.take(apply(&auth));
    let told = |table: &Table| {
        let told = table.index.middleware(&pay, &[]);
        told.into_iter().map(|it| (it.name, it.provider.unwrap(), it.state)).collect::<Vec<_>>()
    };
    let check = |state| [("check".to_owned(), "auth".to_owned(), state)];
    assert_eq!(table.steps("/x"), "none");
    assert_eq!(told(&table), check(MiddlewareState::Refused));
    assert_eq!(table.index.withheld(&auth, &auth.status.as_ref().unwrap().provides_middleware), ["check"]);
    table.take(allowed(&["auth"]));
    assert_eq!(table.steps("/x"), "Ask");
    assert_eq!(told(&table), check(MiddlewareState::Active));
    assert!(table.index.withheld(&auth, &[]).is_empty());
    assert!(table.index.middleware(&auth, &[]).is_empty(), "it is for others");
    table.delete(allowed(&["auth"]));
    assert_eq!(table.steps("/x"), "none");
}

#[test]
fn the_manifest_says_what_a_plugin_is_asked_before_it_has_announced_anything() {
    let mut table = Table::new();
    table.take(allowed(&["auth"]));
    table.pay(&["GET /x"], json!([]));
    let entry =
        |phase: &str| json!([{"name": "check", "phase": phase, "scope": "Named", "plugins": ["pay"]}]);
    table.take(apply(&provider("auth", entry("Authorize"), json!([]))));
    assert_eq!(table.steps("/x"), "Ask");
    let both = provider("auth", entry("Authorize"), entry("Observe"));
    table.take(apply(&both));
    let told = table.index.middleware(&pay(&["GET /x"], json!([])), &[]);
    assert_eq!((told.len(), format!("{:?}", told[0].phase)), (1, "Authorize".to_owned()));
}

#[test]
fn is_asked_until_it_is_gone_or_disabled_and_has_no_pod() {
    let mut table = Table::new();
    table.take(allowed(&["auth"]));
    table.pay(&["GET /x"], json!([]));
    let all = json!([{"name": "check", "phase": "Authenticate", "scope": "All"}]);
    let mut auth = provider("auth", json!([]), all);
    table.take(apply(&auth));
    table.take(slice("auth", &["a"]));
    table.take(slice("auth", &["!a"]));
    assert_eq!(table.steps("/x"), "Ask", "nothing goes past one that is down");
    auth.spec.suspend = true;
    rolled_out(&mut auth, 2);
    table.take(apply(&auth));
    assert_eq!(table.steps("/x"), "Ask");
    table.take(slice("auth", &["a"]));
    auth.spec.enabled = false;
    table.take(apply(&auth));
    assert_eq!(table.steps("/x"), "Ask", "a pod answers still");
    table.take(slice("auth", &["!a"]));
    assert_eq!(table.steps("/x"), "none");
    auth.spec.enabled = true;
    table.take(apply(&auth));
    assert_eq!(table.steps("/x"), "Ask");
    table.delete(apply(&auth));
    assert_eq!(table.steps("/x"), "none");
}

#[test]
fn plugins_are_asked_about_the_routes_that_they_name() {
    let mut table = Table::new();
    let pay = table.pay(&["GET /x/:id", "GET /y"], json!([]));
    let some = |phase: &str| {
        let routes = json!([{"path": "/x/:any"}, {"path": "/z"}]);
        let entry = json!([{"name": "check", "phase": phase, "scope": "All", "routes": routes}]);
        apply(&provider("auth", json!([]), entry))
    };
    table.take(some("Authorize"));
    assert_eq!(table.steps("/y"), "none", "without leave it changes nothing for others");
    table.take(allowed(&["auth"]));
    assert_eq!(
        (table.steps("/x/1"), table.steps("/y")),
        ("Ask".into(), String::new()),
        "paths are read in one way"
    );
    table.take(some("Limit"));
    assert_eq!((table.steps("/x/1"), table.steps("/y")), ("Ask".into(), String::new()), "in any phase");
    let told = table.index.middleware(&pay, &[]);
    assert_eq!(told[0].routes, ["/x/:any", "/z"]);
    assert_eq!(told[0].message.as_deref(), Some("the plugin has no route /z"));
}

#[test]
fn one_that_is_made_anew_is_asked_by_routes_that_keep_what_they_had() {
    let mut table = Table::new();
    table.take(allowed(&["auth"]));
    table.pay(&["GET /x"], json!([]));
    let auth = provider("auth", json!([{"name": "check", "phase": "Authorize", "scope": "All"}]), json!([]));
    table.take(apply(&auth));
    table.take(slice("auth", &["a"]));
    let asks = |table: &Table, pod: &str| format!("{:?}", table.chain("/x")).contains(&format!("uid-{pod}"));
    assert!(asks(&table, "a"));
    table.pay(&["GET /x"], json!([filter("10.0.0.0/99")]));
    table.delete(apply(&auth));
    assert_eq!(table.steps("/x"), "Ask", "it has what it had");
    assert!(!asks(&table, "a"));
    table.take(apply(&auth));
    table.take(slice("auth", &["b"]));
    assert!(asks(&table, "b"), "{:?}", table.chain("/x"));
}

#[test]
fn plugins_that_are_not_concerned_are_left_alone() {
    let mut table = Table::new();
    table.take(allowed(&["auth"]));
    table.pay(&["GET /x"], json!([]));
    let other = apply(&plugin("other", routes(&["GET /other"]), json!({})));
    table.take(other);
    let named = |names: &[&str]| {
        let entry = json!([{"name": "check", "phase": "Limit", "scope": "Named", "plugins": names}]);
        apply(&provider("auth", entry, json!([])))
    };
    table.take(named(&["pay"]));
    assert_eq!((table.steps("/x"), table.steps("/other")), ("Ask".into(), "none".into()));
    let before = table.chain("/x").unwrap();
    table.take(named(&["pay", "other"]));
    assert_eq!(table.steps("/other"), "Ask");
    assert!(Arc::ptr_eq(&before, &table.chain("/x").unwrap()), "nothing has changed for it");
    table.take(named(&["other"]));
    assert_eq!((table.steps("/x"), table.steps("/other")), ("none".into(), "Ask".into()));
}
