//! Batches of entries: what stands in them, and their bodies as they go over the wire.

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
    /// How a body is encoded, by the name that `Content-Encoding` has for it.
    pub enum Encoding {
        /// Gzip, under the name that the vendor's documentation has for it.
        ApplicationGzip = "application/gzip",
        /// Gzip, under its registered name (RFC 9110 section 8.4.1.3).
        Gzip = "gzip",
        /// Not at all; no header is sent.
        Identity = "identity",
    }
}

impl Encoding {
    /// The body so encoded. Speed counts for more than size: a load is counts on the machine that
    /// receives it.
    pub fn encode(self, body: Vec<u8>) -> io::Result<Bytes> {
        if self == Encoding::Identity {
            return Ok(body.into());
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
        encoder.write_all(&body)?;
        Ok(encoder.finish()?.into())
    }
}

/// Makes signed lines, with the shares of others that it is told to mix in.
#[derive(Debug)]
pub struct LineMaker {
    generator: Generator,
    signer: Signer,
    format: Format,
    tampering: TamperingPlan,
    /// The newest genuine lines, from which duplicates are taken.
    recent: VecDeque<String>,
    random: Rng,
    counts: LineCounts,
}

/// How many lines of each sort were counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LineCounts {
    /// Signed.
    pub genuine: u64,
    /// Signed, and changed afterwards.
    pub tampered: u64,
    /// Without a signature.
    pub unsigned: u64,
    /// A genuine line once more.
    pub duplicate: u64,
}

/// Of so many genuine lines a duplicate is taken.
const RECENT: usize = 1000;

impl LineMaker {
    /// Makes lines in `format` of what `generator` gives, signed by `signer`; `seed` chooses which
    /// are sent again.
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

    /// A line about something that happened at `at`, without a line end.
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
            // A duplicate of nothing is a first.
            Some(Tampering::Genuine | Tampering::Duplicate) | None => self.genuine(at),
        }
    }

    /// How many lines of each sort were counts so far.
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
        for format in Format::ALL {
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
