//! Who gets a route that several plugins claim: the higher priority, then the older plugin,
//! then the one whose namespace and name come first. The others are told why.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use forward_crds::{Plugin, Route, RouteSource, RouteStatus};

use crate::foresee::Warning;

use super::{
    method::Method,
    pattern::{Pattern, Segment, is_host},
};

/// A plugin, cluster-wide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A plugin with what decides its rank. The smaller one gets the route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claimant {
    /// Which plugin.
    pub id: Arc<PluginId>,
    /// `spec.priority`.
    pub priority: i32,
    /// `metadata.creationTimestamp` in seconds since 1970.
    pub created: i64,
}

/// What is claimed: one host (empty: those that nobody names), method and shape of path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The host name, or empty for every host.
    pub host: String,
    /// The shape of the path; names of parameters do not matter.
    pub path: Vec<Segment>,
    /// The method.
    pub method: Method,
}

/// All routes of one plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    claimant: Claimant,
    routes: Vec<Offered>,
}

#[derive(Clone, Debug, PartialEq)]
struct Offered {
    route: Route,
    source: RouteSource,
    claim: Result<Claim, String>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct Claim {
    pattern: Pattern,
    /// One for each host that the route is served under.
    slots: Vec<Slot>,
}

/// Who has a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Winner {
    /// The plugin.
    pub plugin: PluginId,
    /// Its own spelling of the path.
    pub pattern: Pattern,
}

/// What an event has changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// The slots that went to somebody else, or to nobody.
    pub slots: BTreeMap<Slot, Option<Winner>>,
    /// The plugins whose routes are to be judged again.
    pub plugins: BTreeSet<PluginId>,
}

/// All claims of all plugins. An event costs the claims of its plugin and those against them.
///
/// There are as many as there are routes, so that they are kept as texts, each once.
#[derive(Clone, Debug, Default)]
pub struct Contest {
    /// Of plugins that have routes.
    offers: BTreeMap<Arc<PluginId>, Taken>,
    /// Who claims a slot, the first of them first. Most have one claimant.
    slots: BTreeMap<Key, Box<[Claimed]>>,
}

/// A slot as one text.
type Key = Arc<str>;

/// What is kept of an offer.
#[derive(Clone, Debug)]
struct Taken {
    /// What it claims.
    slots: Box<[Key]>,
    /// Of all that it says.
    hash: u64,
}

/// A claim of one plugin.
#[derive(Clone, Debug, PartialEq)]
struct Claimed {
    by: Claimant,
    /// Its own spelling of the path.
    pattern: Box<str>,
}

impl Offer {
    /// The routes of a plugin: those of the manifest and those it announces. What names no
    /// host is served under `hosts`, or under every host where that is empty. Where both name
    /// the same host, method and path, the manifest wins.
    pub fn new(claimant: Claimant, hosts: &[String], manifest: &[Route], announced: &[Route]) -> Self {
        let mut offer = Self { claimant, routes: Vec::new() };
        for route in manifest {
            offer.routes.push(Offered::new(route, RouteSource::Manifest, hosts));
        }
        let known = offer.slots().map(|(slot, _)| slot.clone()).collect::<BTreeSet<_>>();
        for route in announced {
            let offered = Offered::new(route, RouteSource::Plugin, hosts);
            let named =
                offered.claim.as_ref().is_ok_and(|claim| claim.slots.iter().all(|slot| known.contains(slot)));
            if !named && offer.routes.iter().all(|other| other.route != offered.route) {
                offer.routes.push(offered);
            }
        }
        offer
    }

