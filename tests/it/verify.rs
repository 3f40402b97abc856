//! `vidimus verify` on the signed vectors.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::program::{Run, run};
use crate::vectors::{Vector, fixture, vectors};

const KEYS: [&str; 2] = ["--jwks", "fixtures/vectors/jwks.json"];

/// Verifies `stdin` with the key set of the vectors.
fn verify(arguments: &[&str], stdin: &[u8]) -> Run {
    run(&[["verify"].as_slice(), &KEYS, arguments].concat(), stdin)
}

/// The lines of the vectors, each with a line end.
fn file<'a>(vectors: impl IntoIterator<Item = &'a Vector>) -> Vec<u8> {
    let line = |vector: &Vector| [vector.line.as_slice(), b"\n"].concat();
    vectors.into_iter().flat_map(line).collect()
}

fn valid() -> Vec<Vector> {
    vectors().into_iter().filter(|vector| vector.header["verdict"] == "valid").collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn valid_entries_exit_with_0_and_others_with_1() {
    let ran = verify(&[], &file(&valid())).expect(0);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains(&format!("valid      {:11}", valid().len())), "{ran}");
    let all = vectors();
    let ran = verify(&[], &file(&all)).expect(1);
    let printed: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(printed.len(), all.len() - valid().len(), "{ran}");
    for (number, vector) in all.iter().enumerate() {
        let source = format!("-:{} ", number + 1);
        let line = printed.iter().find(|line| line.starts_with(&source));
        match vector.header["verdict"].as_str() {
            "valid" => assert_eq!(line, None, "{}\n{ran}", vector.name),
            verdict => assert!(
                line.is_some_and(|line| line[source.len()..].starts_with(verdict)),
                "{}\n{ran}",
                vector.name
            ),
        }
    }
}

#[test]
fn jsonl_has_the_record_of_each_vector() {
    let all = vectors();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("entries");
    fs::write(&path, file(&all)).unwrap();
    let ran = verify(&["-o", "jsonl", text(&path)], b"").expect(1);
    let records = ran.records();
    assert_eq!(records.len(), all.len(), "{ran}");
    for (number, (record, vector)) in records.iter().zip(&all).enumerate() {
        let name = &vector.name;
        assert_eq!(record["source"], format!("{}:{}", text(&path), number + 1), "{name}");
        assert_eq!(record["verdict"], vector.header["verdict"], "{name}");
        assert_eq!(record["format"], vector.header["format"], "{name}");
        let kid = vector.header.get("kid").map_or(Value::Null, |kid| kid.clone().into());
        assert_eq!(record["kid"], kid, "{name}");
        let line = vector.line.strip_suffix(b"\r").unwrap_or(&vector.line);
        match std::str::from_utf8(line) {
            Ok(line) => assert_eq!(record["raw"], line, "{name}"),
            Err(_) => assert!(record["raw_base64"].is_string(), "{name}"),
        }
        let fields = vector.header.get("fields").map_or("{}", String::as_str);
        let fields: serde_json::Map<String, Value> = serde_json::from_str(fields).unwrap();
        for (field, expected) in fields {
            let found = if field == "kind" { &record["kind"] } else { &record["fields"][&field] };
            assert_eq!(*found, expected, "{name}: {field}");
        }
    }
}

#[test]
fn verifying_needs_a_key() {
    let entries = file(&valid());
    let ran = run(&["verify"], &entries).expect(3);
    assert!(ran.stderr.contains("--jwks"), "{ran}");
    let empty = ["verify", "--jwks", "fixtures/vectors/jwks-empty.json", "-o", "jsonl"];
    let ran = run(&empty, &entries).expect(3);
    let records = ran.records();
    assert_eq!(records.len(), valid().len(), "{ran}");
    assert!(records.iter().all(|record| record["verdict"] == "no_key"), "{ran}");
    run(&["verify", "--jwks", "fixtures/vectors/none.json"], &entries).expect(3);
    run(&["verify", "--jwks", "fixtures/vectors/README.md"], &entries).expect(3);
}

#[test]
fn a_bad_key_is_named_and_the_others_are_used() {
    let bad = ["verify", "--jwks", "fixtures/vectors/jwks-with-bad-key.json"];
    let ran = run(&bad, &file(&valid())).expect(0);
    let kid = "\"1d4608c22e448672d5386b4071b70442as45c58265\"";
    let warned = ran.stderr.lines().any(|line| line.contains(kid) && line.contains("33 bytes"));
    assert!(warned, "{ran}");
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        ["verify", "--region", "EU"],
        ["verify", "--output", "csv"],
        ["verify", "--threads", "0"],
        ["verify", "--jwks", "http://keys.example/"],
    ] {
        run(&arguments, b"").expect(2);
    }
}

