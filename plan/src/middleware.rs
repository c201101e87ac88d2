//! Which middleware a plugin's requests meet, and in which order.
//!
//! Owns the meaning of an entry, the order of all of them, and why one is refused. Refuses to own
//! what is done with requests. Its invariant: the chain depends on the entries alone, not on the
//! order in which they, or the objects that hold them, came.

mod callers;
mod compress;
mod cors;
mod headers;
mod jwks;
pub mod provided;
mod redirect;
mod resilience;
mod step;
mod validate;

use std::{cmp::Reverse, sync::Arc};

use forward_crds::{
    Middleware, MiddlewarePhase, MiddlewareSource, MiddlewareState, MiddlewareStatus, RouteSelector,
};

use crate::routes::{Method, Offer, Pattern, Segment};

pub use callers::{ApiKey, Claim, IssuerKeys, Jwt, Permissions, Place, is_permission};
pub use compress::Compress;
pub use cors::{Cors, Origins};
/// One thing that is wrong with a body.
pub use forward_config::Violation;
pub use headers::{Changes, Headers, is_ours};
pub use jwks::{Jwk, Jwks, JwksError, Material};
pub use provided::{Ask, Provided};
pub use redirect::Redirect;
pub use resilience::{CircuitBreaker, Concurrency, Fallback, Retry, places};
pub use step::{IpFilter, RateKey, RateLimit, Respond, Step, StepError, Timeout};
pub use validate::{Fault, Validate, flaw_of_schema};

/// All middleware of a plugin, in the order in which requests meet it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain(Vec<Arc<Entry>>);

/// A middleware.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Who declares it.
    pub source: MiddlewareSource,
    /// The plugin that provides it, where one does.
    pub provider: Option<String>,
    /// What it does, or why it cannot be done.
    pub step: Result<Step, StepError>,
    /// When it acts.
    pub phase: MiddlewarePhase,
    /// Within its phase, higher first.
    pub priority: i32,
    /// What it does, in the word of the manifest, such as `rateLimit`.
    pub kind: String,
    /// Empty: every route.
    routes: Vec<Selected>,
}

/// A route that a middleware is for.
#[derive(Clone, Debug, PartialEq)]
struct Selected {
    path: Vec<Segment>,
    method: Option<Method>,
    label: String,
}

impl Chain {
    /// The chain of a plugin: what its namespace has for all plugins, what it has itself, and what
    /// plugins provide for it. Names are one-off among the entries of each.
    pub fn new(system: &[Middleware], plugin: &[Middleware], provided: &[Provided<'_>]) -> Self {
        let system = system.iter().map(|entry| Entry::new(entry, MiddlewareSource::System));
        let plugin = plugin.iter().map(|entry| Entry::new(entry, MiddlewareSource::Plugin));
        let provided = provided.iter().map(|entry| Entry::provided(*entry));
        let mut entries = system.chain(plugin).chain(provided).map(Arc::new).collect::<Vec<_>>();
        entries.sort_by(|one, other| one.rank().cmp(&other.rank()));
        Self(entries)
    }

    /// The chain of the plugin with this name: what it declares itself must not lead back to it. What
    /// its namespace declares may; it is not followed there.
    pub fn of_plugin(mut self, name: &str) -> Self {
        for entry in self.0.iter_mut().filter(|entry| entry.source == MiddlewareSource::Plugin) {
            if matches!(&entry.step, Ok(Step::Fallback(Fallback::Plugin(other))) if other == name) {
                Arc::make_mut(entry).step = Err(StepError::OwnFallback);
            }
        }
        self
    }

    /// The entries that a route's requests meet, in that order.
    pub fn of_route(&self, path: &[Segment], method: Method) -> impl Iterator<Item = &Arc<Entry>> + Clone {
        self.0.iter().filter(move |entry| !entry.is_withheld() && entry.is_for(path, method))
    }

    /// What the entries do, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Result<Step, StepError>> {
        self.0.iter().map(|entry| &entry.step)
    }

    /// Whether some routes are guarded more than others: by an entry that says who may ask or what may
    /// be asked, and names its routes.
    pub fn is_guarded_in_part(&self) -> bool {
        let guards = |entry: &Entry| is_guard(entry.phase) || entry.is_judge();
        self.0.iter().any(|entry| guards(entry) && !entry.is_withheld() && !entry.routes.is_empty())
    }

