//! `vidimus store reseal`: rewrite sealed segments in the newest version.

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::cli::args::StoreArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::{counted, stderr_is_terminal, tell};
use crate::control::{Task, ask};
use crate::store::{Directory, Options, Resealed, Store};

/// Rewrite sealed segments in the newest version
///
/// The newest version takes a third of the space. Each new file is compared with the old one, entry
/// by entry, before the old one is deleted. If the command is interrupted, run it again: it goes on
/// where it stopped. The command also works while `vidimus serve` runs. Segments of every version can
/// be read, so you do not have to run it.
///
/// Exit codes: 0 all segments have the newest version, 1 a segment could not be rewritten.
#[derive(Args)]
pub(super) struct Reseal {
    #[command(flatten)]
    store: StoreArgs,
}

impl Reseal {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let directory = self.store.directory()?;
        let steps = Steps::new(&directory)?;
        let bar = bar();
        let (mut after, mut written, mut before, mut now) = (0, 0, 0, 0);
        let mut failed = false;
        while let Some(Resealed { first_id, result, place }) = steps.next(after)? {
            bar.set_length((place.0 + place.1 + 1) as u64);
            bar.set_position(place.0 as u64 + 1);
            match result {
                Ok((old, new)) => {
                    written += 1;
                    before += old;
                    now += new;
                }
                Err(why) => {
                    failed = true;
                    bar.suspend(|| {
                        tell(format_args!("segment {first_id} was not rewritten: {why}"))
                    });
                }
            }
            after = first_id;
        }
        bar.finish_and_clear();
        tell(format_args!(
            "{} rewritten: {} before, {} now",
            counted(written, "segment"),
            HumanBytes(before),
            HumanBytes(now)
        ));
        Ok(if failed { Exit::Negative } else { Exit::Done })
    }
}

/// Where the steps are done.
enum Steps<'a> {
    /// In the running `serve`.
    Serve(&'a Directory),
    /// Here.
    Here(Box<Store>),
}

impl Steps<'_> {
    fn new(directory: &Directory) -> Result<Steps<'_>, Failure> {
        // A step after the last id does nothing, but tells whether `serve` runs.
        match request(directory, u64::MAX)? {
            Some(_) => Ok(Steps::Serve(directory)),
            None => Ok(Steps::Here(Box::new(Store::open(directory, Options::default())?))),
        }
    }

    fn next(&self, after: u64) -> Result<Option<Resealed>, Failure> {
        match self {
            Steps::Here(store) => Ok(store.reseal_next(after)?),
            Steps::Serve(directory) => request(directory, after)?
                .ok_or_else(|| Failure::failed("serve has ended; run the command again")),
        }
    }
}

/// Asks the running `serve` for a step. `None` if no `serve` runs.
fn request(directory: &Directory, after: u64) -> Result<Option<Option<Resealed>>, Failure> {
    let cannot = |error| Failure::failed(format!("cannot ask the running serve: {error}"));
    match ask(directory, &Task::Reseal { after }).map_err(cannot)? {
        None => Ok(None),
        Some(Ok(report)) => Ok(Some(report.resealed)),
        Some(Err(why)) => Err(Failure::failed(why)),
    }
}

fn bar() -> ProgressBar {
    if !stderr_is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} segments  {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
