//! Very many plugins with all their objects, made after three: none is there before somebody asks for it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::server::{Kind, managed_fields};
use crate::plugins;

const DEPTH: usize = 10;
/// Annotation on a pod template: its hash without that annotation.
const HASH: &str = "goforward.dev/template-hash";
/// Stands for the hash.
const HASH_MARK: &str = "\u{1}hash\u{1}";

/// So many plugins, 10 deep.
pub struct Crowd {
    pub count: usize,
    width: usize,
    /// Of a plugin that needs none, and of one that needs two.
    free: Pattern,
    bound: Pattern,
}

/// The objects of one plugin, with marks for what is another's.
struct Pattern {
    objects: BTreeMap<&'static str, String>,
    /// The pod template as the operator writes it.
    template: String,
}

/// Two that need none, and one that needs both.
pub fn samples() -> [Value; 3] {
    [(0, &[][..]), (1, &[]), (2, &[0, 1])].map(|(number, needs)| {
        let mut plugin = plugins::plugin(number, needs, plugins::RANGE);
        // All have the same configuration, and so its hash.
        plugin["spec"]["config"]["note"] = json!("the same for all");
        plugin
    })
}

impl Crowd {
    /// `objects` are those of the samples, by kind and by the plugin's number; `template` is the pod template
    /// that the operator wrote for one of them.
    pub fn new(
        count: usize,
        objects: impl Fn(usize) -> Vec<(&'static Kind, Value)>,
        template: impl Fn(usize) -> Option<Value>,
    ) -> Result<Self> {
        ensure!(count >= 2 * DEPTH, "there must be at least {} plugins", 2 * DEPTH);
        let pattern = |own: usize, needs: [usize; 2]| {
            let template = template(own).context("the pod template of a sample")?;
            Pattern::new(own, needs, objects(own), template)
        };
        let (free, bound) = (pattern(0, [1, 2])?, pattern(2, [0, 1])?);
        Ok(Self { count, width: count.div_ceil(DEPTH), free, bound })
    }

    pub fn has(&self, kind: &Kind) -> bool {
        self.free.objects.contains_key(kind.plural)
    }

    /// The object of a plugin, as JSON.
    pub fn object(&self, kind: &Kind, number: usize) -> Result<String> {
        let mut needs = plugins::needs(number, self.width);
        // As the samples have theirs.
        needs.sort_unstable();
        let (pattern, needs) = match needs[..] {
            [a, b] => (&self.bound, [a, b]),
            // Nothing of the other two is in it.
            _ => (&self.free, [0, 0]),
        };
        let text = pattern.objects.get(kind.plural).context("a kind")?;
        let object = fill(text, number, needs);
        if !object.contains(HASH_MARK) {
            return Ok(object);
        }
        let hash = hash(&serde_json::from_str(&fill(&pattern.template, number, needs))?)?;
        Ok(object.replace(HASH_MARK, &hash))
    }
}

impl Pattern {
    fn new(
        own: usize,
        needs: [usize; 2],
        objects: Vec<(&'static Kind, Value)>,
        mut template: Value,
    ) -> Result<Self> {
        let noted = template["metadata"]["annotations"].as_object_mut().and_then(|all| all.remove(HASH));
        let noted = noted.as_ref().and_then(Value::as_str).context("the hash of a template")?;
        let template = template.to_string();
        ensure!(hash(&serde_json::from_str(&template)?)? == noted, "the operator hashes templates otherwise");
        let marked = objects.into_iter().map(|(kind, mut object)| {
            object["metadata"]["managedFields"] = managed_fields(kind, &object);
            (kind.plural, mark(object.to_string().replace(noted, HASH_MARK), own, needs))
        });
        Ok(Self { objects: marked.collect(), template: mark(template, own, needs) })
    }
}

/// The hash of a template, as the operator takes it.
fn hash(template: &PodTemplateSpec) -> Result<String> {
    let text = serde_json::to_vec(template)?;
    let mut digest = Sha256::new();
    digest.update((text.len() as u64).to_be_bytes());
    digest.update(&text);
    Ok(digest.finalize().iter().take(5).map(|byte| format!("{byte:02x}")).collect())
}

/// A plugin's name, also as it is in the name of a variable, and the marks that stand for it.
fn names(place: usize, number: usize) -> [(String, String); 2] {
    let name = plugins::name(number);
    let variable = name.to_uppercase().replace('-', "_");
    [(name, format!("\u{1}{place}\u{1}")), (variable, format!("\u{1}{place}^\u{1}"))]
}

fn mark(text: String, own: usize, needs: [usize; 2]) -> String {
    let places =
        [own, needs[0], needs[1]].into_iter().enumerate().flat_map(|(place, number)| names(place, number));
    places.fold(text, |text, (name, mark)| text.replace(&name, &mark))
}

fn fill(text: &str, own: usize, needs: [usize; 2]) -> String {
    let places =
        [own, needs[0], needs[1]].into_iter().enumerate().flat_map(|(place, number)| names(place, number));
    places.fold(text.to_owned(), |text, (name, mark)| text.replace(&mark, &name))
}
