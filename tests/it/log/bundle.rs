//! Evidence bundles: what `vidimus prove` writes, `vidimus verify-bundle` checks, and openssl and
//! other programs too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use super::{go, lines};
use crate::console;
use crate::harness::{
    Serve, Setup, Signer, cef, json_lines, jwks, optional_tool, output_of, tool, wait_until,
};
use crate::program::Run;

/// A stopped store, whose log covers all that was delivered.
struct Stored {
    serve: Serve,
    vkey: String,
    out: TempDir,
}

impl Stored {
    /// A store with these lines, which `k1` may have signed.
    fn with(lines: &[String]) -> Stored {
        let mut stored = Stored::running("1h");
        stored.serve.deliver(lines.join("\n"));
        stored.stop();
        stored
    }

    /// A running store that signs checkpoints at this interval.
    fn running(interval: &str) -> Stored {
        let setup = Setup::new().file("jwks.json", jwks(&[&Signer::new("k1")]));
        let config =
            format!("[log]\norigin = \"example.com/log\"\ncheckpoint_interval = \"{interval}\"\n");
        Stored::of(setup.config(&config).arguments("--jwks jwks.json").start())
    }

    fn of(serve: Serve) -> Stored {
        Stored { serve, vkey: String::new(), out: tempfile::tempdir().unwrap() }
    }

    /// Stops the server, which signs a checkpoint then.
    fn stop(&mut self) {
        self.serve.stop();
        self.vkey = self.vidimus(&["log", "key"]).expect(0).stdout.trim_end().to_owned();
    }

    /// Runs a command on the store.
    fn vidimus(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        Run::of(command.args(arguments).arg("--data-dir").arg(self.serve.data()))
    }

    /// Writes a bundle.
    fn prove(&self, name: &str, what: &[&str]) -> PathBuf {
        let path = self.out.path().join(name);
        let out = ["--out", path.to_str().unwrap()];
        self.vidimus(&[&["prove"][..], what, &out].concat()).expect(0);
        path
    }

    /// Verifies a bundle with the key of this log.
    fn verify(&self, bundle: &Path, more: &[&str]) -> Run {
        verify(bundle, &[&["--log-key", &self.vkey][..], more].concat())
    }

    /// The key set of Konnect.
    fn jwks(&self) -> String {
        self.serve.home().join("jwks.json").to_str().unwrap().to_owned()
    }

    /// The names in the folder of bundles.
    fn written(&self) -> Vec<String> {
        names(self.out.path())
    }
}

fn verify(bundle: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    Run::of(command.arg("verify-bundle").arg(bundle).args(arguments))
}

fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        files.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Makes a zip of a folder, with another program.
fn python_zip(folder: &Path, zip: &Path) -> bool {
    let Some(mut python) = tool("python3") else { return false };
    let _ = fs::remove_file(zip);
    python.args(["-m", "zipfile", "-c"]).arg(zip).args(names(folder)).current_dir(folder);
    let (code, _, stderr) = output_of(&mut python);
    assert_eq!(code, Some(0), "{stderr}");
    true
}

/// A signed entry in each format.
fn one_of_each() -> Vec<String> {
    let signer = Signer::new("k1");
    vec![signer.cef(1), signer.json(2), signer.cps(3)]
}

#[test]
fn a_bundle_has_the_lines_and_their_proofs() {
    let lines = [one_of_each(), vec!["no entry".to_owned()]].concat();
    let stored = Stored::with(&lines);
    let bundle = stored.prove("bundle", &["--id", "1", "--id", "2,4"]);
    let outer = ["README.md", "checkpoint", "deliveries.jsonl", "entries", "jwks.json"];
    assert_eq!(names(&bundle), outer);
    assert_eq!(names(&bundle.join("entries")), ["1", "2", "4"]);
    for id in [1, 2, 4] {
        let entry = bundle.join("entries").join(id.to_string());
        assert_eq!(names(&entry), ["leaf", "line", "proof.tlog-proof", "salt"]);
        let read = |name: &str| fs::read(entry.join(name)).unwrap();
        assert_eq!(read("line"), lines[id - 1].as_bytes());
        assert_eq!(read("salt").len(), 16);
        let hash = digest(&SHA256, &[read("salt"), read("line")].concat());
        assert_eq!(&read("leaf")[27..59], hash.as_ref());
        let proof = String::from_utf8(read("proof.tlog-proof")).unwrap();
        let checkpoint = fs::read_to_string(bundle.join("checkpoint")).unwrap();
        assert!(proof.starts_with("c2sp.org/tlog-proof@v1\nindex "), "{proof}");
        assert!(proof.ends_with(&format!("\n\n{checkpoint}")), "{proof}");
    }
    let keys: Value = serde_json::from_slice(&fs::read(bundle.join("jwks.json")).unwrap()).unwrap();
    assert_eq!(keys["keys"][0]["kid"], "k1");
    assert_eq!(keys["keys"][0]["seen"][0]["source"], "jwks.json");
    let deliveries = fs::read_to_string(bundle.join("deliveries.jsonl")).unwrap();
    let deliveries = json_lines(&deliveries);
    assert_eq!((deliveries.len(), &deliveries[0]["received"]), (1, &4.into()));

    // A malformed line is in the log, and nothing says that it is genuine.
    let ran = stored.verify(&bundle, &["-o", "jsonl", "--jwks", &stored.jwks()]).expect(1);
    let found = ran.records();
    assert_eq!(found.len(), 4, "{ran}");
    let verdict = |at: usize| (&found[at]["id"], &found[at]["verdict"], &found[at]["proved"]);
    assert_eq!(verdict(0), (&1.into(), &"valid".into(), &true.into()));
    assert_eq!(verdict(2), (&4.into(), &"malformed".into(), &false.into()));
    assert!(found[..3].iter().all(|one| one["in_log"] == true && one["witnessed"] == false));
    assert_eq!((&found[0]["kid"], &found[0]["key_from"]), (&"k1".into(), &"elsewhere".into()));
    assert_eq!(found[0]["recorded"]["verdict"], "valid");
    assert_eq!(found[3]["checkpoint"]["origin"], "example.com/log");
    assert_eq!((&found[3]["entries"], &found[3]["proved"]), (&3.into(), &2.into()));
}

