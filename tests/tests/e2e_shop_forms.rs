//! The shop as a folder, a kustomization and a chart: the same objects, and the chart installs,
//! upgrades and goes.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use forward_crds::Plugin;
use forward_tests::{
    TestNamespace, run, seconds,
    shop::{PLUGINS, Shop, in_example, manifests},
    started,
};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

/// Run a program in the shop's folder; gives what it prints.
fn in_shop(program: &str, arguments: &[&str]) -> Result<String> {
    in_example("shop", program, arguments)
}

/// Objects by what they are.
fn by_name(objects: Vec<Value>) -> BTreeMap<(String, String), Value> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let objects = objects.into_iter().filter(|object| !object.is_null());
    objects.map(|object| ((text(&object["kind"]), text(&object["metadata"]["name"])), object)).collect()
}

fn read(yaml: &str) -> Result<BTreeMap<(String, String), Value>> {
    Ok(by_name(serde_saphyr::from_multiple(yaml)?))
}

/// The chart's objects with values (`a=1`).
fn rendered(values: &[&str]) -> Result<BTreeMap<(String, String), Value>> {
    let mut arguments = vec!["template", "shop", "chart"];
    values.iter().for_each(|value| arguments.extend(["--set", value]));
    read(&in_shop("helm", &arguments)?)
}

fn plugin<'a>(objects: &'a BTreeMap<(String, String), Value>, name: &str) -> &'a Value {
    &objects[&("Plugin".to_owned(), name.to_owned())]
}

#[test]
fn a_folder_a_kustomization_and_a_chart_are_the_same_objects() -> Result<()> {
    let folder = by_name(manifests()?);
    ensure!(PLUGINS.iter().all(|name| plugin(&folder, name).is_object()), "{:?}", folder.keys());
    assert_eq!(read(&in_shop("kubectl", &["kustomize", "."])?)?, folder);
    assert_eq!(rendered(&[])?, folder);
    Ok(())
}

#[test]
fn the_chart_changes_what_its_values_say() -> Result<()> {
    let objects = rendered(&[
        "image.registry=registry.example/shop",
        "plugins.payment-processor.spec.replicas=2",
        "plugins.payment-processor.spec.config.currency=EUR",
        "plugins.analytics-tracker.install=false",
        "database.url=postgres://shop:secret@db.example:5432/shop",
    ])?;
    let payment = &plugin(&objects, "payment-processor")["spec"];
    assert_eq!(payment["image"], "registry.example/shop/payment-processor:1.2.0");
    assert_eq!((&payment["replicas"], &payment["config"]["currency"]), (&json!(2), &json!("EUR")));
    ensure!(payment["config"]["environment"] == "sandbox", "what is not said stays: {payment}");
    let names: Vec<_> = objects.keys().map(|(kind, name)| format!("{kind}/{name}")).collect();
    ensure!(!names.contains(&"Plugin/analytics-tracker".to_owned()), "{names:?}");
    ensure!(!names.contains(&"Deployment/database".to_owned()), "{names:?}");
    let secret = &objects[&("Secret".to_owned(), "database".to_owned())];
    assert_eq!(secret["stringData"]["url"], "postgres://shop:secret@db.example:5432/shop");
    for unknown in ["image.registri=x", "plugins.payments.install=false", "database.port=1"] {
        ensure!(rendered(&[unknown]).is_err(), "{unknown} is accepted");
    }
    Ok(())
}

#[test]
fn the_chart_can_bring_forward_along() -> Result<()> {
    let objects = rendered(&["forward.install=true"])?;
    let operator = ("Deployment".to_owned(), "forward-operator".to_owned());
    ensure!(
        objects.keys().any(|(kind, name)| *kind == operator.0 && name.ends_with("-operator")),
        "{:?}",
        objects.keys()
    );
    Ok(())
}

#[tokio::test]
async fn the_chart_installs_upgrades_and_goes() {
    run("the_chart_installs_upgrades_and_goes", async |ns| {
        let shop = Shop::prepare(ns).await?;
        helm(ns, &["install", "shop", "chart"])?;
        shop.await_open().await?;
        let change = "plugins.inventory-manager.spec.replicas=2";
        helm(ns, &["upgrade", "shop", "chart", "--set", change])?;
        let wide = |plugin: &Plugin| {
            started(plugin) && plugin.status.as_ref().and_then(|status| status.ready_replicas) == Some(2)
        };
        ns.await_plugin("inventory-manager", "to have two pods", seconds(90), wide).await?;
        helm(ns, &["uninstall", "shop"])?;
        for name in PLUGINS {
            ns.await_plugin_gone(name, seconds(90)).await?;
        }
        ns.await_object::<Secret>("database", "to be gone", seconds(30), |secret| secret.is_none()).await?;
        Ok(())
    })
    .await;
}

fn helm(ns: &TestNamespace, arguments: &[&str]) -> Result<String> {
    in_shop("helm", &[arguments, &["--namespace", &ns.name]].concat())
}
