//! A test from its beginning to its end.

use std::{panic::AssertUnwindSafe, time::Duration};

use anyhow::{Result, anyhow};
use futures::FutureExt;
use tokio::time::timeout;

use crate::{TestNamespace, cluster::Cluster, dump};

/// No test takes longer unless it says so: one that hangs is dumped like one that fails.
const BOUND: Duration = Duration::from_secs(300);

/// Run `test` in a namespace of its own, see [`run_within`].
pub async fn run(name: &str, test: impl AsyncFnOnce(&TestNamespace) -> Result<()>) {
    run_within(name, BOUND, test).await;
}

/// Run `test` in a namespace of its own, for no longer than `bound`. Where it errs, panics or hangs, everything that could
/// tell why is written into a folder, whose path the failure names, and the namespace stays;
/// otherwise the namespace is deleted.
pub async fn run_within(name: &str, bound: Duration, test: impl AsyncFnOnce(&TestNamespace) -> Result<()>) {
    let namespace = match start(name).await {
        Ok(namespace) => namespace,
        Err(error) => panic!("{name}: {error:#}"),
    };
    let outcome = match timeout(bound, AssertUnwindSafe(test(&namespace)).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(anyhow!("{}", panic_message(panic.as_ref()))),
        Err(_) => Err(anyhow!("did not end within {bound:?}")),
    };
    if let Err(error) = outcome {
        let folder = dump::write(&namespace, name, &format!("{error:#}")).await;
        panic!("{name}: {error:#}\nobjects, events and logs: {}", folder.display());
    }
    if let Err(error) = namespace.delete().await {
        panic!("{name} passed, but its namespace could not be deleted: {error:#}");
    }
}

async fn start(name: &str) -> Result<TestNamespace> {
    TestNamespace::create(Cluster::connect().await?, name).await
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a text").to_owned()
}
