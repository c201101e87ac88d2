//! A reservation, and what may become of it. Nothing here knows of a database: what is decided
//! here is decided about a reservation that nobody else changes meanwhile.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    faults::Faults,
    item::is_identifier,
    lines::{Line, Lines, Wanted},
};

/// The longest time that a reservation may last.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest id, in bytes.
const LONGEST_ID: usize = 100;

/// What a reservation is called by; whoever reserves chooses it. 1 to 100 of `A-Z a-z 0-9 _ . -`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ReservationId(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It holds its items.
    Active,
    /// Its items are gone from the stock.
    Committed,
    /// It was given back.
    Released,
    /// Its time was over before anything else became of it.
    Expired,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reservation {
    pub id: String,
    pub status: Status,
    /// In the order of their SKUs.
    pub items: Vec<Line>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Its place among all of them, the oldest first.
    #[serde(skip)]
    pub serial: i64,
}

/// The body that reserves.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reserve {
    id: String,
    items: Vec<Wanted>,
    ttl_seconds: Option<i64>,
}

/// What somebody wants to reserve.
#[derive(Debug)]
pub struct Wish {
    pub id: ReservationId,
    pub lines: Lines,
    pub ttl: Duration,
}

/// How a reservation can be ended on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Commit,
    Release,
}

/// What a request to end a reservation comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Become(Status),
    /// It is what it should become, or as good as that.
    Stay,
}

/// Why a request is refused, because of what the reservation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Differs,
    Committed,
    Released,
    Expired,
}

impl ReservationId {
    /// Told to whoever sent something else.
    pub const RULE: &str = "must be 1 to 100 characters, letters, digits, '_', '.' and '-'";

    pub fn parse(text: &str) -> Option<Self> {
        is_identifier(text, LONGEST_ID).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Reserve {
    /// The wish, if all of it is as it should be; `ttl` is for one that does not say.
    pub fn check(self, ttl: Duration) -> Result<Wish, Faults> {
        let Self { id, items, ttl_seconds } = self;
        let mut faults = Faults::default();
        let id = ReservationId::parse(&id).or_else(|| {
            faults.add("/id", ReservationId::RULE);
            None
        });
        let lines = Lines::check(items, &mut faults);
        if let Some(seconds) = ttl_seconds {
            let longest = i64::try_from(LONGEST.as_secs()).expect("a day has few seconds");
            faults.bound("/ttl_seconds", seconds, 1, longest);
        }
        let ttl =
            ttl_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(ttl, Duration::from_secs);
        match id {
            Some(id) => faults.none_or(Wish { id, lines, ttl }),
            None => Err(faults),
        }
    }
}

impl Status {
    pub const ALL: [Self; 4] = [Self::Active, Self::Committed, Self::Released, Self::Expired];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl Reservation {
    /// Whether a wish for the same id is this reservation, asked for once more.
    pub fn decide_again(&self, lines: &Lines) -> Result<(), Refusal> {
        match self.status {
            Status::Released => Err(Refusal::Released),
            Status::Expired => Err(Refusal::Expired),
            Status::Active | Status::Committed if self.items == lines.sorted() => Ok(()),
            Status::Active | Status::Committed => Err(Refusal::Differs),
        }
    }
}

impl End {
    /// What it comes to for a reservation of this status.
    pub fn decide(self, status: Status) -> Result<Step, Refusal> {
        match (self, status) {
            (Self::Commit, Status::Active) => Ok(Step::Become(Status::Committed)),
            (Self::Commit, Status::Committed) => Ok(Step::Stay),
            (Self::Commit, Status::Released) => Err(Refusal::Released),
            (Self::Commit, Status::Expired) => Err(Refusal::Expired),
            (Self::Release, Status::Active) => Ok(Step::Become(Status::Released)),
            (Self::Release, Status::Released | Status::Expired) => Ok(Step::Stay),
            (Self::Release, Status::Committed) => Err(Refusal::Committed),
        }
    }
}

impl Refusal {
    /// The word that programs tell it by.
    pub fn code(self) -> &'static str {
        match self {
            Self::Differs => "reservation_differs",
            Self::Committed => "reservation_committed",
            Self::Released => "reservation_released",
            Self::Expired => "reservation_expired",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Differs => "there is a reservation with this id that has other items",
            Self::Committed => "the reservation has been committed",
            Self::Released => "the reservation has been released",
            Self::Expired => "the reservation's time is over",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(body: Value) -> Result<Wish, String> {
        let body: Reserve = serde_json::from_value(body).unwrap();
        body.check(Duration::from_secs(9)).map_err(|faults| faults.to_string())
    }

    fn wish(items: Value) -> Wish {
        check(json!({"id": "r", "items": items})).unwrap()
    }

    fn reservation(status: Status, items: Value) -> Reservation {
        let items = wish(items).lines.sorted();
        let (created_at, expires_at) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        Reservation { id: "r".to_owned(), status, items, created_at, expires_at, serial: 1 }
    }

    #[test]
    fn a_wish_lasts_as_long_as_it_says_or_as_is_usual() {
        let items = json!([{"sku": "a", "quantity": 1}]);
        assert_eq!(wish(items.clone()).ttl, Duration::from_secs(9));
        let said = check(json!({"id": "r", "items": items, "ttl_seconds": 60})).unwrap();
        assert_eq!(said.ttl, Duration::from_secs(60));
    }

    #[test]
    fn names_everything_that_is_wrong_with_a_wish() {
        let expected = [
            "/id: must be 1 to 100 characters, letters, digits, '_', '.' and '-'",
            "/items: must be 1 to 100 items",
            "/ttl_seconds: must be from 1 to 86400",
        ];
        let body = json!({"id": "a/b", "items": [], "ttl_seconds": -1});
        assert_eq!(check(body).unwrap_err(), expected.join("; "));
    }

    #[test]
    fn the_same_wish_again_is_the_reservation_in_any_order_of_items() {
        let [a, b] = ["a", "b"].map(|sku| json!({"sku": sku, "quantity": 1}));
        let (there, same, other) = (json!([a, b]), wish(json!([b, a])), wish(json!([a])));
        let decide = |status, wish: &Wish| reservation(status, there.clone()).decide_again(&wish.lines);
        for status in [Status::Active, Status::Committed] {
            assert_eq!(decide(status, &same), Ok(()));
            assert_eq!(decide(status, &other), Err(Refusal::Differs));
        }
        assert_eq!(decide(Status::Released, &same), Err(Refusal::Released));
        assert_eq!(decide(Status::Expired, &other), Err(Refusal::Expired));
    }

    #[test]
    fn what_has_ended_does_not_end_otherwise() {
        let table = [
            (Status::Active, Ok(Step::Become(Status::Committed)), Ok(Step::Become(Status::Released))),
            (Status::Committed, Ok(Step::Stay), Err(Refusal::Committed)),
            (Status::Released, Err(Refusal::Released), Ok(Step::Stay)),
            (Status::Expired, Err(Refusal::Expired), Ok(Step::Stay)),
        ];
        for (status, commit, release) in table {
            assert_eq!(End::Commit.decide(status), commit, "{status:?}");
            assert_eq!(End::Release.decide(status), release, "{status:?}");
        }
    }

    #[test]
    fn statuses_are_read_as_they_are_written() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
            assert_eq!(json!(status), json!(status.as_str()));
        }
        assert_eq!(Status::parse("gone"), None);
    }
}