#[test]
fn a_query_is_proved_in_a_folder_and_in_a_zip() {
    let stored = Stored::with(&one_of_each());
    let folder = stored.prove("bundle", &["format:json OR format:cef", "--since", "2025-01-01"]);
    let zip = stored.prove("bundle.zip", &["format:json OR format:cef", "--since", "2025-01-01"]);
    for bundle in [&folder, &zip] {
        let ran = stored.verify(bundle, &["--jwks", &stored.jwks()]).expect(0);
        let lines: Vec<_> = ran.stdout.lines().collect();
        assert_eq!(lines.len(), 2, "{ran}");
        let expected = "2  valid      signed by Konnect's key k1; in the log at 2, valid at receipt; \
                        not witnessed";
        assert_eq!(lines[1], expected, "{ran}");
        assert!(ran.stderr.contains("2 entries") && !ran.stderr.contains("note"), "{ran}");
        // Without keys from elsewhere, that is said.
        let ran = stored.verify(bundle, &[]).expect(0);
        assert!(ran.stdout.contains("signed by Konnect's key k1, says the log"), "{ran}");
        assert!(ran.stderr.contains("as far as the log vouches for them"), "{ran}");
    }
    assert_eq!(stored.written(), ["bundle", "bundle.zip"]);
    // Other programs read the zip, and what they make of it is read.
    let Some(mut python) = tool("python3") else { return };
    let out = stored.out.path().join("unzipped");
    let (code, _, stderr) = output_of(python.args(["-m", "zipfile", "-e"]).args([&zip, &out]));
    assert_eq!(code, Some(0), "{stderr}");
    for name in ["entries/1/line", "entries/2/proof.tlog-proof", "checkpoint"] {
        assert_eq!(fs::read(out.join(name)).unwrap(), fs::read(folder.join(name)).unwrap());
    }
    let again = stored.out.path().join("again.zip");
    assert!(python_zip(&out, &again));
    stored.verify(&again, &[]).expect(0);
    stored.verify(&out, &[]).expect(0);
}

#[test]
fn what_cannot_be_proved_is_named_and_nothing_is_written() {
    let mut stored = Stored::running("1h");
    // The first checkpoint is one of a log without entries, and the next one is far away.
    let checkpoint = stored.serve.data().join("log/checkpoint");
    wait_until("the first checkpoint", || checkpoint.exists());
    stored.serve.deliver(one_of_each().join("\n"));
    let path = stored.out.path().join("bundle");
    let out = path.to_str().unwrap().to_owned();
    let refused = |stored: &Stored, what: &[&str], code: i32, expected: &str| {
        let ran = stored.vidimus(&[&["prove", "--out", &out][..], what].concat()).expect(code);
        assert!(ran.stderr.contains(expected), "{ran}");
        assert_eq!(stored.written(), [""; 0]);
    };
    refused(&stored, &["--id", "1,2"], 3, "entries 1, 2 cannot be proved yet");
    refused(&stored, &["--id", "9"], 3, "there is no entry 9");
    refused(&stored, &["--id", "1", "--since", "1h"], 2, "--id: use it without");
    refused(&stored, &["name:nobody"], 1, "no entry matches");
    refused(&stored, &["status:abc"], 2, "status");
    stored.stop();
    refused(&stored, &["--id", "1", "--id", "9"], 3, "there is no entry 9");

    // Somebody changed the line of the second entry, after the first was written.
    let live = fs::read_dir(stored.serve.data().join("segments")).unwrap();
    let live = live.map(|one| one.unwrap().path()).find(|path| path.extension().unwrap() == "db");
    let segment = rusqlite::Connection::open(live.unwrap()).unwrap();
    segment.execute("UPDATE raw SET line = CAST(line || ' ' AS BLOB) WHERE id = 2", ()).unwrap();
    drop(segment);
    refused(&stored, &[], 3, "is not of entry 2 as it is stored");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("other"), "").unwrap();
    let ran = stored.vidimus(&["prove", "--id", "1", "--out", &out]).expect(3);
    assert!(ran.stderr.contains("not empty"), "{ran}");
    assert_eq!(names(&path), ["other"]);
    fs::remove_file(path.join("other")).unwrap();
    let bundled = stored.serve.data().join("log/bundled");
    assert!(!bundled.exists());
    stored.vidimus(&["prove", "--id", "1", "--out", &out]).expect(0);
    stored.verify(&path, &[]).expect(0);
    // The checkpoint is kept from now on.
    assert_eq!(fs::read_to_string(&bundled).unwrap(), "4\n");
}

