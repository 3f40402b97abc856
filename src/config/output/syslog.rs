//! Outputs of the type `syslog`: where the receiver is, how it is reached, what a message says of
//! its sender.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use toml::de::DeValue;

use super::{certificate, word};
use crate::config::error::{ConfigError, Mismatch};
use crate::config::file::Section;
use crate::config::input::missing;
use crate::config::value::{duration, path, text};
use crate::entry::words::words;
use crate::net::PairFiles;

/// How messages are sent, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSyslog {
    /// The receiver.
    pub address: Address,
    /// How it is reached.
    pub transport: Transport,
    /// The facility of the messages.
    pub facility: Facility,
    /// Their APP-NAME.
    pub app_name: String,
    /// Their HOSTNAME, where it is not that of the machine.
    pub hostname: Option<String>,
    /// The SD-ID of their structured data.
    pub sd_id: String,
    /// How long the receiver may take to be connected to, and to take what it is sent.
    pub timeout: Duration,
}

/// A host and a port. A host that is an IPv6 address is written in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How the receiver is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Over TCP: whoever is on the way can read everything.
    Tcp,
    /// Over TLS.
    Tls(SyslogTls),
}

/// Whom to believe, and what to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogTls {
    /// The name that the receiver's certificate must have.
    pub server_name: ServerName<'static>,
    /// Certificates that are trusted besides the system's roots.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show where the receiver asks for one.
    pub certificate: Option<PairFiles>,
}

words! {
    /// How the receiver is reached, as it is written.
    enum TransportWord {
        /// Over TCP.
        Tcp = "tcp",
        /// Over TLS.
        Tls = "tls",
    }
}

words! {
    /// The facilities (RFC 5424, 6.2.1) under the names that syslog daemons have for them, in the order
    /// of their numbers.
    pub enum Facility {
        /// 0, kernel messages.
        Kern = "kern",
        /// 1, user-level messages.
        User = "user",
        /// 2, mail system.
        Mail = "mail",
        /// 3, system daemons.
        Daemon = "daemon",
        /// 4, security and authorization messages.
        Auth = "auth",
        /// 5, messages of the syslog daemon.
        Syslog = "syslog",
        /// 6, line printers.
        Lpr = "lpr",
        /// 7, network news.
        News = "news",
        /// 8, UUCP.
        Uucp = "uucp",
        /// 9, clock daemon.
        Cron = "cron",
        /// 10, security and authorization messages.
        Authpriv = "authpriv",
        /// 11, FTP daemon.
        Ftp = "ftp",
        /// 12, NTP.
        Ntp = "ntp",
        /// 13, log audit.
        Audit = "audit",
        /// 14, log alert.
        Alert = "alert",
        /// 15, clock daemon.
        Clock = "clock",
        /// 16, for local use, as the rest is.
        Local0 = "local0",
        /// 17.
        Local1 = "local1",
        /// 18.
        Local2 = "local2",
        /// 19.
        Local3 = "local3",
        /// 20.
        Local4 = "local4",
        /// 21.
        Local5 = "local5",
        /// 22.
        Local6 = "local6",
        /// 23.
        Local7 = "local7",
    }
}

