//! An object store that behaves badly, and everything else that a schedule can see.
//!
//! Each call waits until the schedule lets it take effect. It can be answered with an error before or
//! after it took effect, and its effect can come again at any later time.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use fastrand::Rng;

use super::super::{Cursor, Header, Kind, Nonce, ObjectId, Platform, StoreId};
use super::mutant::Mutant;
use crate::objects::{Created, ObjectError, Objects};
use crate::random::NoRandomBytes;

/// What a call does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Effect {
    Create(String, Bytes),
    Get(String),
    Delete(String),
}

#[derive(Clone, Debug, Hash)]
pub(super) enum Answer {
    Created(bool),
    Got(Option<Bytes>),
    Deleted,
    Failed,
}

/// A call that has not been answered yet.
#[derive(Debug)]
pub(super) struct Call {
    id: u64,
    pub actor: usize,
    pub effect: Effect,
    answer: Option<Answer>,
    waker: Option<Waker>,
}

/// What decides.
#[derive(Debug)]
pub(super) enum Chooser {
    /// The first decisions, each with the number of possibilities; after them always the first one.
    Path {
        prefix: Vec<usize>,
        taken: Vec<(usize, usize)>,
    },
    Random(Rng),
}

/// What a store keeps on its own disk, and what the model knows of it.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub id: StoreId,
    pub disk: Disk,
    /// Older states of the disk.
    pub backups: Vec<Disk>,
    /// What its archive has, if it has one.
    pub archive: Option<Disk>,
    /// Whether prune must wait for it: it has joined and its id is its own.
    pub protected: bool,
    /// Whether it shares its id with another process.
    pub twin: bool,
    pub retired: bool,
    /// Why it stopped.
    pub stopped: Option<String>,
}

