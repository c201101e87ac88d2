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
mod redirect;
mod step;

use std::cmp::Reverse;

use forward_crds::{
    Middleware, MiddlewarePhase, MiddlewareSource, MiddlewareState, MiddlewareStatus, RouteSelector,
};

use crate::routes::{Method, Offer, Pattern, Segment};

pub use callers::{ApiKey, Claim, IssuerKeys, Jwt, Permissions, Place, is_permission};
pub use compress::Compress;
pub use cors::{Cors, Origins};
pub use headers::{Changes, Headers};
pub use jwks::{Jwk, Jwks, JwksError, Material};
pub use redirect::Redirect;
pub use step::{IpFilter, RateKey, RateLimit, Respond, Step, StepError, Timeout};

/// All middleware of a plugin, in the order in which requests meet it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain(Vec<Entry>);

/// A middleware.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Who declares it.
    pub source: MiddlewareSource,
    /// What it does, or why it cannot be done.
    pub step: Result<Step, StepError>,
    phase: MiddlewarePhase,
    priority: i32,
    kind: String,
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
    /// The chain of a plugin: what its namespace has for all plugins, and what it has itself. Names
    /// are one-off among the entries of each.
    pub fn new(system: &[Middleware], plugin: &[Middleware]) -> Self {
        let system = system.iter().map(|entry| Entry::new(entry, MiddlewareSource::System));
        let plugin = plugin.iter().map(|entry| Entry::new(entry, MiddlewareSource::Plugin));
        let mut entries = system.chain(plugin).collect::<Vec<_>>();
        entries.sort_by(|one, other| one.rank().cmp(&other.rank()));
        Self(entries)
    }

    /// The entries that a route's requests meet, in that order.
    pub fn of_route(&self, path: &[Segment], method: Method) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(move |entry| entry.is_for(path, method))
    }

    /// What the entries do, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Result<Step, StepError>> {
        self.0.iter().map(|entry| &entry.step)
    }

    /// Whether some routes are guarded more than others: by an entry that says who may ask, and
    /// names its routes.
    pub fn is_guarded_in_part(&self) -> bool {
        use MiddlewarePhase::{Authenticate, Authorize};
        let guards = |entry: &&Entry| matches!(entry.phase, Authenticate | Authorize);
        self.0.iter().filter(guards).any(|entry| !entry.routes.is_empty())
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries that cannot be carried out, with the reasons.
    pub fn refused(&self) -> impl Iterator<Item = (&Entry, &StepError)> {
        self.0.iter().filter_map(|entry| entry.step.as_ref().err().map(|error| (entry, error)))
    }

    /// What to tell of it, given the routes of the plugin.
    pub fn status(&self, offer: &Offer) -> Vec<MiddlewareStatus> {
        self.0.iter().map(|entry| entry.status(offer)).collect()
    }
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
        Self { name: name.clone(), source, step, phase, priority: *priority, kind, routes }
    }

    fn rank(&self) -> (MiddlewarePhase, Reverse<i32>, &str, MiddlewareSource) {
        (self.phase, Reverse(self.priority), &self.name, self.source)
    }

    fn is_for(&self, path: &[Segment], method: Method) -> bool {
        self.routes.is_empty() || self.routes.iter().any(|route| route.is(path, method))
    }

    fn status(&self, offer: &Offer) -> MiddlewareStatus {
        let Self { name, source, step, phase, priority, kind, routes } = self;
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
