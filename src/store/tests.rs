//! Reading is compared with a list in memory: what is done to the store is done to the list.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::entry::record::{Origin, Record};
use crate::entry::{Kind, Millis};
use crate::ingest::{CheckedLine, Entry, ExpectedIds};
use crate::search::{self, Filter};
use crate::signature::verdict::Reason;
use crate::signature::{KeySet, Verdict};
use crate::store::catalog::Catalog;
use crate::store::catalog::outputs::Position;
use crate::store::catalog::segments::State;
use crate::store::directory::Directory;
use crate::store::maintain::seal;
use crate::store::read::Reader;
use crate::store::read::follow::{Event, EventBatch, Follow};
use crate::store::read::page::PageCursor;
use crate::store::read::query::TimeRange;
use crate::store::segment::row::{self, EntryMetadata};
use crate::store::write::live::Live;

/// What an entry is made of.
#[derive(Clone, Debug)]
pub(in crate::store) struct Made {
    pub(in crate::store) name: u8,
    pub(in crate::store) principal: u8,
    pub(in crate::store) status: Option<i64>,
    rt: Option<i64>,
    received_at: i64,
}

/// An entry as it should be found.
#[derive(Clone, Debug)]
pub(in crate::store) struct Known {
    id: u64,
    pub(in crate::store) made: Made,
    line: String,
    pub(in crate::store) verdict: Verdict,
    deliveries: u64,
    /// Whether retention has given it up.
    gone: bool,
    /// Whether another entry is shown in its place.
    hidden: bool,
}

impl Known {
    pub(in crate::store) fn has_warning(&self) -> bool {
        self.id % 7 == 3
    }

    pub(in crate::store) fn has_note(&self) -> bool {
        self.id.is_multiple_of(7)
    }

    pub(in crate::store) fn input(&self) -> &'static str {
        if self.made.principal == 3 { "portal" } else { "default" }
    }

    /// The position in the order: the time and the id.
    pub(in crate::store) fn key(&self) -> (i64, u64) {
        (self.time(), self.id)
    }

    fn time(&self) -> i64 {
        self.made.rt.unwrap_or(self.made.received_at)
    }

    fn entry(&self) -> Entry {
        let line = Bytes::copy_from_slice(self.line.as_bytes());
        let received_at = Millis::saturating(self.made.received_at);
        let examined = CheckedLine::new(&line, &KeySet::default(), 10_000);
        let mut entry = examined.read(line, &ExpectedIds::default(), received_at);
        entry.verdict = self.verdict.clone();
        entry
    }
}

pub(in crate::store) const NAMES: [&str; 3] = ["Ingress", "Authz.portals", "Other"];

/// Something that happens to a store.
#[derive(Clone, Debug)]
pub(in crate::store) enum Step {
    Add(Made),
    Close,
    /// Seals the oldest segment that is closed.
    Seal,
    /// The verdict of an entry changes.
    Change(prop::sample::Index),
    /// An entry turns out to be one that is there already.
    Hide(prop::sample::Index),
    Redeliver(prop::sample::Index),
    /// Gives up the oldest segment.
    Drop,
}

/// A store, and what should be in it.
pub(in crate::store) struct Both {
    _temporary: tempfile::TempDir,
    directory: Directory,
    catalog: Catalog,
    live: Live,
    known: Vec<Known>,
}

impl Both {
    pub(in crate::store) fn new() -> Both {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let catalog = Catalog::open(&directory).unwrap();
        let live = Live::create(&directory, (1, 1, Some(0)), Millis::MIN).unwrap();
        catalog.rotate(None, &live.segment, None).unwrap();
        // It is not asked to outlast a loss of power.
        live.connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
        catalog.do_not_sync();
        Both { _temporary: temporary, directory, catalog, live, known: Vec::new() }
    }

    pub(in crate::store) fn after(steps: &[Step]) -> Both {
        let mut both = Both::new();
        steps.iter().for_each(|step| both.step(step));
        both
    }

    pub(in crate::store) fn reader(&self) -> Reader {
        Reader::open(&self.directory).unwrap()
    }

    fn next_id(&self) -> u64 {
        self.known.len() as u64 + 1
    }

    pub(in crate::store) fn step(&mut self, step: &Step) {
        match step {
            Step::Add(made) => self.add(made),
            Step::Close => self.close(),
            Step::Seal => {
                let segments = self.catalog.segments().unwrap();
                if let Some(closed) = segments.iter().find(|one| one.state == State::Closed) {
                    seal::seal(&self.directory, &self.catalog, closed, &|| ()).unwrap();
                }
            }
            Step::Change(index) => self.change(index),
            Step::Hide(index) => self.hide(index),
            Step::Redeliver(index) => self.redeliver(index),
            Step::Drop => self.drop_oldest(),
        }
    }

