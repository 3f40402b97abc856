//! Notifies the service manager: ready, reloading, stopping, watchdog.
//!
//! The protocol is that of sd_notify(3): datagrams to the socket in `NOTIFY_SOCKET`. Without it
//! nothing is sent. Errors are logged and ignored.
//!
//! A timer alone would prove nothing. The watchdog is fed only if a blocking thread was available,
//! which every delivery needs, and if the writer of the store has made progress. A failed write
//! counts as progress, because a restart does not fix a full disk. In `receive` the task that writes
//! the journal must have answered.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::net::Shutdown;

/// The server accepts deliveries, and a reload is complete.
pub(in crate::cli) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload has started. [`ready`] ends it.
pub(in crate::cli) fn reloading() {
    // Without the time, `Type=notify-reload` would take it as the answer to an earlier signal.
    match NotifyState::monotonic_usec_now() {
        Ok(time) => tell(&[NotifyState::Reloading, time]),
        Err(error) => tracing::warn!(%error, "the monotonic clock cannot be read"),
    }
}

pub(in crate::cli) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog, if the manager has one for this process, until the shutdown begins. `is_alive`
/// tells whether the work goes on, on a thread that may block.
pub(in crate::cli) fn feed_watchdog(
    is_alive: impl FnMut() -> bool + Send + 'static,
    mut shutdown: Shutdown,
) {
    let Some(allowed) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        tokio::select! {
            _ = shutdown.begun() => {}
            () = feed(allowed, is_alive, || tell(&[NotifyState::Watchdog])) => {}
        }
    });
}

/// Checks four times per `allowed` period, so that one failed check does no harm, and feeds after
/// each successful check. Ends when a check panics.
async fn feed(
    allowed: Duration,
    mut look: impl FnMut() -> bool + Send + 'static,
    food: impl Fn() + Copy + Send + 'static,
) {
    loop {
        // The socket of the manager may be full, so use a blocking thread.
        let looked = tokio::task::spawn_blocking(move || {
            if look() {
                food();
            }
            look
        });
        match looked.await {
            Ok(again) => look = again,
            Err(_) => return,
        }
        tokio::time::sleep(allowed / 4).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn the_watchdog_is_fed_only_after_successful_checks() {
        static FED: AtomicU32 = AtomicU32::new(0);
        let mut looks = [true, false, false, true, false].into_iter();
        // The check after the last one panics, which ends the loop.
        let look = move || looks.next().unwrap();
        feed(Duration::from_millis(4), look, || {
            FED.store(FED.load(Ordering::Relaxed) + 1, Ordering::Relaxed)
        })
        .await;
        assert_eq!(FED.load(Ordering::Relaxed), 2);
    }
}
