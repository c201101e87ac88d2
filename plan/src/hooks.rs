//! A plugin's hooks: which are due, what became of them, and what that holds up. Owns the rule that
//! each runs once for each spec that a plugin is brought to, and once when it stops as a whole.
//!
//! What has become of them stands in `status.hooks`, and nowhere else. A hook is first said to be
//! Running there, and run when that is written: so that whoever finds that it says so runs it, and
//! none is lost.

use std::collections::{BTreeMap, BTreeSet};

use forward_crds::{
    FailurePolicy, HookName, HookOutcome, HookStatus, Hooks, Plugin, PluginState, Protocol, Reload, START,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    facts::{Facts, Wish},
    images::is_allowed,
    inherited::restart,
    model::{HookRun, PodPhase, Settings, Stage},
    reason::Reason,
};

/// The part of a spec that says how much of a plugin runs, and nothing about what that is.
const HOW_MUCH: [&str; 5] = ["enabled", "info", "priority", "replicas", "suspend"];
/// The part of a spec that pods take while they run.
const IN_PLACE: [&str; 2] = ["config", "configSchema"];
/// The hooks that pods wait for.
const IN_PODS: [HookName; 4] =
    [HookName::AfterLoad, HookName::BeforeInitialize, HookName::AfterInitialize, HookName::BeforeStart];

/// A hook that is to run now, or runs.
#[derive(Clone, Debug, PartialEq)]
pub struct HookCall {
    /// The hook.
    pub hook: HookName,
    /// The spec that it is run for.
    pub revision: String,
    /// What tells this run from all others.
    pub id: String,
    /// Since when it is to run.
    pub since: Time,
    /// Whether it was seen to run.
    pub going: bool,
}

/// What a plugin without hooks has.
static NONE: Hooks = Hooks {
    before_load: None,
    after_load: None,
    before_initialize: None,
    after_initialize: None,
    before_start: None,
    after_start: None,
    before_stop: None,
    after_stop: None,
    on_error: None,
};

/// How a hook stands to what comes after it.
enum Gate {
    Open,
    Due,
    Running,
    Failed(String),
}

/// Whether a plugin may go on on its way down.
pub enum Turn {
    Go,
    /// Once it is written down what is to come.
    Wait,
    Halt(Reason),
}

/// The hooks of one plugin, and what is decided of them.
pub struct Ledger<'a> {
    facts: &'a Facts,
    hooks: &'a Hooks,
    revision: String,
    is_applied: bool,
    records: Vec<HookStatus>,
    stage: Option<Stage>,
}

/// The spec that hooks are run for, in a word: it changes with everything but how much runs of the
/// plugin, and with the value by which it was last told to restart.
pub fn hook_revision(plugin: &Plugin, settings: &Settings) -> String {
    let mut spec = serde_json::to_value(&plugin.spec).expect("a spec is JSON");
    let in_place = plugin.spec.reload == Reload::InPlace;
    if let Value::Object(fields) = &mut spec {
        fields.retain(|field, _| {
            let field = field.as_str();
            let is_left_out = HOW_MUCH.contains(&field) || (in_place && IN_PLACE.contains(&field));
            !is_left_out
        });
    }
    let restart = restart(plugin).unwrap_or_default();
    digest(&[&spec.to_string(), &settings.inherited.used_by(plugin), restart])
}

/// The first ten hexadecimal digits of the parts' SHA-256.
fn digest(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

/// What tells a run of a hook from all others; nothing before it is written down.
fn id(plugin: &Plugin, record: &HookStatus) -> Option<String> {
    let time = record.time.as_ref()?.0.as_second().to_string();
    let uid = plugin.metadata.uid.as_deref().unwrap_or_default();
    Some(digest(&[uid, record.hook.as_str(), &record.revision, &time]))
}

/// The ids of all hooks that a plugin's status says are running.
pub fn hook_runs(plugin: &Plugin) -> BTreeSet<String> {
    let said = plugin.status.iter().flat_map(|status| &status.hooks);
    let running = said.filter(|record| record.outcome == HookOutcome::Running);
    running.filter_map(|record| id(plugin, record)).collect()
}

/// The runs that a plugin's status says are under way and that are over by what is to be `told` of its
/// hooks, by their ids. Not among them are runs of which nothing more is told, as they were for another
/// spec or their hook has begun anew meanwhile.
pub fn hook_ends<'a>(plugin: &Plugin, told: &'a [HookStatus]) -> BTreeMap<String, &'a HookStatus> {
    let said = plugin.status.iter().flat_map(|status| &status.hooks);
    let running = said.filter(|record| record.outcome == HookOutcome::Running);
    let end = |record: &HookStatus| {
        let mut same = told.iter().filter(|one| one.hook == record.hook && one.revision == record.revision);
        let is_over = |one: &&HookStatus| {
            matches!(one.outcome, HookOutcome::Succeeded | HookOutcome::Failed | HookOutcome::Skipped)
        };
        Some((id(plugin, record)?, same.find(is_over)?))
    };
    running.filter_map(end).collect()
}

