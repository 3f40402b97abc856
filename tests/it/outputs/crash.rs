//! File outputs after kills under load.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;
use rustix::process::Signal;

use super::*;
use crate::crash::is_acknowledged;
use crate::harness::Setup;
use crate::harness::http::head;

const KILLS: usize = 6;
const BATCH: usize = 40;

#[test]
fn a_file_has_every_entry_once_after_kills() {
    check("out/siem.log", "fsync = 'second'");
    check("out/siem.log", "fsync = 'always'");
}

#[test]
fn rotated_files_have_every_entry_once_after_kills() {
    check("out/siem.log", "rotate_size = '30kB'");
}

/// Checks that the files have each stored entry once, in the order of the store.
fn check(path: &str, keys: &str) {
    let config = file_output(path, &format!("format = 'raw'\n{keys}"));
    let (mut serve, acknowledged) = kill_under_load(&config);
    let stored: Vec<_> =
        serve.lines().into_iter().map(|line| String::from_utf8(line).unwrap()).collect();
    let folder = serve.home().join("out");
    let last = stored.last().unwrap();
    wait_until("the last line", || {
        let text = std::fs::read_to_string(folder.join("siem.log")).unwrap_or_default();
        text.lines().next_back() == Some(last.as_str())
    });
    serve.stop();
    let written = lines_below(&folder);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    written.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    let missing = acknowledged.iter().find(|line| !counts.contains_key(line.as_str()));
    assert_eq!(missing, None, "acknowledged and not there");
    let twice = counts.iter().find(|(_, count)| **count > 1);
    assert_eq!(twice, None, "written twice");
    assert_eq!(written.len(), stored.len());
    assert!(written == stored, "in another order than the store");
}

/// Kills a server at random moments under load. Returns the running server and the acknowledged
/// lines.
pub(super) fn kill_under_load(config: &str) -> (Serve, Vec<String>) {
    let mut serve = Setup::new().config(config).arguments("--no-tls").start();
    let (next, deliveries) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let acknowledged = Mutex::new(Vec::new());
    let mut random = Rng::with_seed(u64::from(serve.pid()));
    for _ in 0..KILLS {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", serve.port())) else {
                        return;
                    };
                    let mut answers = BufReader::new(stream.try_clone().unwrap());
                    loop {
                        let first = next.fetch_add(BATCH, Ordering::SeqCst);
                        let sent = lines(first..first + BATCH);
                        let headers = [("authorization", serve.authorization.as_str())];
                        let body = sent.join("\n");
                        let head = head("POST", "/audit-logs", &headers, body.len());
                        let sending = stream.write_all((head + &body).as_bytes());
                        if sending.is_err() || !is_acknowledged(&mut answers) {
                            return;
                        }
                        acknowledged.lock().unwrap().extend(sent);
                        deliveries.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            // The moment depends on the work and not on time.
            let goal = deliveries.load(Ordering::SeqCst) + 5 + random.usize(..60);
            wait_until("deliveries", || deliveries.load(Ordering::SeqCst) >= goal);
            for _ in 0..random.usize(..200_000) {
                std::hint::spin_loop();
            }
            serve.signal(Signal::KILL);
        });
        serve.restart();
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= KILLS * BATCH, "only {} lines", acknowledged.len());
    (serve, acknowledged)
}
