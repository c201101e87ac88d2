//! Answers made smaller on their way: which encoding a client takes, whether an answer is fit for
//! one, and the bytes.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzEncoder;
use forward_plan::middleware::Compress;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
        RANGE, UPGRADE, VARY,
    },
    request,
};
use hyper::body::Body;

use super::body::Answer;

/// How much goes in before all of it must come out: what is held is neither sent nor free.
const HELD: usize = 64 * 1024;
/// Of 9; more costs twice the time for a hundredth of the size.
const GZIP: u32 = 5;
/// Of 11: the last that is meant for answers that are made as one asks.
const BROTLI: u32 = 4;
/// The window of brotli, as a power of two: 256 KiB for each answer that is under way.
const BROTLI_WINDOW: u32 = 18;
/// Of 22.
const ZSTD: i32 = 3;
/// The window of zstd, as a power of two.
const ZSTD_WINDOW: u32 = 18;

/// Headers that hold only while the bytes are those of the plugin.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

/// An encoding that clients can ask for. The one that is quicker for the same size is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Zstd,
    Brotli,
    Gzip,
}

/// Makes the bytes of one answer smaller.
pub struct Encoder {
    sink: Sink,
    /// Bytes that went in since all of them came out.
    held: usize,
}

enum Sink {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::Encoder<'static, Vec<u8>>>),
    Done,
}

impl Encoding {
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// What the answer to a request may be encoded with. Parts of an answer, and heads without one,
    /// stay as they are.
    pub fn of(head: &request::Parts) -> Option<Self> {
        if head.method == Method::HEAD || head.headers.contains_key(RANGE) {
            return None;
        }
        let weight = |name: &str| weight(&head.headers, name);
        let wanted = Self::ALL.iter().copied().map(|it| (it, weight(it.name()).unwrap_or_default()));
        // Of equal weights the first: `max_by_key` would give the last.
        let (best, most) = wanted.rev().max_by_key(|(_, weight)| *weight)?;
        let plain = own_weight(&head.headers, "identity").unwrap_or_default();
        (most > 0 && most >= plain).then_some(best)
    }
}

/// How much a client wants an encoding, in thousandths.
fn weight(headers: &HeaderMap, name: &str) -> Option<u16> {
    own_weight(headers, name).or_else(|| own_weight(headers, "*"))
}

fn own_weight(headers: &HeaderMap, name: &str) -> Option<u16> {
    let lists = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
    let mut items = lists.flat_map(|list| list.split(','));
    items.find_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        parts.next().filter(|coding| coding.eq_ignore_ascii_case(name))?;
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some(quality.map_or(1000, thousandths))
    })
}

/// A quality such as `0.5`; what is none counts as a refusal.
fn thousandths(text: &str) -> u16 {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{rest:0<3}");
    match (whole, digits.parse::<u16>()) {
        ("1", Ok(0)) => 1000,
        ("0", Ok(part)) if digits.len() == 3 => part,
        _ => 0,
    }
}

/// Make an answer smaller, where it is fit for that and the client takes it.
pub fn compress(policy: &Compress, encoding: Option<Encoding>, response: &mut Response<Answer>) {
    if !is_fit(policy, response) {
        return;
    }
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    let Some(encoder) = encoding.and_then(Encoder::new) else { return };
    let name = encoding.map(Encoding::name).unwrap_or_default();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    headers.remove(CONTENT_LENGTH);
    if let Some(weak) = headers.get(ETAG).and_then(weakened) {
        headers.insert(ETAG, weak);
    }
    response.body_mut().encode(encoder);
}

fn is_fit(policy: &Compress, response: &Response<Answer>) -> bool {
    let headers = response.headers();
    let status = response.status();
    let has_body = status != StatusCode::PARTIAL_CONTENT && status != StatusCode::NOT_MODIFIED;
    let covered = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let bound = [CONTENT_ENCODING, CONTENT_RANGE, UPGRADE].iter().any(|name| headers.contains_key(name));
    let kept = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let kept = kept.flat_map(|list| list.split(',')).any(|it| it.trim().eq_ignore_ascii_case("no-transform"));
    let small = response.body().size_hint().exact().is_some_and(|length| length < policy.min_bytes.max(1));
    has_body
        && covered.is_some_and(|content_type| policy.covers(content_type))
        && !bound
        && !kept
        && !small
        && !DIGESTS.iter().any(|name| headers.contains_key(name))
}

/// A tag that no longer says that the bytes are the same; `None` for one that did not before.
fn weakened(tag: &HeaderValue) -> Option<HeaderValue> {
    if tag.as_bytes().starts_with(b"W/") {
        return None;
    }
    HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()
}