/// Whether a plugin that does not start by itself was told to.
pub fn is_told_to_start(plugin: &Plugin) -> bool {
    let annotations = plugin.metadata.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(START)).is_some_and(|value| value == "true")
}

/// Whether pods wait until they are permitted to go on.
fn is_gated(plugin: &Plugin) -> bool {
    let waits = |hooks: &Hooks| IN_PODS.into_iter().any(|name| hooks.get(name).is_some());
    let spec = &plugin.spec;
    spec.protocol == Protocol::Grpc && (!spec.auto_start || spec.hooks.as_deref().is_some_and(waits))
}

fn is_on_the_way_up(hook: HookName) -> bool {
    hook < HookName::BeforeStop
}

impl<'a> Ledger<'a> {
    /// Nothing for a plugin without hooks that starts by itself.
    pub fn read(facts: &'a Facts, settings: &Settings) -> Option<Self> {
        let spec = &facts.plugin.spec;
        if spec.hooks.is_none() && spec.auto_start {
            return None;
        }
        let mut ledger = Self {
            facts,
            hooks: spec.hooks.as_deref().unwrap_or(&NONE),
            revision: hook_revision(&facts.plugin, settings),
            is_applied: facts.is_applied(settings),
            records: Vec::new(),
            stage: is_gated(&facts.plugin).then_some(Stage::Wait),
        };
        let records = ledger.said().iter().filter(|record| ledger.keeps(record));
        ledger.records = records.map(|record| ledger.settle(record, settings)).collect();
        ledger.note_error();
        Some(ledger)
    }

    /// What is to be written of the hooks, those that are to run now, and how far pods may go.
    pub fn close(self) -> (Vec<HookStatus>, Vec<HookCall>, Option<Stage>) {
        let mut records = self.records.clone();
        records.sort_by_key(|record| record.hook);
        let calls = records.iter().filter_map(|record| self.call(record)).collect();
        (records, calls, self.stage)
    }

