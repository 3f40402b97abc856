//! Acknowledged entries are stored once after kills at random moments under load.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;

use crate::harness::{Serve, Setup, wait_until};

const KILLS: usize = 20;
const SENDERS: usize = 3;
const BATCH: usize = 40;

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
    let load = Load {
        next: AtomicUsize::new(0),
        acknowledged: Mutex::new(Vec::new()),
        deliveries: AtomicUsize::new(0),
    };
    let mut random = Rng::with_seed(u64::from(serve.pid()));
    for _ in 0..KILLS {
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| send_until_it_fails(&serve.receiver, &serve.authorization, &load));
            }
            // The moment depends on the work and not on time: after some deliveries, then at
            // random.
            let goal = load.deliveries.load(Ordering::SeqCst) + 1 + random.usize(..40);
            wait_until("deliveries", || load.deliveries.load(Ordering::SeqCst) >= goal);
            for _ in 0..random.usize(..200_000) {
                std::hint::spin_loop();
            }
            serve.signal(rustix::process::Signal::KILL);
        });
        serve.restart();
    }
    // Acknowledged lines that are sent again are duplicates.
    let acknowledged = load.acknowledged.into_inner().unwrap();
    let last: Vec<_> = acknowledged.iter().rev().take(500).map(String::as_str).collect();
    let again = serve.deliver(last.join("\n"));
    assert_eq!((&again["received"], &again["stored"]), (&last.len().into(), &0.into()));
    serve.stop();
    assert_each_is_there_once(&serve, &acknowledged);
    check_is_content(&serve);
}

/// Delivers batches over one connection until the connection fails.
fn send_until_it_fails(receiver: &str, authorization: &str, load: &Load) {
    let address = receiver.strip_prefix("http://").unwrap();
    let Ok(stream) = TcpStream::connect(address) else { return };
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let first = load.next.fetch_add(BATCH, Ordering::SeqCst);
        let lines: Vec<_> = (first..first + BATCH).map(line).collect();
        let body = lines.join("\n");
        let head = format!(
            "POST /audit-logs HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all((head + &body).as_bytes()).is_err() || !is_acknowledged(&mut answers) {
            return;
        }
        load.acknowledged.lock().unwrap().extend(lines);
        load.deliveries.fetch_add(1, Ordering::SeqCst);
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
pub(crate) fn is_acknowledged(answers: &mut BufReader<TcpStream>) -> bool {
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
    assert_eq!(twice.map(|(line, _)| line.escape_ascii().to_string()), None, "stored twice");
    let missing = acknowledged.iter().find(|line| !counts.contains_key(line.as_bytes()));
    assert_eq!(missing, None, "acknowledged and not there");
    assert!(acknowledged.len() > KILLS * BATCH, "only {} lines", acknowledged.len());
    let dense = (1..=ids.len() as u64).collect::<Vec<_>>();
    assert_eq!(ids, dense, "ids are not dense");
}

fn check_is_content(serve: &Serve) {
    let output = Command::new(env!("CARGO_BIN_EXE_vidimus"))
        .args(["store", "check", "--data-dir"])
        .arg(serve.data())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
}
