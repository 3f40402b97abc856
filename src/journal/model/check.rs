//! What must be true at the end.

use std::collections::BTreeMap;

use super::super::header::Kind;
use super::super::{Floor, control, keys};
use super::actors::delivered;
use super::world::{Disk, Store, World};

/// Checks the disks of all stores.
pub(super) fn all(world: &mut World) {
    let mut wrong = Vec::new();
    let mut reference: Option<&Store> = None;
    for store in &world.stores {
        let name = format!("store {}", store.id);
        let mut seen = BTreeMap::new();
        for object in store.disk.log.values() {
            delivered(object).for_each(|delivery| *seen.entry(delivery).or_insert(0) += 1);
        }
        if let Some((delivery, times)) = seen.iter().find(|(_, times)| **times > 1) {
            wrong.push(format!("{name} has read the delivery {delivery} {times} times"));
        }
        wrong.extend(shape(&name, &store.disk));
        match &store.stopped {
            Some(why) => wrong.extend(stopped(world, store, why)),
            None => {
                let lacks = world.acknowledged.iter().find(|id| !seen.contains_key(id));
                if let Some(delivery) = lacks {
                    wrong.push(format!("{name} lacks the acknowledged delivery {delivery}"));
                }
                match reference {
                    Some(other) if other.disk != store.disk => {
                        wrong.push(format!("{name} and {} have read different things", other.id));
                    }
                    _ => reference = Some(store),
                }
            }
        }
    }
    if let Some(reference) = reference {
        for store in &world.stores {
            let other = |(place, object)| reference.disk.log.get(place) != Some(object);
            let end = |(epoch, end)| reference.disk.ends.get(epoch) != Some(end);
            if store.disk.log.iter().any(other) || store.disk.ends.iter().any(end) {
                wrong.push(format!("store {} has what {} has not", store.id, reference.id));
            }
        }
    }
    if let Some(wrong) = wrong.into_iter().next() {
        world.violate(wrong);
    }
}

/// Each epoch is read without gaps, and not above its end.
fn shape(name: &str, disk: &Disk) -> Option<String> {
    let mut next = BTreeMap::new();
    for (epoch, number) in disk.log.keys() {
        let expected = next.entry(*epoch).or_insert(0);
        if number != expected {
            return Some(format!("{name} has read {epoch}/{number} after {expected}"));
        }
        *expected += 1;
    }
    let other = |(epoch, end): &(&u64, &u64)| next.get(epoch).copied().unwrap_or(0) != **end;
    let (epoch, end) = disk.ends.iter().find(other)?;
    Some(format!("{name} has finished {epoch} at {end} and read something else"))
}

/// A store stops only if it must.
fn stopped(world: &World, store: &Store, why: &str) -> Option<String> {
    let wrong = |text: &str| Some(format!("store {} stopped {text}: {why}", store.id));
    if why.contains("pruned past") {
        let cursor = store.disk.cursor();
        let mut floors = (0..).map_while(|number| {
            let object = world.objects.get(&keys::floor(number))?;
            let key = keys::decision(number);
            let decision = world.objects.get(&key).map(|object| object.ends_with(b"\"delete\"}"));
            let floor = control::parse::<Floor>(Kind::Floor, &key, object).unwrap();
            Some(decision == Some(true) && cursor.check(&floor).is_err())
        });
        return if floors.any(|behind| behind) { None } else { wrong("though it lacks nothing") };
    }
    match () {
        () if why.contains("retired") && store.retired => None,
        () if why.contains("another process") && store.twin => None,
        () => wrong("for no reason"),
    }
}
