//! How often the console's token may be guessed.
//!
//! It is decided before a token is compared, so that the answer to who is throttled does not tell
//! whether the token was right. Wrong tokens count for their address (IPv6: one /64), and in all: who
//! has many addresses guesses no faster. What others do in all does not hold up an address that has
//! brought the right token before.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hashlink::{LinkedHashMap, LinkedHashSet};

use crate::net::network;

/// How many wrong tokens an address may bring at once, and how long it takes to have one more.
const PER_ADDRESS: Rate = Rate { burst: 10, every: RETRY_AFTER };

/// The same of all addresses together.
const OVERALL: Rate = Rate { burst: 100, every: Duration::from_secs(1) };

/// How long an address is throttled at most that brings nothing meanwhile.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(6);

/// The most addresses that are remembered, of those that were wrong and of those that were right.
const REMEMBERED: usize = 4096;

/// What becomes of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Right,
    Wrong,
    /// It was not compared.
    Throttled,
}

/// Counts wrong tokens.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    all: Allowance,
    /// By address; the one that was wrong last is last.
    per_address: LinkedHashMap<IpAddr, Allowance>,
    /// Addresses that have brought the right token; the last one last.
    trusted: LinkedHashSet<IpAddr>,
}

/// How often something may happen.
struct Rate {
    burst: u32,
    every: Duration,
}

/// When all wrong tokens so far are made good.
#[derive(Clone, Copy, Debug, Default)]
struct Allowance(Option<Instant>);

impl Allowance {
    fn admits(self, rate: &Rate, now: Instant) -> bool {
        let left = self.0.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        left <= rate.every * (rate.burst - 1)
    }

    fn add(&mut self, rate: &Rate, now: Instant) {
        self.0 = Some(self.0.map_or(now, |until| until.max(now)) + rate.every);
    }
}

impl Throttle {
    /// Lets `address` have a token compared, if it may at `now`. Nobody else's is meanwhile.
    pub(super) fn attempt(
        &self,
        address: IpAddr,
        now: Instant,
        compare: impl FnOnce() -> bool,
    ) -> Attempt {
        let address = network(address);
        let State { all, per_address, trusted } =
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own = per_address.get(&address).copied().unwrap_or_default();
        if !own.admits(&PER_ADDRESS, now)
            || !all.admits(&OVERALL, now) && !trusted.contains(&address)
        {
            return Attempt::Throttled;
        }
        if compare() {
            if !trusted.to_back(&address) {
                trusted.insert(address);
            }
            if trusted.len() > REMEMBERED {
                trusted.pop_front();
            }
            return Attempt::Right;
        }
        all.add(&OVERALL, now);
        own.add(&PER_ADDRESS, now);
        per_address.remove(&address);
        per_address.insert(address, own);
        if per_address.len() > REMEMBERED {
            per_address.pop_front();
        }
        Attempt::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::Attempt::{Right, Throttled, Wrong};
    use super::*;

    fn address(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn who_guesses_is_not_told_whether_it_was_right() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..PER_ADDRESS.burst {
            assert_eq!(throttle.attempt(address(1), now, || false), Wrong);
        }
        let compared = || panic!("it was compared");
        assert_eq!(throttle.attempt(address(1), now, compared), Throttled);
        assert_eq!(throttle.attempt(address(2), now, || true), Right);
        // One more each time.
        let later = now + RETRY_AFTER;
        assert_eq!(throttle.attempt(address(1), later, || false), Wrong);
        assert_eq!(throttle.attempt(address(1), later, compared), Throttled);
        assert_eq!(throttle.attempt(address(1), later + RETRY_AFTER, || true), Right);
    }

    #[test]
    fn the_right_token_costs_nothing() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        assert!((0..1000).all(|_| throttle.attempt(address(1), now, || true) == Right));
    }

    #[test]
    fn many_addresses_guess_no_faster_and_those_known_go_on() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        assert_eq!(throttle.attempt(address(0), now, || true), Right);
        let wrong = (1..=200).filter(|n| throttle.attempt(address(*n), now, || false) == Wrong);
        assert_eq!(wrong.count(), OVERALL.burst as usize);
        assert_eq!(throttle.attempt(address(201), now, || true), Throttled);
        assert_eq!(throttle.attempt(address(0), now, || true), Right);
        // One /64 is one address.
        let of = |text: &str| text.parse().unwrap();
        let later = now + Duration::from_secs(1000);
        for n in 0..PER_ADDRESS.burst {
            let found = throttle.attempt(of(&format!("2001:db8::{n:x}")), later, || false);
            assert_eq!(found, Wrong);
        }
        assert_eq!(throttle.attempt(of("2001:db8::ffff"), later, || true), Throttled);
    }

    #[test]
    fn what_is_remembered_is_capped() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for n in 0..REMEMBERED as u32 + 10 {
            let now = start + Duration::from_secs(1) * n;
            let address = IpAddr::from(n.to_be_bytes());
            assert_eq!(
                throttle.attempt(address, now, || n % 2 == 0),
                if n % 2 == 0 { Right } else { Wrong }
            );
            assert_eq!(
                throttle.attempt(address, now, || n % 2 == 1),
                if n % 2 == 1 { Right } else { Wrong }
            );
        }
        let guesses = throttle.0.lock().unwrap();
        assert_eq!((guesses.per_address.len(), guesses.trusted.len()), (REMEMBERED, REMEMBERED));
    }
}
