//! A request to the API server, read: what it asks for, of which object.

use std::fmt;

use http::{Method, Uri};
use serde_json::Value;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads all objects of a kind.
    List,
    /// Follows the objects of a kind.
    Watch,
    /// Makes an object.
    Create,
    /// Replaces an object.
    Update,
    /// Changes an object, or makes it by server-side apply.
    Patch,
    /// Deletes an object.
    Delete,
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What it does.
    pub verb: Verb,
    /// The namespace of the object; empty for a whole cluster.
    pub namespace: String,
    /// The plural of the kind.
    pub resource: String,
    /// The name of the object, also of one that is made; empty where the request is about a kind.
    pub name: String,
    /// The part of the object, such as `status`; empty for the object itself.
    pub subresource: String,
    /// The body, where it is JSON, and null otherwise.
    pub body: Value,
}

impl Call {
    /// Read a request.
    pub fn read(method: &Method, uri: &Uri, body: &[u8]) -> Self {
        let mut parts = uri.path().split('/').filter(|part| !part.is_empty()).map(str::to_owned);
        let groups = if parts.next().as_deref() == Some("apis") { 2 } else { 1 };
        let mut parts = parts.skip(groups).peekable();
        let namespace = match parts.next_if(|part| part == "namespaces") {
            Some(_) => parts.next().unwrap_or_default(),
            None => String::new(),
        };
        let mut next = || parts.next().unwrap_or_default();
        let (resource, mut name, subresource) = (next(), next(), next());
        let watches = uri.query().is_some_and(|query| query.contains("watch=true"));
        let verb = match *method {
            Method::GET if watches => Verb::Watch,
            Method::GET if name.is_empty() => Verb::List,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ => Verb::Get,
        };
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if verb == Verb::Create && name.is_empty() {
            name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        }
        Self { verb, namespace, resource, name, subresource, body }
    }

    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb, Verb::Get | Verb::List | Verb::Watch)
    }

    /// Whether it is a write by which a plugin comes further, as the renewal of the Lease is not.
    pub fn is_step(&self) -> bool {
        self.is_write() && self.resource != "leases"
    }

    /// Whether it is about objects of a kind, or a part of them.
    pub fn is_on(&self, resource: &str, subresource: &str) -> bool {
        self.resource == resource && self.subresource == subresource
    }
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, name, subresource, .. } = self;
        let verb = format!("{verb:?}").to_lowercase();
        let slash = if subresource.is_empty() { "" } else { "/" };
        write!(formatter, "{verb} {resource}{slash}{subresource} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: Method, path: &str) -> Call {
        Call::read(&method, &path.parse().unwrap(), b"")
    }

    #[test]
    fn reads_what_is_asked_for() {
        let status = "/apis/goforward.dev/v1alpha1/namespaces/shop/plugins/cart/status?fieldManager=a";
        let call = read(Method::PATCH, status);
        assert_eq!(call.to_string(), "patch plugins/status cart");
        assert!(call.namespace == "shop" && call.is_step());
        assert_eq!(read(Method::GET, "/api/v1/pods?watch=true").to_string(), "watch pods ");
        assert_eq!(read(Method::GET, "/api/v1/pods?limit=500").verb, Verb::List);
        assert_eq!(
            read(Method::GET, "/api/v1/namespaces/shop/services/cart").to_string(),
            "get services cart"
        );
        let made = br#"{"metadata": {"name": "cart"}}"#;
        let call = Call::read(&Method::POST, &"/api/v1/namespaces/shop/services".parse().unwrap(), made);
        assert_eq!(call.to_string(), "create services cart");
        let lease = read(Method::PATCH, "/apis/coordination.k8s.io/v1/namespaces/a/leases/b");
        assert!(lease.is_write() && !lease.is_step());
    }
}