#[test]
fn an_unreadable_file_exits_with_3_and_the_others_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    fs::write(&good, file(&valid())).unwrap();
    let none = folder.path().join("none");
    let ran = verify(&[text(&none), text(&good), text(folder.path())], b"").expect(3);
    assert_eq!(ran.stderr.matches("error: cannot read").count(), 2, "{ran}");
    assert!(ran.stderr.contains(&format!("valid      {:11}", valid().len())), "{ran}");
}

#[test]
fn empty_input_exits_with_0() {
    for nothing in ["", "\n\r\n\n"] {
        let ran = verify(&["-"], nothing.as_bytes()).expect(0);
        assert!(ran.stderr.contains("no entries"), "{ran}");
    }
}

#[test]
fn unsigned_entries_can_be_allowed() {
    let all = vectors();
    let fine = |vector: &&Vector| ["valid", "unsigned"].contains(&&*vector.header["verdict"]);
    let entries = file(all.iter().filter(fine));
    verify(&[], &entries).expect(1);
    let ran = verify(&["--allow-unsigned"], &entries).expect(0);
    assert_eq!(ran.stdout, "");
}

#[test]
fn entries_of_other_organizations_are_marked() {
    let valid = valid();
    let entries =
        file(valid.iter().filter(|vector| vector.name == "cef-authentication-dev-portal"));
    let ours = "b065b594-6afc-4658-9101-5d9cf3f36b7b";
    let portal = "3e551b39-227d-4297-b911-e68fd5d77c17";
    let ran = verify(&["--org-id", "x", "--org-id", ours, "--portal-id", portal], &entries);
    assert_eq!(ran.expect(0).stdout, "");
    let ran = verify(&["--org-id", "x", "--portal-id", "y"], &entries).expect(0);
    assert_eq!(ran.stdout, "-:1 valid foreign_org foreign_portal\n");
    let ran = verify(&["--org-id", "x", "-o", "jsonl"], &entries).expect(0);
    assert_eq!(ran.records()[0]["warnings"], json!(["foreign_org"]));
}

#[test]
fn compressed_files_are_read_whatever_their_name() {
    let entries = file(&valid());
    let folder = tempfile::tempdir().unwrap();
    let gz = folder.path().join("entries.gz");
    let mut encoder =
        flate2::write::GzEncoder::new(File::create(&gz).unwrap(), flate2::Compression::fast());
    encoder.write_all(&entries).unwrap();
    encoder.finish().unwrap();
    let zst = folder.path().join("entries");
    fs::write(&zst, zstd::encode_all(entries.as_slice(), 3).unwrap()).unwrap();
    let count = |factor: usize| format!("valid      {:11}", factor * valid().len());
    let ran = verify(&[text(&gz), text(&zst)], b"").expect(0);
    assert!(ran.stderr.contains(&count(2)), "{ran}");
    verify(&["--threads", "1", "-"], &fs::read(&gz).unwrap()).expect(0);

    let half = fs::read(&gz).unwrap();
    let ran = verify(&[], &half[..half.len() / 2]).expect(3);
    assert!(ran.stderr.contains("error: cannot read -"), "{ran}");
}

