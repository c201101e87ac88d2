//! From objects to what requests are answered from.

use std::sync::Arc;

use forward_crds::Plugin;
use forward_gateway::{
    control::index::Object,
    data::snapshot::{Match, Route},
};
use forward_plan::routes::PluginId;
use serde_json::json;

use crate::{objects::*, table::Table};

impl Table {
    fn apply(&mut self, plugin: Plugin) {
        self.take(Object::Plugin(Arc::new(plugin)));
    }

    fn route(&self, text: &str) -> Option<Arc<Route>> {
        let (method, rest) = text.split_once(' ').unwrap();
        let (host, path) = rest.split_at(rest.find('/').unwrap());
        match self.shared.snapshot.load().find(host, &method.parse().unwrap(), path) {
            Match::Route(route) => Some(route),
            Match::Allow(_) | Match::NotFound => None,
        }
    }

    fn owner(&self, text: &str) -> String {
        self.route(text).map_or("nobody".to_owned(), |route| route.plugin.id.name.clone())
    }

    fn endpoints(&self, text: &str) -> usize {
        self.route(text).unwrap().plugin.endpoints().len()
    }

    fn is_mine(&self, name: &str) -> bool {
        self.index.view(&PluginId::new("shop", name)).is_some()
    }
}

#[test]
fn serves_manifest_and_announced_routes_as_the_objects_say() {
    let mut table = Table::new();
    table.apply(plugin("pay", routes(&["GET /pay/:id"]), announced(&["POST /pay"])));
    assert_eq!((table.owner("GET /pay/1"), table.owner("POST /pay")), ("pay".into(), "pay".into()));
    table.apply(plugin("pay", json!({}), announced(&[])));
    assert_eq!((table.owner("GET /pay/1"), table.owner("POST /pay")), ("nobody".into(), "nobody".into()));
}

#[test]
fn takes_out_the_pods_that_the_status_names_whichever_comes_first() {
    let mut table = Table::new();
    let unhealthy = |pods: &[&str]| {
        let pods = pods.iter().map(
            |pod| json!({"pod": pod, "reason": "Unhealthy", "message": "", "since": "2026-01-01T00:00:00Z"}),
        );
        let health = json!({
            "status": "Healthy", "timestamp": "2026-01-01T00:00:00Z", "unhealthyPods": pods.collect::<Vec<_>>(),
        });
        plugin("pay", routes(&["GET /x"]), json!({"health": health}))
    };
    let out = |table: &Table| {
        let route = table.route("GET /x").unwrap();
        let endpoints = route.plugin.endpoints().clone();
        assert!(!route.plugin.is_unhealthy());
        let out = endpoints.iter().filter(|endpoint| endpoint.is_unhealthy());
        out.map(|endpoint| endpoint.pod.clone()).collect::<Vec<_>>()
    };
    table.apply(unhealthy(&["b"]));
    table.take(slice("pay", &["a", "b", "c"]));
    assert_eq!(out(&table), ["uid-b"]);
    table.apply(unhealthy(&["c", "gone"]));
    assert_eq!(out(&table), ["uid-c"]);
    table.take(slice("pay", &["a", "c", "d"]));
    assert_eq!(out(&table), ["uid-c"]);
    table.apply(unhealthy(&[]));
    assert_eq!(out(&table), [] as [&str; 0]);
}

#[test]
fn hands_a_route_to_the_next_when_its_owner_goes() {
    let mut table = Table::new();
    table.apply(plugin("low", routes(&["GET /x"]), json!({})));
    let mut spec = routes(&["GET /x"]);
    spec["priority"] = json!(5);
    let high = plugin("high", spec, json!({}));
    table.apply(high.clone());
    assert_eq!(table.owner("GET /x"), "high");
    table.delete(Object::Plugin(Arc::new(high)));
    assert_eq!(table.owner("GET /x"), "low");
}

