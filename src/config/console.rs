//! The section `[console]`: where the web page and the API are, and who may see them.

use std::net::SocketAddr;
use std::path::Path;

use hyper::http::uri::Authority;
use toml::de::DeValue;

use super::Flags;
use super::error::{ConfigError, Mismatch};
use super::file::Section;
use super::receiver::{Tls, address, pair};
use super::secret::{LEAST_LEN, Secret};
use super::value::{boolean, list, path, text};

/// The console's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// Where to listen; port 0 takes a free one. Not a loopback address only with a token.
    pub listen: SocketAddr,
    /// What `Host` may be besides the address itself, in lower case.
    pub hosts: Vec<String>,
    /// What a request must bring. Without one, every user of this machine may read.
    pub token: Option<Secret>,
    /// Its certificate, which is the receiver's unless it has one of its own.
    pub tls: Tls,
}

impl Console {
    /// The section `[console]`, over which the flags go.
    pub(super) fn resolve(
        flags: &Flags,
        section: &Section<'_>,
        receiver: &Tls,
        warnings: &mut Vec<String>,
    ) -> Result<Console, ConfigError> {
        let listen = section.get("listen", address)?;
        let hosts = section.get("hosts", list(host))?.unwrap_or_default();
        let token = section
            .get("token_file", path)?
            .map(|file| token(&section.setting("token_file"), &file, warnings))
            .transpose()?;
        let listen =
            flags.console.or(listen).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8480)));
        if token.is_none() && !listen.ip().to_canonical().is_loopback() {
            let setting = match flags.console {
                Some(_) => "--console".to_owned(),
                None => section.setting("listen"),
            };
            return Err(ConfigError::value(
                setting,
                Mismatch::new(
                    format!("{listen}, which others can reach"),
                    "a loopback address such as 127.0.0.1:8480, or console.token_file in the \
                     configuration",
                ),
            ));
        }
        let tls = tls(&section.table("tls")?, receiver, warnings)?;
        Ok(Console { listen, hosts, token, tls })
    }
}

/// The token in the file `path`, named by `setting`.
fn token(setting: &str, path: &Path, warnings: &mut Vec<String>) -> Result<Secret, ConfigError> {
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
    let enabled = section.get("enabled", boolean)?.unwrap_or(false);
    let (cert_file, key_file) = (section.get("cert_file", path)?, section.get("key_file", path)?);
    let (cert, key) = (section.setting("cert_file"), section.setting("key_file"));
    let own = pair(&cert, cert_file.as_deref(), &key, key_file.as_deref())?;
    Ok(match (enabled, own, receiver) {
        (false, ..) => Tls::Off,
        (true, Some(own), _) => own.warned(&key, warnings),
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
