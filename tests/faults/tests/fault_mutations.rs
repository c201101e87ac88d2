//! Each field is set, changed and taken away on what lives: the system converges or says why not,
//! something comes of it, and back at the first value everything is as it was.
//!
//! The fields come from the schema, so that a new one is tested, or fails for want of a value.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use forward_crds::{Plugin, PluginSystem};
use forward_faults::{
    Site, State,
    fields::{of_plugin, of_system},
    run_on_site,
};
use forward_tests::{
    FIELD_MANAGER, TestNamespace, await_until, condition,
    fields::{Field, Table, check_cover, fields},
    plugin, seconds, started,
};
use futures::future::try_join_all;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

/// How long a change may take to come to something, and to nothing again.
const BOUND: Duration = seconds(30);
/// What comes of a change of a PluginSystem is seen after so long; values that mean the same as
/// none at all come to nothing.
const SOON: Duration = seconds(4);
/// As many plugins are changed at the same time.
const LANES: usize = 6;

/// Reasons of the condition Ready that say that there is more to come.
const ON_THE_WAY: [&str; 10] = [
    "HookRunning",
    "RollingOut",
    "Reloading",
    "WaitingForRegistration",
    "NoReadyEndpoints",
    "WaitingForSlot",
    "WaitingForDependencies",
    "Stopping",
    "Unloading",
    "Deleting",
];

/// Fields of which nothing is seen here, why, and what covers them instead.
const UNSEEN_OF_PLUGIN: [(&str, &str, &str); 14] = [
    ("info", "facts for people, of which nothing is decided", "crds/src/plugin.rs"),
    ("info.description", "facts for people, of which nothing is decided", "crds/src/plugin.rs"),
    ("info.author", "facts for people, of which nothing is decided", "crds/src/plugin.rs"),
    ("info.license", "facts for people, of which nothing is decided", "crds/src/plugin.rs"),
    ("info.homepage", "facts for people, of which nothing is decided", "crds/src/plugin.rs"),
    ("info.repository", "facts for people, of which nothing is decided", "crds/src/plugin.rs"),
    ("priority", "decides between plugins", "plan/tests/cases/priority_decides_among_free"),
    ("http.routes", "read by the gateway", ROUTES),
    ("http.routes[].host", "read by the gateway", ROUTES),
    ("http.routes[].method", "read by the gateway", ROUTES),
    ("http.routes[].path", "read by the gateway", ROUTES),
    ("http.middleware", "read by the gateway", MIDDLEWARE),
    ("providesMiddleware", "read by the gateway", PROVIDED),
    ("health.panicPercent", "read by the gateway", HEALTH),
];
const HEALTH: &str =
    "gateway/tests/control/verdict.rs#takes_no_pods_out_for_want_of_an_answer_where_the_fault_may_be_its_own";
const MIDDLEWARE: &str =
    "plan/tests/middleware_fields.rs#every_field_makes_a_difference_and_what_cannot_be_is_refused";
const PROVIDED: &str =
    "gateway/tests/control/middleware.rs#plugins_are_asked_about_requests_that_they_may_see";
const ROUTES: &str = "gateway/tests/control/index.rs#serves_manifest_and_announced_routes_as_the_objects_say";
const UNSEEN_OF_SYSTEM: [(&str, &str, &str); 8] = [
    ("hosts", "read by the gateway", HOSTS),
    ("hosts[]", "read by the gateway", HOSTS),
    ("middleware", "read by the gateway", MIDDLEWARE),
    ("middlewareFrom", "read by the gateway", PROVIDED),
    ("middlewareFrom[]", "read by the gateway", PROVIDED),
    ("alerts", "read by the gateway", "gateway/tests/alerts"),
    ("maxPlugins", "lets run what runs", "plan/tests/cases/too_many_plugins_keep_running"),
    ("maxConcurrentRollouts", "bounds what is on its way", "plan/tests/cases/slots_are_held_by_who_climbs"),
];
const HOSTS: &str =
    "gateway/tests/control/index.rs#serves_routes_without_host_under_the_hosts_of_their_namespace";