#[test]
fn a_plugin_that_is_going_keeps_its_routes_while_a_pod_answers() {
    let mut disabled = routes(&["GET /x"]);
    disabled["priority"] = json!(5);
    let high = plugin("high", disabled.clone(), json!({}));
    disabled["enabled"] = json!(false);
    let mut deleted = high.clone();
    deleted.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap());
    for going in [plugin("high", disabled, json!({})), deleted] {
        let mut table = Table::new();
        table.apply(plugin("low", routes(&["GET /x"]), json!({})));
        table.apply(high.clone());
        assert_eq!(table.owner("GET /x"), "high", "without a pod, but to stay");
        table.take(slice("high", &["high-1"]));
        table.apply(going);
        assert_eq!(table.owner("GET /x"), "high", "its pod still answers");
        table.take(slice("high", &["!high-1"]));
        assert_eq!(table.owner("GET /x"), "low");
    }
}

#[test]
fn follows_endpoints_whether_they_come_before_or_after_the_plugin() {
    let mut table = Table::new();
    table.take(slice("pay", &["pay-1", "!pay-2"]));
    table.apply(plugin("pay", routes(&["GET /x"]), json!({})));
    assert_eq!(table.endpoints("GET /x"), 1);
    let version = table.shared.snapshot.load().version;
    table.take(slice("pay", &["pay-1", "pay-2"]));
    assert_eq!(table.endpoints("GET /x"), 2);
    table.delete(slice("pay", &[]));
    assert_eq!(table.endpoints("GET /x"), 0);
    assert_eq!(table.shared.snapshot.load().version, version, "endpoints need no other routes");
}

#[test]
fn takes_endpoints_from_the_plugins_own_service_only() {
    let mut table = Table::new();
    table.apply(plugin("pay", routes(&["GET /x"]), json!({})));
    table.take(slice("pay", &["pay-1"]));
    table.take(slice_of("pay-public", "pay", &["another-1", "another-2"]));
    assert_eq!(table.endpoints("GET /x"), 1);
}

#[test]
fn takes_health_from_the_status() {
    let mut table = Table::new();
    let health = |status: &str| json!({"health": {"status": status, "timestamp": "2026-01-01T00:00:00Z"}});
    for (status, unhealthy) in [("Healthy", false), ("Unhealthy", true), ("Unknown", false)] {
        table.apply(plugin("pay", routes(&["GET /x"]), health(status)));
        assert_eq!(table.route("GET /x").unwrap().plugin.is_unhealthy(), unhealthy, "{status}");
    }
}

#[test]
fn forgets_who_asks_when_the_annotation_changes_and_only_then() {
    let mut table = Table::new();
    table.take(slice("auth", &["a"]));
    let mut plugin = plugin("auth", routes(&["GET /a"]), json!({}));
    table.apply(plugin.clone());
    let serving = table.route("GET /a").unwrap().plugin.clone();
    for (value, is_forgotten) in
        [(None, false), (Some("1"), true), (Some("1"), false), (Some("2"), true), (None, true)]
    {
        let before = serving.endpoints().clone();
        plugin.metadata.annotations =
            value.map(|value| [("goforward.dev/forget-callers".to_owned(), value.to_owned())].into());
        table.apply(plugin.clone());
        let after = serving.endpoints().clone();
        assert_eq!(!Arc::ptr_eq(&before, &after), is_forgotten, "{value:?}");
        assert!(after.len() == 1 && Arc::ptr_eq(&before[0], &after[0]), "connections stay");
    }
}

