//! `vidimus konnect pull`: pull the organization's entries from the API.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use super::access::{Access, moment};
use super::waiting::run_until_interrupted;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::grid::{Grid, cut_to, shorten_ids, time, whole};
use crate::cli::print::{PrintFormat, Screen};
use crate::cli::terminal::{Output, counted, tell};
use crate::clock::now;
use crate::entry::{Kind, Millis};
use crate::konnect::client::{Client, LONGEST_RETENTION, PULL_PAGE, Pages, PullFilter};
use crate::konnect::cursor::Cursor;
use crate::konnect::reconcile::Pulled;
use crate::private_file;
use crate::settings::units;

/// Pull the organization's entries from Konnect, in the format of the API.
///
/// Without a time range the newest 50 are pulled. With --cursor-file, a later pull continues where
/// this one stopped. Pulled entries differ from those of the webhook: their format is different, and
/// their signature cannot be verified here. The entries of Dev Portals are not included.
#[derive(Args)]
pub(super) struct Pull {
    /// Start at this time: RFC 3339, a date, or an age [default: the oldest entry that Konnect gives,
    /// or the position in the cursor file; with --follow 5m]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// End at this time [default: now]
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    until: Option<String>,

    /// Pull only entries of this type
    #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(
        ["authorization", "authentication", "gateway_access"]))]
    kind: Option<String>,

    /// Pull the newest N entries of the range; 0 means all [default: 50 without a time range,
    /// otherwise all]
    #[arg(long, value_name = "N", conflicts_with_all = ["follow", "cursor_file"])]
    limit: Option<usize>,

    /// Keep pulling new entries until interrupted
    #[arg(long)]
    follow: bool,

    /// How often to poll, with --follow
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::duration)]
    interval: Duration,

    /// Save the position in this file, and continue from it the next time
    #[arg(long, value_name = "FILE")]
    cursor_file: Option<PathBuf>,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "jsonl")]
    output: PrintFormat,

    #[command(flatten)]
    access: Access,
}

/// The number of entries without a time range.
const NEWEST: usize = 50;

