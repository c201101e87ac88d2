//! How many requests may come in which time: a token bucket for each key, shared by all threads.
//!
//! A bucket is one number, the time at which it will be full again (GCRA); one that is full is
//! forgotten. Replicas share a limit out evenly and do not talk: with `n` of them each refills its
//! buckets an `n`-th as fast and fills them an `n`-th as high, rounded up. So all together let
//! through, in any time `t`, at most `burst + n - 1` requests and those that `t` refills.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::{LazyLock, Mutex, PoisonError},
    time::Instant,
};

use forward_plan::middleware::RateLimit;
use http::{HeaderMap, HeaderName, HeaderValue};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// How many parts the buckets are kept in, each under a lock of its own.
const SHARDS: usize = 64;
/// How many buckets a part may hold: with all of them, 65,536 clients that have asked lately. Others
/// have one bucket together until there is room, so that who comes from everywhere gains nothing.
const PLACES: usize = 1024;
/// The key of those for whom there is no room.
const REST: u64 = 0;
const SECOND: u64 = 1_000_000_000;

/// What time is counted from.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The counters of one limit.
#[derive(Debug)]
pub struct Limiter {
    policy: RateLimit,
    announced: HeaderValue,
    name: String,
    /// Secret, so that nobody can choose keys that meet in one bucket.
    hasher: RandomState,
    /// By the hash of the key, when the bucket will be full again, in nanoseconds.
    shards: Vec<Mutex<HashMap<u64, u64>>>,
}

/// What a client may still ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    /// After how many seconds to try again; `None` for a request that is let through.
    pub retry_after: Option<u64>,
    policy: HeaderValue,
    state: HeaderValue,
}

/// What became of a request, in the numbers of its bucket.
#[derive(Debug, PartialEq)]
struct Taken {
    /// Nanoseconds until there is a token; 0 where there was one.
    wait: u64,
    remaining: u64,
    /// Nanoseconds until the bucket is full.
    full: u64,
}

impl Limiter {
    /// Nobody has asked yet. The name is for the headers.
    pub fn new(name: &str, policy: RateLimit) -> Self {
        let seconds = policy.per().as_secs();
        let window = if policy.per().subsec_nanos() == 0 { format!(";w={seconds}") } else { String::new() };
        let announced = format!("\"{name}\";q={}{window}", policy.requests());
        Self {
            announced: HeaderValue::try_from(announced).unwrap_or_else(|_| HeaderValue::from_static("")),
            name: name.to_owned(),
            policy,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    pub fn policy(&self) -> &RateLimit {
        &self.policy
    }

    /// Take a token for a key, where this many replicas share the limit.
    pub fn take(&self, key: impl Hash, replicas: u32) -> Quota {
        let now = u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or(u64::MAX / 2);
        let Taken { wait, remaining, full } = self.take_at(key, replicas, now);
        let state = format!("\"{}\";r={remaining};t={}", self.name, full.div_ceil(SECOND));
        Quota {
            retry_after: (wait > 0).then(|| wait.div_ceil(SECOND)),
            policy: self.announced.clone(),
            state: HeaderValue::try_from(state).unwrap_or_else(|_| HeaderValue::from_static("")),
        }
    }

    fn take_at(&self, key: impl Hash, replicas: u32, now: u64) -> Taken {
        let hash = self.hasher.hash_one(key).max(REST + 1);
        let shard = &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()];
        let mut buckets = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let key = if buckets.contains_key(&hash) || has_room(&mut buckets, now) { hash } else { REST };
        let full_at = buckets.get(&key).copied().unwrap_or_default().max(now);
        let (interval, depth) = self.share(replicas);
        let after = full_at + interval;
        if after - now > depth {
            return Taken { wait: after - now - depth, remaining: 0, full: full_at - now };
        }
        buckets.insert(key, after);
        Taken { wait: 0, remaining: (depth - (after - now)) / interval, full: after - now }
    }

    /// The time for one token and the time for a whole bucket, in nanoseconds.
    fn share(&self, replicas: u32) -> (u64, u64) {
        let replicas = u64::from(replicas.max(1));
        let per = u64::try_from(self.policy.per().as_nanos()).unwrap_or(u64::MAX / 2);
        // Rounded up: rather a token too late than one too many.
        let interval = per.saturating_mul(replicas).div_ceil(self.policy.requests().into());
        let tokens = u64::from(self.policy.burst()).div_ceil(replicas);
        (interval, interval.saturating_mul(tokens))
    }
}

/// Make room for another bucket, if there can be.
fn has_room(buckets: &mut HashMap<u64, u64>, now: u64) -> bool {
    if buckets.len() >= PLACES {
        buckets.retain(|_, full_at| *full_at > now);
    }
    buckets.len() < PLACES
}

impl Quota {
    /// Tell the client (draft-ietf-httpapi-ratelimit-headers-10). Several limits make a list.
    pub fn tell(&self, headers: &mut HeaderMap) {
        headers.append(RATE_LIMIT_POLICY, self.policy.clone());
        headers.append(RATE_LIMIT, self.state.clone());
    }
}

#[cfg(test)]
mod tests {
    use forward_plan::middleware::{Chain, Step};
    use serde_json::json;

