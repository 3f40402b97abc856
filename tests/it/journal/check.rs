//! `vidimus journal check` against object stores that are right, wrong, closed and gone.

use std::process::Command;
use std::time::Duration;

use hyper::Method;

use crate::harness::moto::Moto;
use crate::harness::object_store::{BUCKET, Fault};
use crate::harness::{ObjectStore, SessionTokens, write_private};
use crate::program::Run;

/// Runs the check with this environment.
fn check(environment: Vec<(String, String)>, arguments: &[&str]) -> Run {
    let home = tempfile::tempdir().unwrap();
    let config = format!("[journal]\nurl = \"s3://{BUCKET}/a/b\"\n");
    write_private(&home.path().join("config.toml"), config.as_bytes());
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command.args(["journal", "check", "--config", "config.toml"]).args(arguments);
    Run::of(command.current_dir(home.path()).env_clear().envs(environment))
}

/// The lines of what was checked: whether it is good, and what.
fn lines(run: &Run) -> Vec<(bool, String)> {
    let lines = run.stdout.lines();
    let good = lines.clone().filter_map(|line| line.strip_prefix("ok  ")).map(|line| (true, line));
    let bad = lines.filter_map(|line| line.strip_prefix("failed  ")).map(|line| (false, line));
    good.chain(bad).map(|(is_good, line)| (is_good, line.trim().to_owned())).collect()
}

#[test]
fn a_strict_store_passes() {
    let (store, other) = (ObjectStore::start(), ObjectStore::start());
    let run = check(store.environment(), &[]).expect(0);
    assert_eq!(lines(&run).len(), 7, "{run}");
    assert!(lines(&run).iter().all(|(is_good, _)| *is_good), "{run}");
    // It leaves nothing behind.
    assert_eq!(store.memory().objects().len(), 0);

    let endpoint = store.endpoint();
    let twice = ["--endpoint", &endpoint, "--endpoint", &endpoint];
    let run = check(other.environment(), &twice).expect(0);
    assert!(run.stdout.contains("through 2 endpoints"), "{run}");
    assert_eq!(other.asked().requests, 0);
    // Two servers that are not one store.
    let apart = ["--endpoint", &endpoint, "--endpoint", &other.endpoint()];
    let run = check(store.environment(), &apart).expect(1);
    assert!(run.stdout.contains("won"), "{run}");
}

#[test]
fn a_store_that_ignores_the_condition_fails() {
    let store = ObjectStore::start();
    // Some stores that speak S3 know no conditions.
    store.inject(Box::new(|_| Some(Fault::IgnoreCondition)));
    let run = check(store.environment(), &[]).expect(1);
    assert!(run.stdout.contains("failed  a second create is refused"), "{run}");
    // Others know them, and let two creates win that race.
    store
        .inject(Box::new(|call| call.key().ends_with("/race-7").then_some(Fault::IgnoreCondition)));
    let run = check(store.environment(), &[]).expect(1);
    assert!(run.stdout.contains("race-7\" won"), "{run}");
}

#[test]
fn what_is_not_allowed_is_named() {
    let store = ObjectStore::start();
    let deny = |method: Method, expected: &str| {
        let denied = method.clone();
        store.inject(Box::new(move |call| (call.method == denied).then_some(Fault::Refuse(403))));
        let run = check(store.environment(), &[]).expect(1);
        let failed: Vec<_> = lines(&run).into_iter().filter(|(is_good, _)| !is_good).collect();
        assert!(failed.iter().any(|(_, what)| what.contains(expected)), "{method}: {run}");
    };
    deny(Method::PUT, "created");
    deny(Method::GET, "read");
    deny(Method::HEAD, "read");
    // DeleteObjects is a POST.
    deny(Method::POST, "deleted");
}

#[test]
fn a_store_that_is_gone_is_no_answer() {
    let gone = ObjectStore::start().environment();
    check(gone, &[]).expect(3);
}

#[test]
fn another_s3_server_allows_everything() {
    let Some(moto) = Moto::start() else { return };
    let store = ObjectStore::before(moto.port);
    let run = check(store.environment(), &[]);
    let lines = lines(&run);
    assert_eq!(lines.len(), 7, "{run}");
    // Of two creates that race both may win there.
    let is_race = |what: &str| what.contains("writers try to create one object");
    assert!(lines.iter().all(|(is_good, what)| *is_good || is_race(what)), "{run}");
}

#[test]
fn credentials_that_end_are_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let (store, tokens) =
        (ObjectStore::with_tokens(), SessionTokens::start(Duration::from_secs(2)));
    let environment = tokens.environment(folder.path(), &store.endpoint());
    check(environment.clone(), &[]).expect(0);
    assert!(tokens.asked() > 1, "{}", tokens.asked());
    // Credentials that have ended already.
    let ended = SessionTokens::start(Duration::ZERO);
    let run = check(ended.environment(folder.path(), &store.endpoint()), &[]);
    assert_ne!(run.code, Some(0), "{run}");
    assert!(ended.asked() > 0);
    tokens.set_down(true);
    check(environment, &[]).expect(3);
}
