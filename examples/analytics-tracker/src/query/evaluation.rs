//! What a question means, over events one by one. Pure.

use std::collections::BTreeMap;

use super::{Answer, Key, Query, tally::Tally};
use crate::event::Event;

/// The text of each key; a group of events without the field has none.
type Keys = Vec<Option<String>>;

/// An answer in the making. It keeps at most the question's limit of groups, whatever comes.
pub struct Evaluation<'query> {
    query: &'query Query,
    groups: BTreeMap<Keys, Vec<Tally>>,
    truncated: bool,
    scanned: u64,
}

impl<'query> Evaluation<'query> {
    pub fn new(query: &'query Query) -> Self {
        let mut groups = BTreeMap::new();
        if query.group_by.is_empty() {
            // Everything is one group, and be it of nothing.
            groups.insert(Keys::new(), tallies(query));
        }
        Self { query, groups, truncated: false, scanned: 0 }
    }

    pub fn add(&mut self, event: &Event) {
        if !self.query.concerns(event) {
            return;
        }
        self.scanned += 1;
        let keys: Keys = self.query.group_by.iter().map(|key| key.of(event)).collect();
        if !self.groups.contains_key(&keys) && !self.make_room(&keys) {
            return;
        }
        let tallies = self.groups.entry(keys).or_insert_with(|| tallies(self.query));
        for (aggregate, tally) in self.query.aggregates.iter().zip(tallies) {
            tally.add(aggregate, event);
        }
    }

    /// Whether a group belongs to the first ones; the last one goes for it. What went never comes
    /// back, since the number of groups before it only grows: so every group that stays is whole.
    fn make_room(&mut self, keys: &Keys) -> bool {
        if self.groups.len() < self.query.limit {
            return true;
        }
        self.truncated = true;
        match self.groups.last_entry() {
            Some(last) if last.key() > keys => {
                last.remove();
                true
            }
            _ => false,
        }
    }

    pub fn finish(self) -> Answer {
        let Self { query, groups, truncated, scanned } = self;
        let groups = groups
            .into_iter()
            .map(|(keys, tallies)| query.group(keys, tallies.into_iter().map(Tally::finish).collect()));
        Answer { groups: groups.collect(), truncated, scanned }
    }
}

fn tallies(query: &Query) -> Vec<Tally> {
    query.aggregates.iter().map(|aggregate| Tally::new(aggregate.function)).collect()
}

impl Query {
    /// Whether an event is in the time and passes the filters.
    fn concerns(&self, event: &Event) -> bool {
        event.timestamp >= self.start
            && self.end.is_none_or(|end| event.timestamp < end)
            && self.filters.iter().all(|(field, value)| event.is(field, value))
    }
}

impl Key {
    fn of(&self, event: &Event) -> Option<String> {
        match self {
            Self::Field(field) => event.text(field),
            Self::Period(period) => Some(period.name_of(event.timestamp)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::query::Request;

    fn query(request: Value) -> Query {
        let request: Request = serde_json::from_value(request).unwrap();
        request.check("2026-01-01T00:00:00Z".parse().unwrap()).unwrap()
    }

    fn event(kind: &str, amount: i64) -> Event {
        serde_json::from_value(json!({
            "type": kind, "properties": {"amount": amount}, "timestamp": "2026-01-02T00:00:00Z"
        }))
        .unwrap()
    }

    fn answer(request: Value, events: &[Event]) -> Value {
        let query = query(request);
        let mut evaluation = Evaluation::new(&query);
        events.iter().for_each(|event| evaluation.add(event));
        serde_json::to_value(evaluation.finish()).unwrap()
    }

    #[test]
    fn groups_come_in_the_order_of_their_keys() {
        let events = [event("b", 1), event("a", 2), event("b", 3)];
        let request = json!({
            "group_by": ["type"],
            "aggregates": [{"function": "count"}, {"function": "sum", "field": "properties.amount"}],
        });
        let expected = json!({"scanned": 3, "truncated": false, "groups": [
            {"key": {"type": "a"}, "values": {"count": 1, "sum(properties.amount)": 2}},
            {"key": {"type": "b"}, "values": {"count": 2, "sum(properties.amount)": 4}},
        ]});
        assert_eq!(answer(request, &events), expected);
    }

    #[test]
    fn nothing_is_one_group_of_nothing() {
        let request =
            json!({"aggregates": [{"function": "count"}, {"function": "max", "field": "properties.amount"}]});
        let expected = json!({"scanned": 0, "truncated": false, "groups": [
            {"key": {}, "values": {"count": 0, "max(properties.amount)": null}},
        ]});
        assert_eq!(answer(request, &[]), expected);
        assert_eq!(answer(json!({"group_by": ["type"]}), &[])["groups"], json!([]));
    }

    proptest! {
        #[test]
        fn the_first_groups_are_whole_in_whatever_order_events_come(
            kinds in proptest::collection::vec("[a-h]", 0..60),
            limit in 1usize..10,
        ) {
            let events: Vec<_> = kinds.iter().map(|kind| event(kind, 1)).collect();
            let all = answer(json!({"group_by": ["type"]}), &events);
            let some = answer(json!({"group_by": ["type"], "limit": limit}), &events);
            let all = all["groups"].as_array().unwrap();
            let first: Vec<_> = all.iter().take(limit).cloned().collect();
            prop_assert_eq!(&some["groups"], &json!(first));
            prop_assert_eq!(&some["truncated"], &json!(all.len() > limit));
            prop_assert_eq!(&some["scanned"], &json!(kinds.len()));
        }
    }
}
