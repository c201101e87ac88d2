//! From a list of paths and patterns to the files that go into an image.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{
    debian::{self, MERGED},
    libraries,
    list::Debian,
    oci::Entry,
};
use crate::paths;

/// An image's files by their paths, which do not begin with a slash.
pub type Entries = BTreeMap<String, Entry>;

/// Collects the files of such an image. What is ours replaces what is Debian's.
pub fn collect(from: &Debian) -> Result<Entries> {
    let Debian { packages, files, except, own, links, command: _ } = *from;
    let root = debian::fetch(packages)?;
    let mut entries: Entries =
        MERGED.iter().map(|name| ((*name).to_owned(), Entry::Link(format!("usr/{name}").into()))).collect();
    let except: Vec<_> = except.iter().map(|pattern| matching(&root, pattern)).collect::<Result<_>>()?;
    let except = except.concat();
    for pattern in files {
        for path in matching(&root, pattern)? {
            add(&mut entries, &path, &place(&root, &path)?, &except)?;
        }
    }
    let programs: Vec<_> = entries.values().filter_map(Entry::file).map(Path::to_path_buf).collect();
    for library in libraries::find(&root, &programs)? {
        entries.insert(place(&root, &library)?, Entry::File(library));
    }
    for (path, place) in own {
        add(&mut entries, &paths::repository().join(path), &merged(place), &[])?;
    }
    for (path, target) in links {
        entries.insert(merged(path), Entry::Link(target.into()));
    }
    Ok(entries)
}

/// Adds a file, a link, or all of a folder.
fn add(entries: &mut Entries, path: &Path, place: &str, except: &[PathBuf]) -> Result<()> {
    if except.iter().any(|left_out| left_out == path) {
        return Ok(());
    }
    let kind = fs::symlink_metadata(path).with_context(|| format!("find {}", path.display()))?.file_type();
    if kind.is_symlink() {
        entries.insert(place.to_owned(), Entry::Link(fs::read_link(path)?));
    } else if kind.is_dir() {
        for inner in fs::read_dir(path)? {
            let inner = inner?;
            let name = inner.file_name().into_string().ok().context("a file's name in UTF-8")?;
            add(entries, &inner.path(), &format!("{place}/{name}"), except)?;
        }
    } else {
        entries.insert(place.to_owned(), Entry::File(path.to_path_buf()));
    }
    Ok(())
}

/// The paths under a root that a pattern stands for: one at least.
fn matching(root: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let mut found = vec![root.to_path_buf()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for folder in &found {
            match part.split_once('*') {
                None => next.extend(Some(folder.join(part)).filter(|path| path.symlink_metadata().is_ok())),
                Some((start, end)) => next.extend(named(folder, start, end)?),
            }
        }
        found = next;
    }
    if found.is_empty() {
        bail!("there is no {pattern} in {}", root.display());
    }
    Ok(found)
}

/// What lies in a folder and has a name with this start and this end.
fn named(folder: &Path, start: &str, end: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for inner in fs::read_dir(folder).with_context(|| format!("look into {}", folder.display()))? {
        let inner = inner?;
        let name = inner.file_name();
        let fits =
            name.to_str().and_then(|name| name.strip_prefix(start)).is_some_and(|rest| rest.ends_with(end));
        if fits {
            found.push(inner.path());
        }
    }
    Ok(found)
}

/// Where a file under a root is in the image.
fn place(root: &Path, path: &Path) -> Result<String> {
    let inner = path.strip_prefix(root).context("a path under the root")?;
    Ok(merged(inner.to_str().context("a path in UTF-8")?))
}

/// A path of an image as it is in the archive, where no folder is a link.
fn merged(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) { format!("usr/{path}") } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, files: &[&str]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("forward-choose-{name}-{}", std::process::id()));
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    #[test]
    fn finds_what_patterns_stand_for() {
        let root = folder("patterns", &["lib/15/bin/a", "lib/15/lib/jit.so", "lib/15/lib/jit_types.bc"]);
        let find = |pattern: &str| {
            let mut found = matching(&root, pattern).map_err(|error| error.to_string())?;
            found.sort();
            Ok::<_, String>(
                found.iter().map(|path| place(&root, path).unwrap()).collect::<Vec<_>>().join(" "),
            )
        };
        assert_eq!(find("/lib/*/bin/a").unwrap(), "usr/lib/15/bin/a");
        assert_eq!(find("/lib/15/lib/jit*").unwrap(), "usr/lib/15/lib/jit.so usr/lib/15/lib/jit_types.bc");
        assert!(find("/lib/*/bin/b").unwrap_err().contains("there is no /lib/*/bin/b"));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn takes_folders_with_links_and_without_what_is_left_out() {
        let root = folder("folders", &["data/a", "data/deep/b", "data/left/c"]);
        std::os::unix::fs::symlink("a", root.join("data/link")).unwrap();
        let mut entries = Entries::new();
        add(&mut entries, &root.join("data"), "data", &[root.join("data/left")]).unwrap();
        let expected = [
            ("data/a", Entry::File(root.join("data/a"))),
            ("data/deep/b", Entry::File(root.join("data/deep/b"))),
            ("data/link", Entry::Link("a".into())),
        ];
        assert_eq!(entries, expected.map(|(path, entry)| (path.to_owned(), entry)).into());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn puts_files_where_no_folder_is_a_link() {
        assert_eq!(merged("/bin/sh"), "usr/bin/sh");
        assert_eq!(merged("/usr/bin/sh"), "usr/bin/sh");
        assert_eq!(merged("/binary"), "binary");
    }
}
