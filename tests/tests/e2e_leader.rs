//! The operator's replica that leads dies, hangs or is cut off. These tests disturb everything else,
//! so they stand alone in this file and go one after the other.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use forward_tests::{
    Entry, Mark, TestNamespace, at_once, await_until, plugin, restarts_of, run, seconds, signal, started,
    xtask,
};
use tokio::sync::Mutex;

/// One at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

const LENGTH: usize = 6;

/// Plugins that come up one after the other, a second each, until the second one has.
async fn begin_chain(ns: &TestNamespace) -> Result<Mark> {
    let begin = ns.cluster.audit()?.mark()?;
    for number in 0..LENGTH {
        let link = plugin(&format!("link-{number}")).config("initializeDelay", "1s");
        let link = if number == 0 { link } else { link.needs(&format!("link-{}", number - 1)) };
        ns.apply(&link).await?;
    }
    ns.await_plugin("link-1", "to be ready", seconds(60), started).await?;
    Ok(begin)
}

async fn end_chain(ns: &TestNamespace) -> Result<()> {
    for number in 0..LENGTH {
        ns.await_plugin(&format!("link-{number}"), "to be ready", seconds(120), started).await?;
    }
    Ok(())
}

/// Wait until another replica than `before` leads.
async fn await_successor(ns: &TestNamespace, before: &str) -> Result<String> {
    let mut leader = String::new();
    await_until("another replica to lead", seconds(30), async || {
        leader = ns.cluster.leader().await?;
        ensure!(leader != before, "{before} leads");
        Ok(())
    })
    .await?;
    Ok(leader)
}

/// Writes in the test's namespace since a mark, by the pod of the operator that made them.
fn writes(ns: &TestNamespace, since: Mark) -> Result<Vec<(String, Entry)>> {
    let entries = ns.cluster.audit()?.since(since, &ns.name)?;
    let ours = entries.into_iter().filter(|entry| entry.by_account("forward-operator"));
    ours.map(|entry| Ok((entry.pod().context("the pod that wrote")?.to_owned(), entry))).collect()
}

/// The one that led wrote nothing any more once the other one had begun, and no Deployment was made
/// twice.
fn check_writes(ns: &TestNamespace, since: Mark, before: &str, successor: &str) -> Result<()> {
    let writes = writes(ns, since)?;
    let begun = writes.iter().position(|(pod, _)| pod == successor).context("the successor wrote")?;
    let late: Vec<_> = writes[begun..].iter().filter(|(pod, _)| pod == before).collect();
    ensure!(late.is_empty(), "{before} wrote after {successor} had begun: {late:#?}");
    ensure!(begun > 0, "{before} had written nothing");
    let mut made = BTreeMap::<_, usize>::new();
    for (_, entry) in writes.iter().filter(|(_, entry)| entry.on("deployments") && entry.succeeded()) {
        *made.entry(&entry.object_ref.name).or_default() += 1;
    }
    ensure!(made.len() == LENGTH && made.values().all(|count| *count == 1), "{made:?}");
    Ok(())
}

#[tokio::test]
async fn a_leader_whose_pod_is_killed_is_followed() {
    let _alone = ALONE.lock().await;
    run("a_leader_whose_pod_is_killed_is_followed", async |ns| {
        let begin = begin_chain(ns).await?;
        let killed = ns.cluster.leader().await?;
        ns.cluster.system_pods().delete(&killed, &at_once()).await?;
        let successor = await_successor(ns, &killed).await?;
        end_chain(ns).await?;
        check_writes(ns, begin, &killed, &successor)
    })
    .await;
}

#[tokio::test]
async fn a_leader_whose_process_is_killed_goes_on() {
    let _alone = ALONE.lock().await;
    run("a_leader_whose_process_is_killed_goes_on", async |ns| {
        begin_chain(ns).await?;
        let killed = ns.cluster.leader().await?;
        let pod = ns.cluster.system_pods().get(&killed).await?;
        signal(&pod, "KILL")?;
        await_until("the container to be started again", seconds(60), async || {
            let now = ns.cluster.system_pods().get(&killed).await?;
            ensure!(restarts_of(&now) > restarts_of(&pod), "it runs on");
            Ok(())
        })
        .await?;
        end_chain(ns).await
    })
    .await;
}

/// As a process that swaps, or a machine that is moved: it knows of nothing when it goes on.
#[tokio::test]
async fn a_leader_that_hangs_and_goes_on_writes_nothing_any_more() {
    let _alone = ALONE.lock().await;
    run("a_leader_that_hangs_and_goes_on_writes_nothing_any_more", async |ns| {
        let begin = begin_chain(ns).await?;
        let stopped = ns.cluster.leader().await?;
        let pod = ns.cluster.system_pods().get(&stopped).await?;
        signal(&pod, "STOP")?;
        let successor = await_successor(ns, &stopped).await;
        signal(&pod, "CONT")?;
        end_chain(ns).await?;
        check_writes(ns, begin, &stopped, &successor?)
    })
    .await;
}

/// Cut a pod's way to the API server, in the cluster's network, under a name by which it is mended.
async fn cut(ns: &TestNamespace, pod: &str) -> Result<()> {
    let pod = ns.cluster.system_pods().get(pod).await?;
    let address = pod.status.and_then(|status| status.pod_ip).context("the pod has an address")?;
    let rules = format!(
        "table ip forward_cut {{ chain cut {{ type filter hook prerouting priority raw; \
         ip saddr {address} ip daddr 10.96.0.1 drop; }}; }}"
    );
    nft(&rules).await
}

async fn mend() -> Result<()> {
    nft("delete table ip forward_cut").await
}

async fn nft(rules: &str) -> Result<()> {
    let cluster = std::env::var("FORWARD_CLUSTER").context("FORWARD_CLUSTER names the cluster")?;
    xtask(&["cluster", "--name", &cluster, "run", "--inside", "--", "nft", rules]).await.map(drop)
}

#[tokio::test]
async fn a_leader_that_is_cut_off_is_followed_and_its_last_words_are_lost() {
    let _alone = ALONE.lock().await;
    run("a_leader_that_is_cut_off_is_followed_and_its_last_words_are_lost", async |ns| {
        let begin = begin_chain(ns).await?;
        let before = ns.cluster.leader().await?;
        cut(ns, &before).await?;
        let followed = follow(ns, &before).await;
        mend().await?;
        let successor = followed?;
        // What its kernel still held would be sent again now, at the latest after as long as the cut was.
        tokio::time::timeout(CUT, std::future::pending::<()>()).await.ok();
        ensure!(ns.cluster.leader().await? == successor, "the Lease went back");
        check_writes(ns, begin, &before, &successor)
    })
    .await;
}

/// How long the cut is at least: longer than the Lease, and long enough to bring a chain up.
const CUT: Duration = Duration::from_secs(15);

/// What happens while `before` is cut off: another one leads, and brings the rest up.
async fn follow(ns: &TestNamespace, before: &str) -> Result<String> {
    let begun = Instant::now();
    let successor = await_successor(ns, before).await?;
    end_chain(ns).await?;
    tokio::time::sleep_until((begun + CUT).into()).await;
    Ok(successor)
}
