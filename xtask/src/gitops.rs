//! The program of `tests/gitops`, which says what Flux, Helm and Argo CD make of an object.

use std::path::PathBuf;

use anyhow::Result;

use crate::go::Program;

const PROGRAM: Program = Program {
    name: "gitops",
    sources: &["go.mod", "go.sum", "argo.go", "main.go"],
    package: ".",
    purpose: "building what asks kstatus and Argo CD's Lua (once a machine)",
};

/// The program, built if it is not there.
pub fn ensure() -> Result<PathBuf> {
    PROGRAM.ensure()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::{exec, machine, paths};

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
        exec::output(&mut PROGRAM.go(&["test", "-count=1", "-mod=readonly", "./..."])).map(drop)
    }
}
