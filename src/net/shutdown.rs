//! Graceful shutdown: a trigger, and the handles that tasks wait on.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

/// A trigger, and the handle for tasks.
pub(crate) fn shutdown() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(None);
    (Trigger(sender), Shutdown(receiver))
}

/// Begins the shutdown. If it is dropped, a shutdown begins whose deadline is now.
#[derive(Debug)]
pub(crate) struct Trigger(watch::Sender<Option<Instant>>);

impl Trigger {
    /// Begins the shutdown. Tasks stop at once if they are idle, and after `grace` at the latest.
    /// Another call can only bring the deadline closer.
    pub(crate) fn begin(&self, grace: Duration) {
        let wanted = Instant::now() + grace;
        self.0.send_modify(|deadline| {
            *deadline = Some(deadline.map_or(wanted, |earlier| earlier.min(wanted)));
        });
    }
}

/// A handle to wait on. Every task has its own clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Option<Instant>>);

impl Shutdown {
    /// Waits until the shutdown begins, and returns its deadline. The future can be dropped and made
    /// again.
    pub(crate) async fn begun(&mut self) -> Instant {
        match self.0.wait_for(Option::is_some).await {
            Ok(deadline) => deadline.unwrap_or_else(Instant::now),
            Err(_) => Instant::now(),
        }
    }

    /// Waits until the deadline.
    pub(crate) async fn over(&mut self) {
        loop {
            let deadline = self.begun().await;
            match timeout_at(deadline, self.0.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return sleep_until(deadline).await,
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_deadline_can_only_be_brought_forward() {
        let (trigger, mut shutdown) = shutdown();
        trigger.begin(Duration::from_secs(1000));
        let first = shutdown.begun().await;
        trigger.begin(Duration::from_secs(2000));
        assert_eq!(shutdown.begun().await, first);
        trigger.begin(Duration::from_secs(500));
        assert!(shutdown.begun().await < first);
        let waiting = tokio::spawn(async move { shutdown.over().await });
        trigger.begin(Duration::ZERO);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_dropped_trigger_begins_the_shutdown() {
        let (trigger, mut shutdown) = shutdown();
        let mut other = shutdown.clone();
        let waiting = tokio::spawn(async move { other.over().await });
        drop(trigger);
        waiting.await.unwrap();
        shutdown.begun().await;
    }
}
