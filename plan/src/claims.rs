//! What plugins claim of each other, kept up to date event by event, and the conflicts that come of
//! it. Owns who takes part: plugins that are to run, with the dependencies they cannot do without.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use forward_crds::Word;
use petgraph::stable_graph::NodeIndex;
use semver::Version;

use crate::{
    agreement::{Claim, Claims, Disagreement, Star},
    conflict::{Conflict, ConflictKind, Refusal, Resolution},
    facts::{Facts, Need, Wish},
    namespace::Namespace,
};

/// The range that a plugin has for each plugin that it claims something of, as it is written.
pub(crate) type Stake = BTreeMap<NodeIndex, Option<Word>>;

impl Namespace {
    /// What a plugin claims of others.
    pub(crate) fn stake(&self, index: NodeIndex) -> Stake {
        let runs = self.facts(index).is_some_and(|facts| facts.wish == Wish::Run);
        let required = self.needs(index).filter(|(_, _, need)| runs && !need.optional);
        required.map(|(dependency, _, need)| (dependency, need.text.clone())).collect()
    }

    /// Enter what a plugin claims now in place of what it claimed before. For whom a conflict is now
    /// another is among `touched`; nobody else is looked at.
    pub(crate) fn restake(&mut self, index: NodeIndex, before: Stake, touched: &mut BTreeSet<String>) {
        let after = self.stake(index);
        let name = self.graph[index].name.clone();
        let mut changed = BTreeSet::from([index]);
        for (dependency, text) in before.iter().filter(|(key, text)| after.get(*key) != Some(*text)) {
            let claims = &mut self.graph[*dependency].claims;
            if let Some(claim) = claims.get_mut(text) {
                claim.by.remove(&name);
                if claim.by.is_empty() {
                    claims.remove(text);
                }
            }
            changed.insert(*dependency);
        }
        for (dependency, text) in after.iter().filter(|(key, text)| before.get(*key) != Some(*text)) {
            let need = self.facts(index).and_then(|facts| facts.needs.get(self.name(*dependency)));
            let range = need.and_then(|need| need.range.clone());
            let claims = &mut self.graph[*dependency].claims;
            if claims.is_empty() {
                // Most have one range for it.
                *claims = Claims::with_capacity(1);
            }
            let claim = claims.entry(text.clone()).or_insert_with(|| Claim { range, ..Claim::default() });
            claim.by.insert(&name);
            changed.insert(*dependency);
        }
        for dependency in changed {
            self.reconsider(dependency, touched);
        }
    }

    /// Work out anew what those who need a plugin cannot agree on. Whom that concerns is told where
    /// it is something else than before.
    fn reconsider(&mut self, index: NodeIndex, touched: &mut BTreeSet<String>) {
        let found = self.star(index).and_then(|star| star.disagreement()).map(Arc::new);
        if self.graph[index].disagreement == found {
            return;
        }
        self.graph[index].disagreement = found;
        let version = self.facts(index).and_then(|facts| facts.version.as_ref().ok());
        let concerned = |claim: &&Claim| version.is_none_or(|version| claim.refuses(version));
        let claims = self.graph[index].claims.values().filter(concerned);
        touched.extend(claims.flat_map(|claim| claim.by.iter().map(Word::to_string)));
    }

    /// A plugin with the claims on it; nothing where it is not its version that matters.
    fn star(&self, index: NodeIndex) -> Option<Star<'_>> {
        let node = &self.graph[index];
        let version = match &node.facts {
            None => None,
            Some(facts) if facts.wish == Wish::Run => Some(facts.version.as_ref().ok()?),
            Some(_) => return None,
        };
        Some(Star { name: &node.name, version, claims: &node.claims })
    }

    /// The conflict that keeps a plugin and what it needs apart.
    pub(crate) fn conflict(&self, by: &Facts, dependency: NodeIndex, need: &Need) -> Option<Conflict> {
        let node = &self.graph[dependency];
        let disagreement = node.disagreement.as_ref()?;
        if need.optional || by.wish != Wish::Run {
            return None;
        }
        let name = by.plugin.metadata.name.as_deref().unwrap_or_default();
        let version = node.facts.as_ref().and_then(|facts| facts.version.as_ref().ok());
        explain(&Star { name: &node.name, version, claims: &node.claims }, disagreement, name, need)
    }

    /// What would free a new version that plugins that run refuse: the last resolution lets it
    /// through, those before it take no more edits and give it up.
    pub(crate) fn ways_out(&self, index: NodeIndex, version: Option<&Version>) -> Vec<Resolution> {
        let mut claims = Claims::new();
        for dependent in self.dependents(index) {
            let Some(need) = self.running_need(dependent, index) else { continue };
            let claim = claims.entry(need.text.clone()).or_default();
            claim.range = need.range.clone();
            claim.by.insert(&self.graph[dependent].name);
        }
        Star { name: self.name(index), version, claims: &claims }.resolutions(true)
    }

    /// What a plugin that runs, and is to, cannot do without of another.
    pub(crate) fn running_need(&self, dependent: NodeIndex, index: NodeIndex) -> Option<&Need> {
        let by = self.facts(dependent).filter(|by| by.wish == Wish::Run && by.is_alive())?;
        by.needs.get(self.name(index)).filter(|need| !need.optional)
    }
}

/// The conflict over a plugin, as it is told of one of those who need it; nothing where that one
/// accepts the version that there is.
pub(crate) fn explain(
    star: &Star<'_>,
    disagreement: &Disagreement,
    name: &str,
    need: &Need,
) -> Option<Conflict> {
    if star.version.is_some_and(|version| need.accepts(version)) {
        return None;
    }
    let found = &disagreement.exclusive;
    let (kind, mut members) = match star.version {
        _ if !found.is_empty() => {
            let ranges = exclusive(name, need, star.claims, found);
            let members = ranges.iter().map(|member| member.name.clone()).collect();
            (ConflictKind::Exclusive { ranges }, members)
        }
        Some(_) => (ConflictKind::Version, vec![name.to_owned(), star.name.to_owned()]),
        None => (ConflictKind::Missing, vec![name.to_owned()]),
    };
    members.sort();
    Some(Conflict { kind, members, resolutions: disagreement.resolutions.clone() })
}

/// Those who exclude each other, with the plugin that is told in the place of one of them where it
/// excludes the other as well.
fn exclusive(name: &str, need: &Need, claims: &Claims, found: &[Refusal]) -> Vec<Refusal> {
    let excludes = |other: &Refusal| {
        let claim = claims.get(&Some(other.range.as_str().into()));
        let theirs = claim.and_then(|claim| claim.range.as_ref());
        need.range.as_ref().zip(theirs).is_some_and(|(ours, theirs)| !ours.meets(theirs))
    };
    let mut members = found.to_vec();
    if let ([first, second], Some(text)) = (found, &need.text)
        && let Some(other) = [first, second].into_iter().find(|other| excludes(other))
    {
        members = vec![Refusal { name: name.to_owned(), range: text.to_string() }, other.clone()];
        members.sort();
    }
    members
}
