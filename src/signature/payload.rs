//! Finds the signed payload: the line as received, without its signature.
//!
//! Nothing is serialised again: a payload is one or two pieces of the line.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Coverage, Reason};
use crate::entry::Format;
use crate::entry::layout::{CefSig, JsonSig, Layout, Parts};

/// The maximum number of `sig` fields of a CEF line that are tried, from the last to the first.
/// Text from outside can imitate fields, and each try costs a verification.
const MAX_TRIED: usize = 4;

/// A part of a line, without the piece that is cut out of it. Offsets are bytes in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    start: u32,
    cut_start: u32,
    cut_end: u32,
    end: u32,
    /// The format of the payload. The object in a CPS line is JSON.
    pub format: Format,
}

impl Payload {
    /// `whole` without `cut`. [`Layout::of`] refuses lines that are longer than 4 GiB.
    fn new(whole: Range<usize>, cut: Range<usize>, format: Format) -> Payload {
        let [start, cut_start, cut_end, end] =
            [whole.start, cut.start, cut.end, whole.end].map(|at| at as u32);
        Payload { start, cut_start, cut_end, end, format }
    }

    /// The whole of a line that no signature covers.
    pub fn unsigned(line: &str, format: Format) -> Payload {
        Payload::new(0..line.len(), line.len()..line.len(), format)
    }

    /// The text of the payload. `line` is the line that it is a part of.
    pub fn text<'a>(&self, line: &'a str) -> Cow<'a, str> {
        let piece = |from: u32, to: u32| line.get(from as usize..to as usize).unwrap_or_default();
        let head = piece(self.start, self.cut_start);
        match piece(self.cut_end, self.end) {
            "" => head.into(),
            tail => [head, tail].concat().into(),
        }
    }

    /// The pieces of `line`, the line that the payload is a part of.
    pub fn pieces<'a>(&self, line: &'a str) -> Pieces<'a> {
        let piece = |from: usize, to: usize| line.get(from..to).unwrap_or_default();
        let [start, cut_start, cut_end, end] =
            [self.start, self.cut_start, self.cut_end, self.end].map(|at| at as usize);
        Pieces {
            before: piece(0, start),
            head: piece(start, cut_start),
            cut: piece(cut_start, cut_end),
            tail: piece(cut_end, end),
            after: piece(end, line.len()),
        }
    }
}

/// The pieces of a line. Joined, they are the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces<'a> {
    /// The text before the payload.
    pub before: &'a str,
    /// The payload up to the cut.
    pub head: &'a str,
    /// The piece that is cut out: the signature with its name and a separator.
    pub cut: &'a str,
    /// The payload after the cut.
    pub tail: &'a str,
    /// The text after the payload.
    pub after: &'a str,
}

/// A signature and the payloads that it may cover, the likeliest first.
pub(super) struct Candidate {
    pub(super) signature: [u8; 64],
    pub(super) payloads: Vec<(Payload, Coverage)>,
}

/// The signatures of a line.
pub(super) struct Signatures {
    /// The well-formed signatures to try, in this order.
    pub(super) candidates: Vec<Candidate>,
    /// Why a signature cannot be tried. `None` if the line has no signature.
    pub(super) problem: Option<Reason>,
    /// The payload to read if no signature verifies: the line without its last `sig`.
    pub(super) unverified: Payload,
}

/// Finds the signatures of a line and the payloads that each may cover.
pub(super) fn find_signatures(layout: &Layout<'_>) -> Signatures {
    let line = layout.line;
    match &layout.parts {
        Parts::Cef { sigs } => cef(line, sigs),
        Parts::Object { object, cps, sigs } => json(line, object.clone(), *cps, sigs),
    }
}

fn cef(line: &str, sigs: &[CefSig]) -> Signatures {
    let cut = |cut: Range<usize>| Payload::new(0..line.len(), cut, Format::Cef);
    let (mut candidates, mut problem) = (Vec::new(), None);
    for sig in sigs.iter().rev().take(MAX_TRIED) {
        match decode(&line[sig.value.clone()]) {
            Ok(signature) => {
                let payloads = cef_cuts(line, sig).map(|range| (cut(range), Coverage::Entry));
                candidates.push(Candidate { signature, payloads: payloads.collect() });
            }
            // The last `sig` gives the reason. The others are more likely to be imitations.
            Err(reason) => problem = problem.or(Some(reason)),
        }
    }
    let last = sigs.last().and_then(|sig| cef_cuts(line, sig).next());
    Signatures { candidates, problem, unverified: cut(last.unwrap_or(line.len()..line.len())) }
}

/// The pieces that may be cut out: the field with the space before it, and the field with all
/// spaces before it if there are several. A field that comes first is cut out with the space after
/// it.
fn cef_cuts(line: &str, sig: &CefSig) -> impl Iterator<Item = Range<usize>> {
    let (spaces, end) = (sig.spaces.clone(), sig.value.end);
    if spaces.is_empty() {
        let end = if line[end..].starts_with(' ') { end + 1 } else { end };
        return [Some(spaces.end..end), None].into_iter().flatten();
    }
    let all = (spaces.len() > 1).then_some(spaces.start..end);
    [Some(spaces.end - 1..end), all].into_iter().flatten()
}

