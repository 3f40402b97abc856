//! Batches, their caps, and the budget of failed verifications.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::*;
use crate::signature::{Key, Reason};

const SEED: Seed = Seed::new([7; 32]);

const CAPS: Caps = Caps { max_line: 50, max_lines: 4 };

fn batch(body: &'static str) -> Batch {
    Batch::new(Bytes::from_static(body.as_bytes()), &KeySet::default(), CAPS, &SEED).unwrap()
}

#[test]
fn every_line_is_an_entry_as_it_came() {
    let body = "{\"a\":1}\r\n\nhello\nCEF:0|a|b|c|d|Ingress|5|rt=7 x=1";
    let entries: Vec<_> =
        batch(body).entries(&ExpectedIds::default(), Millis::saturating(9)).collect();
    let raws: Vec<_> = entries.iter().map(|entry| entry.raw.as_ref()).collect();
    let lines: [&[u8]; 3] = [b"{\"a\":1}", b"hello", b"CEF:0|a|b|c|d|Ingress|5|rt=7 x=1"];
    assert_eq!(raws, lines);
    assert_eq!(entries[1].kind, None);
    assert_eq!(entries[1].verdict.reason(), Some("unknown_format"));
    assert_eq!(entries[2].kind, Some(Kind::Access));
    assert_eq!(entries.iter().map(|entry| entry.time.get()).collect::<Vec<_>>(), [9, 9, 7]);
}

#[test]
fn lines_are_counted_as_a_batch_counts_them() {
    let check = |body: &'static str| {
        let batch = batch(body);
        let is_malformed = |verdict: &&Verdict| matches!(verdict, Verdict::Malformed(_));
        let malformed = batch.verdicts().filter(is_malformed).count() as u64;
        let expected = LineCounts { received: batch.len() as u64, malformed };
        assert_eq!(LineCounts::of(body.as_bytes(), CAPS).unwrap(), expected, "{body}");
    };
    check("");
    check("\n\r\n");
    check("{}\nhello\r\n\nCEF:0|a|b|c|d|Ingress|5|rt=7 x=1");
    check("{\"a\":1\n{} x\nCEF:0|a\n{\"event\":{}}");
    check("{\"a\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}");
    let malformed = LineCounts::of(b"\xff\n{}", CAPS).unwrap();
    assert_eq!(malformed, LineCounts { received: 2, malformed: 1 });
    assert_eq!(LineCounts::of(b"1\n2\n3\n4\n5", CAPS).unwrap_err().0, 4);
}

#[test]
fn the_caps_hold() {
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(50));
    let batch = Batch::new(long.into(), &KeySet::default(), CAPS, &SEED).unwrap();
    assert_eq!(batch.verdicts().next().unwrap().reason(), Some("line_too_long"));
    let entry = batch.entries(&ExpectedIds::default(), Millis::MIN).next().unwrap();
    assert_eq!((entry.raw.len(), entry.kept()), (58, &entry.raw[..50]));
    assert_eq!(entry.whole().unwrap().bytes, Some(58));
    let sha256 = digest::digest(&digest::SHA256, &entry.raw);
    assert_eq!(entry.too_long.unwrap().sha256, sha256.as_ref());
    let many = Batch::new(Bytes::from_static(b"1\n2\n3\n4\n5"), &KeySet::default(), CAPS, &SEED);
    assert!(many.is_err());
}

#[test]
fn entries_of_others_are_marked() {
    let expected =
        ExpectedIds { org_ids: vec!["a".into(), "b".into()], portal_ids: vec!["p".into()] };
    for (line, warnings) in [
        ("{\"org_id\":\"b\"}", vec![]),
        ("{\"org_id\":\"c\",\"portal_id\":\"p\"}", vec![Warning::ForeignOrg]),
        ("{\"portal_id\":\"q\"}", vec![Warning::ForeignPortal]),
    ] {
        let entry = batch(line).entries(&expected, Millis::MIN).next().unwrap();
        assert_eq!(entry.warnings, warnings, "{line}");
    }
}

