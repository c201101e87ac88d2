//! How many orders there are that have not come to their end.

use std::time::Duration;

use sqlx::{PgPool, Row};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Orders under way.
    pub pending: i64,
    /// For how long the oldest of them has been.
    pub oldest: Duration,
    /// Completed orders that analytics does not know of.
    pub untracked: i64,
}

impl Census {
    pub async fn take(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(
            "SELECT count(*) AS pending,
                    COALESCE(extract(epoch FROM now() - min(created_at)), 0)::bigint AS oldest,
                    (SELECT count(*) FROM orders WHERE step = 'completed' AND tracking = 'waiting') AS untracked
             FROM orders WHERE step NOT IN ('completed', 'rejected')",
        );
        let row = row.fetch_one(pool).await?;
        let oldest: i64 = row.try_get("oldest")?;
        Ok(Self {
            pending: row.try_get("pending")?,
            oldest: Duration::from_secs(oldest.max(0).unsigned_abs()),
            untracked: row.try_get("untracked")?,
        })
    }
}
