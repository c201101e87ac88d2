//! The folders that sets of keys are mounted into: one for each Secret, with a `keys.yaml`. The last
//! good set of each is kept while there is a file; a Secret that is taken away takes its keys along.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{JoinError, spawn_blocking},
    time::sleep,
};

use super::{
    Callers,
    document::{DocumentError, KeySet},
};
use crate::{
    metrics::Calls,
    tls::store::{Count, list},
};

/// The file of a Secret.
const FILE: &str = "keys.yaml";
/// How often the files are looked at. The kubelet takes up to a minute to bring a new Secret.
const LOOK: Duration = Duration::from_secs(1);

/// What the folders hold.
pub struct Store {
    root: PathBuf,
    entries: BTreeMap<String, Entry>,
}

/// One folder.
#[derive(Default)]
struct Entry {
    /// What was there when it was looked at last.
    seen: Option<Vec<u8>>,
    /// The last that was good.
    good: Option<Arc<KeySet>>,
    /// Why what is there now does not count.
    fault: Option<String>,
}

/// Why a folder gives no keys.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("find \"{}\"", .0.display())]
    Find(PathBuf),
    #[error("read \"{}\": {source}", path.display())]
    ReadFile { path: PathBuf, source: io::Error },
    #[error("read \"{FILE}\": it is not UTF-8")]
    Decode,
    #[error(transparent)]
    Parse(#[from] DocumentError),
}

impl Store {
    /// Of a folder of folders. Nothing is read yet.
    pub fn new(root: PathBuf) -> Self {
        Self { root, entries: BTreeMap::new() }
    }

    /// Look at all folders, and let callers be known by what they hold from now on.
    pub fn refresh(&mut self, callers: &Callers) -> Count {
        match list(&self.root) {
            Ok(names) => {
                self.entries.retain(|name, _| names.contains(name));
                for name in names {
                    let folder = self.root.join(&name);
                    self.entries.entry(name.clone()).or_default().refresh(&name, &folder);
                }
            }
            Err(error) => {
                tracing::warn!(folder = %self.root.display(), %error, "cannot list the sets of keys")
            }
        }
        let good = self.entries.iter().filter_map(|(name, entry)| Some((name.clone(), entry.good.clone()?)));
        callers.fill(&good.collect());
        self.count()
    }

    fn count(&self) -> Count {
        let mut count = Count::default();
        for Entry { seen: _, good, fault } in self.entries.values() {
            match (good, fault) {
                (Some(_), None) => count.current += 1,
                (Some(_), Some(_)) => count.stale += 1,
                (None, _) => count.missing += 1,
            }
        }
        count
    }

    /// Follow the files until dropped. Ends only with an error.
    pub async fn follow(mut self, callers: Arc<Callers>, calls: Calls) -> Result<(), JoinError> {
        loop {
            sleep(LOOK).await;
            let callers = callers.clone();
            let (store, count) = spawn_blocking(move || {
                let count = self.refresh(&callers);
                (self, count)
            })
            .await?;
            self = store;
            calls.key_sets(count);
        }
    }
}

impl Entry {
    fn refresh(&mut self, name: &str, folder: &Path) {
        let loaded = match read(folder) {
            Ok(bytes) if self.seen.as_ref() == Some(&bytes) => return,
            Ok(bytes) => {
                let text = std::str::from_utf8(&bytes).map_err(|_| Fault::Decode);
                let loaded = text.and_then(|text| Ok(KeySet::parse(text)?));
                self.seen = Some(bytes);
                loaded
            }
            Err(fault) => {
                self.seen = None;
                Err(fault)
            }
        };
        match loaded {
            Ok(set) => {
                tracing::info!(secret = name, keys = set.len(), "knows callers by a set of keys");
                *self = Self { seen: self.seen.take(), good: Some(Arc::new(set)), fault: None };
            }
            Err(fault) => {
                // Who takes the Secret away takes the keys away.
                if matches!(fault, Fault::Find(_)) {
                    self.good = None;
                }
                let text = fault.to_string();
                if self.fault.as_ref() != Some(&text) {
                    let kept = self.good.is_some();
                    tracing::warn!(secret = name, error = text, kept, "cannot use a set of keys");
                    self.fault = Some(text);
                }
            }
        }
    }
}

/// The file of one moment. The kubelet replaces what is behind `..data`, and then deletes what was
/// there: who is in between looks again.
fn read(folder: &Path) -> Result<Vec<u8>, Fault> {
    let path = folder.join(FILE);
    let again = |error: &io::Error| error.kind() == ErrorKind::NotFound;
    let bytes = fs::read(&path).or_else(|error| if again(&error) { fs::read(&path) } else { Err(error) });
    bytes.map_err(|source| match source.kind() {
        ErrorKind::NotFound => Fault::Find(path),
        _ => Fault::ReadFile { path, source },
    })
}
