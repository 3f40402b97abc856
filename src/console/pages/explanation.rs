//! Explains the verification of a line: the signed text, the piece that was cut out, the key, the
//! verdict and its reason, and commands to verify the line without Vidimus.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use data_encoding::HEXLOWER;
use ring::digest;

use super::text::{Badge, SafeText, bytes};
use crate::entry::{Layout, Malformed};
use crate::signature::{self, Coverage, Key, KeySet, Verdict};

/// The longest payload that is put into commands, in bytes. A shell takes no longer lines.
const LONGEST_COMMAND: usize = 96 * 1024;

/// The part of a piece of the line that is shown, in characters. The whole line can be downloaded.
pub(super) const SHOWN: usize = 16 * 1024;

/// The prefix of an Ed25519 public key as SubjectPublicKeyInfo in DER (RFC 8410 section 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[derive(Debug)]
pub(super) struct Explanation {
    pub(super) verdict: Badge,
    /// The reason, in a sentence or two.
    pub(super) why: String,
    /// The pieces of the line.
    pub(super) pieces: Vec<Piece>,
    /// Whether a piece is cut out.
    pub(super) has_cut: bool,
    /// Whether there is text outside the signed text.
    pub(super) has_outside: bool,
    /// The length and the hash of the payload.
    pub(super) payload: Option<PayloadFacts>,
    /// The key that verifies the line.
    pub(super) key: Option<KeyFacts>,
    /// The signature, in base64url.
    pub(super) signature: Option<String>,
    /// Whether the entry is valid, and ring and openssl refuse its signature.
    pub(super) is_odd: bool,
    pub(super) commands: Option<Commands>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// `signed`, `cut`, `outside` (of the signed text) or `plain`.
    pub(super) role: &'static str,
    pub(super) text: SafeText,
}

#[derive(Debug)]
pub(super) struct PayloadFacts {
    pub(super) length: String,
    /// In hexadecimal.
    pub sha256: String,
}

#[derive(Debug)]
pub(super) struct KeyFacts {
    pub(super) kid: SafeText,
    /// The thumbprint (RFC 7638).
    pub(super) thumbprint: String,
}

/// Commands for openssl that verify the line without Vidimus.
#[derive(Debug)]
pub(super) struct Commands {
    /// The commands, for a shell.
    pub(super) text: String,
    /// The key that the commands use, if they fail.
    pub(super) fails_with: Option<SafeText>,
}

impl Explanation {
    /// Checks `line`, of any length, with `keys` and explains the result.
    pub(super) fn of(line: &[u8], keys: &KeySet) -> Explanation {
        let checked = Layout::of(line, line.len()).and_then(|layout| {
            let checked = signature::check(&layout, keys)?;
            Ok((layout, checked))
        });
        let (layout, checked) = match checked {
            Ok(checked) => checked,
            Err(why) => return Explanation::malformed(line, why),
        };
        let text = layout.line;
        let pieces = checked.payload.pieces(text);
        let payload = checked.payload.text(text);
        let key = checked.verdict.proof().map(|proof| proof.key());
        let failing = keys.keys().first().filter(|_| checked.verdict.awaits_key());
        let commands = key.or(failing).zip(checked.signature).and_then(|(tried, signature)| {
            let text = commands(payload.as_bytes(), &signature, tried)?;
            Some(Commands {
                text,
                fails_with: key.is_none().then(|| SafeText::truncated(tried.kid(), 200)),
            })
        });
        let has_signature = !matches!(checked.verdict, Verdict::Unsigned);
        let signed = if has_signature { "signed" } else { "plain" };
        let roles = [
            ("outside", pieces.before),
            (signed, pieces.head),
            ("cut", pieces.cut),
            (signed, pieces.tail),
            ("outside", pieces.after),
        ];
        let shown = roles.into_iter().filter(|(_, text)| !text.is_empty());
        Explanation {
            verdict: Badge(checked.verdict.name().as_str()),
            why: why(&checked.verdict, keys.keys().len()),
            pieces: shown
                .map(|(role, text)| Piece { role, text: SafeText::truncated(text, SHOWN) })
                .collect(),
            has_cut: !pieces.cut.is_empty(),
            has_outside: !pieces.before.is_empty() || !pieces.after.is_empty(),
            payload: has_signature.then(|| facts(payload.as_bytes())),
            key: key.map(|key| KeyFacts {
                kid: SafeText::truncated(key.kid(), 200),
                thumbprint: key.thumbprint().to_string(),
            }),
            signature: checked.signature.map(|signature| URL_SAFE_NO_PAD.encode(signature)),
            is_odd: key.is_some_and(|key| signature::is_odd(&layout, &checked.payload, key)),
            commands,
        }
    }

    /// Explains a malformed line, or the beginning of one.
    pub(super) fn malformed(line: &[u8], why_not: Malformed) -> Explanation {
        let verdict = Verdict::Malformed(why_not);
        Explanation {
            verdict: Badge(verdict.name().as_str()),
            why: why(&verdict, 0),
            pieces: vec![Piece { role: "plain", text: SafeText::prefix(line, SHOWN) }],
            has_cut: false,
            has_outside: false,
            payload: None,
            key: None,
            signature: None,
            is_odd: false,
            commands: None,
        }
    }
}

fn facts(payload: &[u8]) -> PayloadFacts {
    let digest = digest::digest(&digest::SHA256, payload);
    PayloadFacts { length: bytes(payload.len() as u64), sha256: HEXLOWER.encode(digest.as_ref()) }
}

