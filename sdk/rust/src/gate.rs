//! Waits until the operator lets the process go on: a plugin may have hooks to be run outside of it
//! before it initializes or starts, or be one that is started by hand. How far it may go stands in a
//! file; without one it may go on at once.

use std::{fs, path::Path, time::Duration};

use tokio::time::sleep;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What a process asks leave for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Initialize,
    Start,
}

/// Returns when the file says that the process may go so far. A file that cannot be read, or says
/// something else, says that it may not: the kubelet brings another.
pub async fn permitted(file: &Path, wanted: Stage) {
    if says(file) >= Some(wanted) {
        return;
    }
    tracing::info!(stage = ?wanted, "waits to be permitted");
    while says(file) < Some(wanted) {
        sleep(LOOK).await;
    }
}

fn says(file: &Path) -> Option<Stage> {
    match fs::read_to_string(file).ok()?.trim() {
        "initialize" => Some(Stage::Initialize),
        "start" => Some(Stage::Start),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn goes_as_far_as_the_file_says_and_no_further() {
        let file = std::env::temp_dir().join(format!("forward-gate-{}", std::process::id()));
        let goes = async |wanted| timeout(10 * LOOK, permitted(&file, wanted)).await.is_ok();
        for (said, expected) in [
            (None, [false, false]),
            (Some("wait"), [false, false]),
            (Some("later"), [false, false]),
            (Some("initialize\n"), [true, false]),
            (Some("start"), [true, true]),
        ] {
            said.into_iter().for_each(|said| fs::write(&file, said).unwrap());
            assert_eq!([goes(Stage::Initialize).await, goes(Stage::Start).await], expected, "{said:?}");
        }
        fs::remove_file(&file).unwrap();
    }
}