    /// The routes of a plugin as the API server has them: those of its manifest and those that it
    /// has announced, by what its status says. One that is disabled or being deleted has none.
    pub fn of(plugin: &Plugin, hosts: &[String]) -> Self {
        let Plugin { metadata, spec, status } = plugin;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let created = metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second());
        let id = PluginId { namespace: text(&metadata.namespace), name: text(&metadata.name) };
        let claimant = Claimant { id: id.into(), priority: spec.priority, created };
        if !spec.enabled || metadata.deletion_timestamp.is_some() {
            return Self::new(claimant, hosts, &[], &[]);
        }
        let manifest = spec.http.as_ref().map_or(&[][..], |http| &http.routes);
        let routes = status.iter().flat_map(|status| &status.routes);
        let announced = routes.filter(|route| route.source == RouteSource::Plugin).map(|route| Route {
            host: route.host.clone(),
            method: route.method.clone(),
            path: route.path.clone(),
        });
        Self::new(claimant, hosts, manifest, &announced.collect::<Vec<_>>())
    }

    /// Without routes under hosts of others: `owner` says which namespace a host belongs to, where it is not
    /// the plugin's.
    pub fn yielding<'a>(mut self, owner: impl Fn(&str) -> Option<&'a str>) -> Self {
        for offered in &mut self.routes {
            let Ok(claim) = &offered.claim else { continue };
            let foreign = claim
                .slots
                .iter()
                .find_map(|slot| owner(&slot.host).map(|namespace| (&slot.host, namespace)));
            if let Some((host, namespace)) = foreign {
                let why =
                    format!("host {host} belongs to namespace {namespace}: its PluginSystem has it in hosts");
                offered.claim = Err(why);
            }
        }
        self
    }

    /// Which plugin it is, and its rank.
    pub fn claimant(&self) -> &Claimant {
        &self.claimant
    }

    /// The slots with the spelling that counts: that of the first route which names the slot.
    fn claims(&self) -> BTreeMap<&Slot, &Pattern> {
        let mut claims = BTreeMap::new();
        for (slot, pattern) in self.slots() {
            claims.entry(slot).or_insert(pattern);
        }
        claims
    }

    /// All slots that are named, and how.
    pub fn slots(&self) -> impl Iterator<Item = (&Slot, &Pattern)> {
        self.routes
            .iter()
            .filter_map(|offered| offered.claim.as_ref().ok())
            .flat_map(|claim| claim.slots.iter().map(|slot| (slot, &claim.pattern)))
    }

    fn hash(&self) -> u64 {
        let Self { claimant, routes } = self;
        let mut hasher = DefaultHasher::new();
        claimant.hash(&mut hasher);
        for Offered { route: Route { host, method, path }, source, claim } in routes {
            (host, method, path, *source == RouteSource::Manifest, claim).hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Offered {
    fn new(route: &Route, source: RouteSource, hosts: &[String]) -> Self {
        Self { route: route.clone(), source, claim: Claim::new(route, hosts) }
    }

    fn status(&self, lost: Vec<String>, active: bool) -> RouteStatus {
        RouteStatus {
            host: self.route.host.clone(),
            method: self.route.method.clone(),
            path: self.route.path.clone(),
            source: self.source,
            active,
            message: (!lost.is_empty()).then(|| lost.join("; ")),
        }
    }
}

impl Claim {
    fn new(route: &Route, hosts: &[String]) -> Result<Self, String> {
        let pattern = route.path.parse::<Pattern>().map_err(|error| error.to_string())?;
        let method = route.method.parse::<Method>().map_err(|error| error.to_string())?;
        if !is_host(&route.host) {
            return Err(format!("host {:?} is not a host name in lower case without a port", route.host));
        }
        let slot = |host: &String| Slot { host: host.clone(), path: pattern.segments().to_vec(), method };
        let slots = match hosts {
            [_, ..] if route.host.is_empty() => hosts.iter().map(slot).collect(),
            _ => vec![slot(&route.host)],
        };
        Ok(Self { slots, pattern })
    }
}

impl Contest {
    /// Put a plugin's offer in the place of its earlier one.
    pub fn apply(&mut self, offer: Offer) -> Change {
        let (id, hash) = (&offer.claimant.id, offer.hash());
        let earlier = self.offers.get(id);
        if earlier.map_or(offer.routes.is_empty(), |earlier| earlier.hash == hash) {
            return Change::default();
        }
        let earlier = self.offers.remove(id);
        let claims: BTreeMap<Key, &Pattern> =
            offer.claims().into_iter().map(|(slot, pattern)| (slot.key().into(), pattern)).collect();
        let mut change = self.exchange(id, earlier, Some((&offer.claimant, &claims)));
        change.plugins.insert(PluginId::clone(id));
        if !offer.routes.is_empty() {
            self.offers.insert(id.clone(), Taken { slots: claims.into_keys().collect(), hash });
        }
        change
    }

    /// Forget a plugin.
    pub fn remove(&mut self, id: &PluginId) -> Change {
        let Some(earlier) = self.offers.remove(id) else { return Change::default() };
        self.exchange(id, Some(earlier), None)
    }

    /// What each route of an offer comes to against the other plugins' claims, whether or not
    /// it has been applied.
    pub fn judge(&self, offer: &Offer) -> Vec<RouteStatus> {
        let mut seen = BTreeMap::<&Slot, &Offered>::new();
        let mut verdicts = Vec::with_capacity(offer.routes.len());
        for offered in &offer.routes {
            let claim = match &offered.claim {
                Ok(claim) => claim,
                Err(error) => {
                    verdicts.push(offered.status(vec![error.clone()], false));
                    continue;
                }
            };
            let mut lost = Vec::new();
            for slot in &claim.slots {
                if let Some(first) = seen.get(slot) {
                    lost.push(format!(
                        "{} is also named as {} by this plugin",
                        slot.label(&claim.pattern),
                        first.route.path
                    ));
                    continue;
                }
                seen.insert(slot, offered);
                if let Some(reason) = self.loses(&offer.claimant, slot) {
                    lost.push(format!("{} is served by {reason}", slot.label(&claim.pattern)));
                }
            }
            let active = lost.len() < claim.slots.len();
            verdicts.push(offered.status(lost, active));
        }
        verdicts
    }

    /// What applying an offer would mean: whose the routes are that it would not get, and those that
    /// it would take from somebody.
    pub fn foresee(&self, offer: &Offer) -> Vec<Warning> {
        let lost = self.judge(offer).into_iter().filter_map(|route| route.message);
        let mut warnings: Vec<Warning> = lost.map(|why| Warning::RouteLost { why }).collect();
        for (slot, pattern) in offer.claims() {
            let first = self.claimants(slot).first().map(|first| &first.by);
            if let Some(first) =
                first.filter(|first| first.id != offer.claimant.id && offer.claimant < **first)
            {
                let route = slot.label(pattern);
                warnings.push(Warning::RouteTaken { route, from: PluginId::clone(&first.id) });
            }
        }
        warnings
    }

    /// Who has a slot.
    pub fn winner(&self, slot: &Slot) -> Option<Winner> {
        self.claimants(slot).first().map(Claimed::winner)
    }

    /// The others that claim a slot, each with why it does not have it: who has it, and by what.
    pub fn losers(&self, slot: &Slot) -> Vec<(PluginId, String)> {
        let [first, others @ ..] = self.claimants(slot) else { return Vec::new() };
        let loser = |other: &Claimed| (PluginId::clone(&other.by.id), first.by.advantage_over(&other.by));
        others.iter().map(loser).collect()
    }

    fn loses(&self, claimant: &Claimant, slot: &Slot) -> Option<String> {
        let mut claimants = self.claimants(slot).iter().map(|other| &other.by);
        let best = claimants.find(|other| other.id != claimant.id)?;
        (best < claimant).then(|| best.advantage_over(claimant))
    }

    fn claimants(&self, slot: &Slot) -> &[Claimed] {
        self.slots.get(slot.key().as_str()).map_or(&[], |claimants| claimants)
    }

    fn exchange(
        &mut self,
        id: &PluginId,
        earlier: Option<Taken>,
        later: Option<(&Claimant, &BTreeMap<Key, &Pattern>)>,
    ) -> Change {
        let gone = earlier.into_iter().flat_map(|earlier| earlier.slots);
        let come = later.into_iter().flat_map(|(_, claims)| claims.keys().cloned());
        let mut change = Change::default();
        for key in gone.chain(come).collect::<BTreeSet<_>>() {
            let before = self.slots.remove(&key).unwrap_or_default();
            let first = before.first().cloned();
            let mut claimants = Vec::from(before);
            claimants.retain(|claimed| *claimed.by.id != *id);
            if let Some((by, claims)) = later
                && let Some(pattern) = claims.get(&key)
            {
                let place = claimants.partition_point(|claimed| claimed.by < *by);
                claimants.insert(place, Claimed { by: by.clone(), pattern: pattern.as_str().into() });
            }
            let now = claimants.first();
            if first.as_ref().map(|first| &first.by) != now.map(|now| &now.by) {
                change.plugins.extend(claimants.iter().map(|claimed| PluginId::clone(&claimed.by.id)));
            }
            if first.as_ref() != now {
                change.slots.insert(Slot::of(&key), now.map(Claimed::winner));
            }
            if !claimants.is_empty() {
                self.slots.insert(key, claimants.into());
            }
        }
        change
    }
}

impl Claimed {
    fn winner(&self) -> Winner {
        let pattern = self.pattern.parse().expect("it was read from a pattern");
        Winner { plugin: PluginId::clone(&self.by.id), pattern }
    }
}

impl Claimant {
    /// Why this one goes before another, in plain words.
    fn advantage_over(&self, other: &Self) -> String {
        let id = &self.id;
        if self.priority != other.priority {
            format!("{id}, which has the higher priority ({} > {})", self.priority, other.priority)
        } else if self.created != other.created {
            format!("{id}, which is older")
        } else {
            format!("{id}, which has the same priority and age and comes first by name")
        }
    }
}

impl Ord for Claimant {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let Self { id, priority, created } = self;
        (other.priority, created, id).cmp(&(*priority, &other.created, &other.id))
    }
}

impl PartialOrd for Claimant {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Slot {
    fn label(&self, pattern: &Pattern) -> String {
        format!("{} {}{pattern}", self.method, self.host)
    }

    /// The slot as one text: host, method and path, parameters without their names.
    fn key(&self) -> String {
        let Self { host, path, method } = self;
        let mut key = format!("{host} {method} ");
        for segment in path {
            key.push('/');
            key.push_str(match segment {
                Segment::Literal(text) => text,
                Segment::Param => ":",
                Segment::Rest => "*",
            });
        }
        key
    }

    /// The slot of a key.
    fn of(key: &str) -> Self {
        let mut parts = key.splitn(3, ' ').map(str::to_owned);
        let mut part = || parts.next().expect("a key has three parts");
        let (host, method, path) = (part(), part(), part());
        let segment = |part: &str| match part {
            ":" => Segment::Param,
            "*" => Segment::Rest,
            text => Segment::Literal(text.to_owned()),
        };
        let method = method.parse().expect("a key names a method");
        Self { host, path: path.split('/').skip(1).map(segment).collect(), method }
    }
}

impl PluginId {
    /// The plugin of this name in this namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
