use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use proptest::prelude::*;
use serde_json::json;
use tokio::time::{advance, sleep, timeout};

use super::*;

/// An API server with one Lease, which answers while it is reachable.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Lease>>>,
    away: Arc<Mutex<bool>>,
}

impl Server {
    /// A client of it, and a switch that takes the way to it away for this client alone.
    fn client(&self) -> (Client, Arc<Mutex<bool>>) {
        let cut = Arc::new(Mutex::new(false));
        let (server, is_cut) = (self.clone(), cut.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (server, is_cut) = (server.clone(), is_cut.clone());
            async move {
                while *is_cut.lock().unwrap() || *server.away.lock().unwrap() {
                    sleep(Duration::from_millis(10)).await;
                }
                let (method, body) = (request.method().clone(), request.into_body());
                let body = body.collect().await.unwrap().to_bytes();
                Ok::<_, std::convert::Infallible>(server.answer(&method, serde_json::from_slice(&body).ok()))
            }
        });
        (Client::new(service, "system"), cut)
    }

    fn answer(&self, method: &Method, written: Option<Lease>) -> Response<Body> {
        let mut stored = self.lease.lock().unwrap();
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        let before = stored.as_ref().map(version);
        match (method, before, written) {
            (&Method::GET, None, _) => return refusal(StatusCode::NOT_FOUND, "NotFound"),
            (&Method::GET, Some(_), _) => {}
            (_, before, Some(mut written)) => {
                if before.as_ref().is_some_and(|before| *before != version(&written)) {
                    return refusal(StatusCode::CONFLICT, "Conflict");
                }
                let next = before.flatten().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) + 1;
                written.metadata.resource_version = Some(next.to_string());
                *stored = Some(written);
            }
            (method, ..) => panic!("{method} without a lease"),
        }
        let body = serde_json::to_vec(stored.as_ref().unwrap()).unwrap();
        Response::new(Body::from(body))
    }

    fn holder(&self) -> Option<String> {
        self.lease.lock().unwrap().as_ref().and_then(holder).cloned()
    }
}

fn refusal(status: StatusCode, reason: &str) -> Response<Body> {
    let body = json!({"status": "Failure", "reason": reason, "message": reason, "code": status.as_u16()});
    Response::builder().status(status).body(Body::from(serde_json::to_vec(&body).unwrap())).unwrap()
}

fn seek_on(server: &Server, identity: &str) -> (Leadership, Arc<Mutex<bool>>, LeaseCounters) {
    let (client, cut) = server.client();
    let counters = LeaseCounters::default();
    (Leadership::seek(client, "system", "lease", identity, counters.clone()), cut, counters)
}

fn acts(leadership: &Leadership) -> bool {
    may_act(&leadership.mandate.borrow())
}

async fn begin(leadership: &mut Leadership) {
    timeout(Duration::from_secs(60), leadership.mandate.wait_for(may_act)).await.unwrap().unwrap();
}

