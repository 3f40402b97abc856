//! The sections `[receiver]` and `[receiver.tls]`: where deliveries are taken, and how much of them.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::Flags;
use super::error::{ConfigError, Mismatch};
use super::file::Section;
use super::listen::listen_address;
use super::secret::warn_if_exposed;
use super::units::{KIB, MAX_SIZE, MIB, show_size};
use super::url::HttpUrl;
use super::value::{boolean, count, duration, found, list, parsed, path, size, text};

/// The webhook endpoint's settings. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What to tell Konnect instead of the address, without a slash at the end.
    pub public_url: Option<String>,
    /// The most of a body as it is sent.
    pub max_body: u64,
    /// The most of a body when it is decoded.
    pub max_decoded: u64,
    /// The longest line that is parsed; a longer one is stored as malformed.
    pub max_line: u64,
    /// The most lines in one body.
    pub max_lines: u64,
    /// The most of bodies, sent and decoded, in the whole process. Room for at least one of each.
    pub max_in_flight: u64,
    /// The most connections in all.
    pub max_connections: usize,
    /// The most connections from one address.
    pub max_connections_per_address: usize,
    /// The most of a request's headers. At least 8 KiB.
    pub max_header_bytes: usize,
    /// How long the TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long the headers may take.
    pub header_timeout: Duration,
    /// How long the body may take.
    pub body_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// How long a request may wait for room before it is answered 429.
    pub queue_timeout: Duration,
    /// Whose `X-Forwarded-For` tells the peer.
    pub trusted_proxies: Vec<IpNet>,
    /// The certificate.
    pub tls: Tls,
}

/// What a listener's TLS is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// There is none: a proxy or a tunnel has it.
    Off,
    /// A pair of certificate and key made on first run, kept in the data directory.
    SelfSigned,
    /// The operator's own pair, in PEM.
    Files {
        /// The certificate, with those between it and the root.
        cert_file: PathBuf,
        /// Its private key.
        key_file: PathBuf,
    },
}

impl Receiver {
    /// Whether `peer` is a proxy whose `X-Forwarded-For` is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        // A socket that listens on IPv6 shows IPv4 peers as ::ffff:a.b.c.d.
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }

    /// The section `[receiver]`, over which the flags go.
    pub(super) fn resolve(
        flags: &Flags,
        section: &Section<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Receiver, ConfigError> {
        let bytes = |key, default, range| Ok(section.get(key, size(range))?.unwrap_or(default));
        let number = |key, default: u64| {
            // More file descriptors than this no system gives.
            Ok(section.get(key, count(1..=1_000_000))?.unwrap_or(default) as usize)
        };
        let time = |key, seconds| {
            let time = section.get(key, duration(Duration::from_millis(1)))?;
            Ok(time.unwrap_or(Duration::from_secs(seconds)))
        };
        let listen = section.get("listen", address)?;
        let receiver = Receiver {
            listen: flags
                .listen
                .or(listen)
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8443))),
            public_url: public_url(flags, section)?,
            max_body: bytes("max_body", 64 * MIB, 1..=MAX_SIZE)?,
            max_decoded: bytes("max_decoded", 256 * MIB, 1..=MAX_SIZE)?,
            max_line: bytes("max_line", MIB, 1..=16 * MIB)?,
            max_lines: section.get("max_lines", count(1..=1_000_000_000))?.unwrap_or(1_000_000),
            max_in_flight: bytes("max_in_flight", 512 * MIB, 1..=MAX_SIZE)?,
            max_connections: number("max_connections", 1024)?,
            max_connections_per_address: number("max_connections_per_address", 256)?,
            // Less than 8 KiB hyper refuses, and with a panic.
            max_header_bytes: bytes("max_header_bytes", 64 * KIB, 8 * KIB..=16 * MIB)? as usize,
            handshake_timeout: time("handshake_timeout", 10)?,
            header_timeout: time("header_timeout", 10)?,
            body_timeout: time("body_timeout", 30)?,
            idle_timeout: time("idle_timeout", 60)?,
            queue_timeout: time("queue_timeout", 10)?,
            trusted_proxies: section.get("trusted_proxies", list(net))?.unwrap_or_default(),
            tls: Tls::resolve(flags, &section.table("tls")?, warnings)?,
        };
        // With less, a body that is allowed could wait for room for ever.
        let least = receiver.max_body + receiver.max_decoded;
        if receiver.max_in_flight < least {
            return Err(ConfigError::value(
                section.setting("max_in_flight"),
                Mismatch::new(
                    show_size(receiver.max_in_flight),
                    format!("at least max_body + max_decoded, which is {}", show_size(least)),
                ),
            ));
        }
        Ok(receiver)
    }
}

