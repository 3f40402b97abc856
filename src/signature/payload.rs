//! What was signed: the line as received, less its signature.
//!
//! Cutting never re-serialises: a payload is one or two pieces of the line.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Coverage, Reason};
use crate::entry::Format;
use crate::entry::layout::{CefSig, JsonSig, Layout, Parts};

/// Of the `sig` fields of a CEF line this many are tried, the last first. Text from the outside can
/// imitate fields, and each try costs a verification.
const MAX_TRIED: usize = 4;

/// A part of a line, less what is cut out of it. Offsets are in bytes of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    start: u32,
    cut_start: u32,
    cut_end: u32,
    end: u32,
    /// Its format: that of a part of a CPS line is JSON.
    pub format: Format,
}

impl Payload {
    /// `whole` less `cut`. A line is never longer than 4 GiB ([`Layout::of`] sees to that).
    fn new(whole: Range<usize>, cut: Range<usize>, format: Format) -> Payload {
        let [start, cut_start, cut_end, end] =
            [whole.start, cut.start, cut.end, whole.end].map(|at| at as u32);
        Payload { start, cut_start, cut_end, end, format }
    }

    /// Its text in `line`, which it was cut from.
    pub fn text<'a>(&self, line: &'a str) -> Cow<'a, str> {
        let piece = |from: u32, to: u32| line.get(from as usize..to as usize).unwrap_or_default();
        let head = piece(self.start, self.cut_start);
        match piece(self.cut_end, self.end) {
            "" => head.into(),
            tail => [head, tail].concat().into(),
        }
    }

    /// What of `line`, which it was cut from, it is and is not.
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

/// A line taken apart: joined, the pieces are the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces<'a> {
    /// What stands before the payload.
    pub before: &'a str,
    /// The payload up to the cut.
    pub head: &'a str,
    /// What is cut out of it: the signature with what names and separates it.
    pub cut: &'a str,
    /// The payload after the cut.
    pub tail: &'a str,
    /// What stands after the payload.
    pub after: &'a str,
}

/// A signature with the payloads it may have been made over, the likeliest first.
pub(super) struct Candidate {
    pub(super) signature: [u8; 64],
    pub(super) payloads: Vec<(Payload, Coverage)>,
}

/// What a line says of its signature.
pub(super) struct Signatures {
    /// The well-formed signatures to try, in this order.
    pub(super) candidates: Vec<Candidate>,
    /// Why there is none to try; `None` if the line has no signature at all.
    pub(super) problem: Option<Reason>,
    /// What fields are read from if nothing verifies: the line less its last `sig`.
    pub(super) unverified: Payload,
}

/// Finds the signatures of a line and what each may have been made over.
pub(super) fn signatures(layout: &Layout<'_>) -> Signatures {
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
            // The reason given is that of the last one: the others are likelier imitations.
            Err(reason) => problem = problem.or(Some(reason)),
        }
    }
    let last = sigs.last().and_then(|sig| cef_cuts(line, sig).next());
    Signatures { candidates, problem, unverified: cut(last.unwrap_or(line.len()..line.len())) }
}

/// The field with the space before it; with all the spaces before it, if there are several; with
/// the space after it, if it stands first.
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
    // The documentation does not say which of the two a CPS signature covers.
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

/// The 64 bytes of a signature in base64url (RFC 4648 section 5): 86 characters without stray bits
/// in the last, and at most two `=`.
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
        let payloads: Vec<_> = signatures(&layout)
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
        let signatures = signatures(&layout);
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
