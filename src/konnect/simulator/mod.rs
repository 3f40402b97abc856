//! A simulator of Konnect: its audit-log API, its key set, and its deliveries with their retries.
//!
//! - [`organization`] holds the state: the signing keys, the [`destinations`], the [`webhook`]s with
//!   their queues, and the [`log`] of entries. [`traffic`](super::traffic) makes the entries.
//! - [`mod@router`] has the table of all operations. [`body`] and [`query`] read requests,
//!   [`operations`], [`pull`] and [`control`] carry them out, and [`response`] builds the answers.
//! - [`deliverer`] sends what is due. [`clock`] is the time, which a test can set.
//!
//! It follows Kong's OpenAPI documents (see [`api`](super::api)) and the page "Konnect and Dev
//! Portal audit logs". Everything is in memory and is lost when the simulator ends.

mod body;
mod clock;
mod control;
mod core;
mod deliverer;
mod destinations;
mod log;
mod operations;
mod organization;
mod portals;
mod pull;
mod query;
mod response;
mod router;
#[cfg(test)]
mod tests;
mod webhook;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, MissedTickBehavior, interval};

pub(crate) use self::clock::Clock;
pub(crate) use self::portals::Portal;

use self::control::new_token;
use self::core::{Core, DeliveryPolicy};
use self::organization::{Organization, OrganizationOptions};
use self::router::{handle, router};
use super::batch::Encoding;
use super::deliver::RetryPolicy;
use super::event::JsonTypes;
use super::request::EntryStyle;
use super::sign::SignerError;
use super::tampering::TamperingPlan;
use crate::net::{
    ConnectionRefusal, Limits, ListenError, Listener, ListenerObserver, PairFiles, Peer, ServerTls,
    Shutdown, TlsError, check_names, ensure_self_signed,
};
use crate::random::uuid;
use crate::settings::Secret;

/// How often it is looked for what is due, and traffic is made.
const TICK: Duration = Duration::from_millis(200);

/// How many entries are kept at most by default.
pub(crate) const MOST_ENTRIES: usize = 250_000;

/// What the simulator is started with.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// The file of its self-signed certificate, made if it is not there; without it, plain HTTP.
    pub(crate) tls: Option<PathBuf>,
    /// What the certificate is for, besides this machine.
    pub(crate) tls_names: Vec<String>,
    /// The token; without it, one is made.
    pub(crate) token: Option<Secret>,
    /// How many entries of made-up traffic there are a second.
    pub(crate) rate: u32,
    /// Repeats organization, portals and traffic; without it, they are made at random.
    pub(crate) seed: Option<u64>,
    /// How deliveries are encoded.
    pub(crate) encoding: Encoding,
    /// What becomes of the entries of made-up traffic.
    pub(crate) tampering: TamperingPlan,
    /// The Dev Portals; without any, one is made.
    pub(crate) portals: Vec<Portal>,
    /// The id of the organization; without it, one is made.
    pub(crate) org_id: Option<String>,
    /// How long entries are kept.
    pub(crate) retention: Duration,
    /// How many entries are kept at most, whatever the retention.
    pub(crate) most: usize,
    pub(crate) style: EntryStyle,
    /// When deliveries are tried again.
    pub(crate) retry: RetryPolicy,
    /// How many entries a batch has at most.
    pub(crate) batch: usize,
    /// How long an attempt to deliver may take.
    pub(crate) attempt_timeout: Duration,
    pub(crate) clock: Clock,
}

impl Default for Options {
    /// Konnect's ways, and no traffic by itself.
    fn default() -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 8490)),
            tls: None,
            tls_names: Vec::new(),
            token: None,
            rate: 0,
            seed: None,
            encoding: Encoding::ApplicationGzip,
            tampering: TamperingPlan::genuine(),
            portals: Vec::new(),
            org_id: None,
            retention: Duration::from_secs(7 * 24 * 60 * 60),
            most: MOST_ENTRIES,
            style: EntryStyle { json_types: JsonTypes::Examples, principal_names: false },
            retry: RetryPolicy::KONNECT,
            batch: 500,
            attempt_timeout: Duration::from_secs(30),
            clock: Clock::running(),
        }
    }
}

/// Why the simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The keys that sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The system.
    #[error("the system gives no random numbers to make a token from")]
    NoRandomness,
}

/// A simulator that is bound.
#[derive(Debug)]
pub(crate) struct Simulator {
    listener: Listener,
    core: Arc<Core>,
    rate: u32,
    portals: Vec<Portal>,
    org_id: String,
    certificate: Option<PathBuf>,
}

