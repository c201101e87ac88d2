//! The program of `tests/gitops`, which says what Flux, Helm and Argo CD make of an object. It is
//! built once and lies in the user's cache under a hash of its sources.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{exec, machine, paths, progress::Step};

/// What decides what the program is.
const SOURCES: [&str; 4] = ["go.mod", "go.sum", "argo.go", "main.go"];

/// The program, built if it is not there.
pub fn ensure() -> Result<PathBuf> {
    let parent = paths::cache()?.join("gitops");
    let program = parent.join(hash()?);
    if program.exists() {
        return Ok(program);
    }
    machine::check_go()?;
    fs::create_dir_all(&parent)?;
    let lock = File::create(parent.join("lock"))?;
    let step = Step::begin("building what asks kstatus and Argo CD's Lua (once a machine)");
    step.detail("another build is running");
    lock.lock()?;
    if !program.exists() {
        let unfinished = parent.join(format!("unfinished-{}", std::process::id()));
        let mut go = go(&["build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-o"]);
        exec::output(go.arg(&unfinished).arg("."))?;
        fs::rename(&unfinished, &program)?;
    }
    step.done();
    Ok(program)
}

fn go(arguments: &[&str]) -> Command {
    let mut go = Command::new("go");
    go.args(arguments).current_dir(source()).env("CGO_ENABLED", "0").env("GOFLAGS", "");
    go
}

fn hash() -> Result<String> {
    let mut hash = Sha256::new();
    for file in SOURCES {
        let path = source().join(file);
        hash.update(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn source() -> PathBuf {
    paths::repository().join("tests/gitops")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_answers_a_line_with_a_line() -> Result<()> {
        let check = paths::repository().join("docs/argocd/health.yaml");
        let object = r#"{"apiVersion": "goforward.dev/v1alpha1", "kind": "Plugin",
                         "metadata": {"name": "p", "generation": 1},
                         "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]}}"#;
        let said = exec::feed(Command::new(ensure()?).arg(check), &object.replace('\n', ""))?;
        let said: serde_json::Value = serde_json::from_str(&said)?;
        assert_eq!(
            (&said["kstatus"]["status"], &said["argo"]["status"]),
            (&"Current".into(), &"Healthy".into())
        );
        Ok(())
    }

    #[test]
    fn statuses_mean_to_tools_what_they_should() -> Result<()> {
        machine::check_go()?;
        // Go's cache does not notice changes of what lies outside of the module: the Lua, and the
        // golden statuses.
        exec::output(&mut go(&["test", "-count=1", "-mod=readonly", "./..."])).map(drop)
    }
}
