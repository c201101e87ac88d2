//! Which events are kept when not all are. Pure.

use uuid::Uuid;

use crate::event::Event;

/// The space of the names that are hashed here.
const SPACE: Uuid = Uuid::from_u128(0x8c1d_5a52_7e0f_4b0b_9a55_1d6f_0c54_32e7);

/// Whether an event belongs to the sample. A user's events are all in it or all out of it, in every
/// pod and after every restart; without a user that holds for the session, and without a session
/// for the event's id. `chance` decides on an event that has none of them.
pub fn is_sampled(event: &Event, rate: f64, chance: Uuid) -> bool {
    let key = event.user_id.as_ref().or(event.session_id.as_ref()).or(event.id.as_ref());
    let hash = key.map_or(chance, |key| Uuid::new_v5(&SPACE, key.as_bytes()));
    share(hash) < rate
}

/// A number from 0 to 1 (excluded). The first 48 bits of a UUID have no version in them.
fn share(hash: Uuid) -> f64 {
    (hash.as_u128() >> 80) as f64 / 2f64.powi(48)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event(user: Option<&str>, session: Option<&str>, id: Option<&str>) -> Event {
        serde_json::from_value(json!({
            "id": id, "type": "a", "user_id": user, "session_id": session, "timestamp": "2026-01-01T00:00:00Z"
        }))
        .unwrap()
    }

    #[test]
    fn the_rate_is_the_share_of_users() {
        let users = (0..40_000).map(|i| event(Some(&i.to_string()), None, None));
        let kept = users.filter(|event| is_sampled(event, 0.25, Uuid::nil())).count();
        assert!((9_600..10_400).contains(&kept), "{kept}");
    }

    #[test]
    fn nobody_and_everybody() {
        for i in 0..1_000 {
            let event = event(Some(&i.to_string()), None, None);
            assert!(is_sampled(&event, 1.0, Uuid::nil()) && !is_sampled(&event, 0.0, Uuid::nil()));
        }
    }

    #[test]
    fn chance_decides_on_the_nameless_alone() {
        let (low, high) = (Uuid::nil(), Uuid::max());
        assert!(is_sampled(&event(None, None, None), 0.5, low));
        assert!(!is_sampled(&event(None, None, None), 0.5, high));
        let named = event(None, None, Some("e"));
        assert_eq!(is_sampled(&named, 0.5, low), is_sampled(&named, 0.5, high));
    }

    proptest! {
        #[test]
        fn a_user_is_in_or_out_whole(user in ".+", session in ".+", id in ".+", rate in 0.0..=1.0) {
            let alone = is_sampled(&event(Some(&user), None, None), rate, Uuid::nil());
            prop_assert_eq!(is_sampled(&event(Some(&user), Some(&session), Some(&id)), rate, Uuid::max()), alone);
        }

        #[test]
        fn a_higher_rate_keeps_whoever_a_lower_one_kept(user in ".+", rate in 0.0..=1.0, more in 0.0..=1.0) {
            let event = event(Some(&user), None, None);
            let kept = is_sampled(&event, rate, Uuid::nil());
            prop_assert!(!kept || is_sampled(&event, f64::max(rate, more), Uuid::nil()));
        }
    }
}
