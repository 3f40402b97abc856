//! Acknowledged entries are stored once after kills at random moments under load.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;
use rustix::process::Signal;

use crate::harness::http::head;
use crate::harness::{Serve, Setup, assert_sound, wait_until};

const BATCH: usize = 40;

/// How a server is killed under load.
pub(crate) struct KillsUnderLoad {
    pub(crate) kills: usize,
    pub(crate) senders: usize,
    /// The number of acknowledged deliveries before each kill, at random in this range.
    pub(crate) deliveries: Range<usize>,
    /// The line with a number.
    pub(crate) line: fn(usize) -> String,
}

/// The shared state of the senders.
struct Load {
    /// The number of the next line.
    next: AtomicUsize,
    /// The acknowledged lines.
    acknowledged: Mutex<Vec<String>>,
    /// The number of acknowledged deliveries.
    deliveries: AtomicUsize,
}

#[test]
fn acknowledged_entries_are_stored_once_after_twenty_kills() {
    let setup = Setup::new().config("[store]\nsegment_entries = 300\n").arguments("--no-tls");
    let mut serve = setup.start();
    let load = KillsUnderLoad { kills: 20, senders: 3, deliveries: 1..41, line };
    let acknowledged = load.run(&mut serve);
    // Acknowledged lines that are sent again are duplicates.
    let last: Vec<_> = acknowledged.iter().rev().take(500).map(String::as_str).collect();
    let again = serve.deliver(last.join("\n"));
    assert_eq!((&again["received"], &again["stored"]), (&last.len().into(), &0.into()));
    serve.stop();
    assert_each_is_there_once(&serve, &acknowledged);
    assert_sound(&serve.data());
}

impl KillsUnderLoad {
    /// Kills and restarts a server without TLS. Returns the acknowledged lines.
    pub(crate) fn run(&self, serve: &mut Serve) -> Vec<String> {
        let load = Load {
            next: AtomicUsize::new(0),
            acknowledged: Mutex::new(Vec::new()),
            deliveries: AtomicUsize::new(0),
        };
        let mut random = Rng::with_seed(u64::from(serve.pid()));
        for _ in 0..self.kills {
            std::thread::scope(|scope| {
                for _ in 0..self.senders {
                    scope.spawn(|| self.send_until_it_fails(serve, &load));
                }
                // The moment depends on the work and not on time: after some deliveries, then at
                // random.
                let done = load.deliveries.load(Ordering::SeqCst);
                let goal = done + random.usize(self.deliveries.clone());
                wait_until("deliveries", || load.deliveries.load(Ordering::SeqCst) >= goal);
                for _ in 0..random.usize(..200_000) {
                    std::hint::spin_loop();
                }
                serve.signal(Signal::KILL);
            });
            serve.restart();
        }
        let acknowledged = load.acknowledged.into_inner().unwrap();
        assert!(acknowledged.len() > self.kills * BATCH, "only {} lines", acknowledged.len());
        acknowledged
    }

    /// Delivers batches over one connection until the connection fails.
    fn send_until_it_fails(&self, serve: &Serve, load: &Load) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", serve.port())) else { return };
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        loop {
            let first = load.next.fetch_add(BATCH, Ordering::SeqCst);
            let lines: Vec<_> = (first..first + BATCH).map(self.line).collect();
            let headers = [("authorization", serve.authorization.as_str())];
            let body = lines.join("\n");
            let request = head("POST", "/audit-logs", &headers, body.len()) + &body;
            if stream.write_all(request.as_bytes()).is_err() || !is_acknowledged(&mut answers) {
                return;
            }
            load.acknowledged.lock().unwrap().extend(lines);
            load.deliveries.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Lines with scattered times, so that segments overlap, and some lines without a time.
fn line(n: usize) -> String {
    match n % 7 {
        0 => format!("this is no entry: {n}"),
        1 => format!("{{\"name\":\"Ingress\",\"trace_id\":{n}}}"),
        _ => format!(
            "{{\"name\":\"Ingress\",\"rt\":{},\"trace_id\":{n}}}",
            1_000_000 + n * 7919 % 9973
        ),
    }
}

/// Whether the next answer is a complete 200.
fn is_acknowledged(answers: &mut BufReader<TcpStream>) -> bool {
    let (mut ok, mut length) = (false, 0);
    loop {
        let mut line = String::new();
        match answers.read_line(&mut line) {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
        let line = line.trim_end().to_ascii_lowercase();
        ok |= line.starts_with("http/1.1 200");
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    ok && answers.read_exact(&mut vec![0; length]).is_ok()
}

fn assert_each_is_there_once(serve: &Serve, acknowledged: &[String]) {
    let mut counts: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut ids = Vec::new();
    for entry in serve.stored() {
        *counts.entry(entry.line).or_default() += 1;
        ids.push(entry.id);
    }
    let twice = counts.iter().find(|(_, count)| **count > 1);
    assert_eq!(
        twice.map(|(line, _)| line.escape_ascii().to_string()),
        None,
        "a line is stored twice"
    );
    let missing = acknowledged.iter().find(|line| !counts.contains_key(line.as_bytes()));
    assert_eq!(missing, None, "an acknowledged line is missing");
    let dense = (1..=ids.len() as u64).collect::<Vec<_>>();
    assert_eq!(ids, dense, "ids are not dense");
}
