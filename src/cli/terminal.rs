//! Safe output to standard output and standard error.
//!
//! Text from entries is hostile: control characters can move the cursor of a terminal, set its
//! title or type into it, and bidirectional characters can disguise a text. Printed text is
//! sanitised with [`sanitise`], and unsafe characters in JSON are escaped.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use indicatif::{ProgressBar, ProgressStyle};

use super::exit::Failure;
use super::print::Screen;
use super::print::grid::Grid;
use crate::sanitise::escape_json;
pub(crate) use crate::sanitise::sanitise;

/// Asks a yes/no question on standard error. It is a usage error if standard input is not a
/// terminal.
pub(crate) fn confirm(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "standard input is not a terminal, so there is no way to confirm: use --yes",
        ));
    }
    let mut error = io::stderr();
    let asked = write!(error, "{question} [y/N] ").and_then(|()| error.flush());
    let mut answer = String::new();
    asked.and_then(|()| io::stdin().read_line(&mut answer))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Standard output for a thread that writes whole untrusted lines. They are sanitised on a terminal
/// only.
pub(crate) struct StandardOutput {
    is_terminal: bool,
}

impl StandardOutput {
    /// Does not lock standard output.
    pub(crate) fn new() -> StandardOutput {
        StandardOutput { is_terminal: io::stdout().is_terminal() }
    }
}

impl Write for StandardOutput {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if !self.is_terminal {
            return io::stdout().write(lines);
        }
        for line in String::from_utf8_lossy(lines).lines() {
            writeln!(io::stdout(), "{}", sanitise(line))?;
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Standard output, locked and buffered.
pub(crate) struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Output {
    /// Locks standard output.
    pub(crate) fn new() -> Output {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Output { writer: BufWriter::with_capacity(1 << 16, stdout.lock()), is_terminal }
    }

    /// Writes whole untrusted lines. They are sanitised on a terminal only.
    pub(crate) fn untrusted(&mut self, lines: &[u8]) -> Result<(), Failure> {
        if self.is_terminal {
            return self.text(String::from_utf8_lossy(lines));
        }
        self.bytes(lines)
    }

    /// Writes a part of an untrusted line, or a line end. It is sanitised on a terminal only.
    pub(crate) fn untrusted_part(&mut self, part: &[u8]) -> Result<(), Failure> {
        if self.is_terminal && part != b"\n" {
            return self.bytes(sanitise(&String::from_utf8_lossy(part)).as_bytes());
        }
        self.bytes(part)
    }

    /// Writes bytes unchanged.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes).map_err(output_error)
    }

    /// Writes lines of text, sanitised.
    pub(crate) fn text(&mut self, text: impl Display) -> Result<(), Failure> {
        let text = text.to_string();
        let mut lines = text.lines();
        lines.try_for_each(|line| writeln!(self.writer, "{}", sanitise(line))).map_err(output_error)
    }

    /// Writes a line of text, sanitised.
    pub(crate) fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        writeln!(self.writer, "{}", sanitise(&text.to_string())).map_err(output_error)
    }

    /// Writes a table, fitted to the terminal.
    pub(crate) fn grid<const N: usize>(&mut self, grid: &Grid<N>) -> Result<(), Failure> {
        let lines = grid.lines(Screen::of_standard_output());
        lines.iter().try_for_each(|line| self.line(line))
    }

    /// Writes a value as a line of JSON.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string(value)?;
        writeln!(self.writer, "{}", escape_json(&json)).map_err(output_error)
    }

    /// Writes the buffer. Without this call, errors at the end of the output are lost.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(output_error)
    }
}

/// Converts a write error. A broken pipe is [`Failure::OutputClosed`].
pub(crate) fn output_error(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::failed(format!("cannot write to standard output: {error}")),
    }
}

/// Writes lines to standard error, sanitised. Errors are ignored.
pub(crate) fn tell(text: impl Display) {
    let text = text.to_string();
    let text: Vec<_> = text.lines().map(sanitise).collect();
    let _ = writeln!(io::stderr(), "{}", text.join("\n"));
}

/// A count with a noun: `1 key`, `2 keys`, `2 entries`, `2 bodies`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o']) => format!("{count} {stem}ies"),
        _ => format!("{count} {what}s"),
    }
}

/// Whether standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// A count of what was done on standard error, of an unknown total, hidden if that is not a terminal.
pub(crate) fn counting_bar(what: &'static str) -> ProgressBar {
    if !stderr_is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(&format!("{{spinner}} {{human_pos}} {what}"));
    ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// A progress bar in bytes on standard error, hidden if that is not a terminal.
pub(crate) fn progress(bytes: Option<u64>) -> ProgressBar {
    if !stderr_is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes {
        Some(bytes) => {
            (ProgressBar::new(bytes), "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left")
        }
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}  {bytes_per_sec}"),
    };
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_agree_with_their_count() {
        let check = |count: u64, what: &str, expected: &str| {
            assert_eq!(counted(count, what), expected);
        };
        check(1, "known key", "1 known key");
        check(0, "known key", "0 known keys");
        check(1, "body", "1 body");
        check(2, "body", "2 bodies");
        check(2, "delivery", "2 deliveries");
        check(2, "segment", "2 segments");
    }

    #[test]
    fn a_closed_output_is_not_an_error() {
        let check = |kind: io::ErrorKind, expected: &str| {
            assert_eq!(output_error(kind.into()).to_string(), expected);
        };
        check(io::ErrorKind::BrokenPipe, "standard output was closed");
        check(io::ErrorKind::StorageFull, "cannot write to standard output: no storage space");
    }
}
