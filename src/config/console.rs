//! The section `[console]`: where the web page and the API are, and who may see them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hyper::http::uri::Authority;
use toml::de::DeValue;

use super::Flags;
use super::receiver::{OR_SELF_SIGNED, Tls, TlsKeys, address};
use crate::settings::value::{list, path, text};
use crate::settings::{
    ConfigError, LEAST_LEN, Mismatch, PairKeys, Secret, Section, optional, or, settings,
    warn_if_key_exposed,
};

settings! {
    /// The console's settings.
    pub struct Console {
        /// Where to listen; port 0 takes a free one. Not a loopback address only with a token.
        pub listen: SocketAddr = or(([127, 0, 0, 1], 8480).into(), address);
        /// What `Host` may be besides the address itself, in lower case.
        pub hosts: Vec<String> = or(Vec::new(), list(host));
    } with {
        /// What a request must bring. Without one, every user of this machine may read.
        pub token: Option<Secret>,
        /// Its certificate, which is the receiver's unless it has one of its own.
        pub tls: Tls,
    }
}

settings! {
    /// The key that names the file of the token.
    pub(super) struct TokenKey {
        token_file: Option<PathBuf> = optional(path);
    }
}

impl Console {
    /// The section `[console]`, over which the flags go.
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

/// The token in the file `path`, named by `setting`.
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

/// The certificate: none unless it is asked for, then its own, or the receiver's, or the self-signed
/// one where the receiver has none.
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

fn host(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let host = text(value)?;
    let authority = host.parse::<Authority>().ok().filter(|_| !host.contains('@'));
    authority.map(|_| host.to_ascii_lowercase()).ok_or_else(|| {
        Mismatch::text(host, "a host as browsers name it, such as \"siem.example.com\"")
    })
}
