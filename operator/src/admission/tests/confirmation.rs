use forward_plan::Warning;

use super::*;
use crate::{
    admission::review::{Foreseen, Judgement},
    index::lock,
};

fn versioned(name: &str, version: &str, spec: Value) -> Value {
    let mut plugin = plugin(name, spec);
    plugin["metadata"]["resourceVersion"] = json!(version);
    plugin
}

fn foreseen(reviewer: &Reviewer, plugin: Value) -> Foreseen {
    match reviewer.foresee(reviewer.look(Arc::new(serde_json::from_value(plugin).unwrap()))) {
        Judgement::Foreseen(foreseen) => foreseen,
        _ => panic!("everything is listed"),
    }
}

fn warnings(judgement: Judgement) -> Vec<Warning> {
    match judgement {
        Judgement::Foreseen(foreseen) => foreseen.warnings,
        _ => panic!("everything is listed"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_applied_just_before_is_not_called_missing() {
    let inventory = versioned("inventory", "2", json!({}));
    let (reviewer, (confirmer, _)) = (reviewer(&[]), confirmer(std::slice::from_ref(&inventory)));
    let foreseen = foreseen(&reviewer, plugin("checkout", needs("inventory", "^1")));
    assert_eq!(foreseen.warnings.len(), 1);
    let heard = async {
        tokio::task::yield_now().await;
        let object = Object::Plugin(Arc::new(serde_json::from_value(inventory).unwrap()));
        lock(&reviewer.index).apply(object);
        confirmer.changed.notify_waiters();
    };
    let (judgement, ()) = tokio::join!(confirmer.confirm(&reviewer, foreseen), heard);
    assert_eq!(warnings(judgement), []);
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_knows_no_better_is_told_at_once() {
    let inventory = versioned("inventory", "2", json!({}));
    let reviewer = reviewer(std::slice::from_ref(&inventory));
    let (confirmer, asked) = confirmer(&[inventory]);
    let begin = tokio::time::Instant::now();
    for needed in [needs("inventory", "^2"), needs("nobody", "^1")] {
        let foreseen = foreseen(&reviewer, plugin("checkout", needed));
        assert_eq!(warnings(confirmer.confirm(&reviewer, foreseen).await).len(), 1);
    }
    assert_eq!((*asked.lock().unwrap(), begin.elapsed()), (2, std::time::Duration::ZERO));
    let fine = foreseen(&reviewer, plugin("checkout", needs("inventory", "^1")));
    assert_eq!(warnings(confirmer.confirm(&reviewer, fine).await), []);
    assert_eq!(*asked.lock().unwrap(), 2, "without a warning nothing is asked");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_heard_of_in_time_is_told() {
    let (reviewer, (confirmer, _)) = (reviewer(&[]), confirmer(&[versioned("inventory", "2", json!({}))]));
    let foreseen = foreseen(&reviewer, plugin("checkout", needs("inventory", "^1")));
    assert_eq!(warnings(confirmer.confirm(&reviewer, foreseen).await).len(), 1);
}

#[tokio::test]
async fn what_is_no_name_reaches_no_path() {
    let (reviewer, (confirmer, asked)) = (reviewer(&[]), confirmer(&[]));
    let mut elsewhere = plugin("checkout", needs("inventory", "^1"));
    elsewhere["metadata"]["namespace"] = json!("shop/secrets/a?b=");
    for plugin in [elsewhere, plugin("checkout", needs("../secrets/token", "^1"))] {
        let foreseen = foreseen(&reviewer, plugin);
        assert_eq!(warnings(confirmer.confirm(&reviewer, foreseen).await).len(), 1);
    }
    assert_eq!(*asked.lock().unwrap(), 0);
}