#[test]
fn a_checkpoint_that_the_log_did_not_sign_is_not_put_into_a_bundle() {
    let (stored, other) = (Stored::with(&one_of_each()), Stored::with(&one_of_each()));
    let refused = |expected: &str| {
        let out = stored.out.path().join("bundle");
        let ran = stored.vidimus(&["prove", "--id", "1", "--out", out.to_str().unwrap()]).expect(3);
        assert!(ran.stderr.contains(expected), "{ran}");
        assert_eq!(stored.written(), [""; 0]);
    };
    let checkpoint = |of: &Stored| of.serve.data().join("log/checkpoint");
    let good = fs::read(checkpoint(&stored)).unwrap();
    fs::copy(checkpoint(&other), checkpoint(&stored)).unwrap();
    refused("the newest checkpoint is not one of this log");
    fs::write(checkpoint(&stored), good).unwrap();
    // The hash of the third leaf, which no proof needs for its own sake.
    change(&stored.serve.data().join("log/hashes/0/0000"), |hashes| hashes[2 * 32] ^= 1);
    refused("the tree of the log is not the one that its newest checkpoint signs");
}

#[test]
fn entries_from_before_the_log_are_proved_once_they_have_their_leaves() {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/v6");
    let mut stored = Stored::of(crate::stores::copy(&old).start());
    stored.serve.deliver(Signer::new("k1").cef(1));
    let out = stored.out.path().join("bundle");
    let prove = ["prove", "--out", out.to_str().unwrap(), "--id", "1", "--id", "71"];
    wait_until("a proof", || {
        let ran = stored.vidimus(&prove);
        let is_later = ran.stderr.contains("cannot be proved yet");
        assert!(is_later == (ran.code == Some(3)), "{ran}");
        !is_later
    });
    let leaf = |id: u64| fs::read(out.join(format!("entries/{id}/leaf"))).unwrap();
    stored.stop();
    // A backfilled entry, and a new one.
    assert_eq!((leaf(1)[1], leaf(71)[1]), (3, 2));
    let ran = stored.verify(&out, &["--jwks", old.join("jwks.json").to_str().unwrap()]);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].contains(" when it got its leaf; "), "{ran}");
    assert!(lines[1].contains(" at receipt; "), "{ran}");
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for one in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(one.file_name());
        match one.file_type().unwrap().is_dir() {
            true => copy(&one.path(), &to),
            false => {
                fs::copy(one.path(), to).unwrap();
            }
        }
    }
}

