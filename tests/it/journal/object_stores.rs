//! The object stores of the tests do what the journal needs of one. A listing that breaks off goes on.

use std::process::Command;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use crate::harness::moto::{AUTHORIZATION, Moto};
use crate::harness::object_store::{BUCKET, Fault, ObjectStore};
use crate::harness::{Answer, RawConnection, wait_until, write_private};
use crate::program::Run;

/// Sends a request. `None`: the connection ended without an answer.
fn ask(
    store: &ObjectStore,
    method: &str,
    key: &str,
    more: &[(&str, &str)],
    body: &[u8],
) -> Option<Answer> {
    let port = store.endpoint().rsplit_once(':').unwrap().1.parse().unwrap();
    let mut connection = RawConnection::plain(port);
    let headers = [more, &[("authorization", AUTHORIZATION)]].concat();
    connection.request(method, &format!("/{BUCKET}/{key}"), &headers, body);
    // A HEAD has no body, though it says the length of one.
    connection.try_answer()
}

fn create(store: &ObjectStore, key: &str, body: &str) -> Option<u16> {
    let answer = ask(store, "PUT", key, &[("if-none-match", "*")], body.as_bytes());
    answer.map(|answer| answer.status)
}

fn get(store: &ObjectStore, key: &str) -> Option<String> {
    let answer = ask(store, "GET", key, &[], b"").unwrap();
    (answer.status == 200).then(|| answer.text())
}

