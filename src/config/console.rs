//! The section `[console]`: the address of the web page and the API, and who may use them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hyper::http::uri::Authority;
use toml::de::DeValue;

use super::Flags;
use super::receiver::{OR_SELF_SIGNED, Tls, TlsKeys, address};
use crate::settings::units::MAX_SIZE;
use crate::settings::value::{boolean, list, path, size, text};
use crate::settings::{
    ConfigError, LEAST_LEN, Mismatch, PairKeys, Secret, Section, optional, or, settings,
    warn_if_key_exposed,
};

settings! {
    /// The keys of `[console]`.
    pub(crate) struct Console {
        /// The address to listen on. Port 0 takes a free one. An address that others can reach
        /// needs a token.
        pub listen: SocketAddr = or(([127, 0, 0, 1], 8480).into(), address);
        /// The values of `Host` that are accepted besides the address, in lower case.
        pub hosts: Vec<String> = or(Vec::new(), list(host));
        /// Whether visitors may act: test and reset outputs, show the authorization values, inject
        /// faults.
        pub actions: bool = or(false, boolean);
        /// The URLs that a kept request may be sent to again, besides this receiver.
        pub resend_to: Vec<String> = or(Vec::new(), list(url));
        /// The memory for the newest requests to the receiver, in bytes. 0 keeps none.
        pub keep_requests: u64 = or(0, size(0..=MAX_SIZE));
    } with {
        /// The token that a request must have. Without one every user of this machine can read.
        pub token: Option<Secret>,
        /// The certificate: its own, or that of the receiver.
        pub tls: Tls,
    }
}

settings! {
    /// The key of the file with the token.
    pub(super) struct TokenKey {
        token_file: Option<PathBuf> = optional(path);
    }
}

impl Console {
    /// Reads the section `[console]`. Flags override it.
    pub(super) fn resolve(
        flags: &Flags,
        section: &Section<'_>,
        receiver: &Tls,
        warnings: &mut Vec<String>,
    ) -> Result<Console, ConfigError> {
        let token = TokenKey::read(section)?.token_file;
        let token = token
            .map(|file| token_in(&section.setting("token_file"), &file, warnings))
            .transpose()?;
        let tls = tls(&section.table("tls")?, receiver, warnings)?;
        let mut console = Console::read(section, token, tls)?;
        console.listen = flags.console.unwrap_or(console.listen);
        console.keep_requests = flags.keep_requests.unwrap_or(console.keep_requests);
        if console.token.is_none() && !console.listen.ip().to_canonical().is_loopback() {
            let setting = match flags.console {
                Some(_) => "--console".to_owned(),
                None => section.setting("listen"),
            };
            return Err(ConfigError::value(
                setting,
                Mismatch::new(
                    format!("{}, which others can reach", console.listen),
                    "a loopback address such as 127.0.0.1:8480, or console.token_file in the \
                     configuration",
                ),
            ));
        }
        Ok(console)
    }
}

/// Reads the token from the file `path`, which `setting` names.
fn token_in(setting: &str, path: &Path, warnings: &mut Vec<String>) -> Result<Secret, ConfigError> {
    let token = Secret::read(setting, path, warnings)?;
    if token.is_short() {
        let length = token.expose().len();
        let expected =
            format!("at least {LEAST_LEN} bytes, such as those of `openssl rand -hex 16`");
        return Err(ConfigError::value(
            format!("{}, named by {setting},", path.display()),
            Mismatch::new(format!("a token of {length} bytes"), expected),
        ));
    }
    Ok(token)
}

/// The certificate: none unless TLS is enabled; then its own, that of the receiver, or a
/// self-signed one.
fn tls(
    section: &Section<'_>,
    receiver: &Tls,
    warnings: &mut Vec<String>,
) -> Result<Tls, ConfigError> {
    let enabled = TlsKeys::read(section)?.enabled.unwrap_or(false);
    let own = PairKeys::pair(section, OR_SELF_SIGNED)?;
    Ok(match (enabled, own, receiver) {
        (false, ..) => Tls::Off,
        (true, Some(own), _) => {
            warn_if_key_exposed(&section.setting("key_file"), &own, warnings);
            Tls::Files(own)
        }
        (true, None, Tls::Off) => Tls::SelfSigned,
        (true, None, receiver) => receiver.clone(),
    })
}

fn url(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let url = text(value)?;
    let parsed = url.parse::<hyper::Uri>().ok();
    let is_url = parsed.is_some_and(|url| {
        let has_user = url.authority().is_some_and(|one| one.as_str().contains('@'));
        !has_user && url.host().is_some() && matches!(url.scheme_str(), Some("http" | "https"))
    });
    match is_url {
        true => Ok(url.to_owned()),
        false => {
            Err(Mismatch::text(url, "a URL such as \"https://staging.example.com/audit-logs\""))
        }
    }
}

fn host(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let host = text(value)?;
    let authority = host.parse::<Authority>().ok().filter(|_| !host.contains('@'));
    authority.map(|_| host.to_ascii_lowercase()).ok_or_else(|| {
        Mismatch::text(host, "a host as browsers name it, such as \"siem.example.com\"")
    })
}
