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
    data::{path::is_plain, request::has_dot_segment},
    mounts::chain,
};

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A place that is spoken to without TLS: `http://host:port`, and the path under which, if not under any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    origin: String,
    /// Empty for any.
    path: String,
}

/// Posts messages. Cheap to clone.
#[derive(Clone)]
pub struct Poster {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    plain: Arc<[Plain]>,
}

/// Why a text is no [`Plain`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a place such as http://alertmanager.monitoring:9093, or with a path as in http://chat.team/hooks, which does not end with / and reads the same to everybody"
)]
pub struct ParsePlainError(String);

/// Why a message has not arrived.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error(
        "\"{0}\" is no address of a receiver: these have no # and no user, and an Alertmanager's has no ? either"
    )]
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

impl FromStr for Plain {
    type Err = ParsePlainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePlainError(text.to_owned());
        let uri = text.parse::<Uri>().map_err(|_| error())?;
        let bare = uri.query().is_none() && !text.contains('#') && !text.ends_with('/');
        // A path that is not there reads as one.
        let path = uri.path().trim_end_matches('/').to_owned();
        let is_one = bare && uri.scheme() == Some(&Scheme::HTTP) && reads_the_same(&path);
        let origin = origin(&uri).filter(|_| is_one).ok_or_else(error)?;
        Ok(Self { origin, path })
    }
}

impl Plain {
    /// Whether it lies there. Under a path does nothing that others may read as another one.
    fn holds(&self, uri: &Uri) -> bool {
        let path = uri.path();
        let under = path.strip_prefix(&self.path);
        let is_under = || under.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        origin(uri).as_ref() == Some(&self.origin)
            && (self.path.is_empty() || (is_under() && reads_the_same(path)))
    }
}

/// Host and port. Names and passwords have no place here.
fn origin(uri: &Uri) -> Option<String> {
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let port = authority.port_u16().unwrap_or(80);
    Some(format!("{}:{port}", authority.host().to_ascii_lowercase()))
}

fn reads_the_same(path: &str) -> bool {
    is_plain(path) && !has_dot_segment(path)
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster").field("plain", &self.plain).finish_non_exhaustive()
    }
}

impl Poster {
    /// Trusts the authorities that browsers trust, or those of a file in their place, and speaks
    /// without TLS to these places only.
    pub fn new(authorities: Option<&Path>, plain: Vec<Plain>) -> Result<Self, SetUpError> {
        let tls = client_tls(authorities)?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new()).build(connector.build());
        Ok(Self { client, plain: plain.into() })
    }

    /// Post a message to a receiver's address, or to this path under it. A redirect is not followed: it
    /// would lead where nobody said that it may go.
    pub async fn post(&self, url: &str, under: Option<&str>, body: &Value) -> Result<(), PostError> {
        let address = || PostError::Address(url.to_owned());
        // What comes after a # would be left out, and what is put after a ? is no path.
        if url.contains('#') || (under.is_some() && url.contains('?')) {
            return Err(address());
        }
        let whole = under.map(|under| format!("{}{under}", url.trim_end_matches('/')));
        let uri = whole.as_deref().unwrap_or(url).parse::<Uri>().map_err(|_| address())?;
        origin(&uri).ok_or_else(address)?;
        if uri.scheme() != Some(&Scheme::HTTPS) && !self.plain.iter().any(|plain| plain.holds(&uri)) {
            return Err(PostError::Plain(uri.to_string()));
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
        let plain = |origin: &str, path: &str| Plain { origin: origin.to_owned(), path: path.to_owned() };
        for text in ["http://a", "http://a:80", "http://A:80"] {
            assert_eq!(text.parse(), Ok(plain("a:80", "")), "{text}");
        }
        assert_eq!("http://a.b:9093".parse(), Ok(plain("a.b:9093", "")));
        assert_eq!("http://a/b/c".parse(), Ok(plain("a:80", "/b/c")));
        for text in [
            "",
            "a",
            "a:80",
            "https://a",
            "http://a/",
            "http://a/x/",
            "http://a?x",
            "http://a/x?y",
            "http://u@a",
            "http://a/x#y",
            "http://a#y",
            "http://a/../x",
            "http://a/%2e%2e/x",
            "http://a//x",
        ] {
            assert!(text.parse::<Plain>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn goes_without_tls_nowhere_but_where_it_may() {
        let places = ["http://127.0.0.1:1", "http://127.0.0.1:3/api/v2"];
        let poster = Poster::new(None, places.map(|place| place.parse().unwrap()).into()).unwrap();
        let ask = async |url| poster.post(url, None, &Value::Null).await.unwrap_err();
        for url in [
            "http://127.0.0.1:1/x",
            "http://127.0.0.1:1/",
            "http://127.0.0.1:1/../x",
            "http://127.0.0.1:3/api/v2",
            "http://127.0.0.1:3/api/v2/alerts",
            "http://127.0.0.1:3/api/v2/?x",
            "https://127.0.0.1:1/",
        ] {
            assert!(matches!(ask(url).await, PostError::Ask(_)), "{url}");
        }
        for url in [
            "http://127.0.0.1:2/",
            "http://127.0.0.1/",
            "http://localhost:1/",
            "http://169.254.169.254/",
            "http://127.0.0.1:3/",
            "http://127.0.0.1:3/api/v22",
            "http://127.0.0.1:3/api",
            "http://127.0.0.1:3/x/api/v2",
            "http://127.0.0.1:3/api/v2/../../-/reload",
            "http://127.0.0.1:3/api/v2/%2e%2e/x",
            "http://127.0.0.1:3/api/v2/..%2fx",
            "http://127.0.0.1:3/api/v2/..;/x",
            "http://127.0.0.1:3/api/v2//x",
        ] {
            assert!(matches!(ask(url).await, PostError::Plain(_)), "{url}");
        }
        for url in [
            "http://127.0.0.1:1@other:1/",
            "https://user@127.0.0.1:1/",
            "https://127.0.0.1:1/x#y",
            "http://127.0.0.1:1/#",
            "/x",
            "",
        ] {
            assert!(matches!(ask(url).await, PostError::Address(_)), "{url}");
        }
    }

    #[tokio::test]
    async fn puts_a_path_under_an_address_and_nowhere_else() {
        let poster = Poster::new(None, vec!["http://127.0.0.1:1/am/api".parse().unwrap()]).unwrap();
        let ask = async |url| poster.post(url, Some("/api"), &Value::Null).await.unwrap_err();
        for url in ["http://127.0.0.1:1/am", "http://127.0.0.1:1/am/"] {
            assert!(matches!(ask(url).await, PostError::Ask(_)), "{url}");
        }
        assert!(matches!(ask("http://127.0.0.1:1").await, PostError::Plain(_)));
        for url in ["http://127.0.0.1:1/am/api?", "https://127.0.0.1:1/-/reload?", "https://127.0.0.1:1/x#"] {
            assert!(matches!(ask(url).await, PostError::Address(_)), "{url}");
        }
    }
}
