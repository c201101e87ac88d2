//! The folders that sets of keys are mounted into, each with a `keys.yaml`. A Secret that is taken
//! away takes its keys along.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
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
    mounts::{Count, LOOK, Mounted, Mounts},
};

/// The file of a Secret.
const FILE: &str = "keys.yaml";

/// What the folders hold.
pub struct Store(Mounts<Arc<KeySet>>);

/// Why a folder gives no keys.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("find \"{}\"", .0.display())]
    Find(PathBuf),
    #[error("read \"{}\"", path.display())]
    ReadFile { path: PathBuf, source: io::Error },
    #[error("read \"{FILE}\": it is not UTF-8")]
    Decode,
    #[error(transparent)]
    Parse(#[from] DocumentError),
}

impl Store {
    /// Of a folder of folders. Nothing is read yet.
    pub fn new(root: PathBuf) -> Self {
        Self(Mounts::new(root))
    }

    /// Look at all folders, and let callers be known by what they hold from now on.
    pub fn refresh(&mut self, callers: &Callers) -> Count {
        let Self(mounts) = self;
        mounts.refresh();
        callers.fill(&mounts.good().map(|(name, keys)| (name.clone(), keys.clone())).collect());
        mounts.count()
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

impl Mounted for Arc<KeySet> {
    type Files = Vec<u8>;
    type Fault = Fault;
    const ALL: &'static str = "sets of keys";
    const REFUSED: &'static str = "cannot use a set of keys";

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

    fn load(bytes: &Vec<u8>) -> Result<Self, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|_| Fault::Decode)?;
        Ok(Self::new(KeySet::parse(text)?))
    }

    fn tell(&self, secret: &str) {
        tracing::info!(secret, keys = self.len(), "knows callers by a set of keys");
    }

    /// Who takes the Secret away takes the keys away.
    fn takes_away(fault: &Fault) -> bool {
        matches!(fault, Fault::Find(_))
    }
}
