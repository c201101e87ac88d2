//! The completed orders that analytics is to be told of.
//!
//! The order's own row is the entry: it is there as soon as the order is completed, and never before.
//! An entry is taken for a while and marked when it was told; whoever fails in between leaves it to
//! be told again, which the event's id makes harmless.

use std::time::Duration;

use sqlx::PgPool;

use crate::order::Order;

/// How long somebody who took entries has time to tell them.
const TELLING: Duration = Duration::from_secs(15);

/// Takes entries that nobody is telling, the oldest first.
pub async fn take(pool: &PgPool, limit: i64) -> Result<Vec<Order>, sqlx::Error> {
    let orders = sqlx::query_as(
        "UPDATE orders SET track_at = now() + $1
         WHERE id IN (SELECT id FROM orders
                      WHERE step = 'completed' AND tracking = 'waiting' AND track_at <= now()
                      ORDER BY track_at LIMIT $2 FOR UPDATE SKIP LOCKED)
         RETURNING *",
    );
    orders.bind(TELLING).bind(limit).fetch_all(pool).await
}

/// Notes that analytics knows of them.
pub async fn mark_tracked(pool: &PgPool, orders: &[Order]) -> Result<(), sqlx::Error> {
    let ids: Vec<&str> = orders.iter().map(|order| order.id.as_str()).collect();
    let mark = sqlx::query("UPDATE orders SET tracking = 'tracked' WHERE id = ANY($1)");
    mark.bind(ids).execute(pool).await.map(drop)
}

/// Notes that analytics will never know of it.
pub async fn give_up(pool: &PgPool, order: &Order) -> Result<(), sqlx::Error> {
    let mark = sqlx::query("UPDATE orders SET tracking = 'given_up' WHERE id = $1");
    mark.bind(&order.id).execute(pool).await.map(drop)
}

/// Gives up those that are older than that, and says how many.
pub async fn give_up_older(pool: &PgPool, age: Duration) -> Result<u64, sqlx::Error> {
    let mark = sqlx::query(
        "UPDATE orders SET tracking = 'given_up'
         WHERE step = 'completed' AND tracking = 'waiting' AND updated_at < now() - $1",
    );
    Ok(mark.bind(age).execute(pool).await?.rows_affected())
}
