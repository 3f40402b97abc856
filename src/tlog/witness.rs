//! The call `add-checkpoint` of a witness: the body of the request, and what the response means
//! (<https://c2sp.org/tlog-witness>, section "add-checkpoint"). The caller sends it.

use std::fmt;

use super::note::{Note, Signature, VerifierKey};
use super::tree::Hash;
use super::{FormatError, VerifyError, decimal, hashes_and_checkpoint};

/// The path of the call below the submission prefix of the witness.
pub const PATH: &str = "add-checkpoint";

/// The media type of the body of a response with the status 409.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// A request. `Display` writes the body of the POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size of the checkpoint that the witness cosigned last. 0 if it never did.
    pub old_size: u64,
    /// The proof that the log only grew since then. It is empty if `old_size` is 0.
    pub proof: Vec<Hash>,
    /// The checkpoint, signed by the log.
    pub checkpoint: Note,
}

impl AddCheckpoint {
    /// Reads a body, as a witness does. Nothing is verified.
    pub fn parse(body: &[u8]) -> Result<AddCheckpoint, FormatError> {
        let text = std::str::from_utf8(body).map_err(|_| FormatError::NotText)?;
        let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
        let old_size = line.strip_prefix("old ").and_then(decimal);
        let old_size = old_size.ok_or_else(|| FormatError::found(line, "old <size>"))?;
        let (proof, checkpoint) = hashes_and_checkpoint(rest)?;
        Ok(AddCheckpoint { old_size, proof, checkpoint })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// What a witness answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: it cosigned the checkpoint. These are the signatures of known keys.
    Cosigned(Vec<Signature>),
    /// 409: the size of the checkpoint that it cosigned last is another one. The request is sent
    /// again with a proof from this size.
    Conflict {
        /// The size.
        size: u64,
    },
}

/// Why there is no cosignature.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// The status of a refusal, and what the specification says about it.
    #[error("the witness answered {0}: {1}")]
    Refused(u16, &'static str),
    /// The status of a response, and what is wrong with its body.
    #[error("the witness answered {0} and {1}")]
    Body(u16, FormatError),
    /// The response has no valid cosignature of a known key.
    #[error("the witness answered 200 and {0}")]
    Cosignature(VerifyError),
}

/// Reads a response: its status, its `Content-Type` and its body. `checkpoint` is the one of the
/// request, and `keys` are those of the witness. Signatures of other keys are ignored.
pub fn read_response(
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
    checkpoint: &Note,
    keys: &[VerifierKey],
) -> Result<Answer, WitnessError> {
    let refused = |meaning| Err(WitnessError::Refused(status, meaning));
    let bad = |problem| WitnessError::Body(status, problem);
    match status {
        200 => {
            let signed = [checkpoint.text().as_bytes(), b"\n", body].concat();
            let signed = Note::parse(&signed).map_err(bad)?;
            let verified = signed.verify(keys).map_err(WitnessError::Cosignature)?;
            Ok(Answer::Cosigned(verified.iter().map(|one| one.signature.clone()).collect()))
        }
        409 => {
            if content_type != Some(SIZE_TYPE) {
                let found = content_type.unwrap_or("no Content-Type");
                return Err(bad(FormatError::found(found, "text/x.tlog.size")));
            }
            let text = std::str::from_utf8(body).map_err(|_| bad(FormatError::NotText))?;
            let size = text.strip_suffix('\n').and_then(decimal);
            let expected = "the size of the checkpoint that it cosigned last, and a newline";
            let size = size.ok_or_else(|| bad(FormatError::found(text, expected)))?;
            Ok(Answer::Conflict { size })
        }
        400 => refused("the request is malformed, or the old size is larger than the checkpoint"),
        403 => refused("it knows no key that signed the checkpoint, or a signature is not valid"),
        404 => refused("it does not know the origin of the checkpoint"),
        422 => refused("the consistency proof does not verify"),
        _ => refused("expected 200, 400, 403, 404, 409 or 422"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::Checkpoint;
    use super::super::cosignature::CosigningKey;
    use super::super::note::{KeyType, SigningKey};
    use super::super::tree::verify_consistency;
    use super::*;

    /// A request to the witness of github.com/FiloSottile/torchwood in its tests, and the key and
    /// the root of the log before.
    const BODY: &str = "\
old 1
KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562
3
RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=

— sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562 UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=
";
    const KEY: &[u8] = b"ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f";
    const OLD_ROOT: &str = "KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    #[test]
    fn a_request_is_read_and_written() {
        let request = AddCheckpoint::parse(BODY.as_bytes()).unwrap();
        assert_eq!((request.old_size, request.proof.len()), (1, 2));
        assert_eq!(request.to_string(), BODY);
        let origin =
            "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562";
        let key = data_encoding::HEXLOWER.decode(KEY).unwrap().try_into().unwrap();
        let log = VerifierKey::new(origin, KeyType::Note, key).unwrap();
        let new = Checkpoint::verify(&request.checkpoint, [&log]).unwrap();
        let old_root = OLD_ROOT.parse().unwrap();
        let verified = verify_consistency(&request.proof, (1, &old_root), (new.size(), new.root()));
        assert_eq!(verified, Ok(()));

        let first = AddCheckpoint { old_size: 0, proof: Vec::new(), ..request };
        assert!(first.to_string().starts_with("old 0\n\nsigsum.org/"));
        assert_eq!(AddCheckpoint::parse(first.to_string().as_bytes()), Ok(first));
    }

    #[test]
    fn other_requests_are_refused() {
        let check = |body: &str, expected: &str| {
            let found = AddCheckpoint::parse(body.as_bytes()).unwrap_err().to_string();
            assert!(found.contains(expected), "{body:?}: {found}");
        };
        check("", "expected old <size>");
        for old in
            ["old 01", "old -1", "old", "old  1", "Old 1", "old 1 ", "old 9223372036854775808"]
        {
            check(&BODY.replacen("old 1", old, 1), "expected old <size>");
        }
        check("old 1\n", "a line with a hash, or an empty line");
        check(&BODY.replacen("KgEA", "KgE", 1), "expected a hash");
        check(&BODY.replacen("\n\n", "\n", 1), "expected a hash");
        check("old 1\n\n", "an empty line, and signatures");
        check(&BODY.replacen("\n3\n", "\n03\n", 1), "expected the number of leaves");
        let many = format!("old 1\n{}\n", format!("{OLD_ROOT}\n").repeat(64));
        check(&many, "found 64 hashes, expected at most 63");
        assert_eq!(AddCheckpoint::parse(b"\xff"), Err(FormatError::NotText));
    }

    #[test]
    fn responses_have_their_meanings() {
        let log = SigningKey::from_seed("log", &[1; 32]).unwrap();
        let [witness, other] = [("w", 2), ("o", 3)]
            .map(|(name, seed)| CosigningKey::from_seed(name, &[seed; 32]).unwrap());
        let checkpoint = Checkpoint::new("log", 0, Hash::EMPTY).unwrap().sign(&log).unwrap();
        let keys = [witness.verifier().clone()];
        let answer = |status, content_type, body: &str| {
            let answer = read_response(status, content_type, body.as_bytes(), &checkpoint, &keys);
            answer.map_err(|error| error.to_string())
        };
        let cosigned = witness.cosign(&checkpoint, 7).unwrap();
        let by_other = other.cosign(&checkpoint, 7).unwrap();
        let both = format!("{by_other}\n{cosigned}\n");
        assert_eq!(answer(200, None, &both), Ok(Answer::Cosigned(vec![cosigned.clone()])));

        let fails = |status, content_type, body: &str, expected: &str| {
            let found = answer(status, content_type, body).unwrap_err();
            assert!(
                found.starts_with("the witness answered ") && found.contains(expected),
                "{found}"
            );
        };
        fails(200, None, "", "200 and found");
        fails(200, None, &cosigned.to_string(), "200 and found");
        // The empty line is taken for a part of the text, which the witness did not sign.
        fails(200, None, &format!("\n{cosigned}\n"), "does not verify");
        fails(200, None, &format!("{by_other}\n"), "expected one of a known key");
        let later = witness.cosign(&checkpoint.clone(), 8).unwrap();
        let mut line = later.to_string();
        line.replace_range(line.len() - 8..line.len() - 4, "AAAA");
        fails(200, None, &format!("{line}\n"), "the signature of the key w+");

        let size = Some("text/x.tlog.size");
        assert_eq!(answer(409, size, "20852014\n"), Ok(Answer::Conflict { size: 20_852_014 }));
        assert_eq!(answer(409, size, "0\n"), Ok(Answer::Conflict { size: 0 }));
        for body in ["", "1", "01\n", "1\n\n", "1\r\n", "-1\n", "9223372036854775808\n"] {
            fails(409, size, body, "expected the size of the checkpoint");
        }
        fails(409, None, "1\n", "expected text/x.tlog.size");
        fails(409, Some("text/plain"), "1\n", "expected text/x.tlog.size");
        fails(400, None, "", "400: the request is malformed");
        fails(403, None, "", "403: it knows no key");
        fails(404, None, "", "404: it does not know the origin");
        fails(422, None, "", "422: the consistency proof");
        fails(500, None, "", "500: expected 200");
        fails(201, None, &both, "201: expected 200");
    }
}
