//! The client's side of a connection, watched. Follows the framing of the requests that come
//! in, so that things are known which the HTTP library does not tell: whether a request
//! names both a `Content-Length` and a `Transfer-Encoding`, which two servers may read as two
//! different requests, and since when a request head has been on its way. From the same it follows
//! when the library has nothing left to do, so that it can be done without until the next request.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use super::{clock::Tick, tap::Ear};

/// How many requests a client may break off before it is looked at how many that is of all: a
/// browser that leaves a page breaks off some tens.
const MOST_ABANDONED: u64 = 500;

/// What is known of a connection. Written and read on the same thread; atomic because a
/// connection that becomes a tunnel must be `Send`.
#[derive(Debug, Default)]
pub struct Watch {
    ambiguous: AtomicBool,
    /// The first bytes of a request head have come, the last have not.
    in_head: AtomicBool,
    /// How many requests are being answered: with HTTP/1.1 one at most.
    busy: AtomicU32,
    /// Requests may be under way side by side: it is HTTP/2.
    many: bool,
    /// Requests that have come, and those of them that the client broke off.
    begun: AtomicU64,
    abandoned: AtomicU64,
    /// Of [`Self::begun`], those that had come when the HTTP library last began.
    before: AtomicU64,
    /// The next byte is not the first of a request.
    within: AtomicBool,
    /// The library has taken all that has come.
    starved: AtomicBool,
    /// The client has yet to take what the library sends.
    stuck: AtomicBool,
    /// The library has said that it will send no more.
    closing: AtomicBool,
    /// What the library says about the end of the connection is not passed on.
    kept: AtomicBool,
    /// It is no longer HTTP.
    tunnel: AtomicBool,
    /// Since when pieces of answers wait for the client to take them, those first that came first.
    untaken: Mutex<BTreeMap<u64, Tick>>,
    /// When `in_head` or `busy` changed last.
    since: AtomicU64,
    now: AtomicU64,
}

impl Watch {
    pub fn new(now: Tick) -> Arc<Self> {
        Arc::new(Self { since: AtomicU64::new(now), now: AtomicU64::new(now), ..Self::default() })
    }

    /// Whether the connection has carried a request whose end is a matter of opinion.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous.load(Relaxed)
    }

    /// Of a connection on which requests may be under way side by side.
    pub fn of_many(now: Tick) -> Arc<Self> {
        Arc::new(Self { since: AtomicU64::new(now), now: AtomicU64::new(now), many: true, ..Self::default() })
    }

    /// A request is being answered; [`Watch::leave`] ends it.
    pub fn enter(&self, now: Tick) {
        self.busy.fetch_add(1, Relaxed);
        self.begun.fetch_add(1, Relaxed);
        self.since.store(now, Relaxed);
    }

    pub fn leave(&self, now: Tick) {
        self.busy.fetch_sub(1, Relaxed);
        self.since.store(now, Relaxed);
    }

    /// The client broke off a request.
    pub fn abandon(&self) {
        self.abandoned.fetch_add(1, Relaxed);
    }

    /// Whether the client makes work by breaking off most of what it asks for ("rapid reset"):
    /// each time costs it nothing, and us a connection to a plugin.
    pub fn is_abused(&self) -> bool {
        let abandoned = self.abandoned.load(Relaxed);
        abandoned >= MOST_ABANDONED && abandoned * 2 > self.begun.load(Relaxed)
    }

    /// Whether the client can be sent elsewhere between requests. With HTTP/1.1 an answer tells it;
    /// with HTTP/2 the connection does, and not before it was of use.
    pub fn may_leave(&self) -> bool {
        self.many && self.begun.load(Relaxed) > 0
    }

    /// A piece of an answer is handed over, and there is more; gives by what to [take](Self::take) it.
    pub fn hand_over(&self, now: Tick) -> u64 {
        let mut untaken = self.untaken();
        let key = untaken.last_key_value().map_or(0, |(last, _)| last + 1);
        untaken.insert(key, now);
        key
    }

    /// The client wants more: it has taken what it had.
    pub fn take(&self, key: u64) {
        self.untaken().remove(&key);
    }

    fn untaken(&self) -> MutexGuard<'_, BTreeMap<u64, Tick>> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the connection is to be closed: while a request is being answered only where the client takes
    /// nothing of what there is.
    pub fn expires(&self, head: Tick, idle: Tick, send: Tick) -> Option<Tick> {
        if self.busy.load(Relaxed) > 0 {
            return self.untaken().first_key_value().map(|(_, since)| since + send);
        }
        let patience = if self.in_head.load(Relaxed) { head } else { idle };
        Some(self.since.load(Relaxed) + patience)
    }

    /// Whether nothing has happened for so long, and the library has all that the client has sent
    /// behind it, and the client all that it was sent.
    pub fn is_quiet(&self, now: Tick, patience: Tick) -> bool {
        // Before its first request the library does not call itself idle.
        let is_asked = self.begun.load(Relaxed) > self.before.load(Relaxed);
        let is_between = self.busy.load(Relaxed) == 0 && !self.within.load(Relaxed);
        let is_waiting = self.starved.load(Relaxed) && !self.stuck.load(Relaxed);
        let is_open = !self.closing.load(Relaxed) && !self.tunnel.load(Relaxed);
        is_asked && is_between && is_waiting && is_open && self.since.load(Relaxed) + patience <= now
    }

    /// The library begins, with what comes from now on.
    pub fn begin(&self) {
        self.before.store(self.begun.load(Relaxed), Relaxed);
        self.kept.store(false, Relaxed);
    }

    /// The connection outlives what the library does with it.
    pub fn keep(&self) {
        self.kept.store(true, Relaxed);
    }

    /// From now on it is not HTTP.
    pub fn set_tunnel(&self) {
        self.tunnel.store(true, Relaxed);
    }

    /// Tell the time, which stamps what is read from now on.
    pub fn tell(&self, now: Tick) {
        self.now.store(now, Relaxed);
    }

    fn set_in_head(&self, in_head: bool) {
        if self.in_head.swap(in_head, Relaxed) != in_head {
            self.since.store(self.now.load(Relaxed), Relaxed);
        }
    }
}

