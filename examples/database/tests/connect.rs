//! The connection, against a real PostgreSQL.

use example_database::{bounded, connect, is_transient, latency, problem};
use example_testing::Postgres;

const TABLES: &str = "CREATE TABLE IF NOT EXISTS notes (id bigserial PRIMARY KEY, text text NOT NULL);
                      CREATE INDEX IF NOT EXISTS notes_by_text ON notes (text);";

#[tokio::test]
async fn many_that_start_at_once_make_the_tables_once() {
    let url = Postgres::shared().database("at_once");
    let connected = futures::future::join_all((0..8).map(|_| connect(&url, "notes", TABLES))).await;
    for pool in connected {
        let added = sqlx::query("INSERT INTO notes (text) VALUES ('a')").execute(&pool.unwrap()).await;
        assert_eq!(added.unwrap().rows_affected(), 1);
    }
}

#[tokio::test]
async fn each_schema_has_tables_of_its_own() {
    let url = Postgres::shared().database("schemas");
    let one = connect(&url, "one", TABLES).await.unwrap();
    let other = connect(&url, "other", TABLES).await.unwrap();
    sqlx::query("INSERT INTO notes (text) VALUES ('a')").execute(&one).await.unwrap();
    let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM notes").fetch_one(&other).await.unwrap();
    assert_eq!(count, 0);
}

#[tokio::test]
async fn says_what_is_wrong_and_never_the_password() {
    let nonsense = connect("mysql://u:secret@host/db", "one", TABLES).await.unwrap_err().to_string();
    assert!(nonsense.starts_with("/database_url is not") && !nonsense.contains("secret"), "{nonsense}");
    let absent = Postgres::shared().database("exists").replace("/exists", "/absent");
    let refused = connect(&absent, "one", TABLES).await.unwrap_err();
    assert!(refused.to_string().starts_with("connect to the database at \"127.0.0.1:"), "{refused}");
}

#[tokio::test]
async fn a_database_that_goes_and_comes_back_is_only_away() {
    let postgres = Postgres::start();
    let url = postgres.database("away");
    let pool = connect(&url, "one", TABLES).await.unwrap();
    latency(&pool).await.unwrap();
    postgres.stop();
    assert!(latency(&pool).await.is_err());
    let error = bounded(sqlx::query("SELECT 1").execute(&pool)).await.unwrap_err();
    assert!(is_transient(&error), "{error:?}");
    assert_eq!(problem(&error).status(), 503);
    // Whoever starts while it is away waits for it.
    let waiting = tokio::spawn(async move { connect(&url, "other", TABLES).await.map(drop) });
    let postgres = tokio::task::spawn_blocking(move || {
        postgres.start_again();
        postgres
    });
    let _postgres = postgres.await.unwrap();
    waiting.await.unwrap().unwrap();
    latency(&pool).await.unwrap();
}
