//! The trace that a request belongs to, as the W3C's headers carry it from one to the next.

use http::{HeaderMap, HeaderValue};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// The trace that a request belongs to. While a plugin answers a request, calls of its
/// [`Dependency`](crate::Dependency)s carry it on by themselves. A task that is spawned does not know
/// it; hand it over:
///
/// ```no_run
/// # use forward_sdk::TraceContext;
/// # async fn work() {}
/// let trace = TraceContext::current();
/// tokio::spawn(async move {
///     match trace {
///         Some(trace) => trace.scope(work()).await,
///         None => work().await,
///     }
/// });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    parent: HeaderValue,
    state: Option<HeaderValue>,
}

impl TraceContext {
    /// That of the request that is being answered; `None` outside of one, and where it has none.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// That of a request's headers.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let parent = headers.get(TRACEPARENT)?.clone();
        Some(Self { parent, state: headers.get(TRACESTATE).cloned() })
    }

    /// The value of the header `traceparent`, such as
    /// `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`.
    pub fn parent(&self) -> &str {
        self.parent.to_str().unwrap_or_default()
    }

    /// Says on a request that it belongs to the trace, unless it says something already.
    pub fn carry_on(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(TRACEPARENT) {
            headers.insert(TRACEPARENT, self.parent.clone());
            headers
                .extend(self.state.clone().map(|state| (http::HeaderName::from_static(TRACESTATE), state)));
        }
    }

    /// Runs a future as a part of the trace.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_known_within_its_scope_and_carried_on() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceContext::of(&headers), None);
        headers.insert(TRACEPARENT, HeaderValue::from_static("00-a-b-01"));
        headers.insert(TRACESTATE, HeaderValue::from_static("x=y"));
        let trace = TraceContext::of(&headers).unwrap();
        let seen = trace.clone().scope(async { TraceContext::current() }).await;
        assert_eq!(seen.as_ref(), Some(&trace));
        assert_eq!(TraceContext::current(), None);
        let mut call = HeaderMap::new();
        trace.carry_on(&mut call);
        assert_eq!(call, headers);
        let mut own = HeaderMap::new();
        own.insert(TRACEPARENT, HeaderValue::from_static("00-c-d-00"));
        trace.carry_on(&mut own);
        assert_eq!((own.len(), &own[TRACEPARENT]), (1, &HeaderValue::from_static("00-c-d-00")));
    }
}
