//! Middleware that a plugin provides: functions that the gateway asks about requests before they go
//! on, those for other plugins among them.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use forward_sdk::{Context, Error, NoConfig, Plugin};
//! use forward_sdk::middleware::{Middleware, Outcome, Phase, Question};
//!
//! # struct Keys;
//! # impl Plugin for Keys {
//! #     type Config = NoConfig;
//! #     async fn initialize(_: NoConfig, _: &Context) -> Result<Self, Error> { Ok(Self) }
//! fn middleware(&self) -> Middleware<Self> {
//!     Middleware::new().request("api-key", Phase::Authorize, check).for_all()
//! }
//! # }
//!
//! async fn check(_: Arc<Keys>, request: Question) -> Result<Outcome, Error> {
//!     Ok(match request.header("x-api-key") {
//!         Some("opensesame") => Outcome::next(),
//!         _ => Outcome::respond(401, "an API key is missing\n").header("content-type", "text/plain"),
//!     })
//! }
//! ```

mod question;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use forward_proto::plugin::v1::{
    self, OnRequestRequest, OnRequestResponse, OnResponseRequest, OnResponseResponse, ProvidedMiddleware,
    RouteSelector,
    provided_middleware::{FailureMode, Scope},
};

pub use self::question::{Answered, Changes, Outcome, Question};
use crate::Error;

/// When a middleware acts on a request, the first phase first; on the answer it is the other way round.
pub use v1::provided_middleware::Phase;

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;
type Handler<P, Q, T> = Box<dyn Fn(Arc<P>, Q) -> Answer<T> + Send + Sync>;

/// The middleware that a plugin provides. What is wrong with one shows in the status of the `Plugin`.
#[must_use]
pub struct Middleware<P> {
    entries: Vec<Entry<P>>,
}

struct Entry<P> {
    provided: ProvidedMiddleware,
    request: Handler<P, Question, Outcome>,
    response: Option<Handler<P, Answered, Changes>>,
}

