//! Arguments that the Konnect commands share: the access token, the hosts, the webhook, the time
//! range.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cli::args::StoreArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::tell;
use crate::clock::now;
use crate::config::{self, BaseUrl, Region};
use crate::entry::Format;
use crate::entry::Millis;
use crate::konnect::api::WebhookScope;
use crate::konnect::client::{Client, Hosts};
use crate::net::{self, ClientOptions};
use crate::search::time;
use crate::settings::{Mismatch, Secret};

/// How to call the API. It has no `Debug`, because it may contain the token.
#[derive(Args)]
pub(super) struct Access {
    /// The access token. The shell history keeps it, so prefer --token-file
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,

    /// Read the access token from this file [env: KONNECT_TOKEN holds the token itself]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// The region of the webhook: us, eu, au, me, in, sg, or another
    #[arg(long, value_name = "REGION", value_parser = region)]
    region: Option<Region>,

    /// Call the API at this URL, such as that of `vidimus simulate`. http is allowed on the
    /// loopback address only
    #[arg(long, value_name = "URL")]
    base_url: Option<BaseUrl>,

    /// Trust the certificates in this PEM file: a CA, or the simulator's self-signed certificate
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,

    #[command(flatten)]
    pub(super) store: StoreArgs,
}

/// Parses a region other than `auto`.
fn region(text: &str) -> Result<Region, String> {
    match text.parse() {
        Ok(Region::Auto) => Err("expected one region: auto is for keys only".to_owned()),
        parsed => parsed.map_err(|mismatch: Mismatch| mismatch.to_string()),
    }
}

/// The parser of `--log-format`.
pub(super) fn log_format() -> impl TypedValueParser<Value = Format> {
    let words: Vec<_> = Format::DELIVERED.iter().map(|format| format.as_str()).collect();
    PossibleValuesParser::new(words).try_map(|word| word.parse())
}

impl Access {
    pub(super) fn settings(&self) -> Result<config::Konnect, Failure> {
        config::konnect(&self.store.flags()).map_err(Failure::usage)
    }

    /// The hosts of the API. Flags override the configuration.
    pub(super) fn hosts(&self) -> Result<Hosts, Failure> {
        let settings = self.settings()?;
        let (base, region) = match (&self.base_url, &self.region) {
            (None, None) => (settings.base_url.as_ref(), settings.region.as_ref()),
            given => (given.0.as_ref(), given.1.as_ref()),
        };
        Hosts::chosen(base, region).ok_or_else(|| {
            Failure::usage(
                "no region: use --region us (or eu, au, me, in, sg, …), set konnect.region in the \
                 configuration, or use --base-url for a simulator",
            )
        })
    }

    /// The region, unless there is a base URL.
    pub(super) fn region(&self) -> Result<Option<Region>, Failure> {
        let settings = self.settings()?;
        Ok(match (&self.base_url, &self.region) {
            (Some(_), _) => None,
            (None, Some(region)) => Some(region.clone()),
            (None, None) if settings.base_url.is_some() => None,
            (None, None) => settings.region,
        })
    }

    pub(super) fn client(&self) -> Result<Client, Failure> {
        let hosts = self.hosts()?;
        let token = self.secret()?;
        let options = ClientOptions { ca_file: self.cacert.clone(), ..ClientOptions::default() };
        let net = net::Client::new(options).map_err(Failure::usage)?;
        Ok(Client::new(net, hosts, token))
    }

