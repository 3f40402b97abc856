//! Makes the entries of a made-up organization, repeated by a seed. Its people log in, fail to log
//! in, are locked out, and call the API with and without permission. The same seed and the same times
//! make the same entries.
//!
//! The entries of a request are consistent: an authentication entry for each login and each token,
//! an `Authz.*` entry for each checked permission, of which only the last can be denied, and an
//! `Ingress` entry with the status for a call that changes something.

mod endpoints;
#[cfg(test)]
mod tests;

pub(super) use self::endpoints::Role;

use fastrand::Rng;

use self::endpoints::{Endpoint, is_change, of_audit_logs};
use super::event::Event;
use super::people::{Account, Person, Principal};
use super::request::{AuthOutcome, AuthType, EntryStyle, Request};
use crate::entry::Millis;
use crate::random::{pick, uuid};

/// A made-up organization.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    random: Rng,
    /// Separate from `random`, because a request without entries takes a number too.
    trace_ids: Rng,
    style: EntryStyle,
    org_id: String,
    owner: Principal,
    kong: Person,
    control_planes: [String; 8],
    users: Vec<Account>,
    portals: Vec<Portal>,
    /// The user whose login has just failed, and who will try again.
    trying: Option<usize>,
}

#[derive(Clone, Debug)]
struct Portal {
    id: String,
    developers: Vec<Account>,
}

/// How users authenticate, with the number of users out of 20.
const AUTH_TYPES: [(AuthType, usize); 8] = [
    (AuthType::Basic, 8),
    (AuthType::Sso, 4),
    (AuthType::Pat, 2),
    (AuthType::Spat, 2),
    (AuthType::Google, 1),
    (AuthType::Github, 1),
    (AuthType::WindowsLive, 1),
    (AuthType::Federated, 1),
];
const ROLES: [Role; 5] =
    [Role::Admin, Role::Developer, Role::Developer, Role::Developer, Role::Viewer];
const DEVELOPERS: usize = 12;

/// Statuses of failed calls.
const MISHAPS: [u16; 8] = [400, 400, 400, 404, 404, 409, 500, 500];

impl Traffic {
    /// An organization that `seed` repeats, with these Dev Portals.
    pub(crate) fn new(
        seed: u64,
        org_id: String,
        portals: Vec<String>,
        style: EntryStyle,
    ) -> Traffic {
        let mut random = Rng::with_seed(seed);
        let trace_ids = random.fork();
        let auth_type: Vec<_> = [AUTH_TYPES, AUTH_TYPES]
            .iter()
            .flatten()
            .flat_map(|(auth_type, count)| std::iter::repeat_n(*auth_type, *count))
            .collect();
        let mut users: Vec<_> = auth_type
            .into_iter()
            .map(|auth_type| Account::new(auth_type, pick(&mut random, &ROLES), &mut random))
            .collect();
        // These two have left: the first has a password, the last is federated.
        for left in [0, users.len() - 1] {
            users[left].comes_out(AuthOutcome::Disabled, Millis::MIN);
        }
        let mut kong = Person::stranger(&mut random);
        kong.principal = Principal { id: uuid(&mut random), name: Some("Kong".to_owned()) };
        let portals = portals.into_iter().map(|id| Portal::new(id, &mut random)).collect();
        Traffic {
            owner: Principal::random(&mut random),
            control_planes: std::array::from_fn(|_| uuid(&mut random)),
            trying: None,
            style,
            org_id,
            kong,
            users,
            portals,
            trace_ids,
            random,
        }
    }

    /// The owner of the organization and of the API tokens.
    pub(crate) fn owner(&self) -> &Principal {
        &self.owner
    }

    /// The trace id of a new request.
    pub(crate) fn trace_id(&mut self) -> u64 {
        self.trace_ids.u64(..)
    }

    /// The entries of a request at `at`, at least one.
    pub(crate) fn request(&mut self, at: Millis) -> Vec<Event> {
        if !self.portals.is_empty() && self.random.f64() < 0.15 {
            let portal = self.random.usize(..self.portals.len());
            let developer = self.random.usize(..self.portals[portal].developers.len());
            return vec![self.attempt(at, Some(portal), developer).1];
        }
        self.organization_request(at)
    }

