//! Objects that were made for plugins, as they are kept: what is read from them is read once, when
//! they come. With ten thousand plugins the objects themselves would be most of the memory.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    marker::PhantomData,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use forward_crds::{PLUGIN_LABEL, Word};
use internment::ArcIntern;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde::Serialize;
use serde_json::Value;

use crate::{leaves::Leaves, ownership::is_as_created};

/// For so long at most an object that goes is waited for on its own word.
const LONGEST_GRACE: Duration = Duration::from_secs(3_600);

/// Kinds that are kept.
pub trait Keep: Resource<DynamicType = ()> + Serialize {
    /// What is read from an object.
    type Facts;
    /// Whether objects are compared with what they should be.
    const IS_COMPARED: bool = true;

    /// Read it.
    fn facts(&self) -> Self::Facts;
}

/// What is asked of an object's metadata.
#[derive(Debug)]
pub struct Identity {
    pub namespace: Word,
    pub name: Word,
    pub uid: Option<Box<str>>,
    /// The plugin that its label names.
    pub plugin: Option<Word>,
    pub owners: Owners,
    /// Whether the operator holds fields of it as its creator, which apply does not take away.
    pub is_as_created: bool,
    /// By when it is to be gone, where it was told to go: its grace period from when that was first
    /// seen, by this process's own time, which nobody sets.
    pub deadline: Option<Instant>,
}

/// The owners of an object, which all that was made for one plugin have in common.
pub type Owners = ArcIntern<Box<[Owner]>>;

/// What is asked of a reference to an owner.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    pub kind: Word,
    pub name: Word,
    pub uid: Word,
    pub is_controller: bool,
}

/// An object.
#[derive(Debug)]
pub struct Kept<K: Keep> {
    pub identity: Identity,
    pub facts: K::Facts,
    content: Mutex<Content>,
    kind: PhantomData<fn() -> K>,
}

/// What an object is compared by.
#[derive(Debug)]
enum Content {
    /// All that it says.
    Leaves(Leaves),
    /// It is as it should be: what that was, as a hash.
    Matched(u64),
    /// Nobody compares it.
    None,
}

impl<K: Keep> Kept<K> {
    /// Keep what is asked of an object.
    pub fn new(mut object: K) -> Self {
        let identity = Identity::of(object.meta());
        forget_holders(&mut object);
        let value = K::IS_COMPARED.then(|| serde_json::to_value(&object).ok()).flatten();
        let content = value.map_or(Content::None, |value| Content::Leaves(Leaves::of(&value)));
        Self { identity, facts: object.facts(), content: Mutex::new(content), kind: PhantomData }
    }

    /// Whether everything that is desired is there and, of a `whole` object, nothing else in its spec. The
    /// answer yes is kept instead of the leaves: whatever changes the object comes as a new one.
    pub fn is_as(&self, desired: &Value, whole: bool) -> bool {
        let mut content = self.content();
        match &*content {
            Content::Leaves(leaves) => {
                let is_as = leaves.cover(desired) && (!whole || leaves.are_within(desired));
                if is_as {
                    *content = Content::Matched(hash(desired));
                }
                is_as
            }
            Content::Matched(matched) => *matched == hash(desired),
            Content::None => false,
        }
    }

    /// Take note that the object was made as `desired`. Where that changed nothing, no new object comes.
    pub fn made(&self, desired: &Value) {
        *self.content() = Content::Matched(hash(desired));
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who holds which fields is half of an object's size, and otherwise nothing is decided from it.
pub fn forget_holders(object: &mut impl Resource) {
    object.meta_mut().managed_fields = None;
}

impl Identity {
    fn of(meta: &ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.as_deref().unwrap_or_default().into(),
            name: meta.name.as_deref().unwrap_or_default().into(),
            uid: meta.uid.as_deref().map(Into::into),
            plugin: meta.labels.as_ref().and_then(|labels| Some(labels.get(PLUGIN_LABEL)?.as_str().into())),
            owners: Owners::new(meta.owner_references.iter().flatten().map(Owner::from).collect()),
            is_as_created: meta.managed_fields.as_deref().is_some_and(is_as_created),
            deadline: meta.deletion_timestamp.as_ref().map(|_| Instant::now() + grace_period(meta)),
        }
    }

    /// The name of the object's controller, where that is of the kind.
    pub fn controller(&self, kind: &str) -> Option<&Word> {
        let owner = self.owners.iter().find(|owner| owner.is_controller && &*owner.kind == kind)?;
        Some(&owner.name)
    }
}

impl From<&OwnerReference> for Owner {
    fn from(owner: &OwnerReference) -> Self {
        Self {
            kind: owner.kind.as_str().into(),
            name: owner.name.as_str().into(),
            uid: owner.uid.as_str().into(),
            is_controller: owner.controller == Some(true),
        }
    }
}

/// What an object was given to go; whoever deletes it says that, and may say any number.
fn grace_period(meta: &ObjectMeta) -> Duration {
    let seconds = meta.deletion_grace_period_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Duration::from_secs(seconds.unwrap_or_default()).min(LONGEST_GRACE)
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::{core::v1::Pod, networking::v1::NetworkPolicy};
    use serde_json::json;

    use super::*;

    #[test]
    fn whoever_deletes_an_object_can_say_any_grace_period() {
        let deleted = |seconds: i64| {
            let metadata = json!({"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z",
                                  "deletionGracePeriodSeconds": seconds});
            let pod: Pod = serde_json::from_value(json!({"metadata": metadata})).unwrap();
            Kept::new(pod).identity.deadline.unwrap().saturating_duration_since(Instant::now())
        };
        assert_eq!(deleted(-1), Duration::ZERO);
        assert!((29..=30).contains(&deleted(30).as_secs()));
        assert!((3_599..=3_600).contains(&deleted(i64::MAX).as_secs()));
    }

    #[test]
    fn what_matched_once_matches_until_something_else_is_desired() {
        let spec = json!({"podSelector": {"matchLabels": {"a": "1"}}, "policyTypes": ["Egress"]});
        let policy: NetworkPolicy = serde_json::from_value(json!({"spec": spec})).unwrap();
        let kept = Arc::new(Kept::new(policy));
        let [one, two] =
            ["1", "2"].map(|value| json!({"spec": {"podSelector": {"matchLabels": {"a": value}}}}));
        assert!(!kept.is_as(&two, false));
        assert!(!kept.is_as(&one, true) && kept.is_as(&one, false), "what differed is there to be compared");
        assert!(kept.is_as(&one, true), "it is not compared again");
        assert!(!kept.is_as(&two, false), "there is nothing to compare with");
        kept.made(&two);
        assert!(kept.is_as(&two, true));
        assert!(!kept.is_as(&one, false));
    }
}
