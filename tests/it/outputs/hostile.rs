//! Hostile entries: their values are part of the names of files, and programs follow their lines.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::harness::Setup;

const HOSTILE: [&str; 24] = [
    "",
    ".",
    "..",
    "../..",
    "../../../tmp/x",
    "..\\..\\x",
    "%2e%2e%2fx",
    "/etc/passwd",
    "//x",
    "a/b",
    "a/../../b",
    ".ssh",
    "~root",
    "-rf",
    "a\0b",
    "a\r\nb\n",
    "$(id)`id`;id|id",
    "{date}{org_id}",
    "*?[a]!",
    "\u{1b}]0;owned\u{7}\u{1b}[2J",
    "\u{202e}gol.\u{2066}x\u{2069}",
    "\u{2028}\u{feff}\u{fffd}\u{ff0e}\u{ff0e}\u{ff0f}",
    "siem-99991231T235959.999Z.log.gz",
    "CON",
];

/// An entry of each format with `value` in every field that a path can use.
fn entries(value: &str, n: usize) -> [String; 3] {
    let object =
        json!({"name": value, "event_product": value, "org_id": value, "rt": 1000 + n}).to_string();
    let text = value.replace('\\', "\\\\");
    let header = text.replace('|', "\\|").replace(['\r', '\n'], " ");
    let extension = text.replace('=', "\\=").replace('\r', "\\r").replace('\n', "\\n");
    let cef = format!("CEF:0|KongInc|{header}|1.0|x|{header}|1|org_id={extension} rt={}", 2000 + n);
    [format!("{{\"event\":{object}}}"), object, cef]
}

#[test]
fn hostile_values_stay_inside_their_folder() {
    let path = "out/{org_id}/{product}-{kind}-{verdict}.log";
    let config = file_output(path, "format = 'raw'\nrotate_size = '300B'");
    let serve = Setup::new().config(&config).start();
    let outside = |serve: &Serve| -> Vec<PathBuf> {
        let ours = [serve.data(), serve.home().join("out")];
        let files = files_below(serve.home()).into_iter();
        files.filter(|path| !ours.iter().any(|folder| path.starts_with(folder))).collect()
    };
    let before = outside(&serve);
    let long = ["y".repeat(3000), "\u{ff0e}/".repeat(3000), "a.".repeat(3000)];
    let values: Vec<_> = HOSTILE.into_iter().chain(long.iter().map(String::as_str)).collect();
    let mut sent: Vec<_> =
        (0..3).flat_map(|n| values.iter().flat_map(move |value| entries(value, n))).collect();
    for body in sent.chunks(50) {
        assert_eq!(serve.deliver(body.join("\n"))["stored"], body.len());
    }
    let out = serve.home().join("out");
    wait_until("all lines", || {
        let count = |path| fs::read_to_string(path).unwrap_or_default().lines().count();
        files_below(&out).into_iter().map(count).sum::<usize>() >= sent.len()
    });
    let mut serve = serve;
    serve.stop();
    let mut written = lines_below(&out);
    written.sort();
    sent.sort();
    assert!(written == sent, "the written lines differ from the sent lines: {written:#?}");
    assert_eq!(outside(&serve), before);
    for path in files_below(&out) {
        let inside = path.strip_prefix(&out).unwrap().to_str().unwrap();
        let parts: Vec<_> = inside.split('/').collect();
        assert_eq!(parts.len(), 2, "{inside}");
        for part in parts {
            let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
            assert!(part.bytes().all(plain) && part.len() < 128, "{inside}");
            assert!(!part.starts_with('.') && !part.contains(".."), "{inside}");
        }
    }
}

