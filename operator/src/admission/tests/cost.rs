//! What a review costs with 10,000 plugins known, next to what reading the same review from JSON costs
//! alone. A measurement and no test: it is run by hand,
//! `cargo test --release -p forward-operator -- --ignored --nocapture costs_of_a_review`.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use super::*;

const PLUGINS: usize = 10_000;
/// Each plugin needs the one before it; so many are a chain.
const CHAIN: usize = 10;
const ROUNDS: usize = 20_000;

fn link(index: usize, range: &str) -> Value {
    let needs = match index.is_multiple_of(CHAIN) {
        true => json!([]),
        false => json!([{"name": format!("p{}", index - 1), "version": range}]),
    };
    let routes = json!([{"path": format!("/p{index}")}, {"path": format!("/p{index}/*rest")}]);
    let config = json!({"currency": "USD", "limits": {"amount": 5000}});
    plugin(&format!("p{index}"), json!({"dependencies": needs, "http": {"routes": routes}, "config": config}))
}

/// Times of a step over many rounds, sorted.
fn times(mut step: impl FnMut(usize)) -> Vec<Duration> {
    let time = |round| {
        let begin = Instant::now();
        step(round);
        begin.elapsed()
    };
    let mut times: Vec<Duration> = (0..ROUNDS).map(time).collect();
    times.sort();
    times
}

/// In microseconds.
fn percentile(times: &[Duration], percent: usize) -> f64 {
    times[times.len() * percent / 100].as_secs_f64() * 1e6
}

#[test]
#[ignore = "a measurement"]
fn costs_of_a_review() {
    let known: Vec<Value> = (0..PLUGINS).map(|number| link(number, "^1")).collect();
    let reviewer = reviewer(&known);
    eprintln!("{PLUGINS} plugins, {ROUNDS} rounds each; microseconds");
    for (what, range) in [("nothing to say", ">=1"), ("a conflict", "^2")] {
        let numbers = (0..100).map(|number| number * 97 + 5);
        let reviews = numbers.map(|number| review("UPDATE", link(number, range), link(number, "^1")));
        let bodies: Vec<Vec<u8>> = reviews.map(|review| serde_json::to_vec(&review).unwrap()).collect();
        let body = |round: usize| &bodies[round % bodies.len()];
        let read = times(|round| drop(black_box(review::read(body(round)).unwrap())));
        let all = times(|round| {
            drop(black_box(serde_json::to_vec(&reviewer.review(body(round)).unwrap()).unwrap()))
        });
        eprintln!(
            "{what}: reading p50 {:.0}, p99 {:.0}; review p50 {:.0}, p99 {:.0}; ratio {:.2}",
            percentile(&read, 50),
            percentile(&read, 99),
            percentile(&all, 50),
            percentile(&all, 99),
            percentile(&all, 50) / percentile(&read, 50),
        );
    }
}
