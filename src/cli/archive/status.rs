//! `vidimus archive status`: how far the store is archived, and what a rebuild would lose now.

use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;

use super::Opened;
use crate::archive::manifest::Manifest;
use crate::cli::archived::PlaceArgs;
use crate::cli::args::StoreArgs;
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::{Output, counted};
use crate::entry::Millis;
use crate::store::{Directory, Reader};

/// Show how far the store is archived, and what a rebuild from the archive would lose now
///
/// Without a store in the data directory, only the archive is described.
///
/// Exit codes: 0 success, 2 usage error, 3 the archive or the store cannot be read.
#[derive(Args)]
pub(super) struct Status {
    /// The output format; jsonl prints one object
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    place: PlaceArgs,

    #[command(flatten)]
    store: StoreArgs,
}

/// What the command shows. Times are in RFC 3339, sizes in bytes.
#[derive(Serialize)]
struct Shown {
    url: String,
    store: String,
    segments: usize,
    entries: u64,
    deliveries: u64,
    files: usize,
    bytes: u64,
    /// The id of the last entry.
    last_id: Option<u64>,
    /// When the last entry was stored.
    stored_until: Option<Millis>,
    /// The number of deltas of the manifest, and when the last was written.
    deltas: u64,
    changed_at: Option<Millis>,
    /// `None` without a store.
    not_archived: Option<NotArchived>,
}

/// What the store has and the archive lacks.
#[derive(Serialize)]
struct NotArchived {
    entries: u64,
    deliveries: u64,
    /// Late verdicts.
    changes: u64,
    /// Bodies in quarantine.
    quarantine: u64,
}

impl Status {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let opened = Opened::new(&self.place, &self.store.flags())?;
        let path = self.store.path()?;
        let reader = match path.join("catalog.db").exists() {
            true => Some(Reader::open(&Directory::open_to_read(&path)?)?),
            false => None,
        };
        let own = match &reader {
            Some(reader) => reader.store_id()?,
            None => None,
        };
        let store = match (self.place.store(), &own) {
            (None, Some(own)) => own.clone(),
            (named, _) => opened.place.choose(named)?,
        };
        let manifest = opened.place.manifest(&store)?;
        let reader = reader.filter(|_| own.as_ref() == Some(&store));
        let not_archived = reader.map(|reader| not_archived(&reader, &manifest)).transpose()?;
        let shown = shown(opened.url.to_string(), &manifest, not_archived);
        ignore_closed(print(&shown, self.output))?;
        Ok(Exit::Done)
    }
}

fn print(shown: &Shown, format: PrintFormat) -> Result<(), Failure> {
    let mut output = Output::new();
    match format {
        PrintFormat::Jsonl => output.json(shown)?,
        PrintFormat::Text => lines(shown).iter().try_for_each(|line| output.line(line))?,
    }
    output.flush()
}

fn shown(url: String, manifest: &Manifest, not_archived: Option<NotArchived>) -> Shown {
    Shown {
        url,
        store: manifest.store.clone(),
        segments: manifest.segments.len(),
        entries: manifest.entries(),
        deliveries: manifest.deliveries(),
        files: manifest.files.len(),
        bytes: manifest.bytes(),
        last_id: manifest.segments.values().next_back().map(|segment| segment.last_id),
        stored_until: manifest
            .files
            .iter()
            .filter_map(|file| file.max_stored_at)
            .max()
            .map(Millis::saturating),
        deltas: manifest.next,
        changed_at: manifest.changed_at.map(Millis::saturating),
        not_archived,
    }
}

fn not_archived(reader: &Reader, manifest: &Manifest) -> Result<NotArchived, Failure> {
    let (mut entries, mut deliveries) = (0, 0);
    for extent in reader.extents()? {
        if !manifest.segments.contains_key(&extent.first_id) {
            entries += extent.entries;
            deliveries += extent.deliveries;
        }
    }
    let known = manifest.progress.quarantine;
    let quarantine = reader.quarantine()?.iter().filter(|body| body.id > known).count() as u64;
    let in_archive = |entry: u64| {
        let segment = manifest.segments.range(..=entry).next_back();
        segment.is_some_and(|(_, segment)| segment.last_id >= entry)
    };
    let (mut changes, mut after) = (0, manifest.progress.change);
    loop {
        let some = reader.changes_after(after, 10_000)?;
        let Some((last, _)) = some.last() else { break };
        after = *last;
        changes += some.iter().filter(|(_, entry)| in_archive(*entry)).count() as u64;
    }
    Ok(NotArchived { entries, deliveries, changes, quarantine })
}

fn lines(shown: &Shown) -> Vec<String> {
    let time = |time: Option<Millis>| time.map_or_else(|| "never".into(), |time| time.to_string());
    let mut lines = vec![
        format!("archive       {}", shown.url),
        format!("store         {}", shown.store),
        format!(
            "archived      {} and {} in {}",
            counted(shown.entries, "entry"),
            counted(shown.deliveries, "delivery"),
            counted(shown.segments as u64, "segment")
        ),
        format!("stored until  {}", time(shown.stored_until)),
        format!("last written  {}", time(shown.changed_at)),
        format!(
            "size          {} in {}",
            HumanBytes(shown.bytes),
            counted(shown.files as u64, "file")
        ),
    ];
    lines.push(match &shown.not_archived {
        None => "not archived  unknown: there is no such store in the data directory".into(),
        Some(lost) => format!(
            "not archived  {} and {}, {}, {} in quarantine",
            counted(lost.entries, "entry"),
            counted(lost.deliveries, "delivery"),
            counted(lost.changes, "late verdict"),
            counted(lost.quarantine, "body")
        ),
    });
    lines
}
