//! Temporary folders.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// A folder that goes away with the value.
pub struct Folder(PathBuf);

impl Folder {
    /// An empty folder that nobody else uses. Its path is short: a socket may be in it.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        if count == 0 {
            sweep();
        }
        let path = env::temp_dir().join(format!("forward-{name}-{}-{count}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Removes the folders of programs that have ended: what is in a static is never dropped.
fn sweep() {
    for folder in fs::read_dir(env::temp_dir()).unwrap().flatten() {
        let name = folder.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("forward-")?.rsplit('-').nth(1));
        let owner = owner.and_then(|id| id.parse::<u32>().ok());
        if owner.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            // Another test program may be at it too.
            fs::remove_dir_all(folder.path()).ok();
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is in the folder for temporary files.
        fs::remove_dir_all(&self.0).ok();
    }
}
