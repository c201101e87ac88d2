//! Who asks: what a request shows of it, and what the entries of its route make of that.
//!
//! Entries look in places, a header or a parameter of the query. What is shown in a place must be
//! recognised by one of the entries that look there, or the request ends: a wrong credential is not
//! the same as none. The first entry that recognises one says who the caller is. What was looked at
//! is taken off, and the plugin is told of the caller in headers that nobody else can set.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use forward_plan::{
    middleware::{ApiKey, Jwt, Place},
    routes::PluginId,
};
use http::{HeaderName, HeaderValue, header::AUTHORIZATION, request::Parts};

use super::{headers, problem::Problem};
use crate::callers::{
    Caller, Callers, HeldKeys,
    document::KeyError,
    issuer::{TokenError, Verifier},
};

/// All entries of a route that say who asks.
#[derive(Debug)]
pub struct Authenticate {
    plugin: PluginId,
    looks: Vec<Look>,
    /// What to ask for, in the order of the entries.
    challenges: Vec<Challenge>,
    /// Requests that show nothing go on.
    optional: bool,
}

/// A place, and what recognises what is shown there.
#[derive(Debug)]
struct Look {
    place: Shown,
    judges: Vec<Judge>,
}

#[derive(Clone, Debug, PartialEq)]
enum Shown {
    Header(HeaderName),
    Query(String),
}

#[derive(Clone, Debug)]
struct Judge {
    by: By,
    /// Its entry's place in the order of the entries.
    rank: usize,
    /// The plugin sees what this has recognised.
    forward: bool,
}

#[derive(Clone, Debug)]
enum By {
    Key { set: String, keys: Arc<HeldKeys> },
    Token(Arc<Verifier>),
}

/// What to ask a client for.
#[derive(Debug)]
struct Challenge {
    none: HeaderValue,
    /// Where the client has shown something that does not hold.
    wrong: HeaderValue,
}

/// Why a credential is not recognised.
#[derive(Clone, Debug, PartialEq)]
enum Refusal {
    Wrong(String),
    /// It cannot be said whether it is a good one.
    Unknowable(String),
}

impl Authenticate {
    /// Of no entry yet.
    pub fn new(plugin: &PluginId) -> Self {
        Self { plugin: plugin.clone(), looks: Vec::new(), challenges: Vec::new(), optional: true }
    }

    /// Recognise callers by keys too.
    pub fn add_keys(&mut self, name: &str, key: &ApiKey, callers: &Callers) {
        let ApiKey { keys: set, place, query } = key;
        let by = By::Key { set: set.clone(), keys: callers.keys(set) };
        self.add(place, query.as_ref(), &by);
        let challenge = format!("ApiKey realm=\"{name}\"");
        self.challenge(&challenge, &challenge);
    }

    /// Recognise callers by tokens too.
    pub fn add_tokens(&mut self, name: &str, jwt: &Jwt, callers: &Callers) {
        self.add(&jwt.place, None, &By::Token(Arc::new(Verifier::new(jwt, callers))));
        let challenge = format!("Bearer realm=\"{name}\"");
        self.challenge(&challenge, &format!("{challenge}, error=\"invalid_token\""));
    }

    fn add(&mut self, place: &Place, query: Option<&String>, by: &By) {
        let Place { header, forward, optional } = place;
        self.optional &= optional;
        let shown = [Some(Shown::Header(header.clone())), query.cloned().map(Shown::Query)];
        for place in shown.into_iter().flatten() {
            let judge = Judge { by: by.clone(), rank: self.challenges.len(), forward: *forward };
            match self.looks.iter_mut().find(|look| look.place == place) {
                Some(look) => look.judges.push(judge),
                None => self.looks.push(Look { place, judges: vec![judge] }),
            }
        }
    }

