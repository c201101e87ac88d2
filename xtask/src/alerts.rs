//! The chart's alerts and dashboard: Prometheus's own checker reads the alerts and runs their tests,
//! and every metric that they ask for is one that `docs/metrics.md` lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
    process::{self, Command},
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{exec, machine, paths};

const RULES: &str = "charts/goforward/files/rules.yaml";
const DASHBOARDS: &str = "charts/goforward/files/dashboards";
const CASES: &str = "tests/cases/alerts";

fn promtool(arguments: &[&str], files: &[PathBuf]) -> Result<String> {
    exec::output(Command::new(machine::promtool()?).args(arguments).args(files))
}

/// The files of a folder below the repository.
fn files(folder: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(paths::repository().join(folder))?;
    let files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    ensure!(!files.is_empty(), "nothing is in {folder}");
    Ok(files)
}

/// The metrics that the page lists, with their types.
fn listed() -> Result<BTreeMap<String, String>> {
    let page = fs::read_to_string(paths::repository().join("docs/metrics.md"))?;
    let row = |line: &str| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
    };
    Ok(page.lines().filter_map(row).collect())
}

/// Every name of a metric of ours in a text.
fn asked(text: &str) -> BTreeSet<&str> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let is_ours = |word: &&str| word.starts_with("forward_operator_") || word.starts_with("forward_gateway_");
    words.filter(is_ours).collect()
}

fn is_listed(name: &str, listed: &BTreeMap<String, String>) -> bool {
    let parts = ["_bucket", "_count", "_sum"].iter().filter_map(|part| name.strip_suffix(part));
    let of_a_histogram = |metric: &str| listed.get(metric).is_some_and(|kind| kind == "histogram");
    listed.get(name).is_some_and(|kind| kind != "histogram") || parts.into_iter().any(of_a_histogram)
}

/// All queries of a dashboard.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| queries(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

#[test]
fn alerts_are_ones_that_prometheus_accepts() -> Result<()> {
    let said = promtool(&["check", "rules"], &[paths::repository().join(RULES)])?;
    ensure!(said.contains("SUCCESS"), "{said}");
    Ok(())
}

#[test]
fn alerts_fire_when_they_should_and_not_before() -> Result<()> {
    promtool(&["test", "rules"], &files(CASES)?).map(drop)
}

#[test]
fn dashboard_asks_what_prometheus_understands() -> Result<()> {
    for dashboard in files(DASHBOARDS)? {
        let mut found = Vec::new();
        queries(&serde_json::from_slice(&fs::read(&dashboard)?)?, &mut found);
        ensure!(found.len() > 10, "only {found:?} in {}", dashboard.display());
        // What Grafana puts in is a duration. The checker reads rules, so each query becomes one.
        let rule = |(number, query): (usize, &String)| {
            let query = query.replace("$__rate_interval", "5m");
            json!({"record": format!("query:{number}"), "expr": query})
        };
        let rules: Vec<_> = found.iter().enumerate().map(rule).collect();
        let file = env::temp_dir().join(format!("forward-queries-{}.yaml", process::id()));
        fs::write(&file, json!({"groups": [{"name": "queries", "rules": rules}]}).to_string())?;
        let checked = promtool(&["check", "rules"], std::slice::from_ref(&file));
        fs::remove_file(&file)?;
        checked?;
    }
    Ok(())
}

#[test]
fn every_alert_has_a_test_and_is_explained() -> Result<()> {
    let rules = fs::read_to_string(paths::repository().join(RULES))?;
    let names: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let page = fs::read_to_string(paths::repository().join("docs/operations.md"))?;
    let explained = page.lines().filter_map(|line| line.strip_prefix("| `Forward")?.split_once("` | "));
    let explained: BTreeSet<_> = explained.map(|(rest, _)| format!("Forward{rest}")).collect();
    assert_eq!(explained, names.iter().copied().map(str::to_owned).collect::<BTreeSet<_>>());
    let mut cases = String::new();
    for file in files(CASES)? {
        cases += &fs::read_to_string(file)?;
    }
    let untested: Vec<_> =
        names.iter().filter(|name| !cases.contains(&format!("- alertname: {name}\n"))).collect();
    ensure!(untested.is_empty(), "no test says when these fire: {untested:?}");
    Ok(())
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() -> Result<()> {
    let listed = listed()?;
    ensure!(listed.len() > 20, "the page lists only {listed:?}");
    let mut sources = files(DASHBOARDS)?;
    sources.extend(files(CASES)?);
    sources.push(paths::repository().join(RULES));
    for source in sources {
        let text = fs::read_to_string(&source)?;
        let asked = asked(&text);
        ensure!(!asked.is_empty(), "{} asks for nothing", source.display());
        let unknown: Vec<_> = asked.iter().filter(|name| !is_listed(name, &listed)).collect();
        ensure!(unknown.is_empty(), "{} asks for {unknown:?}", source.display());
    }
    Ok(())
}
