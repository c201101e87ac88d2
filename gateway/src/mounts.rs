//! What Secrets hold, as the kubelet mounts them: one folder for each, in the order of their names.
//! Each is judged for itself, and the last that was good of each is kept.

use std::{
    collections::BTreeMap,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often the files are looked at. The kubelet takes up to a minute to bring a new Secret.
pub const LOOK: Duration = Duration::from_secs(1);

/// What is made of a folder's files.
pub trait Mounted: Sized {
    /// The files, as they were read.
    type Files: PartialEq;
    /// Why there is nothing.
    type Fault: Error;
    /// What they are called, of all folders.
    const ALL: &'static str;
    /// What is said of one that is no good.
    const REFUSED: &'static str;

    /// Read the files of one moment.
    fn read(folder: &Path) -> Result<Self::Files, Self::Fault>;

    /// Make of them what they are for.
    fn load(files: &Self::Files) -> Result<Self, Self::Fault>;

    /// Log that it counts from now on.
    fn tell(&self, secret: &str);

    /// Whether what was good before goes with this.
    fn takes_away(_: &Self::Fault) -> bool {
        false
    }
}

/// What the folders hold.
pub struct Mounts<T: Mounted> {
    root: PathBuf,
    entries: BTreeMap<String, Entry<T>>,
}

/// One folder.
struct Entry<T: Mounted> {
    /// What was there when it was looked at last.
    seen: Option<T::Files>,
    /// The last that was good.
    good: Option<T>,
    /// Why what is there now does not count.
    fault: Option<String>,
}

/// How many folders are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// What is there counts.
    pub current: u32,
    /// What is there is no good; what was there before counts.
    pub stale: u32,
    /// Nothing of it can count.
    pub missing: u32,
}

impl<T: Mounted> Mounts<T> {
    /// Of a folder of folders. Nothing is read yet.
    pub fn new(root: PathBuf) -> Self {
        Self { root, entries: BTreeMap::new() }
    }

    /// Look at all folders. Whether anything else counts now.
    pub fn refresh(&mut self) -> bool {
        let names = match list(&self.root) {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(folder = %self.root.display(), %error, "cannot list the {}", T::ALL);
                return false;
            }
        };
        let before = self.entries.len();
        self.entries.retain(|name, _| names.contains(name));
        let mut changed = self.entries.len() != before;
        for name in names {
            let folder = self.root.join(&name);
            changed |= self.entries.entry(name.clone()).or_default().refresh(&name, &folder);
        }
        changed
    }

    /// What counts, by the names of the folders.
    pub fn good(&self) -> impl Iterator<Item = (&String, &T)> {
        self.entries.iter().filter_map(|(name, entry)| Some((name, entry.good.as_ref()?)))
    }

    pub fn count(&self) -> Count {
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
}

impl<T: Mounted> Default for Entry<T> {
    fn default() -> Self {
        Self { seen: None, good: None, fault: None }
    }
}

impl<T: Mounted> Entry<T> {
    /// Whether something else counts now.
    fn refresh(&mut self, name: &str, folder: &Path) -> bool {
        let loaded = match T::read(folder) {
            Ok(files) if self.seen.as_ref() == Some(&files) => return false,
            Ok(files) => {
                let loaded = T::load(&files);
                self.seen = Some(files);
                loaded
            }
            Err(fault) => {
                self.seen = None;
                Err(fault)
            }
        };
        match loaded {
            Ok(good) => {
                good.tell(name);
                self.good = Some(good);
                self.fault = None;
                true
            }
            Err(fault) => {
                let gone = T::takes_away(&fault) && self.good.take().is_some();
                let text = chain(&fault);
                if self.fault.as_ref() != Some(&text) {
                    let kept = self.good.is_some();
                    tracing::warn!(secret = name, error = text, kept, "{}", T::REFUSED);
                    self.fault = Some(text);
                }
                gone
            }
        }
    }
}

/// The names of the folders, without the kubelet's own.
fn list(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && entry.path().is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// An error with what it comes from.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
