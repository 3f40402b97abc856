//! What the service manager is told: that the server is ready, that it reloads, stops, and lives.
//!
//! The protocol is that of sd_notify(3): datagrams to the socket that `NOTIFY_SOCKET` names. Without
//! it nothing is sent. A manager that does not listen is no reason to stop.
//!
//! A watchdog that is fed by a timer alone proves nothing. This one is fed only when a thread that
//! may wait was had, as every delivery needs one, and when the writer of the store got on meanwhile.
//! A write that fails is no reason to be killed: the disk would be as full afterwards.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::net::Shutdown;
use crate::store::Pulse;

/// Deliveries are taken, and what was reloaded is in use.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again: [`ready`] says when that is done.
pub(super) fn reloading() {
    // Without the time a `Type=notify-reload` takes it for an answer to an earlier signal.
    match NotifyState::monotonic_usec_now() {
        Ok(time) => tell(&[NotifyState::Reloading, time]),
        Err(error) => tracing::warn!(%error, "the monotonic clock cannot be read"),
    }
}

/// The shutdown has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog of the manager, if it has one for this process, until the shutdown begins.
pub(super) fn feed_watchdog(mut pulse: Pulse, mut shutdown: Shutdown) {
    let Some(allowed) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        tokio::select! {
            _ = shutdown.begun() => {}
            () = feed(allowed, move || pulse.is_felt(), || tell(&[NotifyState::Watchdog])) => {}
        }
    });
}

/// Looks four times in the time `allowed`, so that one look in vain is no reason to be killed, and
/// feeds after each that was not in vain. It ends when a look panics.
async fn feed(
    allowed: Duration,
    mut look: impl FnMut() -> bool + Send + 'static,
    food: impl Fn() + Copy + Send + 'static,
) {
    loop {
        // The manager's socket may be full, so this waits on a thread that may.
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
    async fn the_watchdog_is_fed_after_looks_that_found_life_alone() {
        static FED: AtomicU32 = AtomicU32::new(0);
        let mut looks = [true, false, false, true, false].into_iter();
        // It ends with the looks: the one after the last panics.
        let look = move || looks.next().unwrap();
        feed(Duration::from_millis(4), look, || {
            FED.store(FED.load(Ordering::Relaxed) + 1, Ordering::Relaxed)
        })
        .await;
        assert_eq!(FED.load(Ordering::Relaxed), 2);
    }
}
