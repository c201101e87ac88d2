//! The keys of issuers, fetched from where manifests say: in good time before anybody needs them, and
//! once more when a token names a key that is not there. A client's request never waits for it.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use forward_crds::Algorithm;
use forward_plan::middleware::{Jwks, JwksError};
use futures::{StreamExt, stream};
use http::{Request, StatusCode, Uri, header::ACCEPT};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Callers,
    issuer::{Issuer, Keys},
};
use crate::{metrics::Calls, mounts::chain};

/// How often it is looked what is to be fetched.
const LOOK: Duration = Duration::from_secs(1);
/// How old keys become before they are fetched again.
const AGE: Duration = Duration::from_secs(5 * 60);
/// How long after a fetch a token with an unknown key brings about another one. Anybody can send such
/// tokens: this is all that they can cause.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a fetch may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many are under way at a time.
const AT_ONCE: usize = 64;
/// The most bytes of a set of keys.
const MOST: usize = 256 * 1024;
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Fetches keys.
pub struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    callers: Arc<Callers>,
    calls: Calls,
    /// By address.
    past: BTreeMap<String, Past>,
}

/// What became of an address so far.
#[derive(Clone, Debug, PartialEq)]
struct Past {
    last: Instant,
    failures: u32,
    fault: Option<String>,
}

/// Why nothing can be fetched at all.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    #[error("read \"{path}\"")]
    ReadFile { path: String, source: io::Error },
    #[error("trust the certificates in \"{0}\", which has none that can be used")]
    Trust(String),
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
}

/// Why an issuer's keys were not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("ask \"{0}\": it is no address")]
    Address(String),
    #[error("ask for the keys: {0}")]
    Ask(String),
    #[error("ask for the keys: the answer is {0}, not 200")]
    Status(StatusCode),
    #[error("read the keys: {0}")]
    Read(String),
    #[error("ask for the keys: it took longer than {PATIENCE:?}")]
    Late,
    #[error(transparent)]
    Keys(#[from] JwksError),
}

impl Fetcher {
    /// Trusts the authorities that browsers trust, or those of a file in their place.
    pub fn new(callers: Arc<Callers>, calls: Calls, authorities: Option<&Path>) -> Result<Self, SetUpError> {
        let tls = client_tls(authorities)?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, callers, calls, past: BTreeMap::new() })
    }

    /// Keep the keys fresh until dropped.
    pub async fn run(mut self) {
        loop {
            self.refresh(Instant::now()).await;
            sleep(LOOK).await;
        }
    }

    /// Fetch what is due.
    async fn refresh(&mut self, now: Instant) {
        let issuers = self.callers.issuers();
        self.past.retain(|url, _| issuers.iter().any(|issuer| issuer.url == *url));
        let is_due = |issuer: &Arc<Issuer>| is_due(self.past.get(&issuer.url), issuer.is_wanted(), now);
        let due = issuers.into_iter().filter(is_due).collect::<Vec<_>>();
        let client = &self.client;
        let fetches = stream::iter(due).map(async |issuer| {
            issuer.serve_wanted();
            let fetched = timeout(PATIENCE, fetch(client, &issuer.url)).await;
            (issuer, fetched.unwrap_or(Err(FetchError::Late)))
        });
        let fetched = fetches.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        for (issuer, fetched) in fetched {
            self.calls.fetched(fetched.is_ok());
            let before = self.past.get(&issuer.url);
            let past = match fetched {
                Ok(keys) => {
                    if before.is_none_or(|past| past.fault.is_some()) {
                        tracing::info!(url = issuer.url, "knows callers by an issuer's keys");
                    }
                    issuer.set(keys);
                    Past { last: now, failures: 0, fault: None }
                }
                Err(error) => {
                    let fault = error.to_string();
                    if before.and_then(|past| past.fault.as_ref()) != Some(&fault) {
                        let kept = issuer.has_keys();
                        tracing::warn!(
                            url = issuer.url,
                            error = fault,
                            kept,
                            "cannot fetch an issuer's keys"
                        );
                    }
                    let failures = before.map_or(1, |past| past.failures.saturating_add(1));
                    Past { last: now, failures, fault: Some(fault) }
                }
            };
            self.past.insert(issuer.url.clone(), past);
        }
    }
}

/// Whether to fetch: what was never fetched, is old, or has failed some time ago, and what is wanted
/// and was not just fetched.
fn is_due(past: Option<&Past>, wanted: bool, now: Instant) -> bool {
    let Some(Past { last, failures, fault: _ }) = past else { return true };
    let wait = match failures {
        0 => AGE,
        failures => AGE.min(Duration::from_secs(1) * 2_u32.saturating_pow(*failures)),
    };
    now >= *last + wait || (wanted && now >= *last + PAUSE)
}

async fn fetch(
    client: &Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: &str,
) -> Result<Keys, FetchError> {
    let address = || FetchError::Address(url.to_owned());
    let uri = url.parse::<Uri>().map_err(|_| address())?;
    let request = Request::get(uri).header(ACCEPT, "application/json").body(Empty::new());
    let asked = client.request(request.map_err(|_| address())?).await;
    let response = asked.map_err(|error| FetchError::Ask(chain(&error)))?;
    // A redirect is not followed: it would lead where nobody said that keys are.
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), MOST).collect().await;
    let bytes = body.map_err(|error| FetchError::Read(error.to_string()))?.to_bytes();
    let set = serde_json::from_slice(&bytes).map_err(|error| FetchError::Read(error.to_string()))?;
    Ok(Keys::new(&Jwks::read(&set, &ALGORITHMS)?))
}

/// TLS towards others. Trusts the authorities that browsers trust, or those of a file in their place.
pub fn client_tls(authorities: Option<&Path>) -> Result<ClientConfig, SetUpError> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?;
    let config = match authorities {
        Some(file) => config.with_root_certificates(read_authorities(file)?),
        None => config.with_webpki_roots(),
    };
    Ok(config.with_no_client_auth())
}

fn read_authorities(file: &Path) -> Result<RootCertStore, SetUpError> {
    let path = file.display().to_string();
    let bytes = fs::read(file).map_err(|source| SetUpError::ReadFile { path: path.clone(), source })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let added = certificate.ok().and_then(|certificate| roots.add(certificate).ok());
        added.ok_or_else(|| SetUpError::Trust(path.clone()))?;
    }
    if roots.is_empty() { Err(SetUpError::Trust(path)) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetches_when_keys_are_old_and_at_most_so_often_for_unknown_ones() {
        let start = Instant::now();
        let after = |failures: u32, wanted: bool, seconds: u64| {
            let past = Past { last: start, failures, fault: None };
            is_due(Some(&past), wanted, start + Duration::from_secs(seconds))
        };
        assert!(is_due(None, false, start));
        for (failures, wanted, not_yet, due) in [
            (0, false, 299, 300),
            (0, true, 9, 10),
            (1, false, 1, 2),
            (3, false, 7, 8),
            (40, false, 299, 300),
            (40, true, 9, 10),
        ] {
            let text = format!("{failures} {wanted}");
            assert!(!after(failures, wanted, not_yet), "{text}");
            assert!(after(failures, wanted, due), "{text}");
        }
    }
}
