//! The people of a made-up organization. Their addresses are those reserved for documentation (RFC
//! 5737, RFC 3849).

use fastrand::Rng;

use super::request::{AuthOutcome, AuthType};
use super::traffic::Role;
use crate::entry::Millis;
use crate::random::{pick, uuid};

/// The principal of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    /// `principal_id`: a UUID, or empty for an unknown principal.
    pub(crate) id: String,
    /// `principal_name`.
    pub(crate) name: Option<String>,
}

/// A principal with a source address and a user agent.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) principal: Principal,
    pub(super) address: String,
    pub(super) user_agent: &'static str,
}

/// Some names contain characters that must be escaped.
const NAMES: [&str; 8] = [
    "Ada Byron",
    "Build Bot",
    "Zoë Ångström",
    "ACME\\svc-deploy",
    "team=platform",
    "王小明",
    "Robert \"Bob\" O'Neil",
    "a | b",
];

const BROWSERS: [&str; 2] = [
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) \
     Chrome/113.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
];

/// The last one looks like fields of an entry.
const TOOLS: [&str; 7] = [
    "grpc-node-js/1.12.4",
    "grpc-go/1.54.0",
    "decK/1.40.2",
    "terraform-provider-konnect/2.4.1",
    "curl/8.5.0",
    "",
    "x granted=false sig=ZZ",
];

impl Person {
    /// A random person with a browser or a tool.
    pub(super) fn random(random: &mut Rng) -> Person {
        let of_a_tool = random.f64() < 0.75;
        let principal = Principal::random(random);
        Person::with(principal, of_a_tool, random)
    }

    /// An unknown person.
    pub(super) fn stranger(random: &mut Rng) -> Person {
        Person::with(Principal { id: String::new(), name: None }, true, random)
    }

    /// `principal` with a random address, and a tool or a browser.
    pub(super) fn with(principal: Principal, of_a_tool: bool, random: &mut Rng) -> Person {
        let host = random.usize(..250) + 2;
        Person {
            principal,
            address: match random.usize(..4) {
                0 => format!("198.51.100.{host}"),
                1 => format!("2001:db8::{host:x}"),
                _ => format!("203.0.113.{host}"),
            },
            user_agent: if of_a_tool { pick(random, &TOOLS) } else { pick(random, &BROWSERS) },
        }
    }
}

impl Principal {
    /// A random principal, with or without a name.
    pub(super) fn random(random: &mut Rng) -> Principal {
        Principal {
            id: uuid(random),
            name: (random.f64() < 0.6).then(|| pick(random, &NAMES).to_owned()),
        }
    }
}

/// The number of consecutive wrong passwords that locks an account.
pub(super) const WRONG_PASSWORDS: u32 = 5;

/// How long an account stays locked, in milliseconds.
pub(super) const LOCKED_FOR: i64 = 15 * 60 * 1000;

#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) person: Person,
    pub(super) auth_type: AuthType,
    pub(super) role: Role,
    /// Whether it has a session. A token needs none: it is sent with each call.
    pub(super) logged_in: bool,
    state: AccountState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AccountState {
    /// The number of consecutive wrong passwords.
    Good(u32),
    /// Locked until this time.
    Locked(Millis),
    Disabled,
}

impl Account {
    pub(super) fn new(auth_type: AuthType, role: Role, random: &mut Rng) -> Account {
        let principal = Principal::random(random);
        let person = Person::with(principal, auth_type.is_token(), random);
        Account { person, auth_type, role, logged_in: false, state: AccountState::Good(0) }
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.state == AccountState::Disabled
    }

    /// Whether an attempt at `at` can have this outcome.
    pub(super) fn admits(&self, outcome: AuthOutcome, at: Millis) -> bool {
        let stands = match self.state {
            AccountState::Good(_) => {
                !matches!(outcome, AuthOutcome::Locked | AuthOutcome::Disabled)
            }
            AccountState::Locked(until) if at < until => outcome == AuthOutcome::Locked,
            AccountState::Locked(_) => outcome != AuthOutcome::Locked,
            AccountState::Disabled => outcome == AuthOutcome::Disabled,
        };
        stands && outcome.auth_type().contains(&self.auth_type)
    }

