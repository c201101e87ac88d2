//! One coarse timer per worker. Deadlines of requests and connections are far away and rarely
//! met, so that a tick of 100 ms and a sorted map cost less than a timer for each.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::LazyLock,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// How long a tick is. Deadlines are met up to one tick late, never early.
pub const TICK: Duration = Duration::from_millis(100);

/// What ticks are counted from, in all workers.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A moment, in ticks.
pub type Tick = u64;
/// How many ticks a second has.
pub const SECOND: Tick = 10;

/// The present tick by the machine's clock: for whoever has no [`Clock`].
pub fn present() -> Tick {
    ticks(EPOCH.elapsed())
}

/// How many ticks a duration takes, rounded up.
pub fn ticks(duration: Duration) -> Tick {
    let count = duration.as_millis().div_ceil(TICK.as_millis());
    Tick::try_from(count).unwrap_or(Tick::MAX / 2)
}

/// The time of one worker.
#[derive(Default)]
pub struct Clock {
    now: Cell<Tick>,
    next: Cell<u64>,
    waiting: RefCell<BTreeMap<(Tick, u64), Waker>>,
}

impl Clock {
    pub fn new() -> Rc<Self> {
        let clock = Self::default();
        clock.now.set(present());
        Rc::new(clock)
    }

    /// Let time pass until the future is dropped.
    pub async fn run(self: Rc<Self>) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            interval.tick().await;
            self.advance(present());
        }
    }

    pub fn now(&self) -> Tick {
        self.now.get()
    }

    /// Resolves once at least `duration` has passed.
    pub fn after(self: &Rc<Self>, duration: Duration) -> Deadline {
        self.at(self.now().saturating_add(ticks(duration)).saturating_add(1))
    }

    /// Resolves at a tick.
    pub fn at(self: &Rc<Self>, due: Tick) -> Deadline {
        Deadline { clock: self.clone(), due, key: None }
    }

    fn advance(&self, now: Tick) {
        self.now.set(now);
        let due = {
            let mut waiting = self.waiting.borrow_mut();
            let later = waiting.split_off(&(now + 1, 0));
            std::mem::replace(&mut *waiting, later)
        };
        due.into_values().for_each(Waker::wake);
    }
}

/// Resolves when its tick has come.
pub struct Deadline {
    clock: Rc<Clock>,
    due: Tick,
    key: Option<u64>,
}

impl Deadline {
    /// Move the deadline; it must be polled again to be met.
    pub fn reset(&mut self, due: Tick) {
        self.forget();
        self.due = due;
    }

    fn forget(&mut self) {
        if let Some(key) = self.key.take() {
            self.clock.waiting.borrow_mut().remove(&(self.due, key));
        }
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.clock.now() >= self.due {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| self.clock.next.replace(self.clock.next.get() + 1));
        let due = self.due;
        self.clock
            .waiting
            .borrow_mut()
            .entry((due, key))
            .and_modify(|waker| waker.clone_from(cx.waker()))
            .or_insert_with(|| cx.waker().clone());
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn is_met(deadline: &mut Deadline) -> bool {
        Pin::new(deadline).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn is_met_at_its_tick_and_not_before() {
        let clock = Rc::new(Clock::default());
        let mut deadline = clock.at(5);
        assert!(!is_met(&mut deadline));
        clock.advance(4);
        assert!(!is_met(&mut deadline));
        clock.advance(5);
        assert!(is_met(&mut deadline));
    }

    #[test]
    fn forgets_deadlines_that_are_dropped_or_moved() {
        let clock = Rc::new(Clock::default());
        let mut moved = clock.at(1);
        let mut dropped = clock.at(1);
        assert!(!is_met(&mut moved) && !is_met(&mut dropped));
        drop(dropped);
        moved.reset(9);
        assert!(clock.waiting.borrow().is_empty());
        clock.advance(1);
        assert!(!is_met(&mut moved));
    }

    #[test]
    fn rounds_up_to_whole_ticks() {
        assert_eq!(ticks(Duration::from_millis(1)), 1);
        assert_eq!(ticks(Duration::from_millis(100)), 1);
        assert_eq!(ticks(Duration::from_millis(101)), 2);
    }
}
