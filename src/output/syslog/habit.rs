//! What a receiver does when its connection is ended, and how a cursor's state keeps that.
//!
//! ```text
//! notifies tls:siem.example.com@192.0.2.7:6514
//! ```
//!
//! A state that is of another receiver, or of another type of output, says nothing.

use crate::output::syslog::settings::{SyslogSettings, Transport};

/// What the receiver does when a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// That is not known yet.
    Unknown,
    /// It ends its side.
    Confirms,
    /// It ends its side, and says so within TLS: nobody else can do that.
    Notifies,
    /// It leaves its side open, so that nothing is known of what it read. It is seldom asked again.
    Silent,
}

const KNOWN: [(Habit, &str); 3] =
    [(Habit::Confirms, "confirms"), (Habit::Notifies, "notifies"), (Habit::Silent, "silent")];

impl Habit {
    /// What `state` says of `receiver`.
    pub(super) fn of(receiver: &str, state: &str) -> Habit {
        let (word, whose) = state.split_once(' ').unwrap_or_default();
        let known = KNOWN.iter().find(|(_, name)| *name == word && whose == receiver);
        known.map_or(Habit::Unknown, |(habit, _)| *habit)
    }

    /// The state that says it of `receiver`.
    pub(super) fn state(self, receiver: &str) -> String {
        let known = KNOWN.iter().find(|(habit, _)| *habit == self);
        known.map_or_else(String::new, |(_, name)| format!("{name} {receiver}"))
    }
}

/// The receiver, as its settings name it.
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
    fn a_habit_is_kept_for_its_receiver_alone() {
        for (habit, name) in KNOWN {
            let state = habit.state("tcp:a:1");
            assert_eq!(state, format!("{name} tcp:a:1"));
            assert_eq!(Habit::of("tcp:a:1", &state), habit);
            assert_eq!(Habit::of("tcp:a:2", &state), Habit::Unknown);
        }
        assert_eq!(Habit::Unknown.state("tcp:a:1"), "");
        for state in ["", " ", "silent", "silent ", " tcp:a:1", "loud tcp:a:1", "[\"/a.log\",5]"] {
            assert_eq!(Habit::of("tcp:a:1", state), Habit::Unknown, "{state}");
        }
    }
}
