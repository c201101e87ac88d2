//! New configurations while the plugin runs. Where the manifest says InPlace, the plugin is told of
//! each; one that cannot be read, or that the plugin refuses, changes nothing, and what is wrong with
//! it is reported by the contract's Health. Otherwise the plugin has read its configuration when it
//! started, and Health reports that it would read another one now.

use std::{fs, path::Path, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::{
    Context, Plugin, config,
    failure::{Failure, Verb, chain},
    folder::Folder,
    lifecycle::bounded,
};

/// The file that names the configuration.
const HASH: &str = "config-hash";
/// The newest configuration that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the file [`HASH`] says.
    pub config_hash: String,
    /// Why the plugin goes on with what it had before.
    pub error: Option<String>,
}

/// Brings new configurations to a plugin.
pub struct Follower {
    folder: Folder,
    reports: watch::Sender<Report>,
}

impl Follower {
    /// To be made before the configuration is read, so that no change is missed.
    pub fn new(folder: &Path) -> (Self, watch::Receiver<Report>) {
        let folder = Folder::new(folder);
        let report = Report { config_hash: hash(&folder.content()), error: None };
        let (reports, reported) = watch::channel(report);
        (Self { folder, reports }, reported)
    }

    /// Bring every new configuration to the plugin, until dropped.
    pub async fn run<P: Plugin>(mut self, plugin: Arc<P>, context: Arc<Context>, limit: Duration) {
        loop {
            let folder = self.folder.changed().await;
            let config_hash = hash(&folder);
            let begin = Instant::now();
            let result = reload(plugin.clone(), &folder, context.clone(), limit).await;
            let error = result.err().map(|failure| chain(&failure));
            match &error {
                None => {
                    let seconds = begin.elapsed().as_secs_f64();
                    tracing::info!(config = config_hash, seconds, "reloaded");
                }
                Some(error) => tracing::error!(
                    config = config_hash,
                    error,
                    "a new configuration is not taken; the one before stays"
                ),
            }
            self.reports.send_replace(Report { config_hash, error });
        }
    }
}

async fn reload<P: Plugin>(
    plugin: Arc<P>,
    folder: &Path,
    context: Arc<Context>,
    limit: Duration,
) -> Result<(), Failure> {
    let config = config::load::<P::Config>(folder, P::config_schema())?;
    bounded(Verb::Reload, limit, async move { plugin.reload(config, &context).await }).await
}

/// Empty where there is none, as outside Kubernetes.
fn hash(folder: &Path) -> String {
    fs::read_to_string(folder.join(HASH)).unwrap_or_default().trim().to_owned()
}

/// Notices that values of `configFrom` have become others than the plugin started with.
pub struct Watch {
    folder: Folder,
    first: Vec<config::Content>,
    /// What to say once they have.
    word: String,
    outdated: watch::Sender<Option<String>>,
}

impl Watch {
    /// To be made before the configuration is read, so that no change is missed.
    pub fn new(folder: &Path, word: String) -> (Self, watch::Receiver<Option<String>>) {
        let folder = Folder::new(folder);
        let first = config::contents(&folder.content());
        let (outdated, is_outdated) = watch::channel(None);
        (Self { folder, first, word, outdated }, is_outdated)
    }

    /// Look, until dropped. Values that become what they were are no change.
    pub async fn run(mut self) {
        loop {
            let now = config::contents(&self.folder.changed().await);
            self.outdated.send_replace((now != self.first).then(|| self.word.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, iter::empty, sync::Mutex};

    use serde::Deserialize;
    use serde_json::{Value, json};
    use tokio::time::sleep;

    use super::*;
    use crate::{About, Error, environment::Environment, folder::tests::Mount, phase::Phase};

    /// How soon a configuration is brought to the plugin.
    const SOON: Duration = Duration::from_secs(3);
    /// How long the plugin may take.
    const LIMIT: Duration = Duration::from_secs(5);
    /// Longer than it takes to notice a change.
    const LONG: Duration = Duration::from_secs(20);

    /// Takes configurations, and never comes to an end with number 10.
    #[derive(Default)]
    struct Taker(Mutex<Vec<u32>>);

    #[derive(Deserialize)]
    struct Numbered {
        number: u32,
    }

    impl Plugin for Taker {
        type Config = Numbered;

        fn config_schema() -> Option<Value> {
            Some(json!({"properties": {"number": {"maximum": 10}}}))
        }

        async fn initialize(_: Numbered, _: &Context) -> Result<Self, Error> {
            Ok(Self::default())
        }

        async fn reload(&self, config: Numbered, _: &Context) -> Result<(), Error> {
            self.0.lock().unwrap().push(config.number);
            if config.number == 10 { pending().await } else { Ok(()) }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_brought_to_the_plugin_once_and_what_came_of_it_is_reported() {
        let mount = Mount::new("once", &[(HASH, "0\n")]);
        let (follower, mut reports) = Follower::new(&mount.0);
        assert_eq!(reports.borrow().config_hash, "0");
        let plugin = Arc::new(Taker::default());
        let about = About { name: "taker", version: "1.0.0", description: "Takes." };
        let environment = Environment::resolve(&about, empty()).unwrap();
        let context = Arc::new(Context::new(environment, watch::channel(Phase::Started).1));
        let following = tokio::spawn(follower.run(plugin.clone(), context, LIMIT));
        for (number, expected) in [
            (1, None),
            (11, Some("/number: must be at most 10, found 11")),
            (10, Some("reload did not finish within 5s")),
            (2, None),
        ] {
            let (hash, config) = (number.to_string(), json!({"number": number}).to_string());
            mount.write(number, &[(HASH, &hash), ("config.json", &config)]);
            let begin = Instant::now();
            reports.changed().await.unwrap();
            assert!(begin.elapsed() <= SOON + LIMIT, "{:?}", begin.elapsed());
            let Report { config_hash, error } = reports.borrow_and_update().clone();
            assert_eq!(config_hash, hash);
            let is_told = error.as_deref().zip(expected).is_some_and(|(error, told)| error.contains(told));
            assert!(error.is_some() == expected.is_some() && (is_told || error.is_none()), "{error:?}");
        }
        sleep(LONG).await;
        assert!(!reports.has_changed().unwrap(), "it was brought again");
        assert_eq!(*plugin.0.lock().unwrap(), [1, 10, 2]);
        following.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_becomes_another_is_noticed_until_it_is_the_first_again() {
        let index = r#"[{"path": "/key", "file": "key"}]"#;
        let mount = Mount::new("values", &[("config-from.json", index), ("key", "one"), ("other", "a")]);
        let (watch, mut outdated) = Watch::new(&mount.0, "since".to_owned());
        let steps = async {
            mount.write(1, &[("config-from.json", index), ("key", "one"), ("other", "b")]);
            sleep(LONG).await;
            assert!(outdated.borrow().is_none(), "a file that is no value of the configuration");
            mount.write(2, &[("config-from.json", index), ("key", "two")]);
            outdated.wait_for(|word| word.as_deref() == Some("since")).await.unwrap();
            mount.write(3, &[("config-from.json", index), ("key", "one")]);
            outdated.wait_for(Option::is_none).await.unwrap();
            mount.write(4, &[("config-from.json", index)]);
            outdated.wait_for(Option::is_some).await.unwrap();
        };
        tokio::select! {
            () = watch.run() => unreachable!("it has no end"),
            () = steps => {}
        }
    }
}
