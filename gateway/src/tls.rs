//! TLS towards clients: which certificate is shown to whom, and how the certificates come here.
//!
//! Owns the certificates and the settings of TLS. Refuses to own Secrets: it reads files, as the
//! kubelet mounts them. Its invariant: what was good once is shown until something better is there.

pub mod certificate;
pub mod clients;
pub mod store;

use std::{collections::BTreeMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

use tokio::{
    task::{JoinError, spawn_blocking},
    time::sleep,
};

use self::{clients::Authorities, store::Store};
use crate::{metrics::Calls, mounts::LOOK};

/// What a handshake needs. Shared by all workers.
pub struct Tls {
    config: ArcSwap<ServerConfig>,
    certificates: Arc<Certificates>,
    pub calls: Calls,
}

/// The files that are followed.
pub struct Files {
    pub certificates: Store,
    /// Who may vouch for clients, where they are asked for a certificate.
    pub authorities: Option<Authorities>,
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
        let config = config(certificates.clone(), WebPkiClientVerifier::no_client_auth())?;
        Ok(Arc::new(Self { config: ArcSwap::from_pointee(config), certificates, calls }))
    }

    /// What a handshake goes by now.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// The host names that there are certificates for.
    pub fn names(&self) -> Vec<String> {
        self.certificates.0.load().names.keys().cloned().collect()
    }

    /// Look at the files, and go by what they hold from now on. Handshakes that are under way, and
    /// connections, go on with what they have.
    pub fn refresh(&self, files: &mut Files) -> Result<(), rustls::Error> {
        let Files { certificates, authorities } = files;
        if certificates.refresh() {
            self.certificates.0.store(Arc::new(certificates.table()));
        }
        self.calls.certificates(certificates.count(), certificates.expires());
        if let Some(verifier) = authorities.as_mut().and_then(Authorities::refresh) {
            // With other tickets: who was let in by an earlier one is asked anew.
            self.config.store(Arc::new(config(self.certificates.clone(), verifier)?));
        }
        Ok(())
    }

    /// Follow the files until dropped. Ends only with an error.
    pub async fn follow(self: Arc<Self>, mut files: Files) -> Result<(), FollowError> {
        loop {
            sleep(LOOK).await;
            let tls = self.clone();
            files = spawn_blocking(move || tls.refresh(&mut files).map(|()| files)).await??;
        }
    }
}

/// Why the files are no longer followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("look at the files")]
    Look(#[from] JoinError),
    #[error("set up TLS")]
    SetUp(#[from] rustls::Error),
}

/// The defaults of the library: TLS 1.3 and 1.2, forward secrecy and AEAD only, no data before the
/// handshake is over.
fn config(
    certificates: Arc<Certificates>,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Clients come back without a full handshake. The keys of tickets are this process's own and
    // change with time.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
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
