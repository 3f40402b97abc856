//! An entry as a syslog message (RFC 5424), with its length before it for a stream (RFC 6587,
//! 3.4.1; RFC 5425, 4.3).
//!
//! ```text
//! 312 <109>1 2025-05-16T20:09:54.123Z host vidimus - access [vidimus@32473 id="17" …] the line
//! ```
//!
//! The message ends with the line, byte for byte and without a BOM: receivers that parse CEF expect
//! it so. There is no PROCID, so a message that is sent again is identical.

use std::fmt::Write;

use crate::entry::record::Origin;
use crate::entry::{Record, VerdictName, Warning};
use crate::output::syslog::settings::SyslogSettings;

/// The severities (RFC 5424, 6.2.1).
const WARNING: u8 = 4;
const NOTICE: u8 = 5;

/// The maximum length of a parameter value in bytes. A longer one is left out, since a part of it
/// would be another value.
const MAX_VALUE: usize = 256;

/// Formats the messages of one output.
pub(super) struct Messages {
    facility: u8,
    hostname: String,
    app_name: String,
    sd_id: String,
    /// The header of the current message.
    header: String,
}

impl Messages {
    /// Formats messages with `settings`. `machine` is the host name.
    pub(super) fn new(settings: &SyslogSettings, machine: &str) -> Messages {
        let fits = (1..=255).contains(&machine.len())
            && machine.bytes().all(|byte| byte.is_ascii_graphic());
        let machine = if fits { machine } else { "-" };
        Messages {
            facility: settings.facility.number(),
            hostname: settings.hostname.as_deref().unwrap_or(machine).to_owned(),
            app_name: settings.app_name.clone(),
            sd_id: settings.sd_id.clone(),
            header: String::new(),
        }
    }

    /// Appends the message of an entry, with its length, to `frames`. `line` has no line end.
    pub(super) fn append(&mut self, record: &Record, line: &[u8], frames: &mut Vec<u8>) {
        let Messages { facility, hostname, app_name, sd_id, header } = self;
        header.clear();
        let priority = *facility * 8 + severity(record);
        let time = record.time.or(record.received_at());
        let time = time.map_or_else(|| "-".to_owned(), |time| time.to_string());
        let kind = record.kind.map_or("-", |kind| kind.as_str());
        // Writing to a string does not fail.
        let _ = write!(header, "<{priority}>1 {time} {hostname} {app_name} - {kind} [{sd_id}");
        if let Origin::Stored { id, input, received_at, .. } = &record.origin {
            let _ = write!(header, " id=\"{id}\" received_at=\"{received_at}\"");
            parameter(header, "input", input);
        }
        parameter(header, "verdict", record.verdict.as_str());
        parameter(header, "reason", record.reason.as_deref().unwrap_or_default());
        parameter(header, "kid", record.kid.as_deref().unwrap_or_default());
        parameter(header, "org_id", record.fields.text("org_id").unwrap_or_default());
        parameter(header, "warnings", &Warning::join(&record.warnings, ","));
        header.push_str("] ");

        let length = header.len() + line.len();
        frames.extend_from_slice(format!("{length} ").as_bytes());
        frames.extend_from_slice(header.as_bytes());
        frames.extend_from_slice(line);
    }
}

/// Entries that may be forged or cannot be parsed get a higher severity.
fn severity(record: &Record) -> u8 {
    match record.verdict {
        VerdictName::Invalid | VerdictName::Malformed => WARNING,
        VerdictName::Valid | VerdictName::Unsigned | VerdictName::NoKey => NOTICE,
    }
}

