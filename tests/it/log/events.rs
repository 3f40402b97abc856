//! What happens to entries after they were stored has leaves: verdicts that change, segments that are
//! sealed and deleted.

use std::fs;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use vidimus::entry::{Millis, VerdictName};
use vidimus::signature::KeySet;
use vidimus::store::{Directory, Options, Reader, Retention, Store};
use vidimus::tlog::leaf::{Leaf, RetentionReason, salted};

use crate::check::judge;
use crate::harness::home::{Home, RECEIVED_AT, append};
use crate::stores::other_spelling;
use crate::vectors::{vector, vector_keys};

/// The leaves of a store, in order.
pub(crate) fn leaves(store: &Store, reader: &Reader) -> Vec<Leaf> {
    let size = store.write_tiles().unwrap();
    let tiles = reader.tiles().unwrap();
    (0..size).map(|leaf| Leaf::parse(&tiles.record(leaf).unwrap()).unwrap().0).collect()
}

#[test]
fn what_happens_later_has_leaves() {
    let home = Home::new();
    let store = home.open(Options::default());
    let directory = Directory::open(&home.path).unwrap();
    let reader = Reader::open(&directory).unwrap();
    let line = vector("cef-access.vec");
    let other = other_spelling(line.trim_end());
    append(
        &store,
        &format!("{line}{other}\n{}", vector("cef-flipped-byte.vec")),
        &KeySet::default(),
    );
    append(&store, "{\"rt\":1}\n", &KeySet::default());
    store.seal().unwrap();
    store.enter_keys("file", Ok(&vector_keys()), Millis::saturating(RECEIVED_AT)).unwrap();
    store.recheck(judge());
    // Sealing runs after the recheck, and adds leaves at its end.
    store.seal().unwrap();

    let found = leaves(&store, &reader);
    let mut verdicts: Vec<_> = found
        .iter()
        .filter_map(|leaf| match leaf {
            Leaf::Verdict { id, verdict, key, shown, .. } => {
                Some((*id, *verdict, key.is_some(), *shown))
            }
            _ => None,
        })
        .collect();
    verdicts.sort_unstable_by_key(|(id, ..)| *id);
    // The first two have one signed identity, so one of them is shown for both.
    let expected = [
        (1, VerdictName::Valid, true, 0),
        (2, VerdictName::NoKey, false, 1),
        (3, VerdictName::Invalid, false, 0),
    ];
    assert_eq!(verdicts, expected);
    for leaf in &found {
        if let Leaf::Verdict { id, input, .. } = leaf {
            let (_, salt) = reader.leaf_of(*id).unwrap().unwrap();
            assert_eq!(*input, salted(&salt, b"default"), "{id}");
        }
    }

    // The last leaf of a segment says which file it is.
    let sealed = reader.sealed_segments().unwrap().remove(0);
    let bytes = fs::read(home.path.join("segments").join(&sealed.file)).unwrap();
    let hash: [u8; 32] = digest(&SHA256, &bytes).as_ref().try_into().unwrap();
    let seals: Vec<_> = found
        .iter()
        .filter_map(|leaf| match leaf {
            Leaf::Seal { first_id, last_id, sha256 } => Some((*first_id, *last_id, *sha256)),
            _ => None,
        })
        .collect();
    assert_eq!(seals.last(), Some(&(1, 4, hash)), "{seals:?}");

    let everything = Retention { age: Some(Duration::ZERO), size: None };
    assert_eq!(store.prune(everything).unwrap(), 1);
    let reason = RetentionReason::Prune;
    let gone = Leaf::Retention { first_id: 1, last_id: 4, reason, sha256: Some(hash) };
    assert_eq!(leaves(&store, &reader).last(), Some(&gone));
    // A start adds nothing that is there.
    let before = leaves(&store, &reader).len();
    drop(store);
    let store = home.open(Options::default());
    store.seal().unwrap();
    assert_eq!(leaves(&store, &reader).len(), before);
}
