//! Payment processor, inventory manager and analytics tracker in one, as far as an order's way goes:
//! they keep the interfaces of the real ones, in memory, and fail as they are told.

use std::{
    collections::{BTreeMap, VecDeque},
    future::pending,
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use bytes::Bytes;
use forward_sdk::axum::{
    self, Router,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::fault::{Call, Fault};

/// The stand-ins' server; what was done is in the ledger.
#[derive(Clone)]
pub struct StandIn {
    ledger: Arc<Mutex<Ledger>>,
    held: Arc<Mutex<mpsc::Receiver<Call>>>,
    pub url: String,
}

/// What the other plugins would have in their databases.
#[derive(Default)]
pub struct Ledger {
    /// By the key of the charge: the payment.
    pub payments: BTreeMap<String, Value>,
    /// What was given back, by the payment's id.
    pub refunds: BTreeMap<String, i64>,
    /// By its id: the reservation's status, and what it holds.
    pub reservations: BTreeMap<String, (&'static str, Value)>,
    pub stock: BTreeMap<String, i64>,
    /// Events by their ids, and how often each was sent.
    pub events: BTreeMap<String, (Value, u32)>,
    /// The next calls of a kind that fail.
    faults: BTreeMap<Call, VecDeque<Fault>>,
    /// All calls of a kind fail so.
    away: BTreeMap<Call, Fault>,
    /// Where it is told that a call is held.
    holds: Option<mpsc::Sender<Call>>,
}

impl StandIn {
    /// Starts one with 100 pens at 3.50 and 100 inks at 12.00.
    pub fn start() -> Self {
        let (holds, held) = mpsc::channel();
        let stock = [("pen", 100), ("ink", 100)].map(|(sku, count)| (sku.to_owned(), count)).into();
        let ledger = Arc::new(Mutex::new(Ledger { stock, holds: Some(holds), ..Ledger::default() }));
        let (sender, address) = mpsc::channel();
        let router = Router::new().fallback(answer).with_state(ledger.clone());
        thread::spawn(move || serve(router, &sender));
        let address: SocketAddr = address.recv().unwrap();
        Self { ledger, held: Arc::new(Mutex::new(held)), url: format!("http://{address}") }
    }

    /// The next calls of this kind fail so, one after the other.
    pub fn fail(&self, call: Call, faults: &[Fault]) {
        self.ledger(|ledger| ledger.faults.entry(call).or_default().extend(faults));
    }

    /// All calls of these kinds fail so, until they come back.
    pub fn go_away(&self, calls: &[Call], fault: Fault) {
        self.ledger(|ledger| ledger.away.extend(calls.iter().map(|call| (*call, fault))));
    }

    pub fn come_back(&self) {
        self.ledger(|ledger| ledger.away.clear());
    }

    /// Waits until a call is held.
    pub fn await_held(&self) -> Call {
        self.held.lock().unwrap().recv_timeout(Duration::from_secs(20)).unwrap()
    }

    /// Reads or changes the ledger.
    pub fn ledger<T>(&self, work: impl FnOnce(&mut Ledger) -> T) -> T {
        work(&mut self.ledger.lock().unwrap())
    }
}

fn serve(router: Router, address: &mpsc::Sender<SocketAddr>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        address.send(listener.local_addr().unwrap()).unwrap();
        axum::serve(listener, router).await.unwrap();
    });
}

async fn answer(
    State(ledger): State<Arc<Mutex<Ledger>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let call = Call::of(method.as_str(), uri.path());
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    let fault = ledger.lock().unwrap().fault(call);
    if let Some(Fault::Answer(status, code)) = fault {
        return problem(status, code);
    }
    if fault == Some(Fault::HeldBefore) {
        return hold(&ledger, call).await;
    }
    let done = ledger.lock().unwrap().effect(call, &uri, &key.unwrap_or_default(), &body);
    match fault {
        Some(Fault::AnswerLost) => problem(500, ""),
        Some(Fault::HeldAfter) => hold(&ledger, call).await,
        _ => done,
    }
}

async fn hold(ledger: &Mutex<Ledger>, call: Call) -> Response {
    let holds = ledger.lock().unwrap().holds.clone().unwrap();
    // Tests that do not wait for it have ended already.
    holds.send(call).ok();
    pending().await
}

impl Ledger {
    fn fault(&mut self, call: Call) -> Option<Fault> {
        let next = self.faults.get_mut(&call).and_then(VecDeque::pop_front);
        next.or_else(|| self.away.get(&call).copied())
    }

    fn effect(&mut self, call: Call, uri: &Uri, key: &str, body: &Value) -> Response {
        // `/api/KIND/THINGS/ID/VERB`, or `/api/payments/ID/refund`.
        let id = uri.path().rsplit('/').nth(1).unwrap();
        match call {
            Call::Check => self.check(body),
            Call::Charge => self.charge(key, body),
            Call::Find => self.find(uri.query().unwrap()),
            Call::Refund => self.refund(id),
            Call::Reserve => self.reserve(body),
            Call::Commit => self.commit(id),
            Call::Release => self.release(id),
            Call::Track => self.track(body),
        }
    }

    fn check(&self, body: &Value) -> Response {
        let (mut items, mut all) = (Vec::new(), true);
        for (at, item) in body["items"].as_array().unwrap().iter().enumerate() {
            let Some(left) = self.stock.get(item["sku"].as_str().unwrap()) else {
                return invalid(&format!("#/items/{at}/sku"), "is not known");
            };
            let price = if item["sku"] == "pen" { 350 } else { 1_200 };
            let sufficient = *left >= item["quantity"].as_i64().unwrap();
            all &= sufficient;
            items.push(json!({"sku": item["sku"], "name": item["sku"], "requested": item["quantity"],
                "available": left, "price": price, "sufficient": sufficient}));
        }
        said(200, &json!({"available": all, "total": 0, "currency": "USD", "items": items}))
    }

    fn charge(&mut self, key: &str, body: &Value) -> Response {
        let status = match body["method"].as_str().unwrap() {
            "card_ok" => "succeeded",
            "card_declined" => "declined",
            _ => return invalid("#/method", "is not known"),
        };
        let id = format!("pay_{}", self.payments.len() + 1);
        let payment = self.payments.entry(key.to_owned()).or_insert_with(|| {
            json!({"id": id, "status": status, "amount": body["amount"], "reference": body["reference"],
                "body": body})
        });
        assert_eq!(payment["body"], *body, "another body with the same key");
        match status {
            "succeeded" => said(201, payment),
            _ => said(
                402,
                &json!({"status": 402, "code": "card_declined", "detail": "no", "payment": payment}),
            ),
        }
    }

    fn find(&self, query: &str) -> Response {
        let wanted = |payment: &&Value| query.contains(payment["reference"].as_str().unwrap());
        let found: Vec<_> =
            self.payments.values().filter(wanted).filter(|one| one["status"] == "succeeded").collect();
        said(200, &json!({"items": found}))
    }

    fn refund(&mut self, id: &str) -> Response {
        let payment = self.payments.values().find(|payment| payment["id"] == id).unwrap();
        assert_eq!(payment["status"], "succeeded", "what was not paid is refunded");
        let amount = payment["amount"].as_i64().unwrap();
        self.refunds.insert(id.to_owned(), amount);
        said(201, &json!({"id": "re_1", "payment_id": id, "amount": amount}))
    }

    fn reserve(&mut self, body: &Value) -> Response {
        let id = body["id"].as_str().unwrap();
        match self.reservations.get(id) {
            Some(("released", _)) => return problem(409, "reservation_released"),
            Some((status, items)) => {
                assert_eq!(*items, body["items"]);
                return said(200, &json!({"id": id, "status": status, "items": items}));
            }
            None => {}
        }
        let left =
            |item: &Value| self.stock[item["sku"].as_str().unwrap()] - item["quantity"].as_i64().unwrap();
        let items = body["items"].as_array().unwrap();
        if let Some(short) = items.iter().position(|item| left(item) < 0) {
            let error = json!({"pointer": format!("#/items/{short}/quantity"), "detail": "too many"});
            let problem =
                json!({"status": 409, "code": "insufficient_stock", "detail": "no", "errors": [error]});
            return said(409, &problem);
        }
        self.put(&body["items"], -1);
        self.reservations.insert(id.to_owned(), ("active", body["items"].clone()));
        said(201, &json!({"id": id, "status": "active", "items": items}))
    }

    fn commit(&mut self, id: &str) -> Response {
        match self.reservations.get_mut(id) {
            None => problem(404, ""),
            Some((status @ ("active" | "committed"), _)) => {
                *status = "committed";
                said(200, &json!({"id": id, "status": "committed"}))
            }
            Some(_) => problem(409, "reservation_released"),
        }
    }

    fn release(&mut self, id: &str) -> Response {
        let (status, items) = self.reservations.remove(id).unwrap_or(("none", json!([])));
        if status == "active" {
            self.put(&items, 1);
        }
        let after = if status == "committed" { "committed" } else { "released" };
        self.reservations.insert(id.to_owned(), (after, items));
        match after {
            "committed" => problem(409, "reservation_committed"),
            _ => said(200, &json!({"id": id, "status": after})),
        }
    }

    fn track(&mut self, body: &Value) -> Response {
        for event in body["events"].as_array().unwrap() {
            if event["user_id"] == "untrackable" {
                return invalid("#/events/0/user_id", "is not wanted");
            }
        }
        for event in body["events"].as_array().unwrap() {
            let id = event["id"].as_str().unwrap().to_owned();
            self.events.entry(id).or_insert((event.clone(), 0)).1 += 1;
        }
        said(202, &json!({"accepted": 1, "sampled_out": 0, "duplicates": 0}))
    }

    fn put(&mut self, items: &Value, sign: i64) {
        for item in items.as_array().unwrap() {
            let left = self.stock.get_mut(item["sku"].as_str().unwrap()).unwrap();
            *left += sign * item["quantity"].as_i64().unwrap();
        }
    }
}

fn said(status: u16, body: &Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response()
}

fn problem(status: u16, code: &str) -> Response {
    said(status, &json!({"status": status, "code": code, "detail": "as the test has it"}))
}

fn invalid(pointer: &str, detail: &str) -> Response {
    said(422, &json!({"status": 422, "detail": detail, "errors": [{"pointer": pointer, "detail": detail}]}))
}
