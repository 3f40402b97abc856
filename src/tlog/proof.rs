//! Proofs that an entry is in a log, to be verified without a network
//! (<https://c2sp.org/tlog-proof>). Such a file has the extension `.tlog-proof`.

use std::fmt;

use super::checkpoint::Checkpoint;
use super::error::{FormatError, VerifyError, at_most};
use super::note::{Note, Verified, VerifierKey};
use super::policy::Policy;
use super::tree::{self, Hash};
use super::{decimal, from_base64, hashes_and_checkpoint, to_base64};

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The maximum length of a proof, in bytes.
pub const MAX_BYTES: usize = 2 << 20;

/// A proof. `Display` writes the file (section "Format").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What the application adds. Nobody signs it. It can be empty.
    pub extra: Vec<u8>,
    /// The index of the entry in the log, from 0.
    pub index: u64,
    /// The inclusion proof, with the sibling of the leaf first.
    pub hashes: Vec<Hash>,
    /// The checkpoint of the log, with cosignatures.
    pub checkpoint: Note,
}

impl Proof {
    /// Reads a file. Nothing is verified.
    pub fn parse(bytes: &[u8]) -> Result<Proof, FormatError> {
        at_most(MAX_BYTES, bytes.len(), "bytes")?;
        let text = std::str::from_utf8(bytes).map_err(|_| FormatError::NotText)?;
        let line = |text| str::split_once(text, '\n').unwrap_or((text, ""));
        let (header, rest) = line(text);
        if header != HEADER {
            return Err(FormatError::found(header, HEADER));
        }
        let (mut at, mut rest) = line(rest);
        let mut extra = Vec::new();
        if let Some(data) = at.strip_prefix("extra ") {
            let data = from_base64(data).filter(|data| !data.is_empty());
            extra = data.ok_or_else(|| FormatError::found(at, "extra <base64>"))?;
            (at, rest) = line(rest);
        }
        let index = at.strip_prefix("index ").and_then(decimal);
        let index = index.ok_or_else(|| FormatError::found(at, "index <index of the entry>"))?;
        let (hashes, checkpoint) = hashes_and_checkpoint(rest)?;
        Ok(Proof { extra, index, hashes, checkpoint })
    }

