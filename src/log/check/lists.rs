//! What the catalog lists, and the sealed files: they must be as the log says, and what the catalog says
//! alone explains nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};

use super::findings::{Difference, Kind};
use super::said::{GoneRanges, Said, Seal, Start};
use super::span;
use crate::ingest::sha256;
use crate::store::{CatalogLists, HashedFile, ListedSegment};

/// The longest line of the list of sealed files: two ids, a hash and what is between.
const MOST: u64 = 20 + 1 + 20 + 1 + 64 + 1;

/// What differs if a sealed segment has no leaf.
pub(super) const NOT_SEALED: &str = "no leaf says that this segment was sealed";

/// The sealed segments that were there when the log began, by their first ids.
pub(super) type Older = BTreeMap<u64, Seal>;

/// Reads the list of the sealed segments that were there when the log began, in the folder of the log.
/// It must be the one that the first leaf commits to.
pub(super) fn older(folder: &Path, start: Start) -> Result<Older, Box<Difference>> {
    let path = folder.join("start");
    let difference = |what: String| Difference::new(Kind::Segment, what).file("log/start").leaf(0);
    let differs = |what: String| Box::new(difference(what));
    let length = match fs::metadata(&path) {
        Ok(found) => found.len(),
        Err(_) if start.segments == 0 => 0,
        Err(error) => return Err(differs(error.to_string())),
    };
    if length > start.segments.saturating_mul(MOST) {
        let what = format!("it is too long for {} segments: {length} bytes", start.segments);
        return Err(differs(what));
    }
    let bytes = match length {
        0 => Vec::new(),
        _ => fs::read(&path).map_err(|error| differs(error.to_string()))?,
    };
    let found = sha256(&digest(&SHA256, &bytes));
    if found != start.sha256 {
        let (found, expected) = (HEXLOWER.encode(&found), HEXLOWER.encode(&start.sha256));
        let what = "its SHA-256 is not that in the first leaf".to_owned();
        return Err(Box::new(difference(what).values(found, expected)));
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Option<Older> = text.lines().map(line).collect();
    match all.filter(|all| all.len() as u64 == start.segments) {
        Some(all) => Ok(all),
        None => Err(differs(format!("it is not a list of {} segments", start.segments))),
    }
}

fn line(text: &str) -> Option<(u64, Seal)> {
    let [first_id, last_id, hash] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let sha256 = HEXLOWER.decode(hash.as_bytes()).ok()?.try_into().ok()?;
    Some((first_id.parse().ok()?, Seal { last_id: last_id.parse().ok()?, sha256 }))
}

/// Compares the lists of the catalog and the hashes of the sealed files with what the log says.
pub(super) fn compare(
    lists: &CatalogLists,
    hashed: &[HashedFile],
    said: &Said,
    older: &Older,
) -> BTreeSet<Difference> {
    let compared = Lists { lists, said, older, gone: said.gone() };
    let mut found = BTreeSet::new();
    let segments: BTreeMap<_, _> = lists.segments.iter().map(|one| (one.first_id, one)).collect();
    for file in hashed {
        // A segment that was sealed again meanwhile has another file.
        if let Some(segment) = segments.get(&file.first_id).filter(|one| one.file == file.file) {
            found.extend(compared.sealed(segment, &file.sha256));
        }
    }
    let firsts: BTreeSet<_> = said.seals().keys().chain(older.keys()).copied().collect();
    for first_id in firsts {
        found.extend(compared.is_there(first_id, segments.get(&first_id).copied()));
    }
    found.extend(compared.gaps());
    found.extend(compared.changes());
    found
}

struct Lists<'a> {
    lists: &'a CatalogLists,
    said: &'a Said,
    older: &'a Older,
    gone: GoneRanges,
}

