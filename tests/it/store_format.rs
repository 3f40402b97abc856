//! A packed segment can be read as docs/store.md says, without Vidimus.

use std::fs;
use std::process::{Command, Output};

use vidimus::signature::KeySet;
use vidimus::store::Options;

use crate::harness::home::{Home, append};
use crate::harness::tool;

const PAGE: &str = include_str!("../../docs/store.md");

/// A line with every byte but a line feed, and the others short.
fn line(id: usize) -> Vec<u8> {
    match id {
        130 => (0..=255).filter(|byte| *byte != b'\n').collect(),
        _ => format!(
            "{{\"name\":\"Ingress\",\"rt\":{},\"x\":\"{id}\"}}",
            1_760_000_000_000 + id as u64
        )
        .into_bytes(),
    }
}

/// A store with one sealed segment of 300 entries.
fn sealed() -> (Home, String) {
    let home = Home::new();
    let store = home.open(Options::default());
    for id in 1..=300 {
        append(&store, &String::from_utf8_lossy(&line(id)), &KeySet::default());
    }
    store.seal().unwrap();
    let file = home.path.join("segments/0000000000000001.db");
    (home, file.to_str().unwrap().to_owned())
}

/// A Python that has a module for Zstandard.
fn python() -> Option<Command> {
    let strict = std::env::var_os("VIDIMUS_TESTS_STRICT").is_some();
    let imports = "try:\n from compression import zstd\nexcept ImportError:\n import zstandard";
    let found = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        Command::new(python).args(["-c", imports]).output().is_ok_and(|ran| ran.status.success())
    });
    assert!(found.is_some() || !strict, "no Python has the module zstandard");
    found.map(Command::new)
}

fn stdout(ran: &Output) -> &[u8] {
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    &ran.stdout
}

#[test]
fn the_python_of_the_page_reads_a_line_from_its_block() {
    let (home, file) = sealed();
    let (_, program) = PAGE.split_once("```python\n").unwrap();
    let (program, _) = program.split_once("```").unwrap();
    assert!(program.lines().count() <= 10);
    let path = home.path.join("line.py");
    fs::write(&path, program).unwrap();
    for id in [1, 128, 129, 130, 256, 257, 300] {
        let Some(mut python) = python() else { return };
        let ran = python.arg(&path).args([&file, &id.to_string()]).output().unwrap();
        let expected = String::from_utf8_lossy(&line(id)).into_owned();
        assert_eq!(stdout(&ran), expected.as_bytes(), "{id}");
    }
}

#[test]
fn sqlite3_shows_the_entries_of_a_packed_segment() {
    let (_home, file) = sealed();
    let Some(mut sqlite3) = tool("sqlite3") else { return };
    let sql = "SELECT id, name, verdict, rt, event_time, delivery_count FROM entries WHERE id = 17";
    let ran = sqlite3.args(["-readonly", &file, sql]).output().unwrap();
    let expected = b"17|Ingress|unsigned|1760000000017|1760000000017|1\n";
    assert_eq!(stdout(&ran), expected);
}