async fn end(leadership: &mut Leadership) {
    timeout(Duration::from_secs(60), leadership.mandate.wait_for(Option::is_none)).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_comes_first_leads_and_goes_on_leading() {
    let server = Server::default();
    let (mut first, _, counters) = seek_on(&server, "first");
    begin(&mut first).await;
    let (second, ..) = seek_on(&server, "second");
    sleep(Duration::from_secs(60)).await;
    assert!(acts(&first) && !acts(&second));
    assert_eq!(server.holder().as_deref(), Some("first"));
    assert!((59..=61).contains(&counters.renewals.get()), "{}", counters.renewals.get());
    assert_eq!(counters.failures.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_stops_is_followed_at_once() {
    let server = Server::default();
    let (mut first, ..) = seek_on(&server, "first");
    begin(&mut first).await;
    let (mut second, ..) = seek_on(&server, "second");
    sleep(Duration::from_secs(5)).await;
    let stopped = Instant::now();
    first.release().await.unwrap();
    begin(&mut second).await;
    assert!(stopped.elapsed() <= LOOK, "{:?}", stopped.elapsed());
    let transitions = server.lease.lock().unwrap().as_ref().unwrap().spec.as_ref().unwrap().lease_transitions;
    assert_eq!(transitions, Some(2));
}

#[tokio::test(start_paused = true)]
async fn who_stands_by_and_stops_leaves_the_lease_alone() {
    let server = Server::default();
    let (mut first, ..) = seek_on(&server, "first");
    begin(&mut first).await;
    let (second, ..) = seek_on(&server, "second");
    sleep(Duration::from_secs(5)).await;
    second.release().await.unwrap();
    assert_eq!(server.holder().as_deref(), Some("first"));
}

#[tokio::test(start_paused = true)]
async fn who_dies_is_followed_within_five_seconds() {
    let server = Server::default();
    let (mut first, ..) = seek_on(&server, "first");
    begin(&mut first).await;
    let (mut second, ..) = seek_on(&server, "second");
    sleep(Duration::from_millis(7_300)).await;
    first.task.abort();
    let died = Instant::now();
    begin(&mut second).await;
    assert!(died.elapsed() < Duration::from_secs(5), "{:?}", died.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_stops_before_another_can_begin() {
    let server = Server::default();
    let (mut first, cut, counters) = seek_on(&server, "first");
    begin(&mut first).await;
    let (mut second, ..) = seek_on(&server, "second");
    sleep(Duration::from_secs(5)).await;
    *cut.lock().unwrap() = true;
    end(&mut first).await;
    let stopped = Instant::now();
    assert!(!acts(&second));
    begin(&mut second).await;
    // What the first one's kernel still holds is thrown away within that time.
    assert!(stopped.elapsed() >= MARGIN, "{:?}", stopped.elapsed());
    assert!(counters.failures.get() >= 2, "{}", counters.failures.get());
    *cut.lock().unwrap() = false;
    sleep(Duration::from_secs(30)).await;
    assert!(!acts(&first) && acts(&second));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_process_goes_on_with_its_lease() {
    let server = Server::default();
    let (mut first, ..) = seek_on(&server, "pod");
    begin(&mut first).await;
    first.task.abort();
    let died = Instant::now();
    let (mut again, ..) = seek_on(&server, "pod");
    begin(&mut again).await;
    assert!(died.elapsed() < LOOK, "{:?}", died.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_for_two_seconds_costs_nothing() {
    let server = Server::default();
    let (mut first, ..) = seek_on(&server, "first");
    begin(&mut first).await;
    let mandate = first.mandate.clone();
    sleep(Duration::from_millis(500)).await;
    *server.away.lock().unwrap() = true;
    sleep(Duration::from_secs(2)).await;
    *server.away.lock().unwrap() = false;
    let ended = timeout(Duration::from_secs(10), first.mandate.wait_for(Option::is_none)).await;
    assert!(ended.is_err() && may_act(&mandate.borrow()));
}

#[tokio::test(start_paused = true)]
async fn the_duration_that_the_holder_wrote_counts() {
    let server = Server::default();
    let spec = json!({"holderIdentity": "of before", "leaseDurationSeconds": 20});
    *server.lease.lock().unwrap() = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
    let (mut first, ..) = seek_on(&server, "first");
    let begun = Instant::now();
    begin(&mut first).await;
    assert!(begun.elapsed() >= Duration::from_secs(20), "{:?}", begun.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whoever is cut off or back, and whenever: from the moment on in which one acts, no other has
    /// acted for the margin.
    #[test]
    fn two_never_act_at_the_same_time(cuts in prop::collection::vec((0..3_usize, any::<bool>(), 1..6_000_u64), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let server = Server::default();
            let replicas: Vec<_> = ["a", "b", "c"].map(|identity| seek_on(&server, identity)).into();
            let mut acted: [Option<Instant>; 3] = [None; 3];
            for (which, is_cut, millis) in cuts {
                *replicas[which].1.lock().unwrap() = is_cut;
                for _ in 0..millis.div_ceil(50) {
                    advance(Duration::from_millis(50)).await;
                    let now = Instant::now();
                    let acting: Vec<_> = (0..3).filter(|index| acts(&replicas[*index].0)).collect();
                    assert!(acting.len() <= 1, "{acting:?} act");
                    for index in acting {
                        for other in (0..3).filter(|other| *other != index) {
                            let since = acted[other].map(|last| now.duration_since(last));
                            assert!(since.is_none_or(|since| since >= MARGIN), "{other} acted {since:?} before");
                        }
                        acted[index] = Some(now);
                    }
                }
            }
        });
    }
}
