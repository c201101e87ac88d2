//! Ranges mean what they mean to npm, on every row of a table that npm's own program made.
#![expect(clippy::disallowed_methods, reason = "the test reads the table")]
#![expect(clippy::unwrap_used, reason = "a table that cannot be read fails")]

use std::{fs, path::Path};

use forward_plan::Range;
use semver::{Version, VersionReq};

struct Row {
    range: String,
    version: Version,
    satisfies: bool,
}

fn table() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/semver/oracle.tsv");
    let text = fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        let [range, version, satisfies] = cells[..] else { panic!("not a row: {line:?}") };
        Row {
            range: range.to_owned(),
            version: Version::parse(version).unwrap(),
            satisfies: satisfies.parse().unwrap(),
        }
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn ranges_have_in_them_what_npm_says() {
    let table = table();
    let yes = table.iter().filter(|row| row.satisfies).count();
    assert!(table.len() >= 5_000 && yes >= 2_000 && table.len() - yes >= 2_000, "the table says too little");
    let prereleases = table.iter().filter(|row| row.satisfies && !row.version.pre.is_empty()).count();
    assert!(prereleases >= 1_000, "only {prereleases} rows in which a pre-release is in the range");
    let wrong = |row: &&Row| Range::parse(&row.range).unwrap().accepts(&row.version) != row.satisfies;
    let wrong: Vec<String> = table
        .iter()
        .filter(wrong)
        .map(|row| format!("{} in {:?}: npm says {}", row.version, row.range, row.satisfies))
        .collect();
    assert!(wrong.is_empty(), "{} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Why there is matching of our own. When the crate agrees on every row this can go.
#[test]
fn crate_says_no_where_npm_says_yes_and_never_the_other_way_round() {
    let differs = |row: &&Row| VersionReq::parse(&row.range).unwrap().matches(&row.version) != row.satisfies;
    let table = table();
    let different: Vec<&Row> = table.iter().filter(differs).collect();
    assert!(!different.is_empty());
    for row in different {
        assert!(row.satisfies && !row.version.pre.is_empty(), "{} in {:?}", row.version, row.range);
        assert!(row.range.contains(','), "{} in {:?}", row.version, row.range);
    }
}
