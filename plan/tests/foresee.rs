//! Golden cases of what is answered at once: the last document is applied to those before it, and
//! the denial, or else the warnings, are what a user sees. A document `{serves: VERSION, plugin: NAME}`
//! says what runs of a plugin, `delete: NAME` deletes one. `UPDATE_GOLDEN=1` writes what comes of
//! them now.
#![expect(clippy::disallowed_methods, reason = "the runner reads files; what it tests does not")]
#![expect(clippy::unwrap_used, reason = "a case that cannot be read fails")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use forward_crds::Plugin;
use forward_plan::{
    Flaw, Judged, Namespace, Settings, flaws,
    routes::{Contest, Offer},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::{Value, json};

use crate::serving::serving;

mod serving;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foresee")
}

#[test]
fn warnings_come_out_as_recorded() {
    let files = fs::read_dir(cases()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().unwrap() == "yaml").collect();
    files.sort();
    assert!(files.len() >= 15, "only {} cases", files.len());
    let texts = fs::read_dir(cases()).unwrap().count() - files.len();
    assert!(env::var_os("UPDATE_GOLDEN").is_some() || texts == files.len(), "{texts} texts");
    let mut differences = Vec::new();
    for file in files {
        let actual = said(&fs::read_to_string(&file).unwrap());
        let text = file.with_extension("txt");
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(text, actual).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&text).unwrap_or_default();
        if actual != expected {
            differences.push(format!("{}: expected\n{expected}\nbut got\n{actual}", text.display()));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The page about admission shows messages as they really come.
#[test]
fn messages_on_the_page_are_those_of_golden_cases() {
    let page = fs::read_to_string(cases().join("../../../docs/admission.md")).unwrap();
    let files =
        fs::read_dir(cases()).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let said: String = files.collect();
    let blocks = page.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let messages: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(messages.len() >= 10, "only {} messages", messages.len());
    for message in messages {
        assert!(said.contains(&format!("{message}\n")), "nothing says: {message}");
    }
}

fn said(text: &str) -> String {
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let last = objects.pop().unwrap();
    let serves = objects.iter().filter_map(|object| {
        Some((object["plugin"].as_str()?.to_owned(), object["serves"].as_str()?.to_owned()))
    });
    let serves: BTreeMap<String, String> = serves.collect();
    let (mut namespace, mut contest) = (Namespace::new(), Contest::default());
    let mut plugins = BTreeMap::new();
    for object in objects.into_iter().filter(|object| object["spec"].is_object()) {
        let plugin = read(object);
        let name = plugin.metadata.name.clone().unwrap();
        let served = serves.get(&name).map(|version| serving(&plugin, version, &Settings::default()));
        let observed = served.unwrap_or_default();
        contest.apply(Offer::of(&plugin, &[]));
        namespace.apply(plugin.clone(), observed);
        plugins.insert(name, plugin);
    }
    let plugin = match last["delete"].as_str() {
        Some(name) => {
            let mut plugin = Plugin::clone(&plugins[name]);
            plugin.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
            Arc::new(plugin)
        }
        None => read(last),
    };
    let name = plugin.metadata.name.clone().unwrap();
    let judged = namespace.judged(&plugin).unwrap_or_else(|| Arc::new(Judged::of(&plugin)));
    let is_left = |flaw: &Flaw| plugins.get(&name).is_some_and(|before| flaw.is_left(before, &plugin));
    let mut lines: Vec<String> = Vec::new();
    if plugin.metadata.deletion_timestamp.is_none() {
        let denied = flaws(&plugin, &judged).into_iter().filter(|flaw| !is_left(flaw));
        lines.extend(denied.map(|flaw| format!("denied: {name}: {flaw}\n")));
    }
    if lines.is_empty() {
        let routes = contest.foresee(&Offer::of(&plugin, &[]));
        let warnings = namespace.foresee(plugin, judged).into_iter().chain(routes);
        lines.extend(warnings.map(|warning| format!("Warning: {name}: {warning}\n")));
    }
    if lines.is_empty() { "nothing\n".to_owned() } else { lines.concat() }
}

fn read(mut object: Value) -> Arc<Plugin> {
    object["metadata"]["namespace"] = json!("shop");
    object["metadata"]["generation"] = json!(1);
    object["spec"].as_object_mut().unwrap().entry("image").or_insert(json!("example/plugin:1"));
    Arc::new(serde_json::from_value(object).unwrap())
}
