use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{ConfigMap, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

fn metadata(name: &str, owner: Option<(&str, &str)>) -> Value {
    let owners: Vec<_> = owner
        .into_iter()
        .map(|(kind, name)| {
            json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": true})
        })
        .collect();
    json!({"metadata": {"name": name, "namespace": "shop", "labels": {"goforward.dev/plugin": "cart"},
                        "ownerReferences": owners}})
}

fn cart() -> Object {
    let plugin = json!({"metadata": {"name": "cart", "namespace": "shop", "uid": "u", "generation": 1},
                        "spec": {"version": "1.0.0", "image": "cart"}});
    Object::Plugin(Arc::new(serde_json::from_value(plugin).unwrap()))
}

fn index() -> Index {
    let mut index = Index::default();
    index.apply(cart());
    index
}

fn of<K: DeserializeOwned + Into<Object>>(name: &str, owner: Option<(&str, &str)>) -> Object {
    serde_json::from_value::<K>(metadata(name, owner)).unwrap().into()
}

#[test]
fn wakes_the_plugin_whose_object_changed() {
    let mut index = index();
    for object in [
        of::<Deployment>("cart", None),
        of::<Service>("cart", None),
        of::<ServiceAccount>("cart", None),
        of::<NetworkPolicy>("cart", None),
        of::<PodDisruptionBudget>("cart", None),
        of::<ConfigMap>("cart-config-1", Some(("Plugin", "cart"))),
        of::<Pod>("cart-1-x", Some(("ReplicaSet", "cart-1"))),
        of::<NetworkPolicy>("cart.hooks", None),
        of::<Job>("cart-hook-1", Some(("Plugin", "cart"))),
    ] {
        assert_eq!(index.apply(object.clone()), [ObjectRef::new("cart").within("shop")]);
        assert_eq!(index.delete(object), [ObjectRef::new("cart").within("shop")]);
    }
    assert!(index.snapshot("shop", "cart").unwrap().live.is_empty());
}

#[test]
fn leaves_objects_alone_that_only_carry_the_label() {
    let mut index = index();
    for object in [
        of::<Deployment>("another", None),
        of::<Service>("cart-public", None),
        of::<ServiceAccount>("shop", None),
        of::<NetworkPolicy>("cart-monitoring", None),
        of::<PodDisruptionBudget>("carts", None),
        of::<ConfigMap>("settings", None),
        of::<ConfigMap>("settings", Some(("Plugin", "another"))),
        of::<NetworkPolicy>("another.hooks", None),
        of::<Job>("cart-hook-1", Some(("CronJob", "cart"))),
        of::<Pod>("debug", None),
        of::<Pod>("cart-more-1-x", Some(("ReplicaSet", "cart-more-1"))),
    ] {
        assert_eq!(index.apply(object), []);
    }
    assert!(index.snapshot("shop", "cart").unwrap().live.is_empty());
}

#[test]
fn a_variable_counts_until_it_can_mean_two_plugins() {
    let variable = "GOFORWARD_PLUGINS_CART_CONFIG_B_ENABLED".to_owned();
    let (overrides, _) = Overrides::read([(variable, "false".to_owned())]);
    let mut index = Index::new(overrides);
    let rival = json!({"metadata": {"name": "cart-config-b", "namespace": "shop", "uid": "v", "generation": 1},
                       "spec": {"version": "1.0.0", "image": "b"}});
    let rival = Object::Plugin(Arc::new(serde_json::from_value(rival).unwrap()));
    let keys = |index: &Index| {
        let snapshot = index.snapshot("shop", "cart").unwrap();
        let heeded = snapshot.overrides.iter().all(|it| it.message.is_none());
        (snapshot.plugin.spec.config.iter().map(|config| config.read().len()).sum::<usize>(), heeded)
    };
    index.apply(cart());
    assert_eq!(keys(&index), (1, true));
    let touched = index.apply(rival.clone());
    assert!(touched.contains(&ObjectRef::new("cart").within("shop")));
    assert_eq!(keys(&index), (0, false));
    assert!(index.snapshot("shop", "cart-config-b").unwrap().plugin.spec.enabled);
    let touched = index.delete(rival);
    assert!(touched.contains(&ObjectRef::new("cart").within("shop")));
    assert_eq!(keys(&index), (1, true));
}

#[test]
fn forgets_a_namespace_with_its_last_object() {
    let mut index = index();
    let service = of::<Service>("cart", None);
    index.apply(service.clone());
    index.delete(cart());
    assert!(index.snapshot("shop", "cart").is_none());
    assert_eq!(index.tenants.len(), 1, "the Service is still there");
    index.delete(service);
    assert!(index.tenants.is_empty());
}
fn with_route(name: &str, namespace: &str, priority: i32) -> Arc<Plugin> {
    let metadata = json!({"name": name, "namespace": namespace, "uid": name, "generation": 1,
                          "creationTimestamp": "2026-01-01T00:00:00Z"});
    let http = json!({"routes": [{"path": "/api"}]});
    let spec = json!({"version": "1.0.0", "image": "a", "priority": priority, "http": http});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
}

fn foreseen(index: &Index, manifest: Arc<Plugin>) -> Vec<String> {
    let (effective, known) = index.effective(&manifest);
    let judged = known.unwrap_or_else(|| Arc::new(Judged::of(&effective)));
    let warnings = index.foresee(&Prospect { manifest, effective, judged });
    warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn foresees_a_plugin_with_its_overrides() {
    let variable = ("GOFORWARD_PLUGINS_STOCK_ENABLED".to_owned(), "false".to_owned());
    let mut index = Index::new(Overrides::read([variable]).0);
    let dependent = json!({"metadata": {"name": "cart", "namespace": "shop", "uid": "u", "generation": 1},
                           "spec": {"version": "1.0.0", "image": "a", "dependencies": [{"name": "stock"}]}});
    index.apply(Object::Plugin(Arc::new(serde_json::from_value(dependent).unwrap())));
    let stock = with_route("stock", "shop", 0);
    let expected = ["is to be unloaded, and is needed by cart"];
    assert_eq!(foreseen(&index, stock.clone()), expected);
    index.apply(Object::Plugin(stock.clone()));
    assert!(index.plugin("shop", "stock").unwrap().spec.enabled, "the manifest says so");
    assert_eq!(foreseen(&index, stock), expected);
}

#[test]
fn foresees_whose_routes_are_whose_in_all_namespaces_and_under_their_hosts() {
    let mut index = Index::default();
    index.apply(Object::Plugin(with_route("stock", "shop", 0)));
    let lost = "* /api is served by shop/stock, which has the higher priority (0 > -1)";
    assert_eq!(foreseen(&index, with_route("new", "other", -1)), [lost]);
    assert_eq!(foreseen(&index, with_route("new", "other", 1)), ["takes * /api from shop/stock"]);
    let hosts =
        json!({"metadata": {"name": "default", "namespace": "shop"}, "spec": {"hosts": ["shop.example"]}});
    let system = Object::System(Arc::new(serde_json::from_value(hosts).unwrap()));
    index.apply(system.clone());
    assert_eq!(foreseen(&index, with_route("new", "other", 1)), [""; 0], "another host");
    let lost = "* shop.example/api is served by shop/stock, which has the higher priority (0 > -1)";
    assert_eq!(foreseen(&index, with_route("new", "shop", -1)), [lost]);
    index.delete(system);
    assert_eq!(foreseen(&index, with_route("new", "other", 1)), ["takes * /api from shop/stock"]);
    index.delete(Object::Plugin(with_route("stock", "shop", 0)));
    assert_eq!(foreseen(&index, with_route("new", "other", 1)), [""; 0]);
}

#[test]
fn keeps_what_came_of_a_hook_until_the_status_says_it() {
    let with_outcome = |outcome: &str| {
        let hook = json!({"hook": "beforeLoad", "revision": "a", "outcome": outcome, "time": "2026-01-01T00:00:00Z"});
        let plugin = json!({"metadata": {"name": "cart", "namespace": "shop", "uid": "u", "generation": 1},
                            "spec": {"version": "1.0.0", "image": "cart",
                                     "hooks": {"beforeLoad": {"http": {"service": "a"}}}},
                            "status": {"hooks": [hook]}});
        Arc::new(serde_json::from_value::<Plugin>(plugin).unwrap())
    };
    let running = with_outcome("Running");
    let id = hook_runs(&running).pop_first().unwrap();
    let ran = Ran::untimed(crate::hooks::HookKind::Http, forward_plan::HookRun::Succeeded);
    let mut index = Index::default();
    assert_eq!(index.answer("shop", "cart", &id, ran.clone()), [], "there is no such plugin");
    index.apply(Object::Plugin(running.clone()));
    assert_eq!(index.answer("shop", "cart", &id, ran.clone()), [ObjectRef::new("cart").within("shop")]);
    index.apply(Object::Plugin(running.clone()));
    assert!(index.snapshot("shop", "cart").unwrap().live.answers.contains_key(&id));
    index.apply(Object::Plugin(with_outcome("Succeeded")));
    assert!(index.snapshot("shop", "cart").unwrap().live.is_empty());
    index.apply(Object::Plugin(running.clone()));
    index.answer("shop", "cart", &id, ran);
    index.delete(Object::Plugin(running));
    assert!(index.tenants.is_empty());
}

/// The same object with another label or none, and with these owners.
fn labelled<K: DeserializeOwned + Into<Object>>(
    name: &str,
    label: Option<&str>,
    owner: Option<&str>,
) -> Object {
    let mut object =
        metadata(name, owner.map(|kind| (kind, if kind == "ReplicaSet" { "cart-1" } else { "cart" })));
    object["metadata"]["labels"] = label.map_or(json!({}), |label| json!({"goforward.dev/plugin": label}));
    serde_json::from_value::<K>(object).unwrap().into()
}

#[test]
fn what_is_no_longer_a_plugins_is_dropped_and_wakes_it() {
    let cart = || ObjectRef::new("cart").within("shop");
    let pod = |label, owner| labelled::<Pod>("cart-1-x", label, owner);
    let map = |label| labelled::<ConfigMap>("cart-config-1", label, Some("Plugin"));
    let job = |label| labelled::<Job>("cart-hook-1", label, Some("Plugin"));
    let (own, other) = (Some("cart"), Some("debug"));
    let cases = [
        // Its ReplicaSet lets go of a pod whose labels it does not select.
        (pod(own, Some("ReplicaSet")), pod(other, Some("ReplicaSet"))),
        (pod(own, Some("ReplicaSet")), pod(other, None)),
        (pod(own, Some("ReplicaSet")), pod(None, None)),
        (map(own), map(other)),
        (job(own), job(other)),
        (labelled::<Service>("cart", own, None), labelled::<Service>("cart", other, None)),
        (
            labelled::<NetworkPolicy>("cart.hooks", own, None),
            labelled::<NetworkPolicy>("cart.hooks", None, None),
        ),
    ];
    for (before, after) in cases {
        let mut index = index();
        index.apply(before.clone());
        assert_eq!(index.apply(after.clone()), [cart()], "{} {:?}", after.kind(), after.key());
        assert!(index.snapshot("shop", "cart").unwrap().live.is_empty());
        assert_eq!(index.apply(after.clone()), [], "it is nobody's");
        assert_eq!(index.delete(after.clone()), []);
        index.apply(before);
        assert_eq!(index.delete(after), [cart()], "what is said last of it names another");
        assert!(index.snapshot("shop", "cart").unwrap().live.is_empty());
    }
}

#[test]
fn what_goes_over_to_another_plugin_wakes_both() {
    let mut index = index();
    let debug = json!({"metadata": {"name": "debug", "namespace": "shop", "uid": "v", "generation": 1},
                       "spec": {"version": "1.0.0", "image": "debug"}});
    index.apply(Object::Plugin(Arc::new(serde_json::from_value(debug).unwrap())));
    index.apply(labelled::<Pod>("cart-1-x", Some("cart"), Some("ReplicaSet")));
    let mut adopted = metadata("cart-1-x", Some(("ReplicaSet", "debug-1")));
    adopted["metadata"]["labels"]["goforward.dev/plugin"] = "debug".into();
    let touched = index.apply(serde_json::from_value::<Pod>(adopted).unwrap().into());
    assert_eq!(touched, ["cart", "debug"].map(|name| ObjectRef::new(name).within("shop")));
    let pods = ["cart", "debug"].map(|name| index.snapshot("shop", name).unwrap().live.pods.iter().count());
    assert_eq!(pods, [0, 1]);
}

#[test]
fn an_object_of_a_plugins_name_that_it_owns_is_its_whatever_the_label_says() {
    let mut index = index();
    let relabelled = labelled::<Deployment>("cart", Some("debug"), Some("Plugin"));
    assert_eq!(index.apply(relabelled), [ObjectRef::new("cart").within("shop")]);
    assert!(index.snapshot("shop", "cart").unwrap().live.deployment.is_some());
}
