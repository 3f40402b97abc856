//! `vidimus journal status`: the epochs of the journal, and how far each store is.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;

use super::{JournalArgs, run};
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::print::grid::{Grid, number, time, whole};
use crate::cli::print::{PrintFormat, Screen};
use crate::cli::terminal::{Output, counted};
use crate::entry::Millis;
use crate::journal::{Cursor, End, EpochPosition, ObjectId, StoreId, keys};
use crate::objects::Bucket;

/// Show the epochs of the journal, and how far each store is
///
/// An epoch is what one run of a receiver wrote. It is open until a store seals it. NEXT is the
/// number of the next object. The size counts what is not pruned. A store publishes at most once a
/// minute how far it is, or how far it is archived if it has an archive, and never counts the last
/// object of an epoch as read, so BEHIND is an upper limit. Epochs in which nothing is left are
/// summed up.
///
/// Objects that cannot be read are shown by the console and the metrics of the store that stopped there.
///
/// Exit codes: 0 success, 3 the object store cannot be reached.
#[derive(Args)]
pub(super) struct Status {
    /// The output format; jsonl prints one object
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    journal: JournalArgs,
}

/// What is known of the journal.
#[derive(Debug, Serialize)]
struct Journal {
    url: String,
    /// The number of epochs so far.
    epochs: u64,
    /// Epochs of which all deliveries are pruned.
    pruned_epochs: u64,
    /// Objects that were put so far, pruned ones and seals included, and those that are there.
    puts: u64,
    objects: u64,
    /// The size of the objects that are there.
    bytes: u64,
    /// The other epochs.
    open_or_kept: Vec<Epoch>,
    stores: Vec<Store>,
}

/// An epoch.
#[derive(Debug, Serialize)]
struct Epoch {
    epoch: u64,
    state: &'static str,
    /// The first number that is not pruned.
    first: u64,
    /// The number of the next object or of the seal.
    next: u64,
    objects: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_at: Option<Millis>,
}

/// A store that reads the journal.
#[derive(Debug, Serialize)]
struct Store {
    store: String,
    retired: bool,
    /// Objects that it has not read, or not archived, as far as it has published. `None` if it has
    /// published nothing.
    behind: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<Millis>,
}

impl Status {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let bucket = self.journal.bucket()?;
        let status = run(status(&bucket))?;
        ignore_closed(self.print(&status))?;
        Ok(Exit::Done)
    }

    fn print(&self, status: &Journal) -> Result<(), Failure> {
        let mut output = Output::new();
        if self.output == PrintFormat::Jsonl {
            output.json(status)?;
            return output.flush();
        }
        let Journal { url, epochs, pruned_epochs, puts, objects, bytes, .. } = status;
        output.line(format_args!("journal  {url}"))?;
        output.line(format_args!(
            "epochs   {}, {pruned_epochs} of them pruned",
            counted(*epochs, "epoch")
        ))?;
        output.line(format_args!(
            "objects  {puts} put so far, {objects} there, {}",
            HumanBytes(*bytes)
        ))?;
        let screen = Screen::of_standard_output();
        output.grid(&epoch_grid(&status.open_or_kept, screen))?;
        match status.stores.is_empty() {
            true => output.line("no store has read it: prune deletes nothing")?,
            false => output.grid(&store_grid(&status.stores, screen))?,
        }
        output.flush()
    }
}

fn epoch_grid(epochs: &[Epoch], screen: Screen) -> Grid<6> {
    let mut grid = Grid::new([
        number("EPOCH"),
        whole("STATE"),
        number("NEXT"),
        number("OBJECTS"),
        whole("SIZE"),
        whole("NEWEST"),
    ]);
    for one in epochs {
        grid.row([
            one.epoch.to_string(),
            one.state.to_owned(),
            one.next.to_string(),
            one.objects.to_string(),
            HumanBytes(one.bytes).to_string(),
            one.newest_at.map_or_else(|| "-".to_owned(), |at| time(at, None, screen)),
        ]);
    }
    grid
}

fn store_grid(stores: &[Store], screen: Screen) -> Grid<4> {
    let mut grid =
        Grid::new([whole("STORE"), whole("STATE"), number("BEHIND"), whole("PUBLISHED")]);
    for one in stores {
        grid.row([
            one.store.clone(),
            if one.retired { "retired" } else { "reads" }.to_owned(),
            one.behind.map_or_else(|| "-".to_owned(), |behind| behind.to_string()),
            one.published_at.map_or_else(|| "-".to_owned(), |at| time(at, None, screen)),
        ]);
    }
    grid
}

