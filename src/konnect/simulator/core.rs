//! The state that the API, the deliveries and the control API share.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::Clock;
use super::organization::Organization;
use super::response::ErrorResponse;
use crate::konnect::api::WebhookScope;
use crate::konnect::batch::Encoding;
use crate::konnect::deliver::RetryPolicy;
use crate::net::{Client, ClientOptions, TlsError};
use crate::settings::{Secret, any_matches};

/// The maximum number of tokens without the role.
const MAX_TOKENS: usize = 1000;

/// How deliveries are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryPolicy {
    pub(super) retry: RetryPolicy,
    /// The maximum number of entries per batch.
    pub(super) batch: usize,
    pub(super) encoding: Encoding,
    /// The time-out of an attempt.
    pub(super) timeout: Duration,
}

/// The simulator without its listener.
#[derive(Debug)]
pub(super) struct Core {
    organization: Mutex<Organization>,
    pub(super) clock: Clock,
    pub(super) delivery: DeliveryPolicy,
    /// Held during an attempt: each webhook makes one at a time.
    pub(super) turns: BTreeMap<WebhookScope, tokio::sync::Mutex<()>>,
    /// This client checks certificates.
    pub(super) verifying: Client,
    /// This one does not.
    pub(super) insecure: Client,
    token: Secret,
    without_role: Mutex<Vec<Secret>>,
}

impl Core {
    /// `token` has the role that every call needs.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub(super) fn new(
        organization: Organization,
        clock: Clock,
        delivery: DeliveryPolicy,
        token: Secret,
    ) -> Result<Core, TlsError> {
        let client = |insecure| Client::new(ClientOptions { insecure, ..ClientOptions::default() });
        let turns = organization.scopes().map(|scope| (scope.clone(), Default::default()));
        Ok(Core {
            turns: turns.collect(),
            organization: Mutex::new(organization),
            clock,
            delivery,
            verifying: client(false)?,
            insecure: client(true)?,
            token,
            without_role: Mutex::default(),
        })
    }

    /// Locks the organization. The lock must not be held across an `await`.
    pub(super) fn organization(&self) -> MutexGuard<'_, Organization> {
        self.organization.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn token(&self) -> &Secret {
        &self.token
    }

    /// Checks that the header `Authorization` has a token with the role.
    pub(super) fn authorize(&self, authorization: Option<&[u8]>) -> Result<(), ErrorResponse> {
        // The scheme is case-insensitive (RFC 9110 section 11.1).
        let (scheme, token) = authorization
            .and_then(|value| value.split_at_checked("Bearer ".len()))
            .ok_or(ErrorResponse::Unauthorized)?;
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return Err(ErrorResponse::Unauthorized);
        }
        if self.token.matches(token) {
            return Ok(());
        }
        let known = self.without_role.lock().unwrap_or_else(PoisonError::into_inner);
        Err(if any_matches(&known, token) {
            ErrorResponse::Forbidden
        } else {
            ErrorResponse::Unauthorized
        })
    }

    pub(super) fn add_token_without_role(&self, token: Secret) -> Result<(), ErrorResponse> {
        let mut known = self.without_role.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_TOKENS {
            return Err(ErrorResponse::Conflict("There are as many tokens as there may be"));
        }
        known.push(token);
        Ok(())
    }
}
