//! Runs the actors, one answer at a time, as a schedule says. There is no other executor and no clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use super::super::{Epoch, Journal, StoreId};
use super::actors::{self, Task};
use super::check;
use super::mutant::Mutant;
use super::world::{Answer, Chooser, Disk, Effect, Seat, Shared, Store};

/// The places of the actors: three receivers, four processes of stores, a prune, an operator.
pub(super) const RECEIVER: usize = 0;
pub(super) const STORE: usize = 3;
pub(super) const PRUNE: usize = 7;
pub(super) const OPERATOR: usize = 8;
pub(super) const ACTORS: usize = 9;

/// How often a process of a store looks at most in its last run.
const LAST_ROUNDS: u32 = 12;

/// Which faults a schedule may have. Each costs one of its faults.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// A call fails after it took effect.
    pub lost: bool,
    /// A call fails, and takes effect later or never.
    pub late: bool,
    /// A call succeeds, and takes effect again later.
    pub repeat: bool,
    /// A create says that another one is at work, and does nothing.
    pub conflict: bool,
    /// A receiver's patience ends in the middle of a put.
    pub impatient: bool,
    /// A process dies.
    pub crash: bool,
}

impl Faults {
    pub(super) const ALL: Faults = Faults {
        lost: true,
        late: true,
        repeat: true,
        conflict: true,
        impatient: true,
        crash: true,
    };
}

/// What can happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Answer(usize),
    Lose(usize),
    Delay(usize),
    Repeat(usize),
    Conflict(usize),
    Land(usize),
    Impatient(usize),
    Crash(usize),
    /// Nothing more. What comes late comes at the very end.
    Finish,
}

pub(super) struct Run {
    pub shared: Shared,
    tasks: Vec<Option<Task>>,
    over: Vec<Arc<AtomicBool>>,
    faults: Faults,
}

impl Run {
    pub(super) fn new(
        chooser: Chooser,
        (faults, count): (Faults, u32),
        mutant: Option<Mutant>,
        trace: bool,
    ) -> Run {
        Run {
            shared: Shared::new(chooser, count, mutant, trace),
            tasks: (0..ACTORS).map(|_| None).collect(),
            over: (0..ACTORS).map(|_| Arc::default()).collect(),
            faults,
        }
    }

    pub(super) fn seat(&self, actor: usize) -> Arc<Seat> {
        Seat::new(&self.shared, actor)
    }

