//! How many connections clients may have: all together, and each of them.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

/// The connections that are open, tunnels among them, and how many there may be.
#[derive(Debug)]
pub struct ConnectionLimit {
    most: usize,
    most_of_one: Option<NonZeroUsize>,
    open: AtomicUsize,
    refused: AtomicU64,
    /// Of each client, where that is limited.
    of_one: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub struct Counted {
    limit: Arc<ConnectionLimit>,
    client: Option<IpAddr>,
}

impl ConnectionLimit {
    pub fn new(most: usize, most_of_one: Option<NonZeroUsize>) -> Arc<Self> {
        let (open, refused, of_one) = Default::default();
        Arc::new(Self { most, most_of_one, open, refused, of_one })
    }

    /// Count a connection of a client that has come, if there may be one more. `None` for the client: it is
    /// a proxy that has many.
    pub fn admit(self: &Arc<Self>, client: Option<IpAddr>) -> Option<Counted> {
        let counted = self.count(client);
        if counted.is_none() {
            self.refused.fetch_add(1, Relaxed);
        }
        counted
    }

    fn count(self: &Arc<Self>, client: Option<IpAddr>) -> Option<Counted> {
        let more = |open| (open < self.most).then_some(open + 1);
        self.open.fetch_update(Relaxed, Relaxed, more).ok()?;
        let mut counted = Counted { limit: self.clone(), client: None };
        if let Some((most, client)) = self.most_of_one.zip(client) {
            let mut of_one = self.lock();
            let count = of_one.entry(client).or_default();
            if *count >= most.get() {
                return None;
            }
            *count += 1;
            counted.client = Some(client);
        }
        Some(counted)
    }

    /// Count what goes on as a tunnel when its connection has ended.
    pub fn go_on(self: &Arc<Self>) -> Counted {
        self.open.fetch_add(1, Relaxed);
        Counted { limit: self.clone(), client: None }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// How many were too many.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.of_one.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.limit.open.fetch_sub(1, Relaxed);
        let Some(client) = self.client else { return };
        let mut of_one = self.limit.lock();
        if let Some(count) = of_one.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                of_one.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    const BOB: Option<IpAddr> = Some(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST));

    #[test]
    fn admits_as_many_as_there_may_be_and_of_one_client_fewer() {
        let limit = ConnectionLimit::new(4, NonZeroUsize::new(2));
        let ada = [limit.admit(ADA), limit.admit(ADA)];
        assert!(ada.iter().all(Option::is_some) && limit.admit(ADA).is_none());
        let bob = limit.admit(BOB).unwrap();
        let proxy = limit.admit(None).unwrap();
        assert!(limit.admit(None).is_none() && limit.admit(BOB).is_none(), "there are four");
        assert_eq!((limit.open(), limit.refused()), (4, 3));
        drop(proxy);
        assert!(limit.admit(ADA).is_none(), "there is room, and not for her");
        drop(ada);
        assert!(limit.admit(ADA).is_some());
        drop(bob);
        assert_eq!((limit.open(), limit.lock().len()), (0, 0));
    }

    #[test]
    fn a_tunnel_counts_and_is_not_refused() {
        let limit = ConnectionLimit::new(1, None);
        let connection = limit.admit(ADA).unwrap();
        let tunnel = limit.go_on();
        drop(connection);
        assert!(limit.admit(ADA).is_none());
        drop(tunnel);
        assert!(limit.admit(ADA).is_some());
    }
}