    /// Whether the plugin asks who calls it, beyond what its namespace asks on all routes.
    pub fn is_guarded_by_itself(&self) -> bool {
        let is_for_all = |entry: &Entry| entry.source == MiddlewareSource::System && entry.routes.is_empty();
        self.0.iter().any(|entry| is_guard(entry.phase) && !entry.is_withheld() && !is_for_all(entry))
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries that cannot be carried out, with the reasons. Those that a plugin provides without
    /// leave are not among them: nobody has asked for those.
    pub fn refused(&self) -> impl Iterator<Item = (&Entry, &StepError)> {
        let asked_for = self.0.iter().filter(|entry| !entry.is_withheld());
        asked_for.filter_map(|entry| entry.step.as_ref().err().map(|error| (&**entry, error)))
    }

    /// What to tell of it, given the routes of the plugin.
    pub fn status(&self, offer: &Offer) -> Vec<MiddlewareStatus> {
        self.0.iter().map(|entry| entry.status(offer)).collect()
    }
}

/// Whether what acts in a phase decides who may ask.
fn is_guard(phase: MiddlewarePhase) -> bool {
    matches!(phase, MiddlewarePhase::Authenticate | MiddlewarePhase::Authorize)
}

impl Entry {
    fn new(entry: &Middleware, source: MiddlewareSource) -> Self {
        let Middleware { name, priority, routes, .. } = entry;
        let (kind, phase, step) = step::read(entry);
        let selected = routes.iter().map(Selected::new).collect::<Result<Vec<_>, _>>();
        let (routes, step) = match selected {
            Ok(routes) => (routes, step),
            // For no route in particular, so that none goes without it.
            Err(error) => (Vec::new(), Err(error)),
        };
        let (name, priority) = (name.clone(), *priority);
        Self { name, source, provider: None, step, phase, priority, kind, routes }
    }

    fn provided(Provided { provider, entry, allowed }: Provided<'_>) -> Self {
        let step = match allowed {
            true => Ok(Step::Ask(Ask::read(provider, entry))),
            false => Err(StepError::NoLeave(provider.to_owned())),
        };
        // For all where they cannot be read, so that no route goes without it.
        let routes = entry.routes.iter().map(Selected::new).collect::<Result<Vec<_>, _>>();
        Self {
            name: entry.name.clone(),
            source: MiddlewareSource::Provider,
            provider: Some(provider.to_owned()),
            step,
            phase: entry.phase,
            priority: entry.priority,
            kind: "plugin".to_owned(),
            routes: routes.unwrap_or_default(),
        }
    }

    fn rank(&self) -> impl Ord {
        (self.phase, Reverse(self.priority), &self.name, self.source, &self.provider)
    }

    /// Whether a plugin provides it without leave: requests go past it.
    fn is_withheld(&self) -> bool {
        matches!(self.step, Err(StepError::NoLeave(_)))
    }

    /// Whether requests may end by what they are, in whatever phase; also where it cannot be carried out.
    fn is_judge(&self) -> bool {
        ["ipFilter", "validate", "plugin"].contains(&self.kind.as_str())
    }

    /// Whether it says who asks, and not by the word of the whole namespace.
    pub fn knows_callers_by_itself(&self) -> bool {
        self.phase == MiddlewarePhase::Authenticate && self.source != MiddlewareSource::System
    }

    fn is_for(&self, path: &[Segment], method: Method) -> bool {
        self.routes.is_empty() || self.routes.iter().any(|route| route.is(path, method))
    }

    fn status(&self, offer: &Offer) -> MiddlewareStatus {
        let Self { name, source, provider, step, phase, priority, kind, routes } = self;
        let has = |route: &Selected| offer.slots().any(|(slot, _)| route.is(&slot.path, slot.method));
        let missing = routes.iter().filter(|route| !has(route));
        let missing = missing.map(|route| route.label.as_str()).collect::<Vec<_>>();
        let state = match step {
            Err(_) => MiddlewareState::Refused,
            Ok(_) if !routes.is_empty() && missing.len() == routes.len() => MiddlewareState::Unused,
            Ok(_) => MiddlewareState::Active,
        };
        let message = match step {
            Err(error) => Some(error.to_string()),
            Ok(_) if missing.is_empty() => None,
            Ok(_) => Some(format!("the plugin has no route {}", missing.join(", "))),
        };
        MiddlewareStatus {
            phase: *phase,
            priority: *priority,
            name: name.clone(),
            source: *source,
            provider: provider.clone(),
            kind: kind.clone(),
            routes: routes.iter().map(|route| route.label.clone()).collect(),
            state,
            message,
        }
    }
}

impl Selected {
    fn new(selector: &RouteSelector) -> Result<Self, StepError> {
        let route = |why: String| StepError::Route(why);
        let pattern = selector.path.parse::<Pattern>().map_err(|error| route(error.to_string()))?;
        let method = selector.method.as_deref().map(str::parse::<Method>).transpose();
        let method = method.map_err(|error| route(error.to_string()))?;
        Ok(Self { path: pattern.segments().to_vec(), method, label: selector.to_string() })
    }

    fn is(&self, path: &[Segment], method: Method) -> bool {
        self.path == path && self.method.is_none_or(|own| own == method)
    }
}