/// Changes the bytes of a file.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    let before = bytes.clone();
    change(&mut bytes);
    assert_ne!(bytes, before);
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_change_of_a_bundle_is_found() {
    let lines = [one_of_each(), vec![Signer::new("k1").cef(4)]].concat();
    let stored = Stored::with(&lines);
    let good = stored.prove("good", &["--id", "2,3,4"]);
    // Another bundle of the same log, and one of another log with the same entries.
    let same_log = stored.prove("same", &["--id", "1"]);
    let other = Stored::with(&lines);
    let of_other_log = other.prove("other", &["--id", "2,3,4"]);
    let mut number = 0;
    let mut check = |what: &str, code: i32, expected: &str, tamper: &dyn Fn(&Path)| {
        number += 1;
        let bundle = stored.out.path().join(format!("{number}"));
        copy(&good, &bundle);
        tamper(&bundle);
        for keys in [&["--jwks", &stored.jwks()][..], &[]] {
            // A set from elsewhere is enough.
            let code = if what == "keys removed" && !keys.is_empty() { 1 } else { code };
            // The same in a zip, which follows links.
            let zip = stored.out.path().join("tampered.zip");
            let zip = (what != "a link" && python_zip(&bundle, &zip)).then_some(&zip);
            for bundle in [Some(&bundle), zip].into_iter().flatten() {
                let ran = stored.verify(bundle, &[keys, &["-o", "jsonl"]].concat()).expect(code);
                let said = format!("{}{}", ran.stdout, ran.stderr);
                assert!(said.contains(expected), "{what}: {ran}");
                for one in ran.records().iter().filter(|one| one["id"] == 2) {
                    let is_tampered = what.starts_with("entry 2");
                    assert!(!is_tampered || one["proved"] == false, "{what}: {ran}");
                    // Another leaf may be in the log, and says nothing of this entry.
                    assert!(!is_tampered || one["in_log"] == false, "{what}: {ran}");
                    let says = [one["leaf"].is_u64(), one["recorded"].is_object()];
                    assert_eq!(says, [one["in_log"] == true; 2], "{what}: {ran}");
                }
            }
        }
        fs::remove_dir_all(&bundle).unwrap();
    };
    check("nothing", 0, "3 entries", &|_| {});
    let at = |name: &'static str| move |bundle: &Path| bundle.join("entries/2").join(name);

    // The line: a byte of what is signed, a byte outside of it, one that is added or removed.
    let line = at("line");
    check("entry 2: a byte of the line", 1, "no_matching_key", &|bundle| {
        change(&line(bundle), |line| line[20] ^= 1);
    });
    check("entry 2: the end of the line", 1, "of another line or salt", &|bundle| {
        change(&line(bundle), |line| line.push(b' '));
    });
    check("entry 2: no line", 1, "line is missing", &|bundle| {
        fs::remove_file(line(bundle)).unwrap();
    });
    check("entry 2: an endless line", 1, "line_too_long", &|bundle| {
        change(&line(bundle), |line| line.resize(9 << 20, b'x'));
    });

    // The salt.
    let salt = at("salt");
    check("entry 2: a byte of the salt", 1, "of another line or salt", &|bundle| {
        change(&salt(bundle), |salt| salt[0] ^= 1);
    });
    check("entry 2: a short salt", 1, "the salt has 15 bytes", &|bundle| {
        change(&salt(bundle), |salt| salt.truncate(15));
    });
    check("entry 2: a byte moved to the salt", 1, "the salt has 17 bytes", &|bundle| {
        // Their hash stays the same.
        let first = fs::read(line(bundle)).unwrap()[0];
        change(&salt(bundle), |salt| salt.push(first));
        change(&line(bundle), |line| *line = line.split_off(1));
    });

    // The leaf: each field.
    let leaf = at("leaf");
    for byte in [0, 1, 9, 17, 25, 26, 27, 59, 91, 122] {
        check(&format!("entry 2: byte {byte} of the leaf"), 1, "leaf", &|bundle| {
            change(&leaf(bundle), |leaf| leaf[byte] ^= 1);
        });
    }
    check("entry 2: a leaf for another line", 1, "the leaf is not in the log", &|bundle| {
        // Whoever has the salt and another line can make the leaf that belongs to it.
        change(&line(bundle), |line| line.push(b' '));
        let both = [fs::read(salt(bundle)).unwrap(), fs::read(line(bundle)).unwrap()].concat();
        let hash = digest(&SHA256, &both);
        change(&leaf(bundle), |leaf| leaf[27..59].copy_from_slice(hash.as_ref()));
    });

    // The proof.
    let proof = at("proof.tlog-proof");
    let text = |from: &'static str, to: &'static str| {
        move |bytes: &mut Vec<u8>| {
            *bytes = String::from_utf8_lossy(bytes).replacen(from, to, 1).into_bytes();
        }
    };
    check("entry 2: another index", 1, "the leaf is not in the log", &|bundle| {
        change(&proof(bundle), text("index 2", "index 3"));
    });
    check("entry 2: an extra line", 1, "extra line", &|bundle| {
        change(&proof(bundle), text("index", "extra AAAA\nindex"));
    });
    check("entry 2: a hash of the proof", 1, "the leaf is not in the log", &|bundle| {
        change(&proof(bundle), |proof| {
            let at = proof.iter().position(|byte| *byte == b'=').unwrap() - 2;
            proof[at] = if proof[at] == b'A' { b'B' } else { b'A' };
        });
    });
    check("entry 2: a hash too few", 1, "the leaf is not in the log", &|bundle| {
        change(&proof(bundle), |proof| {
            let text = String::from_utf8_lossy(proof).into_owned();
            let lines: Vec<_> = text.split('\n').collect();
            *proof = [&lines[..2], &lines[3..]].concat().join("\n").into_bytes();
        });
    });
    check("entry 2: the checkpoint in the proof", 1, "another checkpoint", &|bundle| {
        let other = of_other_log.join("entries/2/proof.tlog-proof");
        fs::copy(other, proof(bundle)).unwrap();
    });
    check("entry 2: the proof of another entry", 1, "the leaf is not in the log", &|bundle| {
        fs::copy(bundle.join("entries/3/proof.tlog-proof"), proof(bundle)).unwrap();
    });

    // The checkpoint.
    let checkpoint = |bundle: &Path| bundle.join("checkpoint");
    check("entry 2: the size in the checkpoint", 1, "the checkpoint proves nothing", &|bundle| {
        change(&checkpoint(bundle), text("\n5\n", "\n6\n"));
    });
    check("entry 2: no signature", 1, "the checkpoint proves nothing", &|bundle| {
        change(&checkpoint(bundle), |note| note.truncate(note.len() - 20));
    });
    check("entry 2: no checkpoint", 1, "checkpoint is missing", &|bundle| {
        fs::remove_file(checkpoint(bundle)).unwrap();
    });
    check("entry 2: a bundle of another log", 1, "the checkpoint proves nothing", &|bundle| {
        fs::remove_dir_all(bundle).unwrap();
        copy(&of_other_log, bundle);
    });

    // Entries that are swapped, renamed, removed in part or added.
    check("entry 2: swapped with 3", 1, "the leaf is of", &|bundle| {
        let entries = bundle.join("entries");
        fs::rename(entries.join("2"), entries.join("x")).unwrap();
        fs::rename(entries.join("3"), entries.join("2")).unwrap();
        fs::rename(entries.join("x"), entries.join("3")).unwrap();
    });
    check("entry 2: renamed", 1, "the leaf is of", &|bundle| {
        fs::rename(bundle.join("entries/2"), bundle.join("entries/7")).unwrap();
    });
    check("entry 2: the line of 3", 1, "of another line or salt", &|bundle| {
        fs::copy(bundle.join("entries/3/line"), line(bundle)).unwrap();
    });
    for name in ["leaf", "salt", "proof.tlog-proof"] {
        check("entry 2: a file removed", 1, &format!("{name} is missing"), &|bundle| {
            fs::remove_file(bundle.join("entries/2").join(name)).unwrap();
        });
    }
    for name in ["README.md", "deliveries.jsonl"] {
        check("a file removed", 1, &format!("{name} is missing"), &|bundle| {
            fs::remove_file(bundle.join(name)).unwrap();
        });
    }
    check("keys removed", 3, "jwks.json is missing", &|bundle| {
        fs::remove_file(bundle.join("jwks.json")).unwrap();
    });
    for name in ["other", "entries/2/other", "entries/other"] {
        check("a file added", 1, "does not belong into a bundle", &|bundle| {
            fs::write(bundle.join(name), "").unwrap();
        });
    }
    check("no entry", 1, "there is no entry in it", &|bundle| {
        fs::remove_dir_all(bundle.join("entries")).unwrap();
    });
    check("a link", 1, "is a link", &|bundle| {
        fs::remove_file(line(bundle)).unwrap();
        std::os::unix::fs::symlink(good.join("entries/2/line"), line(bundle)).unwrap();
    });
    // What is added from another bundle of the same log is as good.
    check("an entry added", 0, "4 entries", &|bundle| {
        copy(&same_log.join("entries/1"), &bundle.join("entries/1"));
    });

    // Keys of somebody else verify nothing, and the key of another log proves nothing.
    let strangers = stored.out.path().join("strangers.json");
    fs::write(&strangers, jwks(&[&Signer::new("k2")])).unwrap();
    let ran = stored.verify(&good, &["--jwks", strangers.to_str().unwrap()]).expect(1);
    assert_eq!(ran.stdout.matches("no_matching_key").count(), 3, "{ran}");
    let ran = verify(&good, &["--log-key", &other.vkey]).expect(1);
    assert_eq!(ran.stdout.matches("NOT in the log").count(), 3, "{ran}");
}

