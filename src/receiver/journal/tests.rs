//! A sink and its writer over an object store in memory that a test makes hang, fail and lie.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::status::{PutObserver, PutWatch};
use super::writer::{Writer, WriterSettings};
use super::*;
use crate::clock::now;
use crate::ingest::Caps;
use crate::journal::keys::object;
use crate::journal::object::{ObjectLimits, deliveries};
use crate::journal::{Header, Journal, Kind, Nonce, ObjectId};
use crate::net::{MemoryBudget, Trigger, shutdown};
use crate::objects::testing::Memory;
use crate::objects::watched::Watched;
use crate::objects::{Created, ObjectError, Objects};
use crate::receiver::InputEndpoint;
use crate::store::StoredBatch;

const HOUR: Duration = Duration::from_secs(3600);

/// What happens to the next calls that create an object whose key begins so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// There is no answer, and the object is not created.
    Hangs,
    /// There is an error, and the object is not created.
    Fails,
    /// There is an error, and the object is created.
    Lies,
    /// The call waits for a permit.
    Waits,
}

/// An object store in memory that fails.
struct Faulty {
    memory: Memory,
    trouble: Mutex<Vec<(&'static str, Trouble)>>,
    permits: Semaphore,
}

impl Faulty {
    fn new(trouble: &[(&'static str, Trouble)]) -> Arc<Faulty> {
        Arc::new(Faulty {
            memory: Memory::default(),
            trouble: Mutex::new(trouble.to_vec()),
            permits: Semaphore::new(0),
        })
    }

    fn keys(&self) -> Vec<String> {
        self.memory.keys("")
    }

    /// The bodies in an object, as text.
    fn bodies(&self, epoch: u64, number: u64) -> Vec<String> {
        let all = self.deliveries(ObjectId { epoch, number });
        all.iter().map(|one| String::from_utf8(one.body.to_vec()).unwrap()).collect()
    }

    fn deliveries(&self, id: ObjectId) -> Vec<Delivery> {
        let limits = ObjectLimits { bytes: 1 << 20, deliveries: 100 };
        deliveries(id, &self.memory.body(&id.key()), None, limits).unwrap()
    }
}

impl Objects for Arc<Faulty> {
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, ObjectError> {
        let next = {
            let mut trouble = self.trouble.lock().unwrap();
            let at = trouble.iter().position(|(prefix, _)| key.starts_with(prefix));
            at.map(|at| trouble.remove(at).1)
        };
        let failed = || ObjectError::Call {
            doing: "create",
            key: key.to_owned(),
            why: "on purpose".to_owned(),
        };
        match next {
            Some(Trouble::Hangs) => std::future::pending().await,
            Some(Trouble::Fails) => Err(failed()),
            Some(Trouble::Lies) => {
                self.memory.create(key, body).await?;
                Err(failed())
            }
            Some(Trouble::Waits) => {
                self.permits.acquire().await.unwrap().forget();
                self.memory.create(key, body).await
            }
            None => self.memory.create(key, body).await,
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
        self.memory.get(key).await
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.memory.delete(key).await
    }
}

/// Counts what it observes.
#[derive(Default)]
struct Counts {
    journaled: AtomicUsize,
    puts: AtomicUsize,
    abandoned: AtomicUsize,
    failed: AtomicUsize,
}

impl DeliveryObserver for Counts {
    fn stored(&self, _: &StoredBatch) {}
    fn journaled(&self, _: &Delivery, _: Instant, _: LineCounts) {
        self.journaled.fetch_add(1, Ordering::Relaxed);
    }
    fn failed(&self, _: &str, _: &str, _: Option<u16>, _: &str) {}
    fn refused(&self, _: &Refused) {}
}

impl PutObserver for Counts {
    fn put(&self, _: u64, _: usize, _: Duration) {
        self.puts.fetch_add(1, Ordering::Relaxed);
    }
    fn call_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
    fn abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }
}

/// A sink with a running writer.
struct Running {
    memory: Arc<Faulty>,
    sink: Arc<JournalSink>,
    counts: Arc<Counts>,
    budget: MemoryBudget,
    writer: JoinHandle<()>,
    trigger: Trigger,
}

/// Each delivery is put by itself at once, and waits as long as it takes.
const AT_ONCE: WriterSettings =
    WriterSettings { max_wait: Duration::ZERO, max_size: 1 << 20, put_timeout: HOUR };

impl Running {
    fn start(settings: WriterSettings, trouble: &[(&'static str, Trouble)]) -> Running {
        let memory = Faulty::new(trouble);
        let (status, counts) = (Arc::new(JournalStatus::default()), Arc::new(Counts::default()));
        let observer = Arc::clone(&counts) as Arc<_>;
        let watch = Arc::new(PutWatch { status: Arc::clone(&status), observer });
        let objects =
            Watched { objects: Arc::clone(&memory), limit: HOUR, watch: Arc::clone(&watch) };
        let (queue, queued) = mpsc::unbounded_channel();
        let journal = Journal::new(Arc::new(objects));
        let writer = Writer::new(journal, None, settings, watch, queued);
        let observer = Arc::clone(&counts) as Arc<dyn DeliveryObserver>;
        let (trigger, shutdown) = shutdown();
        Running {
            memory,
            sink: Arc::new(JournalSink { queue, status, observer }),
            counts,
            budget: MemoryBudget::new(1 << 20),
            writer: tokio::spawn(writer.run(shutdown)),
            trigger,
        }
    }

    fn delivery(&self, body: &str) -> BodyDelivery {
        let input = InputEndpoint {
            name: "lab".to_owned(),
            path: "/lab".to_owned(),
            authorization: Vec::new(),
            expected: Arc::default(),
            profile: ResponseProfile::Vidimus,
        };
        BodyDelivery {
            received_at: now(),
            started: Instant::now(),
            input: Arc::new(input),
            peer: "192.0.2.1:1".to_owned(),
            content_encoding: None,
            sent: body.len() as u64,
            body: Bytes::copy_from_slice(body.as_bytes()),
            reservation: self.budget.reserve(),
        }
    }

    /// Hands over a delivery. Returns what it is settled with, in time.
    async fn deliver(&self, body: &str) -> oneshot::Receiver<Settled> {
        let (sink, delivery) = (Arc::clone(&self.sink), self.delivery(body));
        let taken = tokio::task::spawn_blocking(move || {
            let limits = ReceiverLimits {
                max_body: 1000,
                max_decoded: 1000,
                lines: Caps { max_line: 100, max_lines: 5 },
                body_timeout: HOUR,
                queue_timeout: HOUR,
                trusted_proxies: Vec::new(),
            };
            sink.accept(delivery, &limits, &mut Phases::default(), &Handle::current())
        });
        later(taken.await.unwrap())
    }

    /// Waits until something holds that the writer brings about.
    async fn until(&self, what: &str, holds: impl Fn(&Running) -> bool) {
        let waiting = async {
            while !holds(self) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect(what);
    }

    /// Ends the writer, which must have settled everything.
    async fn end(self) -> (Arc<Faulty>, Arc<Counts>) {
        let Running { memory, sink, counts, budget, writer, trigger: _trigger } = self;
        let status = Arc::clone(&sink.status);
        drop(sink);
        writer.await.unwrap();
        assert_eq!(budget.available(), budget.total(), "memory is still held");
        assert_eq!(status.waiting(), (0, 0));
        (memory, counts)
    }
}

fn later(settlement: Settlement) -> oneshot::Receiver<Settled> {
    match settlement {
        Settlement::Later(settled) => settled,
        Settlement::Now(settled) => panic!("settled at once: {settled:?}"),
    }
}

async fn check_answer(settled: Settled, received: u64, malformed: u64) {
    let response = settled.expect("it is acknowledged").response;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, format!("{{\"received\":{received},\"malformed\":{malformed}}}"));
}

#[track_caller]
fn check_problem(settled: Settled, status: u16) {
    assert_eq!(settled.expect_err("it is not acknowledged").problem.status, status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_delivery_is_settled_when_it_is_in_the_journal() {
    let running = Running::start(AT_ONCE, &[]);
    let good = "{}\nhello\n\n{\"a\":1}\n";
    check_answer(running.deliver(good).await.await.unwrap(), 3, 1).await;
    check_answer(running.deliver("").await.await.unwrap(), 0, 0).await;
    assert_eq!(running.sink.status.epoch(), Some((0, 2)));
    assert_eq!(running.sink.status.trouble(), None);
    let (memory, counts) = running.end().await;
    assert_eq!(memory.keys(), ["epochs/0".to_owned(), object(0, 0), object(0, 1)]);
    assert_eq!(memory.bodies(0, 0), [good]);
    assert_eq!(memory.bodies(0, 1), [""]);
    assert_eq!(counts.journaled.load(Ordering::Relaxed), 2);
    assert_eq!(counts.puts.load(Ordering::Relaxed), 2);
    assert_eq!(counts.failed.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn too_many_lines_are_refused_and_not_journaled() {
    let running = Running::start(AT_ONCE, &[]);
    let delivery = running.delivery(&"{}\n".repeat(6));
    let sink = Arc::clone(&running.sink);
    let limits = ReceiverLimits {
        max_body: 1000,
        max_decoded: 1000,
        lines: Caps { max_line: 100, max_lines: 5 },
        body_timeout: HOUR,
        queue_timeout: HOUR,
        trusted_proxies: Vec::new(),
    };
    let settlement = sink.accept(delivery, &limits, &mut Phases::default(), &Handle::current());
    let Settlement::Now(settled) = settlement else { panic!("it waits") };
    check_problem(settled, 413);
    drop(sink);
    let (memory, _) = running.end().await;
    assert!(memory.keys().iter().all(|key| !key.starts_with("journal/")), "{:?}", memory.keys());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_body_that_cannot_be_decoded_is_journaled_before_it_is_refused() {
    let running = Running::start(AT_ONCE, &[]);
    let problem = Problem::undecodable("no gzip");
    let settled = later(running.sink.keep(running.delivery("broken"), problem.clone()));
    let not_stored = settled.await.unwrap().unwrap_err();
    assert_eq!(not_stored.problem, problem);
    let (memory, counts) = running.end().await;
    let all = memory.deliveries(ObjectId { epoch: 0, number: 0 });
    let expected = Undecoded { status: 400, reason: problem.detail };
    assert_eq!((&all[0].undecoded, &all[0].body[..]), (&Some(expected), &b"broken"[..]));
    assert_eq!(counts.journaled.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn deliveries_gather_while_an_object_is_put() {
    let running = Running::start(AT_ONCE, &[("journal/", Trouble::Waits)]);
    let first = running.deliver("1").await;
    running
        .until("the first is being put", |one| one.memory.trouble.lock().unwrap().is_empty())
        .await;
    let others = [running.deliver("2").await, running.deliver("3").await];
    assert_eq!(running.sink.status.waiting(), (3, 3));
    running.memory.permits.add_permits(1);
    check_answer(first.await.unwrap(), 1, 1).await;
    for other in others {
        check_answer(other.await.unwrap(), 1, 1).await;
    }
    let (memory, counts) = running.end().await;
    assert_eq!(memory.bodies(0, 0), ["1"]);
    assert_eq!(memory.bodies(0, 1), ["2", "3"]);
    assert_eq!(counts.puts.load(Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn enough_bytes_do_not_wait_any_longer() {
    let settings = WriterSettings { max_wait: HOUR, max_size: 4, ..AT_ONCE };
    let running = Running::start(settings, &[]);
    let settled = [running.deliver("12").await, running.deliver("34").await];
    for settled in settled {
        check_answer(settled.await.unwrap(), 1, 1).await;
    }
    // From the beginning of a shutdown nothing waits, and what is left is put at the end.
    let next = running.deliver("5").await;
    running.trigger.begin(HOUR);
    check_answer(next.await.unwrap(), 1, 1).await;
    let last = running.deliver("6").await;
    let (memory, _) = running.end().await;
    check_answer(last.await.unwrap(), 1, 1).await;
    assert_eq!(memory.bodies(0, 0), ["12", "34"]);
    assert_eq!(memory.bodies(0, 1), ["5"]);
    assert_eq!(memory.bodies(0, 2), ["6"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_answer_that_was_lost_is_found_out() {
    let trouble = [
        ("epochs/", Trouble::Fails),
        ("epochs/", Trouble::Lies),
        ("journal/", Trouble::Fails),
        ("journal/", Trouble::Lies),
    ];
    let running = Running::start(AT_ONCE, &trouble);
    check_answer(running.deliver("1").await.await.unwrap(), 1, 1).await;
    let (memory, counts) = running.end().await;
    assert_eq!(memory.keys(), ["epochs/0".to_owned(), object(0, 0)]);
    assert_eq!(counts.failed.load(Ordering::Relaxed), 4);
    assert_eq!(counts.abandoned.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn after_a_seal_deliveries_go_into_a_new_epoch() {
    let running = Running::start(AT_ONCE, &[]);
    check_answer(running.deliver("1").await.await.unwrap(), 1, 1).await;
    let seal = Header { kind: Kind::Seal, nonce: Nonce([1; 16]) }.to_bytes();
    running.memory.memory.put(&object(0, 1), seal.to_vec());
    check_answer(running.deliver("2").await.await.unwrap(), 1, 1).await;
    assert_eq!(running.sink.status.epoch(), Some((1, 1)));
    let (memory, counts) = running.end().await;
    assert_eq!(memory.bodies(1, 0), ["2"]);
    assert_eq!(counts.abandoned.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_not_put_in_time_is_answered_500_and_its_epoch_is_over() {
    let settings = WriterSettings { put_timeout: Duration::from_secs(1), ..AT_ONCE };
    let running = Running::start(settings, &[("journal/", Trouble::Hangs)]);
    check_problem(running.deliver("1").await.await.unwrap(), 500);
    // The new epoch is begun though nothing waits.
    running.until("a new epoch", |one| one.sink.status.epoch() == Some((1, 0))).await;
    assert_eq!(running.sink.status.trouble(), None);
    check_answer(running.deliver("2").await.await.unwrap(), 1, 1).await;
    let (memory, counts) = running.end().await;
    assert_eq!(memory.bodies(1, 0), ["2"]);
    assert!(!memory.keys().contains(&object(0, 0)));
    assert_eq!(counts.abandoned.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_an_epoch_deliveries_wait_no_longer_than_they_may() {
    let settings = WriterSettings { put_timeout: Duration::from_millis(50), ..AT_ONCE };
    let running = Running::start(settings, &[("epochs/", Trouble::Hangs)]);
    check_problem(running.deliver("1").await.await.unwrap(), 500);
    assert!(running.sink.status.trouble().unwrap().contains("not reached yet"));
    let (memory, _) = running.end().await;
    assert!(memory.keys().is_empty(), "{:?}", memory.keys());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_without_an_answer_is_repeated() {
    let (status, counts) = (Arc::new(JournalStatus::default()), Arc::new(Counts::default()));
    let memory = Faulty::new(&[("journal/", Trouble::Hangs)]);
    let observer = Arc::clone(&counts) as Arc<_>;
    let watch = Arc::new(PutWatch { status: Arc::clone(&status), observer });
    let objects = Watched { objects: memory, limit: Duration::from_millis(20), watch };
    let hung = objects.create("journal/0/0", Bytes::new()).await.unwrap_err().to_string();
    assert!(hung.contains("there was no answer within 20ms"), "{hung}");
    assert_eq!(status.trouble(), Some(hung));
    assert_eq!(objects.create("journal/0/0", Bytes::new()).await.unwrap(), Created::Now);
    assert_eq!(counts.failed.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_writer_answers_a_ping_while_the_object_store_hangs() {
    let running = Running::start(AT_ONCE, &[("epochs/", Trouble::Hangs)]);
    let (sender, answer) = oneshot::channel();
    running.sink.queue.send(Queued::Ping(sender)).ok().unwrap();
    answer.await.unwrap();
    running.writer.abort();
    running.until("the writer has ended", |one| one.sink.queue.is_closed()).await;
    let delivery = running.delivery("1");
    let settlement = running.sink.keep(delivery, Problem::undecodable("x"));
    let Settlement::Now(settled) = settlement else { panic!("it waits for nobody") };
    check_problem(settled, 500);
    assert_eq!(running.sink.status.waiting(), (0, 0));
}
