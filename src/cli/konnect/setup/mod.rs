//! `vidimus konnect setup`: create the destination and set the webhook, or print the configuration.

pub(super) mod apply;
mod print;

use std::path::PathBuf;

use clap::Args;
use hyper::Uri;

use self::print::{AuthorizationSource, PrintedSetup, Tool};
use super::access::{Access, WebhooksArgs, is_uuid, log_format};
use super::destinations::Authorization;
use super::setup_record::SetupRecords;
use super::waiting::run;
use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::{Output, tell};
use crate::config::{self, AUTHORIZATION_VARIABLE, Config, Input};
use crate::entry::Format;
use crate::konnect::api::CreateDestination;
use crate::settings::Secret;
use crate::store::Directory;

/// Create a destination for this receiver, and point the webhook at it.
///
/// The destination gets the Authorization value of this receiver's input. Running the command again
/// updates the destination. A webhook that points elsewhere is not changed unless --replace is
/// given. The data directory records what was created, so that `teardown` can undo it.
#[derive(Args)]
pub(super) struct Setup {
    /// The URL of this receiver as seen by Konnect, including the path
    #[arg(long, value_name = "URL")]
    endpoint: String,

    #[command(flatten)]
    whose: WebhooksArgs,

    /// The name of the destination [default: vidimus, the region and the portal]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The log format of the entries
    #[arg(long, value_name = "FORMAT", default_value = "cef", value_parser = log_format())]
    log_format: Format,

    /// Tell Konnect not to verify the endpoint's certificate (for development only)
    #[arg(long)]
    skip_ssl_verification: bool,

    /// The configured input to set up [default: the input with the path of the endpoint]
    #[arg(long, value_name = "NAME")]
    input: Option<String>,

    #[command(flatten)]
    authorization: Authorization,

    /// Replace a webhook that points elsewhere; `teardown` restores it
    #[arg(long)]
    replace: bool,

    /// Print the set-up as configuration instead of applying it, without secrets
    #[arg(long, value_name = "FORM")]
    print: Option<Tool>,

    #[command(flatten)]
    access: Access,
}