    use super::*;

    const MILLI: u64 = SECOND / 1000;

    fn limiter(requests: i64, per: &str, burst: i64) -> Limiter {
        let entry = json!({"name": "l", "rateLimit": {"requests": requests, "per": per, "burst": burst}});
        let chain = Chain::new(&[], &[serde_json::from_value(entry).unwrap()], &[]);
        let mut steps = chain.steps();
        match steps.next().unwrap() {
            Ok(Step::RateLimit(policy)) => Limiter::new("l", policy.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// How many of these requests are let through.
    fn passed(limiter: &Limiter, replicas: u32, times: impl IntoIterator<Item = u64>) -> usize {
        times.into_iter().filter(|now| limiter.take_at("key", replicas, *now).wait == 0).count()
    }

    #[test]
    fn lets_a_burst_through_and_then_what_time_refills() {
        let limiter = limiter(10, "1s", 4);
        assert_eq!(passed(&limiter, 1, [0; 9]), 4);
        assert_eq!(passed(&limiter, 1, [99 * MILLI; 3]), 0);
        assert_eq!(passed(&limiter, 1, [100 * MILLI; 3]), 1);
        assert_eq!(passed(&limiter, 1, [10 * SECOND; 9]), 4, "it does not fill up beyond the burst");
    }

    #[test]
    fn tells_how_long_to_wait_and_what_is_left() {
        let limiter = limiter(2, "10s", 2);
        let taken = |wait, remaining, full| Taken { wait, remaining, full };
        assert_eq!(limiter.take_at(1, 1, 0), taken(0, 1, 5 * SECOND));
        assert_eq!(limiter.take_at(1, 1, 0), taken(0, 0, 10 * SECOND));
        assert_eq!(limiter.take_at(1, 1, SECOND), taken(4 * SECOND, 0, 9 * SECOND));
        assert_eq!(limiter.take_at(2, 1, SECOND).wait, 0, "another key has a bucket of its own");
    }

    #[test]
    fn replicas_together_keep_to_the_limit() {
        for replicas in [1, 2, 3, 7] {
            let all = (0..replicas).map(|_| limiter(100, "1s", 10)).collect::<Vec<_>>();
            let times = (0..2_000).map(|n| n * MILLI).collect::<Vec<_>>();
            let sum = all.iter().map(|one| passed(one, replicas, times.iter().copied())).sum::<usize>();
            let bound = 10 + (replicas as usize - 1) + 200;
            assert!(sum <= bound, "{sum} of at most {bound} with {replicas}");
            assert!(sum >= 200, "{sum} with {replicas}");
        }
    }

    #[test]
    fn holds_over_threads() {
        let limiter = limiter(1000, "24h", 1000);
        let passed = std::thread::scope(|scope| {
            let threads = (0..4).map(|_| scope.spawn(|| passed(&limiter, 1, [0; 1000]))).collect::<Vec<_>>();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(passed, 1000);
    }

    #[test]
    fn who_comes_from_everywhere_gets_one_bucket_and_takes_no_room_for_ever() {
        let limiter = limiter(1, "1s", 1);
        let flood = 4 * SHARDS as u64 * PLACES as u64;
        let passed = (0..flood).filter(|key| limiter.take_at(key, 1, 0).wait == 0).count();
        assert!(passed <= SHARDS * (PLACES + 1), "{passed}");
        let kept =
            |limiter: &Limiter| limiter.shards.iter().map(|it| it.lock().unwrap().len()).sum::<usize>();
        assert!(kept(&limiter) <= SHARDS * (PLACES + 1));
        for key in 0..flood / 4 {
            limiter.take_at(flood + key, 1, 10 * SECOND);
        }
        assert_eq!(limiter.take_at("late", 1, 12 * SECOND).wait, 0);
    }
}
