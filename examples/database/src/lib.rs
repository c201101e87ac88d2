//! The connection of an example to its schema in PostgreSQL, and the pages of its lists.
//!
//! Owns how one connects, waits for a database that is still coming up, and makes the tables.
//! Refuses to own any table: those stand with the plugin that has them. Invariant: several pods
//! that start at the same time make the tables once.

mod page;

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use forward_sdk::{
    Problem,
    axum::http::{HeaderValue, StatusCode, header},
    tracing,
};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

pub use page::{Limit, Page};

/// How long a database that cannot be reached is waited for: less than a plugin has to initialize.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a request waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How long one statement may take, in the words of PostgreSQL.
const STATEMENT: &str = "10s";
/// How long a transaction may do nothing while it holds locks, in the words of PostgreSQL.
const IDLE_IN_TRANSACTION: &str = "10s";
/// The connections of one pod at most.
const CONNECTIONS: u32 = 10;
/// How long a request's work in the database may take.
const WORK: Duration = Duration::from_secs(5);
/// How long the question of [`answers`] may take.
const ANSWER: Duration = Duration::from_secs(1);
/// The advisory lock under which tables are made: any number that is ours.
const TABLES: i64 = 0x666f_7277_6172_6400;

/// Why there is no connection. The URL is not told, as it holds a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It is not the URL of a PostgreSQL database.
    #[error(
        "/database_url is not the URL of a PostgreSQL database, such as postgres://user:password@host/name"
    )]
    ReadUrl,
    /// Nobody answers there, or not to us.
    #[error("connect to the database at \"{host}\"")]
    Reach {
        /// Where it should be, `host:port`.
        host: String,
        /// What went wrong last.
        source: sqlx::Error,
    },
    /// The tables could not be made.
    #[error("make the tables in the schema \"{schema}\"")]
    MakeTables {
        /// The schema.
        schema: String,
        /// What went wrong.
        source: sqlx::Error,
    },
}

/// Connects to the database, makes the schema and, in it, the tables: `tables` are statements that
/// may be run again (`CREATE TABLE IF NOT EXISTS`). The connections see the schema's tables by
/// their plain names.
///
/// # Errors
/// When the database cannot be reached for 20 s, or refuses the statements.
pub async fn connect(url: &str, schema: &'static str, tables: &'static str) -> Result<PgPool, ConnectError> {
    // sqlx does not look at the scheme.
    let is_ours = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
    let options = PgConnectOptions::from_str(url).ok().filter(|_| is_ours).ok_or(ConnectError::ReadUrl)?;
    let options = options
        .application_name(schema)
        .options([
            ("search_path", schema),
            ("statement_timeout", STATEMENT),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
        ])
        .disable_statement_logging();
    let mut connection = await_database(&options).await?;
    let made = make_tables(&mut connection, schema, tables).await;
    made.map_err(|source| ConnectError::MakeTables { schema: schema.to_owned(), source })?;
    drop(connection.close().await);
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE);
    Ok(pool.connect_lazy_with(options))
}

/// Work with the database, for no longer than a request may wait: a database that went without a
/// word would hold it for minutes.
///
/// # Errors
/// Those of the work, and [`sqlx::Error::PoolTimedOut`] when it takes too long.
pub async fn bounded<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(WORK, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Asks the database, for as long as a request may wait.
///
/// # Errors
/// Why it did not answer, as an answer.
pub async fn ask<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Problem> {
    bounded(work).await.map_err(|error| problem(&error))
}

/// How long the database takes to answer, for a plugin's health. Asks it, and waits a second at
/// most.
///
/// # Errors
/// When it does not answer.
pub async fn latency(pool: &PgPool) -> Result<Duration, sqlx::Error> {
    let begin = Instant::now();
    let question = sqlx::query("SELECT 1").execute(pool);
    tokio::time::timeout(ANSWER, question).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    Ok(begin.elapsed())
}

/// Whether the database is to blame and may be better in a moment: it cannot be reached, is
/// restarting, or let two transactions collide.
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_) => true,
        // Classes of SQLSTATE: connection, rollback by collision, resources, an operator's doing.
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class))),
        _ => false,
    }
}

/// The answer to a request that the database kept from being answered: 503 where it may be better
/// in a moment, else 500. What went wrong is for the log.
pub fn problem(error: &sqlx::Error) -> Problem {
    if is_transient(error) {
        tracing::warn!(%error, "the database did not answer");
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer; try again")
            .code("database_unavailable")
            .header(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    tracing::error!(%error, "the database refused a statement");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the plugin failed to answer")
}

/// Connects, again and again while nobody is there.
async fn await_database(options: &PgConnectOptions) -> Result<PgConnection, ConnectError> {
    let begin = Instant::now();
    loop {
        let tried = tokio::time::timeout(ACQUIRE, options.connect()).await;
        match tried.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            Ok(connection) => return Ok(connection),
            Err(source) if is_transient(&source) && begin.elapsed() < PATIENCE => {
                tracing::info!(error = %source, "waiting for the database");
                tokio::time::sleep(PAUSE).await;
            }
            Err(source) => {
                let host = format!("{}:{}", options.get_host(), options.get_port());
                return Err(ConnectError::Reach { host, source });
            }
        }
    }
}

/// Under a lock: `IF NOT EXISTS` does not keep two that start together from colliding.
async fn make_tables(
    connection: &mut PgConnection,
    schema: &'static str,
    tables: &'static str,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(TABLES).execute(&mut *transaction).await?;
    let make = format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\"; {tables}");
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut *transaction).await?;
    transaction.commit().await
}
