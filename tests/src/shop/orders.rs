//! Customers: they order one thing after the other, and ask again, as every good client does, when
//! they get no answer.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{Counter, Shop};
use crate::{Answer, seconds};

/// Customers at the same time.
const CUSTOMERS: u32 = 8;
/// How long an order may take to come to its end, with plugins being killed in the meantime.
const PATIENCE: Duration = seconds(90);
/// How long a customer waits to ask again.
const PAUSE: Duration = Duration::from_millis(200);

/// What customers look at.
const PAGES: [&str; 3] = ["/", "/api/inventory/items", "/api/orders?limit=1"];

/// Customers that order until they are stopped.
pub struct Orders {
    stop: watch::Sender<bool>,
    customers: JoinSet<Result<Tally>>,
}

/// What became of what the customers did.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Orders that came to their end.
    pub orders: usize,
    /// How many of them with which status.
    pub outcomes: BTreeMap<u16, usize>,
    /// Answers that an order should not get (or none at all), after which the customer asked again.
    pub hiccups: BTreeMap<String, usize>,
}

impl Orders {
    /// Let customers order, `rate` times a second all together.
    pub async fn start(shop: &Shop<'_>, rate: u32) -> Result<Self> {
        let items = shop.counter().list("/api/inventory/items").await?;
        let skus: Vec<_> = items.iter().filter_map(|item| item["sku"].as_str().map(str::to_owned)).collect();
        ensure!(!skus.is_empty(), "the shop has nothing to sell");
        let (stop, stopped) = watch::channel(false);
        let mut customers = JoinSet::new();
        for number in 0..CUSTOMERS {
            let customer = Customer {
                counter: shop.counter(),
                name: format!("customer-{number}"),
                skus: skus.clone(),
                tally: Tally::default(),
            };
            let period = Duration::from_secs_f64(f64::from(CUSTOMERS) / f64::from(rate));
            customers.spawn(customer.order_on(period, stopped.clone()));
        }
        Ok(Self { stop, customers })
    }

    /// Let the customers finish what they have begun.
    pub async fn stop(mut self) -> Result<Tally> {
        self.stop.send_replace(true);
        let mut all = Tally::default();
        while let Some(one) = self.customers.join_next().await {
            all.add(one.context("join a customer")??);
        }
        Ok(all)
    }
}

impl Tally {
    /// Err where a single request was not answered as it should be.
    pub fn check_smooth(&self) -> Result<()> {
        ensure!(self.hiccups.is_empty(), "requests failed: {self}");
        Ok(())
    }

    /// Err where fewer orders than this came to their end, or none was completed.
    pub fn check_busy(&self, orders: usize) -> Result<()> {
        ensure!(self.orders >= orders, "the shop was not busy enough: {self}");
        ensure!(self.outcomes.contains_key(&201), "no order was completed: {self}");
        Ok(())
    }

    fn add(&mut self, other: Self) {
        self.orders += other.orders;
        for (status, count) in other.outcomes {
            *self.outcomes.entry(status).or_default() += count;
        }
        for (what, count) in other.hiccups {
            *self.hiccups.entry(what).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} orders", self.orders)?;
        self.outcomes.iter().try_for_each(|(status, count)| write!(f, "; {count} × {status}"))?;
        self.hiccups.iter().try_for_each(|(what, count)| write!(f, "; {count} × {what}"))
    }
}

struct Customer {
    counter: Counter,
    name: String,
    skus: Vec<String>,
    tally: Tally,
}

impl Customer {
    async fn order_on(mut self, period: Duration, stopped: watch::Receiver<bool>) -> Result<Tally> {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0.. {
            ticks.tick().await;
            // An error means that the orders were dropped, which is a stop too.
            if *stopped.borrow() || stopped.has_changed().is_err() {
                break;
            }
            let key = format!("{}-{number}", self.name);
            let ordered = timeout(PATIENCE, self.order(&key, &self.wish(number))).await;
            let (status, hiccups) = ordered
                .with_context(|| format!("{key} came to no end within {PATIENCE:?}"))?
                .with_context(|| key.clone())?;
            self.look_around(number).await;
            self.tally.orders += 1;
            *self.tally.outcomes.entry(status).or_default() += 1;
            for what in hiccups {
                *self.tally.hiccups.entry(what).or_default() += 1;
            }
        }
        Ok(self.tally)
    }

    /// Customers look at pages too.
    async fn look_around(&mut self, number: usize) {
        let path = PAGES[number % PAGES.len()];
        let what = match self.counter.send("GET", path, &[], None).await {
            Ok(answer) if answer.status == 200 => return,
            Ok(answer) => format!("GET {path}: {}", answer.status),
            Err(error) => format!("GET {path}: {:.60}", format!("{error:#}")),
        };
        *self.tally.hiccups.entry(what).or_default() += 1;
    }

    /// What is ordered: one or two things, now and then more than there are, or with a bad card.
    fn wish(&self, number: usize) -> Value {
        let sku = |offset: usize| &self.skus[(number * 3 + offset) % self.skus.len()];
        let quantity = if number % 11 == 7 { 1000 } else { 1 + number % 2 };
        let mut items = vec![json!({"sku": sku(0), "quantity": quantity})];
        if number.is_multiple_of(3) && self.skus.len() > 1 {
            items.push(json!({"sku": sku(1), "quantity": 1}));
        }
        let method = if number % 7 == 5 { "card_declined" } else { "card_ok" };
        json!({"customer_id": self.name, "payment_method": method, "items": items})
    }

    /// One order from its beginning to its end: the status that says how it ended, and what came
    /// instead of an answer on the way.
    async fn order(&self, key: &str, wish: &Value) -> Result<(u16, Vec<String>)> {
        let mut hiccups = Vec::new();
        loop {
            let begin = Instant::now();
            let headers = [("Idempotency-Key", key)];
            match self.counter.send("POST", "/api/orders", &headers, Some(wish)).await {
                Ok(answer) => match answer.status.as_u16() {
                    status @ (201 | 402 | 409) if is_final(&answer) => return Ok((status, hiccups)),
                    // Not yet: whoever asks again with the same key learns how it went.
                    202 => {}
                    422 | 400 | 404 => bail!("an order is refused: {} {}", answer.status, answer.text()),
                    status => hiccups.push(format!("{status} after {:.1?}", begin.elapsed())),
                },
                Err(error) => hiccups.push(format!("{:.60}", format!("{error:#}"))),
            }
            sleep(PAUSE).await;
        }
    }
}

/// Whether an answer is about an order that is at its end, not about a key in use.
fn is_final(answer: &Answer) -> bool {
    let code = answer.json::<Value>().map(|body| body["code"].clone()).unwrap_or_default();
    answer.status == 201 || code == "payment_declined" || code == "insufficient_stock"
}
