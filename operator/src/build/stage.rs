//! What tells pods that wait how far they may go: a file in a volume of its own, so that what changes
//! in it is no change of their configuration. Each spec has its own, since pods of an older one have
//! got further.

use forward_plan::Stage;
use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, EnvVar, Volume, VolumeMount};
use kube::ResourceExt;

use super::{HOOK_REVISION, Input, STAGE, metadata};

/// Where the file is.
const DIR: &str = "/etc/goforward-stage";
/// The name of the volume.
const VOLUME: &str = "stage";

fn name(input: &Input<'_>) -> Option<String> {
    input.stage?;
    Some(format!("{}-stage-{}", input.plugin.name_any(), input.hooks.unwrap_or_default()))
}

pub fn stage_map(input: &Input<'_>) -> Option<ConfigMap> {
    let (name, stage): (String, Stage) = (name(input)?, input.stage?);
    let mut metadata = metadata(input.plugin, name);
    let revision = input.hooks.unwrap_or_default().to_owned();
    metadata.annotations.get_or_insert_default().insert(HOOK_REVISION.to_owned(), revision);
    let data = [(STAGE.to_owned(), stage.as_str().to_owned())].into();
    Some(ConfigMap { metadata, data: Some(data), ..ConfigMap::default() })
}

pub fn volume(input: &Input<'_>) -> Option<Volume> {
    let config_map = ConfigMapVolumeSource { name: name(input)?, ..ConfigMapVolumeSource::default() };
    Some(Volume { name: VOLUME.to_owned(), config_map: Some(config_map), ..Volume::default() })
}

pub fn mount(input: &Input<'_>) -> Option<VolumeMount> {
    input.stage.map(|_| VolumeMount {
        name: VOLUME.to_owned(),
        mount_path: DIR.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    })
}

/// The variable that tells a process to wait.
pub fn variable(input: &Input<'_>) -> Option<EnvVar> {
    input.stage.map(|_| EnvVar {
        name: "GOFORWARD_STAGE_FILE".to_owned(),
        value: Some(format!("{DIR}/{STAGE}")),
        value_from: None,
    })
}