/// How often a field was changed, or what went wrong with it.
type Outcome = Result<usize, String>;
type Unseen = [(&'static str, &'static str, &'static str)];

/// A plugin with something in every list, so that there is an entry to change.
fn grpc() -> Value {
    json!({
        "version": "1.0.0", "image": "forward.local/testbed:1.0.0",
        "info": {"description": "one", "author": "one", "license": "one", "homepage": "one", "repository": "one"},
        "dependencies": [{"name": "first", "version": "^1.0"}],
        "config": {"limit": 3},
        "configSchema": {"properties": {"limit": {"type": "integer"}}},
        "configFrom": [
            {"path": "/secret", "secretKeyRef": {"name": "one", "key": "one"}},
            {"path": "/plain", "configMapKeyRef": {"name": "one", "key": "one"}},
        ],
        "http": {"port": 8081, "routes": [{"path": "/one"}]},
        "sandbox": {"memory": "48Mi", "network": {"mode": "Declared", "egress": [
            {"plugin": "first"},
            {"pods": {"app": "one"}, "ports": [80]},
            {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]},
        ]}},
        "template": {
            "labels": {"team": "one"}, "annotations": {"team": "one"},
            "env": [
                {"name": "ONE", "value": "one"},
                {"name": "TWO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
            "imagePullSecrets": [{"name": "one"}],
            "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "one", "effect": "NoExecute"}],
        },
    })
}

/// A plugin that does not speak the contract, for the fields that need one.
fn http() -> Value {
    json!({
        "version": "1.0.0", "image": "forward.local/testbed:1.0.0", "protocol": "Http",
        "http": {"routes": [{"path": "/one"}]}, "health": {"path": "/one", "interval": "5s"},
    })
}

/// What the plugins' namespace allows.
fn system() -> Value {
    json!({
        "timeout": "8s", "maxPlugins": 50, "hosts": ["one.example"], "middlewareFrom": ["first"], "imagePrefixes": ["forward.local"],
        "sandbox": {"memory": "72Mi", "network": {"mode": "Declared"}},
        "templates": {"serviceAccountNames": ["spare"], "priorityClassNames": ["forward-faults"],
                      "tolerationKeys": ["dedicated"]},
    })
}

/// A plugin that takes from its namespace all that it can.
fn modest() -> Value {
    json!({
        "version": "1.0.0", "image": "forward.local/testbed:1.0.0",
        "template": {"serviceAccountName": "spare", "priorityClassName": "forward-faults",
                     "tolerations": [{"key": "dedicated", "operator": "Exists"}]},
    })
}

/// An object that is changed, and what is seen of it.
struct Subject<'a> {
    site: &'a Site<'a>,
    kind: &'static str,
    name: String,
    /// The plugin whose objects are looked at.
    plugin: String,
    base: Value,
    unseen: &'static Unseen,
    /// What there is at the base.
    first: State,
}

impl<'a> Subject<'a> {
    async fn begin(
        site: &'a Site<'a>,
        (kind, name, plugin): (&'static str, &str, &str),
        base: Value,
        unseen: &'static Unseen,
    ) -> Result<Self> {
        let (name, plugin) = (name.to_owned(), plugin.to_owned());
        let mut subject = Self { site, kind, name, plugin, base, unseen, first: State::default() };
        subject.apply(&subject.base).await?;
        let name = &subject.plugin;
        site.namespace.await_plugin(name, "to start", seconds(60), started).await?;
        subject.first = subject.settled().await.context("at the base")?;
        Ok(subject)
    }

    fn manifest(&self, spec: &Value) -> Value {
        let api = Plugin::api_version(&());
        json!({"apiVersion": api, "kind": self.kind, "metadata": {"name": self.name}, "spec": spec})
    }

    async fn apply(&self, spec: &Value) -> Result<()> {
        self.site.namespace.apply_as(FIELD_MANAGER, &self.manifest(spec)).await.map(drop)
    }

    async fn state(&self) -> Result<State> {
        Ok(State::of(self.site.namespace).await?.about(&self.plugin).effects())
    }

    /// Wait until the plugin is where it goes, or says why it does not, and give what there is then.
    async fn settled(&self) -> Result<State> {
        await_until("it to converge or to say why not", BOUND, async || {
            let found = self.site.namespace.plugin(&self.plugin).await?;
            let ready = condition(&found, "Ready").context("nothing is said of this generation")?;
            ensure!(!ON_THE_WAY.contains(&ready.reason.as_str()), "{}: {}", ready.reason, ready.message);
            let state = self.state().await?;
            ensure!(self.state().await? == state, "it changes");
            Ok(state)
        })
        .await
    }

    /// Bring a spec about, and see what comes of it. Where nothing tells that the operator has seen
    /// it, something else than there was `before` does, if it comes soon.
    async fn bring(&self, spec: &Value, before: &State, field: &Field) -> Result<State> {
        self.apply(spec).await?;
        if self.kind != "Plugin" && !self.is_unseen(field) {
            let changed = async || {
                let state = self.state().await?;
                ensure!(&state != before, "there is nothing else than before");
                Ok(())
            };
            if let Err(error) = await_until("something to come of it", SOON, changed).await {
                eprintln!("{field}: {error:#}");
            }
        }
        self.settled().await
    }

    fn is_unseen(&self, field: &Field) -> bool {
        self.unseen.iter().any(|(name, _, _)| *name == field.to_string())
    }

    /// Set the field to each of its values and take it away, and be at the base in the end.
    async fn exercise(&self, field: &Field, table: &Table) -> Result<usize> {
        self.refuse(field, table).await?;
        let mut count = 0;
        let now = field.value(&self.base);
        let mut specs = Vec::new();
        if field.leaf {
            for value in table.valid(field, now)? {
                specs.push((value.to_string(), field.changed(&self.base, Some(&value))?));
            }
        }
        if now.is_some() && !field.required {
            specs.push(("nothing".to_owned(), field.changed(&self.base, None)?));
        }
        let (mut last, mut changed) = (self.first.clone(), false);
        for (value, spec) in specs {
            if value == "nothing" && self.needs(field, &spec).await? {
                continue;
            }
            let found = self.bring(&spec, &last, field).await.with_context(|| format!("{field}: {value}"))?;
            // Defaults can be what stood there.
            changed |= found != self.first;
            (last, count) = (found, count + 1);
        }
        ensure!(
            changed != self.is_unseen(field) || !field.leaf && !changed,
            "{field}: changed anything is {changed}; a field that does nothing does not belong into the API, \
             and one of which nothing is seen here into the list of this test"
        );
        self.apply(&self.base).await?;
        await_until("everything to be as it was", BOUND, async || {
            match self.state().await?.difference(&self.first) {
                None => Ok(()),
                Some(difference) => bail!("{difference}"),
            }
        })
        .await
        .with_context(|| format!("{field}: set back"))?;
        Ok(count)
    }

    /// Whether the API server does not let a field go, for something else in the spec hangs on it.
    async fn needs(&self, field: &Field, without: &Value) -> Result<bool> {
        match self.try_out(without).await {
            Ok(()) => Ok(false),
            Err(kube::Error::Api(status)) if status.message.contains(field.name()) => Ok(true),
            Err(error) => Err(error).with_context(|| format!("{field}: nothing")),
        }
    }

    /// Ask the API server what it thinks of a spec.
    async fn try_out(&self, spec: &Value) -> kube::Result<()> {
        let params = PatchParams::apply(FIELD_MANAGER).force().dry_run();
        let (namespace, manifest) = (self.site.namespace, Patch::Apply(self.manifest(spec)));
        match self.kind {
            "Plugin" => namespace.api::<Plugin>().patch(&self.name, &params, &manifest).await.map(drop),
            _ => namespace.api::<PluginSystem>().patch(&self.name, &params, &manifest).await.map(drop),
        }
    }

    /// What cannot be is refused, with the field's name.
    async fn refuse(&self, field: &Field, table: &Table) -> Result<()> {
        for value in table.invalid(field) {
            match self.try_out(&field.changed(&self.base, Some(&value))?).await {
                Ok(()) => bail!("{field}: {value} was taken"),
                Err(kube::Error::Api(status)) if status.message.contains(field.name()) => {}
                Err(error) => return Err(error).with_context(|| format!("{field}: {value}")),
            }
        }
        Ok(())
    }
}

/// What plugins under test lean on.
async fn prepare(namespace: &TestNamespace) -> Result<()> {
    let system = json!({"apiVersion": "goforward.dev/v1alpha1", "kind": "PluginSystem",
                        "metadata": {"name": "default"}, "spec": system()});
    namespace.apply_as(FIELD_MANAGER, &system).await?;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "spare"}});
    namespace.apply_as(FIELD_MANAGER, &account).await?;
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                       "metadata": {"name": "forward-faults"}, "value": 1, "description": "of the tests"});
    let classes = Api::<PriorityClass>::all(namespace.cluster.client.clone());
    classes.patch("forward-faults", &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(class)).await?;
    Ok(())
}