impl Lists<'_> {
    /// The last id that the store had when the log began.
    fn before(&self) -> u64 {
        self.said.start.map_or(0, |start| start.last_id)
    }

    /// The sealed file that a segment should have now, with the leaf that says so.
    fn newest(&self, first_id: u64) -> Option<(u64, Seal)> {
        let sealed = self.said.seals().get(&first_id).and_then(|seals| seals.last_key_value());
        sealed.map(|(leaf, seal)| (*leaf, *seal)).or(self.older.get(&first_id).map(|one| (0, *one)))
    }

    /// Compares the file of a sealed segment.
    fn sealed(&self, segment: &ListedSegment, sha256: &str) -> Option<Difference> {
        let ListedSegment { first_id, last_id, file, .. } = segment;
        let differs = |what: String| Difference::new(Kind::Segment, what).id(*first_id).file(file);
        let Some((leaf, seal)) = self.newest(*first_id) else {
            return Some(differs(NOT_SEALED.to_owned()));
        };
        let expected = HEXLOWER.encode(&seal.sha256);
        if sha256 != expected {
            let before = self.said.seals().get(first_id).and_then(|seals| {
                seals.iter().find(|(_, seal)| HEXLOWER.encode(&seal.sha256) == sha256)
            });
            let what = match before {
                Some((before, _)) => format!(
                    "it is the file that the leaf {before} names, and the segment was sealed again since"
                ),
                None => "its SHA-256 is not the one that was sealed".to_owned(),
            };
            return Some(differs(what).leaf(leaf).values(sha256, expected));
        }
        let last_id = last_id.unwrap_or(0);
        (last_id != seal.last_id).then(|| {
            let what = "the catalog says another last id of it than the log".to_owned();
            differs(what).leaf(leaf).values(last_id, seal.last_id)
        })
    }

    /// Checks that a segment that was sealed still is, unless it was removed.
    fn is_there(&self, first_id: u64, segment: Option<&ListedSegment>) -> Option<Difference> {
        let (leaf, seal) = self.newest(first_id)?;
        let ids = first_id..=seal.last_id.max(first_id);
        let differs = |what: String| Difference::new(Kind::Segment, what).id(first_id).leaf(leaf);
        match segment {
            Some(segment) if segment.is_sealed => None,
            Some(segment) => {
                let what =
                    "the log says that it is sealed, and the catalog that it is not".to_owned();
                Some(differs(what).file(&segment.file))
            }
            None if self.gone.are_removed(&ids) || self.gone.are_gaps(&ids) => None,
            None => Some(differs(format!(
                "the sealed segment with the entries {} is not in the catalog, and no leaf says why",
                span(&ids)
            ))),
        }
    }

    /// The ids that the catalog says are not there, and the log does not.
    fn gaps(&self) -> impl Iterator<Item = Difference> {
        let lists = [
            ("it lists the entries {} as removed, and no leaf says so", &self.lists.removed, true),
            ("it lists the ids {} as a gap, and no leaf says so", &self.lists.gaps, false),
        ];
        lists.into_iter().flat_map(move |(what, ranges, are_removed)| {
            ranges.iter().filter_map(move |ids| {
                let is_said = match are_removed {
                    true => self.gone.are_removed(ids),
                    false => self.gone.are_gaps(ids),
                };
                // Before the log began there were no leaves. What was sealed then must be there.
                let is_older = *ids.end() <= self.before() && !self.older.contains_key(ids.start());
                let is_empty = ids.is_empty();
                (!is_said && !is_older && !is_empty).then(|| {
                    let what = what.replace("{}", &span(ids));
                    Difference::new(Kind::Catalog, what).id(*ids.start()).file("catalog.db")
                })
            })
        })
    }

    /// The entries whose changes the catalog and the log do not agree on.
    fn changes(&self) -> impl Iterator<Item = Difference> {
        let differs = |id: u64, what: &str, found: u64, expected: u64| {
            let difference = Difference::new(Kind::Catalog, what).id(id).file("catalog.db");
            difference.values(found, expected)
        };
        let by_log = self.said.last_changes().filter_map(move |(id, last)| {
            let found = self.lists.changes.get(&id).copied().unwrap_or(0);
            let is_gone = self.gone.are_removed(&(id..=id)) || self.gone.are_gaps(&(id..=id));
            let what = "its last change is not the one that the log has";
            (found != last && !is_gone).then(|| differs(id, what, found, last))
        });
        let known: BTreeSet<u64> = self.said.last_changes().map(|(id, _)| id).collect();
        // Those from before the log may have no leaf, and then their changes have none.
        let by_catalog = self.lists.changes.iter().filter_map(move |(id, found)| {
            let what = "it changed by the catalog, and no leaf says so";
            let is_known = known.contains(id) || *id <= self.before();
            (!is_known).then(|| differs(*id, what, *found, 0))
        });
        by_log.chain(by_catalog)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::tlog::leaf::{Leaf, RetentionReason};

    const LIST: &str = "1 64 0101010101010101010101010101010101010101010101010101010101010101\n";

    fn start(segments: u64, list: &str) -> Start {
        Start { segments, last_id: 64, sha256: sha256(&digest(&SHA256, list.as_bytes())) }
    }

    #[test]
    fn the_list_of_older_segments_is_the_one_that_the_first_leaf_commits_to() {
        let folder = tempfile::tempdir().unwrap();
        let read = |start| older(folder.path(), start).map_err(|found| found.what);
        assert!(read(start(0, "")).unwrap().is_empty());
        assert!(read(start(1, LIST)).unwrap_err().contains("No such file"));
        let check = |text: &str, start: Start, expected: Option<&str>| {
            fs::write(folder.path().join("start"), text).unwrap();
            match (read(start), expected) {
                (Ok(found), None) => assert_eq!(found.get(&1).unwrap().sha256, [1; 32]),
                (Err(what), Some(expected)) => assert!(what.contains(expected), "{what}"),
                (found, expected) => panic!("{text}: {found:?}, {expected:?}"),
            }
        };
        check(LIST, start(1, LIST), None);
        check(&LIST.replace("64 ", "65 "), start(1, LIST), Some("not that in the first leaf"));
        check(&LIST.repeat(9), start(1, LIST), Some("too long for 1 segments"));
        check(LIST, start(2, LIST), Some("not a list of 2 segments"));
        check("1 64", start(1, "1 64"), Some("not a list of 1 segments"));
    }

    /// Compares a sealed segment from 1 to 64 that was sealed with the hash of `[2; 32]`.
    fn check(leaves: &[Leaf], older: &[u64], lists: &CatalogLists, expected: &[&str]) {
        let mut said = Said::default();
        said.start = Some(start(0, ""));
        for (index, leaf) in (1..).zip(leaves) {
            assert_eq!(said.add(index, leaf.clone()), None);
        }
        let seal = Seal { last_id: 64, sha256: [2; 32] };
        let older = older.iter().map(|first_id| (*first_id, seal)).collect();
        let hashed = lists.segments.iter().map(|one| HashedFile {
            first_id: one.first_id,
            file: one.file.clone(),
            sha256: HEXLOWER.encode(&[2; 32]),
        });
        let found = compare(lists, &hashed.collect::<Vec<_>>(), &said, &older);
        let found: Vec<_> = found.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(one, part)| one.contains(part)), "{found:?}");
    }

    fn sealed(last_id: u64) -> CatalogLists {
        let file = "x".to_owned();
        let segment = ListedSegment { first_id: 1, last_id: Some(last_id), is_sealed: true, file };
        CatalogLists {
            segments: vec![segment],
            removed: Vec::new(),
            gaps: Vec::new(),
            changes: HashMap::new(),
        }
    }

    #[test]
    fn a_sealed_file_is_the_one_that_was_sealed_last() {
        let seal = |byte| Leaf::Seal { first_id: 1, last_id: 64, sha256: [byte; 32] };
        check(&[seal(2)], &[], &sealed(64), &[]);
        check(&[], &[1], &sealed(64), &[]);
        check(&[seal(3), seal(2)], &[1], &sealed(64), &[]);
        check(&[], &[], &sealed(64), &[NOT_SEALED]);
        check(&[seal(3)], &[1], &sealed(64), &["not the one that was sealed"]);
        check(&[seal(2), seal(3)], &[], &sealed(64), &["it is the file that the leaf 1 names"]);
        check(&[seal(2)], &[], &sealed(63), &["another last id"]);
        let mut closed = sealed(64);
        closed.segments[0].is_sealed = false;
        check(&[seal(2)], &[], &closed, &["the catalog that it is not"]);
    }

    #[test]
    fn what_the_catalog_lists_needs_a_leaf() {
        let none = || CatalogLists { segments: Vec::new(), ..sealed(64) };
        let removed = |ids| CatalogLists { removed: vec![ids], ..none() };
        let gap = |ids| CatalogLists { gaps: vec![ids], ..none() };
        let retention = |first_id, last_id| Leaf::Retention {
            first_id,
            last_id,
            reason: RetentionReason::Prune,
            sha256: None,
        };
        check(&[retention(65, 99)], &[], &removed(65..=99), &[]);
        check(&[retention(66, 99)], &[], &removed(65..=99), &["lists the entries 65 to 99"]);
        check(&[Leaf::Gap { first_id: 65, last_id: 99 }], &[], &gap(70..=80), &[]);
        check(&[], &[], &gap(70..=80), &["lists the ids 70 to 80 as a gap"]);
        // It was removed before the log began, or it was there then.
        check(&[], &[], &removed(1..=64), &[]);
        let both = ["is not in the catalog", "lists the entries 1 to 64 as removed"];
        check(&[], &[1], &removed(1..=64), &both);
        check(&[retention(1, 64)], &[1], &removed(1..=64), &[]);
    }

    #[test]
    fn changes_are_those_of_the_log() {
        let verdict = |id, change| Leaf::Verdict {
            id,
            change,
            verdict: crate::entry::VerdictName::Unsigned,
            key: None,
            shown: 0,
            input: [0; 32],
        };
        let changes = |changes: &[(u64, u64)]| CatalogLists {
            segments: Vec::new(),
            changes: changes.iter().copied().collect(),
            ..sealed(64)
        };
        check(&[verdict(70, 3), verdict(70, 5)], &[], &changes(&[(70, 5)]), &[]);
        let last = "its last change is not the one that the log has";
        check(&[verdict(70, 3)], &[], &changes(&[]), &[last]);
        check(&[verdict(70, 3)], &[], &changes(&[(70, 4)]), &[last]);
        check(&[], &[], &changes(&[(70, 4)]), &["no leaf says so"]);
        // An entry from before the log may have no leaf.
        check(&[], &[], &changes(&[(64, 4)]), &[]);
        // It is gone, as the log says.
        let gap = Leaf::Gap { first_id: 70, last_id: 70 };
        check(&[verdict(70, 3), gap], &[], &changes(&[]), &[]);
    }
}