const BUDGET_CAPS: Caps = Caps { max_line: 10_000, max_lines: 10_000 };

struct Signer(Ed25519KeyPair);

impl Signer {
    fn new(seed: u8) -> Signer {
        Signer(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn key(&self) -> Arc<Key> {
        Arc::new(Key::new(None, self.0.public_key().as_ref().try_into().unwrap()))
    }

    fn sig(&self, payload: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.0.sign(payload.as_bytes()))
    }

    fn cef(&self, n: usize) -> String {
        let payload = cef(n);
        format!("{payload} sig={}\n", self.sig(&payload))
    }
}

fn cef(n: usize) -> String {
    format!("CEF:0|KongInc|Konnect|1.0|KongGateway|Ingress|1|rt={n} act=GET")
}

/// A line with four forged signatures.
fn forged(n: usize) -> String {
    cef(n) + &format!(" sig={}", URL_SAFE_NO_PAD.encode([7; 64])).repeat(4) + "\n"
}

fn batch_within(body: String, keys: &KeySet, budget: &FailureBudget) -> Batch {
    Batch::with_budget(body.into(), keys, BUDGET_CAPS, budget, &SEED).unwrap()
}

fn reason(line: &str, keys: &KeySet, budget: &FailureBudget) -> Option<&'static str> {
    let line = line.trim_end().as_bytes();
    CheckedLine::all([line], keys, BUDGET_CAPS.max_line, budget, &SEED)[0].verdict().reason()
}

#[test]
fn a_genuine_line_costs_nothing_whichever_key_signed_it() {
    let signers = [Signer::new(1), Signer::new(2), Signer::new(3)];
    let keys = KeySet::new(signers.iter().map(Signer::key));
    let mut body = String::new();
    for n in 0..300 {
        let signer = &signers[n % 3];
        body += &signer.cef(n);
        // In a CPS line the object is tried before the line.
        let line = format!("{{\"event\":{{\"rt\":{n}}}}}");
        let sig = signer.sig(&line);
        body += &format!("{{\"event\":{{\"rt\":{n},\"sig\":\"{sig}\"}}}}\n");
    }
    let budget = FailureBudget::new(1);
    let batch = batch_within(body, &keys, &budget);
    assert_eq!(batch.len(), 600);
    assert!(batch.verdicts().all(|verdict| verdict.proof().is_some()));
    assert!(!budget.is_spent());
}

#[test]
fn signatures_after_the_budget_are_not_tried() {
    let signer = Signer::new(1);
    let keys = KeySet::new([signer.key(), Signer::new(2).key()]);
    // The genuine line is in the second slice, so it comes after the others.
    let slice = MOST * rayon::current_num_threads();
    let body: String = (0..slice).map(forged).chain([signer.cef(slice)]).collect();
    // Each line costs four signatures times two keys, so a hundred lines can be tried.
    let budget = FailureBudget::new(800);
    let batch = batch_within(body, &keys, &budget);
    assert!(budget.is_spent());
    let verdicts: Vec<_> = batch.verdicts().collect();
    let tried = verdicts.iter().filter(|one| one.reason() == Some("no_matching_key")).count();
    // Each thread may stop within a line.
    assert!((1..slice).contains(&tried), "{tried}");
    assert_eq!(verdicts.iter().filter(|one| one.is_not_tried()).count(), slice + 1 - tried);
    assert_eq!(verdicts.last(), Some(&&Verdict::Invalid(Reason::NotTried)));
    assert!(verdicts.iter().all(|verdict| verdict.awaits_key()));
    assert_eq!(reason(&signer.cef(slice), &keys, &FailureBudget::unlimited()), None);
}

#[test]
fn a_verdict_without_a_verification_needs_no_budget() {
    let keys = KeySet::new([Signer::new(1).key()]);
    let spent = FailureBudget::new(0);
    assert_eq!(reason(&forged(1), &keys, &spent), Some("not_tried"));
    assert_eq!(reason(&forged(1), &KeySet::default(), &spent), Some("no_keys"));
    assert_eq!(reason(&cef(1), &keys, &spent), None);
    assert_eq!(reason(&(cef(1) + " sig=AAAA"), &keys, &spent), Some("signature_length"));
    assert_eq!(reason("hello", &keys, &spent), Some("unknown_format"));
}

