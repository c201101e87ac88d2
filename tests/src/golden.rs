//! Golden files: a case's input, and beside it what came of it when somebody last looked.
//! `UPDATE_GOLDEN=1` writes what comes of it now.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// One case: an input file and where its golden file is.
pub struct Case {
    /// The file's name without its ending.
    pub name: String,
    /// What the input file holds.
    pub input: String,
    golden: PathBuf,
}

/// The cases of a folder below `tests/cases`: each `<name>.yaml`, sorted. A golden file without
/// its input is an error.
pub fn cases(folder: &str) -> Result<Vec<Case>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(folder);
    let (mut inputs, mut goldens) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_stem().context("a name")?.to_string_lossy().into_owned();
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("yaml") => inputs.insert(name),
            Some("txt") => goldens.insert(name),
            _ => bail!("{} is neither a case nor a golden file", path.display()),
        };
    }
    let orphans: Vec<_> = goldens.difference(&inputs).collect();
    if !orphans.is_empty() {
        bail!("golden files without a case in {}: {orphans:?}", folder.display());
    }
    inputs
        .into_iter()
        .map(|name| {
            let input = folder.join(format!("{name}.yaml"));
            let golden = folder.join(format!("{name}.txt"));
            Ok(Case { input: fs::read_to_string(input)?, golden, name })
        })
        .collect()
}

impl Case {
    /// Compare what came of the case with its golden file, or write that file.
    pub fn check(&self, actual: &str) -> Result<()> {
        if env::var_os("UPDATE_GOLDEN").is_some() {
            return fs::write(&self.golden, actual).context("write the golden file");
        }
        let expected = fs::read_to_string(&self.golden)
            .with_context(|| format!("{} is missing: run with UPDATE_GOLDEN=1", self.golden.display()))?;
        if actual != expected {
            bail!("case {}: expected\n{expected}\nbut got\n{actual}", self.name);
        }
        Ok(())
    }
}
