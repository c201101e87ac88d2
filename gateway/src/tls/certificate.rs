//! One certificate with its key, from the two files of a Secret of the type `kubernetes.io/tls`.

use std::sync::Arc;

use rustls::{
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use x509_parser::{
    error::X509Error,
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// The two files, as they were read. The key must not reach a log, so that there is no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Files {
    /// `tls.crt`: PEM, the certificate and then those that vouch for it.
    pub chain: Vec<u8>,
    /// `tls.key`: PEM.
    pub key: Vec<u8>,
}

/// A certificate that can be shown.
#[derive(Debug)]
pub struct Certificate {
    pub key: Arc<CertifiedKey>,
    /// The host names that it is for, in lower case.
    pub names: Vec<String>,
    /// Seconds since 1970.
    pub expires: i64,
}

/// Why files are no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("read the certificates in \"tls.crt\"")]
    ReadChain(#[source] pem::Error),
    #[error("find a certificate in \"tls.crt\", which has none")]
    FindCertificate,
    #[error("read the key in \"tls.key\"")]
    ReadKey(#[source] pem::Error),
    #[error("use the key of \"tls.key\" for the first certificate of \"tls.crt\"")]
    UseKey(#[source] rustls::Error),
    #[error("read the names of the first certificate of \"tls.crt\"")]
    ReadNames(#[source] X509Error),
}

impl Certificate {
    pub fn load(files: &Files) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(&files.chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(CertificateError::ReadChain)?;
        let (names, expires) = facts(chain.first().ok_or(CertificateError::FindCertificate)?)?;
        let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(CertificateError::ReadKey)?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(CertificateError::UseKey)?;
        Ok(Self { key: Arc::new(key), names, expires })
    }
}

/// What hosts a certificate is for, and until when.
fn facts(der: &CertificateDer<'_>) -> Result<(Vec<String>, i64), CertificateError> {
    let (_, parsed) =
        X509Certificate::from_der(der).map_err(|error| CertificateError::ReadNames(error.into()))?;
    let names = parsed.subject_alternative_name().map_err(CertificateError::ReadNames)?;
    let names = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    Ok((names.collect(), parsed.validity().not_after.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Files {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Files { chain: made.cert.pem().into_bytes(), key: made.signing_key.serialize_pem().into_bytes() }
    }

    #[test]
    fn reads_names_and_the_end() {
        let certificate = Certificate::load(&files(&["A.example", "*.b.example", "10.0.0.1"])).unwrap();
        assert_eq!(certificate.names, ["a.example", "*.b.example"]);
        assert!(certificate.expires > 4_000_000_000, "rcgen's never ends: {}", certificate.expires);
    }

    #[test]
    fn refuses_what_does_not_belong_together_or_is_nothing() {
        let (one, other) = (files(&["a"]), files(&["b"]));
        let refused = |chain: &[u8], key: &[u8]| {
            Certificate::load(&Files { chain: chain.to_vec(), key: key.to_vec() }).unwrap_err().to_string()
        };
        assert!(refused(&one.chain, &other.key).starts_with("use the key"));
        assert!(refused(b"", &one.key).starts_with("find a certificate"));
        assert!(refused(&one.chain, b"").starts_with("read the key"));
        assert!(refused(&one.chain[..100], &one.key).starts_with("read the certificates"));
        let nonsense = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(refused(nonsense, &one.key).starts_with("read the names"));
    }
}