/// Where in the stream of requests the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Head,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    Trailers,
    /// It cannot be followed: the HTTP library refuses it as well, or it is no longer HTTP.
    Lost,
}

/// The longest line whose beginning matters: `transfer-encoding: …, chunked`.
const LINE: usize = 128;

#[derive(Debug)]
struct Framing {
    place: Place,
    line: Vec<u8>,
    /// Bytes of the present line, also those that are not kept in `line`.
    length: usize,
    /// Whether the present head has a line yet: empty lines before it are skipped.
    begun: bool,
    content_length: Option<u64>,
    has_length: bool,
    has_encoding: bool,
}

impl Framing {
    fn new() -> Self {
        Self {
            place: Place::Head,
            line: Vec::with_capacity(LINE),
            length: 0,
            begun: false,
            content_length: None,
            has_length: false,
            has_encoding: false,
        }
    }

    fn feed(&mut self, mut bytes: &[u8], watch: &Watch) {
        while !bytes.is_empty() {
            match self.place {
                Place::Lost => return,
                Place::Body(left) => {
                    let taken = skip(&mut bytes, left);
                    self.place = if taken == left { Place::Head } else { Place::Body(left - taken) };
                }
                Place::Chunk(left) => {
                    let taken = skip(&mut bytes, left);
                    self.place = if taken == left { Place::ChunkSize } else { Place::Chunk(left - taken) };
                }
                Place::Head | Place::ChunkSize | Place::Trailers => {
                    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                        self.keep(bytes);
                        break;
                    };
                    self.keep(&bytes[..end]);
                    bytes = &bytes[end + 1..];
                    self.end_line(watch);
                }
            }
        }
        let is_begun = self.begun || self.length > 0;
        watch.set_in_head(self.place == Place::Head && is_begun);
        watch.within.store(self.place != Place::Head || is_begun, Relaxed);
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LINE - self.line.len();
        self.line.extend_from_slice(&part[..part.len().min(room)]);
        self.length += part.len();
    }

    fn end_line(&mut self, watch: &Watch) {
        let line = self.line.trim_ascii_end();
        let empty = line.is_empty() && self.length <= 1;
        match self.place {
            Place::Head if empty && !self.begun => {}
            Place::Head if empty => self.end_head(watch),
            Place::Head if !self.begun => self.begun = true,
            Place::Head => {
                if let Some(value) = value_of(line, b"content-length") {
                    self.has_length = true;
                    self.content_length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                } else if value_of(line, b"transfer-encoding").is_some() {
                    self.has_encoding = true;
                }
            }
            Place::ChunkSize => self.place = chunk(line),
            Place::Trailers if empty => self.place = Place::Head,
            Place::Trailers | Place::Body(_) | Place::Chunk(_) | Place::Lost => {}
        }
        self.line.clear();
        self.length = 0;
    }

    fn end_head(&mut self, watch: &Watch) {
        // A length that is no number here, be it for the spaces before it, may be one for others.
        if self.has_length && (self.has_encoding || self.content_length.is_none()) {
            watch.ambiguous.store(true, Relaxed);
        }
        self.place = match (self.has_encoding, self.has_length, self.content_length) {
            (true, ..) => Place::ChunkSize,
            (false, true, None) => Place::Lost,
            (false, _, None | Some(0)) => Place::Head,
            (false, _, Some(length)) => Place::Body(length),
        };
        self.begun = false;
        self.content_length = None;
        self.has_length = false;
        self.has_encoding = false;
    }
}

