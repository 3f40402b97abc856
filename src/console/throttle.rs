//! Limits how often a wrong token may be tried.
//!
//! The throttle decides before a token is compared, so the response to a throttled client does not
//! reveal whether the token was right. Wrong tokens count per address (IPv6: per /64) and overall,
//! so many addresses do not help an attacker. The overall limit does not apply to an address that
//! sent the right token before.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hashlink::{LinkedHashMap, LinkedHashSet};

use crate::net::network;

/// The wrong tokens that an address may try at once, and the time until it may try one more.
const PER_ADDRESS: Rate = Rate { burst: 10, every: RETRY_AFTER };

/// The limit for all addresses together.
const OVERALL: Rate = Rate { burst: 100, every: Duration::from_secs(1) };

/// The time after which an address that waits is no longer throttled.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(6);

/// The maximum number of addresses that are remembered, for wrong tokens and for right ones each.
const REMEMBERED: usize = 4096;

/// The result of checking a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Right,
    Wrong,
    /// The token was not compared.
    Throttled,
}

#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    all: Allowance,
    /// By address. The address with the latest wrong token is last.
    per_address: LinkedHashMap<IpAddr, Allowance>,
    /// Addresses that sent the right token, the latest last.
    trusted: LinkedHashSet<IpAddr>,
}

struct Rate {
    burst: u32,
    every: Duration,
}

/// The time at which the full burst is available again.
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
    /// Compares a token from `address`, unless it is throttled at `now`. Only one token is compared
    /// at a time.
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
    fn a_guess_does_not_learn_whether_it_was_right() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..PER_ADDRESS.burst {
            assert_eq!(throttle.attempt(address(1), now, || false), Wrong);
        }
        let compared = || panic!("it was compared");
        assert_eq!(throttle.attempt(address(1), now, compared), Throttled);
        assert_eq!(throttle.attempt(address(2), now, || true), Right);
        // One more token after each interval.
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
    fn the_number_of_remembered_addresses_is_limited() {
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