impl Pull {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let client = self.access.client()?;
        let until = self.until.as_deref().map(|until| moment("--until", until)).transpose()?;
        let mut count = 0;
        let done = match self.limit() {
            Some(limit) => run_until_interrupted(async {
                let newest = self.newest(&client, until.unwrap_or_else(now), limit).await?;
                count = newest.len();
                self.print(&newest)
            }),
            None => {
                let mut cursor = self.cursor(client.hosts().regional())?;
                run_until_interrupted(self.pull(&client, until, &mut cursor, &mut count))
            }
        };
        // The cursor file includes everything that was printed.
        if self.output == PrintFormat::Text {
            tell(counted(count as u64, "entry"));
        }
        done?;
        Ok(Exit::Done)
    }

    /// The number of entries to pull, if not all.
    fn limit(&self) -> Option<usize> {
        let is_bare = self.since.is_none() && self.until.is_none() && self.cursor_file.is_none();
        let default = if is_bare && !self.follow { NEWEST } else { 0 };
        Some(self.limit.unwrap_or(default)).filter(|limit| *limit > 0)
    }

    /// The newest entries up to `until`, the newest first.
    async fn newest(
        &self,
        client: &Client,
        until: Millis,
        limit: usize,
    ) -> Result<Vec<Value>, Failure> {
        let since = match &self.since {
            Some(since) => moment("--since", since)?,
            None => earliest(until),
        };
        // A small page is no faster, and a list that is oldest first needs many of them.
        let page = limit.clamp(NEWEST, PULL_PAGE);
        let filter = PullFilter { since, until, kind: self.kind.clone(), page };
        let (mut newest, mut after) = (VecDeque::new(), None);
        let mut pages = Pages::default();
        loop {
            let (entries, next) = client.pull(&filter, after.as_deref(), &mut pages).await?;
            newest.extend(entries);
            let time = |entry: Option<&Value>| Some(Pulled::read(&entry?.to_string())?.identity.at);
            let oldest_first = time(newest.front()) < time(newest.back());
            while newest.len() > limit {
                if oldest_first {
                    newest.pop_front()
                } else {
                    newest.pop_back()
                };
            }
            after = next;
            // What follows in a list that is newest first is older.
            if after.is_none() || (newest.len() == limit && !oldest_first) {
                if oldest_first {
                    newest.make_contiguous().reverse();
                }
                return Ok(newest.into());
            }
        }
    }

    async fn pull(
        &self,
        client: &Client,
        until: Option<Millis>,
        cursor: &mut Cursor,
        count: &mut usize,
    ) -> Result<(), Failure> {
        let mut pages = Pages::default();
        loop {
            let end = until.map_or(now(), |until| until.min(now()));
            let (filter, after) = cursor.next(end);
            let answer = client.pull(&filter, after.as_deref(), &mut pages).await;
            let (entries, next) = answer.map_err(|error| match (&self.cursor_file, &after) {
                (Some(file), Some(_)) if error.status().is_some_and(|s| s.is_client_error()) => {
                    Failure::failed(format!(
                        "{error}\nKonnect may no longer know the page saved in {}: remove the \
                         file, and pull again with --since {}",
                        file.display(),
                        filter.since
                    ))
                }
                _ => Failure::failed(error),
            })?;
            let new = cursor.take(entries, next);
            *count += new.len();
            // No await between these two, so that they cannot be interrupted in between.
            self.print(&new)?;
            self.save(cursor)?;
            if cursor.is_between_windows() {
                pages = Pages::default();
                if !self.follow {
                    return Ok(());
                }
                tokio::time::sleep(self.interval.max(Duration::from_millis(100))).await;
            }
        }
    }

    fn print(&self, entries: &[Value]) -> Result<(), Failure> {
        let mut output = Output::new();
        match self.output {
            PrintFormat::Jsonl => entries.iter().try_for_each(|entry| output.json(entry))?,
            PrintFormat::Text => {
                let all = entries.iter().map(|entry| (entry, ""));
                output.grid(&grid(all, Screen::of_standard_output()))?;
            }
        }
        output.flush()
    }

    /// The position in the cursor file, or the start.
    fn cursor(&self, api: &str) -> Result<Cursor, Failure> {
        if let Some(path) = &self.cursor_file
            && let Some(cursor) = read(path)?
        {
            if cursor.api != api || cursor.kind != self.kind {
                let kind = cursor.kind.as_deref().unwrap_or("all");
                return Err(Failure::usage(format!(
                    "{} belongs to a pull from {} of the type {kind}: use a separate file for \
                     each pull",
                    path.display(),
                    cursor.api
                )));
            }
            if self.since.is_some() {
                tell(format_args!(
                    "--since is ignored: the pull continues from {}",
                    path.display()
                ));
            }
            return Ok(cursor);
        }
        let since = match (&self.since, &self.cursor_file) {
            (Some(since), _) => moment("--since", since)?,
            (None, None) if self.follow => moment("--since", "5m")?,
            (None, _) => earliest(now()),
        };
        Ok(Cursor::new(api, self.kind.clone(), since))
    }

    fn save(&self, cursor: &Cursor) -> Result<(), Failure> {
        let Some(path) = &self.cursor_file else { return Ok(()) };
        let json = serde_json::to_string(cursor)?;
        private_file::write(path, &(json + "\n"))
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
    }
}

/// A time before all entries that Konnect gives at `now`.
fn earliest(now: Millis) -> Millis {
    Millis::saturating(now.get().saturating_sub(LONGEST_RETENTION))
}

fn read(path: &Path) -> Result<Option<Cursor>, Failure> {
    let bad = |why: String| {
        Failure::failed(format!("cannot read the cursor in {}: {why}", path.display()))
    };
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|error| bad(error.to_string()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(bad(error.to_string())),
    }
}

pub(super) fn grid<'a>(
    entries: impl Iterator<Item = (&'a Value, &'static str)>,
    screen: Screen,
) -> Grid<7> {
    let mut grid = Grid::new([
        whole("TIME"),
        whole("KIND"),
        cut_to("OUTCOME", 8),
        cut_to("WHAT", 12),
        cut_to("PRINCIPAL", 8),
        cut_to("TRACE", 8),
        whole(""),
    ]);
    for (entry, remark) in entries {
        let Some(Pulled { identity, .. }) = Pulled::read(&entry.to_string()) else {
            let whole = entry.to_string();
            let none = String::new;
            grid.row([none(), none(), none(), whole, none(), none(), remark.to_owned()]);
            continue;
        };
        let who = entry.get("principal_id").and_then(Value::as_str).unwrap_or("-").to_owned();
        let (what, who) = match screen.width {
            Some(_) => (shorten_ids(identity.what()), shorten_ids(&who)),
            None => (identity.what().to_string(), who),
        };
        let outcome = match (identity.kind, identity.outcome.as_str()) {
            (Kind::Authorization, "true") => "granted".to_owned(),
            (Kind::Authorization, "false") => "denied".to_owned(),
            (_, outcome) => outcome.to_owned(),
        };
        grid.row([
            time(identity.at, None, screen),
            identity.kind.to_string(),
            outcome,
            what,
            who,
            identity.trace_id.clone(),
            remark.to_owned(),
        ]);
    }
    grid
}
