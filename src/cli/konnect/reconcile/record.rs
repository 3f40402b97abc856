//! Records the result of a comparison for `vidimus log coverage`.
//!
//! The running `serve` does that, because it alone writes the log. Without one nothing is recorded: the
//! command itself only reads the store, which may be a copy.

use crate::cli::exit::Failure;
use crate::cli::konnect::access::Access;
use crate::cli::terminal::tell;
use crate::control::{Task, ask};
use crate::store::Reconciled;

/// Records a result, and tells how it was recorded. `None`: no time can be proved.
pub(super) fn record(access: &Access, reconciled: Option<Reconciled>) {
    let Some(reconciled) = reconciled else {
        tell(
            "nothing is recorded for vidimus log coverage: Konnect may list entries ten minutes late, \
             and gives none that are too old",
        );
        return;
    };
    if let Err(why) = ask_serve(access, reconciled) {
        tell(format_args!("note: the result is not recorded for vidimus log coverage: {why}"));
    }
}

fn ask_serve(access: &Access, reconciled: Reconciled) -> Result<(), Failure> {
    let directory = access.store.directory()?;
    let cannot = |error| Failure::failed(format!("cannot ask the running serve: {error}"));
    let report = match ask(&directory, &Task::RecordReconciled { reconciled }).map_err(cannot)? {
        Some(report) => report.map_err(Failure::failed)?,
        None => {
            let path = directory.path().display();
            return Err(Failure::failed(format!("no vidimus serve runs on {path}")));
        }
    };
    report.lines.iter().for_each(tell);
    Ok(())
}
