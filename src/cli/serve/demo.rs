//! `serve --demo`: a simulated Konnect in the same process, set up through its API.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::super::exit::Failure;
use super::super::terminal::tell;
use crate::config::{Authorization, BaseUrl, Config};
use crate::entry::Format;
use crate::keys::KeyRing;
use crate::konnect::api::{CreateDestination, UpdateWebhook, WebhookScope};
use crate::konnect::client::{Client, Hosts};
use crate::konnect::event::JsonTypes;
use crate::konnect::request::EntryStyle;
use crate::konnect::simulator::{Options, Simulator};
use crate::konnect::tampering::{Share, TamperingPlan};
use crate::net::{self, ClientOptions, Shutdown};
use crate::server::Server;
use crate::settings::Secret;

/// The data directory. It is separate, so that simulated entries never mix with real ones.
pub(super) const DATA_DIR: &str = "vidimus-demo";

/// The memory for the newest requests, in bytes.
pub(super) const KEEP_REQUESTS: u64 = 256 << 20;

/// The number of entries per second.
const RATE: u32 = 4;

/// How long to wait for the keys. Earlier entries are verified when the keys arrive.
const KEYS_TIMEOUT: Duration = Duration::from_secs(5);

/// The running simulator.
pub(super) struct Demo {
    url: String,
    token: Secret,
    portals: Vec<String>,
    running: JoinHandle<()>,
}

impl Demo {
    /// Starts a simulator on a free port. Some entries are tampered with, unsigned or sent twice.
    pub(super) async fn start(shutdown: Shutdown) -> Result<Demo, Failure> {
        let share = |text: &str| text.parse::<Share>().map_err(Failure::failed);
        let tampering = TamperingPlan::new(share("3%")?, share("1%")?, share("2%")?)?;
        let options = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            rate: RATE,
            tampering,
            style: EntryStyle { json_types: JsonTypes::Examples, principal_names: true },
            ..Options::default()
        };
        let simulator = Simulator::start(options).await?;
        Ok(Demo {
            url: simulator.url(),
            token: simulator.token().clone(),
            portals: simulator.portals().iter().map(|portal| portal.id.clone()).collect(),
            running: tokio::spawn(simulator.run(shutdown)),
        })
    }

    /// The URL of its key set.
    pub(super) fn key_set(&self) -> String {
        format!("{}/v2/audit-log-webhook/jwks.json", self.url)
    }

    /// The values for the ready file.
    pub(super) fn ready(&self) -> [(&'static str, serde_json::Value); 3] {
        [
            ("api", self.url.as_str().into()),
            ("token", self.token.expose().into()),
            ("portals", self.portals.clone().into()),
        ]
    }

    /// Creates a destination for the receiver at `endpoint`, and points the webhooks of the
    /// organization and its Dev Portals at it.
    pub(super) async fn set_up(
        &self,
        endpoint: String,
        authorization: Secret,
        keys: &KeyRing,
    ) -> Result<(), Failure> {
        keys_arrived(keys).await;
        let net = net::Client::new(ClientOptions::default())?;
        let base: BaseUrl = self.url.parse()?;
        let client = Client::new(net, Hosts::at(&base), self.token.clone());
        let destination = CreateDestination {
            name: "vidimus-demo".to_owned(),
            endpoint,
            authorization,
            log_format: Format::Cef,
            // The certificate is self-signed.
            skip_ssl_verification: true,
        };
        let made = client.create_destination(&destination).await?;
        let scopes = std::iter::once(WebhookScope::Organization)
            .chain(self.portals.iter().map(|id| WebhookScope::Portal(id.clone())));
        for scope in scopes {
            let update = UpdateWebhook {
                audit_log_destination_id: Some(made.id.clone()),
                enabled: Some(true),
            };
            client.update_webhook(&scope, &update).await?;
        }
        Ok(())
    }

    /// Waits until the simulator has stopped.
    pub(super) async fn ended(self) {
        let _ = self.running.await;
    }
}

/// Waits for the first keys, but not for long.
pub(in crate::cli) async fn keys_arrived(keys: &KeyRing) {
    let arrived = async {
        while keys.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(KEYS_TIMEOUT, arrived).await;
}

/// The authorization value of the receiver.
pub(in crate::cli) fn authorization(config: &Config, server: &Server) -> Result<Secret, Failure> {
    if let Some(path) = &server.generated_authorization {
        let contents = std::fs::read(path)?;
        return Secret::from_file_contents(&contents).map_err(Failure::failed);
    }
    let given = config.inputs.first().and_then(|input| match &input.authorization {
        Authorization::Given(values) => values.first().cloned(),
        Authorization::Generated | Authorization::Unused => None,
    });
    given.ok_or_else(|| Failure::failed("no Authorization is configured"))
}

/// Prints on standard error what the demo does and where to look.
pub(super) fn banner(config: &Config, console: &str) {
    let data = config.data_dir.display();
    tell("");
    tell("This is a demo: a simulated Konnect in this process delivers signed entries.");
    tell("Some are tampered with, unsigned or sent twice.");
    tell("");
    tell(format_args!("  Console  {console}"));
    tell(format_args!("  Entries  vidimus query --data-dir {data}"));
    tell(format_args!("           vidimus query --data-dir {data} verdict:invalid"));
    tell("");
    tell(format_args!("Everything is stored in {data}. Delete it when you are done."));
    tell("");
}
