//! How a receiver ends a connection, and the form in which the state of a cursor has it.
//!
//! ```text
//! notifies tls:siem.example.com@192.0.2.7:6514
//! ```
//!
//! The state of another receiver, or of another type of output, is ignored.

use crate::output::syslog::settings::{SyslogSettings, Transport};

/// What a receiver does after we end our side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseBehavior {
    /// Not known yet.
    Unknown,
    /// It closes its side.
    Closes,
    /// It closes its side with TLS's close_notify, which nobody else can send.
    ClosesWithNotify,
    /// It leaves its side open, so it is not known what it read. It is rarely tested again.
    StaysOpen,
}

const KNOWN: [(CloseBehavior, &str); 3] = [
    (CloseBehavior::Closes, "confirms"),
    (CloseBehavior::ClosesWithNotify, "notifies"),
    (CloseBehavior::StaysOpen, "silent"),
];

impl CloseBehavior {
    /// Reads the behavior of `receiver` from a state.
    pub(super) fn of(receiver: &str, state: &str) -> CloseBehavior {
        let (word, whose) = state.split_once(' ').unwrap_or_default();
        let known = KNOWN.iter().find(|(_, name)| *name == word && whose == receiver);
        known.map_or(CloseBehavior::Unknown, |(behavior, _)| *behavior)
    }

    /// The state for `receiver`.
    pub(super) fn state(self, receiver: &str) -> String {
        let known = KNOWN.iter().find(|(behavior, _)| *behavior == self);
        known.map_or_else(String::new, |(_, name)| format!("{name} {receiver}"))
    }
}

/// The name of the receiver in a state.
pub(super) fn receiver(settings: &SyslogSettings) -> String {
    let address = &settings.address;
    match &settings.transport {
        Transport::Tcp => format!("tcp:{address}"),
        Transport::Tls(tls) => format!("tls:{}@{address}", tls.server_name.to_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_close_behavior_is_kept_for_its_receiver_only() {
        for (close_behavior, name) in KNOWN {
            let state = close_behavior.state("tcp:a:1");
            assert_eq!(state, format!("{name} tcp:a:1"));
            assert_eq!(CloseBehavior::of("tcp:a:1", &state), close_behavior);
            assert_eq!(CloseBehavior::of("tcp:a:2", &state), CloseBehavior::Unknown);
        }
        assert_eq!(CloseBehavior::Unknown.state("tcp:a:1"), "");
        for state in ["", " ", "silent", "silent ", " tcp:a:1", "loud tcp:a:1", "[\"/a.log\",5]"] {
            assert_eq!(CloseBehavior::of("tcp:a:1", state), CloseBehavior::Unknown, "{state}");
        }
    }
}
