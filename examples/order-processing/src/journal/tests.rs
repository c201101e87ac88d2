//! The journal and its outbox on a real PostgreSQL: who holds an order, and who is told.

use example_testing::Postgres;

use super::*;
use crate::{
    outbox,
    outcome::{Outcome, Quote, Reason},
    request::NewItem,
};

const LEASE: Duration = Duration::from_secs(3_600);

async fn journal(name: &str) -> Journal {
    let url = Postgres::shared().database(name);
    Journal::new(example_database::connect(&url, "orders", TABLES).await.unwrap(), LEASE)
}

async fn take_down(journal: &Journal) -> (Order, Holder) {
    let items = vec![NewItem { sku: "pen".to_owned(), quantity: 2 }];
    let request = NewOrder { customer_id: "ada".to_owned(), payment_method: "card_ok".to_owned(), items };
    match journal.take_down(&request, None).await.unwrap() {
        Taken::New(order, holder) => (order, holder),
        Taken::Known(order) => panic!("it has no key: {order:?}"),
    }
}

/// An order at its end, all of whose calls were done.
async fn complete(journal: &Journal) -> Order {
    let (mut order, holder) = take_down(journal).await;
    while !order.step.is_final() {
        order = journal.advance(&order, &holder, &Answer::done()).await.unwrap().unwrap();
    }
    order
}

#[tokio::test]
async fn a_held_order_is_not_taken_up_before_its_lease_is_over() {
    let journal = journal("held").await;
    let (order, holder) = take_down(&journal).await;
    assert_eq!(journal.take_up(10).await.unwrap().0, []);
    journal.put_back(&order, &holder, Duration::ZERO).await.unwrap();
    let (taken, _) = journal.take_up(10).await.unwrap();
    assert_eq!(taken, [order]);
    assert_eq!(journal.take_up(10).await.unwrap().0, []);
}

#[tokio::test]
async fn only_the_holder_writes_the_next_step_and_only_once() {
    let journal = journal("compare_and_set").await;
    let (order, first) = take_down(&journal).await;
    journal.put_back(&order, &first, Duration::ZERO).await.unwrap();
    let (_, second) = journal.take_up(1).await.unwrap();

    assert_eq!(journal.advance(&order, &first, &Answer::done()).await.unwrap(), None);
    assert!(!journal.hold_on(&order, &first).await.unwrap());
    journal.put_back(&order, &first, Duration::ZERO).await.unwrap();
    assert_eq!(journal.take_up(1).await.unwrap().0, [], "somebody else gave it back");

    let advanced = journal.advance(&order, &second, &Answer::done()).await.unwrap().unwrap();
    assert_eq!(advanced.step, Step::Charging);
    assert_eq!(journal.advance(&order, &second, &Answer::done()).await.unwrap(), None);
}

#[tokio::test]
async fn what_was_learnt_stays_and_the_first_refusal_is_the_reason() {
    let journal = journal("learnt").await;
    let (order, holder) = take_down(&journal).await;
    let items = vec![Item { price: Some(350), ..order.items[0].clone() }];
    let quote = Some(Quote { items: items.clone(), total: 700, currency: "USD".to_owned() });
    let checked = Answer { outcome: Outcome::Done, learnt: Learnt { quote, payment_id: None } };
    let sold_out = Answer::refused(Reason::InsufficientStock, "sold out");
    let answers =
        [checked, Answer::done().with_payment("pay_1".to_owned()), sold_out, Answer::done(), Answer::done()];
    let mut now = order;
    for answer in answers {
        now = journal.advance(&now, &holder, &answer).await.unwrap().unwrap();
    }
    assert_eq!((now.step, now.reason()), (Step::Rejected, Some(Reason::InsufficientStock)));
    assert_eq!((now.items, now.total, now.payment_id.as_deref()), (items, Some(700), Some("pay_1")));
}

#[tokio::test]
async fn a_completed_order_is_told_of_by_one_at_a_time() {
    let journal = journal("outbox").await;
    take_down(&journal).await;
    let order = complete(&journal).await;
    let taken = outbox::take(journal.pool(), 10).await.unwrap();
    assert_eq!(taken, std::slice::from_ref(&order));
    assert_eq!(outbox::take(journal.pool(), 10).await.unwrap(), []);
    outbox::mark_tracked(journal.pool(), &taken).await.unwrap();
    assert!(journal.fetch(&order.id).await.unwrap().unwrap().tracked);
    assert_eq!(outbox::give_up_older(journal.pool(), Duration::ZERO).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_too_old_is_not_told_of_any_more() {
    let journal = journal("too_old").await;
    let order = complete(&journal).await;
    assert_eq!(outbox::give_up_older(journal.pool(), LEASE).await.unwrap(), 0);
    assert_eq!(outbox::give_up_older(journal.pool(), Duration::ZERO).await.unwrap(), 1);
    assert_eq!(outbox::take(journal.pool(), 10).await.unwrap(), []);
    assert!(!journal.fetch(&order.id).await.unwrap().unwrap().tracked);
}