/// Appends a parameter (RFC 5424, 6.3.3), unless it is empty or too long. Control characters are
/// replaced, since many receivers write structured data to a line of a file.
fn parameter(header: &mut String, name: &str, value: &str) {
    if value.is_empty() || value.len() > MAX_VALUE {
        return;
    }
    header.push(' ');
    header.push_str(name);
    header.push_str("=\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | ']') {
            header.push('\\');
        }
        header.push(if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
    }
    header.push('"');
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::entry::{Millis, Value};
    use crate::output::syslog::settings::{Facility, Transport};
    use crate::output::testing::record;

    fn messages() -> Messages {
        let settings = SyslogSettings {
            address: "127.0.0.1:514".parse().unwrap(),
            transport: Transport::Tcp,
            facility: Facility::Audit,
            app_name: "vidimus".to_owned(),
            hostname: None,
            sd_id: "vidimus@32473".to_owned(),
            timeout: Duration::from_secs(1),
        };
        Messages::new(&settings, "host.example")
    }

    /// The message of a record without its length, which is checked.
    fn message(record: &Record, line: &[u8]) -> Vec<u8> {
        let mut frames = b"5 <1>1 ".to_vec();
        messages().append(record, line, &mut frames);
        let frame = &frames[7..];
        let space = frame.iter().position(|byte| *byte == b' ').unwrap();
        let message = &frame[space + 1..];
        assert_eq!(frame[..space], *message.len().to_string().as_bytes());
        message.to_vec()
    }

    fn check(record: &Record, expected: &str) {
        assert_eq!(String::from_utf8(message(record, b"CEF:0|a")).unwrap(), expected);
    }

    #[test]
    fn a_message_says_who_what_when_and_the_line() {
        let mut record = record(7, 1_000);
        check(
            &record,
            "<109>1 1970-01-01T00:00:01.000Z host.example vidimus - access [vidimus@32473 id=\"7\" \
             received_at=\"1970-01-01T00:00:01.000Z\" input=\"default\" verdict=\"valid\"] CEF:0|a",
        );
        record.time = Some(Millis::saturating(1_500));
        record.kid = Some("k1".to_owned());
        record.warnings = vec![Warning::BadTime, Warning::ForeignOrg];
        record.fields.restore("org_id", Value::Text("o1".to_owned()));
        check(
            &record,
            "<109>1 1970-01-01T00:00:01.500Z host.example vidimus - access [vidimus@32473 id=\"7\" \
             received_at=\"1970-01-01T00:00:01.000Z\" input=\"default\" verdict=\"valid\" kid=\"k1\" \
             org_id=\"o1\" warnings=\"bad_time,foreign_org\"] CEF:0|a",
        );
        record = super::tests::record(8, 0);
        (record.kind, record.verdict) = (None, VerdictName::Malformed);
        record.reason = Some("unknown_format".to_owned());
        check(
            &record,
            "<108>1 1970-01-01T00:00:00.000Z host.example vidimus - - [vidimus@32473 id=\"8\" \
             received_at=\"1970-01-01T00:00:00.000Z\" input=\"default\" verdict=\"malformed\" \
             reason=\"unknown_format\"] CEF:0|a",
        );
    }

    #[test]
    fn suspicious_entries_have_the_severity_warning() {
        for verdict in VerdictName::ALL {
            let mut record = record(7, 0);
            record.verdict = *verdict;
            let expected = match verdict {
                VerdictName::Invalid | VerdictName::Malformed => "<108>1 ",
                _ => "<109>1 ",
            };
            assert!(message(&record, b"").starts_with(expected.as_bytes()), "{verdict}");
        }
    }

    #[test]
    fn the_name_of_the_machine_is_left_out_where_it_does_not_fit() {
        let settings = |hostname: Option<&str>| SyslogSettings {
            address: "127.0.0.1:514".parse().unwrap(),
            transport: Transport::Tcp,
            facility: Facility::Local7,
            app_name: "a".to_owned(),
            hostname: hostname.map(str::to_owned),
            sd_id: "a@1".to_owned(),
            timeout: Duration::from_secs(1),
        };
        let check = |hostname, machine: &str, expected: &str| {
            assert_eq!(Messages::new(&settings(hostname), machine).hostname, expected);
        };
        check(None, "host.example", "host.example");
        check(Some("other"), "host.example", "other");
        check(None, "", "-");
        check(None, "a b", "-");
        check(None, "caf\u{e9}", "-");
        check(None, &"h".repeat(256), "-");
    }

    #[test]
    fn a_value_is_escaped_and_never_cut() {
        let check = |value: &str, expected: &str| {
            let mut header = String::new();
            parameter(&mut header, "x", value);
            assert_eq!(header, expected, "{value:?}");
        };
        check("", "");
        check("a]b", " x=\"a\\]b\"");
        check("\\\"", " x=\"\\\\\\\"\"");
        check("a\nb\u{7f}\u{85}\0", " x=\"a\u{fffd}b\u{fffd}\u{fffd}\u{fffd}\"");
        let longest = "y".repeat(MAX_VALUE);
        check(&longest, &format!(" x=\"{longest}\""));
        check(&format!("{longest}y"), "");
    }

    /// Parses a message with the grammar of RFC 5424, 6.
    #[derive(Debug, PartialEq)]
    struct Parsed<'a> {
        header: Vec<&'a str>,
        sd_id: &'a str,
        parameters: Vec<(&'a str, String)>,
        line: &'a [u8],
    }

    fn parse(message: &[u8]) -> Parsed<'_> {
        let is_printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let mut rest = message;
        let mut header = Vec::new();
        for _ in 0..6 {
            let at = rest.iter().position(|byte| *byte == b' ').unwrap();
            header.push(std::str::from_utf8(&rest[..at]).unwrap());
            rest = &rest[at + 1..];
        }
        assert!(header.iter().all(|field| !field.is_empty() && is_printable(field)));
        let at = rest.iter().position(|byte| *byte == b' ').unwrap();
        let sd_id = std::str::from_utf8(&rest[1..at]).unwrap();
        assert!(rest[0] == b'[' && is_printable(sd_id));
        rest = &rest[at..];
        let mut parameters = Vec::new();
        while rest[0] == b' ' {
            let at = rest.iter().position(|byte| *byte == b'=').unwrap();
            let name = std::str::from_utf8(&rest[1..at]).unwrap();
            assert_eq!(rest[at + 1], b'"');
            rest = &rest[at + 2..];
            let mut value = Vec::new();
            while rest[0] != b'"' {
                assert_ne!(rest[0], b']', "not escaped");
                if rest[0] == b'\\' && b"\"\\]".contains(&rest[1]) {
                    rest = &rest[1..];
                }
                value.push(rest[0]);
                rest = &rest[1..];
            }
            rest = &rest[1..];
            parameters.push((name, String::from_utf8(value).unwrap()));
        }
        let line = rest.strip_prefix(b"] ").unwrap();
        Parsed { header, sd_id, parameters, line }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(
            line in proptest::collection::vec(any::<u8>(), 0..200),
            [kid, org_id, input] in proptest::array::uniform3("[ -~]{1,40}|.{1,40}"),
        ) {
            let mut record = record(7, 0);
            record.origin = Origin::Stored {
                id: 7,
                input: input.clone(),
                received_at: Millis::MIN,
                delivery_count: 1,
            };
            record.kid = Some(kid.clone());
            record.fields.restore("org_id", Value::Text(org_id.clone()));
            let message = message(&record, &line);
            let parsed = parse(&message);
            let shown = |value: &str| value.replace(char::is_control, "\u{fffd}");
            let time = "1970-01-01T00:00:00.000Z";
            prop_assert_eq!(
                parsed.header,
                ["<109>1", time, "host.example", "vidimus", "-", "access"]
            );
            prop_assert_eq!(parsed.sd_id, "vidimus@32473");
            prop_assert_eq!(parsed.parameters, [
                ("id", "7".to_owned()),
                ("received_at", time.to_owned()),
                ("input", shown(&input)),
                ("verdict", "valid".to_owned()),
                ("kid", shown(&kid)),
                ("org_id", shown(&org_id)),
            ]);
            prop_assert_eq!(parsed.line, &line[..]);
        }
    }
}
