//! The settings of outputs of the type `syslog`: the receiver, the transport, and the header of
//! messages.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use toml::de::DeValue;

use super::SyslogSink;
use crate::entry::Record;
use crate::entry::words::words;
use crate::net::PairFiles;
use crate::output::destination::{OutputType, SinkOptions, Trial};
use crate::output::error::OutputError;
use crate::output::format::OutputFormat;
use crate::output::sink::Sink;
use crate::settings::units::SECOND;
use crate::settings::value::{duration, path, text, word};
use crate::settings::{ConfigError, Mismatch, PairKeys, Section, optional, or, required, settings};

settings! {
    /// The keys of the type `syslog`.
    pub(crate) struct SyslogSettings {
        /// The address of the receiver.
        pub address: Address = required(
            "give it, such as \"siem.example.com:6514\"",
            |value| text(value)?.parse(),
        );
        /// The facility of the messages.
        pub facility: Facility = or(Facility::Audit, word(Facility::ALL, Facility::as_str));
        /// The APP-NAME of the messages.
        pub app_name: String = or("vidimus".to_owned(), printable(48));
        /// The HOSTNAME of the messages, or that of this machine.
        pub hostname: Option<String> = optional(printable(255));
        /// The SD-ID of the structured data.
        pub sd_id: String = or("vidimus@32473".to_owned(), sd_id);
        /// How long connecting, and sending, may take.
        pub timeout: Duration = or(30 * SECOND, duration(SECOND));
    } with {
        /// How the receiver is reached.
        pub transport: Transport,
    }
}

settings! {
    /// The key that says how the receiver is reached.
    struct TransportKey {
        transport: TransportWord =
            or(TransportWord::Tls, word(TransportWord::ALL, TransportWord::as_str));
    }
}

settings! {
    /// The keys of TLS, besides `cert_file` and `key_file`.
    struct TlsKeys {
        server_name: Option<ServerName<'static>> = optional(|value| {
            let name = text(value)?;
            server_name(name).ok_or_else(|| Mismatch::text(name, "a host name or an IP address"))
        });
        ca_file: Option<PathBuf> = optional(path);
    }
}

/// A host and a port. An IPv6 address is written in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    pub port: u16,
}

/// How the receiver is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Over TCP: everybody on the way can read the entries.
    Tcp,
    /// Over TLS.
    Tls(SyslogTls),
}

/// The settings of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyslogTls {
    /// The name in the receiver's certificate.
    pub server_name: ServerName<'static>,
    /// Certificates that are trusted in addition to those of the system.
    pub ca_file: Option<PathBuf>,
    /// The client certificate.
    pub certificate: Option<PairFiles>,
}

words! {
    /// The values of the key `transport`.
    enum TransportWord {
        /// Over TCP.
        Tcp = "tcp",
        /// Over TLS.
        Tls = "tls",
    }
}

words! {
    /// The facilities (RFC 5424, 6.2.1) with the names that syslog daemons use, in the order of
    /// their numbers.
    pub(crate) enum Facility {
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
    /// The number of the facility.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }
}

impl OutputType for SyslogSettings {
    fn keys() -> Vec<&'static str> {
        [TransportKey::KEYS, TlsKeys::KEYS, PairKeys::KEYS, SyslogSettings::KEYS].concat()
    }

    /// A syslog receiver parses the line as Konnect sends it.
    fn default_format(_section: &Section<'_>) -> Result<OutputFormat, ConfigError> {
        Ok(OutputFormat::Raw)
    }

    fn resolve(
        section: &Section<'_>,
        _format: OutputFormat,
        warnings: &mut Vec<String>,
    ) -> Result<SyslogSettings, ConfigError> {
        let mut settings = SyslogSettings::read(section, Transport::Tcp)?;
        match TransportKey::read(section)?.transport {
            TransportWord::Tcp => refuse_keys_of_tls(section)?,
            TransportWord::Tls => {
                settings.transport = Transport::Tls(tls(section, &settings.address, warnings)?);
            }
        }
        Ok(settings)
    }

    fn destination(&self) -> String {
        let over = match self.transport {
            Transport::Tcp => "TCP",
            Transport::Tls(_) => "TLS",
        };
        format!("{} over {over}", self.address)
    }

    fn sink(&self, with: SinkOptions<'_>) -> Result<Box<dyn Sink>, OutputError> {
        Ok(Box::new(SyslogSink::new(with.name, self)))
    }

    fn try_out(
        &self,
        _format: OutputFormat,
        record: &Record,
        line: &[u8],
    ) -> Result<Trial, OutputError> {
        SyslogSink::new("test", self).try_out(record, line).map(Trial::taken)
    }

    fn sends_verdict(&self) -> bool {
        true
    }
}

