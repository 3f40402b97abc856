//! A receiver with a store, on a real socket: what it keeps of each request.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fault::Faults;
use super::kept::{KeptBody, KeptRequest};
use super::*;
use crate::control::{self, Task};
use crate::ingest::Caps;
use crate::keys::{KeyRing, RefreshTrigger};
use crate::net::{Limits, Listener, Trigger, shutdown};
use crate::store::{Directory, Options, Quarantined, RETIRE_AFTER, Retirements, Store};

const LINE: &[u8] = b"CEF:0|a|b|c|d|e|1|act=POST\n";
const BROKEN: &[u8] = b"\x1f\x8b no more";

struct Nobody;

impl DeliveryObserver for Nobody {
    fn stored(&self, _: &StoredBatch) {}
    fn journaled(&self, _: &object::Delivery, _: Instant, _: LineCounts) {}
    fn failed(&self, _: &str, _: &str, _: Option<u16>, _: &str) {}
    fn refused(&self, _: &Refused) {}
}

/// A running receiver.
struct Running {
    address: SocketAddr,
    deliverer: Arc<Deliverer>,
    budget: MemoryBudget,
    _trigger: Trigger,
    _home: tempfile::TempDir,
}

impl Running {
    /// Keeps requests in this many bytes.
    async fn start(keep: u64) -> Running {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::create(&home.path().join("data")).unwrap();
        let limits = ReceiverLimits {
            max_body: 1000,
            max_decoded: 2000,
            lines: Caps { max_line: 1000, max_lines: 10 },
            body_timeout: Duration::from_secs(60),
            queue_timeout: Duration::from_secs(60),
            trusted_proxies: Vec::new(),
        };
        let retirements = Retirements::always(RETIRE_AFTER);
        let ring = KeyRing::new(
            std::collections::HashMap::new(),
            retirements,
            1000,
            (Vec::new(), Vec::new()),
            now(),
        );
        let deliverer = Arc::new(Deliverer {
            sink: StoreSink {
                store: Arc::new(Store::open(&directory, Options::default()).unwrap()),
                ring: Arc::new(ring),
                refresh: RefreshTrigger::default(),
                pool: rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap(),
                observer: Arc::new(Nobody),
                task: Mutex::default(),
            },
            limits: limits.clone(),
            observer: Arc::new(Nobody),
            faults: Arc::new(Faults::new(true, vec!["lab".to_owned()])),
            kept: Arc::new(KeptRequests::new(keep)),
        });
        let input = InputEndpoint {
            name: "lab".to_owned(),
            path: "/lab".to_owned(),
            authorization: vec![Secret::new("Bearer hunter2").unwrap()],
            expected: Arc::default(),
            profile: ResponseProfile::Vidimus,
        };
        let budget = MemoryBudget::new(1 << 20);
        let receiver = Arc::new(Receiver {
            inputs: vec![Arc::new(input)],
            limits,
            budget: budget.clone(),
            deliverer: Arc::clone(&deliverer),
            writing: mpsc::channel(1).0,
        });
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), None).await.unwrap();
        let address = listener.address();
        let (trigger, shutdown) = shutdown();
        let service = move |request, peer| Arc::clone(&receiver).handle(request, peer);
        let observer = Arc::clone(&deliverer) as Arc<_>;
        tokio::spawn(listener.serve(service, Limits::default(), observer, shutdown));
        Running { address, deliverer, budget, _trigger: trigger, _home: home }
    }

    /// Sends a request, and returns the answer.
    async fn send(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> String {
        let mut io = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        io.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        let mut answer = Vec::new();
        let read = io.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(60), read).await.unwrap().unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Sends an authorized request.
    async fn deliver(&self, headers: &str, body: &[u8]) -> String {
        let headers = format!("authorization: Bearer hunter2\r\n{headers}");
        self.send("POST", "/lab?token=hunter2", &headers, body).await
    }

    fn newest(&self) -> Arc<KeptRequest> {
        self.deliverer.kept.newest(|_| true, 1).pop().unwrap()
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_delivery_is_kept_as_it_came() {
    let running = Running::start(1 << 20).await;
    for (headers, body) in [("", LINE.to_vec()), ("content-encoding: gzip\r\n", gzip(LINE))] {
        let answer = running.deliver(headers, &body).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let kept = running.newest();
        let head = &kept.head;
        assert_eq!((head.method.as_str(), &*head.target), ("POST", "/lab?token=(hidden)"));
        assert_eq!((head.version, head.tls), (hyper::Version::HTTP_11, None));
        assert_eq!(head.input.as_deref(), Some("lab"));
        assert!(head.peer.starts_with("127.0.0.1:"), "{}", head.peer);
        let names: Vec<_> = head.headers.iter().map(|one| &*one.name).collect();
        let mut expected = vec!["host", "connection", "authorization"];
        expected.extend((!headers.is_empty()).then_some("content-encoding"));
        expected.push("content-length");
        assert_eq!(names, expected);
        assert_eq!(&*head.headers[2].value, b"Bearer (hidden)");
        assert_eq!(head.content_encoding.as_deref(), (!headers.is_empty()).then_some("gzip"));
        assert!(kept.body == KeptBody::Whole(body.into()), "{kept:?}");
        let answered = kept.answer.as_ref().unwrap();
        assert_eq!(answered.status, 200);
        assert!(answer.ends_with(std::str::from_utf8(&answered.body).unwrap()), "{answer}");
        assert!(answered.headers.iter().any(|one| &*one.name == "content-type"));
        let Phases { read, wait, decode, verify, store, total } = kept.phases;
        let parts = [read, wait, decode, verify, store].map(Option::unwrap);
        assert!(parts.iter().sum::<Duration>() <= total.unwrap(), "{kept:?}");
        assert_eq!(kept.reason, None);
    }
    let all = running.deliverer.kept.newest(|_| true, 9);
    let outcomes: Vec<_> = all.iter().map(|one| one.outcome).collect();
    let stored = |delivery, stored, duplicates| Outcome::Stored {
        delivery,
        received: 1,
        stored,
        duplicates,
    };
    assert_eq!(outcomes, [stored(2, 0, 1), stored(1, 1, 0)]);
    assert_eq!(running.deliverer.kept.of_delivery(1).unwrap().number, 1);
    // What is kept is not counted as in flight.
    assert_eq!(running.budget.available(), running.budget.total());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_not_stored_is_kept_with_the_reason() {
    let running = Running::start(1 << 20).await;
    let check = |status: u16, outcome: Outcome, body: Option<&[u8]>, reason: &str| {
        let kept = running.newest();
        assert_eq!(kept.answer.as_ref().map(|answer| answer.status), Some(status), "{reason}");
        assert_eq!(kept.outcome, outcome, "{reason}");
        let expected =
            body.map_or(KeptBody::NotRead, |body| KeptBody::Whole(Bytes::copy_from_slice(body)));
        assert!(kept.body == expected, "{reason}: {kept:?}");
        let found = kept.reason.as_deref().unwrap();
        assert!(found.contains(reason), "{found}\nexpected {reason}");
        assert!(kept.phases.total.is_some() && kept.phases.store.is_none(), "{kept:?}");
    };
    running.deliver("", BROKEN).await;
    check(400, Outcome::Quarantined { id: 1 }, Some(BROKEN), "it is kept in quarantine");
    running.deliver("content-encoding: br\r\n", LINE).await;
    check(415, Outcome::Quarantined { id: 2 }, Some(LINE), "the Content-Encoding \"br\"");
    let bomb = gzip(&[b'x'; 2001]);
    running.deliver("", &bomb).await;
    check(413, Outcome::Failed, Some(&bomb), "larger than 2000 bytes when decoded");
    running.deliver("", &[b'x'; 1001]).await;
    check(413, Outcome::Failed, None, "larger than 1000 bytes as sent");
    let lines = b"{}\n".repeat(11);
    running.deliver("", &lines).await;
    check(413, Outcome::Failed, Some(&lines), "lines");

    // Bodies of refused requests are never read.
    running.send("POST", "/lab", "authorization: hunter2\r\n", LINE).await;
    check(401, Outcome::Refused, None, "does not match");
    assert_eq!(running.newest().head.input.as_deref(), Some("lab"));
    running.send("PUT", "/lab", "", LINE).await;
    check(405, Outcome::Refused, None, "the method \"PUT\"");
    running.send("POST", "/nothing", "authorization: Bearer hunter2\r\n", LINE).await;
    check(404, Outcome::Refused, None, "no input at the path");
    assert_eq!(running.newest().head.input, None);
    let last = running.newest().number;
    running.send("GET", "/healthz", "", b"").await;
    assert_eq!(running.newest().number, last, "a health check is kept");
    assert_eq!(running.deliverer.kept.of_quarantine(2).unwrap().number, 2);
    assert_eq!(running.budget.available(), running.budget.total());

    // The connection ends within the body.
    let mut io = TcpStream::connect(running.address).await.unwrap();
    let head = "POST /lab HTTP/1.1\r\nhost: x\r\nauthorization: Bearer hunter2\r\ncontent-length: 9\r\n\r\nabc";
    io.write_all(head.as_bytes()).await.unwrap();
    drop(io);
    let lost = async {
        while running.newest().number == last {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), lost).await.unwrap();
    let lost = running.newest();
    assert!(lost.answer.is_none() && lost.body == KeptBody::NotRead, "{lost:?}");
    assert_eq!(lost.outcome, Outcome::Failed);
    assert!(lost.reason.as_ref().unwrap().contains("broke off"), "{:?}", lost.reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_request_with_a_fault_is_kept_with_its_whole_body() {
    let running = Running::start(1 << 20).await;
    for (fault, status) in [("500", Some(500)), ("429", Some(429)), ("reset", None)] {
        let fault: Fault = fault.parse().unwrap();
        running.deliverer.faults.set(None, fault, "1".parse().unwrap()).unwrap();
        let answer = running.deliver("", LINE).await;
        let start = status.map_or_else(String::new, |status| format!("HTTP/1.1 {status} "));
        assert!(answer.starts_with(&start) && answer.is_empty() == status.is_none(), "{answer}");
        let kept = running.newest();
        assert_eq!(kept.answer.as_ref().map(|answer| answer.status), status, "{fault}");
        assert_eq!((kept.outcome, kept.fault), (Outcome::Failed, Some(fault)));
        assert_eq!(kept.reason, Some(format!("a fault was injected: {fault}")));
        assert!(kept.body == KeptBody::Whole(Bytes::from_static(LINE)), "{kept:?}");
        let Phases { read, wait, decode, verify, store, total } = kept.phases;
        assert!(read.is_some() && wait.is_some() && total.is_some(), "{kept:?}");
        assert_eq!((decode, verify, store), (None, None, None), "{fault}");
    }
    let fault: Fault = "delay=1ms".parse().unwrap();
    running.deliverer.faults.set(Some("lab"), fault, "1".parse().unwrap()).unwrap();
    assert!(running.deliver("", LINE).await.starts_with("HTTP/1.1 200 "));
    let kept = running.deliverer.kept.of_delivery(1).unwrap();
    assert_eq!((kept.number, kept.fault, &kept.reason), (4, Some(fault), &None));
    assert!(running.deliver("", LINE).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(running.newest().fault, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_kept_unless_it_is_wanted() {
    let running = Running::start(0).await;
    assert!(running.deliver("", LINE).await.starts_with("HTTP/1.1 200 "));
    assert!(running.deliver("", BROKEN).await.starts_with("HTTP/1.1 400 "));
    running.send("POST", "/nothing", "", LINE).await;
    assert!(running.deliverer.kept.newest(|_| true, 9).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_several_retry_at_once_is_stored_once() {
    let running = Running::start(0).await;
    let deliverer = &running.deliverer;
    let what = Quarantined {
        id: 0,
        received_at: now(),
        input: "lab".to_owned(),
        peer: "192.0.2.1:1".to_owned(),
        status: 415,
        reason: "its encoding was not known then".to_owned(),
        content_encoding: None,
        bytes: LINE.len() as u64,
        origin: None,
    };
    for _ in 0..20 {
        let id = deliverer.sink.store.quarantine(&what, LINE).unwrap();
        let retry = || {
            let (deliverer, task) = (Arc::clone(deliverer), Task::Retry { ids: vec![id] });
            tokio::task::spawn_blocking(move || control::perform(&deliverer, None, task).is_ok())
        };
        let (one, other) = (retry(), retry());
        // The second finds nothing any more.
        let stored = [one.await.unwrap(), other.await.unwrap()];
        assert_eq!(stored.iter().filter(|stored| **stored).count(), 1, "{stored:?}");
    }
}