    /// An attempt to log in at `at`.
    pub(super) fn attempt(&mut self, at: Millis, random: &mut Rng) -> AuthOutcome {
        let outcome = match self.state {
            AccountState::Disabled => AuthOutcome::Disabled,
            AccountState::Locked(until) if at < until => AuthOutcome::Locked,
            AccountState::Good(wrong) if self.auth_type == AuthType::Basic => {
                // A wrong password is likely to be followed by another.
                let mistaken = random.f64() < if wrong == 0 { 0.15 } else { 0.65 };
                if mistaken { AuthOutcome::InvalidPassword } else { AuthOutcome::Success }
            }
            AccountState::Good(_) if self.auth_type.is_token() && random.f64() < 0.04 => {
                AuthOutcome::TokenExpired
            }
            AccountState::Good(_) | AccountState::Locked(_) => AuthOutcome::Success,
        };
        self.comes_out(outcome, at);
        outcome
    }

    /// Records the outcome of an attempt at `at`, whatever the state of the account.
    pub(super) fn comes_out(&mut self, outcome: AuthOutcome, at: Millis) {
        self.logged_in = outcome == AuthOutcome::Success && !self.auth_type.is_token();
        self.state = match (outcome, self.state) {
            (AuthOutcome::InvalidPassword, AccountState::Good(wrong))
                if wrong + 1 < WRONG_PASSWORDS =>
            {
                AccountState::Good(wrong + 1)
            }
            (AuthOutcome::InvalidPassword, AccountState::Good(_)) => locked_at(at),
            (AuthOutcome::InvalidPassword, _) => AccountState::Good(1),
            (AuthOutcome::Locked, AccountState::Locked(until)) if at < until => {
                AccountState::Locked(until)
            }
            (AuthOutcome::Locked, _) => locked_at(at),
            (AuthOutcome::Disabled, _) => AccountState::Disabled,
            (AuthOutcome::Success, _) => AccountState::Good(0),
            (AuthOutcome::TokenExpired | AuthOutcome::NotFound | AuthOutcome::Invalid, state) => {
                state
            }
        };
    }
}

fn locked_at(at: Millis) -> AccountState {
    AccountState::Locked(Millis::saturating(at.get().saturating_add(LOCKED_FOR)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(auth_type: AuthType) -> Account {
        Account::new(auth_type, Role::Viewer, &mut Rng::with_seed(1))
    }

    fn at(millis: i64) -> Millis {
        Millis::saturating(millis)
    }

    /// What an attempt comes out as for each of many seeds.
    fn outcomes(account: &Account, when: i64) -> Vec<AuthOutcome> {
        let attempt = |seed| account.clone().attempt(at(when), &mut Rng::with_seed(seed));
        let mut outcomes: Vec<_> = (0..200).map(attempt).collect();
        outcomes.sort_unstable();
        outcomes.dedup();
        outcomes
    }

    #[test]
    fn wrong_passwords_lock_an_account_for_a_while() {
        let mut account = account(AuthType::Basic);
        for _ in 1..WRONG_PASSWORDS {
            account.comes_out(AuthOutcome::InvalidPassword, at(0));
        }
        assert_eq!(outcomes(&account, 0), [AuthOutcome::Success, AuthOutcome::InvalidPassword]);
        account.comes_out(AuthOutcome::InvalidPassword, at(0));
        assert_eq!(outcomes(&account, LOCKED_FOR - 1), [AuthOutcome::Locked]);
        assert!(!outcomes(&account, LOCKED_FOR).contains(&AuthOutcome::Locked));
        // To knock does not lock it for longer.
        account.comes_out(AuthOutcome::Locked, at(LOCKED_FOR - 1));
        assert!(!outcomes(&account, LOCKED_FOR).contains(&AuthOutcome::Locked));
    }

    #[test]
    fn a_right_password_forgives_the_wrong_ones() {
        let mut account = account(AuthType::Basic);
        for _ in 0..3 {
            for _ in 1..WRONG_PASSWORDS {
                account.comes_out(AuthOutcome::InvalidPassword, at(0));
            }
            account.comes_out(AuthOutcome::Success, at(0));
        }
        assert!(account.logged_in && account.admits(AuthOutcome::Success, at(0)));
    }

    #[test]
    fn means_and_standing_decide_what_may_come_out() {
        assert_eq!(outcomes(&account(AuthType::Sso), 0), [AuthOutcome::Success]);
        assert_eq!(
            outcomes(&account(AuthType::Pat), 0),
            [AuthOutcome::Success, AuthOutcome::TokenExpired]
        );
        let mut disabled = account(AuthType::Sso);
        disabled.comes_out(AuthOutcome::Disabled, at(0));
        assert_eq!(outcomes(&disabled, i64::MAX), [AuthOutcome::Disabled]);
        assert!(!disabled.admits(AuthOutcome::Success, at(0)));
        assert!(!account(AuthType::Sso).admits(AuthOutcome::InvalidPassword, at(0)));
    }
}
