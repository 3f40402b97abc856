//! Repeated entries: an entry shows its best delivery, and a signed payload is stored once whatever
//! line it arrives in.

use serde_json::Value;

use crate::console;
use crate::harness::{
    Serve, Setup, Signer, assert_sound, exported, json_lines, jwks, run, stored, wait_until,
};

/// Two inputs. `own` expects the organization and has its keys. `other` has other keys.
const INPUTS: &str = "
[store]
segment_entries = 20
[[input]]
name = 'other'
path = '/other'
authorization = 'a value for both inputs'
org_ids = ['768dba25-3f0b-4d0a-9e58-1a0d3a4c0f46']
keys.jwks = 'other.json'
[[input]]
name = 'own'
path = '/audit-logs'
authorization = 'a value for both inputs'
org_ids = ['b065b594-6afc-4658-9101-5d9cf3f36b7b']
keys.jwks = 'own.json'
[[output]]
name = 'all'
type = 'file'
path = 'all.jsonl'
format = 'json'
";

fn start(signer: &Signer, other: &[&Signer]) -> Serve {
    let mut serve = Setup::new()
        .file("own.json", jwks(&[signer]))
        .file("other.json", jwks(other))
        .config(INPUTS)
        .start();
    serve.authorization = "a value for both inputs".to_owned();
    serve
}

fn has_warning(entry: &Value, warning: &str) -> bool {
    entry["warnings"].as_array().is_some_and(|all| all.iter().any(|one| one == warning))
}

/// Fills the live segment with other entries, so that it is closed and sealed.
fn fill(serve: &Serve, from: usize) {
    let lines: Vec<_> = (from..from + 20).map(|n| format!("{{\"rt\":{n}}}")).collect();
    assert_eq!(serve.deliver(lines.join("\n"))["stored"], 20);
    let closed = "SELECT count(*) FROM segments WHERE state = 'closed'";
    wait_until("all sealed", || {
        stored::catalog(&serve.data(), closed, |row| row.get::<_, u64>(0)) == [0]
    });
}

#[test]
fn an_entry_shows_its_best_delivery() {
    let (signer, stranger) = (Signer::new("k1"), Signer::new("k2"));
    let mut serve = start(&signer, &[&stranger]);
    let lines: Vec<_> = (0..6).map(|n| signer.json(n)).collect();
    // First to the input with other keys.
    let first = serve.deliver_to("/other", lines.join("\n"));
    assert_eq!((&first["stored"], &first["verdicts"]["invalid"]), (&6.into(), &6.into()));
    let received: Vec<_> =
        exported(&serve.data()).iter().map(|one| one["received_at"].clone()).collect();

    // One while the segment is live, one after a restart, one after sealing.
    let better = |serve: &Serve, n: usize| {
        let answer = serve.deliver(&lines[n]);
        assert_eq!((&answer["stored"], &answer["duplicates"]), (&0.into(), &1.into()), "{answer}");
        assert_eq!(answer["verdicts"]["valid"], 1);
        let entry = &exported(&serve.data())[n];
        assert_eq!(entry["verdict"], "valid", "{entry}");
        assert_eq!(entry["kid"], "k1");
        assert_eq!(entry["input"], "own");
        assert_eq!(entry["received_at"], received[n]);
        assert_eq!(entry["raw"], lines[n]);
        assert_eq!(entry["delivery_count"], 2);
        assert!(!has_warning(entry, "foreign_org"), "{entry}");
    };
    better(&serve, 0);
    serve.kill();
    serve.restart();
    better(&serve, 1);
    fill(&serve, 100);
    better(&serve, 2);
    better(&serve, 3);

    // A worse or an equal delivery does not replace it.
    let changes = || {
        stored::catalog(&serve.data(), "SELECT count(*) FROM changes", |r| r.get::<_, u64>(0))[0]
    };
    let before = changes();
    serve.deliver_to("/other", &lines[0]);
    serve.deliver(&lines[1]);
    serve.deliver(&lines[2]);
    assert_eq!(changes(), before);
    let entries = exported(&serve.data());
    let of = |what: &str| entries[..6].iter().map(|one| one[what].clone()).collect::<Vec<_>>();
    assert_eq!(of("verdict"), ["valid", "valid", "valid", "valid", "invalid", "invalid"]);
    assert_eq!(of("delivery_count"), [3, 3, 3, 2, 1, 1]);
    // An output gets the changed entry again.
    let output = serve.home().join("all.jsonl");
    wait_until("the changes in the output", || {
        let lines = json_lines(&std::fs::read_to_string(&output).unwrap_or_default());
        let valid = |id: usize| lines.iter().any(|l| l["id"] == id && l["verdict"] == "valid");
        (1..=4).all(valid)
    });
    serve.stop();
    assert_sound(&serve.data());
    let (code, _, stderr) = run(["store", "seal", "--data-dir"], &serve.data());
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(exported(&serve.data()), entries);
}

