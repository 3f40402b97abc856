//! The check of a request that acts, and its record.
//!
//! The console acts only if `console.actions` is set, and only on a POST. A page of another site can
//! make a browser send one, so a POST of a browser must come from a page of the console: by its
//! `Origin`, by `Sec-Fetch-Site` (W3C, "Fetch Metadata Request Headers") if it is there, and by a
//! token in the form that only pages of the console have. A request with the console's token in
//! `Authorization` and without a cookie is that of a script: a page of another site cannot make a
//! browser send it, so it needs none of these.
//!
//! The console changes nothing itself: it asks `output`, `receiver` and `control` to.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequest, Request};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap};
use ring::hmac;
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use super::{Console, guard, problem_response};
use crate::clock::now;
use crate::control::{ActionLog, RecordedAction};
use crate::net::Peer;
use crate::random::{NoRandomBytes, secret_bytes};
use crate::settings::Secret;
use crate::store::Directory;

/// The name of the field with the token.
const FIELD: &str = "csrf";

/// The actions: whether they are allowed, and their record.
#[derive(Debug)]
pub(crate) struct Actions {
    /// `None` if they are not allowed.
    token: Option<CsrfToken>,
    log: Arc<ActionLog>,
    /// The one permit belongs to the action that waits for the network.
    waiting: Arc<Semaphore>,
}

/// The token that the form of an action must have.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct CsrfToken(String);

impl fmt::Debug for CsrfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CsrfToken(hidden)")
    }
}

impl fmt::Display for CsrfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Actions {
    /// The actions of a console that requires the token `token`, if they are allowed. They are
    /// recorded in `directory`.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(crate) fn new(
        are_allowed: bool,
        token: Option<&Secret>,
        directory: &Directory,
    ) -> Result<Actions, NoRandomBytes> {
        let token = are_allowed.then(|| {
            // A new key for each process: the token of a form is worth nothing after a restart.
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret_bytes::<32>()?);
            let session = token.map(guard::session).unwrap_or_default();
            Ok(CsrfToken(URL_SAFE_NO_PAD.encode(hmac::sign(&key, session.as_bytes()))))
        });
        Ok(Actions {
            token: token.transpose()?,
            log: Arc::new(ActionLog::new(directory)),
            waiting: Arc::new(Semaphore::new(1)),
        })
    }

    /// The token for forms. `None` if actions are not allowed: then a page has no forms.
    ///
    /// A page with the token must not be compressed (see `compress`).
    pub(super) fn token(&self) -> Option<CsrfToken> {
        self.token.clone()
    }

    /// The right to wait for the network, which one action has at a time.
    pub(super) fn waiting(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.waiting)
            .try_acquire_owned()
            .map_err(|_| Problem::conflict("another test is running; try again when it has ended"))
    }

    /// The last actions, the newest first.
    pub(super) async fn newest(&self, most: usize) -> Result<Vec<RecordedAction>, Problem> {
        let log = Arc::clone(&self.log);
        let read = tokio::task::spawn_blocking(move || log.newest(most)).await;
        read.map_err(|error| Problem::internal(&error))?
            .map_err(|error| Problem::failed("the record of actions cannot be read", &error))
    }

    /// Whether `given` is the token.
    fn is_token(&self, given: &str) -> bool {
        let ours = self.token.as_ref();
        ours.is_some_and(|token| token.0.as_bytes().ct_eq(given.as_bytes()).into())
    }
}

/// A request that may act: it has passed every check.
#[derive(Debug)]
pub(super) struct Action {
    /// The fields of its form.
    fields: HashMap<String, String>,
    client: IpAddr,
    user: &'static str,
}

impl Action {
    /// A field of the form. A missing one is empty.
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// Records the action, which may be done when this returns.
    ///
    /// # Errors
    /// When it cannot be recorded. Then it must not be done.
    pub(super) async fn record(
        &self,
        console: &Console,
        action: &'static str,
        detail: &str,
    ) -> Result<(), Problem> {
        let recorded = RecordedAction::new(now(), self.client, self.user, action, detail);
        let client = self.client;
        tracing::info!(%client, user = self.user, action, detail = recorded.detail, "an action");
        let log = Arc::clone(&console.actions.log);
        let written = tokio::task::spawn_blocking(move || log.append(&recorded)).await;
        written.map_err(|error| Problem::internal(&error))?.map_err(|error| {
            Problem::failed("the action cannot be recorded, and was not done", &error)
        })
    }
}

impl FromRequest<Arc<Console>> for Action {
    type Rejection = Response;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Action, Response> {
        let headers = request.headers().clone();
        let checked = check(request, &headers, console).await;
        checked.map_err(|problem| problem_response(problem, &headers))
    }
}

async fn check(
    request: Request,
    headers: &HeaderMap,
    console: &Console,
) -> Result<Action, Problem> {
    if console.actions.token.is_none() {
        return Err(Problem::actions_are_off());
    }
    let asks_for_token = console.guard.asks_for_token();
    let is_script =
        asks_for_token && headers.contains_key(AUTHORIZATION) && !headers.contains_key(COOKIE);
    if !is_script {
        check_origin(headers, console)?;
    }
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return Err(Problem::forbidden("the request has no client"));
    };
    let form = Form::<HashMap<String, String>>::from_request(request, &()).await;
    let Form(fields) = form.map_err(|error| Problem::bad_request(error.body_text()))?;
    let action = Action {
        fields,
        client: console.guard.client(&peer, headers),
        user: if asks_for_token { "token" } else { "local" },
    };
    if !is_script && !console.actions.is_token(action.field(FIELD)) {
        return Err(Problem::forbidden(
            "the form is not one of this console, or the console was started again since; reload \
             the page and try again",
        ));
    }
    Ok(action)
}

/// Checks that a browser sends the request for a page of the console.
fn check_origin(headers: &HeaderMap, console: &Console) -> Result<(), Problem> {
    if console.guard.is_from_own_page(headers) != Some(true) {
        return Err(Problem::forbidden(
            "the Origin of the request is not that of this console; if it is one of its names, add \
             it to console.hosts in the configuration",
        ));
    }
    let mut sites = headers.get_all("sec-fetch-site").iter();
    if sites.any(|site| site != "same-origin") {
        return Err(Problem::forbidden("the request comes from another site"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(are_allowed: bool, token: Option<&str>) -> Actions {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::create(&home.path().join("data")).unwrap();
        let token = token.map(|token| Secret::new(token).unwrap());
        Actions::new(are_allowed, token.as_ref(), &directory).unwrap()
    }

    #[test]
    fn a_token_is_that_of_its_process_and_session() {
        let [one, other] = [actions(true, Some("a")), actions(true, None)];
        let token = one.token().unwrap().to_string();
        assert!(one.is_token(&token));
        assert!(!other.is_token(&token));
        // Another process has another key.
        assert!(!actions(true, Some("a")).is_token(&token));
        assert!(!one.is_token("") && !one.is_token(&token[1..]));
        assert!(!format!("{one:?}").contains(&token));
    }

    #[test]
    fn no_token_is_right_if_actions_are_not_allowed() {
        let none = actions(false, None);
        assert!(none.token().is_none() && !none.is_token(""));
    }
}
