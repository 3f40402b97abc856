//! The authorization value and the certificates, as configured or made on the first run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use crate::clock::now;
use crate::config::{Config, Tls};
use crate::net::{PairFiles, Reload, ServerTls, TlsError, ensure_self_signed};
use crate::private_file;
use crate::random::secret_text;
use crate::settings::Secret;

/// The authorization value in the file at `path`. If there is no such file, a value of 256 random bits
/// in base64url is made and written to it.
pub(super) fn generated_authorization(path: &Path) -> Result<Secret, String> {
    match fs::read(path) {
        Ok(contents) => Secret::from_file_contents(&contents).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let random = secret_text().map_err(|error| error.to_string())?;
            let value = format!("Bearer {random}");
            private_file::write(path, format!("{value}\n")).map_err(|error| error.to_string())?;
            Secret::new(&value).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The certificate that `tls` selects, and its file.
pub(super) fn load_certificate(
    config: &Config,
    tls: &Tls,
) -> Result<(Option<Arc<ServerTls>>, Option<PathBuf>), TlsError> {
    let files = match tls {
        Tls::Off => return Ok((None, None)),
        Tls::Files(files) => files.clone(),
        Tls::SelfSigned => {
            let path = config.data_dir.join("tls.pem");
            let time = jiff::Timestamp::from_millisecond(now().get()).unwrap_or_default();
            ensure_self_signed(&path, &certificate_names(config), time)?;
            PairFiles::combined(path)
        }
    };
    let certificate = files.certificate.clone();
    Ok((Some(Arc::new(ServerTls::load(files)?)), Some(certificate)))
}

/// The names of a self-signed certificate, besides those of the loopback address.
fn certificate_names(config: &Config) -> Vec<String> {
    let url = config.receiver.public_url.as_deref().and_then(|url| url.parse::<hyper::Uri>().ok());
    let public =
        url.and_then(|url| url.host().map(|host| host.trim_matches(['[', ']']).to_owned()));
    let mut addresses = vec![config.receiver.listen.ip()];
    let mut hosts = Vec::new();
    if config.console.tls == Tls::SelfSigned {
        addresses.push(config.console.listen.ip());
        let authority = |host: &String| host.parse::<hyper::http::uri::Authority>().ok();
        let named = config.console.hosts.iter().filter_map(authority);
        hosts.extend(named.map(|host| host.host().trim_matches(['[', ']']).to_owned()));
    }
    let own = addresses.iter().filter(|ip| !ip.is_unspecified()).map(ToString::to_string);
    public.into_iter().chain(own).chain(hosts).collect()
}

/// Logs the result of checking the files of a certificate.
pub(super) fn log_reload(reload: Reload) {
    match reload {
        Reload::Replaced => tracing::info!("new connections get the new certificate"),
        Reload::Kept(error) => {
            tracing::warn!(%error, "the new certificate cannot be used; the old one stays in use");
        }
        Reload::Unchanged => {}
    }
}
