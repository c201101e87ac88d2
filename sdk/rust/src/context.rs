//! What a plugin knows of where it runs.

use tokio::sync::watch;

use crate::{
    client::{Dependency, HttpClient, http_client},
    environment::{Environment, dependency_key},
    metrics::Metrics,
    phase::Phase,
};

/// Where a plugin runs and what it depends on.
#[derive(Clone, Debug)]
pub struct Context {
    environment: Environment,
    client: HttpClient,
    metrics: Metrics,
    phases: watch::Receiver<Phase>,
}

/// A plugin was asked for that the manifest does not declare as a dependency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{name}\" is not among the dependencies that the manifest declares ({})", list(declared))]
pub struct UndeclaredDependency {
    name: String,
    declared: Vec<String>,
}

impl Context {
    pub(crate) fn new(environment: Environment, phases: watch::Receiver<Phase>) -> Self {
        Self { environment, client: http_client(), metrics: Metrics::new(), phases }
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.environment.name
    }

    /// The namespace that it runs in.
    pub fn namespace(&self) -> &str {
        &self.environment.namespace
    }

    /// The version that its manifest gives.
    pub fn version(&self) -> &str {
        &self.environment.version
    }

    /// What can be measured of the plugin; it can show more.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns when the plugin is about to go: others serve by then, and it closes the connections
    /// it is asked over. What would not end by itself, such as a stream of events, should end now;
    /// its clients come back to another pod.
    pub async fn leaving(&self) {
        // An error says that the phases have ended, and with them the process.
        drop(self.phases.clone().wait_for(|phase| phase.says_goodbye()).await);
    }

    /// A plugin that the manifest declares as a dependency, by its name. An optional one is given
    /// whether or not it runs; calls tell.
    ///
    /// # Errors
    /// When the manifest does not declare it.
    pub fn dependency(&self, name: &str) -> Result<Dependency, UndeclaredDependency> {
        let declared = &self.environment.dependencies;
        match declared.get(&dependency_key(name)) {
            Some(url) => Ok(Dependency::new(name, url, self.client.clone())),
            None => Err(UndeclaredDependency {
                name: name.to_owned(),
                declared: declared.keys().map(|key| key.to_lowercase().replace('_', "-")).collect(),
            }),
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::About;

    fn context(variables: &[(&str, &str)]) -> Context {
        let about = About { name: "shop", version: "1.0.0", description: "" };
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let (_, phases) = watch::channel(Phase::Started);
        Context::new(Environment::resolve(&about, variables).unwrap(), phases)
    }

    #[tokio::test]
    async fn tells_when_the_plugin_is_about_to_go() {
        let about = About { name: "shop", version: "1.0.0", description: "" };
        let environment = Environment::resolve(&about, std::iter::empty()).unwrap();
        let (phases, seen) = watch::channel(Phase::Draining);
        let context = Context::new(environment, seen);
        let leaving = tokio::spawn(async move { context.leaving().await });
        tokio::task::yield_now().await;
        assert!(!leaving.is_finished());
        phases.send_replace(Phase::Leaving);
        leaving.await.unwrap();
    }

    #[tokio::test]
    async fn finds_a_declared_dependency_by_its_name() {
        let context =
            context(&[("GOFORWARD_DEPENDENCY_INVENTORY_MANAGER", "http://inventory-manager.shop.svc")]);
        let inventory = context.dependency("inventory-manager").unwrap();
        assert_eq!(
            (inventory.name(), inventory.url()),
            ("inventory-manager", "http://inventory-manager.shop.svc")
        );
    }

    #[tokio::test]
    async fn an_undeclared_dependency_is_an_error_that_lists_the_declared() {
        let error = context(&[]).dependency("analytics").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"analytics\" is not among the dependencies that the manifest declares (none)"
        );
        let declared = [("GOFORWARD_DEPENDENCY_A_B", "http://a-b"), ("GOFORWARD_DEPENDENCY_C", "http://c")];
        let error = context(&declared).dependency("analytics").unwrap_err();
        assert!(error.to_string().ends_with("(a-b, c)"), "{error}");
    }
}
