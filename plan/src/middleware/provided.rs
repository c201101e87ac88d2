//! Middleware that plugins provide: which of them is asked about whose requests.
//!
//! What a plugin says of itself never harms another one: what reaches beyond its own routes without
//! leave is shown and not done.

use std::{collections::BTreeMap, time::Duration};

use forward_crds::{FailureMode, MiddlewarePhase, MiddlewareScope, ProvidedMiddleware};
use http::HeaderName;

use super::{Selected, is_guard, is_ours};

/// How much middleware a plugin may announce.
pub const MAX_PROVIDED: usize = 16;
/// How many plugins one may be for by their names.
const MAX_PLUGINS: usize = 64;
/// How long an answer may take where nothing is said.
const DEADLINE: Duration = Duration::from_millis(500);
/// How long it may take at most: each request waits for it.
const MAX_DEADLINE: Duration = Duration::from_secs(10);
/// The largest body that a plugin is shown, in bytes: the gateway holds it meanwhile.
const MAX_BODY: i64 = 1024 * 1024;
/// How many routes one may name.
const MAX_ROUTES: usize = 16;
/// By how many headers callers may be told apart.
const MAX_KEYS: usize = 8;
/// The longest name of a middleware.
const MAX_NAME: usize = 63;
/// The longest name of a plugin.
const MAX_PLUGIN_NAME: usize = 50;
/// The highest priority, and the lowest without its sign.
const MAX_PRIORITY: u32 = 1_000_000;

/// A middleware of a plugin, as requests of another one, or its own, may meet it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Provided<'a> {
    /// The plugin that is asked.
    pub provider: &'a str,
    /// What it is asked.
    pub entry: &'a ProvidedMiddleware,
    /// Whether it may be asked about that.
    pub allowed: bool,
}

/// What to ask a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Its name, in the namespace of the plugin that the request is for.
    pub provider: String,
    /// How long its answer may take.
    pub deadline: Duration,
    /// What happens without one.
    pub failure_mode: FailureMode,
    /// Whether it may say who asks.
    pub identifies: bool,
    /// Whether it is asked about answers too.
    pub response: bool,
    /// Up to how many bytes of a body it is shown; absent: none.
    pub body: Option<u64>,
    /// The headers on which it depends who asks, where that may be kept, sorted; else none.
    pub cache_by: Vec<HeaderName>,
}

impl Ask {
    /// What is out of range is brought into it, so that an entry of one plugin is nothing that
    /// another one's requests could fail by.
    pub(super) fn read(provider: &str, entry: &ProvidedMiddleware) -> Self {
        let deadline = entry.deadline.map_or(DEADLINE, forward_crds::Duration::get);
        Self {
            provider: provider.to_owned(),
            deadline: deadline.min(MAX_DEADLINE),
            failure_mode: if is_guard(entry.phase) { FailureMode::Closed } else { entry.failure_mode },
            identifies: entry.phase == MiddlewarePhase::Authenticate,
            response: entry.response,
            body: entry.body.map(|body| body.max_bytes.clamp(0, MAX_BODY).unsigned_abs()),
            cache_by: cache_by(entry).unwrap_or_default(),
        }
    }
}

/// The headers by which what an entry says may be kept; nothing where there is one that cannot be.
fn cache_by(entry: &ProvidedMiddleware) -> Option<Vec<HeaderName>> {
    if entry.phase != MiddlewarePhase::Authenticate || entry.body.is_some() || entry.cache_by.len() > MAX_KEYS
    {
        return None;
    }
    let names = entry.cache_by.iter().map(|name| name.parse::<HeaderName>().ok().filter(|it| !is_ours(it)));
    let mut names = names.collect::<Option<Vec<_>>>()?;
    names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    Some(names)
}

/// What a plugin provides, by name: what its manifest has, and what it has announced besides.
pub fn provided(
    manifest: &[ProvidedMiddleware],
    announced: &[ProvidedMiddleware],
) -> Vec<ProvidedMiddleware> {
    let by_name = announced.iter().chain(manifest).map(|entry| (entry.name.as_str(), entry));
    by_name.collect::<BTreeMap<_, _>>().into_values().cloned().collect()
}

