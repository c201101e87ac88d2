//! What a middleware is asked, and what it can say.

use std::time::Duration;

use forward_proto::plugin::v1::{
    Continue, Header, HeaderChanges, Identity, OnRequestRequest, OnResponseRequest, Redirect, Respond,
    on_request_response::Outcome as Said,
};

/// A request that a middleware is asked about.
#[derive(Clone, Debug)]
pub struct Question(pub(super) OnRequestRequest);

/// An answer that a middleware is asked about.
#[derive(Clone, Debug)]
pub struct Answered(pub(super) OnResponseRequest);

/// What becomes of a request.
#[derive(Clone, Debug)]
#[must_use]
pub struct Outcome(pub(super) Said);

/// Changes of headers: first those that are removed, then those that are set, then those that are
/// added. The gateway does not take changes of headers that frame or carry messages, or say who asked.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Changes(pub(super) HeaderChanges);

impl Question {
    /// The plugin that the request is for.
    pub fn plugin(&self) -> &str {
        &self.0.plugin
    }

    /// The path pattern of the route, for example `/orders/:id`.
    pub fn route(&self) -> &str {
        &self.0.route
    }

    /// What stands in the path for a parameter of the pattern, percent-encoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.0.path_parameters.get(name).map(String::as_str)
    }

    /// The method, for example `GET`.
    pub fn method(&self) -> &str {
        &self.0.method
    }

    /// `http` or `https`, as far as the gateway knows it.
    pub fn scheme(&self) -> &str {
        &self.0.scheme
    }

    /// The host as the client named it, with the port where it did.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// The path without the query, percent-encoded.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The query without the `?`; empty where there is none.
    pub fn query(&self) -> &str {
        &self.0.query
    }

    /// The first value of a header, where it is text. The name is in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.0.headers, name)
    }

    /// All headers, with names in lower case, but those that frame or carry messages, or say who asked.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.headers.iter().map(|header| (header.name.as_str(), header.value.as_slice()))
    }

    /// The client's address.
    pub fn client_address(&self) -> &str {
        &self.0.client_address
    }

    /// The request's id, the same as in the question about its answer.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// Who asks, where that has been said before: by a key, a token or a plugin.
    pub fn subject(&self) -> Option<&str> {
        self.0.identity.as_ref().map(|identity| identity.subject.as_str())
    }

    /// Whether who asks has a permission, for example `orders:read`.
    pub fn may(&self, permission: &str) -> bool {
        self.0.identity.iter().flat_map(|identity| &identity.permissions).any(|own| own == permission)
    }

    /// The body, where the middleware is to be shown it.
    pub fn body(&self) -> Option<&[u8]> {
        self.0.body.as_deref()
    }
}

impl Answered {
    /// The plugin that the request was for.
    pub fn plugin(&self) -> &str {
        &self.0.plugin
    }

    /// The path pattern of the route.
    pub fn route(&self) -> &str {
        &self.0.route
    }

    /// The method of the request.
    pub fn method(&self) -> &str {
        &self.0.method
    }

    /// The path of the request.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The request's id, the same as in the question about the request.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The answer's status.
    pub fn status(&self) -> u32 {
        self.0.status
    }

    /// The first value of a header, where it is text. The name is in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.0.headers, name)
    }
}

impl Outcome {
    /// The request goes on as it is.
    pub fn next() -> Self {
        Self::changed(Changes::default())
    }

    /// The request goes on with these changes of its headers.
    pub fn changed(Changes(headers): Changes) -> Self {
        Self(Said::Continue(Continue { headers: Some(headers), ..Continue::default() }))
    }

    /// That is the answer; nobody behind sees the request. A status from 200 to 599.
    pub fn respond(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self(Said::Respond(Respond { status: status.into(), headers: Vec::new(), body: body.into() }))
    }

    /// The client is sent to another URL or path, for now (302).
    pub fn redirect(location: impl Into<String>) -> Self {
        Self(Said::Redirect(Redirect { location: location.into(), status: 0 }))
    }

    /// Adds a header to an answer, or to the request that goes on.
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        let header = Header { name: name.to_owned(), value: value.into() };
        match &mut self.0 {
            Said::Continue(on) => on.headers.get_or_insert_default().add.push(header),
            Said::Respond(respond) => respond.headers.push(header),
            Said::Redirect(_) => {}
        }
        self
    }

    /// Says who asks, of a middleware of the phase Authenticate. Plugins are told in `X-Forward-Subject`,
    /// `X-Forward-Permissions` and `X-Forward-Auth-Method: plugin`.
    pub fn identity(mut self, subject: &str, permissions: impl IntoIterator<Item = String>) -> Self {
        if let Said::Continue(on) = &mut self.0 {
            let permissions = permissions.into_iter().collect();
            on.identity = Some(Identity { subject: subject.to_owned(), permissions });
        }
        self
    }

    /// Lets the gateway keep for a while, a minute at most, who asks, of a middleware with
    /// [`Middleware::cache_by`](super::Middleware::cache_by) that changes no headers. Until then it may
    /// not ask again, so that what is taken back meanwhile counts on.
    pub fn cache_for(mut self, time: Duration) -> Self {
        if let Said::Continue(on) = &mut self.0 {
            on.cache_for = time.min(Duration::from_secs(60)).try_into().ok();
        }
        self
    }
}

impl Changes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a header away.
    pub fn remove(mut self, name: &str) -> Self {
        self.0.remove.push(name.to_owned());
        self
    }

    /// Has a header with this value, in the place of what was there.
    pub fn set(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.0.set.push(Header { name: name.to_owned(), value: value.into() });
        self
    }

    /// Has a header besides what is there.
    pub fn add(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.0.add.push(Header { name: name.to_owned(), value: value.into() });
        self
    }
}

fn find<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(&header.value).ok()
}
