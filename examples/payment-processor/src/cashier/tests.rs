//! What the sandbox never does: a processor that does not decide, or refuses a refund.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use example_testing::Postgres;
use futures::future::{BoxFuture, FutureExt, ready};
use sqlx::{Connection, PgConnection};

use super::*;
use crate::{
    money::Currency,
    processor::{Charged, Repaid},
};

/// Answers what it was told to, one after the other, and keeps the keys it was asked under.
#[derive(Default)]
struct Scripted {
    charges: Mutex<VecDeque<Option<Charged>>>,
    refunds: Mutex<VecDeque<Option<Repaid>>>,
    keys: Mutex<Vec<String>>,
}

impl Scripted {
    fn next<T>(&self, key: &str, script: &Mutex<VecDeque<Option<T>>>) -> Result<T, ProcessorError> {
        self.keys.lock().unwrap().push(key.to_owned());
        let next = script.lock().unwrap().pop_front().unwrap();
        next.ok_or(ProcessorError::Await(Duration::from_secs(8)))
    }
}

impl Processor for Scripted {
    fn accepts(&self, _: &str) -> bool {
        true
    }

    fn charge<'a>(&'a self, charge: Charge<'a>) -> BoxFuture<'a, Result<Charged, ProcessorError>> {
        ready(self.next(charge.id, &self.charges)).boxed()
    }

    fn refund<'a>(&'a self, repayment: Repayment<'a>) -> BoxFuture<'a, Result<Repaid, ProcessorError>> {
        ready(self.next(repayment.id, &self.refunds)).boxed()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ProcessorError>> {
        ready(Ok(())).boxed()
    }
}

struct Scene {
    url: String,
    cashier: Cashier,
    processor: Arc<Scripted>,
}

impl Scene {
    async fn new(name: &str, charges: &[Option<Charged>], refunds: &[Option<Repaid>]) -> Self {
        let url = Postgres::shared().database(name);
        let processor = Arc::new(Scripted {
            charges: Mutex::new(charges.iter().cloned().collect()),
            refunds: Mutex::new(refunds.iter().cloned().collect()),
            keys: Mutex::default(),
        });
        let cashier = Cashier {
            terms: Terms { currency: Currency::usd(), max_amount: 5000, enable_refunds: true },
            ledger: Ledger::connect(&url).await.unwrap(),
            processor: processor.clone(),
            metrics: Metrics::new(),
        };
        Self { url, cashier, processor }
    }

    /// Makes all claims run out. A test that waited for it would take as long.
    async fn let_claims_run_out(&self) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let run_out = "UPDATE payments.payments SET claimed_until = now() - interval '1 second';
            UPDATE payments.refunds SET claimed_until = now() - interval '1 second'";
        sqlx::raw_sql(run_out).execute(&mut connection).await.unwrap();
    }

    fn keys(&self) -> Vec<String> {
        self.processor.keys.lock().unwrap().clone()
    }
}

fn succeeded() -> Option<Charged> {
    Some(Charged::Succeeded { provider_id: "pi_1".to_owned() })
}

fn request() -> PaymentRequest {
    PaymentRequest {
        amount: 1000,
        currency: "USD".to_owned(),
        method: "pm_card_visa".to_owned(),
        customer_id: "cus_1".to_owned(),
        description: None,
        reference: None,
    }
}

fn undecided<T: std::fmt::Debug>(taken: Result<T, CashError>) -> String {
    match taken.unwrap_err() {
        CashError::AskProcessor { id, .. } => id,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_undecided_charge_is_asked_about_again_under_its_own_key() {
    let scene = Scene::new("unit_recover", &[None, None, succeeded()], &[]).await;
    let id = undecided(scene.cashier.take(Some("k"), &request()).await);
    assert!(matches!(scene.cashier.take(Some("k"), &request()).await, Err(CashError::UseKeyTwice)));
    scene.cashier.recover().await.unwrap();
    assert_eq!(scene.keys().len(), 1, "it was claimed");
    for status in [Status::Pending, Status::Succeeded] {
        scene.let_claims_run_out().await;
        scene.cashier.recover().await.unwrap();
        assert_eq!(scene.cashier.ledger.payment(&id).await.unwrap().unwrap().status, status);
    }
    scene.let_claims_run_out().await;
    scene.cashier.recover().await.unwrap();
    assert_eq!(scene.keys(), [id.clone(), id.clone(), id]);
}

#[tokio::test]
async fn whoever_asks_again_takes_over_what_nobody_is_at() {
    let scene = Scene::new("unit_take_over", &[None, succeeded()], &[]).await;
    let id = undecided(scene.cashier.take(Some("k"), &request()).await);
    scene.let_claims_run_out().await;
    let done = scene.cashier.take(Some("k"), &request()).await.unwrap();
    assert_eq!(
        (done.value.id.as_str(), done.value.status, done.replayed),
        (id.as_str(), Status::Succeeded, true)
    );
    assert_eq!(scene.keys(), [id.clone(), id]);
}

#[tokio::test]
async fn an_undecided_refund_holds_its_amount_and_a_refused_one_frees_it() {
    let given = Some(Repaid::Succeeded { provider_id: "re_1".to_owned() });
    let scene = Scene::new("unit_refund", &[succeeded()], &[None, Some(Repaid::Refused), given]).await;
    let payment = scene.cashier.take(None, &request()).await.unwrap().value.id;
    let ask = async |key, amount| {
        let request = RefundRequest { amount, reason: None };
        scene.cashier.give_back(&payment, Some(key), &request).await
    };
    let id = undecided(ask("a", Some(600)).await);
    let too_much = ask("b", Some(500)).await;
    assert!(matches!(too_much, Err(CashError::RefuseRefund(RefuseRefund::TooMuch { left: 400 }))));
    scene.let_claims_run_out().await;
    scene.cashier.recover().await.unwrap();
    assert_eq!(scene.keys()[1..], [id.clone(), id]);
    assert!(matches!(ask("a", Some(600)).await, Err(CashError::RefusedByProcessor)));
    let given = ask("c", None).await.unwrap().value;
    assert_eq!((given.amount, given.status), (1000, RefundStatus::Succeeded));
    let refunds = scene.cashier.ledger.refunds(&[payment]).await.unwrap();
    assert_eq!(refunds, [given]);
}
