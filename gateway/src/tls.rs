//! TLS towards clients: which certificate is shown to whom, and how the certificates come here.
//!
//! Owns the certificates and the settings of TLS. Refuses to own Secrets: it reads files, as the
//! kubelet mounts them. Its invariant: what was good once is shown until something better is there.

pub mod certificate;
pub mod store;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use tokio::{
    task::{JoinError, spawn_blocking},
    time::sleep,
};

use self::store::Store;
use crate::metrics::Calls;

/// How often the files are looked at. The kubelet takes up to a minute to bring a new Secret.
const LOOK: Duration = Duration::from_secs(1);

/// What a handshake needs. Shared by all workers.
pub struct Tls {
    pub config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    pub calls: Calls,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The certificates at one moment.
#[derive(Debug, Default)]
struct Certificates(ArcSwap<Table>);

/// Certificates by name.
#[derive(Debug, Default)]
pub struct Table {
    /// Names in lower case; `*.example.com` stands for one label.
    names: BTreeMap<String, Arc<CertifiedKey>>,
    /// For who names no host, or one that is not there.
    first: Option<Arc<CertifiedKey>>,
}

impl Table {
    /// Add a certificate. What was added earlier has a name first.
    pub fn add(&mut self, key: &Arc<CertifiedKey>, names: &[String]) {
        for name in names {
            self.names.entry(name.clone()).or_insert_with(|| key.clone());
        }
        self.first.get_or_insert_with(|| key.clone());
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let own = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
            self.names.get(&name).or_else(|| self.names.get(&wildcard?))
        });
        own.or(self.first.as_ref()).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().find(hello.server_name())
    }
}

impl Tls {
    /// Without certificates yet: no handshake succeeds.
    pub fn new(calls: Calls) -> Result<Arc<Self>, rustls::Error> {
        let certificates = Arc::<Certificates>::default();
        // The defaults of the library: TLS 1.3 and 1.2, forward secrecy and AEAD only, no data
        // before the handshake is over.
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Clients come back without a full handshake. The keys of tickets are this process's own
        // and change with time.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Arc::new(Self { config: Arc::new(config), certificates, calls }))
    }

    /// Look at the files, and show what they hold from now on. Handshakes that are under way, and
    /// connections, go on with what they have.
    pub fn refresh(&self, store: &mut Store) {
        if store.refresh() {
            self.certificates.0.store(Arc::new(store.table()));
        }
        self.calls.certificates(store.count(), store.expires());
    }

    /// Follow the files until dropped. Ends only with an error.
    pub async fn follow(self: Arc<Self>, mut store: Store) -> Result<(), JoinError> {
        loop {
            sleep(LOOK).await;
            let tls = self.clone();
            store = spawn_blocking(move || {
                tls.refresh(&mut store);
                store
            })
            .await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn key(name: &str) -> Arc<CertifiedKey> {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let private = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = aws_lc_rs::default_provider();
        Arc::new(CertifiedKey::from_der(vec![made.cert.der().clone()], private, &provider).unwrap())
    }

    #[test]
    fn finds_the_exact_name_before_a_wildcard_before_the_first() {
        let (first, exact, wildcard) = (key("a"), key("b"), key("c"));
        let mut table = Table::default();
        assert!(table.find(None).is_none() && table.find(Some("a.example")).is_none());
        table.add(&first, &["a.example".to_owned()]);
        table.add(&wildcard, &["*.example".to_owned()]);
        table.add(&exact, &["b.example".to_owned(), "a.example".to_owned()]);
        for (name, expected) in [
            (None, &first),
            (Some("a.example"), &first),
            (Some("B.Example"), &exact),
            (Some("c.example"), &wildcard),
            (Some("c.d.example"), &first),
            (Some("example"), &first),
            (Some("elsewhere"), &first),
        ] {
            assert!(Arc::ptr_eq(&table.find(name).unwrap(), expected), "{name:?}");
        }
    }
}
