//! What is to be done about the webhook's certificates, and when. Pure: the time is an argument.
//!
//! An authority of our own signs a serving certificate. The API server is told of a new authority
//! before anything that it signed is served, and of the old one until that has expired, so that at
//! no time a replica serves what the API server does not trust.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// How long an authority is good for.
pub const AUTHORITY: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long a serving certificate is good for.
pub const SERVING: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How far before it is made a certificate begins: for clocks that are behind.
pub const BACKDATED: SignedDuration = SignedDuration::from_mins(5);
/// How old a new authority is before it signs, while what the old one signed is still good: every
/// API server has heard of it by then.
pub const SETTLED: SignedDuration = SignedDuration::from_mins(15);

/// From when to when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: Timestamp,
    pub until: Timestamp,
}

/// A certificate that signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub subject: String,
    pub validity: Validity,
    pub pem: String,
}

/// The certificate that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The subject of the authority that has signed it.
    pub issuer: String,
    pub names: Vec<String>,
    pub validity: Validity,
}

/// What the Secret holds. What can not be read is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The newest first.
    pub authorities: Vec<Authority>,
    /// Whether the key of the newest authority is there.
    pub signs: bool,
    pub serving: Option<Serving>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a new authority, and keep those that are still good.
    MakeAuthority,
    /// Tell the API server of these authorities.
    Publish(String),
    /// Have the newest authority sign a new serving certificate.
    Sign,
    /// Nothing, until then.
    Wait(Timestamp),
}

impl Validity {
    pub fn holds(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    /// When what is valid so long is made anew: after two thirds.
    fn renewal(&self) -> Timestamp {
        self.from + self.until.duration_since(self.from) * 2 / 3
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.renewal()
    }
}

impl Held {
    /// The authorities that are good, as the API server is told of them.
    pub fn bundle(&self, now: Timestamp) -> String {
        let good = self.authorities.iter().filter(|authority| authority.validity.holds(now));
        good.map(|authority| authority.pem.as_str()).collect()
    }
}

/// What is to be done next, where `published` is what the API server has been told; nothing where
/// there is no webhook configuration to tell it by.
pub fn next(now: Timestamp, held: &Held, published: Option<&str>, name: &str) -> Step {
    let Some(newest) = held.authorities.first().filter(|newest| held.signs && newest.validity.is_fresh(now))
    else {
        return Step::MakeAuthority;
    };
    let bundle = held.bundle(now);
    if published.is_some_and(|published| published != bundle) {
        return Step::Publish(bundle);
    }
    let is_ours = |serving: &&Serving| serving.names.iter().any(|known| known == name);
    let serving = held.serving.as_ref().filter(is_ours);
    let expiries = held.authorities.iter().map(|authority| authority.validity.until);
    let rest = expiries.filter(|until| *until > now).min().unwrap_or(newest.validity.until);
    let Some(serving) = serving else { return Step::Sign };
    if serving.issuer == newest.subject {
        return match serving.validity.is_fresh(now) {
            true => Step::Wait(rest.min(newest.validity.renewal()).min(serving.validity.renewal())),
            false => Step::Sign,
        };
    }
    let trusts = |authority: &Authority| authority.subject == serving.issuer && authority.validity.holds(now);
    let is_good = serving.validity.holds(now) && held.authorities.iter().any(trusts);
    let settled = newest.validity.from + SETTLED;
    if is_good && now < settled { Step::Wait(settled) } else { Step::Sign }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "webhook.forward-system.svc";

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_hours(24 * day)
    }

    fn authority(subject: &str, made: Timestamp) -> Authority {
        let validity = Validity { from: made, until: made + AUTHORITY };
        Authority { subject: subject.to_owned(), validity, pem: format!("{subject}\n") }
    }

    fn serving(issuer: &str, made: Timestamp) -> Option<Serving> {
        let validity = Validity { from: made, until: made + SERVING };
        Some(Serving { issuer: issuer.to_owned(), names: vec![NAME.to_owned()], validity })
    }

    fn held(authorities: &[(&str, i64)], serving: Option<Serving>) -> Held {
        let authorities = authorities.iter().map(|(subject, made)| authority(subject, day(*made))).collect();
        Held { authorities, signs: true, serving }
    }

    #[test]
    fn begins_with_an_authority_that_is_published_and_then_signs() {
        assert_eq!(next(day(0), &Held::default(), Some(""), NAME), Step::MakeAuthority);
        let mut now = held(&[("a", 0)], None);
        assert_eq!(next(day(0), &now, Some(""), NAME), Step::Publish("a\n".to_owned()));
        assert_eq!(next(day(0), &now, Some("a\n"), NAME), Step::Sign);
        // Without a configuration nobody asks, and nobody is to be told.
        assert_eq!(next(day(0), &now, None, NAME), Step::Sign);
        now.serving = serving("a", day(0));
        assert_eq!(next(day(0), &now, Some("a\n"), NAME), Step::Wait(day(20)));
    }

    #[test]
    fn renews_a_serving_certificate_after_two_thirds_of_its_time() {
        let now = held(&[("a", 0)], serving("a", day(100)));
        assert_eq!(next(day(119), &now, Some("a\n"), NAME), Step::Wait(day(120)));
        assert_eq!(next(day(120), &now, Some("a\n"), NAME), Step::Sign);
        assert_eq!(next(day(99), &now, Some("a\n"), NAME), Step::Sign, "not good yet");
    }

    #[test]
    fn serves_what_the_old_authority_signed_until_the_new_one_is_known() {
        let before = held(&[("a", 0)], serving("a", day(240)));
        let renewal = day(0) + AUTHORITY * 2 / 3;
        assert_eq!(next(renewal, &before, Some("a\n"), NAME), Step::MakeAuthority);
        let mut now = before;
        now.authorities.insert(0, authority("b", renewal));
        assert_eq!(next(renewal, &now, Some("a\n"), NAME), Step::Publish("b\na\n".to_owned()));
        let settled = renewal + SETTLED;
        assert_eq!(next(renewal, &now, Some("b\na\n"), NAME), Step::Wait(settled));
        assert_eq!(next(settled, &now, Some("b\na\n"), NAME), Step::Sign);
        now.serving = serving("b", settled);
        assert_eq!(next(settled, &now, Some("b\na\n"), NAME), Step::Wait(settled + SERVING * 2 / 3));
        // The old one goes when it has expired, and not before.
        now.serving = serving("b", day(360));
        assert_eq!(next(day(364), &now, Some("b\na\n"), NAME), Step::Wait(day(365)));
        assert_eq!(next(day(365), &now, Some("b\na\n"), NAME), Step::Publish("b\n".to_owned()));
    }

    #[test]
    fn does_not_wait_where_nothing_good_is_served() {
        let made = day(0);
        for serving in [None, serving("a", day(-40)), serving("unknown", made)] {
            let now = held(&[("b", 0), ("a", -200)], serving);
            assert_eq!(next(made, &now, Some("b\na\n"), NAME), Step::Sign, "{now:?}");
        }
        let now = held(&[("a", 0)], serving("a", made));
        assert_eq!(next(made, &now, Some("a\n"), "another.name.svc"), Step::Sign);
    }

    #[test]
    fn puts_right_what_somebody_has_changed() {
        let mut now = held(&[("a", 0)], serving("a", day(0)));
        for published in ["", "b\na\n"] {
            assert_eq!(next(day(1), &now, Some(published), NAME), Step::Publish("a\n".to_owned()));
        }
        now.signs = false;
        assert_eq!(next(day(1), &now, Some("a\n"), NAME), Step::MakeAuthority);
    }
}
