//! The operator's calls to the API server, as its audit log has them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Deserialize;

/// The audit log. Only the operator's calls are in it.
pub struct Calls {
    log: PathBuf,
}

/// A place in it.
#[derive(Clone, Copy)]
pub struct Mark(u64);

/// Calls by what they did: `patch plugins/status`.
pub type Counts = BTreeMap<String, usize>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    verb: String,
    #[serde(default)]
    object_ref: Target,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Target {
    resource: String,
    subresource: String,
}

impl Calls {
    pub fn new(log: &Path) -> Self {
        Self { log: log.to_owned() }
    }

    pub fn mark(&self) -> Result<Mark> {
        Ok(Mark(self.open()?.metadata()?.len()))
    }

    /// What was called since, without lists and watches: those are a few for each kind, whatever there is.
    pub fn since(&self, mark: Mark) -> Result<Counts> {
        let mut file = self.open()?;
        file.seek(SeekFrom::Start(mark.0))?;
        let mut counts = Counts::new();
        for line in BufReader::new(file).lines() {
            let Entry { verb, object_ref: Target { resource, subresource } } =
                serde_json::from_str(&line?).context("read a line of the audit log")?;
            if !["list", "watch"].contains(&verb.as_str()) {
                let part = if subresource.is_empty() { subresource } else { format!("/{subresource}") };
                *counts.entry(format!("{verb} {resource}{part}")).or_default() += 1;
            }
        }
        Ok(counts)
    }

    fn open(&self) -> Result<File> {
        File::open(&self.log).with_context(|| format!("open the audit log {}", self.log.display()))
    }
}

/// Of these, how many read and how many write.
pub fn reads_and_writes(counts: &Counts) -> (usize, usize) {
    let (reads, writes): (Vec<_>, Vec<_>) = counts.iter().partition(|(what, _)| what.starts_with("get "));
    let total = |counts: Vec<(&String, &usize)>| counts.into_iter().map(|(_, count)| count).sum();
    (total(reads), total(writes))
}
