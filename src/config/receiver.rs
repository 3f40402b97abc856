//! The sections `[receiver]` and `[receiver.tls]`: the address of the webhook endpoint, and its
//! limits.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::Flags;
use super::listen::listen_address;
use crate::net::PairFiles;
use crate::settings::units::{KIB, MAX_SIZE, MIB, MILLISECOND, SECOND, show_size};
use crate::settings::value::{boolean, count, duration, found, list, parsed, size, text};
use crate::settings::{
    ConfigError, HttpUrl, Mismatch, PairKeys, Section, optional, or, pair, settings,
    warn_if_key_exposed,
};

settings! {
    /// The keys of `[receiver]`. Sizes are in bytes.
    pub(crate) struct Receiver {
        /// The address to listen on. Port 0 takes a free one.
        pub listen: SocketAddr = or(([127, 0, 0, 1], 8443).into(), address);
        /// The URL for Konnect instead of the address, without a slash at the end.
        pub public_url: Option<String> = optional(|value| public_url(text(value)?));
        /// The maximum size of a body as it is sent.
        pub max_body: u64 = or(64 * MIB, size(1..=MAX_SIZE));
        /// The maximum size of a decoded body.
        pub max_decoded: u64 = or(256 * MIB, size(1..=MAX_SIZE));
        /// The maximum length of a line that is parsed. A longer one is stored as malformed.
        pub max_line: u64 = or(MIB, size(1..=16 * MIB));
        /// The maximum number of lines in a body.
        pub max_lines: u64 = or(1_000_000, count(1..=1_000_000_000));
        /// The maximum size of all bodies in the process, sent and decoded. It has room for at
        /// least one of each.
        pub max_in_flight: u64 = or(512 * MIB, size(1..=MAX_SIZE));
        /// The maximum number of connections.
        pub max_connections: usize = or(1024, count(1..=MOST_CONNECTIONS));
        /// The maximum number of connections from one address.
        pub max_connections_per_address: usize = or(256, count(1..=MOST_CONNECTIONS));
        /// The maximum size of the headers of a request. hyper panics below 8 KiB.
        pub max_header_bytes: usize = or(64 << 10, size(8 * KIB..=16 * MIB));
        /// How long the TLS handshake may take.
        pub handshake_timeout: Duration = or(10 * SECOND, duration(MILLISECOND));
        /// How long the headers may take.
        pub header_timeout: Duration = or(10 * SECOND, duration(MILLISECOND));
        /// How long the body may take.
        pub body_timeout: Duration = or(30 * SECOND, duration(MILLISECOND));
        /// How long a connection may stay open without a request.
        pub idle_timeout: Duration = or(60 * SECOND, duration(MILLISECOND));
        /// How long a request waits for room before it is answered 429.
        pub queue_timeout: Duration = or(10 * SECOND, duration(MILLISECOND));
        /// The proxies whose `X-Forwarded-For` is believed.
        pub trusted_proxies: Vec<IpNet> = or(Vec::new(), list(net));
    } with {
        /// The certificate.
        pub tls: Tls,
    }
}

/// No system has more file descriptors.
const MOST_CONNECTIONS: u64 = 1_000_000;

/// The TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// No TLS: a proxy or a tunnel has it.
    Off,
    /// A certificate and a key that are created on the first run and kept in the data directory.
    SelfSigned,
    /// The certificate and key of the operator, in PEM.
    Files(PairFiles),
}

impl Receiver {
    /// Reads the section `[receiver]`. Flags override it.
    pub(super) fn resolve(
        flags: &Flags,
        section: &Section<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Receiver, ConfigError> {
        let tls = Tls::resolve(flags, &section.table("tls")?, warnings)?;
        let mut receiver = Receiver::read(section, tls)?;
        receiver.listen = flags.listen.unwrap_or(receiver.listen);
        if let Some(url) = &flags.public_url {
            let url = public_url(url);
            receiver.public_url =
                Some(url.map_err(|mismatch| ConfigError::value("--public-url", mismatch))?);
        }
        // With less, an allowed body could wait for room forever.
        let least = receiver.max_body + receiver.max_decoded;
        if receiver.max_in_flight < least {
            let expected =
                format!("at least max_body + max_decoded, which is {}", show_size(least));
            let mismatch = Mismatch::new(show_size(receiver.max_in_flight), expected);
            return Err(section.wrong("max_in_flight", mismatch));
        }
        Ok(receiver)
    }
}

settings! {
    /// The key of `[receiver.tls]` and `[console.tls]` besides `cert_file` and `key_file`.
    pub(super) struct TlsKeys {
        /// Whether TLS is spoken. The two tables have different defaults.
        pub(super) enabled: Option<bool> = optional(boolean);
    }
}

impl Tls {
    fn resolve(
        flags: &Flags,
        section: &Section<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Tls, ConfigError> {
        let enabled = TlsKeys::read(section)?.enabled.unwrap_or(true);
        let in_file = PairKeys::pair(section, OR_SELF_SIGNED)?;
        let (cert, key) = (&flags.tls_cert, &flags.tls_key);
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
        let given = pair(("--tls-cert", cert.clone()), ("--tls-key", key.clone()), OR_SELF_SIGNED)?;
        let (files, setting) = match (given, in_file) {
            (Some(files), _) => (files, "--tls-key".to_owned()),
            (None, _) if !enabled => return Ok(Tls::Off),
            (None, Some(files)) => (files, section.setting("key_file")),
            (None, None) => return Ok(Tls::SelfSigned),
        };
        warn_if_key_exposed(&setting, &files, warnings);
        Ok(Tls::Files(files))
    }
}

/// Completes the message about a pair of which one file is missing.
pub(super) const OR_SELF_SIGNED: &str = ", give both, or neither for a self-signed certificate";

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

fn public_url(url: &str) -> Result<String, Mismatch> {
    const EXPECTED: &str =
        "an https or http URL without a path, such as \"https://siem.example.com\"";
    HttpUrl::new(url, EXPECTED)?.origin().ok_or_else(|| Mismatch::text(url, EXPECTED))
}
