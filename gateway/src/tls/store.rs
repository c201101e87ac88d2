//! The folders that certificates are mounted into.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Table,
    certificate::{Certificate, CertificateError, Files},
};
use crate::mounts::{Mounted, Mounts};

/// What the folders hold.
pub type Store = Mounts<Certificate>;

/// Why a folder gives no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("read \"{}\"", path.display())]
    ReadFile { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Load(#[from] CertificateError),
}

impl Store {
    /// What is to be shown.
    pub fn table(&self) -> Table {
        let mut table = Table::default();
        for (_, certificate) in self.good() {
            table.add(&certificate.key, &certificate.names);
        }
        table
    }

    /// When the first of those that are shown ends, in seconds since 1970.
    pub fn expires(&self) -> Option<i64> {
        self.good().map(|(_, certificate)| certificate.expires).min()
    }
}

impl Mounted for Certificate {
    type Files = Files;
    type Fault = Fault;
    const ALL: &'static str = "certificates";
    const REFUSED: &'static str = "cannot show a certificate";

    /// Both files of one moment: the kubelet replaces the folder behind `..data` whole.
    fn read(folder: &Path) -> Result<Files, Fault> {
        let folder = fs::canonicalize(folder.join("..data")).unwrap_or_else(|_| folder.to_owned());
        let file = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|source| Fault::ReadFile { path, source })
        };
        Ok(Files { chain: file("tls.crt")?, key: file("tls.key")? })
    }

    fn load(files: &Files) -> Result<Self, Fault> {
        Ok(Self::load(files)?)
    }

    fn tell(&self, secret: &str) {
        tracing::info!(secret, names = ?self.names, "shows a certificate");
    }
}
