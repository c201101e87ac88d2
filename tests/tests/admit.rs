//! What the API server says to manifests: each case in `cases/admit` is created with strict field
//! validation, without being stored, and its exact answer compared. An accepted object is shown
//! with its defaults.

use anyhow::{Context, Result, bail};
use forward_tests::{TestNamespace, golden, run};
use http::Request;
use kube::core::Status;
use serde_json::Value;

#[tokio::test]
async fn answers_manifests_as_the_golden_files_say() {
    run("admit", async |ns| {
        let mut wrong = Vec::new();
        for case in golden::cases("admit")? {
            let actual = answer(ns, &case.input).await.with_context(|| format!("case {}", case.name))?;
            if let Err(error) = case.check(&actual) {
                wrong.push(format!("{error:#}"));
            }
        }
        if !wrong.is_empty() {
            bail!("{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
        }
        Ok(())
    })
    .await;
}

/// What the API server answers to the creation of an object.
async fn answer(ns: &TestNamespace, manifest: &str) -> Result<String> {
    let object: Value = serde_saphyr::from_str(manifest)?;
    let plural = format!("{}s", object["kind"].as_str().context("kind")?.to_lowercase());
    let path = format!(
        "/apis/goforward.dev/v1alpha1/namespaces/{}/{plural}?dryRun=All&fieldValidation=Strict",
        ns.name
    );
    let request =
        Request::post(path).header("content-type", "application/json").body(serde_json::to_vec(&object)?)?;
    match ns.cluster.client.request::<Value>(request).await {
        Ok(stored) => Ok(format!("accepted\n\n{}", serde_saphyr::to_string(&stored["spec"])?)),
        Err(kube::Error::Api(status)) => Ok(refusal(&status)),
        Err(error) => Err(error.into()),
    }
}

/// The answer in lines: what is wrong with each field, sorted, for the API server goes through
/// fields in no order.
fn refusal(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut lines: Vec<_> = causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    lines.sort();
    if lines.is_empty() {
        lines.push(status.message.clone());
    }
    format!("refused: {} {}\n\n{}\n", status.code, status.reason, lines.join("\n"))
}