#[test]
fn a_value_cannot_imitate_a_rotated_file_of_another_path() {
    let keys = "format = 'raw'\nrotate_size = '1kB'\nkeep = 2\ncompress = 'gzip'";
    let mut serve = Setup::new().config(&file_output("out/{org_id}.log", keys)).start();
    let line = |org_id: &str, n: usize| {
        json!({"name": "Ingress", "org_id": org_id, "trace_id": n, "rt": n}).to_string()
    };
    // The names look like rotated files. Newer ones would push out real rotated files, and older
    // ones would be deleted themselves.
    let hostile: Vec<_> = (0..3)
        .flat_map(|n| {
            [
                format!("siem-99991231T23595{n}.999Z"),
                format!("siem-99991231T23595{n}.999Z.log.gz"),
                format!("siem-19700101T00000{n}.000Z"),
            ]
        })
        .collect();
    for org_id in &hostile {
        serve.deliver(line(org_id, 0));
    }
    serve.deliver((0..60).map(|n| line("siem", n)).collect::<Vec<_>>().join("\n"));
    for org_id in &hostile {
        serve.deliver(line(org_id, 1));
    }
    let out = serve.home().join("out");
    let names = || -> Vec<String> {
        let names = files_below(&out).into_iter();
        names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    // No hostile file counts as rotated. The other output path has two rotated files.
    let rotated = || names().into_iter().filter(|name| name.ends_with("Z.log.gz")).count();
    let hostile_lines = || -> usize {
        let files = files_below(&out).into_iter();
        let theirs = files.filter(|path| path.to_str().unwrap().contains("siem-_"));
        theirs.map(|path| fs::read_to_string(path).unwrap_or_default().lines().count()).sum()
    };
    wait_until("two rotated files and all hostile lines", || {
        rotated() == 2 && hostile_lines() == 2 * hostile.len() && names().len() == hostile.len() + 3
    });
    serve.stop();
    assert_eq!(names().len(), hostile.len() + 3, "{:#?}", names());
}

#[test]
fn a_value_cannot_imitate_a_compressed_file_of_another_path() {
    let keys = "format = 'raw'\nrotate_size = '300B'\nkeep = 2";
    let mut serve = Setup::new().config(&file_output("out/{org_id}", keys)).start();
    let line = |org_id: &str, n: usize| {
        json!({"name": "Ingress", "org_id": org_id, "trace_id": n, "rt": n}).to_string()
    };
    for org_id in ["victim", "victim.gz"] {
        serve.deliver((0..30).map(|n| line(org_id, n)).collect::<Vec<_>>().join("\n"));
    }
    let out = serve.home().join("out");
    let text = || -> String {
        files_below(&out).iter().filter_map(|path| fs::read_to_string(path).ok()).collect()
    };
    wait_until("two rotated files of each, and the last lines", || {
        let text = text();
        let is_there = ["victim", "victim.gz"].iter().all(|id| text.contains(&line(id, 29)));
        is_there && files_below(&out).len() == 6
    });
    serve.stop();
    let names = files_below(&out);
    // `victim-STAMP.gz` would look like a rotated file of `victim`.
    assert!(names.iter().all(|path| path.extension().is_none_or(|end| end != "gz")), "{names:?}");
}

#[test]
fn a_follower_sees_each_hostile_line_once_across_rotations() {
    let config = file_output("out/siem.log", "format = 'raw'\nrotate_size = '1kB'");
    let mut serve = Setup::new().config(&config).start();
    let mut sent: Vec<Vec<u8>> =
        HOSTILE.iter().flat_map(|value| entries(value, 0)).map(String::into_bytes).collect();
    // Bytes that are not text, and lines that are each larger than the rotation size.
    sent.push(b"\xff\xfe\x00 no entry \x85\x0b\x0c\r\xf0\x9f".to_vec());
    sent.push([&b"\r\r\r"[..], &[0; 1500]].concat());
    sent.extend((0..2).map(|n| cef(n).into_bytes().repeat(20)));
    serve.deliver(&sent[0]);
    let out = serve.home().join("out");
    wait_until("the file", || out.join("siem.log").exists());
    let follower = Follower::start(&serve, "out/siem.log");
    for (n, line) in sent.iter().enumerate() {
        if n > 0 {
            serve.deliver(line);
        }
        let seen = follower.next();
        assert!(seen == *line, "{}\n{}", seen.escape_ascii(), line.escape_ascii());
    }
    follower.stop();
    serve.stop();
    let files = files_below(&out);
    assert!(files.len() > 5, "{files:?}");
    let written: Vec<u8> = files.iter().flat_map(|path| fs::read(path).unwrap()).collect();
    assert!(written == [sent.join(&b'\n'), b"\n".to_vec()].concat(), "{}", written.escape_ascii());
}
