//! Who clients are that show a certificate: whose word about them counts, and how a plugin is told.

use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject},
    },
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use sha2::{Digest, Sha256};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// The authorities whose word counts, as the file of a Secret or ConfigMap with `ca.crt`.
pub struct Authorities {
    file: PathBuf,
    seen: Option<Vec<u8>>,
    fault: Option<String>,
}

/// Why nobody's word counts.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    #[error("read \"{}\": {source}", path.display())]
    ReadFile { path: PathBuf, source: io::Error },
    #[error("read the certificates in \"ca.crt\": {0}")]
    ReadCertificates(pem::Error),
    #[error("trust a certificate in \"ca.crt\": {0}")]
    TrustCertificate(rustls::Error),
    #[error("check clients by \"ca.crt\": {0}")]
    CheckClients(VerifierBuilderError),
}

impl Authorities {
    /// Those of a folder. Nothing is read yet.
    pub fn new(folder: &Path) -> Self {
        Self { file: folder.join("ca.crt"), seen: None, fault: None }
    }

    /// Look at the file: what judges clients from now on, where that is another one. What was good
    /// stays until something better is there.
    pub fn refresh(&mut self) -> Option<Arc<dyn ClientCertVerifier>> {
        let judged = match fs::read(&self.file) {
            Ok(bytes) if self.seen.as_ref() == Some(&bytes) => return None,
            Ok(bytes) => {
                let judged = verifier(&bytes);
                self.seen = Some(bytes);
                judged
            }
            Err(source) => {
                self.seen = None;
                Err(AuthoritiesError::ReadFile { path: self.file.clone(), source })
            }
        };
        match judged {
            Ok(verifier) => {
                tracing::info!("trusts the authorities of client certificates");
                self.fault = None;
                Some(verifier)
            }
            Err(fault) => {
                let text = fault.to_string();
                if self.fault.as_ref() != Some(&text) {
                    tracing::warn!(error = text, "cannot trust the authorities of client certificates");
                    self.fault = Some(text);
                }
                None
            }
        }
    }
}

/// Asks clients for a certificate. They need not show one; who shows one that does not hold is
/// refused.
fn verifier(bytes: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, AuthoritiesError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        let certificate = certificate.map_err(AuthoritiesError::ReadCertificates)?;
        roots.add(certificate).map_err(AuthoritiesError::TrustCertificate)?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(AuthoritiesError::CheckClients)
}

/// What plugins are told of a certificate that holds: `Hash=…;URI=…;DNS=…`, the hash being SHA-256
/// in hexadecimal. A name that has other characters than names have is left out, so that none can
/// pass for two. The subject is left out as well: as text it has no one reading.
pub fn describe(der: &CertificateDer<'_>) -> String {
    let mut text = "Hash=".to_owned();
    for byte in Sha256::digest(der) {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    let plain = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+%".contains(&byte))
    };
    if let Ok((_, parsed)) = X509Certificate::from_der(der)
        && let Ok(Some(names)) = parsed.subject_alternative_name()
    {
        for name in &names.value.general_names {
            let (kind, name) = match name {
                GeneralName::URI(name) => ("URI", name),
                GeneralName::DNSName(name) => ("DNS", name),
                _ => continue,
            };
            if plain(name) {
                text.push_str(&format!(";{kind}={name}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn describes_by_hash_and_names_and_leaves_out_what_could_be_two() {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        for name in ["spiffe://shop/web", "spiffe://x;DNS=admin", "spiffe://y,Hash=0"] {
            params.subject_alt_names.push(SanType::URI(name.try_into().unwrap()));
        }
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let text = describe(made.der());
        let (hash, names) = text.split_once(';').unwrap();
        assert_eq!(hash.len(), "Hash=".len() + 64);
        assert_eq!(names, "DNS=a.example;URI=spiffe://shop/web");
    }

    #[test]
    fn trusts_nobody_by_a_file_without_certificates() {
        assert!(matches!(verifier(b""), Err(AuthoritiesError::CheckClients(_))));
    }
}
