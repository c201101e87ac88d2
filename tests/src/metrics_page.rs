//! `docs/metrics.md` as data, and what a program tells in the same form. The tests of the operator
//! and of the gateway include this file: neither can know the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A metric as its row on the page has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// As one asks for it; a histogram without `_bucket`, `_sum` and `_count`.
    pub name: String,
    pub kind: String,
    pub labels: BTreeSet<String>,
}

/// The rows of the page whose metrics begin so, sorted.
pub fn rows(prefix: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = fs::read_to_string(path).expect("docs/metrics.md is there");
    let start = format!("| `{prefix}");
    let mut rows: Vec<Row> = page.lines().filter(|line| line.starts_with(&start)).map(row).collect();
    rows.sort();
    rows
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [name, kind, labels, meaning] = cells[..] else { panic!("not name, type, labels, meaning: {line}") };
    assert!(!meaning.is_empty(), "{line}");
    // The words in backquotes; what they mean stands between.
    let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Row { name: name.trim_matches('`').to_owned(), kind: kind.to_owned(), labels }
}

/// The metrics of a text in the OpenMetrics format that has a sample of each, sorted.
pub fn told(text: &str) -> Vec<Row> {
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let asked = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            rows.insert(name, Row { name: asked, kind: kind.to_owned(), labels: BTreeSet::new() });
        } else if !line.starts_with('#') {
            let sample = line.split(['{', ' ']).next().unwrap_or_default();
            let (_, row) = rows.iter_mut().find(|(name, _)| belongs(sample, name)).expect("a type before");
            // What follows is an exemplar, whose labels are its own.
            let sample = line.split(" # {").next().unwrap_or_default();
            row.labels.extend(labels(sample));
        }
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort();
    rows
}

/// Whether a sample is one of a metric's.
fn belongs(sample: &str, metric: &str) -> bool {
    let rest = sample.strip_prefix(metric);
    rest.is_some_and(|rest| ["", "_total", "_bucket", "_sum", "_count"].contains(&rest))
}

/// The names of a sample's labels. `le` belongs to every histogram.
fn labels(line: &str) -> impl Iterator<Item = String> {
    let set = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(set, _)| set);
    let names = set.split("=\"").map(|part| part.rsplit([',', '"']).next().unwrap_or_default());
    names.filter(|name| !name.is_empty() && *name != "le").map(str::to_owned)
}
