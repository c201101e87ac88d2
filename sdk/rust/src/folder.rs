//! The folder of a plugin's configuration. The kubelet replaces its content as a whole: the files are
//! links through `..data`, which is a link to a folder with a name of its own. A folder without it, as
//! outside Kubernetes, does not change.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// The link that the kubelet replaces.
const DATA: &str = "..data";
/// How often the link is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long it must stay the same, so that many edits in a row are one new configuration.
const QUIET: Duration = Duration::from_millis(600);
/// How long edits can put that off.
const PATIENCE: Duration = Duration::from_secs(2);
/// The least time between two changes: edits in a row that come too slowly to be one are two, and each
/// is still taken soon.
const APART: Duration = Duration::from_secs(2);

/// A folder that is followed.
pub struct Folder {
    path: PathBuf,
    /// Where the link led when its content was last looked at.
    seen: Option<OsString>,
    /// When the last change was told.
    told: Option<Instant>,
}

impl Folder {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: target(path), told: None }
    }

    /// The folder that the files lie in which were last looked at: all of one configuration.
    pub fn content(&self) -> PathBuf {
        self.seen.as_ref().map_or_else(|| self.path.clone(), |target| self.path.join(target))
    }

    /// Wait until the link leads elsewhere and is at rest; gives the new [`content`](Self::content).
    pub async fn changed(&mut self) -> PathBuf {
        let (mut last, mut first_change, mut last_change) = (self.seen.clone(), None, Instant::now());
        loop {
            sleep(LOOK).await;
            let (now, target) = (Instant::now(), target(&self.path));
            if target != last {
                last = target;
                last_change = now;
            }
            if last == self.seen {
                first_change = None;
                continue;
            }
            let since = now - *first_change.get_or_insert(now);
            let at_rest = now - last_change >= QUIET || since >= PATIENCE;
            if at_rest && self.told.is_none_or(|told| now - told >= APART) {
                self.seen = last;
                self.told = Some(now);
                return self.content();
            }
        }
    }
}

fn target(folder: &Path) -> Option<OsString> {
    fs::read_link(folder.join(DATA)).ok().map(PathBuf::into_os_string)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder as the kubelet mounts it; it goes away with the value.
    pub(crate) struct Mount(pub(crate) PathBuf);

    impl Mount {
        pub(crate) fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let folder = std::env::temp_dir().join(format!("forward-folder-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            let mount = Self(folder);
            mount.write(0, files);
            mount
        }

        /// Replace the content as the kubelet does.
        pub(crate) fn write(&self, number: u32, files: &[(&str, &str)]) {
            let name = format!("..{number}");
            fs::create_dir_all(self.0.join(&name)).unwrap();
            for (file, content) in files {
                fs::write(self.0.join(&name).join(file), content).unwrap();
            }
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
        let mount = Mount::new("row", &[]);
        let mut folder = Folder::new(&mount.0);
        assert_eq!(folder.content(), mount.0.join("..0"));
        let begin = Instant::now();
        let edits = async {
            for number in 1..=10 {
                mount.write(number, &[]);
                sleep(Duration::from_millis(100)).await;
            }
        };
        let (content, ()) = tokio::join!(folder.changed(), edits);
        assert_eq!(content, mount.0.join("..10"));
        let (took, last) = (begin.elapsed(), Duration::from_millis(900));
        assert!(took >= last + QUIET && took <= last + QUIET + 2 * LOOK, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn edits_that_come_slowly_are_two_changes_and_the_second_is_the_last_edit() {
        let mount = Mount::new("slowly", &[]);
        let mut folder = Folder::new(&mount.0);
        let edits = async {
            for number in 1..=4 {
                mount.write(number, &[]);
                sleep(QUIET + LOOK).await;
            }
            sleep(10 * PATIENCE).await;
        };
        let mut told = Vec::new();
        let changes = async {
            loop {
                let content = folder.changed().await;
                told.push((Instant::now(), content));
            }
        };
        tokio::select! {
            () = changes => unreachable!("it goes on"),
            () = edits => {}
        }
        let [(first, _), (second, content)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(*content, mount.0.join("..4"));
        assert!(*second - *first >= APART && *second - *first <= APART + LOOK, "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_was_taken_back_does_not_hurry_the_next() {
        let mount = Mount::new("hurry", &[]);
        let mut folder = Folder::new(&mount.0);
        let edits = async {
            for (number, pause) in [(1, LOOK), (0, 10 * PATIENCE), (2, LOOK), (3, 10 * PATIENCE)] {
                mount.write(number, &[]);
                sleep(pause + LOOK / 2).await;
            }
        };
        tokio::select! {
            content = folder.changed() => assert_eq!(content, mount.0.join("..3")),
            () = edits => unreachable!("it was told before"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn edits_without_end_do_not_put_it_off_for_ever() {
        let mount = Mount::new("endless", &[]);
        let mut folder = Folder::new(&mount.0);
        let begin = Instant::now();
        let edits = async {
            for number in 1..100 {
                mount.write(number, &[]);
                sleep(Duration::from_millis(150)).await;
            }
        };
        tokio::select! {
            _ = folder.changed() => {}
            () = edits => unreachable!("they are over"),
        }
        assert!(begin.elapsed() <= PATIENCE + 2 * LOOK, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_back_is_no_change() {
        let mount = Mount::new("back", &[]);
        let mut folder = Folder::new(&mount.0);
        mount.write(1, &[]);
        let back = async {
            sleep(LOOK + LOOK / 2).await;
            mount.write(0, &[]);
            sleep(10 * PATIENCE).await;
        };
        tokio::select! {
            content = folder.changed() => panic!("a change to {content:?}"),
            () = back => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_nobody_mounts_does_not_change() {
        let mut folder = Folder::new(Path::new("/nowhere"));
        tokio::select! {
            content = folder.changed() => panic!("a change to {content:?}"),
            () = sleep(10 * PATIENCE) => {}
        }
    }
}