impl Encoder {
    /// `None` where the encoder cannot be made, for want of memory.
    pub fn new(encoding: Encoding) -> Option<Self> {
        let sink = match encoding {
            Encoding::Gzip => Sink::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP))),
            Encoding::Brotli => {
                let writer = brotli::CompressorWriter::new(Vec::new(), 4096, BROTLI, BROTLI_WINDOW);
                Sink::Brotli(Box::new(writer))
            }
            Encoding::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD).ok()?;
                encoder.window_log(ZSTD_WINDOW).ok()?;
                Sink::Zstd(Box::new(encoder))
            }
        };
        Some(Self { sink, held: 0 })
    }

    /// Take bytes in, and give what comes out of it, which may be nothing yet.
    pub fn push(&mut self, data: &[u8]) -> io::Result<Bytes> {
        match &mut self.sink {
            Sink::Gzip(sink) => sink.write_all(data)?,
            Sink::Brotli(sink) => sink.write_all(data)?,
            Sink::Zstd(sink) => sink.write_all(data)?,
            Sink::Done => {}
        }
        self.held += data.len();
        if self.held >= HELD { self.flush() } else { Ok(self.take()) }
    }

    /// Give all that went in: there is nothing more at present.
    pub fn flush(&mut self) -> io::Result<Bytes> {
        if self.held > 0 {
            match &mut self.sink {
                Sink::Gzip(sink) => sink.flush()?,
                Sink::Brotli(sink) => sink.flush()?,
                Sink::Zstd(sink) => sink.flush()?,
                Sink::Done => {}
            }
            self.held = 0;
        }
        Ok(self.take())
    }

    /// Give the end.
    pub fn finish(&mut self) -> io::Result<Bytes> {
        let rest = match std::mem::replace(&mut self.sink, Sink::Done) {
            Sink::Gzip(sink) => sink.finish()?,
            Sink::Brotli(sink) => sink.into_inner(),
            Sink::Zstd(sink) => sink.finish()?,
            Sink::Done => Vec::new(),
        };
        Ok(rest.into())
    }

    /// Whether the end has been given.
    pub fn is_done(&self) -> bool {
        matches!(self.sink, Sink::Done)
    }

    fn take(&mut self) -> Bytes {
        let out = match &mut self.sink {
            Sink::Gzip(sink) => std::mem::take(sink.get_mut()),
            Sink::Brotli(sink) => std::mem::take(sink.get_mut()),
            Sink::Zstd(sink) => std::mem::take(sink.get_mut()),
            Sink::Done => Vec::new(),
        };
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn chosen(accepted: &[&str]) -> Option<Encoding> {
        let mut request = Request::new(());
        for list in accepted {
            request.headers_mut().append(ACCEPT_ENCODING, HeaderValue::from_str(list).unwrap());
        }
        Encoding::of(&request.into_parts().0)
    }

    #[test]
    fn chooses_what_the_client_wants_most() {
        for (accepted, expected) in [
            (&["gzip, deflate, br, zstd"][..], Some(Encoding::Zstd)),
            (&["gzip, br"], Some(Encoding::Brotli)),
            (&["gzip;q=1.0", "br;q=0.5"], Some(Encoding::Gzip)),
            (&["GZIP"], Some(Encoding::Gzip)),
            (&["*"], Some(Encoding::Zstd)),
            (&["zstd;q=0, *;q=0.1"], Some(Encoding::Brotli)),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.000"], None),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip"], Some(Encoding::Gzip)),
            (&["deflate"], None),
            (&["gzip;q=x"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(chosen(accepted), expected, "{accepted:?}");
        }
    }

    #[test]
    fn gives_nothing_that_is_asked_for_in_parts_or_without_a_body() {
        let with = |method: Method, name: HeaderName, value: &'static str| {
            let mut request = Request::new(());
            *request.method_mut() = method;
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            request.headers_mut().insert(name, HeaderValue::from_static(value));
            Encoding::of(&request.into_parts().0)
        };
        assert_eq!(with(Method::GET, RANGE, "bytes=0-1"), None);
        assert_eq!(with(Method::HEAD, VARY, "x"), None);
        assert_eq!(with(Method::POST, VARY, "x"), Some(Encoding::Gzip));
    }

    #[test]
    fn weakens_strong_tags_only() {
        assert_eq!(weakened(&HeaderValue::from_static("\"a\"")), Some(HeaderValue::from_static("W/\"a\"")));
        assert_eq!(weakened(&HeaderValue::from_static("W/\"a\"")), None);
    }

    #[test]
    fn what_goes_in_comes_out_when_it_is_asked_for() {
        let decode = |encoding: Encoding, bytes: &[u8]| {
            let mut text = String::new();
            let read = match encoding {
                Encoding::Gzip => {
                    io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes), &mut text)
                }
                Encoding::Brotli => {
                    io::Read::read_to_string(&mut brotli::Decompressor::new(bytes, 4096), &mut text)
                }
                Encoding::Zstd => {
                    io::Read::read_to_string(&mut zstd::Decoder::new(bytes).unwrap(), &mut text)
                }
            };
            read.unwrap();
            text
        };
        for encoding in Encoding::ALL {
            let mut encoder = Encoder::new(encoding).unwrap();
            let mut bytes = encoder.push(b"one, ").unwrap().to_vec();
            let flushed = encoder.flush().unwrap();
            assert!(!bytes.is_empty() || !flushed.is_empty(), "{encoding:?} keeps what it was given");
            bytes.extend(flushed);
            assert_eq!(encoder.flush().unwrap().len(), 0, "{encoding:?} has nothing more");
            let large = "two".repeat(100_000);
            bytes.extend(encoder.push(large.as_bytes()).unwrap());
            assert!(!bytes.is_empty());
            bytes.extend(encoder.finish().unwrap());
            assert!(encoder.is_done() && encoder.finish().unwrap().is_empty());
            assert!(bytes.len() < 10_000, "{encoding:?}: {}", bytes.len());
            assert_eq!(decode(encoding, &bytes), format!("one, {large}"), "{encoding:?}");
        }
    }
}