#[test]
fn a_valid_entry_of_an_expected_organization_is_better() {
    let signer = Signer::new("k1");
    let mut serve = start(&signer, &[&signer]);
    let line = signer.json(1);
    serve.deliver_to("/other", &line);
    let entry = exported(&serve.data()).remove(0);
    assert_eq!((&entry["verdict"], has_warning(&entry, "foreign_org")), (&"valid".into(), true));
    serve.deliver(&line);
    let entry = exported(&serve.data()).remove(0);
    assert_eq!(entry["input"], "own", "{entry}");
    assert!(!has_warning(&entry, "foreign_org"), "{entry}");
    // The order of the deliveries makes no difference.
    let line = signer.json(2);
    serve.deliver(&line);
    serve.deliver_to("/other", &line);
    assert_eq!(exported(&serve.data())[1]["input"], "own");
    serve.stop();
    assert_sound(&serve.data());
}

/// The signed entry number `n` in `count` different lines.
fn spellings(signer: &Signer, n: usize, count: usize) -> Vec<String> {
    let line = signer.json(n);
    let (payload, sig) = line.rsplit_once(",\"sig\":").unwrap();
    let sig = sig.strip_suffix('}').unwrap();
    let mut lines = vec![format!("{{\"sig\":{sig},{}}}", payload.strip_prefix('{').unwrap())];
    lines.push(format!("{{\"event\":{line}}}"));
    lines
        .extend((0..count).map(|spaces| format!("{{\"event\":{}{line}}}", " ".repeat(spaces + 1))));
    lines.truncate(count);
    lines
}

#[test]
fn a_signed_payload_is_stored_once() {
    let signer = Signer::new("k1");
    let mut serve = start(&signer, &[&signer]);
    let line = signer.json(1);
    assert_eq!(serve.deliver(&line)["stored"], 1);
    let others = spellings(&signer, 1, 40);
    let answer = serve.deliver(others.join("\n"));
    assert_eq!(answer["verdicts"]["valid"], 40, "{answer}");
    assert_eq!((&answer["stored"], &answer["duplicates"]), (&0.into(), &40.into()));
    let shows = |serve: &Serve, deliveries: usize| {
        let entries = exported(&serve.data());
        let same: Vec<_> = entries.iter().filter(|one| one["id"] == 1).collect();
        assert_eq!(same.len(), 1);
        assert_eq!(same[0]["raw"], line);
        assert_eq!(same[0]["delivery_count"], deliveries);
        assert_eq!(same[0]["verdict"], "valid");
        assert!(has_warning(same[0], "signature_moved"), "{}", same[0]);
    };
    shows(&serve, 41);
    // The same lines after sealing, and after a restart.
    fill(&serve, 100);
    assert_eq!(serve.deliver(others.join("\n"))["stored"], 0);
    shows(&serve, 81);
    serve.kill();
    serve.restart();
    let more = spellings(&signer, 1, 60);
    assert_eq!(serve.deliver(more.join("\n"))["stored"], 0);
    shows(&serve, 141);
    // The store keeps the first 16 lines and counts the others.
    let kept: Vec<(Vec<u8>, u64)> = stored::catalog(
        &serve.data(),
        "SELECT fingerprint, count FROM spellings ORDER BY fingerprint",
        |row| Ok((row.get(0)?, row.get(1)?)),
    );
    assert_eq!(kept.len(), 17);
    assert_eq!(kept.iter().map(|(_, count)| count).sum::<u64>(), 140);
    let lines = stored::spellings(&serve.data());
    assert_eq!(lines.iter().map(String::as_str).collect::<Vec<_>>(), others[..16]);
    let page = console::get(&serve, "/entries/1").text();
    let listed = page.split_once("Other lines of this entry").unwrap().1;
    assert_eq!(listed.matches("first in delivery").count(), 16, "{page}");
    assert!(listed.contains("Lines that are not kept, 92 times"), "{page}");
    serve.stop();
    assert_sound(&serve.data());
    assert_eq!(exported(&serve.data()).len(), 21);
}

#[test]
fn a_signed_payload_is_stored_once_within_a_delivery() {
    let signer = Signer::new("k1");
    let mut serve = start(&signer, &[&signer]);
    let lines = spellings(&signer, 1, 5);
    let answer = serve.deliver(lines.join("\n"));
    assert_eq!((&answer["stored"], &answer["duplicates"]), (&1.into(), &4.into()), "{answer}");
    let entry = exported(&serve.data()).remove(0);
    assert_eq!(entry["raw"], lines[0]);
    assert!(has_warning(&entry, "signature_moved"), "{entry}");
    serve.stop();
    assert_sound(&serve.data());
}