/// Refuses the keys of TLS with TCP, since they would have no effect.
fn refuse_keys_of_tls(section: &Section<'_>) -> Result<(), ConfigError> {
    let mut keys = TlsKeys::KEYS.iter().chain(PairKeys::KEYS);
    match keys.find(|key| section.has(key)) {
        None => Ok(()),
        Some(key) => Err(section.conflict(key, "transport = \"tcp\"", "leave one of them out")),
    }
}

fn tls(
    section: &Section<'_>,
    address: &Address,
    warnings: &mut Vec<String>,
) -> Result<SyslogTls, ConfigError> {
    let TlsKeys { server_name, ca_file } = TlsKeys::read(section)?;
    // The host of an address is always one or the other.
    let server_name = server_name
        .or_else(|| self::server_name(&address.host))
        .ok_or_else(|| section.missing("server_name", "give the name in the certificate"))?;
    let certificate = PairKeys::of_client(section, warnings)?;
    Ok(SyslogTls { server_name, ca_file, certificate })
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
            // An IPv6 address has colons, and nothing else has.
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

/// 1 to `most` characters that a header field can have (RFC 5424, 6).
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

/// A private SD-ID, `name@number` (RFC 5424, 6.3.2). Names without `@` are reserved.
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
    use crate::output::destination::Destination;
    use crate::output::testing::{check_refused, load, outputs};

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

    const SYSLOG: &str = "[[output]]\nname = 'a'\ntype = 'syslog'\naddress = 'siem.test:6514'\n";

    #[test]
    fn missing_keys_of_syslog_have_defaults() {
        let found = outputs(SYSLOG).remove(0);
        assert_eq!(found.format, OutputFormat::Raw);
        let expected = SyslogSettings {
            address: "siem.test:6514".parse().unwrap(),
            transport: Transport::Tls(SyslogTls {
                server_name: "siem.test".try_into().unwrap(),
                ca_file: None,
                certificate: None,
            }),
            facility: Facility::Audit,
            app_name: "vidimus".into(),
            hostname: None,
            sd_id: "vidimus@32473".into(),
            timeout: Duration::from_secs(30),
        };
        assert_eq!(found.to, Destination::Syslog(Box::new(expected)));
        let tcp = outputs(&format!("{SYSLOG}transport = 'tcp'\nformat = 'json'")).remove(0);
        assert_eq!(tcp.format, OutputFormat::Json);
        assert!(matches!(tcp.to, Destination::Syslog(to) if to.transport == Transport::Tcp));
    }

    #[test]
    fn outputs_to_syslog_that_are_refused() {
        let refused = |keys: &str, expected: &str| {
            check_refused(&format!("{SYSLOG}{keys}"), &format!("c.toml:5: output.{expected}"));
        };
        refused("transport = 'udp'", "transport is \"udp\", expected one of tcp, tls");
        refused("facility = 'security'", "facility is \"security\", expected one of kern, user, ");
        refused(
            "app_name = 'a b'",
            "app_name is \"a b\", expected 1 to 48 visible ASCII characters",
        );
        refused("hostname = ''", "hostname is \"\", expected 1 to 255 visible ASCII characters");
        refused(
            "server_name = 'a b'",
            "server_name is \"a b\", expected a host name or an IP address",
        );
        refused("timeout = '1ms'", "timeout is \"1ms\", expected a duration of at least 1s");
        for id in ["vidimus", "@1", "a@", "a@b", "a]@1", "a@1@2", "a b@1", "a@1.", &"a".repeat(40)]
        {
            refused(
                &format!("sd_id = '{id}'"),
                &format!("sd_id is {id:?}, expected a name, an @ and "),
            );
        }
        refused(
            "rotate_size = 1",
            "rotate_size cannot be used together with type = \"syslog\": only ",
        );
        refused(
            "ca_file = 'a'\ntransport = 'tcp'",
            "ca_file cannot be used together with transport = \"tcp\": leave one of them out",
        );
        for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
            let missing = format!("c.toml:1: output.{other} is missing: a ");
            check_refused(&format!("{SYSLOG}{one} = 'a'"), &missing);
        }
        check_refused(
            "[[output]]\nname = 'a'\ntype = 'syslog'",
            "c.toml:1: output.address is missing: give it, such as \"siem.example.com:6514\"",
        );
    }

    #[test]
    fn a_client_key_that_others_can_read_is_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key.pem");
        std::fs::write(&key, "key").unwrap();
        let keys = format!("{SYSLOG}cert_file = 'none'\nkey_file = '{}'", key.display());
        let warnings = |mode| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            load(&keys).unwrap().1
        };
        assert!(warnings(0o600).is_empty());
        assert!(warnings(0o644)[0].contains("chmod o-r"));
    }
}
