//! The certificates that the configuration names, or the self-signed one made on first run.

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::now;
use crate::config::{Config, Tls};
use crate::net::{PairFiles, Reload, ServerTls, TlsError, ensure_self_signed};

/// The certificate that `tls` says, and its file.
pub(super) fn load(
    config: &Config,
    tls: &Tls,
) -> Result<(Option<Arc<ServerTls>>, Option<PathBuf>), TlsError> {
    let files = match tls {
        Tls::Off => return Ok((None, None)),
        Tls::Files(files) => files.clone(),
        Tls::SelfSigned => {
            let path = config.data_dir.join("tls.pem");
            let time = jiff::Timestamp::from_millisecond(now().get()).unwrap_or_default();
            ensure_self_signed(&path, &public_names(config), time)?;
            PairFiles::combined(path)
        }
    };
    let certificate = files.certificate.clone();
    Ok((Some(Arc::new(ServerTls::load(files)?)), Some(certificate)))
}

/// The names besides the loopback's that a self-signed certificate is for.
fn public_names(config: &Config) -> Vec<String> {
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

/// Says in the log what became of a certificate whose files were looked at.
pub(super) fn report(reload: Reload) {
    match reload {
        Reload::Replaced => tracing::info!("new connections get the new certificate"),
        Reload::Kept(error) => {
            tracing::warn!(%error, "the new certificate cannot be used; the old one stays");
        }
        Reload::Unchanged => {}
    }
}
