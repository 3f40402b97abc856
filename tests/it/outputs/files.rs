//! File outputs: contents, paths and restarts.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use super::*;
use crate::harness::{KeyReply, KeyServer, Setup, Signer, jwks};

#[test]
fn every_entry_is_written_once_and_in_order_across_a_restart() {
    let config = file_output("out/siem.log", "format = 'raw'\nmode = '0640'")
        + "[[output]]\nname = 'json'\ntype = 'stdout'\n";
    let mut serve = Setup::new().config(&config).start();
    serve.deliver(lines(0..700).join("\n"));
    serve.deliver(lines(700..1500).join("\n"));
    // Duplicates are not written again.
    serve.deliver(lines(100..200).join("\n"));
    wait_for_lines(&serve, "out/siem.log", &lines(0..1500));
    serve.stop();
    serve.restart();
    serve.deliver(lines(1500..1600).join("\n"));
    wait_for_lines(&serve, "out/siem.log", &lines(0..1600));
    serve.stop();
    assert_eq!(lines_of(&serve.home().join("out/siem.log")), lines(0..1600));
    let mode = fs::metadata(serve.home().join("out/siem.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    let printed = ["stdout-1", "stdout-2"].map(|name| lines_of(&serve.home().join(name))).concat();
    let ids = printed.iter().map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        entry["id"].as_u64().unwrap()
    });
    assert_eq!(ids.collect::<Vec<_>>(), (1..=1600).collect::<Vec<_>>());
}

#[test]
fn a_new_output_starts_where_configured() {
    let mut serve = Setup::new().start();
    serve.deliver(lines(0..10).join("\n"));
    serve.stop();
    let config = file_output("old.log", "format = 'raw'\nstart = 'oldest'")
        + &file_output("new.log", "format = 'raw'").replace("siem", "new");
    let mut serve = serve.with_config(&config);
    serve.deliver(lines(10..20).join("\n"));
    wait_for_lines(&serve, "old.log", &lines(0..20));
    wait_for_lines(&serve, "new.log", &lines(10..20));
    serve.stop();
}

#[test]
fn an_entry_that_matches_after_a_late_verdict_is_written() {
    let signer = Signer::new("k1");
    let source = KeyServer::start(KeyReply::Close);
    let keys = format!("[keys]\njwks = '{}'\nrefresh = '1s'\n", source.url());
    let config = keys
        + &file_output("valid.log", "format = 'raw'\nfilter = 'verdict:valid'")
        + &file_output("withheld.log", "format = 'raw'\nnot_valid = 'withhold'")
            .replace("siem", "withheld")
        + &file_output("all.log", "format = 'raw'").replace("siem", "all")
        + &file_output("marked.log", "format = 'raw'\nnot_valid = 'mark'")
            .replace("siem", "marked");
    let mut serve = Setup::new().config(&config).start();
    let signed: Vec<_> = (0..5).map(|n| signer.cef(n)).collect();
    serve.deliver(signed.join("\n"));
    serve.deliver(cef(9));
    let all = [signed.clone(), vec![cef(9)]].concat();
    wait_for_lines(&serve, "all.log", &all);
    assert!(lines_of(&serve.home().join("valid.log")).is_empty());

    source.set_keys(jwks(&[&signer]));
    wait_for_lines(&serve, "valid.log", &signed);
    wait_for_lines(&serve, "withheld.log", &signed);
    let marked = all.iter().map(|line| {
        let verdict = if line.contains(" sig=") { "no_key" } else { "unsigned" };
        format!("[vidimus verdict={verdict}] {line}")
    });
    wait_for_lines(&serve, "marked.log", &marked.chain(signed.clone()).collect::<Vec<_>>());
    serve.stop();
    // The output of raw lines wrote the line before, and does not repeat it.
    assert_eq!(lines_of(&serve.home().join("all.log")), all);
}

#[test]
fn an_output_writes_more_files_than_it_keeps_open() {
    let config = file_output("out/{org_id}.log", "format = 'raw'\nfsync = 'never'");
    let mut serve = Setup::new().config(&config).start();
    let line = |n: usize| format!(r#"{{"name":"Ingress","org_id":"o{}","trace_id":{n}}}"#, n % 150);
    let sent: Vec<_> = (0..900).map(line).collect();
    sent.chunks(300).for_each(|body| drop(serve.deliver(body.join("\n"))));
    let out = serve.home().join("out");
    wait_until("all lines", || {
        let count = |path| fs::read_to_string(path).unwrap_or_default().lines().count();
        files_below(&out).iter().map(count).sum::<usize>() == sent.len()
    });
    serve.stop();
    for n in 0..150 {
        let expected: Vec<_> = (0..6).map(|round| sent[n + round * 150].clone()).collect();
        assert_eq!(lines_of(&out.join(format!("o{n}.log"))), expected);
    }
}

#[test]
fn a_moved_file_is_replaced_on_sighup() {
    let mut serve = Setup::new().config(&file_output("siem.log", "format = 'raw'")).start();
    serve.deliver(lines(0..10).join("\n"));
    wait_for_lines(&serve, "siem.log", &lines(0..10));
    let path = |name: &str| serve.home().join(name);
    fs::rename(path("siem.log"), path("moved.log")).unwrap();
    serve.signal(Signal::HUP);
    wait_until("lines in the new file", || {
        let n = 10 + serve.stored().len();
        serve.deliver(cef(n));
        path("siem.log").exists()
    });
    serve.stop();
    let written =
        [lines_of(&serve.home().join("moved.log")), lines_of(&serve.home().join("siem.log"))];
    let stored = serve.text_lines();
    assert_eq!(written.concat(), stored);
}

#[test]
fn a_file_removed_while_in_use_is_created_again() {
    let mut serve = Setup::new().config(&file_output("siem.log", "format = 'raw'")).start();
    serve.deliver(lines(0..10).join("\n"));
    wait_for_lines(&serve, "siem.log", &lines(0..10));
    // The saved cursor keeps these lines from being written again.
    wait_until("the cursor", || status(&serve)["written"] == 10);
    fs::remove_file(serve.home().join("siem.log")).unwrap();
    serve.deliver(lines(10..20).join("\n"));
    serve.wait_for_log("was removed while it was written to");
    wait_for_lines(&serve, "siem.log", &lines(10..20));
    serve.stop();
}

#[test]
fn an_unwritable_path_blocks_only_its_output() {
    let config = file_output("out/siem.log", "format = 'raw'");
    let mut serve = Setup::new().config(&config).file("out", "no folder").start();
    serve.deliver(lines(0..10).join("\n"));
    serve.wait_for_log("the output waits");
    fs::remove_file(serve.home().join("out")).unwrap();
    wait_for_lines(&serve, "out/siem.log", &lines(0..10));
    serve.stop();
}
