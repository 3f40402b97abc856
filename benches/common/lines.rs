//! Signed lines over a period, made on all cores.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use vidimus::entry::{Format, Millis};
use vidimus::konnect::batch::LineMaker;
use vidimus::konnect::generate::Generator;
use vidimus::konnect::sign::Signer;
use vidimus::konnect::tampering::{Share, TamperingPlan};

use super::serve::KEY;

/// Lines per batch.
pub(crate) const BATCH: usize = 500;

/// The period that the entries cover, in milliseconds.
const PERIOD: i64 = 30 * 24 * 60 * 60 * 1000;

/// The share of entries that were changed after they were signed.
const TAMPERED: &str = "0.1%";

/// Makes signed lines on all cores.
pub(crate) struct SignedLines {
    makers: Vec<LineMaker>,
    /// The time of the first entry, and the time between two, in milliseconds.
    start: i64,
    apart: f64,
    made: usize,
    /// The bytes of the lines so far, without line ends.
    pub(crate) bytes: u64,
}

impl SignedLines {
    /// Makes lines with the key in `folder`, of which `total` cover the period that ends now.
    pub(crate) fn new(folder: &Path, total: usize) -> SignedLines {
        let key = fs::read(folder.join(KEY)).expect("a key");
        let none = Share::default();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let maker = |seed: usize| {
            let tampered = TAMPERED.parse().expect("a share");
            let tampering = TamperingPlan::new(tampered, none, none).expect("shares");
            let signer = Signer::read(&key).expect("a key");
            LineMaker::new(Generator::new(seed as u64, None), signer, Format::Cef, tampering, 1)
        };
        SignedLines {
            makers: (0..threads).map(maker).collect(),
            start: vidimus::clock::now().get() - PERIOD,
            apart: PERIOD as f64 / total as f64,
            made: 0,
            bytes: 0,
        }
    }

    /// A time after the first 1,000 entries, in RFC 3339.
    pub(crate) fn early(&self) -> String {
        self.time(1000).to_string()
    }

    pub(crate) fn time(&self, n: usize) -> Millis {
        Millis::saturating(self.start + (n as f64 * self.apart) as i64)
    }

    /// Writes the next `count` lines.
    pub(crate) fn write(&mut self, count: usize, mut to: impl Write) {
        let (first, last) = (self.made, self.made + count);
        let mut makers = std::mem::take(&mut self.makers);
        let threads = makers.len();
        let (this, mut bytes) = (&*self, 0);
        std::thread::scope(|scope| {
            let mut batches = Vec::new();
            for (thread, maker) in makers.iter_mut().enumerate() {
                let (sender, made) = sync_channel(4);
                batches.push(made);
                scope.spawn(move || {
                    for first in (first..last).step_by(BATCH).skip(thread).step_by(threads) {
                        let numbers = first..last.min(first + BATCH);
                        let lines = numbers.map(|n| maker.line(this.time(n)) + "\n");
                        sender.send(lines.collect::<String>()).expect("taken");
                    }
                });
            }
            for made in batches.iter().cycle().take(count.div_ceil(BATCH)) {
                let lines = made.recv().expect("made");
                bytes += lines.len() as u64;
                to.write_all(lines.as_bytes()).expect("written");
            }
        });
        self.makers = makers;
        self.made = last;
        // Without their line ends.
        self.bytes += bytes - count as u64;
    }
}