impl Facility {
    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// The keys of this type.
pub(super) const KEYS: [&str; 11] = [
    "address",
    "transport",
    "server_name",
    "ca_file",
    "cert_file",
    "key_file",
    "facility",
    "app_name",
    "hostname",
    "sd_id",
    "timeout",
];

impl OutputSyslog {
    pub(super) fn resolve(
        section: &Section<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<OutputSyslog, ConfigError> {
        let address: Option<Address> = section.get("address", |value| text(value)?.parse())?;
        let address = address.ok_or_else(|| {
            missing(section, "address", "give it, such as \"siem.example.com:6514\"")
        })?;
        let transport =
            section.get("transport", word(TransportWord::ALL, TransportWord::as_str))?;
        let transport = match transport.unwrap_or(TransportWord::Tls) {
            TransportWord::Tcp => tcp(section)?,
            TransportWord::Tls => tls(section, &address, warnings)?,
        };
        let facility = section.get("facility", word(Facility::ALL, Facility::as_str))?;
        let app_name = section.get("app_name", printable(48))?;
        let sd_id = section.get("sd_id", sd_id)?;
        let timeout = section.get("timeout", duration(Duration::from_secs(1)))?;
        Ok(OutputSyslog {
            address,
            transport,
            facility: facility.unwrap_or(Facility::Audit),
            app_name: app_name.unwrap_or_else(|| "vidimus".to_owned()),
            hostname: section.get("hostname", printable(255))?,
            sd_id: sd_id.unwrap_or_else(|| "vidimus@32473".to_owned()),
            timeout: timeout.unwrap_or(Duration::from_secs(30)),
        })
    }
}

/// TCP, with which the keys of TLS would do nothing.
fn tcp(section: &Section<'_>) -> Result<Transport, ConfigError> {
    let of_tls = ["server_name", "ca_file", "cert_file", "key_file"];
    match of_tls.into_iter().find(|key| section.has(key)) {
        None => Ok(Transport::Tcp),
        Some(key) => Err(ConfigError::Conflict {
            setting: section.setting(key),
            other: "transport = \"tcp\"".to_owned(),
            advice: "leave one of them out".to_owned(),
        }),
    }
}

fn tls(
    section: &Section<'_>,
    address: &Address,
    warnings: &mut Vec<String>,
) -> Result<Transport, ConfigError> {
    let server_name = section.get("server_name", |value| {
        let name = text(value)?;
        server_name(name).ok_or_else(|| Mismatch::text(name, "a host name or an IP address"))
    })?;
    // An address that is parsed has a host that is one or the other.
    let server_name = server_name
        .or_else(|| self::server_name(&address.host))
        .ok_or_else(|| missing(section, "server_name", "give the name in the certificate"))?;
    let certificate = certificate(section, warnings)?;
    let ca_file = section.get("ca_file", path)?;
    Ok(Transport::Tls(SyslogTls { server_name, ca_file, certificate }))
}

fn server_name(name: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).ok()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for Address {
    type Err = Mismatch;

    fn from_str(address: &str) -> Result<Address, Mismatch> {
        let whole = || {
            let (host, port) = address.rsplit_once(':')?;
            let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let host = in_brackets.unwrap_or(host);
            // A colon is in the one, and in the one only.
            let fits = server_name(host).is_some() && host.contains(':') == in_brackets.is_some();
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|port| *port > 0 && digits)?;
            fits.then(|| Address { host: host.to_owned(), port })
        };
        whole().ok_or_else(|| {
            Mismatch::text(address, "a host and a port, such as \"siem.example.com:6514\"")
        })
    }
}

/// 1 to `most` of the characters that a header field of a message can have (RFC 5424, 6).
fn printable(most: usize) -> impl Fn(&DeValue<'_>) -> Result<String, Mismatch> {
    move |value| {
        let found = text(value)?;
        let fits = (1..=most).contains(&found.len()) && found.bytes().all(|b| b.is_ascii_graphic());
        if fits {
            return Ok(found.to_owned());
        }
        let expected = format!("1 to {most} visible ASCII characters without spaces");
        Err(Mismatch::text(found, expected))
    }
}

/// A name of one's own, `name@number` (RFC 5424, 6.3.2). Names without `@` are not ours to choose.
fn sd_id(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let found = text(value)?;
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b"=]\"@".contains(&b))
    };
    let is_number = |number: &str| {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        number.split('.').all(digits)
    };
    let parts = found.split_once('@').filter(|_| found.len() <= 32);
    match parts.is_some_and(|(name, number)| is_name(name) && is_number(number)) {
        true => Ok(found.to_owned()),
        false => Err(Mismatch::text(
            found,
            "a name, an @ and a private enterprise number, such as \"vidimus@32473\", 32 characters \
             at most",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expected: Option<(&str, u16)>) {
        let found: Result<Address, _> = address.parse();
        let parts = found.as_ref().ok().map(|found| (found.host.as_str(), found.port));
        assert_eq!(parts, expected, "{address}");
        if let Ok(found) = found {
            assert_eq!(found.to_string(), address);
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        check("siem.example.com:6514", Some(("siem.example.com", 6514)));
        check("192.0.2.1:514", Some(("192.0.2.1", 514)));
        check("[2001:db8::1]:6514", Some(("2001:db8::1", 6514)));
        for bad in [
            "",
            "siem.example.com",
            ":6514",
            "siem.example.com:",
            "siem.example.com:0",
            "siem.example.com:65536",
            "siem.example.com:+514",
            "2001:db8::1:6514",
            "[siem.example.com]:6514",
            "[2001:db8::1]",
            "tcp://siem.example.com:6514",
            "siem example:6514",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn facilities_have_their_numbers() {
        let number = |word: &str| word.parse::<Facility>().unwrap().number();
        assert_eq!(["kern", "auth", "audit", "local0", "local7"].map(number), [0, 4, 13, 16, 23]);
    }
}
