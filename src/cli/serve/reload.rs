//! On SIGHUP: the outputs as the configuration's file has them now, and what else changed in it and
//! waits for a restart.

use std::sync::Arc;

use tokio::sync::Notify;

use super::manager;
use crate::config::{self, Config, Flags};
use crate::output::Outputs;

/// What can be read again while the server runs.
pub(super) struct Reloaded(Arc<Notify>);

impl Reloaded {
    /// The outputs, in the file that `flags` name, if they do. `running` is what was read at the start.
    pub(super) fn new(outputs: Arc<Outputs>, flags: Flags, running: Config) -> Reloaded {
        let asked = Arc::new(Notify::new());
        let asking = Arc::clone(&asked);
        let settings = Arc::new((flags, running));
        // One at a time, and once for all that ask meanwhile: an output may take long to stop.
        tokio::spawn(async move {
            loop {
                asking.notified().await;
                manager::reloading();
                let (outputs, settings) = (Arc::clone(&outputs), Arc::clone(&settings));
                // A panic of it is in the log.
                let _ = tokio::task::spawn_blocking(move || {
                    let (flags, running) = &*settings;
                    reload(&outputs, flags);
                    tell_what_waits(flags, running);
                })
                .await;
                manager::ready();
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
            tracing::error!(%error, "the outputs are not changed");
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
    tracing::info!(
        outputs = ?outputs.names(),
        "SIGHUP: reading the keys again; the outputs now match the configuration"
    );
}

/// Says which settings are not those in use, and whether the program could start with them.
fn tell_what_waits(flags: &Flags, running: &Config) {
    match Config::load(flags, &|name| std::env::var(name).ok()) {
        Ok(config) => {
            let waiting = running.differences(&config).join(", ");
            if !waiting.is_empty() {
                tracing::warn!(
                    settings = waiting,
                    "these settings changed and need a restart"
                );
            }
        }
        Err(error) => tracing::error!(%error, "a restart would fail with this configuration"),
    }
}
