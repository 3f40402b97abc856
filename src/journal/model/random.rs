//! Long schedules in a random order, and the broken protocols that they must find.

use fastrand::Rng;

use super::mutant::Mutant;
use super::run::{Event, Faults, OPERATOR, PRUNE, RECEIVER, Run, STORE};
use super::world::{Chooser, Disk};

/// Two receivers with two objects each, two stores that may have an archive, a prune, and all that
/// can happen to them, in a random order.
fn random(seed: u64, mutant: Option<Mutant>, trace: bool) -> Run {
    let mut dice = Rng::with_seed(seed);
    let faults = dice.u32(0..12);
    let chooser = Chooser::Random(Rng::with_seed(seed ^ 0x5eed));
    let mut run = Run::new(chooser, (Faults::ALL, faults), mutant, trace);
    let mut delivery = 0;
    let mut batches = |dice: &mut Rng| -> Vec<Vec<u16>> {
        let mut batch = |dice: &mut Rng| {
            let count = dice.u16(1..3);
            delivery += count;
            (delivery - count..delivery).collect()
        };
        (0..dice.usize(1..5)).map(|_| batch(dice)).collect()
    };
    for at in 0..2 {
        let batches = batches(&mut dice);
        run.start_receiver(at, batches, None);
    }
    for id in ["a", "b"] {
        let at = run.add_store(id, Disk::default());
        if dice.u8(..4) == 0 {
            run.archive(at);
        }
        run.start_store(at, 4);
    }
    // Whether this schedule has more than crashes and faults: restored and doubled stores are rare.
    let (odd, doubles) = (dice.bool(), dice.u8(..6) == 0);
    for _ in 0..dice.u32(20..400) {
        let mut options = run.options();
        options.retain(|(event, _)| *event != Event::Finish);
        let weights: Vec<_> = options.iter().map(|(_, weight)| *weight).collect();
        if !weights.is_empty() {
            let chosen = run.shared.lock().choose(&weights);
            run.happen(&options[chosen].0.clone());
        }
        let stores = run.shared.lock().stores.len();
        match dice.u32(..100) {
            0..3 if !run.is_running(PRUNE) => run.start_prune(),
            3..8 => {
                let at = dice.usize(..stores);
                if !run.is_running(STORE + at) && run.shared.lock().stores[at].stopped.is_none() {
                    run.start_store(at, dice.u32(1..5));
                }
            }
            8..10 => {
                let at = dice.usize(..3);
                if !run.is_running(RECEIVER + at) {
                    let batches = batches(&mut dice);
                    run.start_receiver(at, batches, None);
                }
            }
            10 if odd => {
                let at = dice.usize(..stores);
                let backups = run.shared.lock().stores[at].backups.len();
                run.restore(at, dice.usize(..backups));
                run.start_store(at, dice.u32(1..5));
            }
            11 if odd && stores < 4 => {
                let at = run.add_store("c", Disk::default());
                run.start_store(at, 4);
            }
            12 if odd && doubles && stores < 4 => {
                let (id, disk) = {
                    let world = run.shared.lock();
                    let store = &world.stores[dice.usize(..stores)];
                    (store.id.to_string(), store.backups[dice.usize(..store.backups.len())].clone())
                };
                let at = run.add_store(&id, disk);
                run.start_store(at, 4);
            }
            15..18 => {
                let at = dice.usize(..stores);
                let has_archive = run.shared.lock().stores[at].archive.is_some();
                match dice.bool() {
                    _ if !has_archive => {}
                    true => run.archive(at),
                    false => {
                        run.rebuild(at);
                        run.start_store(at, dice.u32(1..5));
                    }
                }
            }
            14 if !run.is_running(OPERATOR) => run.start_second_prune(),
            13 if odd && doubles && !run.is_running(OPERATOR) => {
                run.start_retirement(dice.usize(..stores));
            }
            _ => {}
        }
        if run.shared.lock().violation.is_some() {
            return run;
        }
    }
    run.conclude();
    run
}

/// Runs random schedules. Returns the first seed that goes wrong, with all that happened.
fn search(seeds: std::ops::Range<u64>, mutant: Option<Mutant>) -> Option<String> {
    for seed in seeds {
        if let Some(wrong) = random(seed, mutant, false).shared.lock().violation.take() {
            let again = random(seed, mutant, true);
            let trace = again.shared.lock().trace.take().unwrap_or_default().join("\n");
            return Some(format!("{trace}\n{wrong}\nseed {seed}"));
        }
    }
    None
}

#[test]
fn random_schedules() {
    let count = std::env::var("VIDIMUS_SCHEDULES").ok().and_then(|count| count.parse().ok());
    if let Some(wrong) = search(0..count.unwrap_or(1500), None) {
        panic!("{wrong}");
    }
}

#[test]
fn every_broken_protocol_is_found() {
    for mutant in Mutant::FREQUENT {
        let found = search(0..5000, Some(mutant));
        assert!(found.is_some(), "{mutant:?} is not found");
    }
}