    fn add(&mut self, made: &Made) {
        let id = self.next_id();
        let mut line = format!(
            r#"{{"name":"{}","principal_id":"p{}","trace_id":{id},"cs1":"x{}""#,
            NAMES[usize::from(made.name)],
            made.principal,
            made.name
        );
        made.status.iter().for_each(|status| line += &format!(r#","status":{status}"#));
        made.rt.iter().for_each(|rt| line += &format!(r#","rt":{rt}"#));
        // A second value of a field is a warning.
        line += match id % 7 {
            3 => r#","cs1":"again"}"#,
            0 => r#","note":"a Needle in hay"}"#,
            _ => "}",
        };
        let known = Known {
            id,
            made: made.clone(),
            line,
            verdict: Verdict::NoKey,
            deliveries: 1,
            gone: false,
            hidden: false,
        };
        insert(&self.live.connection, &known);
        self.known.push(known);
    }

    fn close(&mut self) {
        let first_id = self.live.segment.first_id;
        if first_id == self.next_id() {
            return;
        }
        let closed = self.live.closed().unwrap();
        let live =
            Live::create(&self.directory, (self.next_id(), 1, Some(0)), Millis::MIN).unwrap();
        self.catalog.rotate(Some((first_id, &closed, &[])), &live.segment, None).unwrap();
        live.connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
        self.live = live;
    }

    /// One of the entries that are shown, before the id `end`.
    fn one(&self, index: &prop::sample::Index, end: u64) -> Option<usize> {
        let there: Vec<_> =
            self.matching(|_| true).iter().map(|one| one.id).filter(|id| *id < end).collect();
        (!there.is_empty()).then(|| there[index.index(there.len())] as usize - 1)
    }

    fn hide(&mut self, index: &prop::sample::Index) {
        let Some(at) = self.one(index, u64::MAX) else { return };
        let known = &mut self.known[at];
        known.hidden = true;
        self.catalog.overlay().hide(known.id, known.id, &[0], 1).unwrap();
    }

    fn change(&mut self, index: &prop::sample::Index) {
        let Some(at) = self.one(index, u64::MAX) else { return };
        let known = &mut self.known[at];
        known.verdict = match known.verdict {
            Verdict::NoKey => Verdict::Invalid(Reason::NoMatchingKey),
            _ => Verdict::NoKey,
        };
        self.catalog.overlay().put(&known.entry(), &stored(known)).unwrap();
    }

    fn redeliver(&mut self, index: &prop::sample::Index) {
        let Some(at) = self.one(index, self.live.segment.first_id) else { return };
        self.known[at].deliveries += 1;
        self.catalog.overlay().count_redeliveries(&[self.known[at].id]).unwrap();
    }

    fn drop_oldest(&mut self) {
        let segments = self.catalog.segments().unwrap();
        let Some((oldest, last_id)) =
            segments.iter().find_map(|one| one.closed.as_ref().map(|closed| (one, closed.last_id)))
        else {
            return;
        };
        self.catalog.drop_segment(oldest, "retention", Millis::MIN).unwrap();
        crate::store::directory::remove_database(&self.directory.segment(&oldest.file)).unwrap();
        self.catalog.forget(oldest.first_id).unwrap();
        for known in &mut self.known {
            known.gone |= known.id <= last_id;
        }
    }

    /// What matches and is there, by rising id.
    fn matching(&self, matches: fn(&Known) -> bool) -> Vec<&Known> {
        self.known.iter().filter(|one| !one.gone && !one.hidden && matches(one)).collect()
    }

    /// What matches and is there, newest first.
    pub(in crate::store) fn newest(
        &self,
        matches: fn(&Known) -> bool,
        range: TimeRange,
    ) -> Vec<&Known> {
        let mut found = self.matching(matches);
        found.retain(|one| {
            range.since.is_none_or(|since| since <= one.time())
                && range.until.is_none_or(|until| one.time() < until)
        });
        found.sort_by_key(|one| std::cmp::Reverse((one.time(), one.id)));
        found
    }
}

fn insert(connection: &rusqlite::Connection, known: &Known) {
    assert!(row::insert(connection, &known.entry(), &stored(known)).unwrap());
}

fn stored(known: &Known) -> EntryMetadata<'static> {
    EntryMetadata {
        id: known.id,
        received_at: Millis::saturating(known.made.received_at),
        delivery: 1,
        input: known.input(),
        delivery_count: 1,
    }
}

pub(in crate::store) type Matches = fn(&Known) -> bool;

/// Queries, and what they mean.
pub(in crate::store) const QUERIES: [(&str, Matches); 18] = [
    ("*", |_| true),
    ("name:Ingress", |one| one.made.name == 0),
    ("name:A*", |one| one.made.name == 1),
    ("principal_id:p1", |one| one.made.principal == 1),
    ("principal_id:p1 status:403", |one| one.made.principal == 1 && one.made.status == Some(403)),
    ("NOT status:403", |one| one.made.status != Some(403)),
    ("status:<400 OR principal_id:p2", |one| {
        one.made.status.is_some_and(|status| status < 400) || one.made.principal == 2
    }),
    ("verdict:no_key", |one| one.verdict == Verdict::NoKey),
    ("verdict:invalid", |one| one.verdict != Verdict::NoKey),
    ("verdict:valid", |_| false),
    ("NOT verdict:valid", |_| true),
    ("trace_id:7", |one| one.id == 7),
    ("id:[5 TO 20] name:Other", |one| (5..=20).contains(&one.id) && one.made.name == 2),
    ("nEEDLE", Known::has_note),
    ("warning:dup*", Known::has_warning),
    ("cs1:x2", |one| one.made.name == 2),
    ("time:>=1970-01-01T00:00:00.005Z", |one| one.time() >= 5),
    ("kind:access reason:*", |one| one.made.name == 0),
];

pub(in crate::store) fn filter(query: &str) -> Filter {
    search::parse(query, 0).unwrap()
}

fn check(records: &[Record], expected: &[&Known], query: &str) {
    let ids: Vec<_> = records.iter().map(id).collect();
    assert_eq!(ids, expected.iter().map(|one| one.id).collect::<Vec<_>>(), "{query}");
    for (record, known) in records.iter().zip(expected) {
        assert_eq!(record.raw, known.line.as_bytes());
        assert_eq!(record.verdict, known.verdict.name());
        assert_eq!(record.reason.as_deref(), known.verdict.reason());
        assert_eq!(record.time.map(Millis::get), Some(known.time()));
        assert_eq!(record.kind, Some(Kind::of(Some(NAMES[usize::from(known.made.name)]))));
        let Origin::Stored { delivery_count, .. } = record.origin else { panic!() };
        assert_eq!(delivery_count, known.deliveries, "{query}: {}", known.id);
    }
}

fn id(record: &Record) -> u64 {
    match record.origin {
        Origin::Stored { id, .. } => id,
        Origin::File { .. } => panic!(),
    }
}

fn scanned(reader: &Reader, query: &str, range: TimeRange) -> Vec<Record> {
    let mut scan = reader.scan(&filter(query), range, usize::MAX).unwrap();
    let mut records = Vec::new();
    loop {
        let slice = scan.next_slice(5).unwrap();
        if slice.is_empty() {
            return records;
        }
        records.extend(slice);
    }
}

fn exported(reader: &Reader, query: &str, range: TimeRange) -> Vec<Record> {
    let mut export = reader.export(&filter(query), range).unwrap();
    let mut records = Vec::new();
    loop {
        let slice = export.next_slice().unwrap();
        if slice.is_empty() {
            return records;
        }
        records.extend(slice);
    }
}

fn made() -> impl Strategy<Value = Made> {
    (0..3_u8, 0..4_u8, prop::option::of(prop_oneof![Just(200), Just(403)]), 0..5_u8, 1..9_i64)
        .prop_map(|(name, principal, status, with_rt, time)| Made {
            name,
            principal,
            status,
            rt: (with_rt > 0).then_some(time),
            received_at: 10 - time,
        })
}

fn adding() -> impl Strategy<Value = Step> {
    prop_oneof![12 => made().prop_map(Step::Add), 1 => Just(Step::Close), 1 => Just(Step::Seal)]
}

pub(in crate::store) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => adding(),
        4 => any::<prop::sample::Index>().prop_map(Step::Change),
        1 => any::<prop::sample::Index>().prop_map(Step::Hide),
        2 => any::<prop::sample::Index>().prop_map(Step::Redeliver),
        1 => Just(Step::Drop),
    ]
}

pub(in crate::store) fn range() -> impl Strategy<Value = TimeRange> {
    (prop::option::of(0..6_i64), prop::option::of(3..10_i64))
        .prop_map(|(since, until)| TimeRange { since, until })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn everything_that_matches_is_found_in_its_order(steps in vec(step(), 0..120), range in range()) {
        let both = Both::after(&steps);
        let reader = both.reader();
        for (query, matches) in QUERIES {
            check(&scanned(&reader, query, range), &both.newest(matches, range), query);
            let mut by_id = both.newest(matches, range);
            by_id.sort_by_key(|one| one.id);
            check(&exported(&reader, query, range), &by_id, query);
        }
        for known in &both.known {
            let found = reader.entry(known.id).unwrap();
            prop_assert_eq!(found.as_ref().map(id), (!known.gone && !known.hidden).then_some(known.id));
        }
        prop_assert!(reader.entry(0).unwrap().is_none());
        prop_assert!(reader.entry(both.next_id()).unwrap().is_none());
    }

    #[test]
    fn pages_show_what_was_there_at_the_first(
        before in vec(step(), 0..100),
        between in vec(vec(adding(), 0..15), 1..8),
        limit in 1..20_usize,
        query in 0..QUERIES.len(),
    ) {
        let mut both = Both::after(&before);
        let reader = both.reader();
        let (query, matches) = QUERIES[query];
        let range = TimeRange::default();
        let expected: Vec<_> = both.newest(matches, range).into_iter().cloned().collect();
        let (mut found, mut cursor, mut steps) = (Vec::new(), None, between.iter());
        loop {
            let page = reader.page(&filter(query), range, limit, cursor).unwrap();
            prop_assert!(page.records.len() <= limit);
            found.extend(page.records);
            let Some(next) = page.next else { break };
            cursor = Some(next.to_string().parse::<PageCursor>().unwrap());
            steps.next().into_iter().flatten().for_each(|step| both.step(step));
        }
        check(&found, &expected.iter().collect::<Vec<_>>(), query);
    }

    #[test]
    fn a_follower_sees_every_entry_and_every_change(
        rounds in vec(vec(step(), 0..30), 1..6),
        start in prop::option::of(0..20_usize),
        query in 0..QUERIES.len(),
    ) {
        let mut both = Both::after(&rounds[0]);
        let reader = both.reader();
        let (query, matches) = QUERIES[query];
        let position = match start {
            None => Position::OLDEST,
            Some(newest) => reader.newest(&filter(query), newest).unwrap(),
        };
        if let Some(newest) = start {
            let there = both.matching(matches);
            let seen = there.iter().filter(|one| one.id >= position.next_id).count();
            prop_assert_eq!(seen, newest.min(there.len()));
        }
        let mut follow = reader.follow(&filter(query), position);
        poll(&mut follow, &both, position, matches, query);
        for steps in &rounds[1..] {
            let position = follow.position();
            steps.iter().for_each(|step| both.step(step));
            poll(&mut follow, &both, position, matches, query);
            lines_agree(&reader, query, position);
        }
    }
}

/// What is read where lines alone are wanted is what whole records have.
fn lines_agree(reader: &Reader, query: &str, from: Position) {
    let read = |mut follow: Follow<'_>| {
        let mut found = Vec::new();
        loop {
            let EventBatch { events, more } = follow.poll().unwrap();
            found.extend(events.into_iter().filter_map(|event| match event {
                Event::New(one) => {
                    let Origin::Stored { id, received_at, .. } = one.origin else { panic!() };
                    let field = |name| one.fields.text(name).map(str::to_owned);
                    let fields = (field("org_id"), field("event_product"));
                    Some((id, received_at, one.kind, one.verdict, fields, one.raw))
                }
                Event::Changed(_) | Event::Missed { .. } => None,
            }));
            if !more {
                return (found, follow.position());
            }
        }
    };
    let follow = || reader.follow(&filter(query), from);
    assert_eq!(read(follow().only_lines()), read(follow()), "{query}");
}