impl<P> Default for Middleware<P> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<P: Send + Sync + 'static> Middleware<P> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks a function about each request for the plugin's own routes, before they see it. An error, a
    /// panic and an answer that is late count as none: then the client gets 503. A name consists of
    /// lower-case letters, digits and `-`.
    pub fn request<F>(
        mut self,
        name: &str,
        phase: Phase,
        handler: impl Fn(Arc<P>, Question) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Outcome, Error>> + Send + 'static,
    {
        let name = name.to_owned();
        let provided = ProvidedMiddleware { name, phase: phase.into(), ..ProvidedMiddleware::default() };
        let request = Box::new(move |plugin, question| Box::pin(handler(plugin, question)) as Answer<_>);
        self.entries.push(Entry { provided, request, response: None });
        self
    }

    /// Has the middleware before asked about the answers too, on their way back.
    pub fn response<F>(mut self, handler: impl Fn(Arc<P>, Answered) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Changes, Error>> + Send + 'static,
    {
        if let Some(entry) = self.entries.last_mut() {
            entry.provided.response = true;
            entry.response =
                Some(Box::new(move |plugin, answered| Box::pin(handler(plugin, answered)) as Answer<_>));
        }
        self
    }

    /// Has the middleware before asked about the requests for all other plugins of the namespace instead.
    /// Its PluginSystem must name this plugin in `middlewareFrom`.
    pub fn for_all(self) -> Self {
        self.edit(|provided| provided.scope = Scope::All.into())
    }

    /// Has the middleware before asked about the requests for these plugins instead. The namespace's
    /// PluginSystem must name this plugin in `middlewareFrom`.
    pub fn for_plugins<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.edit(|provided| {
            provided.scope = Scope::Named.into();
            provided.plugins = names.into_iter().map(str::to_owned).collect();
        })
    }

    /// Has the middleware before asked about the requests for these routes alone, by their path patterns, of
    /// the plugins that it is for: at most 16.
    pub fn for_routes<'a>(self, paths: impl IntoIterator<Item = &'a str>) -> Self {
        let selector = |path: &str| RouteSelector { path: path.to_owned(), method: String::new() };
        self.edit(|provided| provided.routes = paths.into_iter().map(selector).collect())
    }

    /// Who acts first within a phase: higher is first. 0 where nothing is said.
    pub fn priority(self, priority: i32) -> Self {
        self.edit(|provided| provided.priority = priority)
    }

    /// Lets requests go on where the middleware before gives no answer. Not for the phases Authenticate
    /// and Authorize.
    pub fn fail_open(self) -> Self {
        self.edit(|provided| provided.failure_mode = FailureMode::Open.into())
    }

    /// How long the middleware before may take, at most 10 s. 500 ms where nothing is said.
    pub fn deadline(self, deadline: Duration) -> Self {
        // The gateway refuses what is too long; this only keeps it a number that can be written down.
        self.edit(|provided| provided.deadline = deadline.min(Duration::from_secs(3600)).try_into().ok())
    }

    /// Shows the middleware before the bodies of requests, of at most so many bytes, 1 MiB at most. The
    /// gateway answers what is larger with 413.
    pub fn body(self, max_bytes: u32) -> Self {
        self.edit(|provided| provided.max_body_bytes = max_bytes)
    }

    /// Says of the middleware before, of the phase Authenticate, that who asks depends on these headers of
    /// a request alone, for example `authorization`, 8 at most. What is said with
    /// [`Outcome::cache_for`] then holds for requests with the same values in all of them.
    pub fn cache_by<'a>(self, headers: impl IntoIterator<Item = &'a str>) -> Self {
        self.edit(|provided| provided.cache_by = headers.into_iter().map(str::to_owned).collect())
    }

    fn edit(mut self, edit: impl FnOnce(&mut ProvidedMiddleware)) -> Self {
        if let Some(entry) = self.entries.last_mut() {
            edit(&mut entry.provided);
        }
        self
    }

    /// What is announced to the gateway.
    pub(crate) fn announced(&self) -> Vec<ProvidedMiddleware> {
        self.entries.iter().map(|entry| entry.provided.clone()).collect()
    }

    /// Asks about a request; nobody where there is no such middleware.
    pub(crate) fn on_request(
        &self,
        plugin: &Arc<P>,
        question: OnRequestRequest,
    ) -> Option<impl Future<Output = Result<OnRequestResponse, Error>> + use<P>> {
        let answer = (self.find(&question.middleware)?.request)(plugin.clone(), Question(question));
        Some(async { answer.await.map(|Outcome(said)| OnRequestResponse { outcome: Some(said) }) })
    }

    /// Asks about an answer; nobody where no such middleware wants that.
    pub(crate) fn on_response(
        &self,
        plugin: &Arc<P>,
        question: OnResponseRequest,
    ) -> Option<impl Future<Output = Result<OnResponseResponse, Error>> + use<P>> {
        let handler = self.find(&question.middleware)?.response.as_ref()?;
        let answer = handler(plugin.clone(), Answered(question));
        Some(async { answer.await.map(|Changes(headers)| OnResponseResponse { headers: Some(headers) }) })
    }

    fn find(&self, name: &str) -> Option<&Entry<P>> {
        self.entries.iter().find(|entry| entry.provided.name == name)
    }
}

#[cfg(test)]
mod tests {
    use forward_proto::plugin::v1::{Header, on_request_response::Outcome as Said};

    use super::*;

    async fn greet(plugin: Arc<String>, question: Question) -> Result<Outcome, Error> {
        Ok(match question.header("X-Name") {
            Some(name) => Outcome::changed(Changes::new().set("x-greeting", format!("{plugin}, {name}"))),
            None => Outcome::respond(401, "who are you?").header("www-authenticate", "name"),
        })
    }

    async fn mark(_: Arc<String>, answered: Answered) -> Result<Changes, Error> {
        match answered.status() {
            500 => Err("no".into()),
            _ => Ok(Changes::new().remove("server").add("x-marked", "1")),
        }
    }

