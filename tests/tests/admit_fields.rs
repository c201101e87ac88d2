//! Every field of a hook and of an entry of middleware, as the API server judges it: it takes each value
//! that means something, and refuses what cannot be with the field's name. Nothing is stored.

use anyhow::{Context, Result, bail, ensure};
use forward_crds::HookName;
use forward_tests::{
    TestNamespace,
    fields::{Field, Table, fields_of, hooks, middleware, schema},
    run,
};
use http::Request;
use serde_json::{Value, json};

/// A manifest with a part of a spec in its place.
type Place = Box<dyn Fn(Value) -> Value>;

fn plugin(name: &str, value: Value) -> Value {
    json!({"apiVersion": "goforward.dev/v1alpha1", "kind": "Plugin", "metadata": {"name": "tried"},
           "spec": {"version": "1.0.0", "image": "forward.local/testbed:1.0.0", name: value}})
}

/// Why the API server refuses a manifest; nothing where it takes it.
async fn refusal(ns: &TestNamespace, manifest: &Value) -> Result<Option<String>> {
    let plural = format!("{}s", manifest["kind"].as_str().context("a kind")?.to_lowercase());
    let path = format!("/apis/goforward.dev/v1alpha1/namespaces/{}/{plural}?dryRun=All", ns.name);
    let request =
        Request::post(path).header("content-type", "application/json").body(serde_json::to_vec(manifest)?)?;
    match ns.cluster.client.request::<Value>(request).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) => Ok(Some(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

/// Ask about each value of a field, in the first of the bases that has it. Answers how many those were.
async fn ask(
    ns: &TestNamespace,
    field: &Field,
    table: &Table,
    bases: &[Value],
    place: &Place,
) -> Result<usize> {
    let base = bases.iter().find(|base| field.value(base).is_some());
    let base = base.with_context(|| format!("no value for {field}"))?;
    let mut count = 0;
    for value in if field.leaf { table.valid(field, None)? } else { Vec::new() } {
        let said = refusal(ns, &place(field.changed(base, Some(&value))?)).await?;
        ensure!(said.is_none(), "{field}: {value}: {}", said.unwrap_or_default());
        count += 1;
    }
    for value in table.invalid(field) {
        match refusal(ns, &place(field.changed(base, Some(&value))?)).await? {
            None => bail!("{field}: {value} was taken"),
            Some(said) => ensure!(said.contains(field.name()), "{field}: {value}: it is not named: {said}"),
        }
        count += 1;
    }
    Ok(count)
}

/// Ask about all fields of what has a schema.
async fn ask_all(
    ns: &TestNamespace,
    schema: &Value,
    table: &Table,
    bases: &[Value],
    place: Place,
) -> Result<usize> {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for field in fields_of(schema, table)? {
        match ask(ns, &field, table, bases, &place).await {
            Ok(asked) => count += asked,
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    ensure!(wrong.is_empty(), "{} fields are not as they should be:\n{}", wrong.len(), wrong.join("\n"));
    Ok(count)
}

#[tokio::test]
async fn each_field_of_middleware_is_taken_or_refused_by_name() {
    run("fields_of_middleware", async |ns| {
        let schema = schema("Plugin", "/http/middleware/items")?;
        let (table, bases) = (middleware::table(), middleware::bases());
        let of_plugin: Place = Box::new(|entry| plugin("http", json!({"middleware": [entry]})));
        let of_system: Place = Box::new(|entry| {
            json!({"apiVersion": "goforward.dev/v1alpha1", "kind": "PluginSystem",
                   "metadata": {"name": "default"}, "spec": {"middleware": [entry]}})
        });
        for place in [of_plugin, of_system] {
            let count = ask_all(ns, &schema, &table, &bases, place).await?;
            ensure!(count > 300, "only {count} values");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn each_field_of_a_hook_is_taken_or_refused_by_name() {
    run("fields_of_hooks", async |ns| {
        for name in HookName::ALL {
            let schema = schema("Plugin", &format!("/hooks/{name}"))?;
            let place: Place = Box::new(move |hook| plugin("hooks", json!({name.as_str(): hook})));
            let count = ask_all(ns, &schema, &hooks::table(), &hooks::bases(), place).await?;
            ensure!(count > 40, "only {count} values");
        }
        Ok(())
    })
    .await;
}
