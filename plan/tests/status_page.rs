//! The page about status holds every reason that there is and no other.
#![expect(clippy::disallowed_methods, reason = "the test reads the page")]

use std::{collections::BTreeSet, fs, path::Path};

use forward_plan::ConditionReason;

#[test]
fn page_explains_every_reason_once_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/status.md");
    let page = fs::read_to_string(path).expect("docs/status.md is there");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let explained: Vec<&str> = rows.map(|(reason, _)| reason).collect();
    let known: BTreeSet<&str> = ConditionReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(explained.iter().copied().collect::<BTreeSet<_>>(), known);
    assert_eq!(explained.len(), known.len(), "a reason stands there twice");
}

#[test]
fn every_row_says_what_to_do() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/status.md");
    let page = fs::read_to_string(path).expect("docs/status.md is there");
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
    }
}
