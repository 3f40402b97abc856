//! What the people of an organization do, from a seed: they log in, fail to, are locked out, call
//! the API with the permissions they have and those they lack. The same seed and the same times give
//! the same entries.
//!
//! The entries of one request are consistent with one another: an authentication entry for each
//! login and each token, an `Authz.*` entry for each permission that was checked, the last of them
//! denied or none; and of a call that changes something an `Ingress` entry with its status.

mod call;
#[cfg(test)]
mod tests;

pub use call::ApiCall;

use fastrand::Rng;

use super::accounts::Account;
use super::authentication::{Means, Outcome};
use super::endpoints::{Endpoint, Role, is_change};
use super::event::Event;
use super::people::{Person, Principal};
use super::request::Request;
use crate::entry::Millis;
use crate::random::{pick, uuid};

/// An organization whose people are at work.
#[derive(Clone, Debug)]
pub struct Traffic {
    random: Rng,
    /// A generator of its own: a request that leaves no entries takes a number too.
    trace_ids: Rng,
    org_id: String,
    owner: Principal,
    kong: Person,
    control_planes: [String; 8],
    users: Vec<Account>,
    portals: Vec<Portal>,
    /// The user who failed to log in just now, and will try again.
    trying: Option<usize>,
}

#[derive(Clone, Debug)]
struct Portal {
    id: String,
    developers: Vec<Account>,
}

/// How the users of an organization authenticate, and how many in 20.
const MEANS: [(Means, usize); 8] = [
    (Means::Basic, 8),
    (Means::Sso, 4),
    (Means::Pat, 2),
    (Means::Spat, 2),
    (Means::Google, 1),
    (Means::Github, 1),
    (Means::WindowsLive, 1),
    (Means::Federated, 1),
];
const ROLES: [Role; 5] =
    [Role::Admin, Role::Developer, Role::Developer, Role::Developer, Role::Viewer];
const DEVELOPERS: usize = 12;

/// Besides the status that an endpoint has when all is well.
const MISHAPS: [u16; 8] = [400, 400, 400, 404, 404, 409, 500, 500];

impl Traffic {
    /// The organization that `seed` stands for, with these Dev Portals.
    pub fn new(seed: u64, org_id: String, portals: Vec<String>) -> Traffic {
        let mut random = Rng::with_seed(seed);
        let trace_ids = random.fork();
        let means: Vec<_> = [MEANS, MEANS]
            .iter()
            .flatten()
            .flat_map(|(means, count)| std::iter::repeat_n(*means, *count))
            .collect();
        let mut users: Vec<_> = means
            .into_iter()
            .map(|means| Account::new(means, *pick(&mut random, &ROLES), &mut random))
            .collect();
        // The first has a password, the last is federated: they have left.
        for left in [0, users.len() - 1] {
            users[left].comes_out(Outcome::Disabled, Millis::MIN);
        }
        let mut kong = Person::stranger(&mut random);
        kong.principal = Principal { id: uuid(&mut random), name: Some("Kong".to_owned()) };
        let portals = portals.into_iter().map(|id| Portal::new(id, &mut random)).collect();
        Traffic {
            owner: Principal::random(&mut random),
            control_planes: std::array::from_fn(|_| uuid(&mut random)),
            trying: None,
            org_id,
            kong,
            users,
            portals,
            trace_ids,
            random,
        }
    }

    /// Whoever owns the organization, and the tokens of its API.
    pub fn owner(&self) -> &Principal {
        &self.owner
    }

    /// The number of a new request.
    pub fn trace_id(&mut self) -> u64 {
        self.trace_ids.u64(..)
    }

    /// Somebody does something at `at`: the entries of one request, at least one.
    pub fn request(&mut self, at: Millis) -> Vec<Event> {
        if !self.portals.is_empty() && self.random.f64() < 0.15 {
            let portal = self.random.usize(..self.portals.len());
            let developer = self.random.usize(..self.portals[portal].developers.len());
            return vec![self.attempt(at, Some(portal), developer).1];
        }
        self.organization_request(at)
    }