#[test]
fn an_invalid_line_is_hidden_when_it_proves_to_be_a_spelling() {
    let (signer, stranger) = (Signer::new("k1"), Signer::new("k2"));
    let mut serve = start(&signer, &[&stranger]);
    let (line, other) = (signer.json(1), spellings(&signer, 1, 1).remove(0));
    for sealed in [false, true] {
        let (line, other) = match sealed {
            false => (line.clone(), other.clone()),
            true => (signer.json(2), spellings(&signer, 2, 1).remove(0)),
        };
        assert_eq!(serve.deliver(&line)["stored"], 1);
        if sealed {
            fill(&serve, 100);
        }
        // This input has other keys.
        assert_eq!(serve.deliver_to("/other", &other)["stored"], 1);
        assert_eq!(serve.deliver(&other)["stored"], 0);
        let entries = exported(&serve.data());
        assert!(entries.iter().all(|one| one["raw"] != other), "{entries:?}");
        let shown = entries.iter().find(|one| one["raw"] == line).unwrap();
        assert!(has_warning(shown, "signature_moved"), "{shown}");
        assert_eq!(shown["delivery_count"], 1, "{shown}");
    }
    serve.stop();
    assert_sound(&serve.data());
}

#[test]
fn a_damaged_segment_does_not_block_deliveries() {
    let signer = Signer::new("k1");
    let config = "[store]\nsegment_entries = 20\n[keys]\njwks = 'jwks.json'\n";
    let mut serve =
        Setup::new().file("jwks.json", jwks(&[])).config(config).arguments("--no-tls").start();
    // After a late verdict the entry is in the catalog, and its line in the segment.
    serve.deliver(signer.json(1));
    fill(&serve, 100);
    serve.stop();
    std::fs::write(serve.home().join("jwks.json"), jwks(&[&signer])).unwrap();
    serve.restart();
    wait_until("the late verdict", || exported(&serve.data())[0]["verdict"] == "valid");
    serve.stop();
    let sealed = serve.data().join("segments/0000000000000001.db");
    std::fs::write(&sealed, "no database").unwrap();
    serve.restart();
    // The catalog shows that the entry is already stored.
    let other = spellings(&signer, 1, 1).remove(0);
    let answer = serve.deliver(format!("{other}\n{}", signer.json(2)));
    assert_eq!((&answer["stored"], &answer["duplicates"]), (&1.into(), &1.into()), "{answer}");
}

#[test]
fn spellings_stored_without_keys_are_hidden_once_verified() {
    let signer = Signer::new("k1");
    // Without keys the server cannot see that the lines are one entry.
    let mut serve = Setup::new().arguments("--no-tls").start();
    let lines = spellings(&signer, 1, 4);
    assert_eq!(serve.deliver(lines.join("\n"))["stored"], 4);
    assert_eq!(serve.deliver(signer.json(2))["stored"], 1);
    serve.stop();
    std::fs::write(serve.home().join("jwks.json"), jwks(&[&signer])).unwrap();
    let mut serve = serve.with_config("[keys]\njwks = 'jwks.json'\n");
    wait_until("all verified", || {
        exported(&serve.data()).iter().all(|one| one["verdict"] == "valid")
    });
    let shown = |serve: &Serve| {
        let entries = exported(&serve.data());
        assert_eq!(
            entries.iter().map(|one| one["id"].as_u64().unwrap()).collect::<Vec<_>>(),
            [1, 5]
        );
        assert_eq!(entries[0]["raw"], lines[0]);
        assert!(has_warning(&entries[0], "signature_moved"), "{}", entries[0]);
        assert!(!has_warning(&entries[1], "signature_moved"), "{}", entries[1]);
        let (_, stdout, _) = run(["store", "stats", "-o", "jsonl", "--data-dir"], &serve.data());
        assert_eq!(json_lines(&stdout)[0]["verdicts"]["valid"], 2, "{stdout}");
        let (_, stdout, _) = run(["query", "*", "-o", "jsonl", "--data-dir"], &serve.data());
        assert_eq!(stdout.lines().count(), 2);
    };
    shown(&serve);
    let page = console::get(&serve, "/entries/1").text();
    assert_eq!(page.matches("first in delivery").count(), 3, "{page}");
    // A repeated hidden line counts as a delivery of the visible entry.
    assert_eq!(serve.deliver(&lines[2])["stored"], 0);
    assert_eq!(exported(&serve.data())[0]["delivery_count"], 2);
    serve.stop();
    assert_sound(&serve.data());
    let (code, _, stderr) = run(["store", "seal", "--data-dir"], &serve.data());
    assert_eq!(code, Some(0), "{stderr}");
    serve.restart();
    shown(&serve);
    assert_eq!(serve.deliver(lines.join("\n"))["stored"], 0);
    serve.stop();
    assert_sound(&serve.data());
}