    /// Runs something without faults before the schedule begins.
    pub(super) fn prepare<T: Send + 'static>(
        &mut self,
        actor: usize,
        work: impl FnOnce(Journal<Seat, Seat>) -> std::pin::Pin<Box<dyn Future<Output = T> + Send>>,
    ) -> T {
        let seat = self.seat(actor);
        let mut work = work(Journal::on(Arc::clone(&seat), seat));
        loop {
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
                return done;
            }
            let mut world = self.shared.lock();
            let effect = world.calls[0].effect.clone();
            let answer = world.apply(&effect, false);
            world.answer(0, answer);
        }
    }

    pub(super) fn epoch(&mut self, receiver: usize) -> Epoch<Seat, Seat> {
        self.prepare(receiver, |journal| Box::pin(async move { journal.begin(0).await.unwrap() }))
    }

    pub(super) fn start_receiver(
        &mut self,
        at: usize,
        batches: Vec<Vec<u16>>,
        epoch: Option<Epoch<Seat, Seat>>,
    ) {
        let over = Arc::clone(&self.over[RECEIVER + at]);
        over.store(false, Ordering::Relaxed);
        let task = actors::receiver(self.seat(RECEIVER + at), over, batches, epoch);
        self.start(RECEIVER + at, Box::pin(task));
    }

    /// Adds a store. Returns its place.
    pub(super) fn add_store(&mut self, id: &str, disk: Disk) -> usize {
        let mut world = self.shared.lock();
        let id: StoreId = id.parse().unwrap();
        let twin = world.stores.iter().any(|store| store.id == id);
        for store in world.stores.iter_mut().filter(|store| store.id == id) {
            (store.twin, store.protected) = (true, false);
        }
        let retired = world.stores.iter().any(|store| store.id == id && store.retired);
        world.stores.push(Store {
            id,
            backups: vec![Disk::default(), disk.clone()],
            disk,
            archive: None,
            protected: false,
            twin,
            retired,
            stopped: None,
        });
        world.stores.len() - 1
    }

    pub(super) fn start_store(&mut self, at: usize, rounds: u32) {
        self.shared.lock().stores[at].stopped = None;
        self.start(STORE + at, Box::pin(actors::store(self.seat(STORE + at), at, rounds, false)));
    }

    pub(super) fn start_prune(&mut self) {
        self.start(PRUNE, Box::pin(actors::prune(self.seat(PRUNE))));
    }

    pub(super) fn start_retirement(&mut self, at: usize) {
        self.start(OPERATOR, Box::pin(actors::retire(self.seat(OPERATOR), at)));
    }

    /// Starts a second prune, in the place of the operator.
    pub(super) fn start_second_prune(&mut self) {
        self.start(OPERATOR, Box::pin(actors::prune(self.seat(OPERATOR))));
    }

    /// Lets what was started end, in order and without faults, before the schedule begins.
    pub(super) fn finish_started(&mut self) {
        self.shared.lock().calm = true;
        self.settle_down();
        self.shared.lock().calm = false;
    }

    /// Answers the calls of one actor before the schedule begins, until it reads below `stop`, or to its
    /// end.
    pub(super) fn advance(&mut self, actor: usize, stop: &str) {
        self.shared.lock().calm = true;
        loop {
            let at = {
                let world = self.shared.lock();
                let of_actor = world.calls.iter().position(|call| call.actor == actor);
                let Some(at) = of_actor else { break };
                match &world.calls[at].effect {
                    Effect::Get(key) if key.starts_with(stop) => break,
                    _ => at,
                }
            };
            self.happen(&Event::Answer(at));
        }
        self.shared.lock().calm = false;
    }

    /// Puts an older state of its disk under a store, whose process dies.
    pub(super) fn restore(&mut self, at: usize, backup: usize) {
        self.kill(STORE + at);
        let mut world = self.shared.lock();
        world.note(|| format!("store {at} is restored from its backup {backup}"));
        let store = &mut world.stores[at];
        store.disk = store.backups[backup].clone();
        store.backups.truncate(backup + 1);
        store.protected = false;
        world.saw(STORE + at, &("restored", backup));
    }

    /// Gives a store an archive, or brings it up to date.
    pub(super) fn archive(&mut self, at: usize) {
        let mut world = self.shared.lock();
        world.note(|| format!("store {at} is archived"));
        let store = &mut world.stores[at];
        let archive = store.archive.get_or_insert_default();
        archive.log.extend(store.disk.log.clone());
        archive.ends.extend(store.disk.ends.clone());
        world.saw(STORE + at, &"archived");
    }

    /// Loses a store, whose process dies, and rebuilds it from its archive.
    pub(super) fn rebuild(&mut self, at: usize) {
        self.kill(STORE + at);
        let mut world = self.shared.lock();
        world.note(|| format!("store {at} is rebuilt from its archive"));
        let store = &mut world.stores[at];
        store.disk = store.archive.clone().unwrap_or_default();
        store.backups = vec![Disk::default(), store.disk.clone()];
        world.saw(STORE + at, &"rebuilt");
    }

    pub(super) fn is_running(&self, actor: usize) -> bool {
        self.tasks[actor].is_some()
    }

    fn start(&mut self, actor: usize, task: Task) {
        self.kill(actor);
        self.shared.lock().saw(actor, &"start");
        self.tasks[actor] = Some(task);
        self.poll(actor);
    }

    fn kill(&mut self, actor: usize) {
        // Dropped without the lock: its calls take it.
        let task = self.tasks[actor].take();
        drop(task);
        self.shared.lock().saw(actor, &"end");
    }

    fn poll(&mut self, actor: usize) {
        let Some(task) = &mut self.tasks[actor] else { return };
        if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            self.tasks[actor] = None;
        }
    }

    /// What can happen now, with how likely it is in a random schedule. The first is the oldest call.
    pub(super) fn options(&self) -> Vec<(Event, u32)> {
        let world = self.shared.lock();
        let mut options = Vec::new();
        options.extend((0..world.calls.len()).map(|at| (Event::Answer(at), 60)));
        if world.calls.is_empty() {
            options.push((Event::Finish, 0));
        }
        options.extend((0..world.ghosts.len()).map(|at| (Event::Land(at), 5)));
        if world.faults == 0 {
            return options;
        }
        for (at, call) in world.calls.iter().enumerate() {
            match call.effect {
                Effect::Get(_) if self.faults.lost => options.push((Event::Lose(at), 3)),
                Effect::Get(_) => {}
                Effect::Create(..) | Effect::Delete(_) => {
                    if self.faults.lost {
                        options.push((Event::Lose(at), 6));
                    }
                    if self.faults.late {
                        options.push((Event::Delay(at), 6));
                    }
                    if self.faults.repeat {
                        options.push((Event::Repeat(at), 4));
                    }
                    if self.faults.conflict && matches!(call.effect, Effect::Create(..)) {
                        options.push((Event::Conflict(at), 3));
                    }
                }
            }
        }
        for actor in (0..ACTORS).filter(|actor| self.is_running(*actor)) {
            if self.faults.impatient && actor < STORE {
                options.push((Event::Impatient(actor), 4));
            }
            if self.faults.crash {
                options.push((Event::Crash(actor), 2));
            }
        }
        options
    }

    /// Lets something happen.
    pub(super) fn happen(&mut self, event: &Event) {
        let actor = {
            let mut world = self.shared.lock();
            let described = match event {
                Event::Answer(at)
                | Event::Lose(at)
                | Event::Delay(at)
                | Event::Repeat(at)
                | Event::Conflict(at) => {
                    let call = &world.calls[*at];
                    Some((call.actor, call.effect.clone()))
                }
                Event::Land(at) => Some(world.ghosts[*at].clone()),
                Event::Impatient(actor) | Event::Crash(actor) => {
                    Some((*actor, Effect::Get(String::new())))
                }
                Event::Finish => None,
            };
            let Some((actor, effect)) = described else { return };
            if !matches!(event, Event::Answer(_) | Event::Land(_)) {
                world.faults -= 1;
            }
            let key = match &effect {
                Effect::Create(key, _) => format!("create {key}"),
                Effect::Get(key) => format!("get {key}"),
                Effect::Delete(key) => format!("delete {key}"),
            };
            match event {
                Event::Answer(at) => {
                    let answer = world.apply(&effect, false);
                    world.note(|| format!("{actor}: {key}: {}", brief(&answer)));
                    world.answer(*at, answer);
                }
                Event::Lose(at) => {
                    world.apply(&effect, false);
                    world.note(|| format!("{actor}: {key}: done, and the answer lost"));
                    world.answer(*at, Answer::Failed);
                }
                Event::Delay(at) => {
                    world.note(|| format!("{actor}: {key}: fails and is on its way"));
                    world.ghosts.push((actor, effect));
                    world.answer(*at, Answer::Failed);
                }
                Event::Repeat(at) => {
                    let answer = world.apply(&effect, false);
                    world.note(|| format!("{actor}: {key}: {}, and it repeats", brief(&answer)));
                    world.ghosts.push((actor, effect));
                    world.answer(*at, answer);
                }
                Event::Conflict(at) => {
                    world.note(|| format!("{actor}: {key}: conflict"));
                    world.answer(*at, Answer::Created(false));
                }
                Event::Land(at) => {
                    world.ghosts.remove(*at);
                    let answer = world.apply(&effect, true);
                    world.note(|| format!("{actor}: {key}: comes late: {}", brief(&answer)));
                    return;
                }
                Event::Impatient(_) => {
                    world.note(|| format!("{actor}: patience ends"));
                    world.saw(actor, &"impatient");
                    self.over[actor].store(true, Ordering::Relaxed);
                }
                Event::Crash(_) => world.note(|| format!("{actor}: dies")),
                Event::Finish => return,
            }
            actor
        };
        match event {
            Event::Crash(_) => self.kill(actor),
            _ => self.poll(actor),
        }
    }

    /// Lets everything end without faults, and checks what came of it.
    pub(super) fn conclude(&mut self) {
        {
            let mut world = self.shared.lock();
            world.note(|| "calm from here".to_owned());
            (world.calm, world.faults) = (true, 0);
        }
        self.settle_down();
        self.read_to_the_end();
        while !self.shared.lock().ghosts.is_empty() {
            self.happen(&Event::Land(0));
        }
        self.read_to_the_end();
        check::all(&mut self.shared.lock());
        // A prune of everything takes nothing from anybody.
        self.start_prune();
        self.settle_down();
        self.read_to_the_end();
        check::all(&mut self.shared.lock());
    }

    fn settle_down(&mut self) {
        while !self.shared.lock().calls.is_empty() && self.shared.lock().violation.is_none() {
            self.happen(&Event::Answer(0));
        }
    }

    fn read_to_the_end(&mut self) {
        let stores = self.shared.lock().stores.len();
        for at in 0..stores {
            if self.shared.lock().stores[at].stopped.is_none() {
                let task = actors::store(self.seat(STORE + at), at, LAST_ROUNDS, true);
                self.start(STORE + at, Box::pin(task));
                self.settle_down();
            }
        }
    }
}

fn brief(answer: &Answer) -> String {
    match answer {
        Answer::Created(now) => (if *now { "created" } else { "exists" }).to_owned(),
        Answer::Got(found) => (if found.is_some() { "found" } else { "absent" }).to_owned(),
        Answer::Deleted => "deleted".to_owned(),
        Answer::Failed => "failed".to_owned(),
    }
}
