//! Takes new configurations while the plugin runs: follows the mounted folder, and tells the plugin
//! once it is at rest. A configuration that cannot be read, or that the plugin refuses, changes
//! nothing; what is wrong with it is reported by the contract's Health.
//!
//! The kubelet replaces the folder's content as a whole: the files are links through `..data`, which
//! is a link to a folder with a name of its own. A folder without it, as outside Kubernetes, does not
//! change.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    Context, Plugin, config,
    failure::{Failure, Verb, chain},
    lifecycle::bounded,
};

/// The link that the kubelet replaces.
const DATA: &str = "..data";
/// The file that names the configuration.
const HASH: &str = "config-hash";
/// How often the link is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long it must stay the same, so that many edits in a row are one new configuration.
const QUIET: Duration = Duration::from_millis(600);
/// How long edits can put that off.
const PATIENCE: Duration = Duration::from_secs(2);

/// The newest configuration that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the file [`HASH`] says.
    pub config_hash: String,
    /// Why the plugin goes on with what it had before.
    pub error: Option<String>,
}

/// Follows the folder of a plugin's configuration.
pub struct Follower {
    folder: PathBuf,
    /// Where the link led when its content was last looked at.
    seen: Option<OsString>,
    reports: watch::Sender<Report>,
}

impl Follower {
    /// To be made before the configuration is read, so that no change is missed.
    pub fn new(folder: &Path) -> (Self, watch::Receiver<Report>) {
        let seen = target(folder);
        let report = Report { config_hash: hash(&content(folder, seen.as_ref())), error: None };
        let (reports, reported) = watch::channel(report);
        (Self { folder: folder.to_owned(), seen, reports }, reported)
    }

    /// Bring every new configuration to the plugin, until dropped.
    pub async fn run<P: Plugin>(mut self, plugin: Arc<P>, context: Arc<Context>, limit: Duration) {
        loop {
            let target = self.changed().await;
            let folder = content(&self.folder, target.as_ref());
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
            self.seen = target;
        }
    }

    /// Wait until the link leads elsewhere and is at rest; gives where it leads.
    async fn changed(&self) -> Option<OsString> {
        let (mut last, mut first_change, mut last_change) = (self.seen.clone(), None, Instant::now());
        loop {
            sleep(LOOK).await;
            let (now, target) = (Instant::now(), target(&self.folder));
            if target != last {
                last = target;
                last_change = now;
            }
            if last == self.seen {
                first_change = None;
                continue;
            }
            let since = now - *first_change.get_or_insert(now);
            if now - last_change >= QUIET || since >= PATIENCE {
                return last;
            }
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

fn target(folder: &Path) -> Option<OsString> {
    fs::read_link(folder.join(DATA)).ok().map(PathBuf::into_os_string)
}

/// The folder that the files of one configuration are in.
fn content(folder: &Path, target: Option<&OsString>) -> PathBuf {
    target.map_or_else(|| folder.to_owned(), |target| folder.join(target))
}

/// Empty where there is none, as outside Kubernetes.
fn hash(folder: &Path) -> String {
    fs::read_to_string(folder.join(HASH)).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder as the kubelet mounts it; it goes away with the value.
    struct Mount(PathBuf);

    impl Mount {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("forward-reload-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            let mount = Self(folder);
            mount.write(0);
            mount
        }

        /// Replace the content as the kubelet does.
        fn write(&self, number: u32) {
            let name = format!("..{number}");
            fs::create_dir_all(self.0.join(&name)).unwrap();
            fs::write(self.0.join(&name).join(HASH), format!("{number}\n")).unwrap();
            let link = self.0.join("..new");
            symlink(&name, &link).unwrap();
            fs::rename(link, self.0.join(DATA)).unwrap();
        }
    }

    impl Drop for Mount {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn edits_in_a_row_are_one_change_once_they_are_over() {
        let mount = Mount::new("row");
        let (follower, report) = Follower::new(&mount.0);
        assert_eq!(report.borrow().config_hash, "0");
        let begin = Instant::now();
        let edits = async {
            for number in 1..=5 {
                mount.write(number);
                sleep(Duration::from_millis(100)).await;
            }
        };
        let (target, ()) = tokio::join!(follower.changed(), edits);
        assert_eq!(target, Some("..5".into()));
        let took = begin.elapsed();
        assert!(took >= QUIET && took <= Duration::from_millis(500) + QUIET + 2 * LOOK, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn edits_without_end_do_not_put_it_off_for_ever() {
        let mount = Mount::new("endless");
        let (follower, _report) = Follower::new(&mount.0);
        let begin = Instant::now();
        let edits = async {
            for number in 1.. {
                mount.write(number);
                sleep(Duration::from_millis(150)).await;
            }
        };
        tokio::select! {
            target = follower.changed() => assert!(target.is_some()),
            () = edits => unreachable!("they have no end"),
        }
        assert!(begin.elapsed() <= PATIENCE + 2 * LOOK, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_back_is_no_change() {
        let mount = Mount::new("back");
        let (follower, _report) = Follower::new(&mount.0);
        mount.write(1);
        let back = async {
            sleep(LOOK + LOOK / 2).await;
            mount.write(0);
            sleep(10 * PATIENCE).await;
        };
        tokio::select! {
            target = follower.changed() => panic!("a change to {target:?}"),
            () = back => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_nobody_mounts_does_not_change() {
        let (follower, report) = Follower::new(Path::new("/nowhere"));
        assert_eq!(*report.borrow(), Report::default());
        tokio::select! {
            target = follower.changed() => panic!("a change to {target:?}"),
            () = sleep(10 * PATIENCE) => {}
        }
    }
}