    fn challenge(&mut self, none: &str, wrong: &str) {
        // An entry's name needs no quoting.
        let value = |text| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("ApiKey"));
        self.challenges.push(Challenge { none: value(none), wrong: value(wrong) });
    }

    /// What to ask who shows nothing for.
    pub fn challenges(&self) -> impl Iterator<Item = HeaderValue> {
        self.challenges.iter().map(|challenge| challenge.none.clone())
    }

    /// Find out who asks, take off what says so, and write down for the plugin who it is. `None` for
    /// nobody, where that is enough.
    pub fn enter(&self, head: &mut Parts) -> Result<Option<Arc<Caller>>, Problem> {
        let mut found: Option<(Arc<Caller>, &Judge)> = None;
        for Look { place, judges } in &self.looks {
            place.take_lookalikes(head);
            let Some(credential) = place.find(head)? else { continue };
            let (caller, judge) = self.judge(judges, credential).map_err(|refusal| self.refuse(refusal))?;
            if !judge.forward {
                place.take(head)?;
            }
            if found.as_ref().is_none_or(|(_, earlier)| judge.rank < earlier.rank) {
                found = Some((caller, judge));
            }
        }
        match found {
            Some((caller, judge)) => {
                headers::introduce(&mut head.headers, &caller, judge.by.method());
                Ok(Some(caller))
            }
            None if self.optional => Ok(None),
            None => Err(Problem::Unauthorized {
                reason: "the request does not say who asks".to_owned(),
                challenges: self.challenges().collect(),
            }),
        }
    }

    /// By the first that recognises a credential. That one cannot say counts for more than that
    /// others do not know it: it could have been right.
    fn judge<'a>(
        &self,
        judges: &'a [Judge],
        credential: Credential<'_>,
    ) -> Result<(Arc<Caller>, &'a Judge), Refusal> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let mut refusal = None;
        for judge in judges {
            match judge.by.judge(&credential, &self.plugin, now) {
                Ok(caller) => return Ok((caller, judge)),
                Err(unknowable @ Refusal::Unknowable(_)) => refusal = Some(unknowable),
                Err(wrong) => drop(refusal.get_or_insert(wrong)),
            }
        }
        Err(refusal.unwrap_or_else(|| Refusal::Wrong("the credential is not known".to_owned())))
    }

    fn refuse(&self, refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Unknowable(reason) => Problem::CallersUnknown(reason),
            Refusal::Wrong(reason) => {
                let challenges = self.challenges.iter().map(|challenge| challenge.wrong.clone()).collect();
                Problem::Unauthorized { reason, challenges }
            }
        }
    }
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Credential<'a> {
    /// Of `Authorization` the word before it.
    scheme: Option<&'a str>,
    text: &'a str,
}

impl Shown {
    /// What is shown there; nothing that could be read in two ways.
    fn find<'a>(&self, head: &'a Parts) -> Result<Option<Credential<'a>>, Problem> {
        match self {
            Self::Header(name) => {
                let mut values = head.headers.get_all(name).iter();
                let (Some(value), another) = (values.next(), values.next()) else { return Ok(None) };
                if another.is_some() {
                    return Err(Problem::BadRequest("a header that says who asks is there more than once"));
                }
                // What is no text is shown, and known to nobody.
                let text = value.to_str().unwrap_or_default().trim();
                Ok(Some(match text.split_once(' ') {
                    Some((scheme, text)) if name == AUTHORIZATION => {
                        Credential { scheme: Some(scheme), text: text.trim_start() }
                    }
                    _ if name == AUTHORIZATION => Credential { scheme: Some(text), text: "" },
                    _ => Credential { scheme: None, text },
                }))
            }
            Self::Query(name) => {
                let query = head.uri.query().unwrap_or_default();
                let mut values = parameters(query).filter(|(key, _)| key == name);
                match (values.next(), values.next()) {
                    (None, _) => Ok(None),
                    (Some((_, text)), None) => Ok(Some(Credential { scheme: None, text })),
                    (Some(_), Some(_)) => {
                        Err(Problem::BadRequest("a parameter that says who asks is there more than once"))
                    }
                }
            }
        }
    }

    fn take(&self, head: &mut Parts) -> Result<(), Problem> {
        match self {
            Self::Header(name) => {
                head.headers.remove(name);
            }
            Self::Query(name) => {
                let query = head.uri.query().unwrap_or_default();
                let rest = query.split('&').filter(|pair| key_of(pair) != name).collect::<Vec<_>>().join("&");
                let path = head.uri.path();
                let target = if rest.is_empty() { path.to_owned() } else { format!("{path}?{rest}") };
                head.uri = target.parse().map_err(|_| Problem::BadRequest("the target is not a path"))?;
            }
        }
        Ok(())
    }

    /// Headers that some programs cannot tell from the one that is looked at.
    fn take_lookalikes(&self, head: &mut Parts) {
        if let Self::Header(name) = self {
            headers::remove_lookalikes(&mut head.headers, |spelled| spelled == name.as_str());
        }
    }
}

fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn key_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(key, _)| key)
}

impl By {
    /// As plugins are told.
    fn method(&self) -> &'static str {
        match self {
            Self::Key { .. } => "apiKey",
            Self::Token(_) => "jwt",
        }
    }

    fn schemes(&self) -> &'static [&'static str] {
        match self {
            Self::Key { .. } => &["ApiKey", "Bearer"],
            Self::Token(_) => &["Bearer"],
        }
    }

    fn judge(&self, shown: &Credential<'_>, plugin: &PluginId, now: i64) -> Result<Arc<Caller>, Refusal> {
        let wrong = |reason: &str| Refusal::Wrong(reason.to_owned());
        let Credential { scheme, text } = shown;
        let fits = |scheme: &str| self.schemes().iter().any(|known| known.eq_ignore_ascii_case(scheme));
        if scheme.is_some_and(|scheme| !fits(scheme)) {
            return Err(wrong("the scheme in Authorization is not one that is asked for"));
        }
        match self {
            Self::Key { set, keys } => {
                let keys = keys.load();
                let keys = keys.as_ref().ok_or_else(|| {
                    Refusal::Unknowable(format!("the gateway does not have the set of keys {set}"))
                })?;
                keys.find(text, plugin, now).cloned().map_err(|error| match error {
                    KeyError::Set => {
                        Refusal::Unknowable(format!("the set of keys {set} is not for the plugin"))
                    }
                    KeyError::Unknown => wrong("the key is not known"),
                    KeyError::Expired => wrong("the key has expired"),
                })
            }
            Self::Token(verifier) => verifier.verify(text, now).map_err(|error| match error {
                TokenError::NoKeys => Refusal::Unknowable(error.to_string()),
                _ => Refusal::Wrong(error.to_string()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(target: &str, list: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(target);
        for (name, value) in list {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn finds_one_credential_and_refuses_two() {
        let authorization = Shown::Header(AUTHORIZATION);
        let find = |shown: &Shown, list: &[(&str, &str)]| {
            let head = head("/", list);
            let found = shown.find(&head).map(|found| {
                found.map(|Credential { scheme, text }| (scheme.map(str::to_owned), text.to_owned()))
            });
            found.map_err(|problem| problem.status().as_u16())
        };
        let some = |scheme: Option<&str>, text: &str| Ok(Some((scheme.map(str::to_owned), text.to_owned())));
        assert_eq!(find(&authorization, &[]), Ok(None));
        assert_eq!(find(&authorization, &[("authorization", "Bearer  a")]), some(Some("Bearer"), "a"));
        assert_eq!(find(&authorization, &[("authorization", "a")]), some(Some("a"), ""));
        assert_eq!(find(&authorization, &[("authorization", "")]), some(Some(""), ""));
        assert_eq!(find(&authorization, &[("authorization", "a b"), ("authorization", "a b")]), Err(400));
        let key = Shown::Header(HeaderName::from_static("x-api-key"));
        assert_eq!(find(&key, &[("x-api-key", " a b ")]), some(None, "a b"));
        assert_eq!(find(&key, &[("x-api-key", "ä")]), some(None, ""));
    }

    #[test]
    fn finds_a_parameter_and_takes_it_off() {
        let shown = Shown::Query("key".to_owned());
        let taken = |target: &str| {
            let mut head = head(target, &[]);
            let found = shown.find(&head).unwrap().map(|found| found.text.to_owned());
            shown.take(&mut head).unwrap();
            (found, head.uri.to_string())
        };
        assert_eq!(taken("/x?a=b&key=c&d"), (Some("c".to_owned()), "/x?a=b&d".to_owned()));
        assert_eq!(taken("/x?key"), (Some(String::new()), "/x".to_owned()));
        assert_eq!(taken("/x?keys=c&Key=d"), (None, "/x?keys=c&Key=d".to_owned()));
        assert!(shown.find(&head("/x?key=a&key=a", &[])).is_err());
    }
}
