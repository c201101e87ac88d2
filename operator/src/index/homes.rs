//! Whose an object was when it was last seen. Labels and owners can be changed, and then the object itself
//! does not tell any more whose it was.

use std::collections::BTreeMap;

use forward_crds::Word;

use crate::live::Object;

/// The plugins of the objects of a namespace whose names do not tell, by kind and name.
#[derive(Default)]
pub struct Homes(BTreeMap<(Kind, Word), Word>);

/// The kinds of such objects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    ConfigMap,
    Pod,
    Job,
}

impl Homes {
    /// Note whose an object is now, and answer whose it was.
    pub fn move_to(&mut self, object: &Object, plugin: Option<&Word>) -> Option<Word> {
        let key = key(object)?;
        match plugin {
            Some(plugin) => self.0.insert(key, plugin.clone()),
            None => self.0.remove(&key),
        }
    }
}

fn key(object: &Object) -> Option<(Kind, Word)> {
    Some(match object {
        Object::ConfigMap(object) => (Kind::ConfigMap, object.identity.name.clone()),
        Object::Pod(object) => (Kind::Pod, object.identity.name.clone()),
        Object::Job(object) => (Kind::Job, object.identity.name.clone()),
        Object::Plugin(_)
        | Object::System(_)
        | Object::Deployment(_)
        | Object::Service(_)
        | Object::ServiceAccount(_)
        | Object::NetworkPolicy(_)
        | Object::DisruptionBudget(_) => return None,
    })
}
