//! What a proxy does to headers: those that concern one connection only are taken off, and the
//! plugin is told who asked for what.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use bytes::Bytes;
use forward_plan::Cidr;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
        TRANSFER_ENCODING, UPGRADE,
    },
};

use crate::callers::Caller;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const SUBJECT: HeaderName = HeaderName::from_static("x-forward-subject");
const PERMISSIONS: HeaderName = HeaderName::from_static("x-forward-permissions");
const AUTH_METHOD: HeaderName = HeaderName::from_static("x-forward-auth-method");
/// How long what the gateway adds to `Forwarded` is at most, without the host.
const MOST_OF_OWN: usize = "for=\"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]\";host=\"\";proto=https".len();
/// What the names of headers begin with by which the gateway alone tells who the caller is.
const IDENTITY: &str = "x-forward-";

/// What [`strip`] has found among the headers that it took off.
#[derive(Debug, Default, PartialEq)]
pub struct Stripped {
    /// The protocol that the message wants to change to, or changes to.
    pub upgrade: Option<HeaderValue>,
    /// The sender takes trailers.
    pub trailers: bool,
    /// The message came with a `Transfer-Encoding`.
    pub encoded: bool,
}

/// Take off what a request's `Connection` names, before anybody writes into the head: a client must
/// not have taken off what middleware says to the plugin.
pub fn take_named(headers: &mut HeaderMap) {
    if remove_named(headers) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Take off `Connection` and what it names; answers whether that is an upgrade.
fn remove_named(headers: &mut HeaderMap) -> bool {
    if !headers.contains_key(CONNECTION) {
        return false;
    }
    let named = headers.get_all(CONNECTION).iter().flat_map(tokens).filter_map(name).collect::<Vec<_>>();
    let upgrade = named.contains(&UPGRADE);
    // Those without which the message means something else cannot be named away.
    let kept = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TE, UPGRADE, EXPECT];
    let goes = |name: &HeaderName| !kept.contains(name) && !is_of_gateway(name.as_str());
    for name in named.into_iter().filter(goes) {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
    upgrade
}

/// Whether a header concerns one connection only.
fn is_of_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Take off the headers of this connection: the standard ones, and those that `Connection` names.
pub fn strip(headers: &mut HeaderMap) -> Stripped {
    let mut stripped = Stripped::default();
    // To go through the names once is cheaper than to look for each, and mostly there is none.
    if !headers.keys().any(is_of_connection) {
        return stripped;
    }
    let upgrade = remove_named(headers);
    stripped.upgrade = headers.remove(UPGRADE).filter(|_| upgrade);
    stripped.trailers =
        headers.remove(TE).is_some_and(|te| tokens(&te).any(|token| token.eq_ignore_ascii_case(b"trailers")));
    stripped.encoded = headers.remove(TRANSFER_ENCODING).is_some();
    for name in [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
    stripped
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn name(token: &[u8]) -> Option<HeaderName> {
    HeaderName::from_bytes(token).ok()
}

/// Whether a header says who asks, so that a client must not have it taken off.
fn is_of_gateway(name: &str) -> bool {
    name.starts_with(IDENTITY) || is_of_proxies(name)
}

/// Whether a header is one by which proxies tell of the client. Programs go by more of them than are set
/// here, such as X-Forwarded-User.
fn is_of_proxies(name: &str) -> bool {
    name.starts_with("x-forwarded-") || name == FORWARDED || name == X_REAL_IP
}

/// Take off what only the gateway may say about the caller, and what some programs cannot tell from
/// it. Of a request's trailers too: there are those that take them for headers.
pub fn disown(headers: &mut HeaderMap) {
    remove_lookalikes(headers, is_of_gateway);
    remove(headers, |name| name.starts_with(IDENTITY));
}

fn remove(headers: &mut HeaderMap, is: impl Fn(&str) -> bool) {
    for name in headers.keys().filter(|name| is(name.as_str())).cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// Take off headers that would be others if their `_` were `-`: programs that make variables of
/// headers make the same one of both.
pub fn remove_lookalikes(headers: &mut HeaderMap, is: impl Fn(&str) -> bool) {
    let looks_alike =
        |name: &&HeaderName| name.as_str().contains('_') && is(&name.as_str().replace('_', "-"));
    for name in headers.keys().filter(looks_alike).cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// Tell the plugin who the caller is, and how that is known.
pub fn introduce(headers: &mut HeaderMap, caller: &Caller, method: &'static str) {
    headers.insert(SUBJECT, caller.subject.clone());
    headers.insert(AUTH_METHOD, HeaderValue::from_static(method));
    // Of somebody who was taken for the caller before.
    headers.remove(PERMISSIONS);
    if !caller.permissions.is_empty() {
        headers.insert(PERMISSIONS, caller.permitted.clone());
    }
}

/// Tell the plugin who asked. What the client says about it is kept only when the client is a
/// proxy that we trust; else anybody could be anybody.
pub fn forward(
    headers: &mut HeaderMap,
    peer: IpAddr,
    host: &HeaderValue,
    scheme: &'static str,
    trusted: &[Cidr],
) {
    let peer = peer.to_canonical();
    let (hops, elements) = match headers.keys().any(|name| is_of_proxies(name.as_str())) {
        true => earlier(headers, trusted.iter().any(|range| range.contains(peer))),
        false => Default::default(),
    };
    // One text for both: the list of hops is a part of it where nobody has told of others.
    let (open, close) = if peer.is_ipv6() { ("\"[", "]\"") } else { ("", "") };
    let mut text = elements;
    text.reserve(MOST_OF_OWN + host.len());
    text.push_str("for=");
    text.push_str(open);
    let start = text.len();
    write!(text, "{peer}").expect("a text takes all");
    let end = text.len();
    text.push_str(close);
    text.push_str(";host=");
    push_quoted(&mut text, host.to_str().unwrap_or_default());
    text.push_str(";proto=");
    text.push_str(scheme);
    let text = Bytes::from(text);
    let own = text.slice(start..end);
    let hops = if hops.is_empty() { own } else { [hops.as_bytes(), &own].concat().into() };
    insert(headers, X_FORWARDED_FOR, hops);
    insert(headers, FORWARDED, text);
    if !headers.contains_key(X_FORWARDED_HOST) {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
}

/// What proxies before us have told of the client, each list with a comma at its end; nothing where they
/// are not trusted.
fn earlier(headers: &mut HeaderMap, trusted: bool) -> (String, String) {
    headers.remove(X_REAL_IP);
    if !trusted {
        remove(headers, is_of_proxies);
        return Default::default();
    }
    let list = |name: &HeaderName| {
        let mut list = String::new();
        for value in
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).filter(|it| !it.is_empty())
        {
            list.push_str(value);
            list.push_str(", ");
        }
        list
    };
    (list(&X_FORWARDED_FOR), list(&FORWARDED))
}

/// Whether a proxy that we trust is at the other end of the connection.
pub fn is_trusted(peer: IpAddr, trusted: &[Cidr]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|range| range.contains(peer))
}

/// The client's address: that of the connection, unless a proxy that we trust is at its other end;
/// then the last one in `X-Forwarded-For` that is not such a proxy's. What stands before that one
/// is what the client says.
pub fn client(headers: &HeaderMap, peer: IpAddr, trusted: &[Cidr]) -> IpAddr {
    let mut client = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let lists = headers.get_all(X_FORWARDED_FOR).iter().collect::<Vec<_>>();
    let mut hops = lists.iter().rev().flat_map(|list| list.as_bytes().rsplit(|byte| *byte == b','));
    while is_trusted(client) {
        let Some(hop) = hops.next().and_then(address) else { break };
        client = hop;
    }
    client
}

/// An address with or without a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let address = text.parse().or_else(|_| text.parse::<SocketAddr>().map(|it| it.ip())).ok()?;
    Some(address.to_canonical())
}

/// The scheme that the client asked with, where a proxy that we trust tells it.
pub fn scheme(headers: &HeaderMap, peer: IpAddr, trusted: &[Cidr]) -> &'static str {
    let told = headers.get(X_FORWARDED_PROTO).filter(|_| is_trusted(peer, trusted));
    let first = told.and_then(|value| tokens(value).next());
    if first.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https")) { "https" } else { "http" }
}

/// A value of `Forwarded`: a token as it is, anything else in quotes.
fn push_quoted(text: &mut String, value: &str) {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let quote = if !value.is_empty() && value.bytes().all(token) { "" } else { "\"" };
    text.push_str(quote);
    text.push_str(value);
    text.push_str(quote);
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: Bytes) {
    match HeaderValue::from_maybe_shared(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => drop(headers.remove(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        list.iter().map(pair).collect()
    }

    #[test]
    fn nobody_has_the_permissions_of_whom_it_was_taken_for() {
        let caller = |subject: &str, permissions: &[&str]| {
            Caller::new(subject, permissions.iter().map(|name| (*name).to_owned()).collect()).unwrap()
        };
        let mut map = HeaderMap::new();
        introduce(&mut map, &caller("ada", &["admin"]), "plugin");
        introduce(&mut map, &caller("acme", &[]), "apiKey");
        assert_eq!(
            (map.get(SUBJECT).unwrap(), map.get(PERMISSIONS)),
            (&HeaderValue::from_static("acme"), None)
        );
    }

    #[test]
    fn takes_off_what_concerns_the_connection() {
        let mut map = headers(&[
            ("connection", "close, X-Private"),
            ("connection", "te, content-length"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "secret"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-private", "1"),
            ("x-public", "2"),
            ("content-length", "3"),
        ]);
        let stripped = strip(&mut map);
        assert_eq!(stripped, Stripped { upgrade: None, trailers: true, encoded: true });
        assert_eq!(map, headers(&[("x-public", "2"), ("content-length", "3")]));
    }

    #[test]
    fn keeps_an_upgrade_that_connection_names() {
        let mut map = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(strip(&mut map).upgrade, Some(HeaderValue::from_static("websocket")));
        assert!(map.is_empty());
    }

    #[test]
    fn lets_nobody_else_say_who_the_caller_is() {
        let mut map = headers(&[
            ("x-forward-subject", "admin"),
            ("x-forward-subject", "root"),
            ("x_forward_subject", "admin"),
            ("x-forward_permissions", "all"),
            ("x-forward-anything", "1"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x_real_ip", "6.6.6.6"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarding", "1"),
            ("x_other", "1"),
        ]);
        disown(&mut map);
        let kept = [("x-forwarded-for", "1.1.1.1"), ("x-forwarding", "1"), ("x_other", "1")];
        assert_eq!(map, headers(&kept));
    }

    #[test]
    fn lets_no_client_name_away_who_asks() {
        let mut map = headers(&[
            ("connection", "x-forward-subject, x-forwarded-for, forwarded, x-forwarded-client-cert, x-mine"),
            ("x-forward-subject", "acme"),
            ("x-forwarded-for", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("x-forwarded-client-cert", "Hash=0"),
            ("x-mine", "1"),
        ]);
        strip(&mut map);
        assert_eq!((map.len(), map.contains_key("x-mine")), (4, false), "{map:?}");
    }

    #[test]
    fn does_not_believe_strangers() {
        let mut map = headers(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-client-cert", "Hash=0"),
            ("x-forwarded-user", "root"),
            ("x-forwarded-groups", "admins"),
            ("x-real-ip", "6.6.6.6"),
        ]);
        forward(&mut map, [10, 0, 0, 1].into(), &HeaderValue::from_static("a.example:80"), "http", &[]);
        let expected = headers(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1;host=\"a.example:80\";proto=http"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "a.example:80"),
        ]);
        assert_eq!(map, expected);
    }

    #[test]
    fn believes_of_the_hops_only_what_trusted_proxies_say() {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let client = |peer: &str, hops: &[&'static str]| {
            let list = hops.iter().map(|hop| ("x-forwarded-for", *hop)).collect::<Vec<_>>();
            super::client(&headers(&list), peer.parse().unwrap(), &trusted).to_string()
        };
        assert_eq!(client("203.0.113.9", &["198.51.100.1"]), "203.0.113.9", "a stranger's word");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 198.51.100.1", "10.0.0.2"]), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.1:443, fd00::2"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        for odd in ["unknown", "", "6.6.6.6, ", "6.6.6.6, _hidden"] {
            assert_eq!(client("10.0.0.1", &[odd]), "10.0.0.1", "{odd:?}");
        }
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn adds_to_what_a_trusted_proxy_says() {
        let mut map = headers(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
        ]);
        let trusted = ["fd00::/8".parse().unwrap()];
        forward(&mut map, "fd00::1".parse().unwrap(), &HeaderValue::from_static("a"), "http", &trusted);
        let expected = headers(&[
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2, fd00::1"),
            ("forwarded", "for=\"[fd00::1]\";host=a;proto=http"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
        ]);
        assert_eq!(map, expected);
    }
}