/// What there is for the requests of `plugin`, of what the plugins of its namespace provide.
/// `leave` names the plugins that may be asked about the requests of others.
pub fn for_plugin<'a>(
    plugin: &str,
    providers: impl IntoIterator<Item = (&'a str, &'a [ProvidedMiddleware])>,
    leave: &[String],
) -> Vec<Provided<'a>> {
    let entries = providers.into_iter().flat_map(|(provider, entries)| {
        let allowed = provider == plugin || leave.iter().any(|name| name == provider);
        entries.iter().map(move |entry| Provided { provider, entry, allowed })
    });
    entries.filter(|Provided { provider, entry, .. }| is_for(provider, entry, plugin)).collect()
}

/// Whether a middleware is for the requests of `plugin`. A plugin is never asked about requests that
/// it gets as one of all: what it needs to do its work must not wait for it.
pub fn is_for(provider: &str, entry: &ProvidedMiddleware, plugin: &str) -> bool {
    match entry.scope {
        MiddlewareScope::Own => provider == plugin,
        MiddlewareScope::Named => entry.plugins.iter().any(|name| name == plugin),
        MiddlewareScope::All => provider != plugin,
    }
}

/// The middleware that a plugin provides for other plugins without leave.
pub fn withheld<'a>(
    provider: &str,
    entries: &'a [ProvidedMiddleware],
    leave: &[String],
) -> impl Iterator<Item = &'a ProvidedMiddleware> {
    let is_allowed = leave.iter().any(|name| name == provider);
    entries.iter().filter(move |entry| {
        let others = match entry.scope {
            MiddlewareScope::Own => false,
            MiddlewareScope::Named => entry.plugins.iter().any(|name| name != provider),
            MiddlewareScope::All => true,
        };
        others && !is_allowed
    })
}

/// What the API server would say of a middleware if it stood in the manifest.
///
/// # Errors
/// What is wrong with it.
pub fn check(entry: &ProvidedMiddleware) -> Result<(), String> {
    let ProvidedMiddleware {
        name,
        phase,
        priority,
        scope,
        plugins,
        routes,
        failure_mode,
        deadline,
        response: _,
        body,
        cache_by: keys,
    } = entry;
    let is_name = |text: &str, most: usize| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let first = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
        first && text.len() <= most && text.bytes().all(inner) && !text.ends_with('-')
    };
    if !is_name(name, MAX_NAME) {
        let start: String = name.chars().take(MAX_NAME).collect();
        return Err(format!(
            "middleware {start:?}: the name must hold only lower-case letters, digits and '-', the first a letter"
        ));
    }
    let wrong = |what: &str| Err(format!("middleware {name}: {what}"));
    let named = *scope == MiddlewareScope::Named;
    if named == plugins.is_empty() {
        return wrong("plugins is for scope Named, which needs it");
    }
    if plugins.len() > MAX_PLUGINS || !plugins.iter().all(|plugin| is_name(plugin, MAX_PLUGIN_NAME)) {
        return wrong("plugins must be at most 64 names of plugins");
    }
    if routes.len() > MAX_ROUTES {
        return wrong("routes must be at most 16");
    }
    for route in routes {
        if let Err(error) = Selected::new(route) {
            return Err(format!("middleware {name}: {error}"));
        }
    }
    if priority.unsigned_abs() > MAX_PRIORITY {
        return wrong("priority must be from -1000000 to 1000000");
    }
    if is_guard(*phase) && *failure_mode == FailureMode::Open {
        return wrong("the failure mode of the phases Authenticate and Authorize is Closed");
    }
    let deadline = deadline.map(forward_crds::Duration::get);
    if deadline.is_some_and(|deadline| deadline > MAX_DEADLINE) {
        return wrong("deadline must be at most 10s");
    }
    if !keys.is_empty() && cache_by(entry).is_none() {
        return wrong(
            "cache_by is at most 8 headers, none of the gateway's, of the phase Authenticate without a body",
        );
    }
    if body.is_some_and(|body| !(1..=MAX_BODY).contains(&body.max_bytes)) {
        return wrong("the body that it is shown must have at most 1048576 bytes");
    }
    Ok(())
}