impl Store {
    /// What it publishes: what it has committed, and archived if it has an archive.
    pub(super) fn safe(&self) -> Cursor {
        let committed = self.disk.cursor();
        match &self.archive {
            None => committed,
            Some(archive) => committed.common(&archive.cursor()),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Disk {
    /// What was read: epoch, number and the bytes.
    pub log: BTreeMap<(u64, u64), Bytes>,
    /// Where epochs ended.
    pub ends: BTreeMap<u64, u64>,
}

impl Disk {
    pub(super) fn cursor(&self) -> Cursor {
        let mut cursor = Cursor::default();
        self.log.keys().for_each(|(epoch, number)| cursor.read_below(*epoch, number + 1));
        self.ends.iter().for_each(|(epoch, number)| cursor.finish(*epoch, *number));
        cursor
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub objects: BTreeMap<String, Bytes>,
    /// Every object of deliveries that was ever there.
    pub ever: BTreeMap<String, Bytes>,
    pub calls: Vec<Call>,
    /// Effects that may still come, though nobody waits for them.
    pub ghosts: Vec<(usize, Effect)>,
    /// All that each actor has seen, as a hash. With the objects it determines the future.
    pub histories: Vec<u64>,
    pub chooser: Chooser,
    pub acknowledged: BTreeSet<u16>,
    pub stores: Vec<Store>,
    /// Faults that may still happen.
    pub faults: u32,
    /// Whether everything runs in order from now on, without decisions.
    pub calm: bool,
    pub mutant: Option<Mutant>,
    pub violation: Option<String>,
    pub trace: Option<Vec<String>>,
    last_call: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(
        chooser: Chooser,
        faults: u32,
        mutant: Option<Mutant>,
        trace: bool,
    ) -> Shared {
        Shared(Arc::new(Mutex::new(World {
            objects: BTreeMap::new(),
            ever: BTreeMap::new(),
            calls: Vec::new(),
            ghosts: Vec::new(),
            histories: vec![0; super::run::ACTORS],
            chooser,
            acknowledged: BTreeSet::new(),
            stores: Vec::new(),
            faults,
            calm: false,
            mutant,
            violation: None,
            trace: trace.then(Vec::new),
            last_call: 0,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

impl World {
    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(text());
        }
    }

    pub(super) fn violate(&mut self, text: String) {
        self.note(|| format!("VIOLATION: {text}"));
        self.violation.get_or_insert(text);
    }

    /// Notes what an actor has seen.
    pub(super) fn saw(&mut self, actor: usize, seen: &impl Hash) {
        let mut hasher = DefaultHasher::new();
        (self.histories[actor], seen).hash(&mut hasher);
        self.histories[actor] = hasher.finish();
    }

    /// Decides between possibilities with these weights.
    pub(super) fn choose(&mut self, weights: &[u32]) -> usize {
        match &mut self.chooser {
            _ if self.calm || weights.len() < 2 => 0,
            Chooser::Path { prefix, taken } => {
                let chosen = prefix.get(taken.len()).copied().unwrap_or(0);
                taken.push((chosen, weights.len()));
                chosen
            }
            Chooser::Random(random) => {
                let mut at = random.u32(..weights.iter().sum::<u32>().max(1));
                let chosen = weights.iter().position(|weight| {
                    let here = at < *weight;
                    at = at.saturating_sub(*weight);
                    here
                });
                chosen.unwrap_or(0)
            }
        }
    }

    /// A decision that an actor makes.
    pub(super) fn decide(&mut self, actor: usize, weights: &[u32]) -> usize {
        let chosen = self.choose(weights);
        self.saw(actor, &("decide", chosen));
        chosen
    }

    /// Everything that determines what can happen from here.
    pub(super) fn fingerprint(&self, running: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.objects.hash(&mut hasher);
        self.ever.len().hash(&mut hasher);
        let mut ghosts: Vec<_> = self.ghosts.iter().collect();
        ghosts.sort();
        ghosts.hash(&mut hasher);
        self.histories.hash(&mut hasher);
        let mut calls: Vec<_> = self.calls.iter().map(|call| (call.actor, &call.effect)).collect();
        calls.sort();
        calls.hash(&mut hasher);
        (self.faults, running).hash(&mut hasher);
        hasher.finish()
    }

    /// Lets an effect happen. `late` is one for which nobody waits.
    pub(super) fn apply(&mut self, effect: &Effect, late: bool) -> Answer {
        match effect {
            Effect::Get(key) => Answer::Got(self.objects.get(key).cloned()),
            Effect::Create(key, _) if self.objects.contains_key(key) => Answer::Created(false),
            Effect::Create(key, body) => {
                self.objects.insert(key.clone(), body.clone());
                if key.starts_with("journal/") {
                    self.created(key, body, late);
                }
                Answer::Created(true)
            }
            Effect::Delete(key) => {
                if let Some(body) = self.objects.remove(key) {
                    self.deleted(key, &body);
                }
                Answer::Deleted
            }
        }
    }

    fn created(&mut self, key: &str, body: &Bytes, late: bool) {
        let seal = Header::parse(body).is_ok_and(|(header, _)| header.kind == Kind::Seal);
        match self.ever.get(key) {
            // A late seal comes too late to matter: no store reads there any more. A store that has
            // lost its id or was retired can do the same.
            Some(_) if seal => {
                if !late && self.stores.iter().all(|store| !store.twin && !store.retired) {
                    self.violate(format!("{key} was sealed after it was pruned"));
                }
            }
            Some(before) if before != body => {
                self.violate(format!("two different objects were at {key}"));
            }
            _ if seal => {}
            _ => {
                self.ever.insert(key.to_owned(), body.clone());
            }
        }
    }

    fn deleted(&mut self, key: &str, body: &Bytes) {
        let Some(ObjectId { epoch, number }) = ObjectId::of_key(key) else {
            return self.violate(format!("{key} was deleted, which is no object of an epoch"));
        };
        let seal = Header::parse(body).is_ok_and(|(header, _)| header.kind == Kind::Seal);
        if seal && !self.ever.contains_key(key) {
            self.violate(format!("the seal {key} was deleted"));
        }
        let lacks = |store: &&Store| {
            let cursor = store.safe();
            cursor.position(epoch).is_some_and(|position| position.next <= number)
        };
        let protected = self.stores.iter().filter(|store| store.protected);
        if let Some(store) = protected.clone().find(lacks) {
            let text = format!("{key} was deleted, which {} could still need", store.id);
            self.violate(text);
        }
    }

    /// Answers a call, which is then done.
    pub(super) fn answer(&mut self, at: usize, answer: Answer) {
        let call = &mut self.calls[at];
        let (actor, seen) = (call.actor, answer.clone());
        call.answer = Some(answer);
        if let Some(waker) = call.waker.take() {
            waker.wake();
        }
        self.saw(actor, &seen);
    }
}

/// The object store and the platform as one actor sees them.
#[derive(Debug)]
pub(super) struct Seat {
    pub shared: Shared,
    pub actor: usize,
    /// What a broken prune has read before.
    cache: Mutex<BTreeMap<String, Option<Bytes>>>,
}

impl Seat {
    pub(super) fn new(shared: &Shared, actor: usize) -> Arc<Seat> {
        Arc::new(Seat { shared: shared.clone(), actor, cache: Mutex::default() })
    }

    fn call(&self, effect: Effect) -> Waiting {
        Waiting { shared: self.shared.clone(), actor: self.actor, state: Err(effect) }
    }

    fn mutant(&self) -> Option<Mutant> {
        self.shared.lock().mutant
    }
}

impl Objects for Seat {
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, ObjectError> {
        match self.call(Effect::Create(key.to_owned(), body)).await {
            Answer::Created(true) => Ok(Created::Now),
            Answer::Created(false) if self.mutant() == Some(Mutant::AcknowledgeOnExists) => {
                Ok(Created::Now)
            }
            Answer::Created(false) => Ok(Created::Exists),
            _ => Err(failed("create", key)),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
        let hidden = match self.mutant() {
            Some(Mutant::IgnoreFloors) => key.starts_with("floors/"),
            _ => false,
        };
        if hidden && self.actor < super::run::PRUNE {
            return Ok(None);
        }
        let stale = self.mutant() == Some(Mutant::PruneWithOldCursors)
            && self.actor >= super::run::PRUNE
            && (key.starts_with("stores/") || key.starts_with("registry/"));
        if stale && let Some(known) = self.cache.lock().unwrap().get(key) {
            return Ok(known.clone());
        }
        match self.call(Effect::Get(key.to_owned())).await {
            Answer::Got(found) => {
                if stale {
                    self.cache.lock().unwrap().insert(key.to_owned(), found.clone());
                }
                Ok(found)
            }
            _ => Err(failed("read", key)),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        match self.call(Effect::Delete(key.to_owned())).await {
            Answer::Deleted => Ok(()),
            _ => Err(failed("delete", key)),
        }
    }
}

impl Platform for Seat {
    async fn pause(&self, _: u32, _: Option<&ObjectError>) {}

    fn nonce(&self) -> Result<Nonce, NoRandomBytes> {
        let mut world = self.shared.lock();
        world.saw(self.actor, &"nonce");
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&(self.actor as u64).to_be_bytes());
        nonce[8..].copy_from_slice(&world.histories[self.actor].to_be_bytes());
        Ok(Nonce(nonce))
    }
}

fn failed(doing: &'static str, key: &str) -> ObjectError {
    ObjectError::Call { doing, key: key.to_owned(), why: "the schedule says so".to_owned() }
}

/// A call that waits for its answer. `state` is its effect until it is sent, and then its id.
struct Waiting {
    shared: Shared,
    actor: usize,
    state: Result<u64, Effect>,
}

impl Future for Waiting {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let this = &mut *self;
        let mut world = this.shared.lock();
        let id = match &this.state {
            Ok(id) => *id,
            Err(effect) => {
                world.last_call += 1;
                let id = world.last_call;
                let (actor, effect) = (this.actor, effect.clone());
                world.calls.push(Call { id, actor, effect, answer: None, waker: None });
                this.state = Ok(id);
                id
            }
        };
        let at = world.calls.iter().position(|call| call.id == id).unwrap();
        if world.calls[at].answer.is_none() {
            world.calls[at].waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let call = world.calls.remove(at);
        Poll::Ready(call.answer.unwrap())
    }
}

/// Whoever gives up a call does not know whether it takes effect, now or later.
impl Drop for Waiting {
    fn drop(&mut self) {
        let Ok(id) = self.state else { return };
        let mut world = self.shared.lock();
        if let Some(at) = world.calls.iter().position(|call| call.id == id) {
            let call = world.calls.remove(at);
            if call.answer.is_none() && !matches!(call.effect, Effect::Get(_)) {
                world.ghosts.push((call.actor, call.effect));
            }
        }
    }
}
