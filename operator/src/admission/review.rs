//! One review: from the bytes that the API server sends to what it is told. Writes nothing and asks
//! nobody, so that a dry run is the same as any other.

use std::sync::{Arc, Mutex};

use forward_crds::Plugin;
use forward_plan::{Warning, flaws};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    ResourceExt,
    core::{
        DynamicObject,
        admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation},
    },
};

use crate::{
    index::{Index, lock},
    metrics::{Metrics, Verdict, VerdictLabel},
    watch::Listed,
};

/// How many characters one warning may have.
const WARNING: usize = 1_000;
/// How many characters all warnings may have: the API server cuts what is longer than 4,096, each to
/// 256.
const WARNINGS: usize = 3_900;

/// Answers reviews from what is known.
#[derive(Clone)]
pub struct Reviewer {
    pub index: Arc<Mutex<Index>>,
    pub listed: Listed,
    pub metrics: Arc<Metrics>,
}

/// What comes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    Allowed(Vec<String>),
    Denied(String),
}

/// A body that holds no review.
#[derive(Debug, thiserror::Error)]
pub enum NoReview {
    #[error("the body is no AdmissionReview: {0}")]
    Read(#[source] serde_json::Error),
    #[error("the AdmissionReview holds no request")]
    Empty,
}

impl Reviewer {
    /// Answer one review.
    ///
    /// # Errors
    /// The body holds none, so that there is nothing to answer.
    pub fn review(&self, body: &[u8]) -> Result<AdmissionReview<DynamicObject>, NoReview> {
        let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body).map_err(NoReview::Read)?;
        let request: AdmissionRequest<DynamicObject> = review.try_into().map_err(|_| NoReview::Empty)?;
        let mut response = AdmissionResponse::from(&request);
        let verdict = match self.judge(request) {
            Judgement::Allowed(warnings) if warnings.is_empty() => Verdict::Allowed,
            Judgement::Allowed(warnings) => {
                response.warnings = Some(warnings);
                Verdict::Warned
            }
            Judgement::Denied(why) => {
                tracing::debug!(why, "denied");
                response = response.deny(why);
                Verdict::Denied
            }
        };
        self.metrics.reviews.get_or_create(&VerdictLabel { verdict }).inc();
        Ok(response.into_review())
    }

    fn judge(&self, request: AdmissionRequest<DynamicObject>) -> Judgement {
        let AdmissionRequest { operation, object, old_object, namespace, .. } = request;
        let namespace = namespace.unwrap_or_default();
        if object.as_ref().is_some_and(|object| object.types.as_ref().is_some_and(|it| it.kind == "Scale")) {
            return Judgement::Allowed(self.scale(&namespace, &request.name, object.as_ref()));
        }
        match operation {
            Operation::Create => match object {
                Some(object) => self.put(&namespace, object, None),
                None => Judgement::Allowed(Vec::new()),
            },
            Operation::Update => match object {
                Some(object) => self.put(&namespace, object, old_object.as_ref()),
                None => Judgement::Allowed(Vec::new()),
            },
            Operation::Delete => {
                let plugin = old_object.and_then(|object| read(object, &namespace).ok());
                Judgement::Allowed(plugin.map(|plugin| self.end(plugin)).unwrap_or_default())
            }
            Operation::Connect => Judgement::Allowed(Vec::new()),
        }
    }

    /// A plugin is created or changed. What is wrong with a spec that stays as it was is not
    /// denied: it must stay possible to take a finalizer off.
    fn put(&self, namespace: &str, object: DynamicObject, old: Option<&DynamicObject>) -> Judgement {
        if object.metadata.deletion_timestamp.is_some() {
            return Judgement::Allowed(Vec::new());
        }
        let name = object.name_any();
        let stays = old.is_some_and(|old| old.data.get("spec") == object.data.get("spec"));
        let plugin = match read(object, namespace) {
            Ok(plugin) => plugin,
            Err(_) if stays => return Judgement::Allowed(Vec::new()),
            Err(error) => {
                return Judgement::Denied(format!("{name}: it can not be read as a Plugin: {error}"));
            }
        };
        let flaws = flaws(&plugin);
        if flaws.is_empty() || stays {
            return Judgement::Allowed(self.foresee(plugin));
        }
        let flaws: Vec<String> = flaws.iter().map(ToString::to_string).collect();
        Judgement::Denied(format!("{name}: {}", flaws.join("; ")))
    }

    fn end(&self, mut plugin: Plugin) -> Vec<String> {
        if plugin.metadata.deletion_timestamp.is_some() {
            return Vec::new();
        }
        // When it is deleted makes no difference to what that means.
        plugin.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        self.foresee(plugin)
    }

    /// `kubectl scale`: the object is not the plugin.
    fn scale(&self, namespace: &str, name: &str, scale: Option<&DynamicObject>) -> Vec<String> {
        let wanted = scale.and_then(|scale| scale.data.get("spec")?.get("replicas")?.as_i64());
        let known = lock(&self.index).plugin(namespace, name);
        let (Some(known), Some(replicas)) = (known, wanted.and_then(|wanted| i32::try_from(wanted).ok()))
        else {
            return Vec::new();
        };
        let mut plugin = Plugin::clone(&known);
        plugin.spec.replicas = replicas;
        self.foresee(plugin)
    }

    fn foresee(&self, plugin: Plugin) -> Vec<String> {
        // From half a list, plugins seem to be missing that are not.
        if !self.listed.is_complete() {
            return Vec::new();
        }
        let name = plugin.name_any();
        let warnings = lock(&self.index).foresee(plugin);
        texts(&name, &warnings)
    }
}

/// The plugin that an object is, or where it is none.
fn read(object: DynamicObject, namespace: &str) -> Result<Plugin, String> {
    let value = serde_json::to_value(object).map_err(|error| error.to_string())?;
    let mut plugin: Plugin = serde_path_to_error::deserialize(value).map_err(|error| error.to_string())?;
    plugin.metadata.namespace.get_or_insert_with(|| namespace.to_owned());
    Ok(plugin)
}

/// Warnings as people see them, no more than the API server passes on whole.
fn texts(name: &str, warnings: &[Warning]) -> Vec<String> {
    let mut texts = Vec::new();
    let mut length = 0;
    for (place, warning) in warnings.iter().enumerate() {
        let text = shortened(&format!("{name}: {warning}"));
        length += text.chars().count();
        if length > WARNINGS {
            let more = warnings.len() - place;
            texts.push(format!("{name}: and {more} more; once it is applied its status says them all"));
            break;
        }
        texts.push(text);
    }
    texts
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(WARNING) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
