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
mod destination;
mod engine;
mod error;
mod file;
mod format;
mod http;
mod running;
pub mod settings;
mod sink;
mod stdout;
mod syslog;
mod template;
#[cfg(test)]
mod testing;
mod throughput;

pub use self::destination::{Destination, Trial};
pub use self::error::OutputError;
pub use self::format::OutputFormat;
pub use self::running::{MakeStdout, Outputs};
pub use self::settings::Output;
pub use self::template::{Template, TemplateError};
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

impl Output {
    /// Tries the output out with one entry, and its line: an HTTP endpoint and a syslog receiver are
    /// sent it. Files of entries are not touched.
    ///
    /// # Errors
    /// When the output cannot write, or when there is no answer.
    pub fn try_out(&self, record: &Record, line: &[u8]) -> Result<Trial, OutputError> {
        self.to.of_type().try_out(self.format, record, line)
    }
}
