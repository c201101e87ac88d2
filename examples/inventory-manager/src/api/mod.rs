//! The HTTP interface: reads requests, asks the store, and puts what it says into answers.

mod availability;
mod items;
mod page;
mod reservations;

use forward_sdk::Routes;

use crate::inventory::Inventory;

pub fn routes() -> Routes<Inventory> {
    Routes::new()
        .get("/api/inventory/items", items::list)
        .describe("Lists what is in stock.")
        .get("/api/inventory/items/:sku", items::show)
        .describe("Shows an item.")
        .put("/api/inventory/items/:sku", items::put)
        .describe("Creates an item, or changes it.")
        .post("/api/inventory/availability", availability::check)
        .describe("Tells whether there is enough of several items, and what they cost.")
        .get("/api/inventory/reservations", reservations::list)
        .describe("Lists reservations, the newest first.")
        .post("/api/inventory/reservations", reservations::reserve)
        .describe("Reserves several items, all of them or none.")
        .get("/api/inventory/reservations/:id", reservations::show)
        .describe("Shows a reservation.")
        .post("/api/inventory/reservations/:id/commit", reservations::commit)
        .describe("Takes what is reserved from the stock.")
        .post("/api/inventory/reservations/:id/release", reservations::release)
        .describe("Gives back what is reserved.")
}
