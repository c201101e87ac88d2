//! Every field of every hook, from the schema that the API server enforces: what it is set to makes a
//! difference to the Job that is made or to the call. A field that is new in the schema fails here until
//! there are values of it, and something reads it.

use anyhow::{Context, Result, ensure};
use forward_crds::{HookName, Plugin};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::*;
use crate::{
    build::peers,
    fields::{Field, Table, check_cover, fields_of, hooks, schema},
};

/// Read by who decides, and not by who runs it; of `onError` by nobody, as its page says.
const DECIDED: [(&str, [&str; 3]); 1] = [(
    "failurePolicy",
    [
        "plan/tests/dynamics/hooks.rs#each_failure_on_the_way_up_stops_there_or_is_gone_past_as_its_policy_says",
        "plan/tests/dynamics/hooks.rs#a_failed_hook_before_stopping_holds_a_stop_and_no_deletion",
        "plan/tests/dynamics/hooks.rs#a_stop_goes_past_what_failed_where_the_policy_says_so",
    ],
)];

/// What comes of one hook of a plugin: the Job, or the call and how long it may take.
async fn effect(name: HookName, hook: &Value) -> Result<Value> {
    let plugin: Plugin = serde_json::from_value(json!({
        "metadata": {"name": "cart", "namespace": "shop", "uid": "u-1", "generation": 1},
        "spec": {"version": "1.0.0", "image": "cart", "hooks": {name.as_str(): hook}},
    }))?;
    let since = serde_json::from_value(json!("2026-01-01T00:00:00Z"))?;
    let (revision, id) = ("0a1b2c3d4e".to_owned(), "5f6a7b8c9d".to_owned());
    let call = HookCall { hook: name, revision, id, since, going: false };
    let hook = plugin.spec.hooks.as_ref().and_then(|hooks| hooks.get(name)).context("the hook")?;
    if let Some(job) = &hook.job {
        let limit = hook.limit().whole_seconds();
        let (peers, message) = (peers(), "why");
        let input =
            HookInput { plugin: &plugin, system: None, peers: &peers, call: &call, job, limit, message };
        return Ok(serde_json::to_value(build::hook(&input)?.job)?);
    }
    let http = hook.http.clone().context("neither job nor http")?;
    let [namespace, plugin, version, message] = ["shop", "cart", "1.0.0", "why"].map(str::to_owned);
    let target = Target { namespace, plugin, version, call, http, limit: hook.limit().get(), message };
    let (parts, body) = target.request()?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(json!([format!("{parts:?}"), String::from_utf8(body.to_vec())?, target.limit.as_millis() as u64]))
}

/// Set a field to each of its values and take it away, each time from the base and back to it.
async fn exercise(name: HookName, field: &Field, table: &Table) -> Result<usize> {
    let bases = hooks::bases();
    let base = bases.iter().find(|base| field.value(base).is_some());
    let base = base.with_context(|| format!("no value for {field} in any hook"))?;
    let is_decided = DECIDED.iter().any(|(decided, _)| *decided == field.to_string());
    let (first, now) = (effect(name, base).await?, field.value(base));
    let mut count = 0;
    if field.leaf {
        for value in table.valid(field, now)? {
            let changed = field.changed(base, Some(&value))?;
            let found = effect(name, &changed).await.with_context(|| format!("{field}: {value}"))?;
            ensure!((found != first) != is_decided, "{name}: {field}: {value} makes no difference, or does");
            let back = effect(name, &field.changed(&changed, now)?).await?;
            ensure!(back == first, "{name}: {field}: {value}, and back, is not the same");
            count += 1;
        }
        ensure!(count > 0, "no value for {field}");
    }
    // Without job or http, there is nothing to do.
    let is_all = ["job", "http"].contains(&field.to_string().as_str());
    if !field.required && !is_all && now != field.schema.get("default") && !is_decided {
        let without = effect(name, &field.changed(base, None)?).await?;
        ensure!(without != first, "{name}: {field}: it makes no difference that there is one");
    }
    Ok(count)
}

#[tokio::test]
async fn every_field_of_a_hook_makes_a_difference() {
    for (_, covers) in DECIDED {
        covers.iter().for_each(|cover| check_cover(cover).unwrap());
    }
    let all = schema("Plugin", "/hooks").unwrap();
    assert_eq!(all["properties"].as_object().unwrap().len(), HookName::ALL.len());
    let table = hooks::table();
    let mut wrong = Vec::new();
    let mut changes = 0;
    for name in HookName::ALL {
        let schema = schema("Plugin", &format!("/hooks/{name}")).unwrap();
        let fields = fields_of(&schema, &table).unwrap();
        assert_eq!(table.unknown(&fields), Vec::<&str>::new(), "{name}");
        for field in &fields {
            match exercise(name, field, &table).await {
                Ok(count) => changes += count,
                Err(error) => wrong.push(format!("{error:#}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} fields are not as they should be:\n{}", wrong.len(), wrong.join("\n"));
    assert!(changes >= 12 * HookName::ALL.len(), "only {changes} changes");
}