impl Setup {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        self.check_endpoint()?;
        self.warn_of_other_path()?;
        if let Some(tool) = self.print {
            return self.print(tool);
        }
        let (authorization, client) = (self.secret()?, self.access.client()?);
        let data_dir = self.data_dir()?;
        // The directory for the record must exist before anything is created.
        Directory::create(&data_dir)?;
        let mut records = SetupRecords::read(&data_dir)?;
        run(self.whose.each(&client, async |scope| {
            let wanted = CreateDestination {
                name: self.name(scope.portal())?,
                endpoint: self.endpoint.clone(),
                authorization: authorization.clone(),
                log_format: self.log_format,
                skip_ssl_verification: self.skip_ssl_verification,
            };
            let applied = apply::Applied { temporary: false, replace: self.replace };
            applied.apply(&client, scope, &wanted, &mut records).await?;
            Ok(Exit::Done)
        }))
    }

    fn print(&self, tool: Tool) -> Result<Exit, Failure> {
        let (hosts, portal) = (self.access.hosts()?, self.whose.one.portal.as_deref());
        if self.whose.all_portals || portal.is_some_and(|portal| !is_uuid(portal)) {
            return Err(Failure::usage("--print needs --portal with an id, for it makes no call"));
        }
        let name = self.name(portal)?;
        let setup = PrintedSetup {
            endpoint: &self.endpoint,
            name: &name,
            log_format: self.log_format,
            skip_ssl_verification: self.skip_ssl_verification,
            portal,
            hosts: &hosts,
            authorization: self.authorization_source()?,
        };
        let mut output = Output::new();
        output.text(setup.render(tool)?)?;
        output.flush()?;
        Ok(Exit::Done)
    }

    /// Konnect delivers to https only. A simulator may deliver to http on this machine.
    fn check_endpoint(&self) -> Result<(), Failure> {
        let bad = |why: &str| {
            let endpoint = &self.endpoint;
            Err(Failure::usage(format!("--endpoint is {endpoint:?}, {why}")))
        };
        let Ok(url) = self.endpoint.parse::<Uri>() else { return bad("which is not a URL") };
        match (url.scheme_str(), url.authority()) {
            (Some("https" | "http"), Some(at)) if at.as_str().contains('@') => {
                bad("which contains credentials: use --authorization instead")
            }
            (Some("http"), Some(_)) if self.access.region()?.is_some() => {
                bad("but Konnect delivers to https only")
            }
            (Some("https" | "http"), Some(_)) => Ok(()),
            _ => bad("expected an https URL such as https://siem.example.com/audit-logs"),
        }
    }

    /// Only a warning, because the flags of `serve` are not known here, and a proxy may change the
    /// path.
    fn warn_of_other_path(&self) -> Result<(), Failure> {
        let config = self.config()?;
        let Ok(url) = self.endpoint.parse::<Uri>() else { return Ok(()) };
        let paths: Vec<_> = config.inputs.iter().map(|input| input.path.as_str()).collect();
        if !paths.contains(&url.path()) {
            tell(format_args!(
                "warning: the path of --endpoint is {}, but the configured path of the receiver \
                 is {}: other paths are answered with 404, unless vidimus serve has --path {0} or \
                 a proxy changes the path",
                url.path(),
                paths.join(", ")
            ));
        }
        Ok(())
    }

    /// The name of the destination. Dev Portals have one each.
    fn name(&self, portal: Option<&str>) -> Result<String, Failure> {
        match (&self.name, portal.filter(|_| self.whose.all_portals)) {
            (Some(name), Some(portal)) => return Ok(format!("{name}-{portal}")),
            (Some(name), None) => return Ok(name.clone()),
            (None, _) => {}
        }
        let region = self.access.region()?.map(|region| region.to_string());
        let parts = ["vidimus".to_owned()].into_iter().chain(region);
        Ok(parts.chain(portal.map(str::to_owned)).collect::<Vec<_>>().join("-"))
    }

    fn data_dir(&self) -> Result<PathBuf, Failure> {
        config::data_dir(&self.access.store.flags(), &|name| std::env::var(name).ok())
            .map_err(Failure::usage)
    }

    /// The configuration of the receiver.
    fn config(&self) -> Result<Config, Failure> {
        Config::load(&self.access.store.flags(), &|name| std::env::var(name).ok())
            .map_err(Failure::usage)
    }

    /// The input for the endpoint.
    fn receiver_input(&self) -> Result<Input, Failure> {
        let config = self.config()?;
        config.warnings.iter().for_each(|warning| tell(format_args!("warning: {warning}")));
        let path = self.endpoint.parse::<Uri>().map(|url| url.path().to_owned());
        let path = path.unwrap_or_default();
        let count = config.inputs.len();
        let found = config.inputs.into_iter().find(|input| match &self.input {
            Some(name) => input.name == *name,
            None => count == 1 || input.path == path,
        });
        found.ok_or_else(|| match &self.input {
            Some(name) => {
                Failure::usage(format!("--input is {name:?}, but no [[input]] has this name"))
            }
            None => Failure::usage(format!("no [[input]] has the path {path:?}: use --input")),
        })
    }

    /// The authorization value of the receiver.
    fn secret(&self) -> Result<Secret, Failure> {
        if let Some(secret) = self.authorization.given()? {
            return Ok(secret);
        }
        if let config::Authorization::Given(values) = self.receiver_input()?.authorization
            && let Some(first) = values.into_iter().next()
        {
            return Ok(first);
        }
        let path = self.data_dir()?.join("authorization");
        std::fs::read(&path)
            .map_err(|error| error.to_string())
            .and_then(|bytes| Secret::from_file_contents(&bytes).map_err(|why| why.to_string()))
            .map_err(|why| {
                Failure::usage(format!(
                    "cannot read the authorization value of this receiver in {}: {why}; start \
                     vidimus serve once to create it, or use --authorization-file",
                    path.display()
                ))
            })
    }

    /// The location of the authorization value, for printing without the value.
    fn authorization_source(&self) -> Result<AuthorizationSource, Failure> {
        if let Some(path) = &self.authorization.authorization_file {
            return Ok(AuthorizationSource::File(path.display().to_string()));
        }
        if self.authorization.authorization.is_some()
            || std::env::var_os(AUTHORIZATION_VARIABLE).is_some()
        {
            return Ok(AuthorizationSource::Variable);
        }
        match self.receiver_input()?.authorization {
            config::Authorization::Given(_) => Ok(AuthorizationSource::Variable),
            config::Authorization::Generated | config::Authorization::Unused => {
                let path = self.data_dir()?.join("authorization");
                Ok(AuthorizationSource::File(path.display().to_string()))
            }
        }
    }
}
