//! Golden cases: what is wanted and what is observed in a namespace, and the plan and the report
//! that come of it. `UPDATE_GOLDEN=1` writes what comes of them now.
#![expect(clippy::disallowed_methods, reason = "the runner reads files; what it tests does not")]
#![expect(clippy::unwrap_used, reason = "a case that cannot be read fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write,
    fs,
    path::Path,
    sync::Arc,
};

use forward_crds::{Plugin, PluginSystem};
use forward_plan::{Decision, Namespace, Observed, Plan, Settings};
use serde_json::{Value, json};

const FILES: [&str; 4] = ["desired.yaml", "observed.yaml", "plan.txt", "report.txt"];

#[test]
fn cases_come_out_as_recorded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    let mut differences = Vec::new();
    for case in cases {
        differences.extend(check(&case));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn check(case: &Path) -> Vec<String> {
    let name = case.file_name().unwrap().to_string_lossy().into_owned();
    let found: BTreeSet<_> = fs::read_dir(case).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let orphans: Vec<_> = found.iter().filter(|file| !FILES.iter().any(|known| file == known)).collect();
    assert!(orphans.is_empty(), "{name} holds files that belong to nothing: {orphans:?}");
    let read = |file: &str| fs::read_to_string(case.join(file));
    let load = |file: &str| read(file).unwrap_or_else(|error| panic!("{name}/{file}: {error}"));
    let plan = plan(&name, &load("desired.yaml"), &load("observed.yaml"));
    let outputs = [("plan.txt", steps(&plan)), ("report.txt", report(&plan))];
    if env::var_os("UPDATE_GOLDEN").is_some() {
        for (file, actual) in outputs {
            fs::write(case.join(file), actual).unwrap();
        }
        return Vec::new();
    }
    let differs = |(file, actual): (&str, String)| {
        let expected = read(file).unwrap_or_default();
        (actual != expected)
            .then(|| format!("{name}/{file}: expected\n{expected}\nbut got (UPDATE_GOLDEN=1)\n{actual}"))
    };
    outputs.into_iter().filter_map(differs).collect()
}

fn plan(case: &str, desired: &str, observed: &str) -> Plan {
    let mut observed: BTreeMap<String, Observed> =
        serde_saphyr::from_str(observed).unwrap_or_else(|error| panic!("{case}/observed.yaml: {error}"));
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(desired).unwrap_or_else(|error| panic!("{case}/desired.yaml: {error}"));
    let mut namespace = Namespace::new();
    for object in objects.into_iter().map(fill_in) {
        if object["kind"] == "PluginSystem" {
            let system: PluginSystem = serde_json::from_value(object).unwrap();
            namespace.configure(Settings::from(Some(&system)));
        } else {
            let plugin: Plugin = serde_json::from_value(object).unwrap();
            let observed = observed.remove(plugin.metadata.name.as_deref().unwrap()).unwrap_or_default();
            namespace.apply(Arc::new(plugin), observed);
        }
    }
    assert!(observed.is_empty(), "{case}: observed, but no plugin: {:?}", observed.keys());
    namespace.plan()
}

/// What every object has and no case is about.
fn fill_in(mut object: Value) -> Value {
    object.as_object_mut().unwrap().entry("kind").or_insert(json!("Plugin"));
    object["apiVersion"] = json!("goforward.dev/v1alpha1");
    object["metadata"].as_object_mut().unwrap().entry("generation").or_insert(json!(1));
    if object["kind"] == "Plugin" {
        object["spec"].as_object_mut().unwrap().entry("image").or_insert(json!("example/plugin:1"));
    }
    object
}

fn steps(plan: &Plan) -> String {
    let lines: Vec<String> = plan.steps.iter().map(|step| format!("{step}\n")).collect();
    if lines.is_empty() { "nothing to do\n".to_owned() } else { lines.concat() }
}

fn report(plan: &Plan) -> String {
    let parts: Vec<String> = plan.decisions.iter().map(|(name, decision)| section(name, decision)).collect();
    parts.join("\n")
}

fn section(name: &str, decision: &Decision) -> String {
    let Decision {
        action,
        state,
        reason,
        dependencies,
        conditions,
        version,
        config_hash,
        hooks,
        calls,
        stage,
    } = decision;
    let mut text = format!("{name}: {action:?}, {state:?}");
    if let Some(version) = version {
        write!(text, ", {version} serves").unwrap();
    }
    if let Some(hash) = config_hash {
        write!(text, " with config {hash}").unwrap();
    }
    write!(text, "\n  {reason}").unwrap();
    if let Some(since) = reason.since() {
        write!(text, " (since {})", since.0).unwrap();
    }
    text.push('\n');
    for condition in conditions {
        let (type_, status, reason) = (&condition.type_, &condition.status, &condition.reason);
        writeln!(text, "  {type_:17} {status:5} {reason}: {}", condition.message).unwrap();
    }
    if let Some(stage) = stage {
        writeln!(text, "  pods may go to {stage:?}").unwrap();
    }
    for hook in hooks {
        let call = calls.iter().find(|call| call.hook == hook.hook);
        let run =
            call.map(|call| format!(" as {}{}", call.id, if call.going { "" } else { ", to be started" }));
        let new = if hook.time.is_none() { " (new)" } else { "" };
        let said = hook.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        let (name, revision, outcome) = (hook.hook, &hook.revision, hook.outcome);
        writeln!(text, "  hook {name} for {revision}: {outcome:?}{}{new}{said}", run.unwrap_or_default())
            .unwrap();
    }
    for dependency in dependencies {
        let version = dependency.version.as_deref().unwrap_or("absent");
        let range = dependency.constraint.as_deref().unwrap_or("*");
        let optional = if dependency.optional { "can use" } else { "needs" };
        let state = dependency.state.map(|state| format!(" {state:?}")).unwrap_or_default();
        let verdict = dependency.message.as_deref().unwrap_or("ready");
        let lost = if dependency.lost { " (lost)" } else { "" };
        writeln!(text, "  {optional} {} {range}: {version}{state}, {verdict}{lost}", dependency.name)
            .unwrap();
    }
    text
}