#[test]
fn a_key_of_the_bundle_is_not_the_one_that_the_log_names() {
    // Somebody signs another line with a key of their own, and puts the key into the bundle.
    let stored = Stored::with(&one_of_each());
    let bundle = stored.prove("bundle", &["--id", "1"]);
    let forger = Signer::new("k2");
    fs::write(bundle.join("entries/1/line"), forger.cef(9)).unwrap();
    fs::write(bundle.join("jwks.json"), jwks(&[&forger])).unwrap();
    let ran = stored.verify(&bundle, &[]).expect(1);
    for expected in [
        "1  no_key     no_keys; NOT in the log; not witnessed; ERROR: the leaf is of another line",
        "the key k2 of the bundle verifies it, and the log does not vouch for that key",
    ] {
        assert!(ran.stdout.contains(expected), "{ran}");
    }
}

#[test]
fn the_log_vouches_only_for_keys_that_its_leaves_name() {
    // The receiver has no key of this sender: so says the leaf.
    let stored = Stored::with(&[Signer::new("k2").cef(1)]);
    let bundle = stored.prove("bundle", &["--id", "1"]);
    let key_set = stored.out.path().join("k2.json");
    fs::write(&key_set, jwks(&[&Signer::new("k2")])).unwrap();
    fs::copy(&key_set, bundle.join("jwks.json")).unwrap();
    let ran = stored.verify(&bundle, &[]).expect(1);
    let expected = "1  no_key     no_keys; in the log at 1, invalid at receipt; not witnessed; ERROR: the key k2";
    assert!(ran.stdout.contains(expected), "{ran}");
    // A damaged key set was tampered with, and is not needed by who has keys from elsewhere.
    fs::write(bundle.join("jwks.json"), "x").unwrap();
    let ran = stored.verify(&bundle, &[]).expect(1);
    assert!(ran.stderr.contains("error: jwks.json"), "{ran}");
    // Who has the key from elsewhere needs nobody to vouch for it.
    let ran = stored.verify(&bundle, &["--jwks", key_set.to_str().unwrap()]).expect(0);
    let expected = "1  valid      signed by Konnect's key k2; in the log at 1, invalid at receipt";
    assert!(ran.stdout.contains(expected), "{ran}");
}

#[test]
fn wrong_usage_and_unreadable_bundles_have_their_exit_codes() {
    let stored = Stored::with(&one_of_each());
    let bundle = stored.prove("bundle.zip", &["--id", "1"]);
    verify(&bundle, &[]).expect(2);
    verify(&bundle, &["--log-key", "nothing"]).expect(2);
    stored.verify(&bundle, &["--policy", "none.txt"]).expect(2);
    stored.verify(&stored.out.path().join("none"), &[]).expect(3);
    stored.verify(&stored.serve.home().join("jwks.json"), &[]).expect(3);
    stored.verify(&bundle, &["--jwks", "none.json"]).expect(3);
    let folder = tempfile::tempdir().unwrap();
    let ran = stored.verify(folder.path(), &[]).expect(3);
    assert!(ran.stderr.contains("it has no file of a bundle"), "{ran}");
    // A zip that was tampered with is one, as a folder is.
    let whole = fs::read(&bundle).unwrap();
    let line = whole.windows(14).position(|bytes| bytes == b"entries/1/line").unwrap();
    for change in [
        &(|zip: &mut Vec<u8>| zip.truncate(zip.len() - 1)) as &dyn Fn(&mut Vec<u8>),
        &|zip: &mut Vec<u8>| zip.push(b'x'),
        &|zip: &mut Vec<u8>| zip[line + 30] ^= 1,
        &|zip: &mut Vec<u8>| zip[line] ^= 1,
    ] {
        fs::write(&bundle, &whole).unwrap();
        self::change(&bundle, change);
        stored.verify(&bundle, &[]).expect(1);
    }
}

/// The key with this name, its id, and its verifier key. `kind` is what it signs (C2SP signed-note).
fn key(name: &str, kind: u8) -> (Ed25519KeyPair, Vec<u8>, String) {
    let seed = digest(&SHA256, name.as_bytes());
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).unwrap();
    let (id, vkey) = vkey(name, kind, pair.public_key().as_ref());
    (pair, id, vkey)
}

/// The id and the verifier key of a public key.
fn vkey(name: &str, kind: u8, public: &[u8]) -> (Vec<u8>, String) {
    let public = [&[kind], public].concat();
    let id = digest(&SHA256, &[name.as_bytes(), b"\n", &public].concat()).as_ref()[..4].to_vec();
    let vkey = format!("{name}+{}+{}", HEXLOWER.encode(&id), STANDARD.encode(public));
    (id, vkey)
}

