//! What applying a plugin would mean, before it is applied. Owns the view of a namespace in which
//! one plugin is another than it is; the namespace itself is not touched. Costs what the plugin needs
//! and who needs it, and, where not all agree on a version, those who take part.

use std::{collections::BTreeSet, fmt, sync::Arc};

use forward_crds::{Plugin, Word};
use petgraph::{Direction, stable_graph::NodeIndex};

use crate::{
    agreement::{Claims, Star},
    assess::{Standing, View, refusal},
    claims::explain,
    config::{Judged, Unknown},
    conflict::{Conflict, Fix, Refusal, Resolution},
    cycles::{Circle, circles},
    facts::{Facts, Need, Wish},
    namespace::Namespace,
    places::Surplus,
    reason::{Cause, Hindrance, Obstacle, Purpose, Reason, list},
    routes::PluginId,
};

/// Something that stands in the way of what somebody wants by applying a plugin, and that another
/// object could make right. `Display` says it in the words of the status, without the plugin's name.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// The decision that would be made: a cycle, an update that is held, an end that is held; also,
    /// where it runs already, that its configuration does not fit.
    Decision(Reason),
    /// A dependency is not as the plugin needs it.
    Dependency(Obstacle),
    /// Plugins that need it do not accept its version; none of them would hold the update.
    Unaccepted {
        /// The version.
        version: String,
        /// Who does not accept it.
        dependents: Vec<Refusal>,
        /// What to do.
        resolutions: Vec<Resolution>,
    },
    /// It would go down, and others that cannot do without it would not hold it.
    Missed {
        /// Who needs it.
        by: Vec<String>,
        /// What would happen to it.
        purpose: Purpose,
    },
    /// Its configuration has what its schema does not know.
    UnknownKeys(Unknown),
    /// A route that it declares would not be its own.
    RouteLost {
        /// Whose it is, and why.
        why: String,
    },
    /// It would take a route from another plugin.
    RouteTaken {
        /// The route.
        route: String,
        /// Who has it now.
        from: PluginId,
    },
}

/// A namespace in which one plugin is as it would be.
struct Outlook<'a> {
    namespace: &'a Namespace,
    /// The plugin as it would be, with what runs of it now.
    facts: Facts,
    name: String,
    /// Its place in the graph; absent where there is no such plugin and nobody needs one.
    index: Option<NodeIndex>,
    /// The cycle that it would be part of.
    cycle: Circle,
}

impl Namespace {
    /// What was thought of a plugin's configuration when there was the same to judge.
    pub fn judged(&self, plugin: &Plugin) -> Option<Arc<Judged>> {
        let index = self.names.get(plugin.metadata.name.as_deref()?)?;
        self.facts(*index)?.judged(plugin)
    }

    /// What applying a plugin would mean: that it is created, changed or, with a deletion timestamp,
    /// deleted. `judged` is what is thought of its configuration.
    pub fn foresee(&self, plugin: Arc<Plugin>, judged: Arc<Judged>) -> Vec<Warning> {
        let name = plugin.metadata.name.clone().unwrap_or_default();
        let index = self.names.get(name.as_str()).copied();
        let known = index.and_then(|index| self.facts(index));
        let observed = known.map(|known| known.observed.clone()).unwrap_or_default();
        let facts = Facts::of(as_next(plugin, known), observed, &self.settings, judged);
        let mut outlook = Outlook { namespace: self, facts, name, index, cycle: None };
        outlook.cycle = outlook.find_cycle();
        let mut warnings = outlook.itself();
        warnings.extend(match outlook.facts.wish {
            Wish::Run => outlook.run(),
            Wish::Stop => outlook.end(Purpose::Stop),
            Wish::Unload => outlook.end(Purpose::Unload),
            Wish::Delete => outlook.end(Purpose::Delete),
        });
        warnings
    }
}

/// The plugin in the generation that it will have once it is there.
fn as_next(mut plugin: Arc<Plugin>, known: Option<&Facts>) -> Arc<Plugin> {
    if let Some(known) = known {
        let before = known.plugin.metadata.generation;
        let edited = known.plugin.spec != plugin.spec;
        Arc::make_mut(&mut plugin).metadata.generation =
            if edited { before.map(|generation| generation.saturating_add(1)) } else { before };
    }
    plugin
}

