//! The page to set Konnect up and to see whether entries arrive: the settings for Konnect, a test
//! entry, a check list, the certificate, the configuration, and what was done through the console.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use hyper::StatusCode;
use serde::Deserialize;

use super::deliveries::verdicts;
use super::done::{DonePage, authorization, said};
use super::explore::FirstDelivery;
use super::faults::{CHOICES, FaultRow};
use super::link::Link;
use super::part::{Part, parts};
use super::shell::Shell;
use super::text::{SafeText, TimeTag, plural};
use super::{HtmlProblem, page, secret_page, uncompressed};
use crate::clock::now;
use crate::console::Console;
use crate::console::actions::{Action, CsrfToken};
use crate::console::problem::Problem;
use crate::console::receiver_info::{InputInfo, ReceiverInfo};
use crate::control::RecordedAction;
use crate::entry::Millis;
use crate::konnect::test_entry::{deliver_once, test_entry};
use crate::net::CertificateInfo;
use crate::receiver::InputEndpoint;
use crate::store::StoredDelivery;

/// The number of recorded actions that are shown.
const ACTIONS: usize = 50;

/// A certificate that expires within this many days is a warning.
const FEW_DAYS: i64 = 21;

/// A day in milliseconds.
const DAY: i64 = 86_400_000;

#[derive(Template)]
#[template(path = "setup.html", blocks = ["main", "listener"])]
pub(super) struct SetupPage {
    pub(super) shell: Shell,
    pub(super) listener: Listener,
    pub(super) endpoints: Vec<EndpointSettings>,
    pub(super) advice: Vec<&'static str>,
    pub(super) first: FirstDelivery,
    pub(super) self_signed: bool,
    pub(super) tls: bool,
    pub(super) certificate: Option<CertificateRow>,
    /// The configuration, as TOML.
    pub(super) settings: SafeText,
    pub(super) inputs: Vec<SafeText>,
    /// The faults that the next deliveries get.
    pub(super) faults: Vec<FaultRow>,
    /// The last actions. `None` if the record cannot be read.
    pub(super) actions: Option<Vec<ActionRow>>,
    /// Present if actions are allowed.
    pub(super) csrf: Option<CsrfToken>,
}

parts!(SetupPage: "main" => as_main, "listener" => as_listener);

/// Whether a delivery has arrived since the page was opened.
pub(super) struct Listener {
    /// The number of the newest delivery when the page was opened.
    pub(super) since: u64,
    /// The address of the page that waits for later ones.
    pub(super) poll: Link,
    pub(super) arrived: Option<Arrived>,
}

pub(super) struct Arrived {
    pub(super) id: u64,
    pub(super) link: Link,
    pub(super) at: TimeTag,
    pub(super) input: SafeText,
    pub(super) peer: SafeText,
    pub(super) lines: String,
    pub(super) verdicts: String,
}

/// The settings of an input for Konnect.
pub(super) struct EndpointSettings {
    pub(super) name: SafeText,
    pub(super) url: SafeText,
    pub(super) authorization: SafeText,
}

pub(super) struct CertificateRow {
    pub(super) names: SafeText,
    pub(super) expires_at: TimeTag,
    pub(super) left: String,
    /// Whether it expires soon, or has expired.
    pub(super) is_late: bool,
    pub(super) is_self_signed: bool,
}

pub(super) struct ActionRow {
    pub(super) at: Option<TimeTag>,
    pub(super) client: SafeText,
    pub(super) user: SafeText,
    pub(super) action: SafeText,
    pub(super) detail: SafeText,
}

/// The parameters of the page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetupParams {
    /// The number of the newest delivery that the visitor has seen.
    since: Option<u64>,
}

/// `GET /setup?since=`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    part: Part,
    params: Result<Query<SetupParams>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, HtmlProblem> {
    let Query(params) = params.map_err(|error| Problem::bad_request(error.body_text()))?;
    let newest = console.read(|reader| reader.deliveries(None, 1)).await?;
    let recorded = match part.includes("main") {
        true => console.actions.newest(ACTIONS).await,
        false => Ok(Vec::new()),
    };
    let shell = console.shell("Setup", "/setup").await;
    let shown = SetupPage {
        // The log says why it cannot be read.
        actions: recorded.ok().map(|all| all.iter().map(action_row).collect()),
        csrf: console.actions.token(),
        faults: console.deliverer.faults.list().iter().map(FaultRow::new).collect(),
        certificate: certificate_row(console.certificate(), now()),
        ..SetupPage::new(shell, Listener::new(params.since, newest.first()), &console.receiver)
    };
    Ok(uncompressed(part.of(StatusCode::OK, &shown)))
}

impl SetupPage {
    /// The page without actions and without a certificate.
    pub(super) fn new(shell: Shell, listener: Listener, receiver: &ReceiverInfo) -> SetupPage {
        SetupPage {
            shell,
            listener,
            endpoints: receiver.inputs.iter().map(|input| endpoint(receiver, input)).collect(),
            advice: advice(receiver),
            first: FirstDelivery::new(receiver),
            self_signed: receiver.self_signed.is_some(),
            tls: receiver.tls,
            certificate: None,
            settings: SafeText::multiline(&receiver.settings),
            inputs: receiver.inputs.iter().map(|input| SafeText::new(&input.name)).collect(),
            faults: Vec::new(),
            actions: Some(Vec::new()),
            csrf: None,
        }
    }
}

impl Listener {
    /// `since` is the newest delivery that the visitor has seen, and `newest` is the newest of all.
    pub(super) fn new(since: Option<u64>, newest: Option<&StoredDelivery>) -> Listener {
        let newest_id = newest.map_or(0, |delivered| delivered.id);
        let since = since.unwrap_or(newest_id);
        Listener {
            since,
            poll: Link::new("/setup", &[("since", &since.to_string())]),
            arrived: newest.filter(|delivered| delivered.id > since).map(arrived),
        }
    }
}

