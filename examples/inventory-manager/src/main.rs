//! Knows what is in stock, and reserves it: all of a reservation or nothing, and no unit twice,
//! however many ask at once and however many pods answer.

mod api;
mod config;
mod faults;
mod inventory;
mod item;
mod lines;
mod measures;
mod reservation;
mod store;
mod sweep;

forward_sdk::main!(inventory::Inventory);