    /// The same, but in the organization itself and not in one of its Dev Portals.
    pub fn organization_request(&mut self, at: Millis) -> Vec<Event> {
        match self.random.usize(..100) {
            0..2 => vec![self.stranger(at, None, None, Outcome::NotFound)],
            2..4 => vec![self.stranger(at, None, None, Outcome::Invalid)],
            4..7 => self.by_kong(at),
            _ => match self.trying.filter(|_| self.random.f64() < 0.6) {
                Some(user) => self.by_user(at, user),
                None => {
                    let user = self.random.usize(..self.users.len());
                    self.by_user(at, user)
                }
            },
        }
    }

    /// Somebody logs in at `at`, to Konnect or to the portal with this id, and it comes out so: the
    /// one with this name, who is made up if new, or else somebody for whom it is natural.
    pub fn login(
        &mut self,
        at: Millis,
        portal: Option<&str>,
        name: Option<&str>,
        outcome: Outcome,
    ) -> Event {
        let portal = portal.map(|id| self.portal(id));
        if matches!(outcome, Outcome::NotFound | Outcome::Invalid) {
            return self.stranger(at, portal, name, outcome);
        }
        let who = match name {
            Some(name) => self.named(portal, name),
            None => self.fittest(at, portal, outcome),
        };
        let account = self.account(portal, who);
        account.comes_out(outcome, at);
        let (means, person) = (account.means, account.person.clone());
        let possible = outcome.means().contains(&means);
        let means = if possible { means } else { outcome.means()[0] };
        self.of(at, portal, &person, |request| request.authentication(means, outcome))
    }

    /// A user logs in, or calls the API if they have a session or a token.
    fn by_user(&mut self, at: Millis, user: usize) -> Vec<Event> {
        let account = &self.users[user];
        let (means, role, logged_in) = (account.means, account.role, account.logged_in);
        if !logged_in && !means.is_token() {
            let (outcome, event) = self.attempt(at, None, user);
            self.trying = (outcome != Outcome::Success).then_some(user);
            return vec![event];
        }
        let endpoint = self.endpoint(role);
        let outcome = if means.is_token() {
            self.users[user].attempt(at, &mut self.random)
        } else {
            // Sessions end unseen: the next call finds out.
            let lasts = self.random.usize(..50) > 0;
            self.users[user].logged_in = lasts;
            if lasts { Outcome::Success } else { Outcome::TokenExpired }
        };
        let person = self.users[user].person.clone();
        let token = means.is_token().then_some((means, outcome));
        let events = self.to(at, endpoint, &person, role, token, outcome == Outcome::Success);
        if !events.is_empty() {
            return events;
        }
        // A session that ended, and a call that leaves no entry: they log in again.
        vec![self.attempt(at, None, user).1]
    }

    /// Kong itself looks after something.
    fn by_kong(&mut self, at: Millis) -> Vec<Event> {
        let endpoint = self.endpoint(Role::Admin);
        let kong = self.kong.clone();
        self.to(at, endpoint, &kong, Role::Admin, None, true)
    }

