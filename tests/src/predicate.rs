//! What can be said of a plugin, for waits and assertions.

use forward_crds::{Condition, Plugin, PluginState};

/// A condition of a plugin, where it was written for the plugin's current generation.
pub fn condition<'a>(plugin: &'a Plugin, type_: &str) -> Option<&'a Condition> {
    let conditions = &plugin.status.as_ref()?.conditions;
    let current = plugin.metadata.generation;
    conditions.iter().find(|one| one.type_ == type_ && one.observed_generation == current)
}

/// The condition `Ready` is true for the current generation.
pub fn ready(plugin: &Plugin) -> bool {
    condition(plugin, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Ready, and in state Started.
pub fn started(plugin: &Plugin) -> bool {
    ready(plugin) && in_state(PluginState::Started)(plugin)
}

/// The plugin is in a state.
pub fn in_state(state: PluginState) -> impl Fn(&Plugin) -> bool {
    move |plugin| plugin.status.as_ref().is_some_and(|status| status.state == Some(state))
}

/// A condition has a status for the current generation.
pub fn has_condition(type_: &str, status: &str) -> impl Fn(&Plugin) -> bool {
    move |plugin| condition(plugin, type_).is_some_and(|one| one.status == status)
}

/// A condition has a reason for the current generation.
pub fn has_reason(type_: &str, reason: &str) -> impl Fn(&Plugin) -> bool {
    move |plugin| condition(plugin, type_).is_some_and(|one| one.reason == reason)
}