async fn status(bucket: &Bucket) -> Result<Journal, Failure> {
    let journal = super::journal(bucket);
    let floor = journal.newest_floor().await?.map(|(_, floor)| floor).unwrap_or_default();
    let there = bucket.list(keys::EPOCHS).await?;
    let there = there.iter().filter_map(|meta| epoch_of(meta.location.as_ref())).collect();
    let epochs = without_gaps(&there);
    let mut objects = objects(bucket).await?;
    let (mut ends, mut shown) = (BTreeMap::new(), Vec::new());
    for &epoch in there.range(floor.finished_below..) {
        let there = objects.remove(&epoch).unwrap_or_default();
        let end = journal.end(&floor, epoch, there.next).await?;
        let state = if end.sealed { "sealed" } else { "open" };
        shown.push(Epoch {
            epoch,
            state,
            first: end.first,
            next: end.next,
            objects: there.objects,
            bytes: there.bytes,
            newest_at: there.newest_at,
        });
        ends.insert(epoch, end);
    }
    let mut stores = Vec::new();
    for id in journal.stores().await? {
        let retired = journal.is_retired(&id).await?;
        let newest = journal.newest_cursor(&id, 0).await?;
        stores.push(store(bucket, &ends, id, retired, newest).await?);
    }
    let of_seals = |end: &End| end.next.saturating_add(u64::from(end.sealed));
    Ok(Journal {
        url: bucket.url().to_string(),
        epochs,
        pruned_epochs: floor.finished_below,
        // The objects of epochs that are summed up are not known any more, but for their seals.
        puts: ends.values().map(of_seals).fold(floor.finished_below, u64::saturating_add),
        objects: shown.iter().map(|one| one.objects).sum(),
        bytes: shown.iter().map(|one| one.bytes).sum(),
        open_or_kept: shown,
        stores,
    })
}

async fn store(
    bucket: &Bucket,
    ends: &BTreeMap<u64, End>,
    id: StoreId,
    retired: bool,
    newest: Option<(u64, Cursor)>,
) -> Result<Store, Failure> {
    let mut shown = Store { store: id.to_string(), retired, behind: None, published_at: None };
    if let Some((number, cursor)) = newest {
        shown.behind = Some(behind(ends, &cursor));
        let key = keys::cursor(&id, number);
        let meta = bucket.head(&key).await?;
        shown.published_at = meta.map(|meta| super::millis(&meta));
    }
    Ok(shown)
}

/// How many objects a store with this cursor has not read.
fn behind(ends: &BTreeMap<u64, End>, cursor: &Cursor) -> u64 {
    let of_epoch = |(epoch, end): (&u64, &End)| match cursor.position(*epoch) {
        None | Some(EpochPosition { sealed: true, .. }) => 0,
        Some(EpochPosition { next, .. }) => end.next.saturating_sub(next.max(end.first)),
    };
    ends.iter().map(of_epoch).sum()
}

/// What is there of an epoch.
#[derive(Debug, Default)]
struct There {
    objects: u64,
    bytes: u64,
    newest_at: Option<Millis>,
    /// The number after the highest.
    next: u64,
}

/// Reads a key such as `epochs/3`. Other keys begin no epoch.
fn epoch_of(key: &str) -> Option<u64> {
    let epoch = key.strip_prefix(keys::EPOCHS)?.strip_prefix('/')?.parse().ok()?;
    (keys::epoch(epoch) == key).then_some(epoch)
}

/// How many epochs there are from 0 on. One above a gap was forged.
fn without_gaps(epochs: &BTreeSet<u64>) -> u64 {
    (0..).zip(epochs).take_while(|(number, epoch)| number == *epoch).count() as u64
}

/// The objects that are there, by epoch.
async fn objects(bucket: &Bucket) -> Result<BTreeMap<u64, There>, Failure> {
    let mut epochs: BTreeMap<u64, There> = BTreeMap::new();
    for meta in bucket.list(keys::OBJECTS).await? {
        let Some(id) = ObjectId::of_key(meta.location.as_ref()) else { continue };
        let ObjectId { epoch, number } = id;
        let there = epochs.entry(epoch).or_default();
        there.objects += 1;
        there.bytes = there.bytes.saturating_add(meta.size);
        there.newest_at = there.newest_at.max(Some(super::millis(&meta)));
        there.next = there.next.max(number.saturating_add(1));
    }
    Ok(epochs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_epoch_is_one_epoch() {
        let there: BTreeSet<u64> =
            ["epochs/0", "epochs/1", "epochs/01", "epochs/x", "epochs/99999999999"]
                .iter()
                .filter_map(|key| epoch_of(key))
                .collect();
        assert_eq!((there.len(), without_gaps(&there)), (3, 2));
        assert_eq!(without_gaps(&BTreeSet::new()), 0);
    }

    #[test]
    fn what_a_store_has_not_read_is_counted() {
        let end = |first, next, sealed| End { first, next, sealed };
        let ends =
            BTreeMap::from([(1, end(0, 9, true)), (2, end(4, 10, false)), (3, end(0, 5, false))]);
        let at = |next| EpochPosition { next, sealed: false };
        let check = |cursor: &Cursor, expected| assert_eq!(behind(&ends, cursor), expected);
        check(&Cursor::default(), 9 + 6 + 5);
        check(&Cursor::new(2, [(2, at(8))]), 2 + 5);
        check(&Cursor::new(2, [(2, at(3)), (3, at(5))]), 6);
        check(&Cursor::new(2, [(2, at(99)), (3, at(5))]), 0);
    }
}