    /// The same, but never in a Dev Portal.
    pub(crate) fn organization_request(&mut self, at: Millis) -> Vec<Event> {
        match self.random.usize(..100) {
            0..2 => vec![self.stranger(at, None, None, AuthOutcome::NotFound)],
            2..4 => vec![self.stranger(at, None, None, AuthOutcome::Invalid)],
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
    pub(crate) fn login(
        &mut self,
        at: Millis,
        portal: Option<&str>,
        name: Option<&str>,
        outcome: AuthOutcome,
    ) -> Event {
        let portal = portal.map(|id| self.portal(id));
        if matches!(outcome, AuthOutcome::NotFound | AuthOutcome::Invalid) {
            return self.stranger(at, portal, name, outcome);
        }
        let who = match name {
            Some(name) => self.named(portal, name),
            None => self.fittest(at, portal, outcome),
        };
        let account = self.account(portal, who);
        account.comes_out(outcome, at);
        let (auth_type, person) = (account.auth_type, account.person.clone());
        let possible = outcome.auth_type().contains(&auth_type);
        let auth_type = if possible { auth_type } else { outcome.auth_type()[0] };
        self.of(at, portal, &person, |request| request.authentication(auth_type, outcome))
    }

    /// A login, or a call of the API if the user has a session or a token.
    fn by_user(&mut self, at: Millis, user: usize) -> Vec<Event> {
        let account = &self.users[user];
        let (auth_type, role, logged_in) = (account.auth_type, account.role, account.logged_in);
        if !logged_in && !auth_type.is_token() {
            let (outcome, event) = self.attempt(at, None, user);
            self.trying = (outcome != AuthOutcome::Success).then_some(user);
            return vec![event];
        }
        let endpoint = self.endpoint(role);
        let outcome = if auth_type.is_token() {
            self.users[user].attempt(at, &mut self.random)
        } else {
            // The end of a session shows in the next call.
            let lasts = self.random.usize(..50) > 0;
            self.users[user].logged_in = lasts;
            if lasts { AuthOutcome::Success } else { AuthOutcome::TokenExpired }
        };
        let person = self.users[user].person.clone();
        let token = auth_type.is_token().then_some((auth_type, outcome));
        let events = self.to(at, endpoint, &person, role, token, outcome == AuthOutcome::Success);
        if !events.is_empty() {
            return events;
        }
        // The session ended and the call left no entry. The user logs in again.
        vec![self.attempt(at, None, user).1]
    }

    /// A call by Kong itself.
    fn by_kong(&mut self, at: Millis) -> Vec<Event> {
        let endpoint = self.endpoint(Role::Admin);
        let kong = self.kong.clone();
        self.to(at, endpoint, &kong, Role::Admin, None, true)
    }

    /// A call that this role may make; sometimes one that it may not.
    fn endpoint(&mut self, role: Role) -> &'static Endpoint {
        let tried = Endpoint::any(&mut self.random);
        if tried.is_open_to(role) || self.random.f64() < 0.15 {
            return tried;
        }
        std::iter::repeat_with(|| Endpoint::any(&mut self.random))
            .find(|endpoint| endpoint.is_open_to(role))
            .unwrap_or(tried)
    }

    /// The entries of a call: the token if there is one, the permissions, the access.
    fn to(
        &mut self,
        at: Millis,
        endpoint: &Endpoint,
        person: &Person,
        role: Role,
        token: Option<(AuthType, AuthOutcome)>,
        let_in: bool,
    ) -> Vec<Event> {
        let control_plane = &self.control_planes[self.random.usize(..self.control_planes.len())];
        let filled = endpoint.fill(control_plane, &uuid(&mut self.random));
        let mishap = (self.random.f64() < 0.08).then(|| pick(&mut self.random, &MISHAPS));
        self.of(at, None, person, |request| {
            let mut events: Vec<_> = token
                .map(|(auth_type, outcome)| request.authentication(auth_type, outcome))
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

    /// An attempt to log in. The outcome depends on the account.
    fn attempt(&mut self, at: Millis, portal: Option<usize>, who: usize) -> (AuthOutcome, Event) {
        let mut account = self.account(portal, who).clone();
        let outcome = account.attempt(at, &mut self.random);
        let (auth_type, person) = (account.auth_type, account.person.clone());
        *self.account(portal, who) = account;
        (
            outcome,
            self.of(at, portal, &person, |request| request.authentication(auth_type, outcome)),
        )
    }

    /// An attempt to log in by an unknown person with this name.
    fn stranger(
        &mut self,
        at: Millis,
        portal: Option<usize>,
        name: Option<&str>,
        outcome: AuthOutcome,
    ) -> Event {
        let mut stranger = Person::stranger(&mut self.random);
        stranger.principal.name = name.map(str::to_owned);
        let auth_type = pick(&mut self.random, outcome.auth_type());
        // Developers of a portal have no tokens.
        let auth_type =
            if portal.is_some() && auth_type.is_token() { AuthType::Basic } else { auth_type };
        self.of(at, portal, &stranger, |request| request.authentication(auth_type, outcome))
    }

    /// Calls `entries` with a request by `person`.
    fn of<T>(
        &mut self,
        at: Millis,
        portal: Option<usize>,
        person: &Person,
        entries: impl FnOnce(Request<'_>) -> T,
    ) -> T {
        let by_kong = person.principal == self.kong.principal;
        let known = !by_kong && portal.is_none() && !person.principal.id.is_empty();
        let actor = &self.users[self.random.usize(..self.users.len())];
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
            style: self.style,
        })
    }

    /// An account for which this outcome is most plausible.
    fn fittest(&mut self, at: Millis, portal: Option<usize>, outcome: AuthOutcome) -> usize {
        let accounts = self.accounts(portal);
        let fitness = |account: &Account| {
            let possible =
                outcome.auth_type().contains(&account.auth_type) && !account.is_disabled();
            2 * u8::from(account.admits(outcome, at)) + u8::from(possible)
        };
        let best = accounts.iter().map(fitness).max();
        let fittest: Vec<_> =
            (0..accounts.len()).filter(|who| Some(fitness(&accounts[*who])) == best).collect();
        pick(&mut self.random, &fittest)
    }

    /// The index of the account with this name. A new account has a password.
    fn named(&mut self, portal: Option<usize>, name: &str) -> usize {
        let is_named = |one: &Account| one.person.principal.name.as_deref() == Some(name);
        if let Some(who) = self.accounts(portal).iter().position(is_named) {
            return who;
        }
        let mut account = Account::new(AuthType::Basic, Role::Viewer, &mut self.random);
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

    /// The index of the portal with this id, which is added if it is new.
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
            let auth_type = if at % 3 == 0 { AuthType::Sso } else { AuthType::Basic };
            Account::new(auth_type, Role::Viewer, random)
        };
        Portal { id, developers: (0..DEVELOPERS).map(&mut developer).collect() }
    }
}

/// A call of the simulator's own API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApiCall<'a> {
    pub(crate) method: &'a str,
    /// Its path, with the version.
    pub(crate) path: &'a str,
    /// What follows the `?`.
    pub(crate) query: &'a str,
    /// The status of the response.
    pub(crate) status: u16,
    /// The owner of the token; `None` for an unknown token.
    pub(crate) principal: Option<&'a Principal>,
    /// Which sort of token.
    pub(crate) auth_type: AuthType,
    pub(crate) src: &'a str,
    pub(crate) user_agent: &'a str,
    /// From [`Traffic::trace_id`]. It is also in the `instance` of an error.
    pub(crate) trace_id: u64,
}

impl Traffic {
    /// The entries of a call of the simulator's own API at `at`: that its token was recognised or
    /// not, the permission, and the access if it would have changed something.
    pub(crate) fn call(&mut self, at: Millis, call: &ApiCall<'_>) -> Vec<Event> {
        let nobody = Principal { id: String::new(), name: None };
        let request = Request {
            at,
            org_id: &self.org_id,
            portal_id: None,
            principal: call.principal.unwrap_or(&nobody),
            actor_id: None,
            src: call.src,
            user_agent: call.user_agent,
            trace_id: call.trace_id,
            kong_initiated: false,
            style: self.style,
        };
        let outcome = match (call.principal, call.status) {
            (None, _) => AuthOutcome::NotFound,
            (Some(_), 401) => AuthOutcome::TokenExpired,
            (Some(_), _) => AuthOutcome::Success,
        };
        let mut events = vec![request.authentication(call.auth_type, outcome)];
        if outcome == AuthOutcome::Success {
            let (resource, action) = of_audit_logs(call.method, call.path);
            let granted = call.status != 403;
            events.push(request.authorization("konnect", &resource, action, granted));
        }
        if is_change(call.method) {
            events.push(request.access(call.method, call.path, call.query, call.status));
        }
        events
    }
}
