//! One review: from the bytes that the API server sends to what it is told. Changes nothing, so that
//! a dry run is the same as any other.

use std::sync::{Arc, Mutex};

use forward_crds::Plugin;
use forward_plan::{Flaw, Judged, Warning, flaws};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    ResourceExt,
    core::{
        DynamicObject,
        admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation},
    },
};
use serde_json::Value;

use crate::{
    index::{Index, Prospect, lock},
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
pub enum Judgement {
    /// It is allowed, and nothing can be said of it.
    Allowed,
    Foreseen(Foreseen),
    Denied(String),
}

/// What a plugin would meet with.
pub struct Foreseen {
    pub prospect: Prospect,
    pub warnings: Vec<Warning>,
}

/// A body that holds no review.
#[derive(Debug, thiserror::Error)]
pub enum NoReview {
    #[error("the body is no AdmissionReview: {0}")]
    Read(#[source] serde_json::Error),
    #[error("the AdmissionReview holds no request")]
    Empty,
}

/// A request, and the answer to it as far as it is known.
pub fn read(body: &[u8]) -> Result<(AdmissionRequest<DynamicObject>, AdmissionResponse), NoReview> {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body).map_err(NoReview::Read)?;
    let request: AdmissionRequest<DynamicObject> = review.try_into().map_err(|_| NoReview::Empty)?;
    let response = AdmissionResponse::from(&request);
    Ok((request, response))
}

impl Reviewer {
    /// Complete an answer.
    pub fn respond(
        &self,
        mut response: AdmissionResponse,
        judgement: Judgement,
    ) -> AdmissionReview<DynamicObject> {
        let verdict = match judgement {
            Judgement::Denied(why) => {
                tracing::debug!(why, "denied");
                response = response.deny(why);
                Verdict::Denied
            }
            Judgement::Foreseen(foreseen) if !foreseen.warnings.is_empty() => {
                let name = foreseen.prospect.manifest.name_any();
                response.warnings = Some(texts(&name, &foreseen.warnings));
                Verdict::Warned
            }
            Judgement::Foreseen(_) | Judgement::Allowed => Verdict::Allowed,
        };
        self.metrics.reviews.get_or_create(&VerdictLabel { verdict }).inc();
        response.into_review()
    }

    /// What comes of a request.
    pub fn judge(&self, request: AdmissionRequest<DynamicObject>) -> Judgement {
        let AdmissionRequest { operation, object, old_object, namespace, name, .. } = request;
        let namespace = namespace.unwrap_or_default();
        let is_scale = |object: &DynamicObject| object.types.as_ref().is_some_and(|it| it.kind == "Scale");
        match (operation, object, old_object) {
            (Operation::Update, Some(object), _) if is_scale(&object) => {
                self.scale(&namespace, &name, &object)
            }
            (Operation::Create, Some(object), _) => self.put(&namespace, object, None),
            (Operation::Update, Some(object), old) => self.put(&namespace, object, old),
            (Operation::Delete, _, Some(old)) => self.end(&namespace, old),
            _ => Judgement::Allowed,
        }
    }

    /// A plugin is created or changed. What is wrong with a part of the spec that stays as it was is
    /// not denied: it must stay possible to stop the plugin and to take a finalizer off.
    fn put(&self, namespace: &str, object: DynamicObject, old: Option<DynamicObject>) -> Judgement {
        if object.metadata.deletion_timestamp.is_some() {
            return Judgement::Allowed;
        }
        let name = object.name_any();
        let stays = old.as_ref().is_some_and(|old| old.data.get("spec") == object.data.get("spec"));
        let plugin = match decode(object, namespace) {
            Ok(plugin) => plugin,
            Err(_) if stays => return Judgement::Allowed,
            Err(error) => {
                return Judgement::Denied(format!("{name}: it can not be read as a Plugin: {error}"));
            }
        };
        let prospect = self.look(Arc::new(plugin));
        let flaws = self.new_flaws(&prospect, old);
        if flaws.is_empty() {
            return self.foresee(prospect);
        }
        let flaws: Vec<String> = flaws.iter().map(ToString::to_string).collect();
        Judgement::Denied(format!("{name}: {}", flaws.join("; ")))
    }

    /// What is wrong with a plugin in itself and was not left so by a change of `old`.
    fn new_flaws(&self, prospect: &Prospect, old: Option<DynamicObject>) -> Vec<Flaw> {
        let Prospect { manifest, judged, .. } = prospect;
        // From half a list, overrides can seem to count that do not.
        if !self.listed.is_complete() && lock(&self.index).has_rivals(&manifest.name_any()) {
            return Vec::new();
        }
        let mut flaws = flaws(manifest, judged);
        let namespace = manifest.namespace().unwrap_or_default();
        if let Some(Ok(before)) = old.filter(|_| !flaws.is_empty()).map(|old| decode(old, &namespace)) {
            flaws.retain(|flaw| !flaw.is_left(&before, manifest));
        }
        flaws
    }

    fn end(&self, namespace: &str, object: DynamicObject) -> Judgement {
        if object.metadata.deletion_timestamp.is_some() {
            return Judgement::Allowed;
        }
        // One that can not be read may go like any other.
        let Ok(mut plugin) = decode(object, namespace) else { return Judgement::Allowed };
        // When it is deleted makes no difference to what that means.
        plugin.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        self.foresee(self.look(Arc::new(plugin)))
    }

    /// `kubectl scale`: the object is not the plugin.
    fn scale(&self, namespace: &str, name: &str, scale: &DynamicObject) -> Judgement {
        // The API server leaves out a zero.
        let wanted = scale.data.pointer("/spec/replicas").map_or(Some(0), Value::as_i64);
        let known = lock(&self.index).plugin(namespace, name);
        match (known, wanted.map(i32::try_from)) {
            (Some(mut plugin), Some(Ok(replicas))) => {
                Arc::make_mut(&mut plugin).spec.replicas = replicas;
                self.foresee(self.look(plugin))
            }
            _ => Judgement::Allowed,
        }
    }

    /// A plugin with its overrides and with what is thought of its configuration, which is judged
    /// while the index is free for others.
    pub fn look(&self, manifest: Arc<Plugin>) -> Prospect {
        let (effective, known) = lock(&self.index).effective(&manifest);
        let judged = known.unwrap_or_else(|| Arc::new(Judged::of(&effective)));
        Prospect { manifest, effective, judged }
    }

    pub fn foresee(&self, prospect: Prospect) -> Judgement {
        // From half a list, plugins seem to be missing that are not.
        if !self.listed.is_complete() {
            return Judgement::Allowed;
        }
        let warnings = lock(&self.index).foresee(&prospect);
        Judgement::Foreseen(Foreseen { prospect, warnings })
    }
}

/// The plugin that an object is, or why it is none.
fn decode(object: DynamicObject, namespace: &str) -> Result<Plugin, String> {
    let DynamicObject { mut metadata, mut data, .. } = object;
    metadata.namespace.get_or_insert_with(|| namespace.to_owned());
    let mut take = |field: &str| data.get_mut(field).map(Value::take).unwrap_or_default();
    let spec = serde_path_to_error::deserialize(take("spec"));
    let spec = spec.map_err(|error| match error.path().iter().next() {
        Some(_) => format!("spec.{error}"),
        None => format!("spec: {}", error.inner()),
    })?;
    // Only the operator and the gateway write the status: that one of them writes it in another way
    // by now, in the middle of an upgrade, is nothing against the plugin.
    let status = serde_json::from_value(take("status")).unwrap_or_default();
    Ok(Plugin { metadata, spec, status })
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
