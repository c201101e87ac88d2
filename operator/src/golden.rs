//! Cases in `tests/cases/<folder>`: `<name>.yaml` goes in, `<name>.<kind>.yaml` must come out.
//! `UPDATE_GOLDEN=1` writes the latter.

use std::{fs, path::Path};

use serde::de::DeserializeOwned;

/// Run every case, of which there are at least `least`; an answer without its case is an error.
pub fn check<C: DeserializeOwned>(folder: &str, kind: &str, least: usize, run: impl Fn(C) -> String) {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(folder);
    let mut count = 0;
    for entry in fs::read_dir(&cases).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some(case) = name.strip_suffix(&format!(".{kind}.yaml")) {
            assert!(cases.join(format!("{case}.yaml")).exists(), "{name} has no case");
            continue;
        }
        let case = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let actual = run(case);
        let golden = cases.join(name.replace(".yaml", &format!(".{kind}.yaml")));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &actual).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(actual, expected, "{name}");
        count += 1;
    }
    assert!(count >= least, "only {count} cases");
}
