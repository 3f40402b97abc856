//! Every short schedule: a search over the decisions of a schedule, which starts from the beginning each
//! time. What follows a state that was seen before is not looked at again. A state is all that the
//! objects hold and all that the actors have seen, so most orders that make no difference are one.

use std::collections::HashSet;

use super::mutant::Mutant;
use super::run::{self, Event, Faults, OPERATOR, PRUNE, RECEIVER, Run, STORE};
use super::world::{Chooser, Disk};

/// The beginning of a schedule: it starts the actors.
type Scenario = fn(&mut Run);

/// What may happen in the schedules of a scenario.
#[derive(Clone, Copy)]
struct Bounds {
    faults: (Faults, u32),
    /// How often something else than the oldest call may come next.
    turns: u32,
}

/// Runs every schedule of a scenario. Returns how many states there were, or what went wrong.
fn explore(scenario: Scenario, bounds: Bounds, mutant: Option<Mutant>) -> Result<usize, String> {
    let mut seen = HashSet::new();
    let mut path = Vec::new();
    loop {
        let (run, taken) = follow(scenario, bounds, mutant, path.clone(), Some(&mut seen), false);
        if let Some(wrong) = run.shared.lock().violation.take() {
            let path: Vec<_> = taken.iter().map(|(chosen, _)| *chosen).collect();
            let (again, _) = follow(scenario, bounds, mutant, path.clone(), None, true);
            let trace = again.shared.lock().trace.take().unwrap_or_default().join("\n");
            return Err(format!("{trace}\n{wrong}\npath {path:?}"));
        }
        let Some(at) = taken.iter().rposition(|(chosen, of)| chosen + 1 < *of) else {
            return Ok(seen.len());
        };
        path = taken[..at].iter().map(|(chosen, _)| *chosen).collect();
        path.push(taken[at].0 + 1);
    }
}

fn follow(
    scenario: Scenario,
    bounds: Bounds,
    mutant: Option<Mutant>,
    prefix: Vec<usize>,
    mut seen: Option<&mut HashSet<u64>>,
    trace: bool,
) -> (Run, Vec<(usize, usize)>) {
    let known = prefix.len();
    let chooser = Chooser::Path { prefix, taken: Vec::new() };
    let mut run = Run::new(chooser, bounds.faults, mutant, trace);
    scenario(&mut run);
    let mut turns = bounds.turns;
    let taken = |run: &Run| match &run.shared.lock().chooser {
        Chooser::Path { taken, .. } => taken.clone(),
        Chooser::Random(_) => Vec::new(),
    };
    loop {
        let mut options = run.options();
        if turns == 0 {
            options.truncate(1);
        }
        if let Some(seen) = &mut seen
            && taken(&run).len() >= known
        {
            let running: Vec<_> = (0..run::ACTORS).map(|actor| run.is_running(actor)).collect();
            let new = seen.insert(run.shared.lock().fingerprint((running, turns)));
            if !new {
                let taken = taken(&run);
                return (run, taken);
            }
        }
        let weights: Vec<_> = options.iter().map(|(_, weight)| *weight).collect();
        let chosen = run.shared.lock().choose(&weights);
        turns -= u32::from(chosen > 0);
        let event = options[chosen].0.clone();
        run.happen(&event);
        if event == Event::Finish || run.shared.lock().violation.is_some() {
            break;
        }
    }
    let taken = taken(&run);
    if run.shared.lock().violation.is_none() {
        run.conclude();
    }
    (run, taken)
}

/// One receiver in the middle of an epoch, and a store.
fn receiver_and_store(run: &mut Run) {
    let epoch = run.epoch(RECEIVER);
    run.start_receiver(0, vec![vec![1], vec![2]], Some(epoch));
    let at = run.add_store("a", Disk::default());
    run.start_store(at, 2);
}

/// Two receivers that begin at once, with two objects each.
fn two_receivers(run: &mut Run) {
    run.start_receiver(0, vec![vec![1], vec![2]], None);
    run.start_receiver(1, vec![vec![11], vec![12]], None);
}

/// A receiver in the middle of an epoch, and two stores.
fn two_stores(run: &mut Run) {
    let epoch = run.epoch(RECEIVER);
    run.start_receiver(0, vec![vec![1], vec![2]], Some(epoch));
    for id in ["a", "b"] {
        let at = run.add_store(id, Disk::default());
        run.start_store(at, 1);
    }
}

