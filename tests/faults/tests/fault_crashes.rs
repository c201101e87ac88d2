//! The operator dies right after a write, whichever: the end is the same, and no step breaks order.
//!
//! The state after a write is the same whoever died before it. So one run in which the operator dies
//! after each single write stands for as many runs in which it dies once.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use forward_faults::{
    Call, Plan, Site, run_on_site,
    scenario::{Course, same_as, undisturbed},
};
use forward_tests::seconds;

/// How long each part of the scenario may take, with all the deaths in it.
const PART: std::time::Duration = seconds(120);

/// Go through the scenario while the operator is killed after every `every`th write; answers after
/// which writes it was.
async fn killed(site: &Site<'_>, course: &Course, every: usize) -> Result<Vec<Call>> {
    let (from, fatal) = (site.proxy.count(), site.proxy.fatal().len());
    site.proxy.follow(Plan { kill_every: Some(every), ..Plan::default() });
    same_as(site, course, PART).await.with_context(|| format!("killed after every {every} writes"))?;
    let (writes, fatal) = (site.proxy.steps(from), site.proxy.fatal().split_off(fatal));
    site.heal();
    eprintln!("killed {} times in {} writes; undisturbed: {}", fatal.len(), writes.len(), course.steps.len());
    ensure!(fatal.len() >= writes.len() / every, "{} writes, killed {} times", writes.len(), fatal.len());
    Ok(fatal)
}

/// Writes by what they are on. Events are left out: each is told of after a write to a status, so
/// one who dies after that never tells.
fn distinct(calls: &[Call]) -> BTreeSet<String> {
    let lasting = calls.iter().filter(|call| call.resource != "events");
    // Names of pods are made up.
    let name = |call: &Call| if call.resource == "pods" { String::new() } else { call.name.clone() };
    lasting.map(|call| Call { name: name(call), ..call.clone() }.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_dies_after_every_write_ends_the_same() {
    run_on_site("an_operator_that_dies_after_every_write", seconds(400), async |site| {
        let course = undisturbed(site).await.context("undisturbed")?;
        let fatal = distinct(&killed(site, &course, 1).await?);
        let survived: Vec<_> = distinct(&course.steps).difference(&fatal).cloned().collect();
        ensure!(survived.is_empty(), "there was no death after {survived:#?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_dies_after_some_writes_ends_the_same() {
    run_on_site("an_operator_that_dies_after_some_writes", seconds(400), async |site| {
        let course = undisturbed(site).await.context("undisturbed")?;
        for every in [2, 3, 7] {
            killed(site, &course, every).await?;
        }
        Ok(())
    })
    .await;
}
