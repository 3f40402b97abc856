//! What the API, the deliveries and the control surface share.

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

/// How many tokens without the role there may be.
const MAX_TOKENS: usize = 1000;

/// How deliveries are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryPolicy {
    /// When they are tried again.
    pub(super) retry: RetryPolicy,
    /// How many entries a batch has at most.
    pub(super) batch: usize,
    /// How bodies are encoded.
    pub(super) encoding: Encoding,
    /// How long an attempt may take.
    pub(super) timeout: Duration,
}

/// The stand-in but for its network.
#[derive(Debug)]
pub(super) struct Core {
    organization: Mutex<Organization>,
    /// Its clock.
    pub(super) clock: Clock,
    /// How it delivers.
    pub(super) delivery: DeliveryPolicy,
    /// One attempt at a time is made for each webhook.
    pub(super) turns: BTreeMap<WebhookScope, tokio::sync::Mutex<()>>,
    /// Checks certificates.
    pub(super) verifying: Client,
    /// Does not.
    pub(super) insecure: Client,
    token: Secret,
    without_role: Mutex<Vec<Secret>>,
}

impl Core {
    /// Puts it together; `token` is the one with the role that every call needs.
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

    /// The organization. The lock is not held across a wait.
    pub(super) fn organization(&self) -> MutexGuard<'_, Organization> {
        self.organization.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token with the role.
    pub(super) fn token(&self) -> &Secret {
        &self.token
    }

    /// Whether what stands in `Authorization` is a token with the role.
    pub(super) fn authorize(&self, authorization: Option<&[u8]>) -> Result<(), ErrorResponse> {
        // The scheme's letters may be of either case (RFC 9110 section 11.1).
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

    /// Lets in a token that has not the role.
    pub(super) fn add_token_without_role(&self, token: Secret) -> Result<(), ErrorResponse> {
        let mut known = self.without_role.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_TOKENS {
            return Err(ErrorResponse::Conflict("There are as many tokens as there may be"));
        }
        known.push(token);
        Ok(())
    }
}