    fn said(&self) -> &'a [HookStatus] {
        self.facts.plugin.status.as_ref().map_or(&[], |status| &status.hooks)
    }

    /// Whether something of it is to run with this spec, as far as that was said.
    fn is_loaded(&self) -> bool {
        let workload = self.facts.workload();
        workload.is_some_and(|workload| workload.hook_revision == self.revision && workload.replicas > 0)
    }

    fn is_up(&self) -> bool {
        self.facts.workload().is_some_and(|workload| workload.replicas > 0)
    }

    /// Whether what was said of a hook still counts. A plugin that was brought up is done with what
    /// became of its last end, and the other way round.
    fn keeps(&self, record: &HookStatus) -> bool {
        let runs = self.facts.wish == Wish::Run;
        let counts = match record.hook {
            HookName::OnError => true,
            HookName::BeforeStop | HookName::AfterStop => !runs || !self.is_applied,
            _ => {
                let is_behind = record.outcome == HookOutcome::Running && record.revision != self.revision;
                (runs || self.is_up()) && !is_behind
            }
        };
        counts && self.hooks.get(record.hook).is_some()
    }

    /// What has become of a hook that was running.
    fn settle(&self, record: &HookStatus, settings: &Settings) -> HookStatus {
        if record.outcome != HookOutcome::Running {
            return record.clone();
        }
        let ended =
            |outcome, message: Option<String>| HookStatus { outcome, message, time: None, ..record.clone() };
        match self.seen(record) {
            Some(HookRun::Going) => record.clone(),
            Some(HookRun::Succeeded) => ended(HookOutcome::Succeeded, None),
            Some(HookRun::Failed { message }) => ended(HookOutcome::Failed, Some(message.clone())),
            Some(HookRun::Skipped { message }) => ended(HookOutcome::Skipped, Some(message.clone())),
            None => match self.refused_image(record.hook, settings) {
                Some(image) => {
                    let message =
                        format!("image {image} is not allowed by spec.imagePrefixes of the PluginSystem");
                    ended(HookOutcome::Failed, Some(message))
                }
                None => record.clone(),
            },
        }
    }

    fn seen(&self, record: &HookStatus) -> Option<&HookRun> {
        self.facts.observed.hooks.get(&self.id(record)?)
    }

    fn refused_image(&self, hook: HookName, settings: &Settings) -> Option<&'a str> {
        let own = &self.facts.plugin.spec.image;
        let job = self.hooks.get(hook)?.job.as_ref()?;
        let image = job.image.as_ref().unwrap_or(own);
        (!is_allowed(image, &settings.image_prefixes)).then_some(image)
    }

    fn id(&self, record: &HookStatus) -> Option<String> {
        id(&self.facts.plugin, record)
    }

    fn call(&self, record: &HookStatus) -> Option<HookCall> {
        if record.outcome != HookOutcome::Running {
            return None;
        }
        Some(HookCall {
            hook: record.hook,
            revision: record.revision.clone(),
            id: self.id(record)?,
            since: record.time.clone()?,
            going: self.seen(record).is_some(),
        })
    }

    fn set(&mut self, hook: HookName, outcome: HookOutcome) {
        self.records.retain(|record| record.hook != hook);
        let (revision, message) = (self.revision.clone(), None);
        self.records.push(HookStatus { hook, revision, outcome, message, time: None });
    }

    /// The state that is written together with this tells an entry into Error from being there.
    fn note_error(&mut self) {
        let before = self.facts.plugin.status.as_ref().and_then(|status| status.state);
        let enters = self.facts.state() == PluginState::Error && before != Some(PluginState::Error);
        if enters && self.facts.wish == Wish::Run && self.hooks.on_error.is_some() {
            self.set(HookName::OnError, HookOutcome::Running);
        }
    }

    fn gate(&self, hook: HookName) -> Gate {
        let Some(spec) = self.hooks.get(hook) else { return Gate::Open };
        let Some(record) = self.records.iter().find(|record| record.hook == hook) else { return Gate::Due };
        let is_behind = record.revision != self.revision;
        match record.outcome {
            // What was done for another spec counts on the way down, where it is done once.
            _ if is_behind && is_on_the_way_up(hook) => Gate::Due,
            HookOutcome::Failed if is_behind => Gate::Due,
            HookOutcome::Failed if spec.failure_policy == FailurePolicy::Abort => {
                Gate::Failed(record.message.clone().unwrap_or_default())
            }
            HookOutcome::Failed | HookOutcome::Succeeded | HookOutcome::Skipped => Gate::Open,
            HookOutcome::Running | HookOutcome::Pending => Gate::Running,
        }
    }

    /// Why a plugin is not past a hook, which is run where it is due.
    fn pass(&mut self, hook: HookName) -> Option<Reason> {
        match self.gate(hook) {
            Gate::Open => None,
            Gate::Failed(message) => Some(self.failed(hook, message)),
            Gate::Due => {
                self.set(hook, HookOutcome::Running);
                Some(Reason::HookRunning { hook })
            }
            Gate::Running => Some(Reason::HookRunning { hook }),
        }
    }

    fn failed(&self, hook: HookName, message: String) -> Reason {
        Reason::HookFailed { hook, message, name: self.name() }
    }

    fn name(&self) -> String {
        self.facts.plugin.metadata.name.clone().unwrap_or_default()
    }

    fn waits_for_start(&self) -> Option<Reason> {
        let spec = &self.facts.plugin.spec;
        let waits = !spec.auto_start && !is_told_to_start(&self.facts.plugin);
        waits.then(|| Reason::WaitsForStart { version: spec.version.clone(), name: self.name() })
    }

    /// What keeps pods of the current spec from being made for longer than a hook runs.
    pub fn keeps_from_loading(&self) -> Option<Reason> {
        if self.is_loaded() {
            return None;
        }
        if self.facts.plugin.spec.protocol == Protocol::Http
            && let Some(reason) = self.waits_for_start()
        {
            return Some(reason);
        }
        match self.gate(HookName::BeforeLoad) {
            Gate::Failed(message) => Some(self.failed(HookName::BeforeLoad, message)),
            Gate::Open | Gate::Due | Gate::Running => None,
        }
    }

    /// What is to come before pods of the current spec are made.
    pub fn before_load(&mut self) -> Option<Reason> {
        if self.is_loaded() { None } else { self.pass(HookName::BeforeLoad) }
    }

    /// How far pods of the current spec may go, and what keeps them from going further. What they were
    /// permitted once they stay so, for their processes can be started again at any time.
    pub fn permit(&mut self) -> Option<Reason> {
        self.stage?;
        let seen = self.facts.observed.stages.get(&self.revision).copied().filter(|_| self.is_loaded());
        let (stage, held) = self.permit_from(seen.unwrap_or(Stage::Wait));
        self.stage = Some(stage);
        held
    }

    fn permit_from(&mut self, stage: Stage) -> (Stage, Option<Reason>) {
        let furthest = self.furthest();
        if stage == Stage::Wait {
            let hooks = [HookName::AfterLoad, HookName::BeforeInitialize];
            match self.pass_in_pods(hooks, furthest >= PodPhase::Loaded) {
                Turn::Go => {}
                Turn::Wait => return (Stage::Wait, None),
                Turn::Halt(reason) => return (Stage::Wait, Some(reason)),
            }
        }
        if stage <= Stage::Initialize {
            let is_initialized = furthest >= PodPhase::Initialized;
            let hooks = [HookName::AfterInitialize, HookName::BeforeStart];
            match self.pass_in_pods(hooks, is_initialized) {
                Turn::Go => {}
                Turn::Wait => return (Stage::Initialize, None),
                Turn::Halt(reason) => return (Stage::Initialize, Some(reason)),
            }
            if let Some(waits) = self.waits_for_start() {
                return (Stage::Initialize, Some(waits).filter(|_| is_initialized));
            }
        }
        (Stage::Start, None)
    }

    /// Two hooks, one after the other, once a pod has come so far.
    fn pass_in_pods(&mut self, hooks: [HookName; 2], is_there: bool) -> Turn {
        let is_needed = hooks.into_iter().any(|hook| self.hooks.get(hook).is_some());
        if is_needed && !is_there {
            return Turn::Wait;
        }
        for hook in hooks {
            if let Some(reason) = self.pass(hook) {
                return Turn::Halt(reason);
            }
        }
        Turn::Go
    }

    /// How far the pods of the current spec have come.
    fn furthest(&self) -> PodPhase {
        let pods = self.facts.observed.pods.iter().filter(|pod| pod.current && self.is_applied);
        let goes = |phase: &PodPhase| matches!(phase, PodPhase::Terminating | PodPhase::Ended);
        let phases = pods.map(|pod| pod.phase).filter(|phase| !goes(phase));
        phases.max().unwrap_or(PodPhase::Pending)
    }

    /// What is to come after all pods of the current spec are ready.
    pub fn after_start(&mut self) -> Option<Reason> {
        self.pass(HookName::AfterStart)
    }

    /// What is to come before the pods go. A deletion goes on whatever came of it: neither a
    /// namespace nor a release that is deleted must hang.
    pub fn before_end(&mut self) -> Turn {
        if !self.is_up() {
            return Turn::Go;
        }
        match self.pass(HookName::BeforeStop) {
            Some(Reason::HookFailed { .. }) if self.facts.wish == Wish::Delete => {}
            Some(reason) => return Turn::Halt(reason),
            None => {}
        }
        // Once the pods are gone, nothing else tells that there were any.
        let is_told = self.said().iter().any(|record| record.hook == HookName::AfterStop);
        if self.hooks.after_stop.is_none() || is_told {
            return Turn::Go;
        }
        self.set(HookName::AfterStop, HookOutcome::Pending);
        Turn::Wait
    }

    /// What is to come after the last pod is gone.
    pub fn after_end(&mut self) -> Turn {
        let record = self.records.iter().find(|record| record.hook == HookName::AfterStop);
        let Some(outcome) = record.map(|record| record.outcome).filter(|_| !self.facts.is_left()) else {
            return Turn::Go;
        };
        if outcome == HookOutcome::Pending {
            self.set(HookName::AfterStop, HookOutcome::Running);
        }
        match self.pass(HookName::AfterStop) {
            Some(Reason::HookFailed { .. }) if self.facts.wish == Wish::Delete => Turn::Go,
            Some(reason) => Turn::Halt(reason),
            None => Turn::Go,
        }
    }
}
