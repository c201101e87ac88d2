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

    /// The changes that a plugin asks for: what to remove, to set and to add.
    ///
    /// # Errors
    /// One of them cannot be done.
    pub fn of(
        remove: impl IntoIterator<Item = String>,
        set: impl IntoIterator<Item = (String, Vec<u8>)>,
        add: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<Self, StepError> {
        let pair = |(name, value): (String, Vec<u8>)| Ok((changeable(&name)?, any_value(value)?));
        let remove = remove.into_iter().map(|name| changeable(&name)).collect::<Result<_, _>>()?;
        let set = set.into_iter().map(pair).collect::<Result<_, StepError>>()?;
        let add = add.into_iter().map(pair).collect::<Result<_, StepError>>()?;
        Ok(Self { remove, set, add })
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
    if is_ours(&name) { Err(StepError::OwnHeader(name)) } else { Ok(name) }
}

/// Whether a header is the gateway's: it frames or carries messages, or says who asked.
pub fn is_ours(name: &HeaderName) -> bool {
    // In lower case, as the type has them.
    let spelled = name.as_str().replace('_', "-");
    OURS.contains(&name.as_str()) || OUR_PREFIXES.iter().any(|prefix| spelled.starts_with(prefix))
}

/// A value with all that HTTP allows.
fn any_value(bytes: Vec<u8>) -> Result<HeaderValue, StepError> {
    HeaderValue::try_from(bytes.as_slice())
        .map_err(|_| StepError::HeaderValue(String::from_utf8_lossy(&bytes).into_owned()))
}