#[test]
fn one_of_many_creates_wins() {
    const RACING: usize = 32;
    let store = ObjectStore::start();
    for key in 0..20 {
        let key = format!("key-{key}");
        let together = Barrier::new(RACING);
        let won: Vec<String> = std::thread::scope(|scope| {
            let race = |racer: usize| {
                let (store, key, together) = (&store, &key, &together);
                scope.spawn(move || {
                    together.wait();
                    let body = racer.to_string();
                    (create(store, key, &body) == Some(200)).then_some(body)
                })
            };
            let racers: Vec<_> = (0..RACING).map(race).collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(won.len(), 1, "{key}: {won:?}");
        assert_eq!(get(&store, &key).as_ref(), won.first());
    }
}

#[test]
fn a_store_answers_as_s3_does() {
    let moto = Moto::start();
    let stores =
        [Some(ObjectStore::start()), moto.as_ref().map(|moto| ObjectStore::before(moto.port))];
    for store in stores.iter().flatten() {
        let check = |method: &str, key: &str, headers: &[(&str, &str)], status: u16, body: &str| {
            let answer = ask(store, method, key, headers, b"").unwrap();
            let found = (answer.status, answer.text());
            assert_eq!(found.0, status, "{method} {key} {headers:?}: {found:?}");
            assert!(found.1.contains(body), "{method} {key} {headers:?}: {found:?}");
        };
        check("GET", "a/0", &[], 404, "NoSuchKey");
        assert_eq!(create(store, "a/0", "0123456789"), Some(200));
        assert_eq!(create(store, "a/0", "other"), Some(412));
        check("GET", "a/0", &[], 200, "0123456789");
        check("GET", "a/0", &[("range", "bytes=2-4")], 206, "234");
        check("GET", "a/0", &[("range", "bytes=-3")], 206, "789");
        check("GET", "a/0", &[("range", "bytes=8-20")], 206, "89");
        check("GET", "a/0", &[("range", "bytes=10-20")], 416, "InvalidRange");
        for n in 1..120 {
            assert_eq!(create(store, &format!("b/{n:03}"), "x"), Some(200));
        }
        check("GET", "?list-type=2&prefix=b%2F&max-keys=100", &[], 200, "<Key>b/100</Key>");
        let first = "?list-type=2&prefix=b%2F&max-keys=100";
        check("GET", first, &[], 200, "<IsTruncated>true</IsTruncated>");
        let rest = "?list-type=2&prefix=b%2F&start-after=b%2F100";
        check("GET", rest, &[], 200, "<Key>b/119</Key>");
        check("GET", rest, &[], 200, "<IsTruncated>false</IsTruncated>");
        let folders = "?list-type=2&prefix=&delimiter=%2F";
        check("GET", folders, &[], 200, "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>");
        check("DELETE", "a/0", &[], 204, "");
        check("DELETE", "a/0", &[], 204, "");
        assert_eq!(get(store, "a/0"), None);
    }
}

#[test]
fn the_store_in_memory_refuses_what_it_does_not_know() {
    let store = ObjectStore::start();
    let check = |method: &str, key: &str, headers: &[(&str, &str)], status: u16| {
        let answer = ask(&store, method, key, headers, b"x").unwrap();
        assert_eq!(answer.status, status, "{method} {key} {headers:?}: {}", answer.text());
    };
    check("PUT", "a", &[("if-none-match", "\"tag\"")], 501);
    check("PUT", "a", &[("if-match", "\"tag\"")], 501);
    check("POST", "a?uploads", &[], 501);
    check("GET", "?list-type=2&encoding-type=url", &[], 501);
    check("PUT", "a", &[("x-amz-content-sha256", &"0".repeat(64))], 400);
    check("PUT", "a", &[("x-amz-security-token", "good-until-1")], 400);
    assert_eq!(store.memory().objects().len(), 0);
    let port = store.endpoint().rsplit_once(':').unwrap().1.parse().unwrap();
    let mut connection = RawConnection::plain(port);
    connection.request("GET", &format!("/{BUCKET}/a"), &[], b"");
    assert_eq!(connection.answer().status, 403);
    let with_tokens = ObjectStore::with_tokens();
    assert_eq!(create(&with_tokens, "a", "x"), Some(403));
}

#[test]
fn faults() {
    let store = ObjectStore::start();
    let check = |fault: Fault, status: Option<u16>, found: Option<&str>| {
        let key = format!("{fault:?}").replace(['(', ')'], "-");
        store.inject_once(fault, |call| call.is_create());
        assert_eq!(create(&store, &key, "first"), status, "{fault:?}");
        assert_eq!(get(&store, &key).as_deref(), found, "{fault:?}");
        // The fault was injected once.
        let again = if found.is_some() { 412 } else { 200 };
        assert_eq!(create(&store, &key, "second"), Some(again), "{fault:?}");
    };
    check(Fault::LoseRequest, None, None);
    check(Fault::LoseAnswer, None, Some("first"));
    check(Fault::Repeat, Some(412), Some("first"));
    check(Fault::Refuse(503), Some(503), None);
    check(Fault::Refuse(409), Some(409), None);
    check(Fault::Deny(500), Some(500), Some("first"));
    store.inject_once(Fault::Late(Duration::from_millis(1)), |call| call.is_create());
    assert_eq!(create(&store, "late", "first"), None);
    wait_until("the late object", || get(&store, "late").is_some());
    assert_eq!(store.injected().values().sum::<u64>(), 7);
    store.heal();

    // What waits in a stopped store is done later.
    store.pause();
    std::thread::scope(|scope| {
        let before = store.asked().puts;
        let waiting = scope.spawn(|| create(&store, "waiting", "x"));
        wait_until("a put", || store.asked().puts > before);
        assert!(!waiting.is_finished());
        assert!(store.memory().objects().iter().all(|(key, _)| key != "waiting"));
        store.resume();
        assert_eq!(waiting.join().unwrap(), Some(200));
    });
}

#[test]
fn a_listing_that_breaks_off_goes_on_where_it_was() {
    let store = ObjectStore::start();
    for epoch in 0..250 {
        assert_eq!(create(&store, &format!("j/epochs/{epoch}"), "x"), Some(200));
    }
    // The second page of the epochs fails twice.
    let pages = Arc::new(Mutex::new(Vec::new()));
    let (asked, mut failures) = (Arc::clone(&pages), 2);
    store.inject(Box::new(move |call| {
        if !call.target.contains("list-type=2") || !call.target.contains("epochs") {
            return None;
        }
        asked.lock().unwrap().push(call.target.clone());
        let fails = failures > 0 && asked.lock().unwrap().len() > 1;
        failures -= u32::from(fails);
        fails.then_some(if failures > 0 { Fault::Refuse(503) } else { Fault::LoseRequest })
    }));
    let home = tempfile::tempdir().unwrap();
    let config = format!("[journal]\nurl = \"s3://{BUCKET}/j\"\n");
    write_private(&home.path().join("config.toml"), config.as_bytes());
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command.args(["journal", "status", "--config", "config.toml"]).current_dir(home.path());
    let run = Run::of(command.env_clear().envs(store.environment())).expect(0);
    assert!(run.stdout.contains("250 epochs"), "{run}");
    // Two pages that failed, and three that have all keys.
    let pages = pages.lock().unwrap();
    assert_eq!(pages.len(), 5, "{pages:?}");
    assert!(pages[2..4].iter().all(|page| page.contains("start-after")), "{pages:?}");
}
