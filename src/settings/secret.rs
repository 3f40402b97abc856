//! A secret: the value of an `Authorization` header, or the token of the console.
//!
//! It contains what a header can (RFC 9110, section 5.5, without the obsolete parts): visible
//! ASCII, with spaces inside. It is never shown, and compared in constant time.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use subtle::{Choice, ConstantTimeEq};

use super::error::{ConfigError, Mismatch};

/// The maximum length in bytes. It is less than the minimum for the headers of a request.
const MAX_LEN: usize = 4096;

/// The minimum length in bytes of a secret that cannot be guessed.
pub(crate) const LEAST_LEN: usize = 16;

/// A secret. `Debug` hides it. [`Secret::expose`] is the only way to read it.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    /// Makes a secret of `text`. The error does not contain it.
    pub(crate) fn new(text: &str) -> Result<Secret, Mismatch> {
        let found = if text.is_empty() {
            "empty"
        } else if text.len() > MAX_LEN {
            "longer than 4096 bytes"
        } else if text.contains(['\n', '\r']) {
            "a value with a line break"
        } else if text.starts_with(' ') || text.ends_with(' ') {
            "a value with a space at its start or end"
        } else if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            "a value with a character that is not visible ASCII"
        } else {
            return Ok(Secret(text.to_owned()));
        };
        Err(Mismatch::new(found, EXPECTED))
    }

    /// Makes a secret of the contents of a file, without one line end (LF or CR LF) at the end.
    pub(crate) fn from_file_contents(contents: &[u8]) -> Result<Secret, Mismatch> {
        let line = contents.strip_suffix(b"\n").unwrap_or(contents);
        let line = if line.len() < contents.len() {
            line.strip_suffix(b"\r").unwrap_or(line)
        } else {
            line
        };
        let text = std::str::from_utf8(line)
            .map_err(|_| Mismatch::new("a value that is not UTF-8", EXPECTED))?;
        Secret::new(text)
    }

    /// Reads the file `path`, which `setting` names. If others can read it, that is added to
    /// `warnings`.
    pub(crate) fn read(
        setting: &str,
        path: &Path,
        warnings: &mut Vec<String>,
    ) -> Result<Secret, ConfigError> {
        let mut contents = Vec::new();
        File::open(path)
            .and_then(|file| {
                warn_if_exposed(setting, path, &file, warnings);
                // The line end, and one byte more to detect that it is too long.
                file.take(MAX_LEN as u64 + 3).read_to_end(&mut contents)
            })
            .map_err(|error| ConfigError::Read {
                setting: setting.to_owned(),
                path: path.to_owned(),
                error,
            })?;
        Secret::from_file_contents(&contents).map_err(|mismatch| {
            ConfigError::value(format!("{}, named by {setting},", path.display()), mismatch)
        })
    }

    /// Whether it is short enough to be guessed.
    pub(crate) fn is_short(&self) -> bool {
        self.0.len() < LEAST_LEN
    }

    /// The secret itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `given` is this secret. Compared in constant time: only the length can leak.
    pub(crate) fn matches(&self, given: &[u8]) -> bool {
        self.equals(given).into()
    }

    fn equals(&self, given: &[u8]) -> Choice {
        self.0.as_bytes().ct_eq(given)
    }
}

/// Compared in constant time.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

/// Whether `given` is one of `secrets`. All are compared, so the time does not show which.
pub(crate) fn any_matches(secrets: &[Secret], given: &[u8]) -> bool {
    secrets.iter().fold(Choice::from(0), |found, secret| found | secret.equals(given)).into()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Adds to `warnings` that every user of the machine can read `file`, which has a secret.
pub(crate) fn warn_if_exposed(setting: &str, path: &Path, file: &File, warnings: &mut Vec<String>) {
    // The group is ignored: containers and service managers pass secrets that way.
    let exposed = file
        .metadata()
        .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o004 != 0);
    if exposed {
        let path = path.display();
        warnings.push(format!(
            "{path}, named by {setting}, holds a secret and can be read by every user of this \
             machine: chmod o-r {path}"
        ));
    }
}

const EXPECTED: &str = "1 to 4096 visible ASCII characters, with spaces only between them, as an HTTP header holds them";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(contents: &[u8], expected: Result<&str, &str>) {
        let secret = Secret::from_file_contents(contents);
        let secret = secret.as_ref().map(Secret::expose).map_err(ToString::to_string);
        match (secret, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => {
                assert_eq!(found, format!("found {expected}, expected {EXPECTED}"));
            }
            (found, _) => panic!("{contents:?}: found {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn one_line_end_is_no_part_of_a_file() {
        check(b"Splunk 0123", Ok("Splunk 0123"));
        check(b"Splunk 0123\n", Ok("Splunk 0123"));
        check(b"Splunk 0123\r\n", Ok("Splunk 0123"));
        check(b"Splunk 0123\r", Err("a value with a line break"));
        check(b"Splunk 0123\n\n", Err("a value with a line break"));
        check(b"a\nb", Err("a value with a line break"));
    }

    #[test]
    fn a_secret_is_what_a_header_can_hold() {
        let longest = "x".repeat(MAX_LEN);
        check(longest.as_bytes(), Ok(&longest));
        check(format!("{longest}x").as_bytes(), Err("longer than 4096 bytes"));
        check(b"", Err("empty"));
        check(b"\n", Err("empty"));
        check(b" x", Err("a value with a space at its start or end"));
        check(b"x ", Err("a value with a space at its start or end"));
        check(b"a\tb", Err("a value with a character that is not visible ASCII"));
        check("caf\u{e9}".as_bytes(), Err("a value with a character that is not visible ASCII"));
        check(b"\xff", Err("a value that is not UTF-8"));
    }

    #[test]
    fn secrets_are_compared_whole() {
        let secrets = ["Splunk 1", "Splunk 2"].map(|text| Secret::new(text).unwrap());
        assert!(secrets[0].matches(b"Splunk 1"));
        for (given, expected) in [
            ("Splunk 1", true),
            ("Splunk 2", true),
            ("Splunk 3", false),
            ("splunk 1", false),
            ("Splunk 1 ", false),
            ("Splunk", false),
            ("", false),
        ] {
            assert_eq!(any_matches(&secrets, given.as_bytes()), expected, "{given:?}");
        }
        assert!(!any_matches(&[], b""));
        assert_eq!(secrets[0], secrets[0].clone());
        assert_ne!(secrets[0], secrets[1]);
    }

    #[test]
    fn debug_hides_it() {
        let secret = Secret::new("Splunk 0123").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
    }

    #[test]
    fn a_file_that_others_can_read_is_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "x\n").unwrap();
        for (mode, count) in [(0o600, 0), (0o640, 0), (0o604, 1), (0o644, 1)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let mut warnings = Vec::new();
            assert_eq!(Secret::read("--x", &path, &mut warnings).unwrap().expose(), "x");
            assert_eq!(warnings.len(), count, "{mode:o}: {warnings:?}");
        }
    }
}
