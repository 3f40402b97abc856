//! Every checkpoint that was ever given out is one of the final tree, and every acknowledged entry
//! has a leaf, after kills at random moments under load.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::{
    checkpoint, differences, entry_id, kept, leaf_hash, line, records, root, vkey, wait_for_size,
};
use crate::crash::KillsUnderLoad;
use crate::harness::{DEADLINE, Setup, assert_sound};

/// The checkpoint that the server gives out over HTTP whose addresses are in this file. `None` if it
/// does not answer: it may be killed at any time.
fn fetch(ready: &Path) -> Option<String> {
    let addresses: Value = serde_json::from_slice(&fs::read(ready).ok()?).ok()?;
    let address = addresses["console"].as_str()?.strip_prefix("http://")?.to_owned();
    let mut connection = TcpStream::connect(&address).ok()?;
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = "GET /log/checkpoint HTTP/1.1\r\nconnection: close\r\nhost: ";
    write!(connection, "{request}{address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let (head, note) = answer.split_once("\r\n\r\n")?;
    let length = format!("content-length: {}\r\n", note.len());
    (head.starts_with("HTTP/1.1 200 ") && format!("{head}\r\n").contains(&length))
        .then(|| note.to_owned())
}

#[test]
fn what_was_given_out_stays_after_twelve_kills() {
    let config = "[store]\nsegment_entries = 300\n[log]\ncheckpoint_interval = '100ms'\n";
    let mut serve = Setup::new().config(config).arguments("--no-tls").start();
    let (vkey, ready) = (vkey(&serve.data()), serve.home().join("ready.json"));
    let load = KillsUnderLoad { kills: 12, senders: 3, deliveries: 10..80, line };
    let is_done = AtomicBool::new(false);
    let (acknowledged, given_out) = std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut notes = BTreeSet::new();
            while !is_done.load(Ordering::SeqCst) {
                notes.extend(fetch(&ready));
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
    serve.stop();
    // Each is kept too, once, and each that is kept is of this tree.
    let kept = kept(&serve.data());
    let sizes: Vec<_> = kept.iter().map(|(_, note)| checkpoint(note, &vkey).size).collect();
    assert!(sizes.is_sorted_by(|one, two| one < two), "{sizes:?}");
    let kept: BTreeSet<_> = kept.into_iter().map(|(_, note)| note).collect();
    assert!(given_out.is_subset(&kept), "{:?}", given_out.difference(&kept));
    for note in &kept {
        let signed = checkpoint(note, &vkey);
        assert_eq!(root(&hashes[..signed.size]), signed.root, "{}", signed.size);
    }
    let with_leaf: HashSet<_> = records.iter().filter_map(|record| entry_id(record)).collect();
    let ids: HashMap<_, _> = stored.into_iter().map(|entry| (entry.line, entry.id)).collect();
    for line in acknowledged {
        let id = ids.get(line.as_bytes()).expect("an acknowledged line is stored");
        assert!(with_leaf.contains(id), "the entry {id} has no leaf");
    }
    assert_sound(&serve.data());
    assert_eq!(differences(&[], &serve.data()), [""; 0]);
}