#[test]
fn imitations_behind_a_genuine_signature_are_paid_for() {
    let signer = Signer::new(1);
    let keys = KeySet::new([signer.key()]);
    let imitations = format!(" sig={}", URL_SAFE_NO_PAD.encode([7; 64])).repeat(2);
    let payload = cef(1) + &imitations;
    let line = format!("{} sig={}{imitations}", cef(1), signer.sig(&payload));
    let budget = FailureBudget::new(3);
    assert_eq!(reason(&line, &keys, &budget), None);
    assert!(!budget.is_spent());
    assert_eq!(reason(&line, &keys, &budget), Some("not_tried"));
}

#[test]
fn a_line_gets_the_verdict_that_it_gets_alone() {
    let signers = [Signer::new(1), Signer::new(2), Signer::new(3)];
    let unknown = Signer::new(4);
    let line = |n: usize, kind: usize| match kind {
        0..=2 => signers[kind].cef(n),
        3 => unknown.cef(n),
        4 => forged(n),
        5 => cef(n),
        6 => cef(n) + " sig=AAAA",
        7 => "hello".into(),
        // The signature is the second candidate.
        8 => signers[1].cef(n).trim_end().to_owned() + " sig=" + &"A".repeat(86),
        // The line is signed, which is tried after the object.
        _ => {
            let sig = signers[2].sig(&format!("{{\"event\":{{\"rt\":{n}}}}}"));
            format!("{{\"event\":{{\"rt\":{n},\"sig\":\"{sig}\"}}}}")
        }
    };
    let patterns: [&dyn Fn(usize) -> usize; 6] = [
        &|n| n % 10,
        &|n| n * n / 7 % 10,
        &|n| if n == 77 { 4 } else { 1 },
        &|n| n % 3,
        &|n| n / 100,
        &|n| if n < 150 { 3 } else { 2 },
    ];
    for (number, pattern) in patterns.into_iter().enumerate() {
        let lines: Vec<_> = (0..300).map(|n| line(n, pattern(n))).collect();
        let lines: Vec<_> = lines.iter().map(|line| line.trim_end().as_bytes()).collect();
        let keys = || KeySet::new(signers.iter().map(Signer::key));
        let sets = [keys(), KeySet::default(), KeySet::new([signers[1].key()])];
        for set in &sets {
            let unlimited = FailureBudget::unlimited();
            let together = CheckedLine::all(
                lines.iter().copied(),
                set,
                BUDGET_CAPS.max_line,
                &unlimited,
                &SEED,
            );
            assert_eq!(together.len(), lines.len());
            for (line, together) in lines.iter().zip(together) {
                let alone = CheckedLine::new(line, set, BUDGET_CAPS.max_line);
                let line = String::from_utf8_lossy(line);
                assert_eq!(together.verdict(), alone.verdict(), "pattern {number}: {line}");
                assert_eq!(together.signed(), alone.signed(), "pattern {number}: {line}");
            }
        }
    }
}

#[test]
fn each_line_is_checked_with_its_own_keys() {
    let signers = [Signer::new(1), Signer::new(2)];
    let sets = [KeySet::new([signers[0].key()]), KeySet::new([signers[1].key()])];
    let lines: Vec<_> = (0..40).map(|n| signers[n % 2].cef(n).trim_end().to_owned()).collect();
    let with = |other: usize| -> Vec<_> {
        let lines = lines.iter().enumerate();
        let lines: Vec<_> =
            lines.map(|(n, line)| (line.as_bytes(), &sets[(n / 5 + other) % 2])).collect();
        CheckedLine::each(&lines, BUDGET_CAPS.max_line, &SEED)
    };
    for other in [0, 1] {
        for (n, checked) in with(other).iter().enumerate() {
            let is_own = n % 2 == (n / 5 + other) % 2;
            assert_eq!(checked.verdict().proof().is_some(), is_own, "{n}");
        }
    }
}
