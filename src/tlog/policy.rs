//! Policies: which witnesses must have cosigned a checkpoint (<https://c2sp.org/tlog-policy>).
//!
//! A policy is a file of lines. A group meets the quorum if enough of its members do: witnesses
//! and groups of lines before. The octets above 127 have no meaning, so names are bytes.

use super::error::{FormatError, VerifyError, at_most};
use super::note::{KeyType, Note, Verified, VerifierKey};

/// The maximum length of a policy, in bytes.
pub const MAX_BYTES: usize = 1 << 18;

/// A log or a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The key.
    pub key: VerifierKey,
    /// Where it is reached, if the policy says so.
    pub url: Option<String>,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Known>,
    /// In the order of their lines: members come before their group.
    named: Vec<Named>,
    /// The name of the quorum. `None` if no cosignature is needed.
    quorum: Option<Vec<u8>>,
}

/// A witness or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: Vec<u8>,
    party: Party,
    /// The place of the group that it is a member of, in [`Policy::named`].
    group: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Party {
    Witness(Known),
    /// How many members must have cosigned.
    Group(usize),
}

impl Named {
    fn witness(&self) -> Option<&Known> {
        if let Party::Witness(known) = &self.party { Some(known) } else { None }
    }
}

/// Why a file is no policy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The number of a line, from 1, and what is wrong with it.
    #[error("line {0} of the policy: {1}")]
    Line(usize, FormatError),
    /// The file is too long.
    #[error("policy: {0}")]
    TooLong(FormatError),
    /// No line defines the quorum.
    #[error("found no quorum in the policy, expected a line `quorum NAME` or `quorum none`")]
    NoQuorum,
}

