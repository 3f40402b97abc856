//! Accounts that people log in to: of an organization, or of a Dev Portal. After
//! [`WRONG_PASSWORDS`] an account is locked for [`LOCKED_FOR`].

use fastrand::Rng;

use super::authentication::{Means, Outcome};
use super::endpoints::Role;
use super::people::{Person, Principal};
use crate::entry::Millis;

/// So many wrong passwords in a row lock an account.
pub(super) const WRONG_PASSWORDS: u32 = 5;

/// How long an account stays locked, in milliseconds.
pub(super) const LOCKED_FOR: i64 = 15 * 60 * 1000;

#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) person: Person,
    pub(super) means: Means,
    pub(super) role: Role,
    /// Whether it has a session. One with a token never has: the token comes with each call.
    pub(super) logged_in: bool,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// After so many wrong passwords.
    Good(u32),
    /// Until then.
    Locked(Millis),
    Disabled,
}

impl Account {
    /// An account in good standing.
    pub(super) fn new(means: Means, role: Role, random: &mut Rng) -> Account {
        let principal = Principal::random(random);
        let person = Person::with(principal, means.is_token(), random);
        Account { person, means, role, logged_in: false, standing: Standing::Good(0) }
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.standing == Standing::Disabled
    }

    /// Whether an attempt at `at` can come out so.
    pub(super) fn admits(&self, outcome: Outcome, at: Millis) -> bool {
        let stands = match self.standing {
            Standing::Good(_) => !matches!(outcome, Outcome::Locked | Outcome::Disabled),
            Standing::Locked(until) if at < until => outcome == Outcome::Locked,
            Standing::Locked(_) => outcome != Outcome::Locked,
            Standing::Disabled => outcome == Outcome::Disabled,
        };
        stands && outcome.means().contains(&self.means)
    }

    /// Somebody tries to log in at `at`.
    pub(super) fn attempt(&mut self, at: Millis, random: &mut Rng) -> Outcome {
        let outcome = match self.standing {
            Standing::Disabled => Outcome::Disabled,
            Standing::Locked(until) if at < until => Outcome::Locked,
            Standing::Good(wrong) if self.means == Means::Basic => {
                // Who got it wrong once is likely to again.
                let mistaken = random.f64() < if wrong == 0 { 0.15 } else { 0.65 };
                if mistaken { Outcome::InvalidPassword } else { Outcome::Success }
            }
            Standing::Good(_) if self.means.is_token() && random.f64() < 0.04 => {
                Outcome::TokenExpired
            }
            Standing::Good(_) | Standing::Locked(_) => Outcome::Success,
        };
        self.comes_out(outcome, at);
        outcome
    }

    /// An attempt at `at` came out so, whatever the account's standing was.
    pub(super) fn comes_out(&mut self, outcome: Outcome, at: Millis) {
        self.logged_in = outcome == Outcome::Success && !self.means.is_token();
        self.standing = match (outcome, self.standing) {
            (Outcome::InvalidPassword, Standing::Good(wrong)) if wrong + 1 < WRONG_PASSWORDS => {
                Standing::Good(wrong + 1)
            }
            (Outcome::InvalidPassword, Standing::Good(_)) => locked_at(at),
            (Outcome::InvalidPassword, _) => Standing::Good(1),
            (Outcome::Locked, Standing::Locked(until)) if at < until => Standing::Locked(until),
            (Outcome::Locked, _) => locked_at(at),
            (Outcome::Disabled, _) => Standing::Disabled,
            (Outcome::Success, _) => Standing::Good(0),
            (Outcome::TokenExpired | Outcome::NotFound | Outcome::Invalid, standing) => standing,
        };
    }
}

fn locked_at(at: Millis) -> Standing {
    Standing::Locked(Millis::saturating(at.get().saturating_add(LOCKED_FOR)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(means: Means) -> Account {
        Account::new(means, Role::Viewer, &mut Rng::with_seed(1))
    }

    fn at(millis: i64) -> Millis {
        Millis::saturating(millis)
    }

    /// What an attempt comes out as for each of many seeds.
    fn outcomes(account: &Account, when: i64) -> Vec<Outcome> {
        let attempt = |seed| account.clone().attempt(at(when), &mut Rng::with_seed(seed));
        let mut outcomes: Vec<_> = (0..200).map(attempt).collect();
        outcomes.sort_unstable();
        outcomes.dedup();
        outcomes
    }

    #[test]
    fn wrong_passwords_lock_an_account_for_a_while() {
        let mut account = account(Means::Basic);
        for _ in 1..WRONG_PASSWORDS {
            account.comes_out(Outcome::InvalidPassword, at(0));
        }
        assert_eq!(outcomes(&account, 0), [Outcome::Success, Outcome::InvalidPassword]);
        account.comes_out(Outcome::InvalidPassword, at(0));
        assert_eq!(outcomes(&account, LOCKED_FOR - 1), [Outcome::Locked]);
        assert!(!outcomes(&account, LOCKED_FOR).contains(&Outcome::Locked));
        // To knock does not lock it for longer.
        account.comes_out(Outcome::Locked, at(LOCKED_FOR - 1));
        assert!(!outcomes(&account, LOCKED_FOR).contains(&Outcome::Locked));
    }

    #[test]
    fn a_right_password_forgives_the_wrong_ones() {
        let mut account = account(Means::Basic);
        for _ in 0..3 {
            for _ in 1..WRONG_PASSWORDS {
                account.comes_out(Outcome::InvalidPassword, at(0));
            }
            account.comes_out(Outcome::Success, at(0));
        }
        assert!(account.logged_in && account.admits(Outcome::Success, at(0)));
    }

    #[test]
    fn means_and_standing_decide_what_may_come_out() {
        assert_eq!(outcomes(&account(Means::Sso), 0), [Outcome::Success]);
        assert_eq!(outcomes(&account(Means::Pat), 0), [Outcome::Success, Outcome::TokenExpired]);
        let mut disabled = account(Means::Sso);
        disabled.comes_out(Outcome::Disabled, at(0));
        assert_eq!(outcomes(&disabled, i64::MAX), [Outcome::Disabled]);
        assert!(!disabled.admits(Outcome::Success, at(0)));
        assert!(!account(Means::Sso).admits(Outcome::InvalidPassword, at(0)));
    }
}
