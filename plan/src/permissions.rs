//! What a plugin's `template` may ask for: the fields that lead out of the sandbox, and what the
//! namespace's PluginSystem says of them. Owns the defaults and the words of a refusal.

use std::fmt;

use forward_crds::{PluginSpec, TemplateRules};
use k8s_openapi::api::core::v1::Toleration;

/// What stands for every name in a list.
const EVERY: &str = "*";
/// Taints by which nodes of a role, first of all those of the control plane, keep others away.
const ROLES: &str = "node-role.kubernetes.io/";
/// Annotations that take a container's AppArmor profile away.
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// The one profile that is no way out: what a container has anyway.
const RUNTIME_DEFAULT: &str = "runtime/default";
/// How many names a sentence lists, and how many characters of each: no field bounds them, and a
/// condition's message may have 32 KiB.
const LISTED: usize = 8;
const SHOWN: usize = 100;

/// What plugins of a namespace may ask for in their `template`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    service_accounts: Vec<String>,
    priority_classes: Vec<String>,
    /// Absent: every key but those of roles.
    toleration_keys: Option<Vec<String>>,
}

/// Something that a plugin asks for and may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which field.
    pub field: Field,
    /// What it says; for a toleration, the key, which is empty for one of every taint.
    pub value: String,
    /// What may stand there, where the PluginSystem says so.
    pub allowed: Option<Vec<String>>,
}

/// A field of `template` that leads out of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `serviceAccountName`: the account's token is mounted.
    ServiceAccount,
    /// `priorityClassName`: others are driven out.
    PriorityClass,
    /// `tolerations`: nodes that are kept for something else.
    Toleration,
    /// `annotations`, where one takes a container's AppArmor profile away.
    AppArmor,
}

impl From<Option<&TemplateRules>> for Permissions {
    fn from(rules: Option<&TemplateRules>) -> Self {
        let TemplateRules { service_account_names, priority_class_names, toleration_keys } =
            rules.cloned().unwrap_or_default();
        Self {
            service_accounts: service_account_names,
            priority_classes: priority_class_names,
            toleration_keys,
        }
    }
}

impl Permissions {
    /// Everything that a plugin asks for and may not have.
    pub fn breaches(&self, plugin: &PluginSpec) -> Vec<Breach> {
        let Some(template) = &plugin.template else { return Vec::new() };
        let named = |field, value: &Option<String>, allowed: &[String]| {
            let value = value.as_ref().filter(|value| !holds(allowed, value))?;
            let allowed = (!allowed.is_empty()).then(|| allowed.to_vec());
            Some(Breach { field, value: value.clone(), allowed })
        };
        let account = named(Field::ServiceAccount, &template.service_account_name, &self.service_accounts);
        let class = named(Field::PriorityClass, &template.priority_class_name, &self.priority_classes);
        let tolerations = template.tolerations.iter().filter_map(|toleration| self.toleration(toleration));
        let profiles = template
            .annotations
            .iter()
            .filter(|(key, value)| key.starts_with(APP_ARMOR) && value.as_str() != RUNTIME_DEFAULT);
        let profiles =
            profiles.map(|(key, _)| Breach { field: Field::AppArmor, value: key.clone(), allowed: None });
        let mut found: Vec<_> = account.into_iter().chain(class).chain(tolerations).chain(profiles).collect();
        found.dedup();
        found
    }

    fn toleration(&self, toleration: &Toleration) -> Option<Breach> {
        let key = toleration.key.as_deref().unwrap_or_default();
        let allowed = match &self.toleration_keys {
            Some(keys) => holds(keys, key),
            None => !key.is_empty() && !key.starts_with(ROLES),
        };
        (!allowed).then(|| Breach {
            field: Field::Toleration,
            value: key.to_owned(),
            allowed: self.toleration_keys.clone(),
        })
    }
}

/// Whether a list holds a name. A toleration of every taint has none, and entries have one: it
/// needs what stands for every name.
fn holds(list: &[String], name: &str) -> bool {
    list.iter().any(|entry| entry == EVERY || entry == name)
}

impl Field {
    /// The field of a plugin.
    fn path(self) -> &'static str {
        match self {
            Self::ServiceAccount => "spec.template.serviceAccountName",
            Self::PriorityClass => "spec.template.priorityClassName",
            Self::Toleration => "spec.template.tolerations",
            Self::AppArmor => "spec.template.annotations",
        }
    }

    /// The list of the PluginSystem that would allow it.
    fn list(self) -> Option<&'static str> {
        match self {
            Self::ServiceAccount => Some("serviceAccountNames"),
            Self::PriorityClass => Some("priorityClassNames"),
            Self::Toleration => Some("tolerationKeys"),
            Self::AppArmor => None,
        }
    }

    /// What holds where the PluginSystem allows nothing.
    fn rule(self) -> &'static str {
        match self {
            Self::ServiceAccount => "a plugin has an account of its own, without rights",
            Self::PriorityClass => "a plugin has none",
            Self::Toleration => "all are but those of every taint and of a node's role",
            Self::AppArmor => "a plugin has the container runtime's AppArmor profile",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, allowed } = self;
        let path = field.path();
        let shown = shorten(value);
        match (field, value.as_str()) {
            (Field::Toleration, "") => write!(f, "{path} has one of every taint, without a key")?,
            (Field::Toleration | Field::AppArmor, _) => write!(f, "{path} has \"{shown}\"")?,
            (Field::ServiceAccount | Field::PriorityClass, _) => write!(f, "{path} is \"{shown}\"")?,
        }
        f.write_str(", which is not allowed here (")?;
        match allowed.as_deref() {
            None => f.write_str(field.rule())?,
            Some([]) => f.write_str("none is")?,
            Some(allowed) => write!(f, "what is: {}", list(allowed.iter().map(|name| shorten(name)), ", "))?,
        }
        f.write_str("): leave it out")?;
        let Some(list) = field.list() else { return Ok(()) };
        let entry = if value.is_empty() { EVERY } else { &shown };
        write!(f, ", or add \"{entry}\" to spec.templates.{list} of the PluginSystem \"default\"")
    }
}

