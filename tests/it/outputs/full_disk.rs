//! A full disk under one output. The test simulates it with a limit on the size of files. The file
//! of the output is just below the limit from the start, and the store stays far below it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use serde_json::Value;

use super::command::run;
use super::*;
use crate::full_disk::limit;
use crate::harness::Setup;

/// The limit on the size of files, in bytes.
const LIMIT: u64 = 32 << 20;

/// The initial size of the file, a hole with a line end. The rest has room for some lines and a
/// part of one.
const BEFORE: u64 = LIMIT - 2503;

/// The text after the initial size.
fn written(path: &Path) -> String {
    let (mut text, mut file) = (String::new(), File::open(path).unwrap());
    file.seek(SeekFrom::Start(BEFORE)).unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_full_disk_blocks_only_its_output() {
    let config = file_output("siem.log", "format = 'raw'")
        + &file_output("small.log", "format = 'raw'").replace("siem", "small");
    let setup = Setup::new().config(&config);
    let path = setup.home().join("siem.log");
    File::create_new(&path).unwrap().write_all_at(b"\n", BEFORE - 1).unwrap();
    let serve = setup.start();
    limit(&serve, Some(LIMIT));

    // The receiver and the other output still work.
    serve.deliver(lines(0..3).join("\n"));
    serve.deliver(lines(3..100).join("\n"));
    serve.wait_for_log("the output waits");
    for n in 100..110 {
        assert_eq!(serve.deliver(cef(n))["stored"], 1, "{n}");
    }
    wait_for_lines(&serve, "small.log", &lines(0..110));
    assert_eq!(serve.lines().len(), 110);
    wait_until("the error in the status", || run(&serve, "status").0 == Some(1));
    let (_, text, _) = run(&serve, "status");
    let line = text.lines().find(|line| line.contains("cannot write")).unwrap_or_default();
    assert!(line.contains("siem.log") && line.contains("File too large"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("small   ok ")), "{text}");

    // The disk has room again.
    limit(&serve, None);
    wait_until("all lines", || written(&path).lines().count() >= 110);
    serve.deliver(cef(110));
    wait_until("the next line", || written(&path).ends_with(&format!("{}\n", cef(110))));
    assert_eq!(written(&path).lines().collect::<Vec<_>>(), lines(0..111));
    wait_until("both outputs to finish", || {
        let (code, text, _) = run(&serve, "status -o jsonl");
        let outputs = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let done = |output: &Value| output["behind"] == 0 && output["written"] == 111;
        code == Some(0) && outputs.filter(done).count() == 2
    });
}

#[test]
fn no_partial_line_remains_when_the_program_ends_on_a_full_disk() {
    let setup = Setup::new().config(&file_output("siem.log", "format = 'raw'"));
    let path = setup.home().join("siem.log");
    File::create_new(&path).unwrap().write_all_at(b"\n", BEFORE - 1).unwrap();
    let mut serve = setup.start();
    limit(&serve, Some(LIMIT));
    serve.deliver(lines(0..100).join("\n"));
    serve.wait_for_log("the output waits");
    serve.stop();
    let text = written(&path);
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    serve.restart();
    wait_until("all lines", || written(&path).lines().count() >= 100);
    assert_eq!(written(&path).lines().collect::<Vec<_>>(), lines(0..100));
}
