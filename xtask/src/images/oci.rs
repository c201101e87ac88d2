//! Writes an image as an OCI layout in one tar archive.
//!
//! Invariant: what is in the archive depends on the image's files and settings only,
//! so that the same input always gives the same digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// An image of one layer.
#[derive(Clone, Debug)]
pub struct Image {
    /// Name and tag, as a pod names it.
    pub reference: String,
    /// By the path in the image, without a slash at its start and with no link on its way.
    pub entries: BTreeMap<String, Entry>,
    /// The program to run and its arguments.
    pub entrypoint: Vec<String>,
    /// The user that it runs as, and the group.
    pub user: u32,
}

/// What is at a path of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Made from this file. Everybody may read it, and run it where somebody may.
    File(PathBuf),
    /// A symbolic link that leads there.
    Link(PathBuf),
}

impl Entry {
    /// The file that it is made from.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Link(_) => None,
        }
    }
}

/// A part of an image under the digest of its content.
struct Blob {
    kind: &'static str,
    digest: String,
    content: Vec<u8>,
}

impl Blob {
    fn new(kind: &'static str, content: Vec<u8>) -> Self {
        let digest = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { kind, digest, content }
    }

    fn json(kind: &'static str, value: &Value) -> Result<Self> {
        Ok(Self::new(kind, serde_json::to_vec(value)?))
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.kind, "digest": format!("sha256:{}", self.digest), "size": self.content.len()})
    }
}

/// Writes the archive and gives the image's digest.
pub fn write(image: &Image, archive: &Path) -> Result<String> {
    let layer = Blob::new("application/vnd.oci.image.layer.v1.tar", layer(image)?);
    let config = Blob::json("application/vnd.oci.image.config.v1+json", &config(image, &layer))?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    });
    let manifest = Blob::json("application/vnd.oci.image.manifest.v1+json", &manifest)?;
    let mut listed = manifest.descriptor();
    listed["annotations"] = json!({
        "io.containerd.image.name": image.reference,
        "org.opencontainers.image.ref.name": image.reference.rsplit(':').next(),
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [listed],
    });

    let folder = archive.parent().context("a folder for the archive")?;
    fs::create_dir_all(folder)?;
    let unfinished = archive.with_extension("new");
    let mut tar = Builder::new(File::create(&unfinished)?);
    append(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut tar, "index.json", 0o644, &serde_json::to_vec(&index)?)?;
    for blob in [&manifest, &config, &layer] {
        append(&mut tar, &format!("blobs/sha256/{}", blob.digest), 0o644, &blob.content)?;
    }
    tar.into_inner()?;
    fs::rename(&unfinished, archive).with_context(|| format!("write {}", archive.display()))?;
    Ok(format!("sha256:{}", manifest.digest))
}

fn layer(image: &Image) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    // Folders that are not named get rights that differ from one runtime to another.
    let folders: BTreeSet<_> =
        image.entries.keys().flat_map(|path| Path::new(path).ancestors().skip(1)).collect();
    for path in folders.into_iter().filter(|path| !path.as_os_str().is_empty()) {
        folder(&mut tar, path)?;
    }
    for (path, entry) in &image.entries {
        match entry {
            Entry::File(source) => {
                let content = fs::read(source).with_context(|| format!("read {}", source.display()))?;
                let runs = fs::metadata(source)?.permissions().mode() & 0o111 != 0;
                append(&mut tar, path, if runs { 0o755 } else { 0o644 }, &content)?;
            }
            Entry::Link(target) => link(&mut tar, path, target)?,
        }
    }
    Ok(tar.into_inner()?)
}

fn config(image: &Image, layer: &Blob) -> Value {
    json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": architecture(),
        "os": "linux",
        "config": {"User": format!("{0}:{0}", image.user), "WorkingDir": "/", "Entrypoint": image.entrypoint},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)]},
    })
}

/// This machine's, in the words of images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn append(tar: &mut Builder<impl Write>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = header(EntryType::Regular, mode);
    header.set_size(content.len().try_into()?);
    tar.append_data(&mut header, path, content).with_context(|| format!("put {path} into an archive"))
}

fn folder(tar: &mut Builder<impl Write>, path: &Path) -> Result<()> {
    let mut header = header(EntryType::Directory, 0o755);
    header.set_size(0);
    tar.append_data(&mut header, path, &[][..])
        .with_context(|| format!("put {} into an archive", path.display()))
}

fn link(tar: &mut Builder<impl Write>, path: &str, target: &Path) -> Result<()> {
    let mut header = header(EntryType::Symlink, 0o777);
    header.set_size(0);
    tar.append_link(&mut header, path, target).with_context(|| format!("put {path} into an archive"))
}

/// With nothing in it that depends on the file's owner or age.
fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_same_digest_for_the_same_input() {
        let folder = std::env::temp_dir().join(format!("forward-oci-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let write_as = |name: &str, user| {
            let program = folder.join(name);
            fs::write(&program, "content").unwrap();
            let image = Image {
                reference: "forward.local/app:1.0.0".into(),
                entries: [
                    ("app".into(), Entry::File(program)),
                    ("bin".into(), Entry::Link("usr/bin".into())),
                ]
                .into(),
                entrypoint: vec!["/app".into()],
                user,
            };
            let archive = folder.join(format!("{name}.tar"));
            (write(&image, &archive).unwrap(), fs::read(&archive).unwrap())
        };
        // Neither the source's name nor its time is in the image; its user is.
        assert_eq!(write_as("one", 65532), write_as("two", 65532));
        assert_ne!(write_as("one", 65532).0, write_as("two", 0).0);
        fs::remove_dir_all(&folder).unwrap();
    }
}