impl Outlook<'_> {
    /// What is wrong with the plugin itself, and is there all the same: it is from before, or by the
    /// word of its image.
    fn itself(&self) -> Vec<Warning> {
        let Facts { wish, version, config, .. } = &self.facts;
        if *wish == Wish::Delete {
            return Vec::new();
        }
        let invalid = version.as_ref().err().map(|message| Reason::Invalid { message: message.clone() });
        let violations = self.facts.violations();
        let misfit = violations.map(|found| Reason::ConfigInvalid { violations: found.to_vec() });
        let unknown = Some(config.unknown.clone()).filter(|unknown| !unknown.is_empty());
        let decisions = invalid.into_iter().chain(misfit).map(Warning::Decision);
        decisions.chain(unknown.map(Warning::UnknownKeys)).collect()
    }

    fn run(&self) -> Vec<Warning> {
        if self.facts.version.is_err() {
            return Vec::new();
        }
        let stays = self.namespace.stays(&self.facts);
        let mut warnings = Vec::new();
        let kept_out =
            self.facts.forbidden(&self.namespace.settings).or_else(|| self.surplus().filter(|_| !stays));
        if let Some(reason) = kept_out {
            warnings.push(Warning::Decision(reason));
        } else if let Some(index) = self.index.filter(|_| !stays) {
            let cycle = self.cycle.as_ref();
            warnings.extend(cycle.map(|members| {
                Warning::Decision(self.namespace.cycle(index, members, &|node| self.required(node)))
            }));
            warnings.extend(self.unaccepted(index));
        }
        let obstacles = self.facts.needs.iter().filter_map(|(name, need)| self.obstacle(name, need, stays));
        if stays {
            let obstacles: Vec<Obstacle> = obstacles.collect();
            if !obstacles.is_empty() {
                warnings.push(Warning::Decision(Reason::Degraded { obstacles }));
            }
        } else {
            warnings.extend(obstacles.map(Warning::Dependency));
        }
        warnings
    }

    /// That there would be no place for it.
    fn surplus(&self) -> Option<Reason> {
        let Namespace { places, settings, .. } = self.namespace;
        let Surplus { limit, rank } = places.foresee(&self.name, self.facts.place(settings)?)?;
        Some(Reason::Surplus { limit, rank })
    }

    /// What a plugin that goes down does to those who need it.
    fn end(&self, purpose: Purpose) -> Vec<Warning> {
        if let Some(surplus) = self.surplus().filter(|_| purpose == Purpose::Stop) {
            return vec![Warning::Decision(surplus)];
        }
        let Some(index) = self.index else { return Vec::new() };
        let names = |nodes: &mut dyn Iterator<Item = NodeIndex>| -> Vec<String> {
            nodes.map(|node| self.namespace.name(node).to_owned()).collect()
        };
        let dependents = self.namespace.dependents(index);
        let keeps = |node: &NodeIndex| self.namespace.clings(*node, &self.name) && !self.is_in_cycle(*node);
        let heeded = match purpose {
            Purpose::Stop | Purpose::Unload => self.facts.is_left(),
            Purpose::Delete => !self.facts.is_forced(),
        };
        let by = names(&mut dependents.iter().copied().filter(keeps));
        if heeded && !by.is_empty() {
            return vec![Warning::Decision(Reason::Needed { by, purpose })];
        }
        let claims = self.namespace.graph[index].claims.values();
        let by: BTreeSet<String> = claims
            .flat_map(|claim| claim.by.iter())
            .filter(|name| **name != self.name)
            .map(Word::to_string)
            .collect();
        match by.is_empty() {
            true => Vec::new(),
            false => vec![Warning::Missed { by: by.into_iter().collect(), purpose }],
        }
    }

    /// Who does not accept the version that the plugin would have.
    fn unaccepted(&self, index: NodeIndex) -> Option<Warning> {
        let Namespace { graph, .. } = self.namespace;
        let version = self.facts.version.as_ref().ok()?;
        let text = self.facts.plugin.spec.version.clone();
        let dependents = self.namespace.dependents(index).into_iter().filter(|node| *node != index);
        let refusing = dependents.filter_map(|node| {
            let need = self.namespace.running_need(node, index)?;
            refusal(self.namespace.name(node), need, &self.facts)
        });
        let dependents: Vec<Refusal> = refusing.collect();
        if !dependents.is_empty() {
            // In a cycle the plugin waits for other reasons first.
            let resolutions = self.namespace.ways_out(index, Some(version));
            let reason = Reason::Refused { version: text, dependents, resolutions };
            return self.cycle.is_none().then_some(Warning::Decision(reason));
        }
        let claims = graph[index].claims.iter().filter(|(_, claim)| claim.refuses(version));
        let refusals = claims.flat_map(|(text, claim)| {
            let range = text.clone().unwrap_or_default();
            claim.by.iter().map(move |name| Refusal { name: name.to_string(), range: range.to_string() })
        });
        let mut dependents: Vec<Refusal> = refusals.filter(|refusal| refusal.name != self.name).collect();
        if dependents.is_empty() {
            return None;
        }
        dependents.sort();
        let star = Star { name: &self.name, version: Some(version), claims: &graph[index].claims };
        Some(Warning::Unaccepted { version: text, dependents, resolutions: star.resolutions(false) })
    }

    /// Why a dependency would not do, other than that it is on its way; of those that the plugin can
    /// do without only that it has the wrong version.
    fn obstacle(&self, name: &str, need: &Need, stays: bool) -> Option<Obstacle> {
        let dependency = self.namespace.names.get(name).copied();
        let view = dependency.map(|dependency| self.view(dependency)).unwrap_or_default();
        let (version, hindrance) = match stays {
            true => view.hindrance_to_stay(need)?,
            false => (view.version.clone(), view.hindrance_to_go(&self.facts, need)?),
        };
        let is_told = match &hindrance {
            Hindrance::OnItsWay => false,
            Hindrance::Direct(Cause::VersionConflict) => true,
            Hindrance::Direct(Cause::Missing) => !need.optional,
            // The cycle is told, and how its members stand follows from it.
            _ => !need.optional && !dependency.is_some_and(|node| self.is_in_cycle(node)),
        };
        let is_conflict = matches!(hindrance, Hindrance::Direct(Cause::Missing | Cause::VersionConflict));
        is_told.then(|| Obstacle {
            name: name.to_owned(),
            range: need.text.clone(),
            version,
            state: view.state,
            optional: need.optional,
            conflict: if is_conflict { self.conflict(name, dependency, need) } else { None },
            hindrance,
        })
    }

    /// What would be seen of a dependency.
    fn view(&self, dependency: NodeIndex) -> View {
        let Namespace { graph, settings, .. } = self.namespace;
        let mut view = graph[dependency].view.clone();
        let Some(facts) = &graph[dependency].facts else { return view };
        let is_sound = facts.version.is_ok() && facts.violations().is_none();
        let is_sound = is_sound && facts.forbidden(settings).is_none();
        let can_be_held = facts.wish == Wish::Run && is_sound && !facts.is_applied(settings);
        if !can_be_held || graph[dependency].cycle.is_some() || self.is_in_cycle(dependency) {
            return view;
        }
        // Whether its update is held can depend on the plugin itself.
        let others = graph.neighbors_directed(dependency, Direction::Incoming);
        let mut others = others.filter(|other| Some(*other) != self.index);
        let held = others.any(|other| self.namespace.refusal(other, dependency).is_some())
            || self.refuses(dependency, facts);
        if held {
            view.standing = Standing::Off(Cause::Held);
        } else if view.standing == Standing::Off(Cause::Held) {
            view.standing = Standing::OnItsWay;
        }
        view
    }

    fn refuses(&self, dependency: NodeIndex, facts: &Facts) -> bool {
        let need = self.facts.needs.get(self.namespace.name(dependency));
        let need = need.filter(|need| self.facts.is_alive() && !need.optional);
        need.is_some_and(|need| refusal(&self.name, need, facts).is_some())
    }

    /// The conflict over a dependency, with what the plugin would claim in the place of what it does.
    fn conflict(&self, name: &str, dependency: Option<NodeIndex>, need: &Need) -> Option<Conflict> {
        if need.optional {
            return None;
        }
        let node = dependency.map(|dependency| &self.namespace.graph[dependency]);
        let version = match node.and_then(|node| node.facts.as_ref()) {
            None => None,
            Some(facts) if facts.wish == Wish::Run => Some(facts.version.as_ref().ok()?),
            Some(_) => return None,
        };
        let mut claims = node.map(|node| node.claims.clone()).unwrap_or_else(Claims::new);
        for (_, claim) in claims.iter_mut() {
            claim.by.remove(&self.name);
        }
        claims.retain(|_, claim| !claim.by.is_empty());
        let claim = claims.entry(need.text.clone()).or_default();
        claim.range = need.range.clone();
        claim.by.insert(&self.name.as_str().into());
        let star = Star { name, version, claims: &claims };
        explain(&star, &star.disagreement()?, &self.name, need)
    }

    fn is_in_cycle(&self, node: NodeIndex) -> bool {
        self.cycle.as_ref().is_some_and(|members| members.contains(&node))
    }

    fn find_cycle(&self) -> Circle {
        // Without somebody who needs it, it is in none.
        let index = self.index?;
        self.namespace.graph.neighbors_directed(index, Direction::Incoming).next()?;
        circles(&BTreeSet::from([index]), |node| self.required(node)).remove(&index)?
    }

    fn required(&self, node: NodeIndex) -> Vec<NodeIndex> {
        if Some(node) != self.index {
            return self.namespace.required(node);
        }
        let required = self.facts.needs.iter().filter(|(_, need)| !need.optional);
        required.filter_map(|(name, _)| self.namespace.names.get(name).copied()).collect()
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decision(reason) => reason.fmt(f),
            Self::Dependency(obstacle) if obstacle.optional => write!(f, "does without {obstacle}"),
            Self::Dependency(obstacle) => write!(f, "waits for {obstacle}"),
            Self::Unaccepted { version, dependents, resolutions } => {
                write!(f, "{version} is not accepted by {}{}", list(dependents), Fix(resolutions))
            }
            Self::Missed { by, purpose } => write!(f, "is to be {purpose}, and is needed by {}", list(by)),
            Self::UnknownKeys(unknown) => write!(
                f,
                "the configuration has fields that its schema does not know: {unknown}; correct their names, or add them to the schema"
            ),
            Self::RouteLost { why } => f.write_str(why),
            Self::RouteTaken { route, from } => write!(f, "takes {route} from {from}"),
        }
    }
}