/// What a plugin asks for and may not have, in a sentence.
pub fn tell(breaches: &[Breach]) -> String {
    list(breaches.iter().map(ToString::to_string), "; ")
}

fn list(items: impl ExactSizeIterator<Item = String>, separator: &str) -> String {
    let more = items.len().saturating_sub(LISTED);
    let text = items.take(LISTED).collect::<Vec<_>>().join(separator);
    if more > 0 { format!("{text} and {more} more") } else { text }
}

fn shorten(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn breaches(rules: Value, template: Value) -> Vec<String> {
        let rules: Option<TemplateRules> = serde_json::from_value(rules).unwrap();
        let spec = json!({"version": "1.0.0", "image": "a", "template": template});
        let spec: PluginSpec = serde_json::from_value(spec).unwrap();
        let found = Permissions::from(rules.as_ref()).breaches(&spec);
        found.iter().map(|breach| format!("{:?} {}", breach.field, breach.value)).collect()
    }

    #[test]
    fn nothing_that_leads_out_is_allowed_by_default() {
        let template = json!({
            "serviceAccountName": "shop",
            "priorityClassName": "high",
            "tolerations": [{"operator": "Exists"}, {"key": "node-role.kubernetes.io/control-plane"},
                            {"key": "", "operator": "Exists"}, {"key": "", "operator": "Exists"},
                            {"key": "dedicated"}],
            "annotations": {"container.apparmor.security.beta.kubernetes.io/plugin": "unconfined",
                            "container.apparmor.security.beta.kubernetes.io/other": "runtime/default"},
        });
        let expected = [
            "ServiceAccount shop",
            "PriorityClass high",
            "Toleration ",
            "Toleration node-role.kubernetes.io/control-plane",
            "Toleration ",
            "AppArmor container.apparmor.security.beta.kubernetes.io/plugin",
        ];
        assert_eq!(breaches(json!(null), template.clone()), expected);
        assert_eq!(breaches(json!({}), template), expected);
    }

    #[test]
    fn what_is_harmless_needs_no_leave() {
        let template = json!({"labels": {"team": "shop"}, "nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "a"}]});
        assert_eq!(breaches(json!(null), template), [""; 0]);
        assert_eq!(breaches(json!(null), json!(null)), [""; 0]);
    }

    #[test]
    fn lists_allow_what_they_name_and_nothing_else() {
        let rules = json!({"serviceAccountNames": ["mailer"], "priorityClassNames": ["high"],
                           "tolerationKeys": ["node-role.kubernetes.io/control-plane"]});
        let template = |account: &str, class: &str, key: &str| json!({"serviceAccountName": account, "priorityClassName": class, "tolerations": [{"key": key}]});
        let role = "node-role.kubernetes.io/control-plane";
        assert_eq!(breaches(rules.clone(), template("mailer", "high", role)), [""; 0]);
        assert_eq!(
            breaches(rules.clone(), template("mail", "higher", "dedicated")),
            ["ServiceAccount mail", "PriorityClass higher", "Toleration dedicated"]
        );
        let of_every = json!({"tolerations": [{"operator": "Exists"}]});
        assert_eq!(breaches(rules, of_every), ["Toleration "]);
    }

    #[test]
    fn a_refusal_fits_into_a_condition() {
        let long = "x".repeat(10_000);
        let keys: Vec<_> = (0..64).map(|n| format!("{n}{long}")).collect();
        let tolerations: Vec<_> = (0..500).map(|n| json!({"key": format!("a{n}{long}")})).collect();
        let spec = json!({"version": "1.0.0", "image": "a", "template": {"tolerations": tolerations}});
        let rules: TemplateRules = serde_json::from_value(json!({"tolerationKeys": keys})).unwrap();
        let found = Permissions::from(Some(&rules)).breaches(&serde_json::from_value(spec).unwrap());
        let text = tell(&found);
        assert!(text.len() < 16 << 10 && text.ends_with("and 492 more"), "{} bytes", text.len());
    }

    #[test]
    fn a_star_allows_every_name() {
        let every = json!(["*"]);
        let rules =
            json!({"serviceAccountNames": every, "priorityClassNames": every, "tolerationKeys": every});
        let template = json!({"serviceAccountName": "a", "priorityClassName": "b",
                              "tolerations": [{"operator": "Exists"}, {"key": "c"}]});
        assert_eq!(breaches(rules, template), [""; 0]);
        assert_eq!(
            breaches(json!({"tolerationKeys": []}), json!({"tolerations": [{"key": "c"}]})),
            ["Toleration c"]
        );
    }
}
