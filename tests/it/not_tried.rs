//! A delivery of forged signatures is not verified in full at once. No genuine entry is lost.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use vidimus::entry::Millis;
use vidimus::ingest::Batch;
use vidimus::signature::{FailureBudget, KeySet, Seed};
use vidimus::store::{CheckOptions, Directory, Options, Reader, Store};

use crate::console::get;
use crate::harness::home::{CAPS, FixedKeys, Home, RECEIVED_AT, append_batch};
use crate::harness::stored::{self, catalog};
use crate::harness::{Serve, Setup, Signer, cef, jwks, wait_until};

/// The entry number `n` with four forged signatures.
fn forged(n: usize) -> String {
    cef(n) + &format!(" sig={}", "A".repeat(86)).repeat(4)
}

/// `n` entries: more forged ones than the budget of a delivery, then a genuine one.
fn flood(signer: &Signer, from: usize, n: usize) -> String {
    let forged: Vec<_> = (from..from + n - 1).map(forged).collect();
    forged.join("\n") + "\n" + &signer.cef(from + n - 1)
}

/// The number of entries with this reason.
fn count(serve: &Serve, reason: &str) -> usize {
    let stored = serve.stored();
    stored.iter().filter(|entry| entry.reason.as_deref() == Some(reason)).count()
}

#[test]
fn a_flood_is_verified_later_and_also_after_a_crash() {
    const LINES: usize = 6_000;
    let signer = Signer::new("k1");
    let setup = Setup::new().file("jwks.json", jwks(&[&signer]));
    let mut serve = setup.arguments("--jwks jwks.json").start();
    let answer = serve.deliver(flood(&signer, 0, LINES));
    assert_eq!(answer["stored"], LINES, "{answer}");
    // Untried entries count as invalid in the answer.
    assert_eq!(answer["verdicts"]["invalid"], LINES, "{answer}");
    let text = get(&serve, "/metrics").text();
    let sum = |family: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(family));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    let (tried, not_tried) =
        (sum("vidimus_entries_total{"), sum("vidimus_entries_not_tried_total"));
    assert_eq!(tried + not_tried, LINES as f64, "{text}");
    // Each entry has four signatures, and every thread finishes its current entry.
    assert!((4_900.0..5_100.0).contains(&tried), "{tried}");

    let genuine = |serve: &Serve, number: usize| serve.stored().remove(number - 1).verdict;
    wait_until("the genuine entry", || genuine(&serve, LINES) == "valid");
    assert_eq!((count(&serve, "not_tried"), count(&serve, "no_matching_key")), (0, LINES - 1));
    // Each verdict is a recorded change, so that outputs see it.
    let changes = "SELECT count(DISTINCT entry) FROM changes";
    let changes = catalog(&serve.data(), changes, |row| row.get::<_, u64>(0));
    assert_eq!(changes, [not_tried as u64]);

    serve.deliver(flood(&signer, LINES, LINES));
    serve.kill();
    serve.restart();
    wait_until("the genuine entry", || genuine(&serve, 2 * LINES) == "valid");
    assert_eq!(count(&serve, "not_tried"), 0);
}

fn keys(signers: &[&Signer]) -> Arc<KeySet> {
    Arc::new(KeySet::parse(jwks(signers).as_bytes()).unwrap().0)
}

fn append(store: &Store, body: String, keys: &KeySet, budget: u64) {
    let (bytes, budget) = (body.len(), FailureBudget::new(budget));
    let batch =
        Batch::with_budget(Bytes::from(body), keys, CAPS, &budget, &Seed::new([7; 32])).unwrap();
    append_batch(store, &batch, bytes);
}

fn open(home: &Home) -> Store {
    home.open(Options { segment_entries: 3, ..Options::default() })
}

/// The verdicts and their reasons, in order of id.
fn verdicts(data: &Path) -> Vec<(String, Option<String>)> {
    stored::entries(data).into_iter().map(|entry| (entry.verdict, entry.reason)).collect()
}

#[test]
fn the_store_alone_remembers_untried_signatures() {
    let signer = Signer::new("k1");
    let home = Home::new();
    let data = home.path.clone();
    let store = open(&home);
    store.enter_keys("file", Ok(&keys(&[&signer])), Millis::saturating(RECEIVED_AT)).unwrap();
    let lines = [signer.cef(1), forged(2), cef(3), signer.json(4), forged(5)];
    append(&store, lines.join("\n"), &keys(&[&signer]), 0);
    drop(store);
    let (valid, not_tried) = (("valid", None), ("invalid", Some("not_tried")));
    let (invalid, unsigned) = (("invalid", Some("no_matching_key")), ("unsigned", None));
    let is = |expected: [(&str, Option<&str>); 5]| {
        let found = verdicts(&data);
        let found: Vec<_> =
            found.iter().map(|(v, reason)| (v.as_str(), reason.as_deref())).collect();
        assert_eq!(found, expected);
    };
    is([not_tried, not_tried, unsigned, not_tried, not_tried]);

    // A recheck without keys changes no verdict.
    let store = open(&home);
    store.recheck(Arc::new(FixedKeys(Arc::default())));
    store.seal().unwrap();
    is([not_tried, not_tried, unsigned, not_tried, not_tried]);
    // `store check` reports the untried entries that verify, and no others.
    let reader = Reader::open(&Directory::open(&data).unwrap()).unwrap();
    let report = reader.check(CheckOptions::default(), &|_, _| ()).unwrap();
    let found: Vec<_> = report.first.iter().map(|one| (one.id, one.what.as_str())).collect();
    let what = "recorded invalid (not_tried), found valid";
    assert_eq!(found, [(Some(1), what), (Some(4), what)]);

    store.recheck(Arc::new(FixedKeys(keys(&[&signer]))));
    store.seal().unwrap();
    is([valid, invalid, unsigned, valid, invalid]);
    // A later delivery is rechecked without a call.
    append(&store, signer.cef(6), &keys(&[&signer]), 0);
    wait_until("the new entry", || verdicts(&data)[5].0 == "valid");
    let changes: Vec<u64> =
        catalog(&data, "SELECT entry FROM changes ORDER BY change", |row| row.get(0));
    assert_eq!(changes, [1, 2, 4, 5, 6]);
}
