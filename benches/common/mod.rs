//! Helpers for the benchmarks: entries, keys and figures.
//!
//! Figures are printed. Ratios are measured within one run. A slow benchmark does not fail.

#![allow(dead_code)] // Each benchmark uses some of the helpers.

pub(crate) mod browser;
pub(crate) mod lines;
pub(crate) mod serve;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use vidimus::entry::Format;
use vidimus::entry::Millis;
use vidimus::ingest::{Batch, Caps, ExpectedIds};
use vidimus::konnect::batch::LineMaker;
use vidimus::konnect::generate::Generator;
use vidimus::konnect::sign::{Signer, place};
use vidimus::konnect::tampering::{Share, TamperingPlan};
use vidimus::signature::KeySet;
use vidimus::store::{Appended, Delivery, Directory, Options, Store};

pub(crate) const CAPS: Caps = Caps { max_line: 1 << 20, max_lines: 1_000_000 };

/// Whether `cargo bench -- --quick` was run.
pub(crate) fn quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

/// Returns `full`, or a fiftieth of it in quick mode.
pub(crate) fn scaled(full: usize) -> usize {
    if quick() { full / 50 } else { full }
}

/// A generator of signed lines, and the key set that verifies them.
pub(crate) fn line_maker(format: Format) -> (LineMaker, KeySet) {
    let (signer, _) = Signer::generate(None).expect("a key");
    let keys = KeySet::new([Arc::new(signer.key().clone())]);
    let none = Share::default();
    let tampering = TamperingPlan::new(none, none, none).expect("shares");
    (LineMaker::new(Generator::new(1, None), signer, format, tampering, 1), keys)
}

/// A generator of lines without a valid signature, which cost a fraction of signed lines.
pub(crate) struct UnverifiedLines {
    generator: Generator,
    format: Format,
    signature: Option<String>,
}

impl UnverifiedLines {
    /// Lines with a well-formed forged signature. A later key makes the store check them again.
    pub(crate) fn new(format: Format) -> UnverifiedLines {
        let signature = Some(format!("{}A", "x".repeat(85)));
        UnverifiedLines { generator: Generator::new(1, None), format, signature }
    }

    /// Lines without a signature. No key changes their verdict.
    pub(crate) fn unsigned(format: Format) -> UnverifiedLines {
        UnverifiedLines { signature: None, ..UnverifiedLines::new(format) }
    }

    pub(crate) fn body(&mut self, numbers: std::ops::Range<usize>) -> String {
        let lines = numbers.map(|n| {
            let text = self.generator.event(time(n)).text(self.format);
            place(self.format, &text, self.signature.as_deref()) + "\n"
        });
        lines.collect()
    }
}

/// The time of entry number `n`. Entries are 10 ms apart.
pub(crate) fn time(n: usize) -> Millis {
    Millis::saturating(1_750_000_000_000 + n as i64 * 10)
}

/// Appends lines in one delivery, with the verdicts that `keys` give.
pub(crate) fn append(store: &Store, body: String, keys: &KeySet) -> Appended {
    let bytes = body.len() as u64;
    let seed = vidimus::random::seed().expect("random bytes");
    let batch = Batch::new(Bytes::from(body), keys, CAPS, &seed).expect("a batch within the caps");
    let delivery = Delivery {
        received_at: vidimus::clock::now(),
        started: Instant::now(),
        input: "default".into(),
        peer: "127.0.0.1:1".into(),
        bytes,
        decoded_bytes: bytes,
        origin: None,
    };
    store.append(delivery, &batch, &ExpectedIds::default()).expect("stored").appended
}

/// Fills a store in the directory `data` of `folder` with `total - 1` entries in 20 segments. The
/// last segment is live and lacks one entry.
pub(crate) fn fill_store(
    folder: &Path,
    mut lines: UnverifiedLines,
    total: usize,
) -> (Store, Directory) {
    const GROUP: usize = 1000;
    let segment = total / 20;
    let directory = Directory::create(&folder.join("data")).expect("a directory");
    let options = Options { segment_entries: segment as u64, ..Options::default() };
    let store = Store::open(&directory, options).expect("a store");
    let keys = KeySet::default();
    for first in (0..total - segment).step_by(GROUP.min(segment)) {
        append(&store, lines.body(first..first + GROUP.min(segment)), &keys);
    }
    store.seal().expect("sealed");
    // One more entry would close the segment.
    for first in (total - segment..total - 1).step_by(GROUP) {
        append(&store, lines.body(first..(first + GROUP).min(total - 1)), &keys);
    }
    (store, directory)
}

/// A temporary directory in `target`, because `/tmp` may be in memory.
pub(crate) fn folder() -> tempfile::TempDir {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    tempfile::Builder::new().prefix("bench-").tempdir_in(target).expect("a directory")
}

/// 1,000 different payloads with their signatures, for a bare loop of verifications.
pub(crate) struct SignedPayloads {
    public: Vec<u8>,
    pairs: Vec<(String, Vec<u8>)>,
}

impl SignedPayloads {
    pub(crate) fn new(format: Format) -> SignedPayloads {
        let (signer, _) = Signer::generate(None).expect("a key");
        let mut generator = Generator::new(1, None);
        let pair = |n: usize| {
            let text = generator.event(time(n)).text(format);
            let signature = URL_SAFE_NO_PAD
                .decode(signer.signature(&text).trim_end_matches('='))
                .expect("base64url");
            (text, signature)
        };
        SignedPayloads {
            public: signer.key().public().to_vec(),
            pairs: (0..1000).map(pair).collect(),
        }
    }

    /// The upper bound: `count` verifications by ring in a bare loop on all cores, in entries per
    /// second.
    pub(crate) fn rate_of_ring(&self, count: usize) -> f64 {
        use ring::signature::{ED25519, UnparsedPublicKey};
        let key = UnparsedPublicKey::new(&ED25519, &self.public);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let started = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let key = &key;
                scope.spawn(move || {
                    for n in (thread..count).step_by(threads) {
                        let (payload, signature) = &self.pairs[n % self.pairs.len()];
                        key.verify(payload.as_bytes(), signature).expect("verified");
                    }
                });
            }
        });
        rate(count, started.elapsed())
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// The number per second.
pub(crate) fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Prints the name of a figure, its value and the wanted value.
pub(crate) fn figure(what: &str, value: impl std::fmt::Display, wanted: &str) {
    println!("  {what:<58} {value:>12}   {wanted}");
}
