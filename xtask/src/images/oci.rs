//! Writes an image as an OCI layout in one tar archive.
//!
//! Invariant: what is in the archive depends on the image's files and settings only,
//! so that the same input always gives the same digest.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// An image of one layer that holds programs at its root.
#[derive(Clone, Debug)]
pub struct Image {
    /// Name and tag, as a pod names it.
    pub reference: String,
    /// The path in the image and the file it is made from.
    pub programs: Vec<(String, PathBuf)>,
    /// The program to run and its arguments.
    pub entrypoint: Vec<String>,
    /// The user that it runs as, and the group.
    pub user: u32,
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
    let mut programs = image.programs.clone();
    programs.sort();
    let mut tar = Builder::new(Vec::new());
    for (path, source) in &programs {
        let content = fs::read(source).with_context(|| format!("read {}", source.display()))?;
        append(&mut tar, path.trim_start_matches('/'), 0o755, &content)?;
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
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len().try_into()?);
    tar.append_data(&mut header, path, content).with_context(|| format!("put {path} into an archive"))
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
                programs: vec![("/app".into(), program)],
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
