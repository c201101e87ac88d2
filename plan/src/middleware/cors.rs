//! Which pages may read answers.

use forward_crds as crds;
use http::HeaderValue;

use super::{StepError, step::header_value};

/// What browsers are told, as the values of the headers that tell it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cors {
    /// The origins that may.
    pub origins: Origins,
    /// The methods; `None` for that which is asked for.
    pub methods: Option<HeaderValue>,
    /// The headers of requests.
    pub headers: Option<HeaderValue>,
    /// The headers of answers.
    pub expose: Option<HeaderValue>,
    /// Whether cookies may come along.
    pub credentials: bool,
    /// For how many seconds the browser may remember it.
    pub max_age: Option<HeaderValue>,
}

/// Origins, such as `https://shop.example`.
#[derive(Clone, Debug, PartialEq)]
pub enum Origins {
    /// Every one.
    Any,
    /// These.
    These(Vec<HeaderValue>),
}

impl Cors {
    pub(super) fn read(cors: &crds::Cors) -> Result<Self, StepError> {
        let crds::Cors { origins, methods, headers, expose_headers, credentials, max_age } = cors;
        let has_any = |list: &[String]| list.iter().any(|one| one == "*");
        if *credentials && (has_any(origins) || has_any(headers) || has_any(expose_headers)) {
            return Err(StepError::OpenCredentials);
        }
        if origins.is_empty() {
            return Err(StepError::Missing("origins"));
        }
        let origins = if has_any(origins) {
            Origins::Any
        } else {
            Origins::These(origins.iter().map(|origin| header_value(origin)).collect::<Result<_, _>>()?)
        };
        let list = |list: &[String]| (!list.is_empty()).then(|| header_value(&list.join(", "))).transpose();
        let max_age = max_age.map(|age| HeaderValue::from(age.get().as_secs()));
        Ok(Self {
            origins,
            methods: list(methods)?,
            headers: list(headers)?,
            expose: list(expose_headers)?,
            credentials: *credentials,
            max_age,
        })
    }

    /// Whether pages of an origin may. `null`, which is what sandboxed pages and files call
    /// themselves, is nobody's in particular: only `*` lets it.
    pub fn admits(&self, origin: &HeaderValue) -> bool {
        match &self.origins {
            Origins::Any => true,
            Origins::These(origins) => origin != "null" && origins.contains(origin),
        }
    }
}