#[test]
fn serves_routes_without_host_under_the_hosts_of_their_namespace() {
    let mut table = Table::new();
    table.apply(plugin("pay", routes(&["GET /x", "GET own.example/y"]), json!({})));
    assert_eq!(table.owner("GET any.example/x"), "pay");
    table.take(Object::System(Arc::new(system("shop", "default", &["shop.example"]))));
    assert_eq!(table.owner("GET any.example/x"), "nobody");
    assert_eq!(table.owner("GET shop.example/x"), "pay");
    assert_eq!(table.owner("GET own.example/y"), "pay");
    table.take(Object::System(Arc::new(system("other", "default", &["other.example"]))));
    table.take(Object::System(Arc::new(system("shop", "unused", &["unused.example"]))));
    assert_eq!(table.owner("GET shop.example/x"), "pay");
    table.delete(Object::System(Arc::new(system("shop", "default", &[]))));
    assert_eq!(table.owner("GET any.example/x"), "pay");
}

#[test]
fn a_host_of_a_namespace_is_nobody_elses() {
    let mut table = Table::new();
    let mut thief =
        plugin("thief", routes(&["GET shop.example/pay", "GET /login", "GET thief.example/x"]), json!({}));
    thief.metadata.namespace = Some("other".to_owned());
    thief.spec.priority = 1000;
    table.apply(thief);
    table.apply(plugin("pay", routes(&["GET /pay"]), json!({})));
    assert_eq!(table.owner("GET shop.example/pay"), "thief", "nobody says whose it is");
    table.take(Object::System(Arc::new(system("shop", "default", &["shop.example"]))));
    for (route, owner) in [
        ("GET shop.example/pay", "pay"),
        ("GET shop.example/login", "nobody"),
        ("GET any.example/login", "thief"),
        ("GET thief.example/x", "thief"),
    ] {
        assert_eq!(table.owner(route), owner, "{route}");
    }
    table.take(Object::System(Arc::new(system("other", "default", &["shop.example"]))));
    assert_eq!(table.owner("GET shop.example/login"), "thief", "both have it, as both PluginSystems say");
    table.delete(Object::System(Arc::new(system("other", "default", &[]))));
    table.delete(Object::System(Arc::new(system("shop", "default", &[]))));
    assert_eq!(table.owner("GET shop.example/pay"), "thief");
    assert_eq!(table.owner("GET shop.example/login"), "thief");
}

#[test]
fn owns_the_plugins_of_its_share_only() {
    let mut table = Table::new();
    let names = (0..100).map(|n| format!("p{n}")).collect::<Vec<_>>();
    for name in &names {
        table.apply(plugin(name, json!({}), json!({})));
    }
    let mine = |table: &Table| names.iter().filter(|name| table.is_mine(name)).count();
    assert_eq!(mine(&table), 100, "alone, it has them all");
    table.take(own(&["gateway-a", "gateway-b"]));
    let share = mine(&table);
    assert!((25..75).contains(&share), "{share}");
    table.take(own(&["gateway-a", "!gateway-b"]));
    assert_eq!(mine(&table), 100);
    table.take(own(&["gateway-b"]));
    assert_eq!(mine(&table), 0);
}

#[test]
fn tells_a_plugin_what_becomes_of_its_routes() {
    let mut table = Table::new();
    let mut spec = routes(&["GET /x"]);
    spec["priority"] = json!(5);
    table.apply(plugin("high", spec, json!({})));
    let low = plugin("low", routes(&["GET /x"]), json!({}));
    table.apply(low.clone());
    let verdicts = table.index.judge(&low, &[serde_json::from_value(route("GET /low")).unwrap()]);
    assert_eq!(verdicts.len(), 2);
    assert!(!verdicts[0].active && verdicts[1].active);
    let message = verdicts[0].message.clone().unwrap();
    assert_eq!(message, "GET /x is served by shop/high, which has the higher priority (5 > 0)");
}

#[test]
fn keeps_counting_a_route_that_comes_back() {
    let mut table = Table::new();
    table.apply(plugin("pay", routes(&["GET /x"]), json!({})));
    let stats = table.route("GET /x").unwrap().stats.clone();
    table.apply(plugin("pay", routes(&["GET /x", "POST /x"]), json!({})));
    assert!(Arc::ptr_eq(&stats, &table.route("POST /x").unwrap().stats), "one path, one count");
}
