//! The login, which exchanges the token for a cookie, and the logout.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use hyper::header::SET_COOKIE;
use hyper::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::shell::Shell;
use super::text::SafeText;
use super::{HtmlProblem, page};
use crate::console::Console;
use crate::console::problem::Problem;
use crate::net::Peer;

#[derive(Template)]
#[template(path = "login.html")]
pub(super) struct LoginPage {
    pub(super) shell: Shell,
    pub(super) fault: Option<SafeText>,
}

/// The form. It has no `Debug`, because it holds a secret.
#[derive(Deserialize)]
pub(super) struct Login {
    token: String,
}

/// `GET /login`
pub(super) async fn show(State(console): State<Arc<Console>>) -> Response {
    match console.guard.asks_for_token() {
        true => answer(StatusCode::OK, None),
        false => Redirect::to("/").into_response(),
    }
}

/// `POST /login`
pub(super) async fn log_in(
    State(console): State<Arc<Console>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    login: Result<Form<Login>, FormRejection>,
) -> Response {
    if !console.guard.asks_for_token() {
        return Redirect::to("/").into_response();
    }
    if console.guard.is_from_own_page(&headers) == Some(false) {
        return answer(StatusCode::FORBIDDEN, Some("the form is not from this console"));
    }
    let Ok(Form(Login { token })) = login else {
        return answer(StatusCode::BAD_REQUEST, Some("the form has no token"));
    };
    let client = console.guard.client(&peer, &headers);
    match console.guard.log_in(token.trim(), client) {
        Ok(cookie) => ([(SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNAUTHORIZED);
            answer(status, Some(&problem.detail))
        }
    }
}

/// `POST /logout`
pub(super) async fn log_out(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    if console.guard.is_from_own_page(&headers) == Some(false) {
        let problem = Problem::forbidden("the form is not from this console");
        return HtmlProblem(problem).into_response();
    }
    let cookie = console.guard.log_out();
    ([(SET_COOKIE, cookie)], Redirect::to("/login")).into_response()
}

fn answer(status: StatusCode, fault: Option<&str>) -> Response {
    let fault = fault.map(|fault| SafeText::truncated(fault, 200));
    page(status, &LoginPage { shell: Shell::bare("Log in"), fault })
}
