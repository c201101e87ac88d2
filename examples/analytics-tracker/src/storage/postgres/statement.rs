//! A question as one statement of SQL, and its answer. Pure.
//!
//! The inner part picks the events and what is asked of them, one column (`k0`, …) for each key and
//! one (`v0`, …) for each aggregate; the outer part groups. Everything that comes from outside is bound.

use jiff_sqlx::ToSqlx;
use serde_json::Value;
use sqlx::{Postgres, QueryBuilder, Row, postgres::PgRow};

use crate::{
    event::{Field, plain_float},
    query::{Aggregate, Answer, Function, Group, Key, Period, Query},
};

type Builder = QueryBuilder<Postgres>;

pub fn build(query: &Query) -> Builder {
    let mut sql = Builder::new("SELECT count(*), (sum(count(*)) OVER ())::bigint");
    for key in 0..query.group_by.len() {
        sql.push(format!(", k{key}"));
    }
    for (column, aggregate) in query.aggregates.iter().enumerate() {
        sql.push(", ");
        push_aggregate(&mut sql, column, aggregate);
    }
    sql.push(" FROM (SELECT true");
    for (column, key) in query.group_by.iter().enumerate() {
        sql.push(", ");
        push_key(&mut sql, key);
        sql.push(format!(" COLLATE \"C\" AS k{column}"));
    }
    for (column, aggregate) in query.aggregates.iter().enumerate() {
        if let Some(field) = &aggregate.field {
            sql.push(", ");
            match aggregate.function {
                Function::Count | Function::Distinct => push_text(&mut sql, field),
                _ => push_number(&mut sql, field),
            }
            sql.push(format!(" AS v{column}"));
        }
    }
    sql.push(" FROM events WHERE ");
    push_condition(&mut sql, query);
    sql.push(") AS event");
    push_groups(&mut sql, query);
    sql
}

/// In the order of a list of optional strings: nothing first, then byte by byte. One group more
/// than the limit tells that there are more.
fn push_groups(sql: &mut Builder, query: &Query) {
    let list = |suffix: &str| {
        let columns = (0..query.group_by.len()).map(|key| format!("k{key}{suffix}"));
        columns.collect::<Vec<_>>().join(", ")
    };
    if !query.group_by.is_empty() {
        sql.push(format!(" GROUP BY {} ORDER BY {} LIMIT ", list(""), list(" NULLS FIRST")));
        sql.push_bind(i64::try_from(query.limit + 1).unwrap_or(i64::MAX));
    }
}

fn push_condition(sql: &mut Builder, query: &Query) {
    sql.push("occurred_at >= ").push_bind(query.start.to_sqlx());
    if let Some(end) = query.end {
        sql.push(" AND occurred_at < ").push_bind(end.to_sqlx());
    }
    for (field, value) in &query.filters {
        sql.push(" AND ");
        push_filter(sql, field, value);
    }
}

fn push_filter(sql: &mut Builder, field: &Field, value: &Value) {
    match (column(field), value) {
        (Ok(column), Value::Null) => sql.push(format!("{column} IS NULL")),
        (Ok(column), Value::String(text)) => sql.push(format!("{column} = ")).push_bind(text.clone()),
        // No number is a text.
        (Ok(_), _) => sql.push("false"),
        (Err(name), value) => {
            sql.push("coalesce(properties -> ").push_bind(name.to_owned());
            sql.push(", 'null') = ").push_bind(value.clone())
        }
    };
}

fn push_key(sql: &mut Builder, key: &Key) {
    let period = match key {
        Key::Field(field) => return push_text(sql, field),
        Key::Period(Period::Minute) => "minute",
        Key::Period(Period::Hour) => "hour",
        Key::Period(Period::Day) => "day",
    };
    let first = format!("date_trunc('{period}', occurred_at AT TIME ZONE 'UTC')");
    sql.push(format!("to_char({first}, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"));
}

fn push_text(sql: &mut Builder, field: &Field) {
    match column(field) {
        Ok(column) => sql.push(column),
        Err(name) => push_property(sql, name, "IN ('string', 'number', 'boolean')", ""),
    };
}

fn push_number(sql: &mut Builder, field: &Field) {
    match column(field) {
        Ok(_) => sql.push("NULL::float8"),
        Err(name) => push_property(sql, name, "= 'number'", "::float8"),
    };
}

/// A property, where it is of the right kind.
fn push_property<'sql>(sql: &'sql mut Builder, name: &str, kind: &str, cast: &str) -> &'sql mut Builder {
    sql.push("(CASE WHEN jsonb_typeof(properties -> ").push_bind(name.to_owned());
    sql.push(format!(") {kind} THEN (properties ->> ")).push_bind(name.to_owned());
    sql.push(format!("){cast} END)"))
}

/// The column of a field, or the name of a property.
fn column(field: &Field) -> Result<&'static str, &str> {
    match field {
        Field::Type => Ok("type"),
        Field::User => Ok("user_id"),
        Field::Session => Ok("session_id"),
        Field::Property(name) => Err(name),
    }
}

fn push_aggregate(sql: &mut Builder, column: usize, aggregate: &Aggregate) {
    match aggregate.function {
        Function::Count if aggregate.field.is_none() => sql.push("count(*)"),
        Function::Count => sql.push(format!("count(v{column})")),
        Function::Distinct => sql.push(format!("count(DISTINCT v{column})")),
        Function::Sum => sql.push(format!("sum(v{column})")),
        Function::Avg => sql.push(format!("avg(v{column})")),
        Function::Min => sql.push(format!("min(v{column})")),
        Function::Max => sql.push(format!("max(v{column})")),
        Function::Percentile(share) => {
            sql.push("percentile_cont(").push_bind(share);
            sql.push(format!(") WITHIN GROUP (ORDER BY v{column})"))
        }
    };
}

pub fn read(query: &Query, rows: &[PgRow]) -> Result<Answer, sqlx::Error> {
    let scanned = rows.first().map_or(Ok(0), |row| row.try_get::<i64, _>(1))?;
    let groups = rows.iter().take(query.limit).map(|row| read_group(query, row));
    Ok(Answer {
        groups: groups.collect::<Result<_, _>>()?,
        truncated: rows.len() > query.limit,
        scanned: scanned.unsigned_abs(),
    })
}

fn read_group(query: &Query, row: &PgRow) -> Result<Group, sqlx::Error> {
    let keys = 2..2 + query.group_by.len();
    let values = (keys.end..).zip(&query.aggregates).map(|(column, aggregate)| match aggregate.function {
        Function::Count | Function::Distinct => row.try_get::<i64, _>(column).map(Value::from),
        _ => {
            let number = row.try_get::<Option<f64>, _>(column)?;
            Ok(number.and_then(plain_float).map_or(Value::Null, Value::Number))
        }
    });
    let values = values.collect::<Result<_, sqlx::Error>>()?;
    Ok(query.group(keys.map(|column| row.try_get(column)).collect::<Result<_, _>>()?, values))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::Request;

    #[test]
    fn nothing_from_outside_becomes_sql() {
        let evil = "x'; DROP TABLE events; --";
        let request: Request = serde_json::from_value(json!({
            "event_type": evil,
            "group_by": [format!("properties.{evil}")],
            "filters": {format!("properties.{evil}"): evil, "user_id": null},
            "aggregates": [{"function": "p50", "field": format!("properties.{evil}")}],
        }))
        .unwrap();
        let statement = build(&request.check("2026-01-01T00:00:00Z".parse().unwrap()).unwrap());
        let sql = statement.sql();
        assert!(!format!("{sql:?}").contains("DROP"), "{sql:?}");
    }
}
