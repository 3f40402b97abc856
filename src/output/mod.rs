//! Outputs: stored entries, out to where they are wanted.
//!
//! ```text
//! store -> filter -> format -> file, stdout, syslog, HTTP
//!   ^ behind a cursor in the catalog
//! ```
//!
//! - `running`: the outputs at work, each on a thread of its own. `engine`: one of them.
//! - `sink`: what it writes to; `file`: files; `syslog`: a syslog receiver; `http`: an endpoint.
//! - `dead_letters`: the file of what does not go out.
//! - `rate`: how fast it is. `format`: an entry to a line. `template`: an entry to a path.
//!
//! Every entry that matches goes out at least once, in the order of the ids; an entry that comes to
//! match by a late verdict follows then. Nobody waits for an output.

mod dead_letters;
mod engine;
mod error;
mod file;
mod format;
mod http;
mod rate;
mod running;
mod sink;
mod syslog;
mod template;
#[cfg(test)]
mod testing;

use std::path::Path;

pub use self::error::OutputError;
pub use self::format::Format;
pub use self::http::Tried;
pub use self::running::{MakeStdout, Outputs};
use self::syslog::Syslog;
pub use self::template::{Template, TemplateError};
use crate::config::{OutputFile, OutputHttp, OutputSyslog};
use crate::entry::record::Origin;
use crate::entry::{Fields, Millis, Record, Value, VerdictName};

/// A made-up entry to try an output out with, which tells that it is one.
pub fn synthetic(time: Millis) -> Record {
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

/// Tries whether a file can be written where `path` is, without touching that one.
pub fn try_path(path: &Path, settings: &OutputFile) -> Result<(), OutputError> {
    file::try_path(path, settings)
}

/// Sends an entry to a syslog receiver, with its line: what the receiver is, and did.
///
/// # Errors
/// When it cannot be reached, or did not read it.
pub fn try_syslog(
    settings: &OutputSyslog,
    record: &Record,
    line: &[u8],
) -> Result<String, OutputError> {
    Syslog::new("test", settings).try_out(record, line)
}

/// Sends an entry to the endpoint of `settings`, with its line in the format that its output has.
///
/// # Errors
/// When there is no answer.
pub fn try_http(
    settings: &OutputHttp,
    format: Format,
    record: &Record,
    line: &[u8],
) -> Result<Tried, OutputError> {
    http::try_out(settings, format, record, line)
}
