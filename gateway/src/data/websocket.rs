//! WebSockets over HTTP/2 (RFC 8441): the client asks with an extended CONNECT, the plugin is asked
//! with an upgrade of HTTP/1.1, and each gets its own kind of yes.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Version, header, request::Parts};
use hyper::ext::Protocol;

use super::{balance::Dice, body::Answer, problem::Problem, tunnel};

/// Ask for in HTTP/1.1 what an extended CONNECT asks for. Whether it is one for a WebSocket.
pub fn ask(head: &mut Parts, dice: &Dice) -> bool {
    let is_one = head.version == Version::HTTP_2
        && head.method == Method::CONNECT
        && head.extensions.get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
    if is_one {
        head.method = Method::GET;
        tunnel::set_upgrade(&mut head.headers, HeaderValue::from_static("websocket"));
        head.headers.insert(header::SEC_WEBSOCKET_KEY, key(dice));
    }
    is_one
}

/// Sixteen bytes that differ each time, in base64: HTTP/1.1 wants them, HTTP/2 has none.
fn key(dice: &Dice) -> HeaderValue {
    let bytes = [dice.roll().to_be_bytes(), dice.roll().to_be_bytes()].concat();
    HeaderValue::from_str(&BASE64_STANDARD.encode(bytes)).expect("base64 is a header value")
}

/// What came of it. A plugin that agrees says 101, which is 200 here; one that says 200 answers
/// something else than was asked, and must not open a tunnel.
pub fn answer(mut response: Response<Answer>, id: &HeaderValue) -> Response<Answer> {
    const HANDSHAKE: [HeaderName; 3] = [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT];
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        *response.status_mut() = StatusCode::OK;
        for name in HANDSHAKE {
            response.headers_mut().remove(name);
        }
        response
    } else if response.status().is_success() {
        Problem::BadRequest("the plugin has no WebSocket here").answer(Some(id))
    } else {
        response
    }
}
