//! How a plugin stands among the others: whether it may go, what is in its way, and what those who
//! need it see of it.

use forward_crds::{PluginState, Word};
use petgraph::stable_graph::NodeIndex;
use semver::Version;

use crate::{
    conflict::Refusal,
    facts::{Facts, Need, Wish},
    hooks::Ledger,
    namespace::Namespace,
    reason::{Cause, Hindrance, Obstacle, Reason},
    slots::Claim,
};

/// What those who need a plugin see of it. When it changes they are looked at again, so that what
/// makes no difference to them has no place here.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub standing: Standing,
    /// The version of the spec as it is written; absent where there is no plugin.
    pub version: Option<Word>,
    pub parsed: Option<Version>,
    pub state: Option<PluginState>,
    /// The version that serves.
    pub serving: Option<Version>,
}

/// How a plugin stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Its current spec is rolled out.
    Ready,
    /// It is on its way there.
    OnItsWay,
    /// It is not, and the cause is its own.
    Off(Cause),
    /// It is not, and the cause lies with what it needs.
    Behind { root: String, cause: Cause },
}

/// What keeps a plugin from going to its current spec.
pub enum Obstruction {
    Cycle,
    Refused(Vec<Refusal>),
    /// At least one dependency does not come by waiting.
    Blocked(Vec<Obstacle>),
    Waiting(Vec<Obstacle>),
}

impl Default for View {
    /// That of a plugin that there is not.
    fn default() -> Self {
        let standing = Standing::Off(Cause::Missing);
        Self { standing, version: None, parsed: None, state: None, serving: None }
    }
}

impl Namespace {
    /// What others see of a plugin, and what it has to do with slots.
    pub(crate) fn assess(&self, index: NodeIndex) -> (View, Option<Claim>) {
        let Some(facts) = self.facts(index) else { return (View::default(), None) };
        let (standing, claim) = match facts.wish {
            Wish::Delete => (Standing::Off(Cause::Deleting), None),
            Wish::Unload => (Standing::Off(Cause::Disabled), None),
            Wish::Stop => (Standing::Off(Cause::Stopped), None),
            Wish::Run => self.assess_wanted(index, facts),
        };
        let view = View {
            standing,
            version: Some(facts.plugin.spec.version.as_str().into()),
            parsed: facts.version.clone().ok(),
            state: Some(facts.state()),
            serving: facts.serving.as_ref().and_then(|serving| serving.version.clone()),
        };
        (view, claim)
    }

    fn assess_wanted(&self, index: NodeIndex, facts: &Facts) -> (Standing, Option<Claim>) {
        if facts.version.is_err() {
            return (Standing::Off(Cause::Invalid), None);
        }
        if facts.is_rolled_out(&self.settings) {
            return (Standing::Ready, None);
        }
        if facts.is_applied(&self.settings) {
            let held = Ledger::read(facts, &self.settings).and_then(|mut ledger| ledger.permit());
            return match (facts.failure(), held.as_ref().and_then(Cause::of_hold)) {
                (Some(failure), _) => (Standing::Off(Cause::Failed(failure)), None),
                (None, Some(cause)) => (Standing::Off(cause), None),
                (None, None) => (Standing::OnItsWay, Some(Claim::Climbing)),
            };
        }
        match facts.forbidden(&self.settings) {
            Some(Reason::NotAllowed { .. }) => return (Standing::Off(Cause::NotAllowed), None),
            Some(_) => return (Standing::Off(Cause::TemplateNotAllowed), None),
            None => {}
        }
        if facts.violations().is_some() {
            return (Standing::Off(Cause::ConfigInvalid), None);
        }
        if self.places.surplus(self.name(index)).is_some() {
            return (Standing::Off(Cause::Surplus), None);
        }
        let kept = Ledger::read(facts, &self.settings).and_then(|ledger| ledger.keeps_from_loading());
        match self.obstruction(index, facts) {
            None if let Some(cause) = kept.as_ref().and_then(Cause::of_hold) => (Standing::Off(cause), None),
            None => (Standing::OnItsWay, Some(Claim::Free { priority: facts.plugin.spec.priority })),
            Some(Obstruction::Cycle) => (Standing::Off(Cause::Cycle), None),
            Some(Obstruction::Refused(_)) => (Standing::Off(Cause::Held), None),
            Some(Obstruction::Waiting(_)) => (Standing::OnItsWay, None),
            Some(Obstruction::Blocked(obstacles)) => (behind(obstacles), None),
        }
    }

    /// What keeps a plugin that is wanted from going to its current spec.
    pub(crate) fn obstruction(&self, index: NodeIndex, facts: &Facts) -> Option<Obstruction> {
        if self.graph[index].cycle.is_some() {
            return Some(Obstruction::Cycle);
        }
        let refusals = self.refusals(index);
        if !refusals.is_empty() {
            return Some(Obstruction::Refused(refusals));
        }
        let knot = self.graph[index].knot.as_ref();
        let mut obstacles = Vec::new();
        for (dependency, _, need) in self.needs(index) {
            let Some(obstacle) = self.obstacle_to_go(facts, dependency, need) else { continue };
            let is_optional_way = obstacle.hindrance == Hindrance::OnItsWay
                && !knot.is_some_and(|knot| knot.contains(&dependency));
            if !need.optional || is_optional_way {
                obstacles.push(obstacle);
            }
        }
        obstacles.sort_by(|a, b| (&a.hindrance, &a.name).cmp(&(&b.hindrance, &b.name)));
        match obstacles.first()?.hindrance {
            Hindrance::OnItsWay => Some(Obstruction::Waiting(obstacles)),
            _ => Some(Obstruction::Blocked(obstacles)),
        }
    }

