//! Posts messages to receivers. Whoever writes PluginSystems says where to: over TLS to any address that
//! proves its name, without it only where the gateway's operator allows, and nothing is told of an
//! answer but its status.

use std::{fmt, path::Path, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    callers::fetch::{SetUpError, client_tls},
    mounts::chain,
};

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A place that is spoken to without TLS: `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

/// Posts messages. Cheap to clone.
#[derive(Clone)]
pub struct Poster {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    plain: Arc<[Origin]>,
}

/// Why a text is no [`Origin`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a place such as http://alertmanager.monitoring:9093, without a path")]
pub struct ParseOriginError(String);

/// Why a message has not arrived.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error("\"{0}\" is no address")]
    Address(String),
    #[error(
        "\"{0}\" is without TLS, and not among the places where the gateway may send alerts so (gateway.alerts.plainReceivers of the chart)"
    )]
    Plain(String),
    #[error("{0}")]
    Ask(String),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("it took longer than {PATIENCE:?}")]
    Late,
}

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseOriginError(text.to_owned());
        let uri = text.parse::<Uri>().map_err(|_| error())?;
        // A path that is not there reads as one.
        let bare = uri.path() == "/" && uri.query().is_none() && !text.ends_with('/');
        Self::of(&uri).filter(|_| bare && uri.scheme() == Some(&Scheme::HTTP)).ok_or_else(error)
    }
}

impl Origin {
    fn of(uri: &Uri) -> Option<Self> {
        let authority = uri.authority()?;
        // Names and passwords have no place here.
        let plain = !authority.as_str().contains('@');
        let port = uri.port_u16().unwrap_or(80);
        plain.then(|| Self(format!("{}:{port}", uri.host().unwrap_or_default().to_ascii_lowercase())))
    }
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster").field("plain", &self.plain).finish_non_exhaustive()
    }
}

impl Poster {
    /// Trusts the authorities that browsers trust, or those of a file in their place, and speaks
    /// without TLS to these places only.
    pub fn new(authorities: Option<&Path>, plain: Vec<Origin>) -> Result<Self, SetUpError> {
        let tls = client_tls(authorities)?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new()).build(connector.build());
        Ok(Self { client, plain: plain.into() })
    }

    /// Post a message. A redirect is not followed: it would lead where nobody said that it may go.
    pub async fn post(&self, url: &str, body: &Value) -> Result<(), PostError> {
        let address = || PostError::Address(url.to_owned());
        let uri = url.parse::<Uri>().map_err(|_| address())?;
        if uri.scheme() != Some(&Scheme::HTTPS) {
            let origin = Origin::of(&uri).ok_or_else(address)?;
            if !self.plain.contains(&origin) {
                return Err(PostError::Plain(url.to_owned()));
            }
        }
        let request = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "forward-gateway")
            .body(Full::from(body.to_string()));
        let asked = self.client.request(request.map_err(|_| address())?);
        let answer = timeout(PATIENCE, asked).await.map_err(|_| PostError::Late)?;
        let status = answer.map_err(|error| PostError::Ask(chain(&error)))?.status();
        if status.is_success() { Ok(()) } else { Err(PostError::Status(status)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_places_from_other_texts() {
        for text in ["http://a", "http://a:80", "http://A:80"] {
            assert_eq!(text.parse(), Ok(Origin("a:80".to_owned())), "{text}");
        }
        assert_eq!("http://a.b:9093".parse(), Ok(Origin("a.b:9093".to_owned())));
        for text in ["", "a", "a:80", "https://a", "http://a/", "http://a/x", "http://a?x", "http://u@a"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn goes_without_tls_nowhere_but_where_it_may() {
        let poster = Poster::new(None, vec!["http://127.0.0.1:1".parse().unwrap()]).unwrap();
        let ask = async |url| poster.post(url, &Value::Null).await.unwrap_err();
        assert!(matches!(ask("http://127.0.0.1:1/x").await, PostError::Ask(_)));
        for url in
            ["http://127.0.0.1:2/", "http://127.0.0.1/", "http://localhost:1/", "http://169.254.169.254/"]
        {
            assert!(matches!(ask(url).await, PostError::Plain(_)), "{url}");
        }
        assert!(matches!(ask("http://127.0.0.1:1@other:1/").await, PostError::Address(_)));
        assert!(matches!(ask("https://127.0.0.1:1/").await, PostError::Ask(_)));
    }
}
