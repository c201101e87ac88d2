//! A plugin's configuration as files. The ConfigMap is named after its content and never changed:
//! a pod that restarts finds the configuration it was started with, not one that is still being
//! rolled out. That of a plugin which takes new configurations while it runs is one that changes,
//! and says in a file which configuration it holds.

use std::{collections::BTreeMap, fmt::Write};

use forward_crds::{ConfigFrom, KeyRef, Plugin, Reload};
use forward_plan::effective_config;
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, KeyToPath, ProjectedVolumeSource, SecretProjection, VolumeProjection,
};
use kube::ResourceExt;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::metadata;

/// The configuration's ConfigMap, the volume that brings it to the pod, and its hash.
pub struct Config {
    pub config_map: ConfigMap,
    pub volume: ProjectedVolumeSource,
    pub hash: String,
}

impl Config {
    pub fn of(plugin: &Plugin) -> serde_json::Result<Self> {
        Self::read(plugin, plugin.spec.reload == Reload::InPlace)
    }

    /// One that does not change, whatever the plugin takes while it runs.
    pub fn fixed(plugin: &Plugin) -> serde_json::Result<Self> {
        Self::read(plugin, false)
    }

    fn read(plugin: &Plugin, in_place: bool) -> serde_json::Result<Self> {
        let config = serde_json::to_string_pretty(&effective_config(&plugin.spec))?;
        let schema = plugin.spec.config_schema.as_ref().map(serde_json::to_string_pretty).transpose()?;
        let sources = &plugin.spec.config_from;
        let index: Vec<_> = sources
            .iter()
            .enumerate()
            .map(|(number, source)| json!({"path": source.path, "file": file(number)}))
            .collect();
        let index = serde_json::to_string_pretty(&index)?;
        let sources_text = serde_json::to_string(sources)?;
        let mut parts = vec![config.as_bytes(), sources_text.as_bytes()];
        parts.extend(schema.as_ref().map(String::as_bytes));
        let hash = hash(&parts);
        let mut data =
            BTreeMap::from([("config.json".to_owned(), config), ("config-from.json".to_owned(), index)]);
        data.extend(schema.map(|schema| ("config-schema.json".to_owned(), schema)));
        if in_place {
            data.insert("config-hash".to_owned(), hash.clone());
        }
        let name = format!("{}-config-{}", plugin.name_any(), if in_place { "current" } else { &hash });
        let own = VolumeProjection {
            config_map: Some(ConfigMapProjection { name: name.clone(), ..ConfigMapProjection::default() }),
            ..VolumeProjection::default()
        };
        let sources = sources.iter().enumerate().map(|(number, source)| projection(number, source));
        Ok(Self {
            config_map: ConfigMap {
                metadata: metadata(plugin, name),
                data: Some(data),
                immutable: (!in_place).then_some(true),
                ..ConfigMap::default()
            },
            volume: ProjectedVolumeSource {
                sources: Some(std::iter::once(own).chain(sources).collect()),
                ..ProjectedVolumeSource::default()
            },
            hash,
        })
    }
}

/// The first ten hexadecimal digits of the parts' SHA-256: enough to tell one plugin's
/// configurations apart, and short enough for a name.
pub fn hash(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().iter().take(5).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

fn file(number: usize) -> String {
    format!("from/{number}")
}

fn projection(number: usize, source: &ConfigFrom) -> VolumeProjection {
    let ConfigFrom { path: _, secret_key_ref, config_map_key_ref } = source;
    let items = |key_ref: &KeyRef| {
        Some(vec![KeyToPath { key: key_ref.key.clone(), path: file(number), ..KeyToPath::default() }])
    };
    VolumeProjection {
        secret: secret_key_ref.as_ref().map(|key_ref| SecretProjection {
            name: key_ref.name.clone(),
            items: items(key_ref),
            ..SecretProjection::default()
        }),
        config_map: config_map_key_ref.as_ref().map(|key_ref| ConfigMapProjection {
            name: key_ref.name.clone(),
            items: items(key_ref),
            ..ConfigMapProjection::default()
        }),
        ..VolumeProjection::default()
    }
}
