//! What a registration says, from what is known.

use std::collections::BTreeMap;

use forward_crds::{
    Ailment, HealthStatus, Plugin, ProvidedMiddleware, Reload, Route, RouteSource, RouteStatus,
};
use forward_gateway::control::{
    call::{DescribeError, Description, Reloaded, Said},
    slice::Ready,
    verdict::{Facts, Judged, Pod, Registration, decide},
};
use forward_plan::Thresholds;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::objects::{announced, plugin, rolled_out, route, routes};

const TERMS: Thresholds = Thresholds { failure: 2, success: 2 };
const THRESHOLD: u32 = TERMS.failure;

/// Takes every route for active, but `/lost`, and middleware for wrong where there is `/bad`; where there
/// is `/spied`, somebody else provides some without leave, and so does the plugin with what is called so.
fn judge(announced: &[Route], provided: &[ProvidedMiddleware]) -> Judged {
    let verdict = |route: &Route| RouteStatus {
        host: route.host.clone(),
        method: route.method.clone(),
        path: route.path.clone(),
        source: RouteSource::Plugin,
        active: route.path != "/lost",
        message: (route.path == "/lost").then(|| "/lost is served by shop/other".to_owned()),
    };
    let refused = |source: &str| {
        let refused = json!({
            "phase": "Identify", "name": "office", "source": source, "kind": "ipFilter", "state": "Refused",
            "message": "it is wrong",
        });
        serde_json::from_value(refused).unwrap()
    };
    let refused_at = |path: &str, source| announced.iter().any(|it| it.path == path).then(|| refused(source));
    let refused = refused_at("/bad", "Plugin").into_iter().chain(refused_at("/spied", "Provider"));
    let withheld = provided.iter().map(|entry| entry.name.clone()).filter(|name| name == "withheld");
    Judged {
        routes: announced.iter().map(verdict).collect(),
        middleware: refused.collect(),
        withheld: withheld.collect(),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

struct Case {
    plugin: Plugin,
    ready: Vec<Ready>,
    pods: BTreeMap<String, Pod>,
    mistrusted: bool,
    now: i64,
}

impl Case {
    fn new(pods: &[&str]) -> Self {
        let ready = |pod: &&str| Ready {
            uid: (*pod).to_owned(),
            pod: format!("pod-{pod}"),
            address: ([10, 0, 0, 1], 80).into(),
        };
        Self {
            plugin: plugin("pay", json!({}), json!({})),
            ready: pods.iter().map(ready).collect(),
            pods: BTreeMap::new(),
            mistrusted: false,
            now: 0,
        }
    }

    fn describes(mut self, pod: &str, routes: &[&str]) -> Self {
        let routes = routes.iter().map(|text| serde_json::from_value(route(text)).unwrap()).collect();
        let (name, version) = ("pay".to_owned(), "1.0.0".to_owned());
        let description =
            Description { name, version, routes, middleware: Vec::new(), config_schema: Ok(None) };
        self.pods.entry(pod.to_owned()).or_default().described(Ok(description));
        self
    }

    fn announces(mut self, pod: &str, config_schema: Result<Option<&str>, &str>) -> Self {
        let (name, version) = ("pay".to_owned(), "1.0.0".to_owned());
        let config_schema = config_schema.map(|it| it.map(str::to_owned)).map_err(str::to_owned);
        let (routes, middleware) = (Vec::new(), Vec::new());
        let description = Description { name, version, routes, middleware, config_schema };
        self.pods.entry(pod.to_owned()).or_default().described(Ok(description));
        self
    }

    /// It provides middleware of these names, each with a priority.
    fn provides(mut self, pod: &str, entries: &[(&str, i32)]) -> Self {
        let entry = |(name, priority): &(&str, i32)| {
            let entry = json!({"name": name, "phase": "Limit", "scope": "All", "priority": priority});
            serde_json::from_value(entry).unwrap()
        };
        let description = Description {
            name: "pay".to_owned(),
            version: "1.0.0".to_owned(),
            routes: Vec::new(),
            middleware: entries.iter().map(entry).collect(),
            config_schema: Ok(None),
        };
        self.pods.entry(pod.to_owned()).or_default().described(Ok(description));
        self
    }

    fn fails(mut self, pod: &str, error: DescribeError) -> Self {
        self.pods.entry(pod.to_owned()).or_default().described(Err(error));
        self
    }

    fn says(mut self, pod: &str, healthy: bool, message: &str) -> Self {
        let said = Said {
            healthy,
            message: message.to_owned(),
            details: BTreeMap::new(),
            process: None,
            timestamp: at(self.now),
            reload: None,
            config_from_changed: None,
        };
        self.pods.entry(pod.to_owned()).or_default().said(Ok(said), TERMS);
        self
    }

    /// It does not say how it fares.
    fn silent(mut self, pod: &str) -> Self {
        let error = "Health was not answered within 2s".to_owned();
        self.pods.entry(pod.to_owned()).or_default().said(Err(error), TERMS);
        self
    }

    /// It answers as often as it takes to count: `.` well, `x` not well, `?` nothing.
    fn fares(mut self, answers: &str) -> Self {
        let pods = self.ready.iter().map(|ready| ready.uid.clone()).collect::<Vec<_>>();
        for (pod, answer) in pods.iter().zip(answers.chars()) {
            for _ in 0..THRESHOLD {
                self = match answer {
                    '.' => self.says(pod, true, "fine"),
                    'x' => self.says(pod, false, "no database"),
                    _ => self.silent(pod),
                };
            }
        }
        self
    }

    /// Which pods get no requests, and why.
    fn out(&self) -> Vec<(String, Ailment)> {
        let health = self.decide().health.unwrap();
        health.unhealthy_pods.into_iter().map(|it| (it.pod, it.reason)).collect()
    }

    /// It says with which configuration it runs, or why it does not run with that one.
    fn reloads(mut self, pod: &str, config_hash: &str, error: Option<&str>) -> Self {
        let reload = Reloaded { config_hash: config_hash.to_owned(), error: error.map(str::to_owned) };
        let said = Said {
            healthy: true,
            message: String::new(),
            details: BTreeMap::new(),
            process: None,
            timestamp: at(self.now),
            reload: Some(reload),
            config_from_changed: None,
        };
        self.pods.entry(pod.to_owned()).or_default().said(Ok(said), TERMS);
        self
    }

    /// It says that it was started after this, and that a value of `configFrom` is another one now.
    fn outdated(mut self, pod: &str, started_after: Option<&str>) -> Self {
        let said = Said {
            healthy: true,
            message: String::new(),
            details: BTreeMap::new(),
            process: None,
            timestamp: at(self.now),
            reload: None,
            config_from_changed: started_after.map(str::to_owned),
        };
        self.pods.entry(pod.to_owned()).or_default().said(Ok(said), TERMS);
        self
    }

    /// What became of the newest configuration.
    fn reload(&self) -> Option<(String, Option<String>)> {
        self.decide().reload.map(|reload| (reload.config_hash, reload.message))
    }

    fn decide(&self) -> Registration {
        let Self { plugin, ready, pods, mistrusted, now } = self;
        decide(&Facts { plugin, ready, pods, mistrusted: *mistrusted, now: at(*now) }, judge)
    }

    /// Write it, as the API server would, and go on.
    fn written(mut self) -> Self {
        let Registration {
            routes,
            middleware,
            provides_middleware,
            health,
            reload,
            config_from_changed,
            config_schema,
            conditions,
        } = self.decide();
        let status = self.plugin.status.get_or_insert_default();
        status.routes = routes;
        status.middleware = middleware;
        status.provides_middleware = provides_middleware;
        status.health = health.map(Box::new);
        status.reload = reload.map(Box::new);
        status.config_from_changed = config_from_changed;
        status.config_schema = config_schema.map(Box::new);
        status.conditions.retain(|condition| condition.type_ == "Available");
        status.conditions.extend(conditions);
        assert_eq!(self.decide(), Registration::of(&self.plugin), "what is written is not written again");
        self.now += 60;
        self
    }

    fn condition(&self, type_: &str) -> Option<(String, String, String, Option<i64>)> {
        let condition = self.decide().conditions.into_iter().find(|condition| condition.type_ == type_)?;
        let [status, reason, message] =
            [condition.status, condition.reason, condition.message].map(String::from);
        Some((status, reason, message, condition.observed_generation))
    }

    /// What it is said to provide, each with its priority.
    fn provided(&self) -> Vec<(String, i32)> {
        self.decide().provides_middleware.into_iter().map(|entry| (entry.name, entry.priority)).collect()
    }

    fn paths(&self) -> Vec<String> {
        self.decide().routes.into_iter().map(|route| route.path).collect()
    }
}

fn is(
    status: &str,
    reason: &str,
    message: &str,
    generation: i64,
) -> Option<(String, String, String, Option<i64>)> {
    Some((status.to_owned(), reason.to_owned(), message.to_owned(), Some(generation)))
}

#[test]
fn registers_what_every_pod_offers() {
    let case =
        Case::new(&["a", "b"]).describes("a", &["GET /x", "GET /y"]).describes("b", &["GET /y", "GET /z"]);
    assert_eq!(case.paths(), ["/y"]);
    assert_eq!(case.condition("Registered"), is("True", "Registered", "1 route is served", 1));
}

#[test]
fn keeps_a_schema_with_the_image_that_announced_it() {
    let schema = |case: &Case| case.decide().config_schema.map(|it| (it.image, it.schema));
    let announced = Some(("x".to_owned(), "{}".to_owned()));
    let mut case = Case::new(&["a"]).announces("a", Ok(Some("{}"))).written();
    assert_eq!(schema(&case), announced);
    case.plugin.spec.image = "y".to_owned();
    case.plugin.metadata.generation = Some(2);
    let mut case = case.announces("a", Ok(Some("{\"type\": \"object\"}")));
    assert_eq!(schema(&case), announced, "the new image is not rolled out yet");
    rolled_out(&mut case.plugin, 2);
    assert_eq!(schema(&case), Some(("y".to_owned(), "{\"type\": \"object\"}".to_owned())));
    let mut case = case.written();
    case.ready.clear();
    assert_eq!(schema(&case).map(|(image, _)| image), Some("y".to_owned()), "it outlives the pods");
    let case = Case::new(&["a"]).announces("a", Ok(Some("{}"))).written().announces("a", Ok(None));
    assert_eq!(schema(&case), None);
}

#[test]
fn says_why_a_schema_is_not_used() {
    let case = Case::new(&["a"]).announces("a", Err("it is not JSON"));
    let message = "the plugin has no routes; its schema for the configuration is not used: it is not JSON";
    assert_eq!(case.condition("Registered"), is("True", "Registered", message, 1));
    assert_eq!(case.decide().config_schema, None);
}

#[test]
fn says_nothing_of_pods_that_have_not_been_asked() {
    let case = Case::new(&["a", "b"]).describes("a", &["GET /x"]);
    assert_eq!((case.condition("Registered"), case.condition("Healthy")), (None, None));
    assert_eq!(Case::new(&[]).decide(), Registration::default());
}

#[test]
fn registers_a_plugin_without_routes() {
    let case = Case::new(&["a"]).describes("a", &[]);
    assert_eq!(case.condition("Registered"), is("True", "Registered", "the plugin has no routes", 1));
}

#[test]
fn speaks_of_a_generation_only_once_it_is_rolled_out() {
    let mut case = Case::new(&["a"]).describes("a", &["GET /x"]).written();
    case.plugin.metadata.generation = Some(2);
    assert_eq!(case.condition("Registered"), is("True", "Registered", "1 route is served", 1));
    case.plugin.status.as_mut().unwrap().observed_generation = Some(2);
    assert_eq!(case.condition("Registered").unwrap().3, Some(1), "Available is still of generation 1");
    rolled_out(&mut case.plugin, 2);
    assert_eq!(case.condition("Registered").unwrap().3, Some(2));
    case.pods.clear();
    rolled_out(&mut case.plugin, 3);
    assert_eq!(case.condition("Registered").unwrap().3, Some(1), "nobody has been asked");
}

#[test]
fn keeps_the_last_good_routes_when_a_pod_does_not_answer_or_offers_nonsense() {
    let mut case = Case::new(&["a"]).describes("a", &["GET /x"]).written();
    case.pods.clear();
    let silent = DescribeError::Call("Describe failed: Unavailable".to_owned());
    case = case.fails("a", silent.clone());
    assert_eq!(case.condition("Registered").unwrap().0, "True", "once is not enough");
    case = case.fails("a", silent);
    assert_eq!(case.paths(), ["/x"]);
    assert_eq!(
        case.condition("Registered"),
        is("False", "DescribeFailed", "pod pod-a: Describe failed: Unavailable", 1)
    );
    case = case.fails("a", DescribeError::Route("path \"x\" is wrong".to_owned()));
    assert_eq!(case.paths(), ["/x"]);
    assert_eq!(
        case.condition("Registered"),
        is("False", "InvalidRoute", "pod pod-a: path \"x\" is wrong", 1)
    );
}

#[test]
fn tells_of_routes_that_others_have() {
    let case = Case::new(&["a"]).describes("a", &["GET /x", "GET /lost"]);
    assert_eq!(
        case.condition("Registered"),
        is("False", "RouteConflict", "/lost is served by shop/other", 1)
    );
}

#[test]
fn tells_of_middleware_that_cannot_be_carried_out() {
    let case = Case::new(&["a"]).describes("a", &["GET /x", "GET /bad"]);
    assert_eq!(
        case.condition("Registered"),
        is("False", "InvalidMiddleware", "middleware office: it is wrong", 1)
    );
    assert_eq!(case.written().decide().middleware.len(), 1);
}

#[test]
fn tells_a_plugin_and_no_other_of_what_it_provides_without_leave() {
    let spied = Case::new(&["a"]).describes("a", &["GET /spied"]);
    assert_eq!(spied.condition("Registered").unwrap().0, "True");
    let case = Case::new(&["a"]).provides("a", &[("free", 0), ("withheld", 0)]);
    let message = "middleware withheld is for other plugins, and middlewareFrom of the PluginSystem does not name this one";
    assert_eq!(case.condition("Registered"), is("False", "MiddlewareNotAllowed", message, 1));
}

#[test]
fn goes_on_providing_what_every_pod_knows_in_the_middle_of_a_rollout() {
    let provided = |case: &Case| case.provided().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let case = Case::new(&["a", "b"]).provides("a", &[("auth", 1), ("old", 0)]);
    assert_eq!(case.provided(), [], "not all have been asked");
    let case = case.provides("b", &[("auth", 2), ("new", 0)]).written();
    assert_eq!(case.provided(), [("auth".to_owned(), 1)]);
    let case = case.fails("b", DescribeError::Middleware("middleware x: phase is none".to_owned()));
    assert_eq!(provided(&case), ["auth"]);
    let message = "pod pod-b: middleware x: phase is none";
    assert_eq!(case.condition("Registered"), is("False", "InvalidMiddleware", message, 1));
    let mut case = case.written();
    case.ready.clear();
    assert_eq!(provided(&case), ["auth"], "it is not forgotten when nobody is there");
}

#[test]
fn remarks_that_a_plugin_calls_itself_otherwise() {
    let mut case = Case::new(&["a"]).describes("a", &["GET /x"]);
    case.plugin.spec.version = "2.0.0".to_owned();
    let message = "1 route is served; it calls itself \"pay\" in version \"1.0.0\"";
    assert_eq!(case.condition("Registered"), is("True", "Registered", message, 1));
}

#[test]
fn keeps_the_registration_but_not_the_health_when_no_pod_is_ready() {
    let mut case = Case::new(&["a"]).describes("a", &["GET /x"]).says("a", true, "fine").written();
    assert_eq!(case.condition("Healthy"), is("True", "Healthy", "fine", 1));
    case.ready.clear();
    assert_eq!(case.paths(), ["/x"]);
    assert_eq!(case.condition("Registered"), is("True", "Registered", "1 route is served", 1));
    assert_eq!(case.condition("Healthy"), is("Unknown", "NoReadyEndpoints", "no pod is ready", 1));
    assert_eq!(case.decide().health.unwrap().status, HealthStatus::Unknown);
    case.written();
}

#[test]
fn is_unhealthy_after_failures_in_a_row_and_healthy_after_as_many_successes() {
    let mut case = Case::new(&["a"]).describes("a", &[]).says("a", true, "").written();
    case = case.says("a", false, "no database").written();
    assert_eq!(case.condition("Healthy").unwrap().0, "True", "once is not enough");
    case = case.says("a", false, "no database").written();
    assert_eq!(case.condition("Healthy"), is("False", "Unhealthy", "no database", 1));
    case = case.says("a", true, "").written();
    assert_eq!(
        case.condition("Healthy"),
        is("False", "Unhealthy", "no database", 1),
        "nor is once well again"
    );
    case = case.says("a", true, "").written();
    assert_eq!(case.condition("Healthy").unwrap().0, "True");
}

#[test]
fn names_the_pods_that_get_no_requests_and_since_when() {
    let case = Case::new(&["a", "b", "c"]).fares(".x.").written();
    let message = "1 of 3 pods unhealthy: pod-b: no database";
    assert_eq!(case.condition("Healthy"), is("True", "Healthy", message, 1));
    assert_eq!(case.out(), [("pod-b".to_owned(), Ailment::Unhealthy)]);
    let case = case.says("b", false, "other words").written();
    let told = case.decide().health.unwrap().unhealthy_pods.remove(0);
    assert_eq!((told.message.as_str(), told.since.0), ("no database", at(0)), "as it was found");
    let case = case.silent("b").silent("b").written();
    assert_eq!(case.out(), [("pod-b".to_owned(), Ailment::Unhealthy)], "its own word stands");
    let case = case.says("b", true, "").written();
    assert_eq!(case.out().len(), 1, "once is not enough");
    assert_eq!(case.says("b", true, "").written().out(), []);
}

#[test]
fn takes_no_pods_out_for_want_of_an_answer_where_the_fault_may_be_its_own() {
    let case = Case::new(&["a", "b", "c"]).fares("..?").written();
    assert_eq!(case.out(), [("pod-c".to_owned(), Ailment::Unanswered)], "others answer");
    let case = case.fares(".??").written();
    assert_eq!(case.out(), []);
    let message = "2 of 3 pods cannot be asked: pod-b: Health was not answered within 2s; the gateway may be the one that fails, and goes on sending requests";
    assert_eq!(case.condition("Healthy"), is("Unknown", "Unanswered", message, 1));
    let mut case = case.fares("..?").written();
    assert_eq!(case.out().len(), 1);
    case.mistrusted = true;
    assert_eq!(case.out(), []);
    assert_eq!(case.condition("Healthy").unwrap().1, "Unanswered");
    let case = Case::new(&["a"]).fares("?").written();
    assert_eq!(case.condition("Healthy").unwrap().0, "Unknown", "the last one stays");
    let case = Case::new(&["a", "b"]).fares("x?").written();
    assert_eq!(case.out(), [("pod-a".to_owned(), Ailment::Unhealthy)], "b may be well");
    let message = "1 of 2 pods cannot be asked: pod-b: Health was not answered within 2s; requests go on, as no other pod is healthy";
    assert_eq!(case.condition("Healthy"), is("Unknown", "Unanswered", message, 1));
}

#[test]
fn a_replica_that_goes_on_asking_keeps_out_what_was_out() {
    let mut case = Case::new(&["a", "b", "c"]).fares(".x?").written();
    assert_eq!(case.out().len(), 2);
    let ailments = case.out().into_iter().map(|(_, reason)| reason);
    let pods = ["b", "c"].map(str::to_owned).into_iter().zip(ailments);
    case.pods = pods.map(|(pod, reason)| (pod, Pod::resumed(reason))).collect();
    assert_eq!(case.out().len(), 2, "before it has asked anybody");
    let case = case.says("a", true, "fine").says("b", true, "").says("c", true, "");
    assert_eq!(case.out().len(), 2, "once is not enough");
    assert_eq!(case.says("b", true, "").says("c", true, "").out(), []);
}

#[test]
fn knows_nothing_of_a_health_that_has_failed_too_seldom() {
    let case = Case::new(&["a"]).describes("a", &[]).says("a", false, "starting").written();
    assert_eq!(case.condition("Healthy"), is("Unknown", "Unknown", "starting", 1));
    let case = case.says("a", false, "starting");
    assert_eq!(case.condition("Healthy"), is("False", "Unhealthy", "starting", 1));
}

#[test]
fn is_unhealthy_only_when_every_pod_is() {
    let mut case = Case::new(&["a", "b"]);
    for _ in 0..THRESHOLD {
        case = case.says("a", false, "broken");
    }
    assert_eq!(case.condition("Healthy"), is("Unknown", "Unknown", "broken", 1), "b may be well");
    case = case.says("b", true, "");
    assert_eq!(case.condition("Healthy"), is("True", "Healthy", "1 of 2 pods unhealthy: pod-a: broken", 1));
    for _ in 0..THRESHOLD {
        case = case.says("b", false, "broken too");
    }
    assert_eq!(case.condition("Healthy"), is("False", "Unhealthy", "pod-a: broken", 1));
}

#[test]
fn moves_times_only_when_the_verdict_changes() {
    let mut case = Case::new(&["a"]).describes("a", &["GET /x"]).says("a", true, "fine").written();
    let first = case.decide();
    case = case.says("a", true, "fine");
    assert_eq!(case.decide(), first);
    case.now = 500;
    case = case.says("a", true, "better").written();
    assert_eq!(case.decide().health.unwrap().timestamp.0, at(500));
    let transition = |case: &Case| case.decide().conditions[0].last_transition_time.clone();
    assert_eq!((case.decide().conditions[0].type_.as_str(), transition(&case).0), ("Healthy", at(0)));
    for _ in 0..THRESHOLD {
        case = case.says("a", false, "worse");
    }
    assert_eq!(transition(&case).0, at(560));
}

#[test]
fn counts_what_is_unknown_from_when_it_became_so_for_that_reason() {
    let transition = |case: &Case| {
        let healthy = case.decide().conditions.into_iter().find(|it| it.type_ == "Healthy").unwrap();
        (healthy.reason, healthy.last_transition_time.0)
    };
    let mut case = Case::new(&["a"]).describes("a", &[]).says("a", true, "").written();
    let ready = std::mem::take(&mut case.ready);
    case.now = 100;
    case = case.written();
    assert_eq!(transition(&case), ("NoReadyEndpoints".into(), at(100)));
    case.ready = ready;
    case.pods.clear();
    case.now = 500;
    case = case.fares("?").written();
    assert_eq!(transition(&case), ("Unanswered".into(), at(500)));
    case.now = 600;
    assert_eq!(transition(&case.written()), ("Unanswered".into(), at(500)));
}

#[test]
fn tells_a_refused_configuration_at_once_and_a_taken_one_when_all_pods_have_it() {
    let taken = |hash: &str| Some((hash.to_owned(), None));
    let mut case = Case::new(&["a", "b"]).reloads("a", "1", None).reloads("b", "1", None);
    assert_eq!(case.reload(), None, "it is not asked for");
    case.plugin.spec.reload = Reload::InPlace;
    assert_eq!(case.reload(), taken("1"));
    case = case.written().reloads("a", "2", None);
    assert_eq!(case.reload(), taken("1"), "pod b has not looked at it");
    case = case.reloads("b", "2", Some("/max_amount is missing"));
    assert_eq!(case.reload(), Some(("2".to_owned(), Some("pod-b: /max_amount is missing".to_owned()))));
    case = case.written().reloads("b", "3", None);
    assert_eq!(case.reload().unwrap().0, "2", "pod a has not looked at it");
    assert_eq!(case.reloads("a", "3", None).reload(), taken("3"));
}

#[test]
fn keeps_what_is_known_of_a_configuration_while_no_pod_says_more() {
    let mut case = Case::new(&["a"]);
    case.plugin.spec.reload = Reload::InPlace;
    assert_eq!(case.reload(), None);
    case = case.reloads("a", "1", None).written();
    case.pods.clear();
    assert_eq!(case.reload(), Some(("1".to_owned(), None)));
}

#[test]
fn a_changed_value_is_told_once_until_pods_that_were_started_after_it_tell_of_another() {
    let changed = |case: &Case| case.decide().config_from_changed.map(|time| time.0);
    let mut case = Case::new(&["a", "b"]).outdated("a", None).outdated("b", None);
    let from = json!([{"path": "/key", "secretKeyRef": {"name": "s", "key": "k"}}]);
    case.plugin.spec.config_from = serde_json::from_value(from).unwrap();
    assert_eq!(changed(&case), None);
    case.now = 100;
    case = case.outdated("a", Some(""));
    assert_eq!(changed(&case), Some(at(100)));
    case = case.written().outdated("b", Some(""));
    assert_eq!(changed(&case), Some(at(100)), "pod b is being replaced for it");
    case = case.outdated("a", None).written();
    assert_eq!(changed(&case), Some(at(100)));
    let started_after = at(100).to_string();
    case.now = 500;
    case = case.outdated("b", Some(&started_after));
    assert_eq!(changed(&case), Some(at(500)));
}

#[test]
fn calls_no_plugin_of_another_protocol() {
    let mut case = Case::new(&["a"]);
    let mut spec = routes(&["GET /x"]);
    spec["protocol"] = json!("Http");
    case.plugin = plugin("web", spec, announced(&[]));
    assert_eq!(case.condition("Registered").unwrap().1, "Registered");
    assert_eq!(case.condition("Healthy"), is("True", "Healthy", "", 1));
    case = case.written();
    case.ready.clear();
    assert_eq!(case.condition("Healthy").unwrap().1, "NoReadyEndpoints");
}