/// Reads all that has come since `before`, and compares.
fn poll(follow: &mut Follow<'_>, both: &Both, before: Position, matches: Matches, query: &str) {
    let (mut new, mut changed, mut missed) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let news = follow.poll().unwrap();
        for event in news.events {
            match event {
                Event::New(record) => new.push(record),
                Event::Changed(record) => changed.push(record),
                Event::Missed { from, to } => missed.extend(from..=to),
            }
        }
        if !news.more {
            break;
        }
    }
    let there = both.matching(matches);
    let expected: Vec<_> = there.iter().copied().filter(|one| one.id >= before.next_id).collect();
    check(&new, &expected, query);
    let changes = both.catalog.overlay().changes(before.change, 10_000).unwrap().into_iter();
    let changes: Vec<u64> =
        changes.map(|one| one.entry).filter(|id| *id < before.next_id).collect();
    let expected: Vec<_> = there.iter().copied().filter(|one| changes.contains(&one.id)).collect();
    changed.sort_by_key(id);
    changed.dedup_by_key(|record| id(record));
    check(&changed, &expected, query);
    let gone = both.known.iter().filter(|one| one.gone && one.id >= before.next_id);
    assert_eq!(missed, gone.map(|one| one.id).collect::<Vec<_>>(), "{query}");
    assert_eq!(follow.position().next_id, both.next_id());
}
