//! The page about configuration shows messages as they really come.
#![expect(clippy::disallowed_methods, reason = "the test reads the page and the reports")]

use std::{fs, path::Path};

#[test]
fn messages_on_the_page_are_those_of_golden_cases() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../docs/config.md")).unwrap();
    let cases = fs::read_dir(root.join("tests/cases")).unwrap();
    let reports = cases.map(|case| fs::read_to_string(case.unwrap().path().join("report.txt")).unwrap());
    let reports: String = reports.collect();
    let blocks = page.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let messages: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(messages.len() >= 4, "only {} messages", messages.len());
    for message in messages {
        assert!(reports.contains(&format!(": {message}\n")), "no plugin says: {message}");
    }
}
