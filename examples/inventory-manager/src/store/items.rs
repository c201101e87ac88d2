//! Putting items into the inventory.

use sqlx::{PgConnection, Postgres, postgres::PgArguments, query::QueryAs};

use super::Store;
use crate::item::{Item, Sku, Stock};

/// What came of putting an item.
#[derive(Debug)]
pub enum Putting {
    Created(Stock),
    Changed(Stock),
    /// More of it is reserved than would be there.
    BelowReserved {
        reserved: i64,
    },
}

/// The stock has prices in another currency than the one that is configured.
#[derive(Debug, thiserror::Error)]
pub enum OtherCurrency {
    #[error("/currency: \"{configured}\" is not what the price of \"{sku}\" is in, which is \"{priced}\"")]
    Found { configured: String, sku: String, priced: String },
    #[error("read the currencies of the stock")]
    Read(#[from] sqlx::Error),
}

/// What came of one try to put an item.
enum Attempt {
    Over(Putting),
    /// Reservations whose time is over stand in the way.
    Overdue,
}

impl Store {
    /// Sums of prices in several currencies would mean nothing.
    pub async fn refuse_other_currencies(&self, currency: &str) -> Result<(), OtherCurrency> {
        let other = sqlx::query_as::<_, (String, String)>(
            "SELECT sku, currency FROM items WHERE currency <> $1 ORDER BY sku LIMIT 1",
        );
        match other.bind(currency).fetch_optional(&self.pool).await? {
            None => Ok(()),
            Some((sku, priced)) => Err(OtherCurrency::Found { configured: currency.to_owned(), sku, priced }),
        }
    }

    /// Puts in what is not there yet, and leaves alone what is: what was sold stays sold.
    pub async fn add_missing(&self, items: &[Item]) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        // Pods that start together wait for each other in one order.
        let mut items: Vec<_> = items.iter().collect();
        items.sort_by(|one, other| one.sku.cmp(&other.sku));
        for item in items {
            insert(&mut transaction, item).await?;
        }
        transaction.commit().await
    }

    /// Creates an item, or changes it.
    pub async fn put_item(&self, item: &Item) -> Result<Putting, sqlx::Error> {
        loop {
            match self.try_put(item).await? {
                Attempt::Over(putting) => return Ok(putting),
                Attempt::Overdue => self.expire_holders(&[item.sku.as_str()]).await?,
            }
        }
    }

    async fn try_put(&self, item: &Item) -> Result<Attempt, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let skus = [item.sku.as_str()];
        let putting = if insert(&mut transaction, item).await? {
            Putting::Created(stock_of(&skus).fetch_one(&mut *transaction).await?)
        } else {
            let Stock { reserved, overdue, .. } = lock(&mut transaction, &skus).await?.remove(0);
            if item.on_hand < reserved {
                return Ok(Attempt::Over(Putting::BelowReserved { reserved }));
            }
            if item.on_hand < reserved + overdue {
                return Ok(Attempt::Overdue);
            }
            update(&mut transaction, item).await?;
            Putting::Changed(stock_of(&skus).fetch_one(&mut *transaction).await?)
        };
        transaction.commit().await?;
        Ok(Attempt::Over(putting))
    }
}

/// Whether there was no such item yet.
async fn insert(connection: &mut PgConnection, item: &Item) -> Result<bool, sqlx::Error> {
    let Item { sku, name, price, currency, on_hand } = item;
    let insert = sqlx::query(
        "INSERT INTO items (sku, name, price, currency, on_hand) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
    );
    let insert = insert.bind(sku.as_str()).bind(name).bind(price).bind(currency).bind(on_hand);
    Ok(insert.execute(connection).await?.rows_affected() == 1)
}

async fn update(connection: &mut PgConnection, item: &Item) -> Result<(), sqlx::Error> {
    let Item { sku, name, price, currency, on_hand } = item;
    let update =
        sqlx::query("UPDATE items SET name = $2, price = $3, currency = $4, on_hand = $5 WHERE sku = $1");
    let update = update.bind(sku.as_str()).bind(name).bind(price).bind(currency).bind(on_hand);
    update.execute(connection).await?;
    Ok(())
}

/// Keeps everybody else from changing these items until the transaction is over, and reads them.
pub(super) async fn lock(connection: &mut PgConnection, skus: &[&str]) -> Result<Vec<Stock>, sqlx::Error> {
    sqlx::query("SELECT FROM items WHERE sku = ANY($1) ORDER BY sku FOR NO KEY UPDATE")
        .bind(skus)
        .execute(&mut *connection)
        .await?;
    // A statement of its own, so that it sees what was done while this one waited for the locks.
    stock_of(skus).fetch_all(connection).await
}

/// The items that there are among these.
pub(super) fn stock_of<'q>(skus: &'q [&'q str]) -> QueryAs<'q, Postgres, Stock, PgArguments> {
    sqlx::query_as("SELECT * FROM stock WHERE sku = ANY($1)").bind(skus)
}

/// The items by their SKUs.
pub(super) fn by_sku(items: Vec<Stock>) -> std::collections::BTreeMap<Sku, Stock> {
    items.into_iter().map(|item| (item.sku.clone(), item)).collect()
}
