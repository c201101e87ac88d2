//! Takes orders through payment and stock, whatever breaks on the way.
//!
//! An order's way is a row of steps, each of which is one call to another plugin. What comes next is
//! decided in [`step`], without any I/O; [`driver`] makes the calls and writes every step down in the
//! [`journal`] before the next one begins; [`recovery`] takes up what a driver left behind.
//! [`routes`] is what the outside sees, [`tracking`] tells analytics of what is completed.

mod answer;
mod backoff;
mod census;
mod config;
mod driver;
mod journal;
mod metrics;
mod order;
mod outbox;
mod outcome;
mod plugin;
mod recovery;
mod request;
mod routes;
mod services;
mod step;
mod tracking;

forward_sdk::main!(plugin::Orders);