impl Simulator {
    /// Binds the address, in a runtime of tokio.
    ///
    /// # Errors
    /// When the address or the certificate cannot be used, or the system has no random numbers.
    pub(crate) async fn start(options: Options) -> Result<Simulator, StartError> {
        let tls = match &options.tls {
            None => None,
            Some(path) => {
                let now = jiff::Timestamp::from_millisecond(options.clock.now().get());
                let own = options.listen.ip();
                let own = (!own.is_unspecified()).then(|| own.to_string());
                let names: Vec<_> = own.into_iter().chain(options.tls_names.clone()).collect();
                ensure_self_signed(path, &names, now.unwrap_or_default())?;
                check_names(path, &options.tls_names)?;
                Some(Arc::new(ServerTls::load(PairFiles::combined(path.clone()))?))
            }
        };
        let listener = Listener::bind(options.listen, tls).await?;
        let (certificate, rate) = (options.tls.clone(), options.rate);
        let (core, org_id, portals) = assemble(options)?;
        Ok(Simulator { listener, core: Arc::new(core), rate, portals, org_id, certificate })
    }

    /// The address, with the real port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// The URL of the API, without a slash at its end.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    /// The token that its API takes.
    pub(crate) fn token(&self) -> &Secret {
        self.core.token()
    }

    /// The Dev Portals.
    pub(crate) fn portals(&self) -> &[Portal] {
        &self.portals
    }

    /// The id of the organization.
    pub(crate) fn org_id(&self) -> &str {
        &self.org_id
    }

    /// Where the certificate is, if there is TLS.
    pub(crate) fn certificate(&self) -> Option<&PathBuf> {
        self.certificate.as_ref()
    }

    /// Answers and delivers until shutdown; a delivery in flight is dropped then.
    pub(crate) async fn run(self, mut shutdown: Shutdown) {
        let mut tasks = tokio::task::JoinSet::new();
        let scopes: Vec<_> = self.core.organization().scopes().cloned().collect();
        for scope in scopes {
            let core = Arc::clone(&self.core);
            tasks.spawn(async move {
                let mut ticks = ticks();
                loop {
                    ticks.tick().await;
                    core.deliver(&scope, false).await;
                }
            });
        }
        tasks.spawn(happen(Arc::clone(&self.core), self.rate));
        let router = router(self.core);
        let service = move |request, peer: Peer| handle(router.clone(), request, peer.address.ip());
        let serving =
            self.listener.serve(service, Limits::default(), Arc::new(EntryLog), shutdown.clone());
        let stopped = async {
            shutdown.begun().await;
            tasks.shutdown().await;
        };
        tokio::join!(serving, stopped);
    }
}

/// The simulator but for its network, the id of its organization, and its portals.
fn assemble(options: Options) -> Result<(Core, String, Vec<Portal>), StartError> {
    let mut made = options.seed.map_or_else(Rng::new, Rng::with_seed);
    let org_id = options.org_id.unwrap_or_else(|| uuid(&mut made));
    let portals = match options.portals {
        none if none.is_empty() => vec![Portal::unnamed(uuid(&mut made), 1)],
        some => some,
    };
    let organization = OrganizationOptions {
        seed: made.u64(..),
        org_id: org_id.clone(),
        portals: portals.clone(),
        retention: i64::try_from(options.retention.as_millis()).unwrap_or(i64::MAX),
        most: options.most,
        tampering: options.tampering,
        style: options.style,
        made_at: options.clock.now(),
    };
    let organization = Organization::new(organization, made)?;
    let delivery = DeliveryPolicy {
        retry: options.retry,
        batch: options.batch.max(1),
        encoding: options.encoding,
        timeout: options.attempt_timeout,
    };
    let token = match options.token {
        Some(token) => token,
        None => new_token().ok_or(StartError::NoRandomness)?,
    };
    Ok((Core::new(organization, options.clock, delivery, token)?, org_id, portals))
}

/// Makes `rate` entries of traffic a second, by the machine's time: a clock that is moved ahead
/// passes over what would have happened.
async fn happen(core: Arc<Core>, rate: u32) {
    if rate == 0 {
        return;
    }
    let mut ticks = ticks();
    let (start, mut made) = (Instant::now(), 0);
    loop {
        ticks.tick().await;
        let due = start.elapsed().as_millis().saturating_mul(rate.into()) / 1000;
        let (mut organization, now) = (core.organization(), core.clock.now());
        while made < due {
            made += organization.happen(now);
        }
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Logs the refusals of the listener.
struct EntryLog;

impl ListenerObserver for EntryLog {
    fn refused(&self, peer: SocketAddr, why: ConnectionRefusal) {
        tracing::warn!(%peer, %why, "a connection was refused");
    }

    fn accept_failed(&self, error: &io::Error) {
        tracing::error!(%error, "connections cannot be accepted; trying again");
    }
}

/// Whether a text can be the id of a Dev Portal or an organization in a path and an entry.
pub(crate) fn is_id(text: &str) -> bool {
    let is_character = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=100).contains(&text.len()) && text.chars().all(is_character)
}
