//! Every checkpoint that was ever given out is one of the final tree, and every acknowledged entry
//! has a leaf, after kills at random moments under load.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{
    checkpoint, differences, entry_id, leaf_hash, line, records, root, vkey, wait_for_size,
};
use crate::crash::KillsUnderLoad;
use crate::harness::{Setup, assert_sound};

#[test]
fn what_was_signed_stays_after_twelve_kills() {
    let config = "[store]\nsegment_entries = 300\n[log]\ncheckpoint_interval = '100ms'\n";
    let mut serve = Setup::new().config(config).arguments("--no-tls").start();
    let (vkey, file) = (vkey(&serve.data()), serve.data().join("log/checkpoint"));
    let load = KillsUnderLoad { kills: 12, senders: 3, deliveries: 10..80, line };
    let is_done = AtomicBool::new(false);
    let (acknowledged, given_out) = std::thread::scope(|scope| {
        // What is given out is this file.
        let collector = scope.spawn(|| {
            let mut notes = BTreeSet::new();
            while !is_done.load(Ordering::SeqCst) {
                notes.extend(fs::read_to_string(&file));
                std::thread::yield_now();
            }
            notes
        });
        let acknowledged = load.run(&mut serve);
        is_done.store(true, Ordering::SeqCst);
        (acknowledged, collector.join().unwrap())
    });
    let stored = serve.stored();
    let newest = wait_for_size(&serve, stored.len() + 1);
    let records = records(&serve, newest.size);
    let hashes: Vec<_> = records.iter().map(|record| leaf_hash(record)).collect();
    assert_eq!(root(&hashes), newest.root);
    assert!(given_out.len() > 12, "only {} checkpoints", given_out.len());
    for note in &given_out {
        let given_out = checkpoint(note, &vkey);
        assert_eq!(root(&hashes[..given_out.size]), given_out.root, "{}", given_out.size);
        let kept = serve.data().join(format!("log/checkpoints/{}", given_out.size));
        assert_eq!(&fs::read_to_string(kept).unwrap(), note);
    }
    let with_leaf: HashSet<_> = records.iter().filter_map(|record| entry_id(record)).collect();
    let ids: HashMap<_, _> = stored.into_iter().map(|entry| (entry.line, entry.id)).collect();
    for line in acknowledged {
        let id = ids.get(line.as_bytes()).expect("an acknowledged line is stored");
        assert!(with_leaf.contains(id), "the entry {id} has no leaf");
    }
    serve.stop();
    assert_sound(&serve.data());
    assert_eq!(differences(&[], &serve.data()), [""; 0]);
}