/// The lists of this test name fields, and tests, that there are.
fn check_lists(fields: &[Field], table: &Table, unseen: &Unseen) -> Result<()> {
    let unknown = table.unknown(fields);
    ensure!(unknown.is_empty(), "the table has values for fields that are not there: {unknown:?}");
    for (name, _, cover) in unseen {
        ensure!(fields.iter().any(|field| field.to_string() == *name), "there is no field {name}");
        check_cover(cover)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_a_plugin_does_something_and_can_be_set_back() {
    let name = "every_field_of_a_plugin_does_something";
    run_on_site(name, seconds(450), async |site| {
        let table = of_plugin();
        let fields = fields("Plugin", &table)?;
        check_lists(&fields, &table, &UNSEEN_OF_PLUGIN)?;
        prepare(site.namespace).await?;
        site.namespace.apply(&plugin("first")).await?;
        site.namespace.apply(&plugin("second")).await?;
        let lanes = (0..LANES).map(|lane| exercise_lane(site, lane, &fields, &table));
        conclude(&fields, try_join_all(lanes).await?.concat())
    })
    .await;
}

/// Every so manyth field, on plugins of this lane.
async fn exercise_lane(
    site: &Site<'_>,
    lane: usize,
    fields: &[Field],
    table: &Table,
) -> Result<Vec<Outcome>> {
    let (grpc_name, http_name) = (&format!("grpc-{lane}"), &format!("http-{lane}"));
    let unseen = &UNSEEN_OF_PLUGIN;
    let grpc = Subject::begin(site, ("Plugin", grpc_name, grpc_name), grpc(), unseen).await?;
    let http = Subject::begin(site, ("Plugin", http_name, http_name), http(), unseen).await?;
    let mut outcomes = Vec::new();
    for field in fields.iter().skip(lane).step_by(LANES) {
        let name = field.to_string();
        // `egress` goes with one mode only, and stands in the other one.
        let is_for_http = name.starts_with("health") || name == "sandbox.network.mode";
        let subject = if is_for_http { &http } else { &grpc };
        outcomes.push(subject.exercise(field, table).await.map_err(|error| format!("{error:#}")));
    }
    Ok(outcomes)
}

/// All fields did what they should.
fn conclude(fields: &[Field], outcomes: Vec<Outcome>) -> Result<()> {
    let changes: usize = outcomes.iter().flatten().sum();
    eprintln!("{} fields, {changes} changes each with its way back", fields.len());
    let wrong: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    ensure!(wrong.is_empty(), "{} fields are not as they should be:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(changes >= fields.len() / 2, "{changes} changes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_a_plugin_system_does_something_and_can_be_set_back() {
    let name = "every_field_of_a_plugin_system_does_something";
    run_on_site(name, seconds(300), async |site| {
        let table = of_system();
        let fields = fields("PluginSystem", &table)?;
        check_lists(&fields, &table, &UNSEEN_OF_SYSTEM)?;
        prepare(site.namespace).await?;
        let modest_plugin = json!({"apiVersion": "goforward.dev/v1alpha1", "kind": "Plugin",
                                   "metadata": {"name": "modest"}, "spec": modest()});
        site.namespace.apply_as(FIELD_MANAGER, &modest_plugin).await?;
        let about = ("PluginSystem", "default", "modest");
        let subject = Subject::begin(site, about, system(), &UNSEEN_OF_SYSTEM).await?;
        let mut outcomes = Vec::new();
        for field in &fields {
            outcomes.push(subject.exercise(field, &table).await.map_err(|error| format!("{error:#}")));
        }
        conclude(&fields, outcomes)
    })
    .await;
}
