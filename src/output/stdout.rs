//! Outputs of the type `stdout`: lines to standard output.

use std::io::Write;
use std::path::Path;

use super::destination::{OutputType, SinkOptions, Trial};
use super::error::{IoContext, OutputError};
use super::format::OutputFormat;
use super::sink::Sink;
use crate::entry::{Millis, Record};
use crate::settings::{ConfigError, Section};

/// The type has no keys of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StdoutSettings;

impl OutputType for StdoutSettings {
    fn keys() -> Vec<&'static str> {
        Vec::new()
    }

    fn is_single() -> bool {
        true
    }

    fn resolve(
        _section: &Section<'_>,
        _format: OutputFormat,
        _warnings: &mut Vec<String>,
    ) -> Result<StdoutSettings, ConfigError> {
        Ok(StdoutSettings)
    }

    fn destination(&self) -> String {
        "standard output".to_owned()
    }

    fn sink(&self, with: SinkOptions<'_>) -> Result<Box<dyn Sink>, OutputError> {
        Ok(Box::new(Stdout { writer: (with.make_stdout)(), buffer: Vec::new() }))
    }

    fn try_out(
        &self,
        _format: OutputFormat,
        _record: &Record,
        _line: &[u8],
    ) -> Result<Trial, OutputError> {
        Ok(Trial::taken("this line would be printed".to_owned()))
    }

    fn needs_fields(&self) -> bool {
        false
    }
}

/// The sink of an output of the type `stdout`.
struct Stdout {
    writer: Box<dyn Write + Send>,
    buffer: Vec<u8>,
}

/// The size of the buffer in bytes.
const GATHERED: usize = 256 << 10;

impl Sink for Stdout {
    fn restore(&mut self, _state: &str) -> Result<(), OutputError> {
        // Lines that could not be written are written again.
        self.buffer.clear();
        Ok(())
    }

    fn write(&mut self, _record: &Record, line: &[u8], _now: Millis) -> Result<(), OutputError> {
        self.buffer.extend_from_slice(line);
        if self.buffer.len() >= GATHERED { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        let written = self.writer.write_all(&self.buffer).and_then(|()| self.writer.flush());
        self.buffer.clear();
        written.doing("write", Path::new("standard output"))
    }

    fn sync(&mut self) -> Result<String, OutputError> {
        self.flush()?;
        Ok(String::new())
    }
}