/// The reason for a verdict, as a text. It claims no more than the check found.
fn why(verdict: &Verdict, keys: usize) -> String {
    match verdict {
        Verdict::Valid(proof) => {
            let what = match proof.coverage() {
                Coverage::Entry => "the line without its signature",
                Coverage::Object => "the object under \"event\" without its signature",
                Coverage::Line => "the whole line without its signature",
            };
            format!(
                "A known key verifies the Ed25519 signature over {what}, byte for byte. The key \
                 belongs to the whole region: org_id and portal_id tell whose entry it is."
            )
        }
        Verdict::Invalid(reason) => match reason {
            signature::Reason::NoMatchingKey => format!(
                "The signature is well formed, but no known key verifies it ({keys} tried). The \
                 entry was changed after it was signed, or it was signed with another key."
            ),
            signature::Reason::NotTried => {
                "The signature is well formed, but it was not tried: too many others in its \
                 delivery failed."
                    .to_owned()
            }
            signature::Reason::SignatureNotBase64Url => {
                "The signature is not base64url: it is damaged or forged.".to_owned()
            }
            signature::Reason::SignatureLength => {
                "The signature is not 64 bytes long: it is damaged or forged.".to_owned()
            }
            signature::Reason::SignatureAmbiguous => {
                "The object has more than one signature, so none of them counts.".to_owned()
            }
            signature::Reason::SignatureNotAString => "The signature is not a string.".to_owned(),
            signature::Reason::SignatureKeyEscaped => {
                "The key \"sig\" is written with escapes, which no sender does.".to_owned()
            }
        },
        Verdict::Unsigned => {
            "The entry has no signature, so nothing shows that it is genuine. Signing must be \
             enabled in Konnect."
                .to_owned()
        }
        Verdict::NoKey => {
            "The signature is well formed, but there is no key to check it with. The entry is \
             checked when keys arrive: set --region or --jwks."
                .to_owned()
        }
        Verdict::Malformed(why) => {
            format!("The line is not an entry ({}). It is kept as it was received.", why.as_str())
        }
    }
}

/// The commands that verify the payload. `None` if the payload is too long for a shell.
fn commands(payload: &[u8], signature: &[u8; 64], key: &Key) -> Option<String> {
    if payload.len() > LONGEST_COMMAND {
        return None;
    }
    let der = [SPKI.as_slice(), key.public()].concat();
    let to_file = |bytes: &[u8], file: &str| {
        format!("printf '%s' '{}' | base64 -d > {file}\n", wrapped(&STANDARD.encode(bytes)))
    };
    Some(format!(
        "{}{}printf '%s\\n' '-----BEGIN PUBLIC KEY-----' '{}' '-----END PUBLIC KEY-----' > key.pem\n\
         openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in payload -sigfile sig\n",
        to_file(payload, "payload"),
        to_file(signature, "sig"),
        STANDARD.encode(der),
    ))
}

/// Wraps base64 into lines of 64 characters (RFC 7468 section 2).
fn wrapped(base64: &str) -> String {
    let mut lines = String::with_capacity(base64.len() + base64.len() / 64);
    for (at, c) in base64.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            lines.push('\n');
        }
        lines.push(c);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::konnect::sign::Signer;

    fn check(line: &str, verdict: &str, roles: &[&str]) -> Explanation {
        let explanation = Explanation::of(line.as_bytes(), &KeySet::default());
        assert_eq!(explanation.verdict.0, verdict, "{line}");
        let found: Vec<_> = explanation.pieces.iter().map(|piece| piece.role).collect();
        assert_eq!(found, roles, "{line}");
        explanation
    }

    #[test]
    fn the_cut_is_marked() {
        let sig = "A".repeat(86);
        let line = format!("CEF:0|a|b|c|d|e|5|x=1 sig={sig} y=2");
        let explanation = check(&line, "no_key", &["signed", "cut", "signed"]);
        assert_eq!(explanation.pieces[1].text.to_string(), format!(" sig={sig}"));
        assert_eq!(explanation.signature.as_deref(), Some(sig.as_str()));
        assert!(explanation.commands.is_none());
        check("{\"a\":1}", "unsigned", &["plain"]);
        check("{\"sig\":1,\"a\":1}", "invalid", &["signed", "cut", "signed"]);
        check("nothing", "malformed", &["plain"]);
    }

    #[test]
    fn a_long_line_is_shown_cut() {
        let line = format!("{{\"a\":\"{}\"}}", "x".repeat(3 * SHOWN));
        for line in [line.as_str(), &line[1..]] {
            let explanation = Explanation::of(line.as_bytes(), &KeySet::default());
            let text = explanation.pieces[0].text.to_string();
            assert_eq!((text.chars().count(), text.ends_with('…')), (SHOWN + 1, true));
        }
    }

    #[test]
    fn a_valid_one_has_its_key_and_commands() {
        let (signer, _) = Signer::generate(Some("a key".into())).unwrap();
        let payload = "CEF:0|a|b|c|d|e|5|x=1";
        let line = format!("{payload} sig={}", signer.signature(payload));
        let keys = KeySet::new([std::sync::Arc::new(signer.key().clone())]);
        let explanation = Explanation::of(line.as_bytes(), &keys);
        assert_eq!(explanation.verdict.0, "valid");
        assert_eq!(explanation.key.unwrap().kid.to_string(), "a key");
        let commands = explanation.commands.unwrap();
        assert!(commands.fails_with.is_none());
        assert!(commands.text.contains(&STANDARD.encode(payload)));

        let tampered = line.replace("x=1", "x=2");
        let explanation = Explanation::of(tampered.as_bytes(), &keys);
        assert_eq!(explanation.verdict.0, "invalid");
        assert!(explanation.commands.unwrap().fails_with.is_some());
    }
}
