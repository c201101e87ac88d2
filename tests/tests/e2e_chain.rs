//! The main job: plugins applied with kubectl come up in dependency order, and requests through
//! the gateway are answered.

use anyhow::{Context, Result, ensure};
use forward_crds::{HealthStatus, PluginState, RouteSource};
use forward_tests::{condition, plugin, ready, run, seconds, started};
use serde_json::{Value, json};

const HELLO: &str = include_str!("../../examples/hello/plugin.yaml");
const RELAY: &str = include_str!("../../examples/relay/plugins.yaml");

#[tokio::test]
async fn hello_answers_through_the_gateway() {
    run("hello_answers_through_the_gateway", async |ns| {
        ns.apply_yaml(HELLO).await?;
        let hello = ns.await_plugin("hello", "to be ready", seconds(60), started).await?;
        let status = hello.status.context("status")?;
        ensure!(status.version.as_deref() == Some("1.0.0"), "{:?}", status.version);
        let route = status.routes.first().context("a route")?;
        let by_plugin = route.source == RouteSource::Plugin && route.active;
        ensure!(route.path == "/hello/:name" && by_plugin, "{route:?}");
        let answer = ns.cluster.gateway()?.await_status("/hello/Ada", 200, seconds(10)).await?;
        ensure!(answer.text() == "Good morning, Ada!\n", "{}", answer.text());
        let hello = ns.await_plugin("hello", "to report its health", seconds(20), is_healthy).await?;
        ensure!(hello.status.and_then(|status| status.health).is_some());
        Ok(())
    })
    .await;
}

fn is_healthy(plugin: &forward_crds::Plugin) -> bool {
    let health = plugin.status.as_ref().and_then(|status| status.health.as_ref());
    health.is_some_and(|health| health.status == HealthStatus::Healthy)
}

#[tokio::test]
async fn a_chain_of_three_relays_a_request() {
    run("a_chain_of_three_relays_a_request", async |ns| {
        ns.apply_yaml(RELAY).await?;
        for name in ["relay-back", "relay-middle", "relay-front"] {
            ns.await_plugin(name, "to be ready", seconds(60), started).await?;
        }
        let answer = ns.cluster.gateway()?.await_status("/relay", 200, seconds(10)).await?;
        let body: Value = answer.json()?;
        ensure!(body["path"] == json!(["relay-front", "relay-middle", "relay-back"]), "{body}");
        let front = ns.plugin("relay-front").await?.status.context("status")?;
        let middle = front.dependencies.first().context("a dependency")?;
        ensure!(middle.name == "relay-middle" && middle.ready, "{middle:?}");
        ensure!(middle.state == Some(PluginState::Started), "{middle:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_image_without_the_contract_serves_its_manifest_routes() {
    run("an_image_without_the_contract_serves_its_manifest_routes", async |ns| {
        let page = format!("/{}/page", ns.name);
        let site = json!({
            "apiVersion": "goforward.dev/v1alpha1",
            "kind": "Plugin",
            "metadata": {"name": "site"},
            "spec": {
                "version": "1.0.0",
                "image": "forward.local/busybox:1.0.0",
                "protocol": "Http",
                "http": {"routes": [{"method": "GET", "path": page}]},
                "sandbox": {"memory": "16Mi", "cpu": "50m"},
            },
        });
        ns.apply_as("forward-tests", &site).await?;
        let site = ns.await_plugin("site", "to be ready", seconds(60), started).await?;
        ensure!(is_healthy(&site) || ready(&site), "{:?}", site.status);
        // Busybox's server knows no such file: its own 404 shows that the request reached it.
        let answer = ns.cluster.gateway()?.get(&page).await?;
        ensure!(
            answer.status == 404 && answer.text().contains("The requested URL was not found"),
            "{answer:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn configuration_reaches_the_plugin_from_the_manifest_and_from_secrets() {
    run("configuration_reaches_the_plugin_from_the_manifest_and_from_secrets", async |ns| {
        ns.apply_yaml(
            "{apiVersion: v1, kind: Secret, metadata: {name: words}, stringData: {greeting: from a secret}}",
        )
        .await?;
        let from = json!([{"path": "/note", "secretKeyRef": {"name": "words", "key": "greeting"}}]);
        let configured = plugin("configured").config("initializeDelay", "1ms").set("configFrom", from);
        ns.apply(&configured).await?;
        ns.await_plugin("configured", "to be ready", seconds(60), started).await?;
        let body: Value = ns.cluster.gateway()?.get(&ns.path("configured")).await?.json()?;
        ensure!(body["note"] == "from a secret", "{body}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_called_ready_before_it_is() {
    run("nothing_is_called_ready_before_it_is", async |ns| {
        ns.apply(&plugin("slow").config("initializeDelay", "2s")).await?;
        let mut moments = 0;
        let seen = std::cell::RefCell::new(Vec::new());
        ns.await_plugin("slow", "to be ready", seconds(60), |plugin| {
            seen.borrow_mut().push(plugin.clone());
            ready(plugin)
        })
        .await?;
        for plugin in seen.into_inner() {
            moments += 1;
            let status = plugin.status.clone().context("a status from the first moment on")?;
            let observed = status.observed_generation == plugin.metadata.generation;
            let current =
                ready(&plugin) && condition(&plugin, "Reconciling").is_some_and(|c| c.status == "False");
            // kstatus: an object is current when its generation was observed and it is neither
            // reconciling nor stalled.
            let reconciling = condition(&plugin, "Reconciling").is_some_and(|c| c.status == "True");
            ensure!(!observed || current || reconciling, "taken for ready: {status:?}");
            ensure!(!current || status.state == Some(PluginState::Started), "{status:?}");
        }
        ensure!(moments > 2, "only {moments} moments seen");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn states_follow_the_process() -> Result<()> {
    run("states_follow_the_process", async |ns| {
        let seen = std::cell::RefCell::new(Vec::new());
        ns.apply(&plugin("slow").config("initializeDelay", "2s").config("startDelay", "3s")).await?;
        ns.await_plugin("slow", "to start", seconds(60), |plugin| {
            let state = plugin.status.as_ref().and_then(|status| status.state);
            if let Some(state) = state.filter(|state| seen.borrow().last() != Some(state)) {
                seen.borrow_mut().push(state);
            }
            state == Some(PluginState::Started)
        })
        .await?;
        let expected =
            [PluginState::Unloaded, PluginState::Loaded, PluginState::Initialized, PluginState::Started];
        ensure!(seen.borrow().as_slice() == expected, "{:?}", seen.borrow());
        Ok(())
    })
    .await;
    Ok(())
}
