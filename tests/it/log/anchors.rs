//! A copy of a data directory beside the first, and a restored backup: with an anchor nothing is
//! signed, and without one there is a warning. `vidimus log fork` begins a new origin.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{
    checkpoint, differences, leaf_hash, lines, log, records, root, served, vkey, wait_for_size,
};
use crate::console::get;
use crate::harness::{KeyReply, KeyServer, Serve, Setup, output_of, wait_until, write_private};
use crate::stores::copied;

const FAST: &str = "[log]\ncheckpoint_interval = '100ms'\n";

/// A server with 10 entries, with a checkpoint of all of them.
fn first() -> Serve {
    let serve = Setup::new().config(FAST).start();
    serve.deliver(lines(0..10));
    wait_for_size(&serve, 11);
    serve
}

/// A copy of the data directory of a server that was stopped, with an anchor if there is one. Starts it.
fn copy_of(serve: &Serve, anchor: Option<&Path>) -> Serve {
    let anchor = anchor.map(|path| format!("anchor = '{}'\n", path.display()));
    let config = format!("{FAST}{}", anchor.unwrap_or_default());
    copied(&serve.data()).config(&config).variable("VIDIMUS_LOG", "info").start()
}

/// Checks that a server has stopped signing because of another log, says so everywhere, and goes on
/// receiving. `signed` is what it gave out before.
#[track_caller]
fn assert_forked(serve: &Serve, signed: &str, expected: &str) {
    serve.wait_for_log("no checkpoint of the log is signed any more");
    assert!(serve.stderr().contains(expected), "{}", serve.stderr());
    assert!(serve.stderr().contains("`vidimus log fork`"), "{}", serve.stderr());
    let ready = get(serve, "/readyz");
    assert_eq!(ready.status, 503, "{}", ready.text());
    let metrics = get(serve, "/metrics").text();
    for expected in ["vidimus_log_stopped 1", "vidimus_log_forked 1"] {
        assert!(metrics.lines().any(|line| line == expected), "{expected}\n{metrics}");
    }
    let overview = get(serve, "/overview").text();
    assert!(overview.contains("The signer has stopped"), "{overview}");
    serve.deliver(lines(500..505));
    assert_eq!(served(serve).unwrap(), signed);
}

#[test]
fn a_copy_signs_nothing_if_the_anchor_is_ahead() {
    let mut original = first();
    original.stop();
    let anchor = original.data().join("log/checkpoint");
    let signed = fs::read_to_string(&anchor).unwrap();
    let anchored = copy_of(&original, Some(&anchor));
    // As long as the two agree, the copy cannot know.
    wait_until("a comparison", || {
        get(&anchored, "/metrics").text().contains("\nvidimus_log_anchors 1\n")
    });
    drop(anchored);

    // The original goes on, and the copy is started beside it.
    let data = tempfile::tempdir().unwrap();
    let code = output_of(Command::new("cp").arg("-a").arg(original.data()).arg(data.path()));
    assert_eq!(code.0, Some(0), "{}", code.2);
    original.restart();
    original.deliver(lines(10..20));
    wait_for_size(&original, 21);
    let setup = |config: &str| {
        let setup = copied(&data.path().join("vidimus-data")).variable("VIDIMUS_LOG", "info");
        setup.config(config).start()
    };
    let ahead = setup(&format!("{FAST}anchor = ['{}']\n", anchor.display()));
    assert_forked(&ahead, &signed, "has a checkpoint of 21 leaves, and this log has 11");

    // Without an anchor it signs what contradicts the original, and warns that it cannot know.
    let mut blind = setup(FAST);
    blind.wait_for_log("the log has no anchor");
    blind.deliver(lines(100..110));
    let other = wait_for_size(&blind, 21);
    let key = vkey(&original.data());
    assert_eq!(vkey(&blind.data()), key);
    assert_ne!(other.root, checkpoint(&served(&original).unwrap(), &key).root);
    // Started again with the anchor, it has another tree of the same size.
    let signed = served(&blind).unwrap();
    let config = format!("{FAST}anchor = ['{}']\n", anchor.display());
    write_private(&blind.home().join("config.toml"), config.as_bytes());
    blind.restart();
    assert_forked(&blind, &signed, "with the root");
}