    /// Something that this role may call. Now and then people try what they may not.
    fn endpoint(&mut self, role: Role) -> &'static Endpoint {
        let tried = Endpoint::any(&mut self.random);
        if tried.is_open_to(role) || self.random.f64() < 0.15 {
            return tried;
        }
        std::iter::repeat_with(|| Endpoint::any(&mut self.random))
            .find(|endpoint| endpoint.is_open_to(role))
            .unwrap_or(tried)
    }

    /// The entries of one call: the token if it has one, the permissions, the access.
    fn to(
        &mut self,
        at: Millis,
        endpoint: &Endpoint,
        person: &Person,
        role: Role,
        token: Option<(Means, Outcome)>,
        let_in: bool,
    ) -> Vec<Event> {
        let control_plane = pick(&mut self.random, &self.control_planes);
        let filled = endpoint.fill(control_plane, &uuid(&mut self.random));
        let mishap = (self.random.f64() < 0.08).then(|| *pick(&mut self.random, &MISHAPS));
        self.of(at, None, person, |request| {
            let mut events: Vec<_> = token
                .map(|(means, outcome)| request.authentication(means, outcome))
                .into_iter()
                .collect();
            let mut status = if let_in { mishap.unwrap_or(endpoint.status) } else { 401 };
            for (permission, resource) in filled.permissions.iter().filter(|_| let_in) {
                let granted = role.allows(*permission);
                let (service, action) = (permission.service, permission.action);
                events.push(request.authorization(service, resource, action, granted));
                if !granted {
                    status = 403;
                    break;
                }
            }
            if is_change(endpoint.method) {
                events.push(request.access(endpoint.method, &filled.path, filled.query, status));
            }
            events
        })
    }

    /// Somebody tries to log in; the outcome follows from their account.
    fn attempt(&mut self, at: Millis, portal: Option<usize>, who: usize) -> (Outcome, Event) {
        let mut account = self.account(portal, who).clone();
        let outcome = account.attempt(at, &mut self.random);
        let (means, person) = (account.means, account.person.clone());
        *self.account(portal, who) = account;
        (outcome, self.of(at, portal, &person, |request| request.authentication(means, outcome)))
    }

    /// Somebody unknown tries to log in, under this name.
    fn stranger(
        &mut self,
        at: Millis,
        portal: Option<usize>,
        name: Option<&str>,
        outcome: Outcome,
    ) -> Event {
        let mut stranger = Person::stranger(&mut self.random);
        stranger.principal.name = name.map(str::to_owned);
        let means = *pick(&mut self.random, outcome.means());
        // A portal's developers have no tokens.
        let means = if portal.is_some() && means.is_token() { Means::Basic } else { means };
        self.of(at, portal, &stranger, |request| request.authentication(means, outcome))
    }

    /// What `entries` makes of a request by `person`.
    fn of<T>(
        &mut self,
        at: Millis,
        portal: Option<usize>,
        person: &Person,
        entries: impl FnOnce(Request<'_>) -> T,
    ) -> T {
        let by_kong = person.principal == self.kong.principal;
        let known = !by_kong && portal.is_none() && !person.principal.id.is_empty();
        let actor = pick(&mut self.random, &self.users);
        let actor = (self.random.f64() < 0.05 && known).then_some(actor);
        entries(Request {
            at,
            org_id: &self.org_id,
            portal_id: portal.map(|portal| self.portals[portal].id.as_str()),
            principal: &person.principal,
            actor_id: actor.map(|actor| actor.person.principal.id.as_str()),
            src: &person.address,
            user_agent: person.user_agent,
            trace_id: self.trace_ids.u64(..),
            kong_initiated: by_kong,
            as_strings: self.random.f64() < 0.5,
        })
    }

    /// One of those for whom this outcome is the most natural.
    fn fittest(&mut self, at: Millis, portal: Option<usize>, outcome: Outcome) -> usize {
        let accounts = self.accounts(portal);
        let fitness = |account: &Account| {
            let possible = outcome.means().contains(&account.means) && !account.is_disabled();
            2 * u8::from(account.admits(outcome, at)) + u8::from(possible)
        };
        let best = accounts.iter().map(fitness).max();
        let fittest: Vec<_> =
            (0..accounts.len()).filter(|who| Some(fitness(&accounts[*who])) == best).collect();
        *pick(&mut self.random, &fittest)
    }

    /// The place of the account with this name; a new one has a password.
    fn named(&mut self, portal: Option<usize>, name: &str) -> usize {
        let is_named = |one: &Account| one.person.principal.name.as_deref() == Some(name);
        if let Some(who) = self.accounts(portal).iter().position(is_named) {
            return who;
        }
        let mut account = Account::new(Means::Basic, Role::Viewer, &mut self.random);
        account.person.principal.name = Some(name.to_owned());
        let accounts = self.accounts(portal);
        accounts.push(account);
        accounts.len() - 1
    }

    fn accounts(&mut self, portal: Option<usize>) -> &mut Vec<Account> {
        match portal {
            Some(portal) => &mut self.portals[portal].developers,
            None => &mut self.users,
        }
    }

    fn account(&mut self, portal: Option<usize>, who: usize) -> &mut Account {
        &mut self.accounts(portal)[who]
    }

    /// The place of the portal with this id; one that is new has developers from now on.
    fn portal(&mut self, id: &str) -> usize {
        self.portals.iter().position(|portal| portal.id == id).unwrap_or_else(|| {
            self.portals.push(Portal::new(id.to_owned(), &mut self.random));
            self.portals.len() - 1
        })
    }
}

impl Portal {
    fn new(id: String, random: &mut Rng) -> Portal {
        let mut developer = |at| {
            let means = if at % 3 == 0 { Means::Sso } else { Means::Basic };
            Account::new(means, Role::Viewer, random)
        };
        Portal { id, developers: (0..DEVELOPERS).map(&mut developer).collect() }
    }
}
