//! `/api/inventory/reservations`.

use std::sync::Arc;

use example_database::{Page, ask};
use forward_sdk::{
    Json, Problem,
    axum::{
        extract::{Path, State},
        http::{StatusCode, header},
        response::{IntoResponse, Response},
    },
};

use super::{availability::refuse_unknown, page::Wanted};
use crate::{
    inventory::Inventory,
    lines::Shortage,
    measures::Outcome,
    reservation::{Refusal, Reservation, ReservationId, Reserve},
    store::{Ending, Reserving},
};

pub async fn list(
    State(inventory): State<Arc<Inventory>>,
    wanted: Wanted,
) -> Result<Json<Page<Reservation>>, Problem> {
    let before = wanted.cursor(|serial| serial.parse().ok())?;
    let found = ask(inventory.store.fetch_reservations(wanted.status, before, wanted.limit.fetch())).await?;
    Ok(Json(wanted.limit.page(found, |reservation| reservation.serial.to_string())))
}

pub async fn show(
    State(inventory): State<Arc<Inventory>>,
    Path(id): Path<String>,
) -> Result<Json<Reservation>, Problem> {
    let id = ReservationId::parse(&id).ok_or_else(unknown)?;
    ask(inventory.store.fetch_reservation(&id)).await?.map(Json).ok_or_else(unknown)
}

pub async fn reserve(
    State(inventory): State<Arc<Inventory>>,
    Json(body): Json<Reserve>,
) -> Result<Response, Problem> {
    let wish = body.check(inventory.reservation_ttl)?;
    let reserving = ask(inventory.store.reserve(&wish)).await?;
    let count = |outcome| inventory.measures.count(outcome);
    match reserving {
        Reserving::Reserved(made) => {
            count(Outcome::Reserved);
            let location = [(header::LOCATION, format!("/api/inventory/reservations/{}", made.id))];
            Ok((StatusCode::CREATED, location, Json(made)).into_response())
        }
        Reserving::Again(there) => {
            count(Outcome::Replayed);
            Ok(Json(there).into_response())
        }
        Reserving::Refused(refusal) => {
            count(Outcome::Refused);
            Err(refuse(refusal))
        }
        Reserving::Short(shortages) => {
            count(Outcome::InsufficientStock);
            Err(refuse_short(&shortages))
        }
        Reserving::Unknown(places) => Err(refuse_unknown(&places)),
    }
}

pub async fn commit(
    State(inventory): State<Arc<Inventory>>,
    Path(id): Path<String>,
) -> Result<Json<Reservation>, Problem> {
    let id = ReservationId::parse(&id).ok_or_else(unknown)?;
    let ending = ask(inventory.store.commit(&id)).await?;
    ended(&inventory, ending, Outcome::Committed)
}

pub async fn release(
    State(inventory): State<Arc<Inventory>>,
    Path(id): Path<String>,
) -> Result<Json<Reservation>, Problem> {
    let bad_id = || Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the id {}", ReservationId::RULE));
    let id = ReservationId::parse(&id).ok_or_else(bad_id)?;
    let ending = ask(inventory.store.release(&id)).await?;
    ended(&inventory, ending, Outcome::Released)
}

fn ended(inventory: &Inventory, ending: Ending, outcome: Outcome) -> Result<Json<Reservation>, Problem> {
    match ending {
        Ending::Ended(reservation) => {
            inventory.measures.count(outcome);
            Ok(Json(reservation))
        }
        Ending::Again(reservation) => Ok(Json(reservation)),
        Ending::Refused(refusal) => {
            inventory.measures.count(Outcome::Refused);
            Err(refuse(refusal))
        }
        Ending::Unknown => Err(unknown()),
    }
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no reservation with this id")
}

fn refuse(refusal: Refusal) -> Problem {
    Problem::new(StatusCode::CONFLICT, refusal.to_string()).code(refusal.code())
}

fn refuse_short(shortages: &[Shortage]) -> Problem {
    let problem =
        Problem::new(StatusCode::CONFLICT, "there is too little in stock").code("insufficient_stock");
    shortages.iter().fold(problem, |problem, Shortage { index, wanted, available }| {
        problem.error(format!("#/items/{index}/quantity"), format!("{wanted} wanted, {available} available"))
    })
}