#[test]
fn a_restored_backup_signs_nothing_until_it_has_an_origin_of_its_own() {
    let mut original = first();
    let backup = original.home().join("backup");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command.args(["store", "backup"]).arg(&backup).arg("--data-dir").arg(original.data());
    let (code, _, stderr) = output_of(&mut command);
    assert_eq!(code, Some(0), "{stderr}");
    let old = fs::read_to_string(backup.join("log/checkpoint")).unwrap();
    original.deliver(lines(10..40));
    wait_for_size(&original, 41);
    original.stop();
    let key = vkey(&original.data());
    // What somebody kept, who has no access to the machine.
    let anchor = original.home().join("anchor");
    fs::copy(original.data().join("log/checkpoint"), &anchor).unwrap();

    let restored = |config: &str| {
        let setup = Setup::new().variable("VIDIMUS_LOG", "info").config(config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        command.args(["store", "restore"]).arg(&backup).arg("--data-dir");
        let (code, _, stderr) = output_of(command.arg(setup.home().join("vidimus-data")));
        assert_eq!(code, Some(0), "{stderr}");
        setup.start()
    };
    let blind = restored(FAST);
    blind.wait_for_log("the log has no anchor");
    blind.deliver(lines(100..101));
    wait_for_size(&blind, 12);

    let mut anchored = restored(&format!("{FAST}anchor = '{}'\n", anchor.display()));
    assert_forked(&anchored, &old, "has a checkpoint of 41 leaves, and this log has 11");
    // Not while it is served.
    let (code, _, stderr) = log(&["fork", "--yes"], &anchored.data());
    assert_eq!(code, Some(3), "{stderr}");
    anchored.stop();
    let (code, _, stderr) = log(&["fork"], &anchored.data());
    assert_eq!(code, Some(2), "{stderr}");
    assert_eq!(vkey(&anchored.data()), key);
    let (code, stdout, stderr) = log(&["fork", "--yes"], &anchored.data());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("give the new verifier key to the auditors"), "{stderr}");
    let new = vkey(&anchored.data());
    assert_eq!(stdout, format!("{new}\n"));
    let origin = key.split('+').next().unwrap();
    assert!(new.starts_with(&format!("{origin}/2+")), "{new}");

    // It goes on, and the anchor of the old origin does not stop it.
    anchored.restart();
    // 11 leaves, 5 entries that came while nothing was signed, and the key.
    let newest = wait_for_size(&anchored, 17);
    assert_eq!(newest.origin, format!("{origin}/2"));
    assert!(anchored.stderr().contains("which this log had before"), "{}", anchored.stderr());
    let records = records(&anchored, 17);
    let hashes: Vec<_> = records.iter().map(|record| leaf_hash(record)).collect();
    assert_eq!(root(&hashes), newest.root);
    assert_eq!(root(&hashes[..11]), checkpoint(&old, &key).root);
    assert_eq!((records[16][1], &records[16][10..]), (8, new.as_bytes()));
    anchored.stop();
    // What was signed under the old origin is still checked.
    assert_eq!(differences(&[], &anchored.data()), [""; 0]);
    let kept = anchored.home().join("old");
    fs::write(&kept, &old).unwrap();
    assert_eq!(differences(&["--against", kept.to_str().unwrap()], &anchored.data()), [""; 0]);
    let other = differences(&["--against", anchor.to_str().unwrap()], &anchored.data());
    assert_eq!(other[0]["kind"], "against", "{other:?}");
}

#[test]
fn a_configured_origin_is_changed_by_the_operator() {
    let config = |origin: &str| format!("{FAST}origin = '{origin}'\n");
    let mut serve = Setup::new().config(&config("a.example/log")).start();
    wait_for_size(&serve, 1);
    serve.stop();
    let fork = |serve: &Serve| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        command.args(["log", "fork", "--yes", "--config", "config.toml"]);
        output_of(command.current_dir(serve.home()))
    };
    let (code, _, stderr) = fork(&serve);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("set log.origin to \"a.example/log/2\""), "{stderr}");
    let (status, stderr) = serve.fail();
    assert_eq!(status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("the log has the origin \"a.example/log/2\""), "{stderr}");
    // Or the other way round.
    write_private(&serve.home().join("config.toml"), config("b.example/log").as_bytes());
    let (code, stdout, stderr) = fork(&serve);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("b.example/log+"), "{stdout}");
    assert!(!stderr.contains("set log.origin"), "{stderr}");
    serve.restart();
    assert_eq!(wait_for_size(&serve, 3).origin, "b.example/log");
}

#[test]
fn an_anchor_that_cannot_be_read_is_waited_for() {
    let mut serve = first();
    serve.stop();
    let signed = fs::read_to_string(serve.data().join("log/checkpoint")).unwrap();
    let anchor = KeyServer::start(KeyReply::Status(503));
    let config = format!("{FAST}anchor = ['{}']\n", anchor.url());
    let mut serve = copied(&serve.data()).config(&config).start();
    let failing = || {
        let metrics = get(&serve, "/metrics").text();
        metrics.lines().any(|line| line == "vidimus_log_failing 1")
    };
    wait_until("the failure in the metrics", failing);
    serve.wait_for_log(&format!("was compared with the anchor {}", anchor.url()));
    // Entries are received, and nothing is signed, whatever is wrong with the anchor.
    serve.deliver(lines(10..20));
    for (reply, expected) in [
        (KeyReply::Status(404), "it is not there"),
        (KeyReply::Body(b"x".to_vec()), "expected text, an empty line"),
        (KeyReply::Body(vec![b'x'; 2 << 20]), "answered with more than"),
        (KeyReply::Close, "the connection to"),
    ] {
        anchor.set_reply(reply);
        serve.wait_for_log(expected);
        assert_eq!(served(&serve).unwrap(), signed);
    }
    assert_eq!(get(&serve, "/readyz").status, 200);
    anchor.set_reply(KeyReply::Body(signed.clone().into_bytes()));
    wait_for_size(&serve, 21);
    // A server that is stopped before it could compare signs nothing at its end.
    anchor.set_reply(KeyReply::Hang);
    let (signed, before) = (served(&serve).unwrap(), anchor.requests());
    serve.restart();
    wait_until("a request for the anchor", || anchor.requests() > before);
    serve.deliver(lines(20..30));
    // The request has ended when the server has.
    anchor.set_reply(KeyReply::Status(503));
    serve.stop();
    assert_eq!(fs::read_to_string(serve.data().join("log/checkpoint")).unwrap(), signed);
}