#[test]
fn lines_are_extracted_from_the_exports_of_other_tools() {
    let valid = valid();
    let utf8 = |vector: &Vector| String::from_utf8(vector.line.clone()).unwrap();
    let objects = |wrap: fn(String) -> Value| -> Vec<u8> {
        let wrapped = valid.iter().map(|vector| format!("{}\n", wrap(utf8(vector))));
        wrapped.collect::<String>().into_bytes()
    };
    let splunk = objects(|raw| json!({"preview": false, "result": {"_raw": raw, "host": "x"}}));
    verify(&["--field", "result._raw"], &splunk).expect(0);
    let elastic = objects(|raw| json!({"event": {"original": raw}, "@timestamp": 1}));
    verify(&["--field", "event.original"], &elastic).expect(0);

    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["_time", "_raw"]).unwrap();
    valid.iter().for_each(|vector| csv.write_record(["1", &utf8(vector)]).unwrap());
    let csv = csv.into_inner().unwrap();
    let ran = verify(&["--field", "_raw"], &csv).expect(0);
    assert!(ran.stderr.contains(&format!("valid      {:11}", valid.len())), "{ran}");
    let ran = verify(&["--field", "raw"], &csv).expect(3);
    assert!(
        ran.stderr.contains("a column \"raw\": its first line begins with \"_time,_raw\""),
        "{ran}"
    );
    // Without the flag, the message names the field.
    for (export, field) in [(&csv, "_raw"), (&splunk, "result._raw"), (&elastic, "event.original")]
    {
        let ran = verify(&[], export).expect(1);
        let hint =
            format!("note: - seems to have its lines in {field}: if so, use --field {field}");
        assert!(ran.stderr.contains(&hint), "{ran}");
    }
    let ran = verify(&["--field", "other"], &elastic).expect(1);
    assert!(ran.stdout.starts_with("-:1 malformed field_not_found\n"), "{ran}");
}

#[test]
fn records_of_verify_can_be_verified_again() {
    let all = vectors();
    let records = verify(&["-o", "jsonl"], &file(&all)).expect(1).stdout;
    // The records are recognised, with and without the flag.
    let again = verify(&["-o", "jsonl"], records.as_bytes()).expect(1);
    assert!(again.stderr.contains("has vidimus records"), "{again}");
    let named = verify(&["-o", "jsonl", "--field", "raw"], records.as_bytes()).expect(1);
    assert_eq!(again.stdout, named.stdout);
    let verdicts = |ran: &str| {
        ran.lines()
            .map(|line| {
                let record: Value = serde_json::from_str(line).unwrap();
                [record["verdict"].clone(), record["fields"].clone(), record["raw"].clone()]
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&again.stdout), verdicts(&records));
}

#[test]
fn a_long_line_is_malformed_and_the_next_line_is_read() {
    let mut entries = vec![b'x'; 21 << 20];
    entries.push(b'\n');
    entries.extend(file(&valid()));
    let ran = verify(&[], &entries).expect(1);
    assert_eq!(ran.stdout, "-:1 malformed line_too_long\n");
    assert!(ran.stderr.contains(&format!("valid      {:11}", valid().len())), "{ran}");
}

#[test]
fn many_blocks_are_reported_in_order() {
    let entries = file(&valid());
    let times = (5 << 20) / entries.len();
    let mut large = entries.repeat(times);
    large.extend_from_slice(b"hello\n");
    let ran = verify(&["-o", "jsonl", "--jwks", "fixtures/vectors/jwks-empty.json"], &large);
    let ran = ran.expect(1);
    let lines = times * valid().len() + 1;
    for (number, line) in ran.stdout.lines().enumerate() {
        let source = format!("{{\"source\":\"-:{}\",", number + 1);
        assert!(line.starts_with(&source), "line {number}: {line}");
    }
    assert_eq!(ran.stdout.lines().count(), lines);
}

/// Runs `verify` on a file and closes its standard output after `bytes` bytes.
fn verify_with_closed_output(
    bytes: usize,
    arguments: &[&str],
    entries: &[u8],
) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("entries");
    fs::write(&path, entries).unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_vidimus"))
        .arg("verify")
        .args(arguments)
        .args(["--jwks", text(&fixture("jwks.json")), text(&path)])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut vec![0; bytes]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_bad_entry_exits_with_1_although_the_output_is_closed() {
    let valid = file(&valid());
    let bad = b"hello\n".repeat(1 << 20);
    for (bytes, entries) in [(0, bad.clone()), (100, bad), (10, [b"hello\n", &*valid].concat())] {
        let (code, stderr) = verify_with_closed_output(bytes, &[], &entries);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("malformed") && !stderr.contains("error"), "{stderr}");
    }
}

#[test]
fn unchecked_entries_are_not_called_valid() {
    let valid = valid();
    let one = file(&valid[..1]);
    // More than the pipe and the queues between the threads hold.
    let (code, stderr) =
        verify_with_closed_output(100, &["-o", "jsonl"], &one.repeat((48 << 20) / one.len()));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("the rest was not checked"), "{stderr}");
    // All entries were checked, whether the output was read or not.
    let (code, stderr) = verify_with_closed_output(0, &["-o", "jsonl"], &one);
    assert_eq!(code, Some(0), "{stderr}");
}