fn json(line: &str, object: Range<usize>, cps: bool, sigs: &[JsonSig]) -> Signatures {
    let (whole, format) = (0..line.len(), if cps { Format::Cps } else { Format::Json });
    let last = sigs.last().and_then(|sig| sig.cut.clone());
    let unverified = Payload::new(whole.clone(), last.unwrap_or(line.len()..line.len()), format);
    let refused = |reason| Signatures { candidates: Vec::new(), problem: reason, unverified };
    let sig = match sigs {
        [] => return refused(None),
        [sig] => sig,
        _ => return refused(Some(Reason::SignatureAmbiguous)),
    };
    let Some(cut) = sig.cut.clone() else { return refused(Some(Reason::SignatureKeyEscaped)) };
    let value = &line[sig.value.clone()];
    let Some(text) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return refused(Some(Reason::SignatureNotAString));
    };
    let signature = match decode(text) {
        Ok(signature) => signature,
        Err(reason) => return refused(Some(reason)),
    };
    // The vendor's documentation does not say whether a CPS signature covers the object or the
    // line.
    let payloads = if cps {
        vec![
            (Payload::new(object, cut.clone(), Format::Json), Coverage::Object),
            (Payload::new(whole, cut, Format::Cps), Coverage::Line),
        ]
    } else {
        vec![(Payload::new(whole, cut, Format::Json), Coverage::Entry)]
    };
    Signatures { candidates: vec![Candidate { signature, payloads }], problem: None, unverified }
}

/// Decodes the 64 bytes of a signature from base64url (RFC 4648 section 5): 86 characters, the last
/// without stray bits, and at most two `=`.
fn decode(text: &str) -> Result<[u8; 64], Reason> {
    let unpadded = text.strip_suffix("==").or(text.strip_suffix('=')).unwrap_or(text);
    let bytes = URL_SAFE_NO_PAD.decode(unpadded).map_err(|_| {
        let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        match unpadded.bytes().all(alphabet) && unpadded.len() != 86 {
            true => Reason::SignatureLength,
            false => Reason::SignatureNotBase64Url,
        }
    })?;
    bytes.try_into().map_err(|_| Reason::SignatureLength)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_86_characters_and_padding() {
        let good = "A".repeat(86);
        for (text, expected) in [
            (good.clone(), Ok([0; 64])),
            (format!("{good}="), Ok([0; 64])),
            (format!("{good}=="), Ok([0; 64])),
            (format!("{good}==="), Err(Reason::SignatureNotBase64Url)),
            (format!("{}B", "A".repeat(85)), Err(Reason::SignatureNotBase64Url)),
            (format!("{}/", "A".repeat(85)), Err(Reason::SignatureNotBase64Url)),
            (format!("{good} "), Err(Reason::SignatureNotBase64Url)),
            ("A".repeat(85), Err(Reason::SignatureLength)),
            ("A".repeat(88), Err(Reason::SignatureLength)),
            (String::new(), Err(Reason::SignatureLength)),
        ] {
            assert_eq!(decode(&text), expected, "{text:?}");
        }
    }

    fn check_cuts(line: &str, expected: &[&str]) {
        let line = line.replace("SIG", &"A".repeat(86));
        let layout = Layout::of(line.as_bytes(), 1 << 20).unwrap();
        let payloads: Vec<_> = find_signatures(&layout)
            .candidates
            .iter()
            .flat_map(|candidate| &candidate.payloads)
            .map(|(payload, _)| payload.text(&line).into_owned())
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|text| text.replace("SIG", &"A".repeat(86))).collect();
        assert_eq!(payloads, expected, "{line}");
    }

    #[test]
    fn the_pieces_are_the_line() {
        let sig = "A".repeat(86);
        let line = format!(r#"{{"event":{{"sig":"{sig}","a":1}}}} "#);
        let layout = Layout::of(line.as_bytes(), 1 << 20).unwrap();
        let signatures = find_signatures(&layout);
        let (payload, _) = signatures.candidates[0].payloads[0];
        let Pieces { before, head, cut, tail, after } = payload.pieces(&line);
        assert_eq!([before, head, tail, after], [r#"{"event":"#, "{", r#""a":1}"#, "} "]);
        assert_eq!(cut, format!(r#""sig":"{sig}","#));
        assert_eq!([head, tail].concat(), payload.text(&line));
    }

    #[test]
    fn the_field_goes_with_the_space_before_it() {
        let h = "CEF:0|a|b|c|d|e|5|";
        check_cuts(&format!("{h}x=1 sig=SIG"), &[&format!("{h}x=1")]);
        check_cuts(&format!("{h}x=1   sig=SIG"), &[&format!("{h}x=1  "), &format!("{h}x=1")]);
        check_cuts(&format!("{h}x=1 sig=SIG  y=2"), &[&format!("{h}x=1  y=2")]);
        check_cuts(&format!("{h}sig=SIG y=2"), &[&format!("{h}y=2")]);
        check_cuts(&format!("{h}sig=SIG"), &[h]);
        check_cuts(&format!("{h} sig=SIG"), &[h]);
        check_cuts(&format!("{h}x=1 sig=SIG "), &[]);
        check_cuts(&format!("{h}x=1 sig=SIG y"), &[]);
        check_cuts(&format!("{h}x=1"), &[]);
    }

    #[test]
    fn the_last_four_are_tried_the_last_first() {
        let h = "CEF:0|a|b|c|d|e|5|";
        let sigs = |n: usize| " sig=SIG".repeat(n);
        let line = format!("{h}x=1{} y=2", sigs(6));
        check_cuts(&line, &[format!("{h}x=1{} y=2", sigs(5)).as_str(); 4]);
    }

    #[test]
    fn a_cps_signature_may_cover_the_object_or_the_line() {
        check_cuts(r#"{"event":{"a":1,"sig":"SIG"}} "#, &[r#"{"a":1}"#, r#"{"event":{"a":1}} "#]);
        check_cuts(r#"{"a":1,"sig":"SIG"} "#, &[r#"{"a":1} "#]);
    }
}
