//! Makes the lines and the bodies of batches.

use std::collections::VecDeque;
use std::io::{self, Write};

use bytes::Bytes;
use fastrand::Rng;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::generate::Generator;
use super::sign::{Signer, place};
use super::tampering::{Tampering, TamperingPlan};
use crate::entry::Format;
use crate::entry::Millis;
use crate::entry::words::words;

words! {
    /// The encoding of a body, named as in `Content-Encoding`.
    pub enum Encoding {
        /// Gzip, by the name in Kong's documentation.
        ApplicationGzip = "application/gzip",
        /// Gzip, by its registered name (RFC 9110 section 8.4.1.3).
        Gzip = "gzip",
        /// No encoding, and no header.
        Identity = "identity",
    }
}

impl Encoding {
    /// Encodes a body. It favours speed over size, because load is often generated on the machine
    /// that receives it.
    pub fn encode(self, body: Vec<u8>) -> io::Result<Bytes> {
        if self == Encoding::Identity {
            return Ok(body.into());
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
        encoder.write_all(&body)?;
        Ok(encoder.finish()?.into())
    }
}

/// Makes signed lines, and tampered, unsigned and duplicate lines as its plan says.
#[derive(Debug)]
pub struct LineMaker {
    generator: Generator,
    signer: Signer,
    format: Format,
    tampering: TamperingPlan,
    /// The newest genuine lines: the source of duplicates.
    recent: VecDeque<String>,
    random: Rng,
    counts: LineCounts,
}

/// The number of lines of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LineCounts {
    /// Signed lines.
    pub genuine: u64,
    /// Lines that were changed after they were signed.
    pub tampered: u64,
    /// Lines without a signature.
    pub unsigned: u64,
    /// Repeated genuine lines.
    pub duplicate: u64,
}

/// The number of genuine lines that a duplicate is chosen from.
const RECENT: usize = 1000;

impl LineMaker {
    /// Makes lines in `format` from the events of `generator`, signed by `signer`. `seed` chooses the
    /// duplicates.
    pub fn new(
        generator: Generator,
        signer: Signer,
        format: Format,
        tampering: TamperingPlan,
        seed: u64,
    ) -> LineMaker {
        let (recent, random) = (VecDeque::new(), Rng::with_seed(seed));
        LineMaker {
            generator,
            signer,
            format,
            tampering,
            recent,
            random,
            counts: LineCounts::default(),
        }
    }

    /// A line for an event at `at`, without a line end.
    pub fn line(&mut self, at: Millis) -> String {
        match self.tampering.next() {
            Some(Tampering::Tampered) => {
                self.counts.tampered += 1;
                let event = self.generator.event(at);
                let signature = self.signer.signature(&event.text(self.format));
                place(self.format, &event.tampered().text(self.format), Some(&signature))
            }
            Some(Tampering::Unsigned) => {
                self.counts.unsigned += 1;
                place(self.format, &self.generator.event(at).text(self.format), None)
            }
            Some(Tampering::Duplicate) if !self.recent.is_empty() => {
                self.counts.duplicate += 1;
                let again = self.random.usize(..self.recent.len());
                self.recent.get(again).cloned().unwrap_or_default()
            }
            // There is nothing to repeat yet.
            Some(Tampering::Genuine | Tampering::Duplicate) | None => self.genuine(at),
        }
    }

    /// The number of lines of each kind so far.
    pub fn counts(&self) -> LineCounts {
        self.counts
    }

    fn genuine(&mut self, at: Millis) -> String {
        self.counts.genuine += 1;
        let text = self.generator.event(at).text(self.format);
        let line = place(self.format, &text, Some(&self.signer.signature(&text)));
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(line.clone());
        line
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Read;

    use super::*;
    use crate::entry::VerdictName;
    use crate::ingest::CheckedLine;
    use crate::konnect::tampering::Share;
    use crate::signature::KeySet;

    fn share(text: &str) -> Share {
        text.parse().unwrap()
    }

    #[test]
    fn each_line_has_the_verdict_that_its_fate_asks_for() {
        for format in &Format::DELIVERED {
            let signer = Signer::generate(None).unwrap().0;
            let keys = KeySet::parse(signer.jwk_set().as_bytes()).unwrap().0;
            let tampering = TamperingPlan::new(share("10%"), share("5%"), share("20%")).unwrap();
            let generator = Generator::new(1, None);
            let mut maker = LineMaker::new(generator, signer, *format, tampering, 1);
            let lines: Vec<_> = (0..200).map(|n| maker.line(Millis::saturating(n))).collect();
            let counts = LineCounts { genuine: 130, tampered: 20, unsigned: 10, duplicate: 40 };
            assert_eq!(maker.counts(), counts, "{format}");
            let count = |name| {
                let verdict = |line: &&String| {
                    CheckedLine::new(line.as_bytes(), &keys, 1 << 20).verdict().name() == name
                };
                lines.iter().filter(verdict).count() as u64
            };
            assert_eq!(count(VerdictName::Valid), 170, "{format}");
            assert_eq!(count(VerdictName::Invalid), 20, "{format}");
            assert_eq!(count(VerdictName::Unsigned), 10, "{format}");
            assert_eq!(lines.iter().collect::<HashSet<_>>().len(), 160, "{format}");
        }
    }

    #[test]
    fn a_body_is_what_its_encoding_says() {
        let body = b"a line\nand another".to_vec();
        assert_eq!(Encoding::Identity.encode(body.clone()).unwrap(), body);
        for gzip in [Encoding::Gzip, Encoding::ApplicationGzip] {
            let mut decoded = Vec::new();
            let encoded = gzip.encode(body.clone()).unwrap();
            flate2::read::GzDecoder::new(encoded.as_ref()).read_to_end(&mut decoded).unwrap();
            assert_eq!(decoded, body);
        }
    }
}
