//! What ties the lines of one request together: its id, and the trace context of the W3C. Both
//! are kept where the client sends them well formed, else made up.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::balance::Dice;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest id that is kept, in bytes: it stands in every log line.
const MAX_ID: usize = 128;

/// Where a request stands in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    pub trace: u128,
    pub span: u64,
    /// Whoever sent it keeps the trace.
    pub is_kept: bool,
    /// The trace begins here.
    pub is_ours: bool,
}

/// The trace context of a request that is [marked](mark); `is_ours` where that was made up.
pub fn context(headers: &HeaderMap, is_ours: bool) -> Option<Context> {
    let value = headers.get(TRACEPARENT)?.to_str().ok()?;
    Some(Context {
        trace: u128::from_str_radix(value.get(3..35)?, 16).ok()?,
        span: u64::from_str_radix(value.get(36..52)?, 16).ok()?,
        is_kept: u8::from_str_radix(value.get(53..55)?, 16).ok()? & 1 == 1,
        is_ours,
    })
}

/// Give the request an id and a trace context; the answer is the id, and whether the trace context was
/// made up.
pub fn mark(headers: &mut HeaderMap, dice: &Dice) -> (HeaderValue, bool) {
    let kept = single(headers, &TRACEPARENT).is_some_and(|value| is_traceparent(value.as_bytes()));
    if !kept {
        // The state belongs to the parent.
        headers.remove(TRACESTATE);
        headers.insert(TRACEPARENT, new_traceparent(dice));
    }
    let id = match single(headers, &REQUEST_ID).filter(|value| is_id(value.as_bytes())) {
        Some(id) => id.clone(),
        None => {
            let mut id = [0; 32];
            write_hex(&mut id[..16], dice.roll());
            write_hex(&mut id[16..], dice.roll());
            let id = ascii(&id);
            headers.insert(REQUEST_ID, id.clone());
            id
        }
    };
    (id, !kept)
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn is_id(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= MAX_ID && id.iter().all(u8::is_ascii_graphic)
}

/// `version-trace-parent-flags` in lower-case hexadecimal, neither id all zeros. Later versions
/// may go on after another dash.
fn is_traceparent(value: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let id = |part: &[u8]| hex(part) && part.iter().any(|byte| *byte != b'0');
    let Some((known, rest)) = value.split_at_checked(55) else { return false };
    let dashes = [2, 35, 52].iter().all(|place| known[*place] == b'-');
    let version = &known[..2];
    let end = rest.is_empty() || (version != b"00" && rest.starts_with(b"-"));
    dashes
        && hex(version)
        && version != b"ff"
        && id(&known[3..35])
        && id(&known[36..52])
        && hex(&known[53..])
        && end
}

fn new_traceparent(dice: &Dice) -> HeaderValue {
    // Neither id may be zero; nothing is said to be recorded.
    let mut text = *b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-00";
    write_hex(&mut text[3..19], dice.roll());
    write_hex(&mut text[19..35], dice.roll() | 1);
    write_hex(&mut text[36..52], dice.roll() | 1);
    ascii(&text)
}

/// All sixteen digits. What formats anything takes several times as long, and a request may have five.
fn write_hex(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[usize::from(number as u8 & 15)];
        number >>= 4;
    }
}

fn ascii(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).expect("hexadecimal digits and dashes are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn keeps_what_is_well_formed() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("abc-1"));
        headers.insert(TRACEPARENT, HeaderValue::from_static(GOOD));
        headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        assert_eq!(mark(&mut headers, &Dice::new()), (HeaderValue::from_static("abc-1"), false));
        let known = context(&headers, false).unwrap();
        assert_eq!((known.span, known.is_kept), (0xb7ad_6b71_6920_3331, true));
        assert_eq!(known.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(headers[TRACEPARENT], GOOD);
        assert_eq!(headers[TRACESTATE], "a=b");
    }

    #[test]
    fn makes_up_what_is_missing_or_malformed() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("two words"));
        headers.insert(TRACEPARENT, HeaderValue::from_static("nonsense"));
        headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        let (id, is_ours) = mark(&mut headers, &Dice::new());
        assert!(is_ours && context(&headers, true).is_some_and(|context| !context.is_kept));
        assert_eq!(headers[REQUEST_ID], id);
        assert_eq!(id.len(), 32);
        assert!(is_traceparent(headers[TRACEPARENT].as_bytes()));
        assert!(!headers.contains_key(TRACESTATE));
    }

    #[test]
    fn writes_numbers_with_all_their_digits() {
        let mut digits = [0; 16];
        write_hex(&mut digits, 0x0123_4567_89ab_cdef);
        assert_eq!(digits, *b"0123456789abcdef");
        write_hex(&mut digits, 1);
        assert_eq!(digits, *b"0000000000000001");
    }

    #[test]
    fn knows_a_trace_context() {
        let is = |text: &str| is_traceparent(text.as_bytes());
        assert!(is(GOOD));
        assert!(is("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later"));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        ] {
            assert!(!is(bad), "{bad}");
        }
    }
}
