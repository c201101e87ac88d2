//! Changes of headers.

use forward_crds::{self as crds, Header};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    StepError,
    step::{header_name, header_value},
};

/// Headers by which messages are framed and carried, and those that say who asked.
const OURS: [&str; 16] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-real-ip",
    "x-request-id",
];
/// What the names of more of them begin with, however they spell the `-`: programs that make
/// variables of headers make the same one of `x_forward_subject`.
const OUR_PREFIXES: [&str; 2] = ["x-forwarded-", "x-forward-"];

/// Changes of the headers of requests, and of answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers {
    /// Before the plugin sees the request.
    pub request: Changes,
    /// Before the client sees the answer.
    pub response: Changes,
}

/// What to take away, to set, and to add; in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl Headers {
    pub(super) fn read(headers: &crds::Headers) -> Result<Self, StepError> {
        let crds::Headers { request, response } = headers;
        let changes =
            |part: &Option<crds::HeaderChanges>| part.as_ref().map_or(Ok(Changes::default()), Changes::read);
        Ok(Self { request: changes(request)?, response: changes(response)? })
    }
}

impl Changes {
    fn read(changes: &crds::HeaderChanges) -> Result<Self, StepError> {
        let crds::HeaderChanges { remove, set, add } = changes;
        let pairs = |list: &[Header]| {
            list.iter()
                .map(|Header { name, value }| Ok((changeable(name)?, header_value(value)?)))
                .collect::<Result<Vec<_>, StepError>>()
        };
        let remove = remove.iter().map(|name| changeable(name)).collect::<Result<_, _>>()?;
        Ok(Self { remove, set: pairs(set)?, add: pairs(add)? })
    }

    /// Change headers.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let Self { remove, set, add } = self;
        for name in remove {
            headers.remove(name);
        }
        for (name, value) in set {
            headers.insert(name, value.clone());
        }
        for (name, value) in add {
            headers.append(name, value.clone());
        }
    }
}

/// A header that is not the gateway's.
pub fn changeable(text: &str) -> Result<HeaderName, StepError> {
    let name = header_name(text)?;
    // In lower case, as the type has them.
    let spelled = name.as_str().replace('_', "-");
    let ours = OURS.contains(&name.as_str()) || OUR_PREFIXES.iter().any(|prefix| spelled.starts_with(prefix));
    if ours { Err(StepError::OwnHeader(name)) } else { Ok(name) }
}
