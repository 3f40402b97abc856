//! Outputs: send stored entries to other systems.
//!
//! ```text
//! store -> filter -> format -> file, stdout, syslog, HTTP
//!   ^ behind a cursor in the catalog
//! ```
//!
//! - `settings`: the sections `[[output]]`. `destination`: the types of outputs, and what each says
//!   of itself.
//! - `running`: the running outputs, each on its thread. `engine`: the loop of one. `sink`: the
//!   interface to what it writes to.
//! - `activity`: what an output did last. `care`: testing, retrying and resetting outputs.
//! - `file`, `stdout`, `syslog`, `http`: one type each, with its settings and its sink.
//! - `format`: an entry to a line. `template`: an entry to a path. `dead_letters`: entries that
//!   could not be sent. `throughput`: lines per second.
//!
//! Every entry that matches goes out at least once, in the order of the ids. An entry that matches
//! only after a late verdict goes out then. Nothing waits for an output.

mod activity;
mod care;
mod dead_letters;
mod destination;
mod engine;
mod error;
mod file;
mod format;
mod http;
mod running;
pub(crate) mod settings;
mod sink;
mod stdout;
mod syslog;
mod template;
#[cfg(test)]
mod testing;
mod throughput;

pub(crate) use self::activity::{Activity, LastRequest};
pub(crate) use self::care::{ResetTo, RunningOutput, Tested, reset};
pub(crate) use self::dead_letters::{RecentLetters, recent_letters};
pub(crate) use self::error::OutputError;
pub(crate) use self::format::OutputFormat;
pub(crate) use self::running::{MakeStdout, Outputs};
pub(crate) use self::settings::Output;
use crate::entry::record::Origin;
use crate::entry::{Fields, Millis, Record, Value, VerdictName};

/// A made-up entry for trying an output, which says that it is one.
fn synthetic(time: Millis) -> Record {
    let mut fields = Fields::default();
    for (name, value) in [("event_product", "Konnect"), ("org_id", "test"), ("name", "test")] {
        fields.restore(name, Value::Text(value.to_owned()));
    }
    Record {
        origin: Origin::Stored {
            id: 0,
            input: "test".to_owned(),
            received_at: time,
            delivery_count: 1,
        },
        time: Some(time),
        format: Some(crate::entry::Format::Cef),
        kind: None,
        verdict: VerdictName::Unsigned,
        reason: None,
        kid: None,
        warnings: Vec::new(),
        fields,
        raw: b"CEF:0|Vidimus|Vidimus|1.0|test|test|0|msg=a made-up entry to try an output".to_vec(),
        whole: None,
    }
}
