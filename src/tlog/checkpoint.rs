//! Checkpoints: the size and the root of a log, as the text of a note
//! (<https://c2sp.org/tlog-checkpoint>).

use std::fmt;

use super::note::{Note, SigningKey, VerifierKey, check_characters};
use super::tree::Hash;
use super::{FormatError, VerifyError, decimal};

/// A checkpoint. `Display` writes the text of its note (section "Note text").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint without extensions. The origin is the name of the log, one line. The root of an
    /// empty log is [`Hash::EMPTY`].
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Checkpoint, FormatError> {
        if origin.is_empty() || origin.contains('\n') || check_characters(origin).is_err() {
            return Err(FormatError::found(origin, "an origin: one line that is not empty"));
        }
        if size == 0 && root != Hash::EMPTY {
            return Err(FormatError::found(&root.to_string(), "the root of the empty tree"));
        }
        Ok(Checkpoint { origin: origin.to_owned(), size, root, extensions: Vec::new() })
    }

    /// Reads the text of a note, whose signatures [`Checkpoint::verify`] verifies.
    pub fn parse(text: &str) -> Result<Checkpoint, FormatError> {
        let expected = "three lines or more: an origin, a size, a root";
        let lines = text.strip_suffix('\n').unwrap_or_default().split('\n').collect::<Vec<_>>();
        let [origin, size, root, extensions @ ..] = lines.as_slice() else {
            return Err(FormatError::found(text, expected));
        };
        if extensions.iter().any(|line| line.is_empty()) {
            return Err(FormatError::found(text, "a checkpoint without empty lines"));
        }
        let size = decimal(size)
            .ok_or_else(|| FormatError::found(size, "the number of leaves, below 2^63"))?;
        let extensions = extensions.iter().map(|line| (*line).to_owned()).collect();
        Ok(Checkpoint { extensions, ..Checkpoint::new(origin, size, root.parse()?)? })
    }

    /// Verifies that one of these logs signed a checkpoint, and reads it. The name of the key must
    /// be the origin (tlog-policy, section "Defining a log").
    pub fn verify<'a>(
        note: &'a Note,
        logs: impl IntoIterator<Item = &'a VerifierKey>,
    ) -> Result<Checkpoint, VerifyError> {
        let checkpoint = Checkpoint::parse(note.text())?;
        let logs: Vec<_> = logs.into_iter().collect();
        let mut known = logs.iter().filter(|log| log.name() == checkpoint.origin).peekable();
        if known.peek().is_none() {
            let expected = logs.iter().map(|log| log.name().to_owned()).collect();
            return Err(VerifyError::Origin(checkpoint.origin, expected));
        }
        note.verify(known.copied())?;
        Ok(checkpoint)
    }

    /// Signs the checkpoint. The name of the key should be the origin. The caller makes sure that
    /// the log only grew since its last checkpoint.
    pub fn sign(&self, key: &SigningKey) -> Result<Note, FormatError> {
        Note::sign(self.to_string(), key)
    }

    /// The name of the log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// Lines without a defined meaning, without their newlines.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";

    #[test]
    fn the_example_is_read_and_written() {
        let text = format!("example.com/behind-the-sofa\n20852163\n{ROOT}\n");
        let checkpoint = Checkpoint::parse(&text).unwrap();
        let root = ROOT.parse().unwrap();
        let expected = Checkpoint::new("example.com/behind-the-sofa", 20_852_163, root);
        assert_eq!((Ok(&checkpoint), checkpoint.to_string()), (expected.as_ref(), text));
        let text = format!("a log\n9223372036854775807\n{ROOT}\nfirst\n second +\n");
        let checkpoint = Checkpoint::parse(&text).unwrap();
        assert_eq!(checkpoint.extensions(), ["first", " second +"]);
        assert_eq!(checkpoint.to_string(), text);
        let empty = Checkpoint::new("log", 0, Hash::EMPTY).unwrap();
        assert_eq!(Checkpoint::parse(&empty.to_string()), Ok(empty));
    }

    #[test]
    fn other_texts_are_refused() {
        let check = |text: &str, expected: &str| {
            let found = Checkpoint::parse(text).unwrap_err().to_string();
            assert!(found.contains(expected), "{text:?}: {found}");
        };
        check("", "three lines");
        check("log\n1\n", "three lines");
        check(&format!("log\n1\n{ROOT}"), "three lines");
        check(&format!("\n1\n{ROOT}\n"), "expected an origin");
        check(&format!("log\n1\n{ROOT}\n\n"), "without empty lines");
        check(&format!("log\n1\n{ROOT}\na\n\nb\n"), "without empty lines");
        for size in ["", "01", "+1", "-1", "0x1", " 1", "1 ", "9223372036854775808", "1e3", "١"] {
            check(&format!("log\n{size}\n{ROOT}\n"), "expected the number of leaves");
        }
        for root in ["", "AAAA", &ROOT[..43], &format!("{ROOT} "), &ROOT.replace('+', "-")] {
            if root != ROOT {
                check(&format!("log\n1\n{root}\n"), "expected a hash");
            }
        }
        check(&format!("log\n0\n{ROOT}\n"), "expected the root of the empty tree");
        for origin in ["", "a\nb", "a\tb", "\n"] {
            assert!(Checkpoint::new(origin, 0, Hash::EMPTY).is_err(), "{origin:?}");
        }
    }

    #[test]
    fn the_key_must_be_of_the_origin() {
        let key = |name, seed| SigningKey::from_seed(name, &[seed; 32]).unwrap();
        let (log, other) = (key("log", 1), key("other", 2));
        let checkpoint = Checkpoint::new("log", 1, ROOT.parse().unwrap()).unwrap();
        let note = checkpoint.sign(&log).unwrap();
        let verify = |note, keys: &[&SigningKey]| {
            Checkpoint::verify(note, keys.iter().map(|key| key.verifier()))
        };
        assert_eq!(verify(&note, &[&other, &log]), Ok(checkpoint.clone()));
        let error = verify(&note, &[&other]).unwrap_err().to_string();
        assert_eq!(error, r#"found a checkpoint of the log "log", expected ["other"]"#);
        // Another known log signed it.
        let note = checkpoint.sign(&other).unwrap();
        let error = verify(&note, &[&other, &log]).unwrap_err();
        assert!(matches!(error, VerifyError::NoKnownKey(_)), "{error}");
        let note = checkpoint.sign(&key("log", 3)).unwrap();
        let error = verify(&note, &[&log]).unwrap_err();
        assert!(matches!(error, VerifyError::NoKnownKey(_)), "{error}");
    }
}
