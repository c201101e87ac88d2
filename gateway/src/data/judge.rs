//! Bodies that must be like a schema, before the plugin sees them.
//!
//! What may take long is judged on a thread of its own kind, so that requests that share the worker do
//! not wait for it.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
};

use forward_plan::middleware::{Fault, Validate};
use http::{
    HeaderMap, Method,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
    request::Parts,
};

use tokio::sync::OwnedSemaphorePermit;

use super::{clock::Deadline, inflow::Inflow, problem::Problem, snapshot::Plugin, worker::Worker};

/// The most bytes that are judged where they are: to read so many takes some tens of microseconds.
const AT_ONCE: usize = 4096;

/// What the bodies of a route must be like.
#[derive(Debug)]
pub struct Judge {
    /// The middleware.
    name: String,
    validate: Validate,
}

impl Judge {
    pub fn new(name: &str, validate: &Validate) -> Self {
        Self { name: name.to_owned(), validate: validate.clone() }
    }

    /// Look at the body of a request for a plugin. What passes is held until it has been sent.
    pub async fn check(
        &self,
        worker: &Rc<Worker>,
        plugin: &Plugin,
        head: &Parts,
        body: &mut Inflow,
    ) -> Result<(), Problem> {
        if body.is_none() {
            return self.without(&head.method);
        }
        if head.headers.contains_key(CONTENT_ENCODING) {
            return Err(Problem::UnsupportedMediaType("the body must not be encoded"));
        }
        if !is_json(&head.headers) {
            return Err(Problem::UnsupportedMediaType(
                "the body must be JSON in UTF-8, and Content-Type must say so",
            ));
        }
        let shared = &worker.shared;
        let mut late = worker.clock.after(shared.settings.upstream_timeout);
        let room = plugin.room(shared);
        let gathered = body.gather(self.validate.most, &room, &mut late).await?;
        let bytes = gathered.ok_or(Problem::NoRoom)?;
        if bytes.is_empty() {
            return self.without(&head.method);
        }
        let judged = if bytes.len() <= AT_ONCE && self.validate.is_quick(bytes.len()) {
            self.validate.judge(&bytes)
        } else {
            let validate = self.validate.clone();
            let turn = turn(worker, plugin, &mut late).await?;
            let judging = tokio::task::spawn_blocking(move || {
                // It is over when the thread is, also where nobody waits for it any more.
                let _turn = turn;
                validate.judge(&bytes)
            });
            judging.await.map_err(|_| Problem::Middleware(self.name.clone()))?
        };
        judged.map_err(|fault| match fault {
            Fault::Unreadable(why) => Problem::NotJson(why),
            Fault::Violations(violations) => Problem::Invalid { middleware: self.name.clone(), violations },
        })
    }

    fn without(&self, method: &Method) -> Result<(), Problem> {
        let usual = [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS].contains(method);
        if self.validate.optional || usual {
            return Ok(());
        }
        Err(Problem::NotJson("there is none".to_owned()))
    }
}

/// A turn at judging, with those for the same plugin and with all. It is waited for as long as for the
/// body: meanwhile that takes room.
async fn turn(
    worker: &Worker,
    plugin: &Plugin,
    late: &mut Deadline,
) -> Result<[OwnedSemaphorePermit; 2], Problem> {
    let mut turn = pin!(async {
        let own = plugin.judging.clone().acquire_owned().await.expect("nobody closes it");
        let any = worker.shared.judging.clone().acquire_owned().await.expect("nobody closes it");
        [own, any]
    });
    poll_fn(|cx| match turn.as_mut().poll(cx) {
        Poll::Ready(turn) => Poll::Ready(Ok(turn)),
        Poll::Pending => Pin::new(&mut *late).poll(cx).map(|()| Err(Problem::NoRoom)),
    })
    .await
}

/// Whether there is one type, and it is JSON, in the one encoding that JSON has.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let Ok(text) = only.to_str() else { return false };
    let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    let suffixed = essence.strip_prefix("application/").and_then(|rest| rest.strip_suffix("+json"));
    let is_json = essence == "application/json" || suffixed.is_some_and(|kind| !kind.is_empty());
    is_json
        && parts.all(|parameter| match parameter.strip_prefix("charset=") {
            Some(charset) => matches!(charset, "utf-8" | "\"utf-8\"" | "utf8"),
            None => true,
        })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn knows_what_says_that_it_is_json() {
        let says = |types: &[&'static str]| {
            let values = types.iter().map(|text| (CONTENT_TYPE, HeaderValue::from_static(text)));
            is_json(&values.collect())
        };
        for text in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/merge-patch+json",
            "application/json;charset=\"utf-8\"; version=1",
        ] {
            assert!(says(&[text]), "{text}");
        }
        for types in [
            &[][..],
            &["text/json"],
            &["application/x-www-form-urlencoded"],
            &["application/+json"],
            &["application/json; charset=utf-16"],
            &["application/json, text/plain"],
            &["application/jsonx"],
            &["application/json", "application/json"],
        ] {
            assert!(!says(types), "{types:?}");
        }
    }
}