/// An epoch that a store has read, with its cursor published.
fn read_epoch(run: &mut Run) {
    let epoch = run.epoch(RECEIVER);
    run.start_receiver(0, vec![vec![1], vec![2]], Some(epoch));
    run.finish_started();
    let at = run.add_store("a", Disk::default());
    // The second process publishes what the first has read.
    for _ in 0..2 {
        run.start_store(at, 1);
        run.finish_started();
    }
}

/// A prune, and a store that comes back from an older copy.
fn prune_and_restored_store(run: &mut Run) {
    read_epoch(run);
    run.start_prune();
    run.restore(0, 2);
    run.start_store(0, 1);
}

/// A prune, and a new store.
fn prune_and_new_store(run: &mut Run) {
    read_epoch(run);
    run.start_prune();
    let at = run.add_store("b", Disk::default());
    run.start_store(at, 1);
}

/// Two prunes, and a store that comes back from an older copy.
fn two_prunes(run: &mut Run) {
    read_epoch(run);
    run.start_prune();
    run.start_second_prune();
    run.restore(0, 2);
    run.start_store(0, 0);
}

/// A prune while an epoch is written and read.
fn prune_at_work(run: &mut Run) {
    let epoch = run.epoch(RECEIVER);
    let at = run.add_store("a", Disk::default());
    run.start_receiver(0, vec![vec![1]], Some(epoch));
    run.start_store(at, 2);
    run.start_prune();
}

/// A store that was retired while it ran, and what it has not read is deleted.
fn retired_and_pruned(run: &mut Run) {
    read_epoch(run);
    let at = run.add_store("b", Disk::default());
    run.start_store(at, 2);
    run.advance(STORE + at, "journal/0/");
    run.start_retirement(at);
    run.advance(OPERATOR, "nothing");
    run.start_prune();
    run.advance(PRUNE, "nothing");
}

/// All at once.
fn everything(run: &mut Run) {
    two_receivers(run);
    for id in ["a", "b"] {
        let at = run.add_store(id, Disk::default());
        run.start_store(at, 2);
    }
    run.start_prune();
}

/// Explores a scenario with so many faults, and so many times that another than the oldest call is next.
/// `VIDIMUS_TURNS` adds to both.
fn check(scenario: Scenario, faults: u32, turns: u32) {
    let more = std::env::var("VIDIMUS_TURNS").ok().and_then(|more| more.parse().ok()).unwrap_or(0);
    let bounds = Bounds { faults: (Faults::ALL, faults + more), turns: turns.saturating_add(more) };
    match explore(scenario, bounds, None) {
        Ok(states) => assert!(states > 100, "only {states} states"),
        Err(wrong) => panic!("{wrong}"),
    }
}

#[test]
fn a_receiver_and_a_store_in_every_order() {
    check(receiver_and_store, 0, u32::MAX);
}

#[test]
fn a_receiver_and_a_store_with_a_fault() {
    check(receiver_and_store, 1, 2);
}

#[test]
fn two_receivers_in_every_order_with_a_fault() {
    check(two_receivers, 1, u32::MAX);
}

#[test]
fn two_stores_that_may_seal() {
    check(two_stores, 0, 3);
    check(two_stores, 1, 1);
}

#[test]
fn a_prune_and_a_store_that_comes_back() {
    check(prune_and_restored_store, 0, 2);
    check(prune_and_restored_store, 1, 1);
}

#[test]
fn a_prune_and_a_new_store() {
    check(prune_and_new_store, 0, 2);
    check(prune_and_new_store, 1, 1);
}

#[test]
fn two_prunes_at_once() {
    check(two_prunes, 0, 3);
}

#[test]
fn a_prune_while_all_are_at_work() {
    check(prune_at_work, 1, 2);
}

#[test]
fn a_store_does_not_seal_where_something_was_deleted() {
    let bounds = Bounds { faults: (Faults::ALL, 1), turns: u32::MAX };
    explore(retired_and_pruned, bounds, None).unwrap();
    explore(retired_and_pruned, bounds, Some(Mutant::SealWithoutFloors)).unwrap_err();
}

#[test]
fn everything_at_once() {
    check(everything, 0, 1);
}
