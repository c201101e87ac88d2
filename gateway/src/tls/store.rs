//! The folders that certificates are mounted into: one for each Secret, in the order of their
//! names. Each is judged for itself, and the last good certificate of each is kept.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Table,
    certificate::{Certificate, CertificateError, Files},
};

/// What the folders hold.
pub struct Store {
    root: PathBuf,
    entries: BTreeMap<String, Entry>,
}

/// One folder.
#[derive(Default)]
struct Entry {
    /// What was there when it was looked at last.
    seen: Option<Files>,
    /// The last that was good.
    good: Option<Certificate>,
    /// Why what is there now is not shown.
    fault: Option<String>,
}

/// How many folders are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// What is there is shown.
    pub current: u32,
    /// What is there is no good; what was there before is shown.
    pub stale: u32,
    /// Nothing of it can be shown.
    pub missing: u32,
}

/// Why a folder gives no certificate.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("read \"{}\"", path.display())]
    ReadFile { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Load(CertificateError),
}

impl Store {
    /// Of a folder of folders. Nothing is read yet.
    pub fn new(root: PathBuf) -> Self {
        Self { root, entries: BTreeMap::new() }
    }

    /// Look at all folders. Whether anything else is to be shown now.
    pub fn refresh(&mut self) -> bool {
        let names = match list(&self.root) {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(folder = %self.root.display(), %error, "cannot list the certificates");
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

    /// What is to be shown.
    pub fn table(&self) -> Table {
        let mut table = Table::default();
        for certificate in self.good() {
            table.add(&certificate.key, &certificate.names);
        }
        table
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

    /// When the first of those that are shown ends, in seconds since 1970.
    pub fn expires(&self) -> Option<i64> {
        self.good().map(|certificate| certificate.expires).min()
    }

    fn good(&self) -> impl Iterator<Item = &Certificate> {
        self.entries.values().filter_map(|entry| entry.good.as_ref())
    }
}

/// The names of the folders, without the kubelet's own.
pub fn list(root: &Path) -> io::Result<Vec<String>> {
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

impl Entry {
    /// Whether another certificate is to be shown now.
    fn refresh(&mut self, name: &str, folder: &Path) -> bool {
        let loaded = match read(folder) {
            Ok(files) if self.seen.as_ref() == Some(&files) => return false,
            Ok(files) => {
                let loaded = Certificate::load(&files).map_err(Fault::Load);
                self.seen = Some(files);
                loaded
            }
            Err(fault) => {
                self.seen = None;
                Err(fault)
            }
        };
        match loaded {
            Ok(certificate) => {
                tracing::info!(secret = name, names = ?certificate.names, "shows a certificate");
                self.good = Some(certificate);
                self.fault = None;
                true
            }
            Err(fault) => {
                let text = chain(&fault);
                if self.fault.as_ref() != Some(&text) {
                    let kept = self.good.is_some();
                    tracing::warn!(secret = name, error = text, kept, "cannot show a certificate");
                    self.fault = Some(text);
                }
                false
            }
        }
    }
}

/// Both files of one moment: the kubelet replaces the folder behind `..data` whole.
fn read(folder: &Path) -> Result<Files, Fault> {
    let folder = fs::canonicalize(folder.join("..data")).unwrap_or_else(|_| folder.to_owned());
    let file = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|source| Fault::ReadFile { path, source })
    };
    Ok(Files { chain: file("tls.crt")?, key: file("tls.key")? })
}

/// An error with what it comes from.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
