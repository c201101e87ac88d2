//! Lists, a page at a time: each page begins after the last element of the one before, so that what
//! comes and goes in between moves nothing.

use serde::Serialize;

/// The elements of a page when nobody says how many.
const USUAL: i64 = 50;

/// How many elements a page has at most; from 1 to [`MOST`](Self::MOST).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(i64);

/// Elements of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The elements.
    pub items: Vec<T>,
    /// What to ask for, to have those after them; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Limit {
    /// The elements that a page can have.
    pub const MOST: i64 = 200;

    /// The limit that was asked for, 50 if none was; `None` where it is out of bounds.
    pub fn new(asked: Option<i64>) -> Option<Self> {
        let limit = asked.unwrap_or(USUAL);
        (1..=Self::MOST).contains(&limit).then_some(Self(limit))
    }

    /// How many rows to fetch: one more than the page has tells whether there is another page.
    pub fn fetch(self) -> i64 {
        self.0 + 1
    }

    /// The page of what was fetched; `cursor` is what an element is told by.
    pub fn page<T>(self, mut fetched: Vec<T>, cursor: impl Fn(&T) -> String) -> Page<T> {
        let limit = usize::try_from(self.0).expect("a limit is from 1 to 200");
        let more = fetched.len() > limit;
        fetched.truncate(limit);
        let next = fetched.last().filter(|_| more).map(cursor);
        Page { items: fetched, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded() {
        assert_eq!(Limit::new(None), Some(Limit(50)));
        assert_eq!(Limit::new(Some(200)), Some(Limit(200)));
        for wrong in [0, 201, -1, i64::MIN, i64::MAX] {
            assert_eq!(Limit::new(Some(wrong)), None);
        }
    }

    #[test]
    fn a_page_points_to_the_next_one_if_there_is_one() {
        let limit = Limit(2);
        assert_eq!(limit.fetch(), 3);
        let page = limit.page(vec![1, 2, 3], i32::to_string);
        assert_eq!((page.items, page.next.as_deref()), (vec![1, 2], Some("2")));
        let last = limit.page(vec![1, 2], i32::to_string);
        assert_eq!((last.items, last.next), (vec![1, 2], None));
    }
}