    /// The flags with which another command calls the same API, each with a leading space.
    pub(super) fn repeated(&self) -> String {
        let mut flags = String::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                flags += &format!(" {name} {}", quoted(&value));
            }
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        add("--region", self.region.as_ref().map(Region::to_string));
        add("--base-url", self.base_url.as_ref().map(BaseUrl::to_string));
        add("--token-file", path(&self.token_file));
        add("--cacert", path(&self.cacert));
        let place = self.store.flags();
        add("--config", path(&place.config));
        add("--data-dir", path(&place.data_dir));
        flags
    }

    fn secret(&self) -> Result<Secret, Failure> {
        if let Some(token) = &self.token {
            tell(
                "warning: the shell history keeps a token on the command line, and other users of \
                 this machine can see it: use --token-file",
            );
            return Secret::new(token).map_err(|why| Failure::usage(format!("--token: {why}")));
        }
        let mut warnings = Vec::new();
        let token = match &self.token_file {
            Some(file) => Secret::read("--token-file", file, &mut warnings).map(Some),
            None => self.settings()?.token(&|name| std::env::var(name).ok(), &mut warnings),
        };
        warnings.iter().for_each(|warning| tell(format_args!("warning: {warning}")));
        token.map_err(Failure::usage)?.ok_or_else(|| {
            Failure::usage(
                "no access token: use --token-file, set KONNECT_TOKEN, or set [konnect] \
                 token_file in the configuration",
            )
        })
    }
}

/// Parses an id or a name.
pub(super) fn name_or_id(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" | "." | ".." => Err("expected a name, or an id such as a UUID"),
        text => Ok(text.to_owned()),
    }
}

/// Finds what has the id or else the name `wanted` among `all`, whose ids and names `of` gives.
///
/// # Errors
/// When nothing has it, or several have the name.
pub(super) fn find<'a, T>(
    what: &str,
    wanted: &str,
    all: &'a [T],
    of: impl Fn(&T) -> (&str, &str),
) -> Result<&'a T, Failure> {
    if let Some(found) = all.iter().find(|one| of(one).0.eq_ignore_ascii_case(wanted)) {
        return Ok(found);
    }
    let named: Vec<_> = all.iter().filter(|one| of(one).1 == wanted).collect();
    let ids = |some: &[&T]| -> String {
        let shown: Vec<_> = some.iter().take(20).map(|one| of(one)).collect();
        let shown = shown.iter().map(|(id, name)| format!("{id} ({name})"));
        shown.collect::<Vec<_>>().join(", ")
    };
    match named.as_slice() {
        [found] => Ok(found),
        [] if all.is_empty() => {
            Err(Failure::failed(format!("there is no {what} {wanted:?}: there are none")))
        }
        [] => {
            let all = ids(&all.iter().collect::<Vec<_>>());
            Err(Failure::failed(format!("there is no {what} {wanted:?}, only {all}")))
        }
        several => {
            let several = ids(several);
            Err(Failure::failed(format!("several {what}s are named {wanted:?}: {several}")))
        }
    }
}

/// Whether a text is the id of a resource of Konnect, so that it need not be looked for.
pub(super) fn is_uuid(text: &str) -> bool {
    text.parse::<uuid::fmt::Hyphenated>().is_ok()
}

/// Quotes a word for a shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The arguments to show something of a webhook.
#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    pub(super) whose: WebhookArgs,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(super) output: PrintFormat,

    #[command(flatten)]
    pub(super) access: Access,
}

/// Selects the webhook of the organization or of a Dev Portal.
#[derive(Args)]
pub(super) struct WebhookArgs {
    /// Use the webhook of this Dev Portal instead of the organization's webhook
    #[arg(long, value_name = "NAME-OR-ID", value_parser = name_or_id)]
    pub(super) portal: Option<String>,
}

impl WebhookArgs {
    /// The webhook. A Dev Portal that is given by its name is looked for.
    pub(super) async fn scope(&self, client: &Client) -> Result<WebhookScope, Failure> {
        let Some(wanted) = &self.portal else { return Ok(WebhookScope::Organization) };
        if is_uuid(wanted) {
            return Ok(WebhookScope::Portal(wanted.clone()));
        }
        let portals = client.portals().await?;
        let found = find("Dev Portal", wanted, &portals, |one| (&one.id, &one.name))?;
        Ok(WebhookScope::Portal(found.id.clone()))
    }
}

/// Selects the webhook of the organization, or those of Dev Portals.
#[derive(Args)]
pub(super) struct WebhooksArgs {
    #[command(flatten)]
    pub(super) one: WebhookArgs,

