//! What the pages show about the receiver: the settings for Konnect, and a command to try it.
//!
//! The location of the authorization value is shown, never the value itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::{Authorization, Config, Input, Tls};
use crate::konnect::client::Hosts;
use crate::net::{ClientOptions, Proxies};

#[derive(Clone, Debug, Default)]
pub(crate) struct ReceiverInfo {
    /// Whether there is a receiver. If not, entries come from the sources alone.
    pub(super) exists: bool,
    /// Scheme, host and port of the endpoint for Konnect.
    pub(super) base: String,
    /// Scheme, host and port of the endpoint from this machine.
    pub(super) local_base: String,
    pub(super) inputs: Vec<InputInfo>,
    /// Whether the endpoint speaks TLS itself.
    pub(super) tls: bool,
    /// The file of the certificate, if it is self-signed.
    pub(super) self_signed: Option<String>,
    /// Whether Konnect cannot reach the endpoint: it is on a loopback address, and no public URL is
    /// configured.
    pub(super) loopback: bool,
    /// The URLs that a kept request may be sent to.
    pub(super) resend_to: Vec<String>,
    /// Whether an input has a key source.
    pub(super) has_key_source: bool,
    /// The region of Konnect, or the URL of its API, if it is configured.
    pub(super) region: Option<String>,
    /// The settings in effect, without secrets, as TOML.
    pub(super) settings: String,
}

#[derive(Clone, Debug)]
pub(super) struct InputInfo {
    pub(super) name: String,
    pub(super) path: String,
    /// The file of the authorization value, if it was generated. `None` if it was configured.
    pub(super) authorization_file: Option<String>,
}

impl ReceiverInfo {
    /// The information about a receiver that listens on `address`, or about none. `certificate` is its
    /// certificate file if it speaks TLS.
    pub(crate) fn new(
        config: &Config,
        address: Option<SocketAddr>,
        certificate: Option<&Path>,
    ) -> ReceiverInfo {
        let konnect = &config.konnect;
        let hosts = Hosts::chosen(konnect.base_url.as_ref(), konnect.region.as_ref());
        let region = hosts.map(|hosts| hosts.region().to_owned());
        let Some(address) = address else {
            return ReceiverInfo {
                region,
                settings: config.shown(),
                has_key_source: config.inputs.iter().any(|input| !input.keys.is_empty()),
                ..ReceiverInfo::default()
            };
        };
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let mut local = address;
        if address.ip().is_unspecified() {
            local.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let public_url = &config.receiver.public_url;
        let shown = |path: &Path| path.display().to_string();
        let input = |input: &Input| InputInfo {
            name: input.name.clone(),
            path: input.path.clone(),
            authorization_file: match input.authorization {
                Authorization::Generated => Some(shown(&config.data_dir.join("authorization"))),
                Authorization::Given(_) | Authorization::Unused => None,
            },
        };
        ReceiverInfo {
            exists: true,
            base: match public_url {
                Some(url) => url.clone(),
                None if address.ip().is_unspecified() => {
                    format!("{scheme}://HOST:{}", address.port())
                }
                None => format!("{scheme}://{address}"),
            },
            local_base: format!("{scheme}://{local}"),
            inputs: config.inputs.iter().map(input).collect(),
            tls: certificate.is_some(),
            self_signed: certificate.filter(|_| config.receiver.tls == Tls::SelfSigned).map(shown),
            loopback: address.ip().is_loopback() && public_url.is_none(),
            region,
            settings: config.shown(),
            resend_to: config.console.resend_to.clone(),
            has_key_source: config.inputs.iter().any(|input| !input.keys.is_empty()),
        }
    }

    /// How a client reaches the endpoint from this machine.
    ///
    /// A self-signed certificate is checked. Another one is not: its names are those for Konnect,
    /// and not for this address, which is the endpoint's own.
    pub(super) fn client_options(&self) -> ClientOptions {
        ClientOptions {
            ca_file: self.self_signed.as_ref().map(PathBuf::from),
            insecure: self.tls && self.self_signed.is_none(),
            allow_plain_http: true,
            proxies: Proxies::none(),
            pair: None,
        }
    }

    /// A command that delivers one entry.
    pub(super) fn curl(&self) -> String {
        const ENTRY: &str =
            "CEF:0|KongInc|Konnect|1.0|KongGateway|Ingress|1|act=POST status=200 request=/hello";
        let quoted = |path: &str| format!("'{}'", path.replace('\'', r"'\''"));
        let trust = match (&self.self_signed, self.tls) {
            (Some(file), _) => format!(" --cacert {}", quoted(file)),
            (None, true) => " --insecure".to_owned(),
            (None, false) => String::new(),
        };
        let input = self.inputs.first();
        let value = match input.and_then(|input| input.authorization_file.as_deref()) {
            Some(file) => format!("$(cat {})", quoted(file)),
            None => "YOUR VALUE".to_owned(),
        };
        let path = input.map_or("", |input| input.path.as_str());
        format!(
            "curl{trust} \\\n  -H \"Authorization: {value}\" \\\n  --data-binary '{ENTRY}' \\\n  \
             {}{path}",
            self.local_base
        )
    }
}
