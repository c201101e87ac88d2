//! A plugin with hooks through its whole life: a few lines do what the operator, the kubelet and the
//! hooks do, one step at a time.

use std::{collections::BTreeSet, sync::Arc};

use forward_crds::{HookName, HookOutcome, HookStatus, Plugin, PluginState, RESTART, START};
use forward_plan::{
    Action, Decision, HookRun, Namespace, Observed, Pod, PodPhase, Problem, Settings, Stage, Workload,
    hook_ends, hook_revision, revision,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::{Value, json};

use crate::transitions::check_transition;

/// Steps after which a plugin that still moves is taken to move for ever.
const STEPS: usize = 80;

struct Life {
    plugin: Plugin,
    observed: Observed,
    /// The hooks that were run, each as often as it was.
    ran: Vec<HookName>,
    /// Those of which it was written down that they are over.
    ended: Vec<HookName>,
    failing: BTreeSet<HookName>,
    /// Hooks that run and do not end.
    endless: BTreeSet<HookName>,
    decision: Decision,
    clock: i64,
}

fn hooks(names: &[HookName], policy: &str) -> Value {
    let hook = |name: &HookName| {
        let hook = json!({"http": {"service": "notifier"}, "failurePolicy": policy});
        (name.as_str().to_owned(), hook)
    };
    Value::Object(names.iter().map(hook).collect())
}

impl Life {
    fn new(spec: Value) -> Self {
        let mut plugin = json!({
            "metadata": {"name": "cart", "namespace": "shop", "uid": "u", "generation": 1},
            "spec": {"version": "1.0.0", "image": "cart:1"},
        });
        plugin["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let plugin: Plugin = serde_json::from_value(plugin).unwrap();
        let observed = Observed::default();
        let decision = decide(&plugin, &observed);
        let (ran, ended) = (Vec::new(), Vec::new());
        let (failing, endless) = (BTreeSet::new(), BTreeSet::new());
        Self { plugin, observed, ran, ended, failing, endless, decision, clock: 0 }
    }

    fn with_all(policy: &str) -> Self {
        Self::new(json!({"hooks": hooks(&HookName::ALL, policy)}))
    }

    fn edit(&mut self, spec: Value) {
        let mut edited = serde_json::to_value(&self.plugin.spec).unwrap();
        edited.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        self.plugin.spec = serde_json::from_value(edited).unwrap();
        *self.plugin.metadata.generation.as_mut().unwrap() += 1;
    }

    fn annotate(&mut self, key: &str, value: &str) {
        let annotations = self.plugin.metadata.annotations.get_or_insert_default();
        annotations.insert(key.to_owned(), value.to_owned());
    }

    fn delete(&mut self) {
        self.plugin.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    }

    /// Go on until nothing moves; gives the hooks that were run meanwhile.
    fn rest(&mut self) -> Vec<HookName> {
        self.ran.clear();
        self.ended.clear();
        for _ in 0..STEPS {
            if !self.step() {
                if self.endless.is_empty() {
                    assert_eq!(self.ended, self.ran, "each end is told once");
                }
                return self.ran.clone();
            }
        }
        panic!("still moving: {:?}", self.decision);
    }

    fn step(&mut self) -> bool {
        self.clock += 1;
        let before = (self.plugin.clone(), self.observed.clone());
        self.decision = decide(&self.plugin, &self.observed);
        let said = self.plugin.status.as_ref().and_then(|status| status.state);
        check_transition("cart", said, self.decision.state);
        for call in self.decision.calls.clone().iter().filter(|call| !call.going) {
            self.ran.push(call.hook);
            let run = match call.hook {
                hook if self.endless.contains(&hook) => HookRun::Going,
                hook if self.failing.contains(&hook) => {
                    HookRun::Failed { message: "exited with code 3".to_owned() }
                }
                _ => HookRun::Succeeded,
            };
            self.observed.hooks.insert(call.id.clone(), run);
        }
        self.act();
        self.write_status();
        self.advance();
        before != (self.plugin.clone(), self.observed.clone())
    }

    fn act(&mut self) {
        let revision = hook_revision(&self.plugin, &Settings::default());
        self.observed.stages.extend(self.decision.stage.map(|stage| (revision.clone(), stage)));
        let replicas = match self.decision.action {
            Action::Hold => return,
            Action::Apply => self.plugin.spec.replicas,
            Action::Stop => 0,
            Action::Unload | Action::Delete => {
                self.observed.workload = None;
                self.observed.pods.clear();
                return;
            }
        };
        if self.observed.workload.as_ref().is_none_or(|workload| workload.hook_revision != revision) {
            self.observed.pods.iter_mut().for_each(|pod| pod.current = false);
        }
        if !self.observed.pods.iter().any(|pod| pod.current) && replicas > 0 {
            let version = self.plugin.spec.version.as_str().into();
            self.observed.pods.push(Pod {
                name: format!("p{}", self.clock).into(),
                current: true,
                version,
                ..Pod::default()
            });
        }
        if replicas == 0 {
            self.observed.pods.clear();
        }
        self.observed.workload = Some(Workload {
            revision: forward_plan::revision(&self.plugin, &Settings::default()).into(),
            hook_revision: revision.into(),
            version: self.plugin.spec.version.as_str().into(),
            replicas,
            ..self.observed.workload.take().unwrap_or_default()
        });
    }

    fn write_status(&mut self) {
        let ends = hook_ends(&self.plugin, &self.decision.hooks);
        self.ended.extend(ends.values().map(|record| record.hook));
        let now = Time(Timestamp::from_second(self.clock).unwrap());
        let status = self.plugin.status.get_or_insert_default();
        status.state = Some(self.decision.state);
        let timed =
            |hook: &HookStatus| HookStatus { time: hook.time.clone().or(Some(now.clone())), ..hook.clone() };
        status.hooks = self.decision.hooks.iter().map(timed).collect();
    }

    /// Pods come up one step, as far as they may.
    fn advance(&mut self) {
        let stage = self.decision.stage.unwrap_or(Stage::Start);
        for pod in self.observed.pods.iter_mut().filter(|pod| pod.current && pod.problem.is_none()) {
            pod.phase = match pod.phase {
                PodPhase::Pending => PodPhase::Loaded,
                PodPhase::Loaded if stage >= Stage::Initialize => PodPhase::Initialized,
                PodPhase::Initialized if stage >= Stage::Start => PodPhase::Ready,
                phase => phase,
            };
        }
        if self.observed.pods.iter().any(|pod| pod.current && pod.phase == PodPhase::Ready) {
            self.observed.pods.retain(|pod| pod.current);
        }
        let Observed { workload: Some(workload), pods, .. } = &mut self.observed else { return };
        let count = |wanted: &dyn Fn(&Pod) -> bool| pods.iter().filter(|pod| wanted(pod)).count() as i32;
        workload.total_replicas = count(&|_| true);
        workload.updated_replicas = count(&|pod| pod.current);
        workload.ready_replicas = count(&|pod| pod.phase == PodPhase::Ready);
        workload.rolled_out = workload.replicas > 0 && pods.iter().all(|pod| pod.phase == PodPhase::Ready);
    }

    fn crash(&mut self) {
        for pod in &mut self.observed.pods {
            pod.phase = PodPhase::Pending;
            pod.problem = Some(Problem::Exited { code: 1, message: String::new(), restarts: 1 });
        }
    }

    fn recover(&mut self) {
        for pod in &mut self.observed.pods {
            (pod.phase, pod.problem) = (PodPhase::Ready, None);
        }
    }

    /// That of the condition Ready, and whether the plugin is stalled.
    fn reason(&self) -> (String, bool) {
        let find = |type_: &str| self.decision.conditions.iter().find(|it| it.type_ == type_).unwrap();
        (find("Ready").reason.clone(), find("Stalled").status == "True")
    }

    fn outcome(&self, hook: HookName) -> Option<HookOutcome> {
        let record = self.decision.hooks.iter().find(|record| record.hook == hook)?;
        Some(record.outcome)
    }

    fn serving(&self) -> Option<&str> {
        self.decision.version.as_deref()
    }
}

/// From scratch: what was decided before must make no difference.
fn decide(plugin: &Plugin, observed: &Observed) -> Decision {
    let mut namespace = Namespace::new();
    namespace.apply(Arc::new(plugin.clone()), observed.clone());
    namespace.decide("cart").unwrap()
}

use HookName::{
    AfterInitialize, AfterLoad, AfterStart, AfterStop, BeforeInitialize, BeforeLoad, BeforeStart, BeforeStop,
    OnError,
};

const UP: [HookName; 6] = [BeforeLoad, AfterLoad, BeforeInitialize, AfterInitialize, BeforeStart, AfterStart];
const DOWN: [HookName; 2] = [BeforeStop, AfterStop];

#[test]
fn hooks_run_once_in_order_on_each_way_up_and_down() {
    let mut life = Life::with_all("Abort");
    assert_eq!(life.rest(), UP);
    assert_eq!(life.decision.state, PluginState::Started);
    life.edit(json!({"suspend": true}));
    assert_eq!(life.rest(), DOWN);
    assert_eq!(life.decision.state, PluginState::Stopped);
    assert!(life.decision.hooks.iter().all(|record| DOWN.contains(&record.hook)));
    life.edit(json!({"suspend": false}));
    assert_eq!(life.rest(), UP, "it is brought up anew");
    life.edit(json!({"enabled": false}));
    assert_eq!(life.rest(), DOWN);
    life.edit(json!({"enabled": true}));
    assert_eq!(life.rest(), UP);
    life.edit(json!({"version": "1.1.0"}));
    assert_eq!(life.rest(), UP, "it is brought over");
    life.annotate(RESTART, "now");
    assert_eq!(life.rest(), UP);
    life.delete();
    assert_eq!(life.rest(), DOWN);
    assert_eq!((life.decision.action, life.observed.workload), (Action::Delete, None));
}

#[test]
fn how_much_of_a_plugin_runs_is_no_reason_to_run_hooks() {
    let mut life = Life::with_all("Abort");
    life.rest();
    for edit in [json!({"replicas": 3}), json!({"priority": 7}), json!({"info": {"author": "me"}})] {
        life.edit(edit.clone());
        assert_eq!(life.rest(), [], "{edit}");
        assert_eq!(life.decision.state, PluginState::Started);
    }
    life.observed.pods[0].phase = PodPhase::Pending;
    assert_eq!(life.rest(), [], "a pod that is replaced runs none");
}

#[test]
fn a_hook_is_first_written_down_and_then_run_until_its_outcome_is_written_down() {
    let mut life = Life::with_all("Abort");
    life.endless.insert(BeforeLoad);
    life.step();
    assert_eq!((life.outcome(BeforeLoad), life.ran.len()), (Some(HookOutcome::Running), 0));
    assert_eq!(life.rest(), [BeforeLoad]);
    assert_eq!(life.reason(), ("HookRunning".to_owned(), false));
    assert_eq!(life.observed.workload, None);
    // Another operator knows nothing of a call that its predecessor made.
    life.observed.hooks.clear();
    life.endless.clear();
    assert_eq!(life.rest(), UP, "it is made again");
}

#[test]
fn a_failed_hook_before_loading_holds_an_update_and_the_old_version_serves() {
    let mut life = Life::with_all("Abort");
    life.rest();
    life.failing.insert(BeforeLoad);
    life.edit(json!({"version": "2.0.0"}));
    assert_eq!(life.rest(), [BeforeLoad]);
    assert_eq!(life.reason(), ("HookFailed".to_owned(), true));
    assert_eq!((life.decision.action, life.serving()), (Action::Hold, Some("1.0.0")));
    let message = life.decision.reason.to_string();
    assert!(
        message.contains("beforeLoad failed: exited with code 3") && message.contains(RESTART),
        "{message}"
    );
    life.failing.clear();
    life.annotate(RESTART, "again");
    assert_eq!(life.rest(), UP);
    assert_eq!(life.serving(), Some("2.0.0"));
}

#[test]
fn each_failure_on_the_way_up_stops_there_or_is_gone_past_as_its_policy_says() {
    // Where the plugin stays, for each hook that fails.
    let stays = [
        (BeforeLoad, PluginState::Unloaded, None),
        (AfterLoad, PluginState::Loaded, Some(Stage::Wait)),
        (BeforeInitialize, PluginState::Loaded, Some(Stage::Wait)),
        (AfterInitialize, PluginState::Initialized, Some(Stage::Initialize)),
        (BeforeStart, PluginState::Initialized, Some(Stage::Initialize)),
        (AfterStart, PluginState::Started, Some(Stage::Start)),
    ];
    for (number, (hook, state, stage)) in stays.into_iter().enumerate() {
        let mut life = Life::with_all("Abort");
        life.failing.insert(hook);
        assert_eq!(life.rest(), UP[..=number], "{hook}");
        assert_eq!(life.reason(), ("HookFailed".to_owned(), true), "{hook}");
        assert_eq!(life.decision.state, state, "{hook}");
        if stage.is_some() {
            assert_eq!(life.decision.stage, stage, "{hook}");
        }
        let mut life = Life::with_all("Continue");
        life.failing.insert(hook);
        assert_eq!(life.rest(), UP, "{hook}");
        assert_eq!(life.decision.state, PluginState::Started, "{hook}");
        assert_eq!(life.outcome(hook), Some(HookOutcome::Failed), "{hook} is told of");
        assert!(!life.reason().1, "{hook}");
    }
}

#[test]
fn a_failed_hook_before_stopping_holds_a_stop_and_no_deletion() {
    let mut life = Life::with_all("Abort");
    life.rest();
    life.failing.insert(BeforeStop);
    life.edit(json!({"suspend": true}));
    assert_eq!(life.rest(), [BeforeStop]);
    assert_eq!(life.reason(), ("HookFailed".to_owned(), true));
    assert_eq!(life.serving(), Some("1.0.0"));
    life.delete();
    assert_eq!(life.rest(), [AfterStop], "what was done to stop it counts");
    assert_eq!(life.decision.action, Action::Delete);
}

#[test]
fn a_stop_goes_past_what_failed_where_the_policy_says_so() {
    let mut life = Life::with_all("Continue");
    life.rest();
    life.failing.extend(DOWN);
    life.edit(json!({"replicas": 0}));
    assert_eq!(life.rest(), DOWN);
    assert_eq!((life.decision.state, life.reason().0), (PluginState::Stopped, "ScaledToZero".to_owned()));
}

#[test]
fn a_deletion_by_force_runs_no_hook() {
    let mut life = Life::with_all("Abort");
    life.rest();
    life.annotate(forward_crds::FORCE_DELETE, "true");
    life.delete();
    assert_eq!(life.rest(), []);
    assert_eq!((life.decision.action, life.observed.workload), (Action::Delete, None));
}

#[test]
fn what_cannot_be_run_holds_up_nothing() {
    let mut life = Life::with_all("Abort");
    life.rest();
    life.delete();
    life.step();
    life.step();
    let id = life.decision.calls[0].id.clone();
    life.observed.hooks.insert(id, HookRun::Skipped { message: "the namespace is being deleted".to_owned() });
    life.step();
    assert_eq!(life.outcome(BeforeStop), Some(HookOutcome::Skipped));
}

#[test]
fn a_plugin_that_never_ran_has_no_end() {
    for spec in [json!({"suspend": true}), json!({"enabled": false})] {
        let mut life = Life::with_all("Abort");
        life.edit(spec);
        assert_eq!(life.rest(), []);
        life.delete();
        assert_eq!(life.rest(), []);
    }
}

#[test]
fn each_entry_into_error_is_told_once() {
    let mut life = Life::new(json!({"hooks": hooks(&[OnError], "Abort")}));
    assert_eq!(life.rest(), []);
    for _ in 0..2 {
        life.crash();
        assert_eq!(life.rest(), [OnError]);
        assert_eq!((life.decision.state, life.reason().0), (PluginState::Error, "Crashing".to_owned()));
        life.recover();
        assert_eq!(life.rest(), []);
        assert_eq!(life.decision.state, PluginState::Started);
    }
    // One that passes before the hook is run is told all the same.
    life.crash();
    while life.decision.state != PluginState::Error {
        life.step();
    }
    life.recover();
    assert_eq!(life.rest(), [OnError]);
}

#[test]
fn a_plugin_that_does_not_start_by_itself_waits_initialized_and_is_at_rest() {
    let mut life = Life::new(json!({"autoStart": false}));
    life.rest();
    assert_eq!(
        (life.decision.state, life.decision.stage),
        (PluginState::Initialized, Some(Stage::Initialize))
    );
    assert_eq!(life.reason(), ("WaitsForStart".to_owned(), false));
    let ready = life.decision.conditions.iter().find(|it| it.type_ == "Ready").unwrap();
    assert_eq!(ready.status, "True");
    assert!(
        ready.message.contains("kubectl annotate plugin cart goforward.dev/start=true"),
        "{}",
        ready.message
    );
    life.annotate(START, "yes");
    life.rest();
    assert_eq!(life.decision.state, PluginState::Initialized, "only true is true");
    life.annotate(START, "true");
    life.rest();
    assert_eq!(life.decision.state, PluginState::Started);
    life.plugin.metadata.annotations = None;
    life.edit(json!({"replicas": 2}));
    life.rest();
    assert_eq!((life.decision.state, life.decision.stage), (PluginState::Started, Some(Stage::Start)));
    life.edit(json!({"version": "2.0.0"}));
    life.rest();
    assert_eq!((life.reason().0.as_str(), life.serving()), ("WaitsForStart", Some("1.0.0")));
    assert!(life.decision.reason.to_string().starts_with("2.0.0 waits"));
    life.annotate(START, "true");
    life.rest();
    assert_eq!(life.serving(), Some("2.0.0"));
}

#[test]
fn an_image_without_the_contract_waits_for_its_start_without_pods() {
    let routes = json!({"routes": [{"path": "/"}]});
    let spec = json!({"autoStart": false, "protocol": "Http", "http": routes, "hooks": hooks(&[BeforeLoad], "Abort")});
    let mut life = Life::new(spec);
    assert_eq!(life.rest(), []);
    assert_eq!((life.reason().0.as_str(), life.decision.state), ("WaitsForStart", PluginState::Unloaded));
    assert_eq!(life.observed.workload, None);
    life.annotate(START, "true");
    assert_eq!(life.rest(), [BeforeLoad]);
    assert_eq!(life.decision.state, PluginState::Started);
    life.plugin.metadata.annotations = None;
    life.edit(json!({"replicas": 2}));
    assert_eq!(life.rest(), []);
    assert_eq!(life.decision.state, PluginState::Started, "what runs is not held back");
    assert_eq!(life.observed.workload.as_ref().unwrap().replicas, 2);
}

#[test]
fn what_a_plugin_takes_while_it_runs_is_no_reason_to_run_hooks() {
    let mut life = Life::new(json!({"hooks": hooks(&HookName::ALL, "Abort"), "reload": "InPlace"}));
    life.rest();
    life.edit(json!({"config": {"currency": "EUR"}}));
    assert_eq!(life.rest(), []);
}

#[test]
fn those_who_need_it_are_told_what_it_waits_for() {
    let mut life = Life::new(json!({"autoStart": false}));
    life.rest();
    let mut namespace = Namespace::new();
    namespace.apply(Arc::new(life.plugin.clone()), life.observed.clone());
    let dependent = json!({"metadata": {"name": "web", "generation": 1},
                           "spec": {"version": "1.0.0", "image": "web", "dependencies": [{"name": "cart"}]}});
    namespace.apply(Arc::new(serde_json::from_value(dependent).unwrap()), Observed::default());
    let reason = namespace.decide("web").unwrap().reason.to_string();
    assert_eq!(reason, "waits for cart: it waits to be started");
    life.annotate(START, "true");
    let touched = namespace.apply(Arc::new(life.plugin.clone()), life.observed.clone());
    assert!(touched.contains("web"), "{touched:?}");
    assert_eq!(
        namespace.decide("web").unwrap().reason.to_string(),
        "waits for cart: 1.0.0 is on its way (Initialized)"
    );
}

#[test]
fn a_failed_hook_gives_its_turn_to_others() {
    let mut life = Life::new(json!({"priority": 9, "hooks": hooks(&[BeforeLoad], "Abort")}));
    let system = json!({"metadata": {"name": "default"}, "spec": {"maxConcurrentRollouts": 1}});
    let settings = Settings::from(Some(&serde_json::from_value(system).unwrap()));
    let other =
        json!({"metadata": {"name": "web", "generation": 1}, "spec": {"version": "1.0.0", "image": "web"}});
    let other: Arc<Plugin> = Arc::new(serde_json::from_value(other).unwrap());
    let action = |life: &Life| {
        let mut namespace = Namespace::new();
        namespace.configure(settings.clone());
        namespace.apply(other.clone(), Observed::default());
        namespace.apply(Arc::new(life.plugin.clone()), life.observed.clone());
        namespace.decide("web").unwrap().action
    };
    life.endless.insert(BeforeLoad);
    life.rest();
    assert_eq!(action(&life), Action::Hold, "a hook that runs holds its turn");
    life.failing = std::mem::take(&mut life.endless);
    life.observed.hooks.clear();
    life.rest();
    assert_eq!(life.reason().0, "HookFailed");
    assert_eq!(action(&life), Action::Apply);
}

#[test]
fn revisions_of_hooks_and_of_deployments_are_two_things() {
    let life = Life::with_all("Abort");
    let mut scaled = Life::with_all("Abort");
    scaled.edit(json!({"replicas": 5}));
    let settings = Settings::default();
    assert_ne!(revision(&life.plugin, &settings), revision(&scaled.plugin, &settings));
    assert_eq!(hook_revision(&life.plugin, &settings), hook_revision(&scaled.plugin, &settings));
    scaled.edit(json!({"config": {"a": 1}}));
    assert_ne!(hook_revision(&life.plugin, &settings), hook_revision(&scaled.plugin, &settings));
}
