//! `/api/inventory/items`.

use std::sync::Arc;

use example_database::{Page, ask};
use forward_sdk::{
    Json, Problem,
    axum::{
        extract::{Path, State},
        http::StatusCode,
    },
};

use super::page::Wanted;
use crate::{
    inventory::Inventory,
    item::{PutItem, Sku, Stock},
    store::Putting,
};

pub async fn list(
    State(inventory): State<Arc<Inventory>>,
    wanted: Wanted,
) -> Result<Json<Page<Stock>>, Problem> {
    let after = wanted.cursor(Sku::parse)?;
    let items = ask(inventory.store.fetch_items(after.as_ref(), wanted.limit.fetch())).await?;
    Ok(Json(wanted.limit.page(items, |item| item.sku.as_str().to_owned())))
}

pub async fn show(
    State(inventory): State<Arc<Inventory>>,
    Path(sku): Path<String>,
) -> Result<Json<Stock>, Problem> {
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "there is no item with this SKU");
    let sku = Sku::parse(&sku).ok_or_else(unknown)?;
    let found = ask(inventory.store.fetch_stock(&[sku.as_str()])).await?;
    found.into_iter().next().map(Json).ok_or_else(unknown)
}

pub async fn put(
    State(inventory): State<Arc<Inventory>>,
    Path(sku): Path<String>,
    Json(body): Json<PutItem>,
) -> Result<(StatusCode, Json<Stock>), Problem> {
    let refuse = || Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the SKU {}", Sku::RULE));
    let sku = Sku::parse(&sku).ok_or_else(refuse)?;
    let item = body.check(sku, &inventory.currency)?;
    match ask(inventory.store.put_item(&item)).await? {
        Putting::Created(stock) => Ok((StatusCode::CREATED, Json(stock))),
        Putting::Changed(stock) => Ok((StatusCode::OK, Json(stock))),
        Putting::BelowReserved { reserved } => {
            Err(Problem::new(StatusCode::CONFLICT, "more units are reserved than would be there")
                .code("below_reserved")
                .error("#/on_hand", format!("{reserved} are reserved")))
        }
    }
}
