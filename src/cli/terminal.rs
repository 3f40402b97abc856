//! What is written to standard output and standard error, and what is safe to write there.
//!
//! Text from entries is hostile: control characters move a terminal's cursor, set its title and
//! type into it, and bidirectional ones show a text as another. [`sanitise`] is for all that is
//! printed as text, and in JSON what is unsafe is escaped.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use indicatif::{ProgressBar, ProgressStyle};

use super::exit::Failure;
use super::print::Screen;
use super::print::grid::Grid;
use crate::sanitise::is_unsafe;
pub(crate) use crate::sanitise::sanitise;

/// The same JSON with each character that a terminal obeys escaped: JSON lets most of them stand in a
/// string as they are (RFC 8259 section 7), and outside of strings there are none.
fn escape(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unsafe) {
        return json.into();
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

/// Asks a question on standard error. Where nobody can answer, that is wrong usage.
pub fn confirm(question: &str) -> Result<bool, Failure> {
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

/// Standard output for a thread that writes whole lines of what came from outside: as they are, but to
/// a terminal sanitised.
pub struct StandardOutput {
    is_terminal: bool,
}

impl StandardOutput {
    /// Takes no lock.
    #[expect(clippy::new_without_default, reason = "it looks at what standard output is")]
    pub fn new() -> StandardOutput {
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
pub struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
}

impl Output {
    /// Takes standard output.
    #[expect(clippy::new_without_default, reason = "it takes a lock")]
    pub fn new() -> Output {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Output { writer: BufWriter::with_capacity(1 << 16, stdout.lock()), is_terminal }
    }

    /// Writes whole lines that came from outside: as they are, but to a terminal sanitised.
    pub fn foreign(&mut self, lines: &[u8]) -> Result<(), Failure> {
        if self.is_terminal {
            return self.text(String::from_utf8_lossy(lines));
        }
        self.bytes(lines)
    }

    /// Writes a part of a line that came from outside, or its end: as it is, but to a terminal
    /// sanitised.
    pub fn part(&mut self, part: &[u8]) -> Result<(), Failure> {
        if self.is_terminal && part != b"\n" {
            return self.bytes(sanitise(&String::from_utf8_lossy(part)).as_bytes());
        }
        self.bytes(part)
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes).map_err(output_error)
    }

    /// Writes lines of text, each sanitised.
    pub fn text(&mut self, text: impl Display) -> Result<(), Failure> {
        let text = text.to_string();
        let mut lines = text.lines();
        lines.try_for_each(|line| writeln!(self.writer, "{}", sanitise(line))).map_err(output_error)
    }

    /// Writes a line of text, sanitised.
    pub fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        writeln!(self.writer, "{}", sanitise(&text.to_string())).map_err(output_error)
    }

    /// Writes rows, fitted to the screen.
    pub fn grid<const N: usize>(&mut self, grid: &Grid<N>) -> Result<(), Failure> {
        let lines = grid.lines(Screen::of_standard_output());
        lines.iter().try_for_each(|line| self.line(line))
    }

    /// Writes a value as a line of JSON.
    pub fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string(value)?;
        writeln!(self.writer, "{}", escape(&json)).map_err(output_error)
    }

    /// Hands over what is buffered. Without it the end of the output is lost in silence.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(output_error)
    }
}

/// What a failed write to standard output means.
pub fn output_error(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::failed(format!("cannot write to standard output: {error}")),
    }
}

/// Writes lines to standard error, each sanitised. Nobody can be told if that fails.
pub fn tell(text: impl Display) {
    let text = text.to_string();
    let text: Vec<_> = text.lines().map(sanitise).collect();
    let _ = writeln!(io::stderr(), "{}", text.join("\n"));
}

/// So many of a thing: `1 key`, `2 keys`, `2 entries`, `2 bodies`.
pub fn counted(count: u64, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o']) => format!("{count} {stem}ies"),
        _ => format!("{count} {what}s"),
    }
}

/// Whether standard error is a terminal.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// A progress bar over so many bytes on standard error, if that is a terminal.
pub fn progress(bytes: Option<u64>) -> ProgressBar {
    if !is_watched() {
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
    fn json_says_the_same_and_a_terminal_obeys_none_of_it() {
        let text = "a\u{7f}\u{9b}31m\u{202e}\u{e0041}é";
        let json = serde_json::to_string(text).unwrap();
        let escaped = escape(&json);
        assert_eq!(escaped, r#""a\u007f\u009b31m\u202e\udb40\udc41é""#);
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }

    #[test]
    fn what_is_counted_agrees_with_its_number() {
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
    fn a_closed_output_is_no_error() {
        let check = |kind: io::ErrorKind, expected: &str| {
            assert_eq!(output_error(kind.into()).to_string(), expected);
        };
        check(io::ErrorKind::BrokenPipe, "standard output was closed");
        check(io::ErrorKind::StorageFull, "cannot write to standard output: no storage space");
    }
}
