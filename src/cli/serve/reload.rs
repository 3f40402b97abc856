//! On SIGHUP: the outputs as the configuration's file has them now.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::config::{self, Flags};
use crate::output::Outputs;

/// What can be read again while the server runs.
pub(super) struct Reloaded(Arc<Notify>);

impl Reloaded {
    /// The outputs, in the file that `flags` name, if they do.
    pub(super) fn new(outputs: Arc<Outputs>, flags: Flags) -> Reloaded {
        let asked = Arc::new(Notify::new());
        let asking = Arc::clone(&asked);
        let flags = Arc::new(flags);
        // One at a time, and once for all that ask meanwhile: an output may take long to stop.
        tokio::spawn(async move {
            loop {
                asking.notified().await;
                let (outputs, flags) = (Arc::clone(&outputs), Arc::clone(&flags));
                // A panic of it is in the log.
                let _ = tokio::task::spawn_blocking(move || reload(&outputs, &flags)).await;
            }
        });
        Reloaded(asked)
    }

    /// Has it done, some time soon.
    pub(super) fn reload(&self) {
        self.0.notify_one();
    }
}

fn reload(outputs: &Outputs, flags: &Flags) {
    let (wanted, warnings) = match config::outputs(flags) {
        Ok(wanted) => wanted,
        Err(error) => {
            tracing::error!(%error, "the outputs stay as they are");
            outputs.reopen();
            return;
        }
    };
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    for (output, error) in outputs.set(&wanted).err().into_iter().flatten() {
        tracing::error!(output, %error, "cannot start an output");
    }
    tracing::info!(outputs = ?outputs.names(), "the outputs are as the configuration says");
}
