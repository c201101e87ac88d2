//! The API server's audit log: which writes there were, by whom, in which order.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The audit log's file.
pub struct Audit {
    path: PathBuf,
}

/// A place in the audit log.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

/// A request that was answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// What was done: create, update, patch, delete.
    pub verb: String,
    /// Who did it.
    pub user: User,
    /// The program that did it.
    #[serde(default)]
    pub user_agent: String,
    /// To what; absent for paths that are no objects.
    #[serde(default)]
    pub object_ref: Target,
    /// How it went.
    #[serde(default)]
    pub response_status: Outcome,
    /// When the request came in, RFC 3339 with microseconds.
    pub request_received_timestamp: String,
    stage: String,
}

/// Who made a request.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// The user's name, `system:serviceaccount:<namespace>:<name>` for pods.
    pub username: String,
    /// What else is known of it: for pods, the pod's name.
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The object of a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Target {
    /// The plural of its kind.
    pub resource: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name; empty for a create, which carries it in the body.
    pub name: String,
    /// What part of it: `status`, `scale`.
    pub subresource: String,
}

/// How a request went.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Outcome {
    /// The HTTP status.
    #[serde(default)]
    pub code: u16,
}

impl Entry {
    /// Whether the request did what it asked for.
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.response_status.code)
    }

    /// Whether a pod with this ServiceAccount made it, for example `forward-operator`.
    pub fn by_account(&self, account: &str) -> bool {
        self.user.username.ends_with(&format!(":{account}"))
    }

    /// The pod whose token it was made with.
    pub fn pod(&self) -> Option<&str> {
        let names = self.user.extra.get("authentication.kubernetes.io/pod-name")?;
        names.first().map(String::as_str)
    }

    /// Whether it was made on objects of this kind, not on a part of them.
    pub fn on(&self, resource: &str) -> bool {
        self.object_ref.resource == resource && self.object_ref.subresource.is_empty()
    }
}

impl Audit {
    /// The log in a file.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The end of the log as it is now.
    pub fn mark(&self) -> Result<Mark> {
        Ok(Mark(self.open()?.metadata()?.len()))
    }

    /// The writes in a namespace since `mark`, in the order in which they came in.
    pub fn since(&self, mark: Mark, namespace: &str) -> Result<Vec<Entry>> {
        let mut file = self.open()?;
        if file.metadata()?.len() < mark.0 {
            bail!("{} has become shorter: it was rotated", self.path.display());
        }
        file.seek(SeekFrom::Start(mark.0))?;
        let mut entries = read(BufReader::new(file))?;
        entries.retain(|entry| entry.stage == "ResponseComplete" && entry.object_ref.namespace == namespace);
        entries.sort_by(|a, b| a.request_received_timestamp.cmp(&b.request_received_timestamp));
        Ok(entries)
    }

    fn open(&self) -> Result<File> {
        File::open(&self.path).with_context(|| format!("open the audit log {}", self.path.display()))
    }
}

/// All entries that are wholly written: the last line may not be yet.
fn read(mut log: impl BufRead) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut line = String::new();
    while log.read_line(&mut line)? > 0 && line.ends_with('\n') {
        entries
            .push(serde_json::from_str(&line).with_context(|| format!("read the audit log's line {line}"))?);
        line.clear();
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"Event","level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/x","verb":"patch","user":{"username":"system:serviceaccount:forward-system:forward-operator","groups":[]},"userAgent":"kube","objectRef":{"resource":"plugins","namespace":"shop","name":"a","apiGroup":"goforward.dev","subresource":"status"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:00.000001Z","stageTimestamp":"2026-01-01T00:00:00.000002Z"}"#;

    #[test]
    fn reads_whole_lines_only() {
        let log = format!("{LINE}\n{}", &LINE[..80]);
        let entries = read(log.as_bytes()).unwrap();
        assert_eq!(entries.len(), 1);
        assert!(entries[0].succeeded() && entries[0].by_account("forward-operator"));
        assert!(!entries[0].on("plugins"), "a write to the status is not one to the plugin");
    }

    #[test]
    fn reads_requests_without_object() {
        let line = r#"{"stage":"ResponseComplete","verb":"create","user":{"username":"a"},"requestReceivedTimestamp":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(read(format!("{line}\n").as_bytes()).unwrap()[0].object_ref.resource, "");
    }
}