    fn middleware() -> Middleware<String> {
        Middleware::new()
            .request("greet", Phase::Authenticate, greet)
            .for_plugins(["a", "b"])
            .priority(-5)
            .deadline(Duration::from_millis(1500))
            .request("mark", Phase::Observe, async |_, _| Ok(Outcome::next()))
            .response(mark)
            .for_all()
            .fail_open()
    }

    #[test]
    fn announces_what_was_said_of_each() {
        let deadline = Some(Duration::from_millis(1500).try_into().unwrap());
        let expected = [
            ProvidedMiddleware {
                name: "greet".to_owned(),
                phase: Phase::Authenticate.into(),
                priority: -5,
                scope: Scope::Named.into(),
                plugins: vec!["a".to_owned(), "b".to_owned()],
                deadline,
                ..ProvidedMiddleware::default()
            },
            ProvidedMiddleware {
                name: "mark".to_owned(),
                phase: Phase::Observe.into(),
                scope: Scope::All.into(),
                failure_mode: FailureMode::Open.into(),
                response: true,
                ..ProvidedMiddleware::default()
            },
        ];
        assert_eq!(middleware().announced(), expected);
    }

    #[tokio::test]
    async fn asks_the_one_that_is_named() {
        let (middleware, plugin) = (middleware(), Arc::new("hello".to_owned()));
        let ask = async |name: &str, headers: Vec<Header>| {
            let question =
                OnRequestRequest { middleware: name.to_owned(), headers, ..OnRequestRequest::default() };
            Some(middleware.on_request(&plugin, question)?.await.unwrap().outcome.unwrap())
        };
        let named = vec![Header { name: "x-name".to_owned(), value: b"Ada".to_vec() }];
        let Some(Said::Continue(on)) = ask("greet", named).await else { panic!("it does not go on") };
        let set = Header { name: "x-greeting".to_owned(), value: b"hello, Ada".to_vec() };
        assert_eq!(on.headers.unwrap().set, [set]);
        let Some(Said::Respond(respond)) = ask("greet", vec![]).await else { panic!("it goes on") };
        assert_eq!((respond.status, respond.headers.len()), (401, 1));
        assert!(ask("other", vec![]).await.is_none());
    }

    #[tokio::test]
    async fn says_who_asks_for_how_long_and_knows_who_does() {
        let middleware = Middleware::new()
            .request("who", Phase::Authenticate, |_: Arc<String>, question: Question| async move {
                assert!(question.subject() == Some("ada") && question.may("read") && !question.may("write"));
                Ok(Outcome::next().identity("ada", []).cache_for(Duration::from_secs(90)))
            })
            .cache_by(["cookie"])
            .for_routes(["/a/:b"]);
        let announced = &middleware.announced()[0];
        assert_eq!((&*announced.cache_by, &*announced.routes[0].path), (&["cookie".to_owned()][..], "/a/:b"));
        let identity = v1::Identity { subject: "ada".to_owned(), permissions: vec!["read".to_owned()] };
        let question = OnRequestRequest {
            middleware: "who".to_owned(),
            identity: Some(identity),
            ..OnRequestRequest::default()
        };
        let asked = middleware.on_request(&Arc::default(), question).unwrap().await.unwrap();
        let Some(Said::Continue(on)) = asked.outcome else { panic!("it does not go on") };
        assert_eq!(on.cache_for.unwrap().seconds, 60, "no longer than the gateway keeps it");
        // What changes nothing says so, or it could not be kept.
        assert_eq!(on.headers.unwrap_or_default(), v1::HeaderChanges::default());
    }

    #[tokio::test]
    async fn asks_about_answers_where_that_is_wanted() {
        let (middleware, plugin) = (middleware(), Arc::new("hello".to_owned()));
        let ask = |name: &str, status: u32| {
            let question =
                OnResponseRequest { middleware: name.to_owned(), status, ..OnResponseRequest::default() };
            middleware.on_response(&plugin, question)
        };
        let changes = ask("mark", 200).unwrap().await.unwrap().headers.unwrap();
        assert_eq!((changes.remove.len(), changes.add.len()), (1, 1));
        assert!(ask("mark", 500).unwrap().await.is_err());
        assert!(ask("greet", 200).is_none());
    }
}
