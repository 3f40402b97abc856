//! `vidimus journal prune`: delete deliveries that every store has.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;

use super::patience::patiently;
use super::{JournalArgs, random_id, run};
use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::{counted, tell};
use crate::journal::{ObjectId, Pruned, StoreId, keys};
use crate::objects::{Bucket, Objects};
use crate::settings::units;

/// Delete deliveries from the journal that every store has committed
///
/// Of a store with an archive, what is archived counts. A store that was registered and is gone for
/// good holds this back until `vidimus journal retire`. The age of an object is counted by the
/// clock of the object store. The beginning and the end of each epoch stay, and so does the last
/// object of an epoch that is open. A new store cannot begin without what is deleted: it is rebuilt
/// from the archive.
///
/// Exit codes: 0 success, 1 a store came back meanwhile or another prune runs, so nothing was deleted.
#[derive(Args)]
pub(super) struct Prune {
    /// Delete what is older than this
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = units::duration)]
    older_than: Duration,

    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    journal: JournalArgs,
}

impl Prune {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let bucket = self.journal.bucket()?;
        run(patiently(bucket.clone(), async |journal| {
            let age = i64::try_from(self.older_than.as_millis()).unwrap_or(i64::MAX);
            let old_enough = old_enough(&bucket, time(&bucket).await?.saturating_sub(age)).await?;
            if self.dry_run {
                let (floor, waits_for) = journal.plan(&old_enough).await?;
                tell_waiting(&waits_for);
                let count = floor.deletes.values().map(|(from, to)| to.saturating_sub(*from)).sum();
                tell(format_args!("{} to delete", counted(count, "object")));
                return Ok(Exit::Done);
            }
            let report = journal.prune(&old_enough).await?;
            tell_waiting(&report.waits_for);
            tell(format_args!("{} deleted", counted(report.deleted, "object")));
            Ok(match report.outcome {
                Pruned::Nothing | Pruned::Deleted => Exit::Done,
                Pruned::GaveUp => {
                    tell("gave up: a store that lacks some of it came back at this moment");
                    Exit::Negative
                }
                Pruned::Another => {
                    tell("gave up: another prune runs");
                    Exit::Negative
                }
            })
        }))
    }
}

/// Says which stores hold a prune back.
fn tell_waiting(waits_for: &BTreeMap<StoreId, (u64, u64)>) {
    for (store, (epoch, next)) in waits_for {
        tell(format_args!(
            "the store {store} needs epoch {epoch} from object {next} on; if it is gone for good: \
             vidimus journal retire {store}"
        ));
    }
}

/// The time by the clock of the object store, in milliseconds. An object that is created for this tells
/// it. The clock of this machine may be wrong.
async fn time(bucket: &Bucket) -> Result<i64, Failure> {
    let key = keys::clock(&random_id()?);
    bucket.create(&key, "What is the time?\n".into()).await?;
    let found = bucket.head(&key).await;
    bucket.delete(&key).await?;
    let gone = || Failure::failed(format!("{key:?} is not there, but was created"));
    Ok(super::millis(&found?.ok_or_else(gone)?).get())
}

/// The number of each epoch below which every object was written before a time, in milliseconds.
async fn old_enough(bucket: &Bucket, before: i64) -> Result<BTreeMap<u64, u64>, Failure> {
    let objects = bucket.list(keys::OBJECTS).await?.into_iter().filter_map(|meta| {
        let ObjectId { epoch, number } = ObjectId::of_key(meta.location.as_ref())?;
        Some((epoch, number, super::millis(&meta).get()))
    });
    Ok(limits(objects, before))
}

fn limits(objects: impl Iterator<Item = (u64, u64, i64)>, before: i64) -> BTreeMap<u64, u64> {
    // The number after the highest, and the lowest that is too young.
    let mut epochs: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for (epoch, number, written_at) in objects {
        let (end, young) = epochs.entry(epoch).or_insert((0, u64::MAX));
        *end = (*end).max(number.saturating_add(1));
        if written_at >= before {
            *young = (*young).min(number);
        }
    }
    let limit = |(epoch, (end, young)): (u64, (u64, u64))| (epoch, end.min(young));
    epochs.into_iter().map(limit).filter(|(_, limit)| *limit > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_object_store_tells_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display()).parse().unwrap();
        let bucket = Bucket::open(&url).unwrap();
        bucket.create("before", "x".into()).await.unwrap();
        let found = time(&bucket).await.unwrap();
        bucket.create("after", "x".into()).await.unwrap();
        let mut written = Vec::new();
        for key in ["before", "after"] {
            let meta = bucket.head(key).await.unwrap().unwrap();
            written.push(super::super::millis(&meta).get());
        }
        assert!((written[0]..=written[1]).contains(&found), "{found} {written:?}");
        assert!(bucket.list("clock").await.unwrap().is_empty());
    }

    #[test]
    fn an_object_is_old_enough_if_all_below_it_are() {
        let objects =
            [(0, 2, 9), (0, 0, 1), (0, 1, 5), (1, 0, 50), (2, 7, 3), (2, 8, 60), (2, 9, 1)];
        let limits = limits(objects.into_iter(), 10);
        assert_eq!(limits, BTreeMap::from([(0, 3), (2, 8)]));
    }
}