    /// Why a dependency is not ready for the current spec of a plugin.
    pub(crate) fn obstacle_to_go(
        &self,
        facts: &Facts,
        dependency: NodeIndex,
        need: &Need,
    ) -> Option<Obstacle> {
        let view = &self.graph[dependency].view;
        let hindrance = view.hindrance_to_go(facts, need)?;
        Some(self.obstacle(facts, dependency, need, view.version.clone(), hindrance))
    }

    /// Why a dependency does not serve a plugin whose current spec was applied. That an update of
    /// the dependency is under way or fails is no reason as long as the old version serves.
    pub(crate) fn obstacle_to_stay(
        &self,
        facts: &Facts,
        dependency: NodeIndex,
        need: &Need,
    ) -> Option<Obstacle> {
        let (version, hindrance) = self.graph[dependency].view.hindrance_to_stay(need)?;
        Some(self.obstacle(facts, dependency, need, version, hindrance))
    }

    fn obstacle(
        &self,
        facts: &Facts,
        dependency: NodeIndex,
        need: &Need,
        version: Option<Word>,
        hindrance: Hindrance,
    ) -> Obstacle {
        let is_conflict = matches!(hindrance, Hindrance::Direct(Cause::Missing | Cause::VersionConflict));
        Obstacle {
            name: self.name(dependency).to_owned(),
            range: need.text.clone(),
            version,
            state: self.graph[dependency].view.state,
            optional: need.optional,
            conflict: if is_conflict { self.conflict(facts, dependency, need) } else { None },
            hindrance,
        }
    }

    /// The plugins that run and do not accept the new version of a plugin that runs.
    pub(crate) fn refusals(&self, index: NodeIndex) -> Vec<Refusal> {
        self.dependents(index).into_iter().filter_map(|dependent| self.refusal(dependent, index)).collect()
    }

    /// The refusal of one dependent: it runs, with the version that serves, and not with the one to
    /// come. Where it accepts neither there is nothing to save.
    pub(crate) fn refusal(&self, dependent: NodeIndex, index: NodeIndex) -> Option<Refusal> {
        refusal(self.name(dependent), self.running_need(dependent, index)?, self.facts(index)?)
    }
}

/// The refusal of a dependent that runs and needs a plugin.
pub(crate) fn refusal(dependent: &str, need: &Need, facts: &Facts) -> Option<Refusal> {
    let serving = facts.serving.as_ref()?.version.as_ref()?;
    let coming = facts.version.as_ref().ok()?;
    (need.accepts(serving) && !need.accepts(coming)).then(|| Refusal {
        name: dependent.to_owned(),
        range: need.text.as_deref().unwrap_or("*").to_owned(),
    })
}

impl View {
    /// Why the plugin is not ready for the current spec of one that needs it.
    pub fn hindrance_to_go(&self, facts: &Facts, need: &Need) -> Option<Hindrance> {
        let accepts = |version: &Version| need.accepts(version);
        // An update that is held for the plugin's own sake must not hold the plugin in turn.
        let serves = self.serving.as_ref().is_some_and(accepts);
        if self.standing == Standing::Off(Cause::Held) && facts.is_alive() && serves {
            return None;
        }
        match &self.standing {
            Standing::Off(
                cause @ (Cause::Missing
                | Cause::Invalid
                | Cause::NotAllowed
                | Cause::Surplus
                | Cause::TemplateNotAllowed
                | Cause::Deleting
                | Cause::Disabled
                | Cause::Stopped),
            ) => Some(Hindrance::Direct(*cause)),
            _ if !self.parsed.as_ref().is_some_and(accepts) => {
                Some(Hindrance::Direct(Cause::VersionConflict))
            }
            standing => standing.hindrance(),
        }
    }

    /// Why the plugin does not serve one whose current spec was applied, and in which version.
    pub fn hindrance_to_stay(&self, need: &Need) -> Option<(Option<Word>, Hindrance)> {
        match &self.serving {
            Some(serving) if need.accepts(serving) => None,
            Some(serving) => {
                Some((Some(serving.to_string().into()), Hindrance::Direct(Cause::VersionConflict)))
            }
            None => Some((self.version.clone(), self.standing.hindrance().unwrap_or(Hindrance::OnItsWay))),
        }
    }
}

impl Standing {
    fn hindrance(&self) -> Option<Hindrance> {
        match self {
            Self::Ready => None,
            Self::OnItsWay => Some(Hindrance::OnItsWay),
            Self::Off(cause) => Some(Hindrance::Direct(*cause)),
            Self::Behind { root, cause } => Some(Hindrance::Indirect { root: root.clone(), cause: *cause }),
        }
    }
}

/// The standing of a plugin with obstacles that do not pass: the first of them is the cause.
fn behind(obstacles: Vec<Obstacle>) -> Standing {
    let worst = obstacles.into_iter().next().map(|obstacle| (obstacle.name, obstacle.hindrance));
    match worst {
        Some((_, Hindrance::Indirect { root, cause })) => Standing::Behind { root, cause },
        Some((name, Hindrance::Direct(cause))) => Standing::Behind { root: name, cause },
        Some((_, Hindrance::OnItsWay)) | None => Standing::OnItsWay,
    }
}
