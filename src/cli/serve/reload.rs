//! Handles SIGHUP: applies the outputs of the configuration file, and logs the other settings that
//! changed.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::cli::service_manager;
use crate::config::{self, Config, Flags};
use crate::output::Outputs;

/// Reloads the configuration file in the background.
pub(super) struct Reloader(Arc<Notify>);

impl Reloader {
    /// `flags` may name a configuration file. `running` is the configuration read at start.
    pub(super) fn new(outputs: Arc<Outputs>, flags: Flags, running: Config) -> Reloader {
        let asked = Arc::new(Notify::new());
        let asking = Arc::clone(&asked);
        let settings = Arc::new((flags, running));
        // One reload at a time, because an output may take long to stop. Requests in the meantime
        // are merged into one.
        tokio::spawn(async move {
            loop {
                asking.notified().await;
                service_manager::reloading();
                let (outputs, settings) = (Arc::clone(&outputs), Arc::clone(&settings));
                // A panic is logged.
                let _ = tokio::task::spawn_blocking(move || {
                    let (flags, running) = &*settings;
                    reload(&outputs, flags);
                    log_pending_changes(flags, running);
                })
                .await;
                service_manager::ready();
            }
        });
        Reloader(asked)
    }

    /// Requests a reload and returns at once.
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

/// Logs the settings that differ from those in use, and whether a restart would succeed.
fn log_pending_changes(flags: &Flags, running: &Config) {
    match Config::load(flags, &|name| std::env::var(name).ok()) {
        Ok(config) => {
            let waiting = running.differences(&config).join(", ");
            if !waiting.is_empty() {
                tracing::warn!(settings = waiting, "these settings changed and need a restart");
            }
        }
        Err(error) => tracing::error!(%error, "a restart would fail with this configuration"),
    }
}