impl Policy {
    /// Reads a policy (section "Policy file syntax and structure").
    pub fn parse(bytes: &[u8]) -> Result<Policy, PolicyError> {
        at_most(MAX_BYTES, bytes.len(), "bytes").map_err(PolicyError::TooLong)?;
        let mut reader = Reader::default();
        for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            reader.line(line).map_err(|problem| PolicyError::Line(at + 1, problem))?;
        }
        let Reader { logs, named, quorum } = reader;
        Ok(Policy { logs, named, quorum: quorum.ok_or(PolicyError::NoQuorum)? })
    }

    /// The logs. There may be none: then the application knows the log.
    pub fn logs(&self) -> &[Known] {
        &self.logs
    }

    /// The witnesses.
    pub fn witnesses(&self) -> impl Iterator<Item = &Known> {
        self.named.iter().filter_map(Named::witness)
    }

    /// Verifies the cosignatures of the witnesses, and that they meet the quorum. Returns them. The
    /// signature of the log is not looked at.
    pub fn verify<'a>(&'a self, note: &'a Note) -> Result<Vec<Verified<'a>>, VerifyError> {
        let verified = match note.verify(self.witnesses().map(|witness| &witness.key)) {
            Err(VerifyError::NoKnownKey(_)) => Vec::new(),
            other => other?,
        };
        let Some(quorum) = &self.quorum else { return Ok(verified) };
        let mut cosigned = Vec::new();
        // How many members of the group at each place have cosigned.
        let mut members = vec![0; self.named.len()];
        for (at, one) in self.named.iter().enumerate() {
            let has_cosigned = match &one.party {
                Party::Witness(known) => verified.iter().any(|one| *one.key == known.key),
                Party::Group(threshold) => members.get(at) >= Some(threshold),
            };
            if !has_cosigned {
                continue;
            }
            if one.name == *quorum {
                return Ok(verified);
            }
            if let Party::Witness(_) = one.party {
                cosigned.push(lossy(&one.name));
            }
            if let Some(members) = one.group.and_then(|group| members.get_mut(group)) {
                *members += 1;
            }
        }
        Err(VerifyError::Quorum(cosigned, lossy(quorum)))
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The error that `expected` was expected instead of `found`.
fn found(found: &[u8], expected: &'static str) -> FormatError {
    FormatError::found(&lossy(found), expected)
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    logs: Vec<Known>,
    named: Vec<Named>,
    quorum: Option<Option<Vec<u8>>>,
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Result<(), FormatError> {
        let text = line.strip_suffix(b"\n");
        let text = text.ok_or_else(|| found(line, "a line that ends with a newline"))?;
        let allowed = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        if !text.iter().all(|byte| allowed(*byte)) {
            return Err(found(text, "no control characters but tabs"));
        }
        let items = text.split(|byte| b" \t".contains(byte)).filter(|item| !item.is_empty());
        match items.collect::<Vec<_>>().as_slice() {
            [] | [[b'#', ..], ..] => Ok(()),
            [b"log", key, url @ ..] if url.len() < 2 => self.log(key, url.first().copied()),
            [b"witness", name, key, url @ ..] if url.len() < 2 => {
                self.witness(name, key, url.first().copied())
            }
            [b"group", name, threshold, members @ ..] if !members.is_empty() => {
                self.group(name, threshold, members)
            }
            [b"quorum", name] => self.quorum(name),
            [b"log", ..] => Err(found(text, "log <vkey> [<url>]")),
            [b"witness", ..] => Err(found(text, "witness <name> <vkey> [<url>]")),
            [b"group", ..] => Err(found(text, "group <name> all|any|<number> <name>...")),
            [b"quorum", ..] => Err(found(text, "quorum <name>, or quorum none")),
            [other, ..] => Err(found(other, "log, witness, group, quorum or a comment with #")),
        }
    }

    fn log(&mut self, vkey: &[u8], url: Option<&[u8]>) -> Result<(), FormatError> {
        let log = known(vkey, url)?;
        if self.logs.iter().any(|other| other.key.public() == log.key.public()) {
            return Err(found(vkey, "a key that no log before has"));
        }
        if self.witnesses().any(|witness| witness.key.public() == log.key.public()) {
            return Err(found(vkey, "a key that no witness has, for a log is not its own witness"));
        }
        self.logs.push(log);
        Ok(())
    }

    fn witness(&mut self, name: &[u8], vkey: &[u8], url: Option<&[u8]>) -> Result<(), FormatError> {
        let witness = known(vkey, url)?;
        if witness.key.kind() != KeyType::Cosignature {
            return Err(found(vkey, "the key of a witness, with the signature type 0x04"));
        }
        if self.witnesses().any(|other| other.key.public() == witness.key.public()) {
            return Err(found(vkey, "a key that no witness before has"));
        }
        if self.logs.iter().any(|log| log.key.public() == witness.key.public()) {
            return Err(found(vkey, "a key that no log has, for a log is not its own witness"));
        }
        self.define(name, Party::Witness(witness))
    }

    fn witnesses(&self) -> impl Iterator<Item = &Known> {
        self.named.iter().filter_map(Named::witness)
    }

    fn group(&mut self, name: &[u8], threshold: &[u8], names: &[&[u8]]) -> Result<(), FormatError> {
        let number = || super::decimal(std::str::from_utf8(threshold).ok()?)?.try_into().ok();
        let threshold = match threshold {
            b"all" => Some(names.len()),
            b"any" => Some(1),
            _ => number().filter(|number| (1..=names.len()).contains(number)),
        }
        .ok_or_else(|| found(threshold, "all, any, or a number up to the number of members"))?;
        let group = self.named.len();
        for name in names {
            let member = self.defined(name)?;
            if member.group.replace(group).is_some() {
                return Err(found(name, "a name that is a member of no group yet"));
            }
        }
        self.define(name, Party::Group(threshold))
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), FormatError> {
        if self.quorum.is_some() {
            return Err(found(name, "one quorum, and a line before has it"));
        }
        self.quorum = Some(match name {
            b"none" => None,
            _ => Some(self.defined(name)?.name.clone()),
        });
        Ok(())
    }

    /// What a line before defined.
    fn defined(&mut self, name: &[u8]) -> Result<&mut Named, FormatError> {
        let named = self.named.iter_mut().find(|one| one.name == name);
        named.ok_or_else(|| found(name, "a witness or a group that a line before defines"))
    }

    fn define(&mut self, name: &[u8], party: Party) -> Result<(), FormatError> {
        if name == b"none" || self.defined(name).is_ok() {
            return Err(found(name, "a new name other than none"));
        }
        self.named.push(Named { name: name.to_vec(), party, group: None });
        Ok(())
    }
}

fn known(vkey: &[u8], url: Option<&[u8]>) -> Result<Known, FormatError> {
    let key = std::str::from_utf8(vkey).map_err(|_| FormatError::NotText)?.parse()?;
    Ok(Known { key, url: url.map(lossy) })
}

#[cfg(test)]
mod tests {
    use super::super::cosignature::CosigningKey;
    use super::super::note::SigningKey;
    use super::*;

    const NAMES: [&str; 6] = ["X1", "X2", "X3", "Y1", "Y2", "Y3"];

    fn witness(name: &str) -> CosigningKey {
        let at = NAMES.iter().position(|one| *one == name).unwrap();
        CosigningKey::from_seed(name, &[u8::try_from(at).unwrap() + 2; 32]).unwrap()
    }

    fn log() -> SigningKey {
        SigningKey::from_seed("example.com/log", &[1; 32]).unwrap()
    }

    /// The example of the specification, with keys.
    fn example() -> String {
        let witness = |name: &&str| format!("witness {name} {}\n", witness(name).verifier());
        let (x, y): (String, String) =
            (NAMES[..3].iter().map(witness).collect(), NAMES[3..].iter().map(witness).collect());
        format!(
            "log {}\n\n{x}group X-witnesses 2 X1 X2 X3\n\n{y}group Y-witnesses any Y1 Y2 Y3\n\n\
             group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
            log().verifier()
        )
    }

    /// A checkpoint that these witnesses cosigned.
    fn cosigned(names: &[&str]) -> Note {
        let mut note = Note::sign("example.com/log\n0\n".to_owned(), &log()).unwrap();
        for name in names {
            note.add(witness(name).cosign(&note, 1).unwrap()).unwrap();
        }
        note
    }

    #[test]
    fn the_example_is_met_by_two_of_x_and_one_of_y() {
        let policy = Policy::parse(example().as_bytes()).unwrap();
        assert_eq!(policy.logs()[0], Known { key: log().verifier().clone(), url: None });
        let witnesses: Vec<_> = policy.witnesses().map(|one| one.key.name()).collect();
        assert_eq!(witnesses, NAMES);
        for mask in 0..64_u32 {
            let names: Vec<_> =
                (0..6).filter(|at| mask & (1 << at) > 0).map(|at| NAMES[at]).collect();
            let expected = (mask & 0b111).count_ones() >= 2 && mask >> 3 > 0;
            let note = cosigned(&names);
            match policy.verify(&note) {
                Ok(found) => assert!(expected && found.len() == names.len(), "{names:?}"),
                Err(error) => {
                    let found = names.iter().map(|&name| name.to_owned()).collect();
                    let quorum = VerifyError::Quorum(found, "X-and-Y".to_owned());
                    assert_eq!((expected, error), (false, quorum));
                }
            }
        }
        // A bad cosignature of a known witness spoils the note.
        let bad = cosigned(&NAMES).to_string().replacen("\n0\n", "\n1\n", 1);
        let bad = Note::parse(bad.as_bytes()).unwrap();
        assert!(matches!(policy.verify(&bad), Err(VerifyError::Signature(_))));
    }

    #[test]
    fn every_quorum_has_its_meaning() {
        let witnesses: String = NAMES
            .iter()
            .map(|name| format!("witness {name} {} https://{name}\n", witness(name).verifier()))
            .collect();
        let check = |lines: &str, names: &[&str], expected: bool| {
            let policy = Policy::parse(format!("{witnesses}{lines}").as_bytes()).unwrap();
            assert_eq!(policy.verify(&cosigned(names)).is_ok(), expected, "{lines} {names:?}");
        };
        check("quorum none\n", &[], true);
        check("quorum X1\n", &["X1"], true);
        check("quorum X1\n", &["X2", "X3"], false);
        check("group g 1 X1\nquorum g\n", &["X1"], true);
        check("group g all X1 X2\nquorum g\n", &["X1"], false);
        check("group g all X1 X2\nquorum g\n", &["X2", "X1"], true);
        check("group g any X1 X2\nquorum g\n", &["X2"], true);
        check("group g any X1 X2\nquorum g\n", &["Y1"], false);
        check("group g 2 X1 X2\nquorum X1\n", &["X1"], true);
        // The name K and the Kelvin sign are two names, and what is no UTF-8 is a name.
        check(
            "\t #\u{e9}\n  group \u{212a}\tany X1 \ngroup K any X2 \u{212a}\nquorum K\n",
            &["X1"],
            true,
        );
        let mut bytes = witnesses.clone().into_bytes();
        bytes.extend(b"group \xff any X1\nquorum \xff\nlog ");
        bytes.extend(format!("{}\thttps://log\n", log().verifier()).bytes());
        let policy = Policy::parse(&bytes).unwrap();
        assert_eq!(policy.logs()[0].url.as_deref(), Some("https://log"));
        assert_eq!(policy.witnesses().next().unwrap().url.as_deref(), Some("https://X1"));
        assert!(policy.verify(&cosigned(&["X1"])).is_ok());
    }

    #[test]
    fn a_bad_line_is_named() {
        let check = |policy: &str, line: usize, expected: &str| {
            let error = Policy::parse(policy.as_bytes()).unwrap_err().to_string();
            let begin = format!("line {line} of the policy: found ");
            assert!(error.starts_with(&begin) && error.contains(expected), "{policy}: {error}");
        };
        let good = example();
        let lines = good.lines().count();
        let after = |more: &str, expected: &str| {
            check(&format!("{good}{more}\n"), lines + 1, expected);
        };
        let key = |name: &str| witness(name).verifier().to_string();
        let new = CosigningKey::from_seed("new", &[9; 32]).unwrap().verifier().to_string();
        after("quorum X1", "one quorum");
        after("quorum", "quorum <name>");
        after("quorum X1 X2", "quorum <name>");
        after("group g any", "group <name>");
        after("group g any X1", "a member of no group yet");
        after("group g any X-and-Y X-and-Y", "a member of no group yet");
        after("group g any none", "that a line before defines");
        after("group g any g", "that a line before defines");
        after("group X1 any X-and-Y", "a new name");
        after("group none any X-and-Y", "a new name");
        for threshold in ["0", "2", "-1", "01", "ALL", "9223372036854775808"] {
            after(&format!("group g {threshold} X-and-Y"), "expected all, any, or a number");
        }
        after("witness w", "witness <name> <vkey>");
        after(&format!("witness w {new} https://a b"), "witness <name> <vkey>");
        after(&format!("witness w {}", key("X1")), "a key that no witness before has");
        after(&format!("witness X1 {new}"), "a new name");
        after(&format!("witness none {new}"), "a new name");
        after(&format!("witness w {}", log().verifier()), "the key of a witness");
        after("witness w X1", "expected a verifier key");
        // The log of the example has this secret.
        let own = CosigningKey::from_seed("own", &[1; 32]).unwrap().verifier().to_string();
        after(&format!("witness w {own}"), "a key that no log has");
        let x1 = SigningKey::from_seed("x1", &[2; 32]).unwrap().verifier().to_string();
        after(&format!("log {x1}"), "a key that no witness has");
        after("log", "log <vkey>");
        after(&format!("log {}", log().verifier()), "a key that no log before has");
        after("logs", "log, witness, group, quorum or a comment");
        after("quorum\u{1}none", "no control characters but tabs");
        after("#\r", "no control characters but tabs");
        after("#\u{7f}", "no control characters but tabs");
        check("quorum X1\n", 1, "that a line before defines");
        check("# a\n\nquorum none", 3, "a line that ends with a newline");
        assert_eq!(Policy::parse(b"# nothing\n"), Err(PolicyError::NoQuorum));
        let long = vec![b'\n'; MAX_BYTES + 1];
        assert!(matches!(Policy::parse(&long), Err(PolicyError::TooLong(_))));
    }
}