impl Tls {
    fn resolve(
        flags: &Flags,
        section: &Section<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Tls, ConfigError> {
        let enabled = section.get("enabled", boolean)?.unwrap_or(true);
        let cert_file = section.get("cert_file", path)?;
        let key_file = section.get("key_file", path)?;
        let (cert_name, key_name) = (section.setting("cert_file"), section.setting("key_file"));
        let in_file = pair(&cert_name, cert_file.as_deref(), &key_name, key_file.as_deref())?;
        let (cert, key) = (flags.tls_cert.as_deref(), flags.tls_key.as_deref());
        if flags.no_tls {
            let other = match (cert, key) {
                (Some(_), _) => "--tls-cert",
                (_, Some(_)) => "--tls-key",
                (None, None) => return Ok(Tls::Off),
            };
            return Err(ConfigError::Conflict {
                setting: "--no-tls".to_owned(),
                other: other.to_owned(),
                advice: "leave one of them out".to_owned(),
            });
        }
        let tls = match (pair("--tls-cert", cert, "--tls-key", key)?, in_file) {
            (Some(tls), _) => (tls, "--tls-key".to_owned()),
            (None, _) if !enabled => return Ok(Tls::Off),
            (None, Some(tls)) => (tls, key_name),
            (None, None) => return Ok(Tls::SelfSigned),
        };
        Ok(tls.0.warned(&tls.1, warnings))
    }

    /// Warns of a key, named by `setting`, that others can read.
    pub(super) fn warned(self, setting: &str, warnings: &mut Vec<String>) -> Tls {
        // Whether it can be read, and is a key, is found when it is loaded.
        if let Tls::Files { key_file, .. } = &self
            && let Ok(file) = std::fs::File::open(key_file)
        {
            warn_if_exposed(setting, key_file, &file, warnings);
        }
        self
    }
}

/// A certificate and a key: both or neither.
pub(super) fn pair(
    cert_name: &str,
    cert: Option<&Path>,
    key_name: &str,
    key: Option<&Path>,
) -> Result<Option<Tls>, ConfigError> {
    let (missing, given) = match (cert, key) {
        (Some(cert), Some(key)) => {
            let (cert_file, key_file) = (cert.to_owned(), key.to_owned());
            return Ok(Some(Tls::Files { cert_file, key_file }));
        }
        (None, None) => return Ok(None),
        (Some(_), None) => (key_name, "certificate"),
        (None, Some(_)) => (cert_name, "key"),
    };
    Err(ConfigError::Missing {
        setting: missing.to_owned(),
        advice: format!(
            "a {given} alone is no use, give both, or neither for a self-signed certificate"
        ),
    })
}

/// An address and a port.
pub(super) fn address(value: &DeValue<'_>) -> Result<SocketAddr, Mismatch> {
    match value {
        DeValue::String(text) => listen_address(text),
        other => Err(Mismatch::new(found(other), "a string such as \"127.0.0.1:8443\"")),
    }
}

fn net(value: &DeValue<'_>) -> Result<IpNet, Mismatch> {
    const EXPECTED: &str = "an IP address or a network, such as \"10.0.0.1\" or \"10.0.0.0/8\"";
    let one: Result<IpAddr, _> = parsed(EXPECTED)(value);
    one.map_or_else(|_| parsed(EXPECTED)(value), |ip| Ok(IpNet::from(ip.to_canonical())))
}

fn public_url(flags: &Flags, section: &Section<'_>) -> Result<Option<String>, ConfigError> {
    const EXPECTED: &str =
        "an https or http URL without a path, such as \"https://siem.example.com\"";
    let check = |url: &str| {
        HttpUrl::new(url, EXPECTED)?.origin().ok_or_else(|| Mismatch::text(url, EXPECTED))
    };
    let in_file = section.get("public_url", |value| check(text(value)?))?;
    let given = flags.public_url.as_deref().map(check).transpose();
    Ok(given.map_err(|mismatch| ConfigError::value("--public-url", mismatch))?.or(in_file))
}