    /// Use the webhook of each Dev Portal
    #[arg(long, conflicts_with = "portal")]
    pub(super) all_portals: bool,
}

impl WebhooksArgs {
    pub(super) async fn scopes(&self, client: &Client) -> Result<Vec<WebhookScope>, Failure> {
        if !self.all_portals {
            return Ok(vec![self.one.scope(client).await?]);
        }
        let portals = client.portals().await?;
        if portals.is_empty() {
            return Err(Failure::failed(format!(
                "there are no Dev Portals at {}",
                client.hosts().regional()
            )));
        }
        Ok(portals.into_iter().map(|portal| WebhookScope::Portal(portal.id)).collect())
    }

    /// Calls `each` with every webhook. With several, a failure does not end the others. The exit
    /// code is negative if one is.
    pub(super) async fn each(
        &self,
        client: &Client,
        mut each: impl AsyncFnMut(&WebhookScope) -> Result<Exit, Failure>,
    ) -> Result<Exit, Failure> {
        let scopes = self.scopes(client).await?;
        let (mut exit, mut failed) = (Exit::Done, 0);
        for scope in &scopes {
            match each(scope).await {
                Ok(Exit::Done) => {}
                Ok(other) => exit = other,
                Err(failure) if scopes.len() > 1 => {
                    tell(format_args!("Dev Portal {scope}: {failure}"));
                    failed += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
        match failed {
            0 => Ok(exit),
            _ => Err(Failure::failed(format!("{failed} of {} Dev Portals failed", scopes.len()))),
        }
    }
}

/// The flag that selects a webhook in another command, with a leading space.
pub(super) fn portal_flag(scope: &WebhookScope) -> String {
    scope.portal().map_or_else(String::new, |id| format!(" --portal {}", quoted(id)))
}

/// A time range with a required start.
#[derive(Args)]
pub(super) struct RangeArgs {
    /// Start at this time: RFC 3339, a date, or an age (15m, 6h, 7d)
    #[arg(long, value_name = "TIME")]
    since: String,

    /// End at this time [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl RangeArgs {
    /// The start and the end.
    pub(super) fn ends(&self) -> Result<(Millis, Millis), Failure> {
        let since = moment("--since", &self.since)?;
        let until = self.until.as_deref().map(|until| moment("--until", until)).transpose()?;
        let until = until.unwrap_or_else(now);
        if since >= until {
            let why = format!("--since is {since}, which is not before {until}");
            return Err(Failure::usage(why));
        }
        Ok((since, until))
    }
}

/// Parses the time of a flag.
pub(super) fn moment(flag: &str, text: &str) -> Result<Millis, Failure> {
    let time = time::parse(text, now().get());
    time.map(Millis::saturating).map_err(|error| Failure::usage(format!("{flag}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_id_is_found_before_what_has_the_name() {
        assert!(["", " ", ".", ".."].into_iter().all(|text| name_or_id(text).is_err()));
        let all = [("1", "a"), ("2", "b"), ("3", "b"), ("4", "1")];
        let id = |wanted: &str, all: &[(&str, &str)]| {
            let found = find("destination", wanted, all, |one| (one.0, one.1));
            found.map(|one| one.0.to_owned()).map_err(|failure| failure.to_string())
        };
        assert_eq!(id("1", &all), Ok("1".to_owned()));
        assert_eq!(id("a", &all), Ok("1".to_owned()));
        let several = "several destinations are named \"b\": 2 (b), 3 (b)";
        assert_eq!(id("b", &all), Err(several.to_owned()));
        let none = "there is no destination \"c\", only 1 (a), 2 (b), 3 (b), 4 (1)";
        assert_eq!(id("c", &all), Err(none.to_owned()));
        assert!(id("c", &[]).unwrap_err().ends_with("there are none"));
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        for (word, expected) in [
            ("http://127.0.0.1:8490", "http://127.0.0.1:8490"),
            ("2025-05-16T20:09:54.000Z", "2025-05-16T20:09:54.000Z"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
