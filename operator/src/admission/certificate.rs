//! Reads and makes the webhook's certificates. Owns what the Secret looks like: `ca.crt` with the
//! authorities, the newest first, `ca.key` of the newest, `tls.crt` and `tls.key`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use k8s_openapi::{ByteString, jiff::Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use time::OffsetDateTime;
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

use super::step::{AUTHORITY, Authority, BACKDATED, Held, SERVING, Serving, Validity};

/// The data of a Secret.
pub type Data = BTreeMap<String, ByteString>;

const AUTHORITIES: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// Where one certificate of several ends.
const END: &str = "-----END CERTIFICATE-----";

/// What a replica serves; nothing where the Secret is still empty.
pub fn load(data: &Data) -> Result<Option<CertifiedKey>> {
    let (Some(certificate), Some(key)) = (data.get(CERTIFICATE), data.get(KEY)) else { return Ok(None) };
    let chain = CertificateDer::pem_slice_iter(&certificate.0).collect::<Result<Vec<_>, _>>();
    let chain = chain.with_context(|| format!("read {CERTIFICATE}"))?;
    if chain.is_empty() {
        bail!("{CERTIFICATE} holds no certificate");
    }
    let key = PrivateKeyDer::from_pem_slice(&key.0).with_context(|| format!("read {KEY}"))?;
    let certified = CertifiedKey::new(chain, any_supported_type(&key).context("use the key")?);
    certified.keys_match().with_context(|| format!("{CERTIFICATE} and {KEY} do not belong together"))?;
    Ok(Some(certified))
}

/// What the Secret holds, as far as it can be read.
pub fn held(data: &Data) -> Held {
    let bundle = data.get(AUTHORITIES).map(|bundle| String::from_utf8_lossy(&bundle.0)).unwrap_or_default();
    let authorities: Vec<Authority> = bundle.split_inclusive(END).filter_map(authority).collect();
    let signs = authorities.first().is_some_and(|newest| issuer(data, newest).is_ok());
    let serving = load(data).ok().flatten().and_then(|served| {
        let parsed = parse(served.cert.first()?)?;
        let names = parsed.subject_alternative_name().ok()??.value.general_names.iter();
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        let (issuer, validity) = (parsed.issuer().to_string(), validity(&parsed)?);
        Some(Serving { issuer, names: names.collect(), validity })
    });
    Held { authorities, signs, serving }
}

fn authority(text: &str) -> Option<Authority> {
    let der = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
    let parsed = parse(&der)?;
    let (subject, pem) = (parsed.subject().to_string(), format!("{}\n", text.trim()));
    Some(Authority { subject, validity: validity(&parsed)?, pem })
}

/// The data with a new authority in front of those that are still good.
pub fn with_authority(data: &Data, now: Timestamp) -> Result<Data> {
    let mut params = CertificateParams::default();
    // Two authorities must not have one name: by it a certificate says which has signed it.
    params.distinguished_name.push(DnType::CommonName, format!("forward webhook {}", now.as_millisecond()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let validity = Validity { from: now - BACKDATED, until: now + AUTHORITY };
    set_validity(&mut params, validity)?;
    let key = KeyPair::generate().context("make a key")?;
    let made = params.self_signed(&key).context("make an authority")?;
    let bundle = made.pem() + &held(data).bundle(now);
    Ok(with(data, [(AUTHORITIES, bundle), (AUTHORITY_KEY, key.serialize_pem())]))
}

/// The data with a new serving certificate, signed by the newest authority.
pub fn with_certificate(data: &Data, name: &str, now: Timestamp) -> Result<Data> {
    let held = held(data);
    let newest = held.authorities.first().context("there is no authority to sign with")?;
    let mut params = CertificateParams::new([name.to_owned()]).context("name the certificate")?;
    params.distinguished_name.push(DnType::CommonName, "forward webhook");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let until = (now + SERVING).min(newest.validity.until);
    set_validity(&mut params, Validity { from: now - BACKDATED, until })?;
    let key = KeyPair::generate().context("make a key")?;
    let made = params.signed_by(&key, &issuer(data, newest)?).context("sign a certificate")?;
    Ok(with(data, [(CERTIFICATE, made.pem()), (KEY, key.serialize_pem())]))
}

fn issuer(data: &Data, newest: &Authority) -> Result<Issuer<'static, KeyPair>> {
    let key = data.get(AUTHORITY_KEY).with_context(|| format!("there is no {AUTHORITY_KEY}"))?;
    let key = std::str::from_utf8(&key.0).with_context(|| format!("read {AUTHORITY_KEY}"))?;
    let key = KeyPair::from_pem(key).with_context(|| format!("read {AUTHORITY_KEY}"))?;
    let der = CertificateDer::from_pem_slice(newest.pem.as_bytes()).context("read the authority")?;
    let parsed = parse(&der).context("read the authority")?;
    if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        bail!("{AUTHORITY_KEY} is not that of the newest authority");
    }
    Issuer::from_ca_cert_der(&der, key).context("read the authority")
}

fn with(data: &Data, changes: [(&str, String); 2]) -> Data {
    let mut data = data.clone();
    data.extend(changes.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))));
    data
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    x509_parser::parse_x509_certificate(der).ok().map(|(_, parsed)| parsed)
}

fn validity(parsed: &X509Certificate<'_>) -> Option<Validity> {
    let at = |seconds| Timestamp::from_second(seconds).ok();
    let validity = parsed.validity();
    Some(Validity { from: at(validity.not_before.timestamp())?, until: at(validity.not_after.timestamp())? })
}

fn set_validity(params: &mut CertificateParams, validity: Validity) -> Result<()> {
    let at = |time: Timestamp| OffsetDateTime::from_unix_timestamp(time.as_second());
    params.not_before = at(validity.from).context("date a certificate")?;
    params.not_after = at(validity.until).context("date a certificate")?;
    Ok(())
}
