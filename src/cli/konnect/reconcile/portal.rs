//! Reconciles a Dev Portal, whose entries cannot be pulled. A replay delivers all entries of the
//! range again: stored entries are counted as duplicates, and new entries were missing.

use serde_json::json;
use tokio::time::Instant;

use super::record::record;
use super::{Range, Reconcile, report_old_range};
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::konnect::waiting::{LOOK, wait_for_replay, word};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::{Output, tell};
use crate::clock::now;
use crate::entry::record::Origin;
use crate::konnect::api::WebhookScope;
use crate::konnect::api::{ReplayRange, ReplayStatus};
use crate::konnect::client::{Client, LISTED_LATE};
use crate::search;
use crate::search::Filter;
use crate::store::{Reader, Reconciled, Scope, TimeRange};

/// The counts of the store in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    entries: u64,
    deliveries: u64,
}

/// The deliveries are over when the counts have not changed in this many consecutive checks.
const QUIET: usize = 4;

/// Replays the range of a portal, and reports the new entries.
pub(super) async fn reconcile(
    wanted: &Reconcile,
    client: &Client,
    scope: &WebhookScope,
    reader: &Reader,
    range: &Range,
) -> Result<Exit, Failure> {
    let portal = scope.portal().unwrap_or_default();
    let query = format!("portal_id:\"{}\"", portal.replace(['"', '\\'], ""));
    let filter = search::parse(&query, 0).map_err(Failure::usage)?;
    let nothing_is_known = report_old_range(reader, range, &filter)?;
    if range.until <= range.horizon.at {
        return Ok(Exit::Negative);
    }
    let before = counts(reader, &filter, range.in_store())?;
    let asked_at = now();
    let deadline = Instant::now() + wanted.wait;
    let start = range.since.max(range.horizon.at);
    let replay = ReplayRange { start_at: start.into(), end_at: range.until.into() };
    client.start_replay(scope, &replay).await?;
    let job = wait_for_replay(client, scope, deadline).await?;

    // Entries that the job has sent may be in a delivery that is still running.
    let (mut after, mut same) = (counts(reader, &filter, range.in_store())?, 0);
    while same < QUIET && Instant::now() + LOOK < deadline {
        tokio::time::sleep(LOOK).await;
        let next = counts(reader, &filter, range.in_store())?;
        same = if next == after { same + 1 } else { 0 };
        after = next;
    }
    let new = after.entries.saturating_sub(before.entries);
    let again = after.deliveries.saturating_sub(before.deliveries).saturating_sub(new);
    let mut output = Output::new();
    let printed = match wanted.output {
        PrintFormat::Jsonl => output.json(&json!({
            "portal_id": portal,
            "replay": word(job.status),
            "stored_before": before.entries,
            "delivered_again": again,
            "new": new,
        })),
        PrintFormat::Text => output.line(format_args!(
            "replay {}: {again} entries came again, {new} came that were missing; {} were stored \
             before",
            word(job.status),
            before.entries
        )),
    };
    ignore_closed(printed.and_then(|()| output.flush()))?;
    if job.status == Some(ReplayStatus::Completed) {
        let until = range.until.get().min(asked_at.get().saturating_sub(LISTED_LATE));
        // What was stored and did not come again tells that not everything came.
        let lacking = before.entries.saturating_sub(again);
        let result = Reconciled {
            scope: Scope {
                region: client.hosts().region().to_owned(),
                portal: Some(portal.to_owned()),
            },
            since: start.get(),
            until,
            compared: before.entries + new,
            missing: new + lacking,
            fetched: new,
        };
        record(&wanted.access, (result.since < until).then_some(result));
    }
    match job.status {
        Some(ReplayStatus::Completed) if nothing_is_known => Ok(Exit::Negative),
        Some(ReplayStatus::Completed) => Ok(Exit::Done),
        Some(ReplayStatus::Failed) => {
            tell("the replay failed: look at vidimus konnect status, and try again");
            Ok(Exit::Negative)
        }
        _ => {
            tell("the replay is not over: look with vidimus konnect replay show, and try again");
            Ok(Exit::Negative)
        }
    }
}

fn counts(reader: &Reader, filter: &Filter, range: TimeRange) -> Result<Counts, Failure> {
    let mut scan = reader.scan(filter, range, usize::MAX)?;
    let mut counts = Counts { entries: 0, deliveries: 0 };
    loop {
        let records = scan.next_slice(1000)?;
        if records.is_empty() {
            return Ok(counts);
        }
        for record in records {
            if let Origin::Stored { delivery_count, .. } = record.origin {
                counts.entries += 1;
                counts.deliveries += delivery_count;
            }
        }
    }
}
