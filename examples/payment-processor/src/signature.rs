//! The signature of an event, in Stripe's scheme: `Stripe-Signature: t=1700000000,v1=5257…[,v1=…]`,
//! where each `v1` is the HMAC-SHA256 of `{t}.{body}`. Several of them are there while the secret is
//! being changed.
//!
//! Owns whether a message is the processor's and fresh. Refuses to look into the body: it is bytes
//! here. Whoever asked does not learn what was wrong, unless they know the secret.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

/// The most `v1` that are compared: more is nothing that a processor sends.
const MOST: usize = 8;

/// The mark of a signed message: the signature that it should have.
pub type Mark = [u8; 32];

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefuseSignature {
    #[error("there is no signature")]
    Missing,
    #[error("the signature cannot be read")]
    Malformed,
    #[error("the signature is not that of the message")]
    Mismatch,
    #[error("the signature is too old or from the future")]
    Stale,
}

/// What the header says.
struct Header<'a> {
    /// As it is written, since this is what was signed.
    time: &'a str,
    seconds: i64,
    signatures: Vec<Mark>,
}

/// Whether a message is signed with the secret, at a time that is within the tolerance.
///
/// # Errors
/// When it is not.
pub fn verify(
    header: Option<&str>,
    body: &[u8],
    secret: &str,
    tolerance: Duration,
    now: Timestamp,
) -> Result<Mark, RefuseSignature> {
    let Header { time, seconds, signatures } = parse(header.ok_or(RefuseSignature::Missing)?)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for part in [time.as_bytes(), b".", body] {
        mac.update(part);
    }
    // `verify_slice` takes the same time wherever the first difference is.
    if !signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok()) {
        return Err(RefuseSignature::Mismatch);
    }
    if now.as_second().abs_diff(seconds) > tolerance.as_secs() {
        return Err(RefuseSignature::Stale);
    }
    Ok(mac.finalize().into_bytes().into())
}

/// Reads the header. Schemes other than `v1` are passed over: there will be others one day.
fn parse(header: &str) -> Result<Header<'_>, RefuseSignature> {
    let mut times = Vec::new();
    let mut signatures = Vec::new();
    for item in header.split(',') {
        match item.trim().split_once('=').ok_or(RefuseSignature::Malformed)? {
            ("t", time) => times.push(time),
            ("v1", hex) => signatures.push(decode(hex).ok_or(RefuseSignature::Malformed)?),
            _ => {}
        }
    }
    let [time] = times[..] else { return Err(RefuseSignature::Malformed) };
    let is_number = !time.is_empty() && time.bytes().all(|digit| digit.is_ascii_digit());
    let seconds = time.parse().ok().filter(|_| is_number).ok_or(RefuseSignature::Malformed)?;
    if !(1..=MOST).contains(&signatures.len()) {
        return Err(RefuseSignature::Malformed);
    }
    Ok(Header { time, seconds, signatures })
}

fn decode(hex: &str) -> Option<Mark> {
    let mut mark = Mark::default();
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != mark.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in mark.iter_mut().zip(pairs) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_known";
    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    /// Of `1700000000.{"id":"evt_1"}`, computed with `openssl dgst -sha256 -hmac whsec_known`.
    const KNOWN: &str = "68a37d422c7a8b96c533eaf81281025cd110ae84fcf96e4f0307b1bad5f2a1cd";
    const OTHER: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    fn verify_at(header: &str, body: &[u8], secret: &str, seconds: i64) -> Result<Mark, RefuseSignature> {
        let now = Timestamp::from_second(seconds).unwrap();
        verify(Some(header), body, secret, Duration::from_secs(300), now)
    }

    fn outcome(header: &str) -> Result<(), RefuseSignature> {
        verify_at(header, BODY, SECRET, 1_700_000_000).map(|_| ())
    }

    #[test]
    fn takes_the_known_signature() {
        let mark = verify_at(&format!("t=1700000000,v1={KNOWN}"), BODY, SECRET, 1_700_000_000);
        assert_eq!(mark.ok(), decode(KNOWN));
    }

    #[test]
    fn takes_one_of_several_and_passes_over_other_schemes() {
        assert_eq!(outcome(&format!("t=1700000000,v1={OTHER},v1={KNOWN},v0=abc")), Ok(()));
        assert_eq!(outcome(&format!("v1={KNOWN}, t=1700000000")), Ok(()));
    }

    #[test]
    fn refuses_another_body_secret_time_or_signature() {
        let header = format!("t=1700000000,v1={KNOWN}");
        let refused = Err(RefuseSignature::Mismatch);
        assert_eq!(verify_at(&header, br#"{"id":"evt_2"}"#, SECRET, 1_700_000_000), refused);
        assert_eq!(verify_at(&header, BODY, "whsec_other", 1_700_000_000), refused);
        assert_eq!(outcome(&format!("t=1700000001,v1={KNOWN}")), Err(RefuseSignature::Mismatch));
        assert_eq!(outcome(&format!("t=01700000000,v1={KNOWN}")), Err(RefuseSignature::Mismatch));
        assert_eq!(outcome(&format!("t=1700000000,v1={OTHER}")), Err(RefuseSignature::Mismatch));
    }

    #[test]
    fn takes_times_within_the_tolerance_on_both_sides() {
        let header = format!("t=1700000000,v1={KNOWN}");
        for (seconds, taken) in [(-301, false), (-300, true), (0, true), (300, true), (301, false)] {
            let verified = verify_at(&header, BODY, SECRET, 1_700_000_000 + seconds);
            assert_eq!(verified.is_ok(), taken, "{seconds}");
            assert!(taken || verified == Err(RefuseSignature::Stale), "{seconds}");
        }
    }

    #[test]
    fn a_stale_message_with_a_wrong_signature_is_a_wrong_signature() {
        let header = format!("t=1700000000,v1={OTHER}");
        assert_eq!(verify_at(&header, BODY, SECRET, 1_800_000_000), Err(RefuseSignature::Mismatch));
    }

    #[test]
    fn refuses_what_cannot_be_read() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let missing = verify(None, BODY, SECRET, Duration::from_secs(300), now);
        assert_eq!(missing, Err(RefuseSignature::Missing));
        for header in [
            String::new(),
            "t=1700000000".to_owned(),
            format!("v1={KNOWN}"),
            format!("t=,v1={KNOWN}"),
            format!("t=+1700000000,v1={KNOWN}"),
            format!("t=1700000000,t=1700000001,v1={KNOWN}"),
            format!("t=99999999999999999999,v1={KNOWN}"),
            format!("t=1700000000,v1={}", &KNOWN[1..]),
            format!("t=1700000000,v1={}ü", &KNOWN[2..]),
            format!("t=1700000000{}", format!(",v1={KNOWN}").repeat(MOST + 1)),
        ] {
            assert_eq!(outcome(&header), Err(RefuseSignature::Malformed), "{header}");
        }
    }
}