fn arrived(delivered: &StoredDelivery) -> Arrived {
    let verdicts = verdicts(delivered).into_iter().map(|(name, number)| format!("{number} {name}"));
    Arrived {
        id: delivered.id,
        link: Link::to_entries_of(delivered.id),
        at: TimeTag(delivered.received_at),
        input: SafeText::new(&delivered.input),
        peer: SafeText::truncated(&delivered.peer, 200),
        lines: plural(delivered.received, "line", "lines"),
        verdicts: verdicts.collect::<Vec<_>>().join(", "),
    }
}

fn endpoint(receiver: &ReceiverInfo, input: &InputInfo) -> EndpointSettings {
    let authorization = match &input.authorization_file {
        Some(file) => format!("the value in {file}"),
        None => "the configured value".to_owned(),
    };
    EndpointSettings {
        name: SafeText::new(&input.name),
        url: SafeText::new(&format!("{}{}", receiver.base, input.path)),
        authorization: SafeText::new(&authorization),
    }
}

/// What keeps Konnect from delivering, or entries from being verified.
fn advice(receiver: &ReceiverInfo) -> Vec<&'static str> {
    let all = [
        (
            receiver.loopback,
            "The endpoint is on a loopback address, which Konnect cannot reach: use a tunnel or a \
             proxy, and set --public-url to its URL.",
        ),
        (
            receiver.self_signed.is_some(),
            "The certificate is self-signed: for development set skip_ssl_verification on the \
             destination, and in production use a certificate that Konnect trusts.",
        ),
        (
            !receiver.has_key_source,
            "No key source is configured, so signatures cannot be verified: set --region or \
             --jwks.",
        ),
    ];
    all.into_iter().filter(|(applies, _)| *applies).map(|(_, text)| text).collect()
}

pub(super) fn certificate_row(
    certificate: Option<CertificateInfo>,
    now: Millis,
) -> Option<CertificateRow> {
    let CertificateInfo { names, expires_at, is_self_signed } = certificate?;
    let expires_at = Millis::saturating(expires_at.saturating_mul(1000));
    let days = expires_at.get().saturating_sub(now.get()).div_euclid(DAY);
    let left = match u64::try_from(days) {
        Ok(days) => format!("{} left", plural(days, "day", "days")),
        Err(_) => "it has expired".to_owned(),
    };
    Some(CertificateRow {
        names: SafeText::truncated(&names.join(", "), 2000),
        expires_at: TimeTag(expires_at),
        left,
        is_late: days < FEW_DAYS,
        is_self_signed,
    })
}

pub(super) fn action_row(recorded: &RecordedAction) -> ActionRow {
    ActionRow {
        at: TimeTag::parse(&recorded.at),
        client: SafeText::new(&recorded.client.to_string()),
        user: SafeText::truncated(&recorded.user, 40),
        action: SafeText::truncated(&recorded.action, 80),
        detail: SafeText::truncated(&recorded.detail, 400),
    }
}

impl Console {
    /// The input that a form names.
    pub(super) fn input(&self, action: &Action) -> Result<&Arc<InputEndpoint>, Problem> {
        let named = self.inputs.iter().find(|input| input.name == action.field("input"));
        named.ok_or_else(|| Problem::not_found("there is no such input"))
    }

    /// The certificate of the receiver, if it has one.
    fn certificate(&self) -> Option<CertificateInfo> {
        self.tls.as_ref().and_then(|tls| tls.certificate())
    }
}

#[derive(Template)]
#[template(path = "authorization.html")]
pub(super) struct AuthorizationPage {
    pub(super) shell: Shell,
    pub(super) input: SafeText,
    /// The values that the input accepts.
    pub(super) values: Vec<SafeText>,
}

/// `POST /setup/authorization`
pub(super) async fn show_authorization(
    State(console): State<Arc<Console>>,
    action: Action,
) -> Result<Response, HtmlProblem> {
    let input = console.input(&action)?;
    action.record(&console, "show authorization", &input.name).await?;
    let shown = AuthorizationPage {
        shell: console.shell("Authorization", "/setup").await,
        input: SafeText::new(&input.name),
        values: input.authorization.iter().map(|value| SafeText::new(value.expose())).collect(),
    };
    Ok(secret_page(StatusCode::OK, &shown))
}

/// `POST /setup/test`
///
/// The entry is delivered over the network, so that TLS and all of the receiver are tested.
pub(super) async fn send_test(
    State(console): State<Arc<Console>>,
    action: Action,
) -> Result<Response, HtmlProblem> {
    let input = console.input(&action)?;
    let _permit = console.actions.waiting()?;
    let authorization = authorization(input)?;
    let url = format!("{}{}", console.receiver.local_base, input.path);
    let parsed = url.parse().map_err(|error| Problem::internal(&error))?;
    let client = console.client(console.receiver.client_options()).await?;
    action.record(&console, "send test entry", &input.name).await?;
    let line = test_entry(now(), input.expected.org_ids.first().cloned());
    let answered = deliver_once(&client, parsed, authorization, line.clone()).await;
    let (is_good, said) = said(&url, answered);
    let since: u64 = action.field("since").parse().unwrap_or_default();
    let done = DonePage {
        shell: console.shell("Test entry", "/setup").await,
        heading: SafeText::new(match is_good {
            true => "The receiver took the test entry",
            false => "The receiver did not take the test entry",
        }),
        is_good,
        lines: vec![said],
        sent: Some(("The test entry", SafeText::new(&line))),
        back: (Link::new("/setup", &[("since", &since.to_string())]), "Back to the setup"),
    };
    Ok(page(StatusCode::OK, &done))
}