    /// Verifies that the entry with the hash `leaf` is in one of these logs, and that witnesses
    /// cosigned the checkpoint as the policy says (section "Verifying a tlog proof"). `logs` can
    /// be those of the policy. Returns the checkpoint and the cosignatures of known witnesses.
    pub fn verify<'a>(
        &'a self,
        leaf: &Hash,
        logs: impl IntoIterator<Item = &'a VerifierKey>,
        policy: &'a Policy,
    ) -> Result<(Checkpoint, Vec<Verified<'a>>), VerifyError> {
        let checkpoint = Checkpoint::verify(&self.checkpoint, logs)?;
        let cosignatures = policy.verify(&self.checkpoint)?;
        let (size, root) = (checkpoint.size(), checkpoint.root());
        tree::verify_inclusion(&self.hashes, self.index, leaf, size, root)?;
        Ok((checkpoint, cosignatures))
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", to_base64(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cosignature::CosigningKey;
    use super::super::note::SigningKey;
    use super::super::tree::tests::{Levels, leaves};
    use super::*;

    /// A proof for a leaf of a log with five, its hash, and the keys of the log and a witness.
    fn example(index: u64, extra: &[u8]) -> (Proof, Hash, SigningKey, CosigningKey) {
        let log = SigningKey::from_seed("example.com/log", &[1; 32]).unwrap();
        let witness = CosigningKey::from_seed("example.com/witness", &[2; 32]).unwrap();
        let levels = Levels::new(leaves(5));
        let root = tree::root(&levels, 5).unwrap();
        let mut checkpoint =
            Checkpoint::new("example.com/log", 5, root).unwrap().sign(&log).unwrap();
        checkpoint.add(witness.cosign(&checkpoint, 1_700_000_000).unwrap()).unwrap();
        let hashes = tree::prove_inclusion(&levels, index, 5).unwrap();
        let leaf = leaves(5)[usize::try_from(index).unwrap()];
        (Proof { extra: extra.to_vec(), index, hashes, checkpoint }, leaf, log, witness)
    }

    #[test]
    fn a_proof_is_read_and_written() {
        for (index, extra) in [(0, b"".as_slice()), (3, b"\0extra"), (4, b"x")] {
            let (proof, ..) = example(index, extra);
            let text = proof.to_string();
            assert_eq!(Proof::parse(text.as_bytes()).as_ref(), Ok(&proof));
            let begin = format!("c2sp.org/tlog-proof@v1\nindex {index}\n");
            assert_eq!(text.starts_with(&begin), extra.is_empty(), "{text}");
        }
        // The example of the specification, with another checkpoint.
        let (proof, ..) = example(0, b"");
        let example = format!(
            "c2sp.org/tlog-proof@v1\nextra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ\nindex 73894\n\
             gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\nB95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n\n{}",
            proof.checkpoint
        );
        let read = Proof::parse(example.as_bytes()).unwrap();
        assert_eq!((read.index, read.hashes.len(), read.to_string()), (73_894, 2, example));
    }

    #[test]
    fn other_files_are_refused() {
        let (proof, ..) = example(3, b"extra");
        let text = proof.to_string();
        let check = |from: &str, to: &str, expected: &str| {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            let found = Proof::parse(changed.as_bytes()).unwrap_err().to_string();
            assert!(found.contains(expected), "{changed}: {found}");
        };
        check("@v1", "@v2", "expected c2sp.org/tlog-proof@v1");
        check("@v1\n", "@v1\r\n", "expected c2sp.org/tlog-proof@v1");
        check("extra ZX", "extra  ZX", "expected extra <base64>");
        check("extra ZXh0cmE=", "extra ", "expected extra <base64>");
        check("extra ZXh0cmE=\n", "extra ZXh0cmE=\nextra ZXh0cmE=\n", "expected index");
        check("extra", "Extra", "expected index");
        for index in ["index 03", "index -3", "index", "index 3 ", "index 9223372036854775808"] {
            check("index 3", index, "expected index");
        }
        check("\n\nexample", "\nexample", "expected a hash");
        check("\n\nexample", "\n\n\nexample", "expected the number of leaves");
        check("\n\n— ", "\n— ", "an empty line, and signatures");
        assert_eq!(Proof::parse(b"\xff"), Err(FormatError::NotText));
        assert!(matches!(Proof::parse(&vec![0; MAX_BYTES + 1]), Err(FormatError::TooMany(..))));
    }

    #[test]
    fn a_proof_verifies_for_its_entry_log_and_witnesses_alone() {
        let (proof, leaf, log, witness) = example(3, b"");
        let other = CosigningKey::from_seed("o", &[3; 32]).unwrap();
        let policy = |key: &VerifierKey| {
            Policy::parse(format!("witness w {key}\nquorum w\n").as_bytes()).unwrap()
        };
        let policy_of_other = policy(other.verifier());
        let none = Policy::parse(b"quorum none\n").unwrap();
        let policy = policy(witness.verifier());
        let (checkpoint, cosignatures) = proof.verify(&leaf, [log.verifier()], &policy).unwrap();
        assert_eq!((checkpoint.size(), cosignatures.len()), (5, 1));
        assert_eq!(cosignatures[0].timestamp, Some(1_700_000_000));
        assert_eq!(proof.verify(&leaf, [log.verifier()], &none).unwrap().1, []);

        let check =
            |proof: &Proof, leaf: &Hash, log: &SigningKey, policy: &Policy, expected: &str| {
                let found = proof.verify(leaf, [log.verifier()], policy).unwrap_err().to_string();
                assert!(found.contains(expected), "{found}");
            };
        check(&proof, &Hash::EMPTY, &log, &policy, "found a proof for the root");
        check(
            &Proof { index: 2, ..proof.clone() },
            &leaf,
            &log,
            &policy,
            "found a proof for the root",
        );
        check(
            &Proof { index: 5, ..proof.clone() },
            &leaf,
            &log,
            &policy,
            "expected one below the size 5",
        );
        check(
            &Proof { hashes: Vec::new(), ..proof.clone() },
            &leaf,
            &log,
            &policy,
            "0 hashes, expected more",
        );
        check(&proof, &leaf, &log, &policy_of_other, "expected the quorum \"w\"");
        let key = SigningKey::from_seed("example.com/log", &[4; 32]).unwrap();
        check(&proof, &leaf, &key, &policy, "expected one of a known key");
        let key = SigningKey::from_seed("example.com/other", &[1; 32]).unwrap();
        check(&proof, &leaf, &key, &policy, "expected [\"example.com/other\"]");
    }
}