fn skip(bytes: &mut &[u8], left: u64) -> u64 {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    *bytes = &bytes[count..];
    count as u64
}

/// The value of a header line that has this name, whatever the case.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let colon = rest.iter().position(|byte| *byte == b':')?;
    let fits = start.eq_ignore_ascii_case(name) && rest[..colon].trim_ascii().is_empty();
    fits.then(|| rest[colon + 1..].trim_ascii())
}

/// What follows a line with the size of a chunk: its data with the line end, or the trailers.
fn chunk(line: &[u8]) -> Place {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let size = std::str::from_utf8(&line[..digits]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    match size {
        Some(0) => Place::Trailers,
        Some(size) => size.checked_add(2).map_or(Place::Lost, Place::Chunk),
        None => Place::Lost,
    }
}

/// Follows what a client sends.
#[derive(Debug)]
pub struct Guard {
    framing: Framing,
    watch: Arc<Watch>,
}

impl Guard {
    pub fn new(watch: Arc<Watch>) -> Self {
        Self { framing: Framing::new(), watch }
    }
}

impl Ear for Guard {
    fn hear(&mut self, bytes: &[u8]) {
        if !self.watch.tunnel.load(Relaxed) {
            self.framing.feed(bytes, &self.watch);
        }
    }

    fn read(&self, waits: bool) {
        self.watch.starved.store(waits, Relaxed);
    }

    fn wrote(&self, waits: bool) {
        self.watch.stuck.store(waits, Relaxed);
    }

    fn closes(&self) -> bool {
        let passed_on = !self.watch.kept.load(Relaxed);
        self.watch.closing.store(passed_on, Relaxed);
        passed_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a stream whole and byte by byte: both must come to the same.
    fn follow(stream: &str) -> (bool, Place, bool) {
        let whole = Watch::default();
        let mut framing = Framing::new();
        framing.feed(stream.as_bytes(), &whole);
        let bytewise = Watch::default();
        let mut slow = Framing::new();
        for byte in stream.as_bytes() {
            slow.feed(&[*byte], &bytewise);
        }
        assert_eq!(framing.place, slow.place);
        assert_eq!(whole.is_ambiguous(), bytewise.is_ambiguous());
        (whole.is_ambiguous(), framing.place, whole.in_head.load(Relaxed))
    }

    #[test]
    fn sees_both_framings_in_either_order_and_case() {
        for head in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "transfer-encoding:chunked\r\ncontent-length:3",
            "TRANSFER-ENCODING: gzip, chunked\nCONTENT-LENGTH: 3",
        ] {
            let stream = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n");
            assert!(follow(&stream).0, "{head}");
        }
    }

    #[test]
    fn is_not_misled_by_bodies_or_other_requests() {
        let sized = "POST / HTTP/1.1\r\nContent-Length: 28\r\n\r\nTransfer-Encoding: chunked\r\n";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n13;x=y\r\nContent-Length: 3\r\n\r\n0\r\nx: content-length: 1\r\n\r\n";
        let stream = format!("{sized}{chunked}{sized}\r\nGET / HTTP/1.1\r\nX-Content-Length: 3\r\n\r\n");
        assert_eq!(follow(&stream), (false, Place::Head, false));
    }

    #[test]
    fn knows_when_a_head_is_on_its_way() {
        assert_eq!(follow("GET / HT"), (false, Place::Head, true));
        assert_eq!(follow("GET / HTTP/1.1\r\nHost:"), (false, Place::Head, true));
        assert_eq!(follow("GET / HTTP/1.1\r\n\r\n"), (false, Place::Head, false));
        assert_eq!(follow("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"), (false, Place::Body(6), false));
    }

    #[test]
    fn gives_up_where_it_cannot_follow() {
        assert_eq!(follow("POST / HTTP/1.1\r\nContent-Length: 5x\r\n\r\nabc").1, Place::Lost);
        assert_eq!(follow("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").1, Place::Lost);
    }

    #[test]
    fn expires_sooner_in_a_head_and_never_while_busy() {
        let watch = Watch::new(10);
        assert_eq!(watch.expires(5, 50, 20), Some(60));
        watch.tell(20);
        watch.set_in_head(true);
        assert_eq!(watch.expires(5, 50, 20), Some(25));
        watch.enter(21);
        assert_eq!(watch.expires(5, 50, 20), None);
        watch.enter(22);
        watch.leave(23);
        assert_eq!(watch.expires(5, 50, 20), None, "one of two is under way still");
        let first = watch.hand_over(30);
        let second = watch.hand_over(31);
        assert_eq!(watch.expires(5, 50, 20), Some(50));
        watch.take(first);
        assert_eq!(watch.expires(5, 50, 20), Some(51));
        watch.take(second);
        assert_eq!(watch.expires(5, 50, 20), None, "all is taken");
    }

    /// A connection after its first request at 10, on which nothing happens.
    fn rested() -> Guard {
        let mut guard = Guard::new(Watch::new(0));
        guard.watch.begin();
        guard.hear(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\r\n");
        guard.watch.enter(9);
        guard.watch.leave(10);
        guard.wrote(false);
        guard.read(true);
        guard
    }

    #[test]
    fn is_quiet_between_two_requests_when_all_is_taken() {
        let is_quiet = |guard: &Guard| guard.watch.is_quiet(15, 5);
        let guard = rested();
        assert!(is_quiet(&guard) && !guard.watch.is_quiet(14, 5));
        type Happening = fn(&mut Guard);
        let all: [(&str, Happening); 10] = [
            ("a request is answered", |guard| guard.watch.enter(10)),
            ("there is more to read", |guard| guard.read(false)),
            ("the client has yet to read", |guard| guard.wrote(true)),
            ("a head has begun", |guard| guard.hear(b"\r\n\r")),
            ("a body is under way", |guard| guard.hear(b"PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\na")),
            ("a chunk is", |guard| {
                guard.hear(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            }),
            ("nobody knows what it is", |guard| guard.hear(b"PUT / HTTP/1.1\r\nContent-Length: x\r\n\r\n")),
            ("it is a tunnel", |guard| guard.watch.set_tunnel()),
            ("it ends", |guard| assert!(guard.closes())),
            ("the library has begun anew", |guard| guard.watch.begin()),
        ];
        for (what, happen) in all {
            let mut guard = rested();
            happen(&mut guard);
            assert!(!is_quiet(&guard), "{what}");
        }
    }

    #[test]
    fn a_connection_that_is_kept_is_not_closed() {
        let guard = rested();
        guard.watch.keep();
        assert!(!guard.closes() && guard.watch.is_quiet(15, 5));
        guard.watch.begin();
        assert!(guard.closes());
    }

    #[test]
    fn calls_it_abuse_when_most_requests_are_broken_off() {
        let watch = Watch::of_many(0);
        for _ in 0..MOST_ABANDONED {
            watch.enter(0);
            assert!(!watch.is_abused());
            watch.abandon();
        }
        assert!(watch.is_abused());
        for _ in 0..MOST_ABANDONED {
            watch.enter(0);
        }
        assert!(!watch.is_abused(), "half of them were let be");
    }
}