/// The cosignature of a witness, as a line of a checkpoint, and its verifier key (C2SP
/// tlog-cosignature).
fn cosign(name: &str, checkpoint: &str) -> (String, String) {
    let (pair, id, vkey) = key(name, 4);
    let time = 1_764_000_000_u64;
    let text = checkpoint.split_once("\n\n").unwrap().0;
    let signature = pair.sign(format!("cosignature/v1\ntime {time}\n{text}\n").as_bytes());
    let signed = [&id, &time.to_be_bytes()[..], signature.as_ref()].concat();
    (format!("— {name} {}\n", STANDARD.encode(signed)), vkey)
}

#[test]
fn a_policy_says_which_witnesses_are_needed() {
    let stored = Stored::with(&one_of_each());
    let path = stored.serve.data().join("log/checkpoint");
    let checkpoint = fs::read_to_string(&path).unwrap();
    let (w1, w1_key) = cosign("w1.example", &checkpoint);
    let (_, w2_key) = cosign("w2.example", &checkpoint);
    fs::write(&path, format!("{checkpoint}{w1}")).unwrap();
    let bundle = stored.prove("bundle.zip", &["--id", "1"]);
    let ran = stored.verify(&bundle, &[]).expect(0);
    assert!(ran.stdout.contains("not witnessed"), "{ran}");
    assert!(ran.stderr.contains("1 other signature that was not checked"), "{ran}");
    let (_, _, stranger) = key("other.example", 1);
    verify(&bundle, &["--log-key", &stranger]).expect(1);
    let policy = |lines: &str| {
        let path = stored.out.path().join("policy.txt");
        let text = format!("witness w1 {w1_key}\nwitness w2 {w2_key}\n{lines}\n");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let any = policy("group g any w1 w2\nquorum g");
    let ran = stored.verify(&bundle, &["--policy", &any, "-o", "jsonl"]).expect(0);
    let w1 = serde_json::json!([{"name": "w1.example", "at": "2025-11-24T16:00:00.000Z"}]);
    assert_eq!(ran.records()[0]["witnesses"], w1, "{ran}");
    let ran = stored.verify(&bundle, &["--policy", &any]).expect(0);
    let expected = "; witnessed by w1.example at 2025-11-24T16:00:00.000Z";
    assert!(ran.stdout.trim_end().ends_with(expected), "{ran}");
    // What is not in the log was not witnessed.
    let tampered = stored.prove("tampered", &["--id", "1,2"]);
    change(&tampered.join("entries/2/line"), |line| line.push(b' '));
    let ran = stored.verify(&tampered, &["--policy", &any]).expect(1);
    assert_eq!(ran.stdout.matches("; witnessed by").count(), 1, "{ran}");
    assert!(ran.stdout.contains("NOT in the log; not witnessed; ERROR"), "{ran}");
    let ran = stored.verify(&bundle, &["--policy", &policy("group g all w1 w2\nquorum g")]);
    let ran = ran.expect(1);
    assert!(ran.stdout.contains("in the log") && ran.stdout.contains("not witnessed"), "{ran}");
    assert!(ran.stderr.contains("0 proved, 1 not"), "{ran}");
    // A policy that lists logs must list this one.
    let listed = policy(&format!("log {}\nquorum w1", stored.vkey));
    stored.verify(&bundle, &["--policy", &listed]).expect(0);
    let another = format!("log {}\nquorum w1", key("other.example", 1).2);
    stored.verify(&bundle, &["--policy", &policy(&another)]).expect(2);
    // The log is no witness of its own.
    let public = STANDARD.decode(stored.vkey.splitn(3, '+').last().unwrap()).unwrap();
    let own = vkey("w3.example", 4, &public[1..]).1;
    let own = policy(&format!("witness w3 {own}\nquorum w3"));
    let ran = stored.verify(&bundle, &["--policy", &own]).expect(2);
    assert!(ran.stderr.contains("the witness w3.example has the key of the log"), "{ran}");
    // The key of a witness is not the key of a log.
    verify(&bundle, &["--log-key", &w1_key]).expect(2);
}

/// The blocks of commands in the README of a bundle.
fn commands(bundle: &Path) -> Vec<String> {
    let readme = fs::read_to_string(bundle.join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1);
    blocks.map(|block| block.split_once("```").unwrap().0.to_owned()).collect()
}

/// Runs commands in a bundle, as they are in its README.
fn run_in(shell: &str, stored: &Stored, bundle: &Path, commands: &[String]) -> Run {
    let mut shell = Command::new(shell);
    shell.args(["-c", &commands.concat()]).current_dir(bundle).env("VKEY", &stored.vkey);
    shell.env("TMPDIR", stored.out.path());
    Run::of(&mut shell)
}

/// What the commands for openssl say.
const SAID: [&str; 5] = [
    "Signature Verified Successfully",
    "The checkpoint is of this log",
    "The leaf is of this entry",
    "The leaf is in the log",
    "Konnect signed the entry with the key",
];

#[test]
fn the_commands_for_openssl_in_the_readme_check_an_entry() {
    let Some(_) = tool("openssl") else { return };
    let stored = Stored::with(&[one_of_each(), one_of_each()].concat());
    let said = |bundle: &Path| {
        let ran = run_in("sh", &stored, bundle, &commands(bundle)[..5]);
        SAID.map(|text| ran.stdout.contains(text))
    };
    for id in ["1", "2", "3"] {
        let bundle = stored.prove(id, &["--id", id]);
        assert_eq!(said(&bundle), [true; 5], "{id}");
        // The commands write nothing into the bundle.
        stored.verify(&bundle, &[]).expect(0);
    }
    let bundle = stored.out.path().join("1");
    let entry = bundle.join("entries/1");
    let tampered = |path: &Path, how: &dyn Fn(&mut Vec<u8>)| {
        let before = fs::read(path).unwrap();
        change(path, how);
        let said = said(&bundle);
        fs::write(path, before).unwrap();
        said
    };
    let byte = |path: &Path, at: usize| tampered(path, &|bytes| bytes[at] ^= 1);
    assert_eq!(byte(&entry.join("line"), 60), [true, true, false, true, false]);
    let add_line_end = |line: &mut Vec<u8>| line.insert(60, b'\n');
    assert_eq!(tampered(&entry.join("line"), &add_line_end), [true, true, false, true, false]);
    assert_eq!(byte(&entry.join("salt"), 0), [true, true, false, true, true]);
    assert_eq!(byte(&entry.join("leaf"), 2), [true, true, true, false, true]);
    // The kind, and the id.
    assert_eq!(byte(&entry.join("leaf"), 1), [true, true, true, false, true]);
    let kind = |leaf: &mut Vec<u8>| leaf[1] = 4;
    assert_eq!(tampered(&entry.join("leaf"), &kind), [true, true, false, false, true]);
    assert_eq!(byte(&entry.join("leaf"), 17), [true, true, false, false, true]);
    let checkpoint = bundle.join("checkpoint");
    let root = "example.com/log\n4\n".len();
    assert_eq!(byte(&checkpoint, root), [false, true, true, false, true]);
    assert_eq!(byte(&checkpoint, 0), [false, false, true, true, true]);
    // An index that has the same way to the root, outside of the tree.
    let index = |proof: &mut Vec<u8>| {
        *proof = String::from_utf8_lossy(proof).replacen("index 1\n", "index 9\n", 1).into();
    };
    let proof = entry.join("proof.tlog-proof");
    assert_eq!(tampered(&proof, &index), [true, true, true, false, true]);
}

/// A file of a bundle, and how something is put into it.
type Place = (&'static str, fn(&str, &str) -> String);

#[test]
fn nothing_in_a_bundle_is_run_as_a_command() {
    let Some(_) = tool("openssl") else { return };
    let stored = Stored::with(&one_of_each());
    let good = stored.prove("good", &["--id", "1"]);
    let trap = stored.out.path().join("trap");
    let trap = trap.to_str().unwrap();
    for shell in ["dash", "bash"] {
        let Some(_) = tool(shell) else { continue };
        for evil in [
            format!("$(touch {trap})"),
            format!("a[$(touch {trap})]"),
            format!("`touch {trap}`"),
            format!("1; touch {trap}"),
            format!("1\nindex a[$(touch {trap})]"),
            "08".to_owned(),
            "99999999999999999999".to_owned(),
            "-1".to_owned(),
            String::new(),
        ] {
            // It stands wherever the commands read something, in one place at a time.
            let places: [Place; 7] = [
                ("entries/1/proof.tlog-proof", |text, evil| {
                    text.replacen("index 1\n", &format!("index {evil}\n"), 1)
                }),
                ("entries/1/proof.tlog-proof", |text, evil| {
                    let at = text.find("index 1\n").unwrap() + "index 1\n".len();
                    format!("{}{evil}\n{}", &text[..at], &text[at..])
                }),
                ("checkpoint", |text, evil| text.replacen("\n4\n", &format!("\n{evil}\n"), 1)),
                ("checkpoint", |text, evil| format!("{evil}\n{text}")),
                ("checkpoint", |text, evil| format!("{text}— example.com/log {evil}\n")),
                ("entries/1/line", |_, evil| format!("{evil} sig={}", "A".repeat(86))),
                ("jwks.json", |text, evil| {
                    text.replacen("\"x\": \"", &format!("\"x\": \"{evil}"), 1)
                }),
            ];
            for (at, (name, place)) in places.into_iter().enumerate() {
                let bundle = stored.out.path().join("evil");
                copy(&good, &bundle);
                let text = fs::read_to_string(bundle.join(name)).unwrap();
                fs::write(bundle.join(name), place(&text, &evil)).unwrap();
                let ran = run_in(shell, &stored, &bundle, &commands(&good)[..5]);
                assert!(!Path::new(trap).exists(), "{shell}, {evil} in {name}: {ran}");
                // What stands in the place of a number or a hash is not taken for one.
                let is_in_log = ran.stdout.contains("The leaf is in the log");
                assert!(at > 2 || !is_in_log, "{shell}, {evil} in {name}: {ran}");
                fs::remove_dir_all(&bundle).unwrap();
            }
        }
    }
}

#[test]
fn programs_of_others_check_an_entry() {
    let Some(mut go) = optional_tool("go") else { return };
    let stored = Stored::with(&one_of_each());
    let bundle = stored.prove("bundle", &["--id", "2"]);
    let commands = commands(&bundle);
    assert_eq!(commands.len(), 7);
    // Without a network, Go cannot fetch what it has not fetched before.
    let spicy = commands[5].split(' ').find_map(|word| word.strip_prefix("filippo.io/")).unwrap();
    let (code, _, stderr) = output_of(
        go.args(["install", &format!("filippo.io/{spicy}")]).env("GOBIN", stored.out.path()),
    );
    if code != Some(0) && std::env::var_os("VIDIMUS_TESTS_STRICT").is_none() {
        eprintln!("SKIPPED: {spicy} cannot be built: {stderr}");
        return;
    }
    let run =
        |of: usize| run_in("sh", &stored, &bundle, &[commands[0].clone(), commands[of].clone()]);
    let (spicy, sumdb) = (run(5).expect(0), run(6).expect(0));
    assert!(spicy.stderr.contains("verified"), "{spicy}");
    assert!(sumdb.stdout.contains("The leaf is in the log, say note and tlog"), "{sumdb}");
    change(&bundle.join("entries/2/leaf"), |leaf| leaf[2] ^= 1);
    for program in [run(5), run(6)] {
        assert_ne!(program.code, Some(0), "{program}");
    }
}

#[test]
fn ten_thousand_entries_are_proved_and_verified() {
    const COUNT: usize = 10_000;
    let signer = Signer::new("k1");
    let mut stored = Stored::running("1h");
    for lines in (0..COUNT).collect::<Vec<_>>().chunks(2500) {
        let lines: Vec<_> = lines.iter().map(|n| signer.sign(&cef(*n))).collect();
        assert_eq!(stored.serve.deliver(lines.join("\n"))["stored"], 2500);
    }
    stored.stop();
    for name in ["bundle", "bundle.zip"] {
        let bundle = stored.prove(name, &[]);
        let ran = stored.verify(&bundle, &["--jwks", &stored.jwks()]).expect(0);
        assert!(ran.stderr.contains("10000 entries"), "{}", ran.stderr);
        assert_eq!(ran.stdout.lines().count(), COUNT);
    }
    // Go's packages say the same of all of them.
    let Some(programs) = go::build("tlog-go", &[]) else { return };
    let program = programs.join("tlog-go");
    let bundle = stored.out.path().join("bundle");
    let check = || output_of(Command::new(&program).arg(&stored.vkey).arg(&bundle));
    let (code, stdout, stderr) = check();
    assert_eq!((code, stdout.as_str()), (Some(0), "10001 leaves, 10000 proved\n"), "{stderr}");
    change(&bundle.join("entries/9999/leaf"), |leaf| leaf[2] ^= 1);
    let (code, _, stderr) = check();
    assert!(code == Some(1) && stderr.contains("entries/9999"), "{stderr}");
}

#[test]
fn the_console_gives_the_same_bundles() {
    let mut stored = Stored::running("100ms");
    stored.serve.deliver(one_of_each().join("\n"));
    console::wait_for(&stored.serve, "/entries/1/evidence.zip");
    let page = console::get(&stored.serve, "/entries/1").text();
    assert!(page.contains("href=\"/entries/1/evidence.zip\""), "{page}");
    let list = console::get(&stored.serve, "/?q=format:json").text();
    assert!(list.contains("href=\"/api/v1/evidence?q=format%3Ajson\""), "{list}");
    let download = |target: &str| {
        let answer = console::get(&stored.serve, target);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let name = answer.header("content-disposition").unwrap();
        assert!(name.ends_with("evidence.zip\""), "{name}");
        if target.starts_with("/api") {
            console::conforms("get", target, &answer);
        }
        let path = stored.out.path().join("download.zip");
        fs::write(&path, console::export::whole(&answer).unwrap()).unwrap();
        path
    };
    let refused = |target: &str, status: u16| {
        let answer = console::get(&stored.serve, target);
        assert_eq!(answer.status, status, "{}", answer.text());
        console::conforms("get", target, &answer);
        answer.json()["detail"].as_str().unwrap().to_owned()
    };
    let vkey = stored.vidimus(&["log", "key"]).expect(0).stdout;
    for (target, count) in [
        ("/entries/1/evidence.zip", 1),
        ("/api/v1/entries/2/evidence", 1),
        ("/api/v1/evidence", 3),
        ("/api/v1/evidence?q=format:cps&since=2025-01-01", 1),
    ] {
        let bundle = download(target);
        let ran = verify(&bundle, &["--log-key", &vkey, "--jwks", &stored.jwks()]).expect(0);
        assert_eq!(ran.stdout.lines().count(), count, "{target}: {ran}");
    }
    refused("/api/v1/entries/99/evidence", 404);
    refused("/api/v1/entries/x/evidence", 404);
    assert_eq!(refused("/api/v1/evidence?q=name:nobody", 404), "no entry matches");
    refused("/api/v1/evidence?q=status:abc", 400);
    let bundled = fs::read_to_string(stored.serve.data().join("log/bundled")).unwrap();
    assert_eq!(bundled, "4\n");
    // More than are searched at once.
    stored.serve.deliver(lines(0..2100));
    super::wait_for_size(&stored.serve, 2104);
    let bundle = download("/api/v1/evidence");
    let ran = verify(&bundle, &["--log-key", &vkey]).expect(1);
    assert_eq!(ran.stdout.matches("in the log at").count(), 2103, "{}", ran.stderr);
    assert!(ran.stderr.contains("3 proved"), "{}", ran.stderr);
    stored.serve.deliver("x".repeat(2 << 20));
    wait_until("the long line is covered", || {
        let answer = console::get(&stored.serve, "/api/v1/entries/2104/evidence");
        answer.text().contains("too long")
    });
    let said = refused("/api/v1/entries/2104/evidence", 409);
    assert!(said.contains("vidimus prove"), "{said}");
    // The command writes it.
    stored.stop();
    let bundle = stored.prove("long", &["--id", "2104"]);
    let ran = stored.verify(&bundle, &[]).expect(1);
    assert!(ran.stdout.contains("2104  malformed  line_too_long; in the log at"), "{ran}");
    assert_eq!(fs::metadata(bundle.join("entries/2104/line")).unwrap().len(), 2 << 20);
}
