//! When to stop: one trigger, seen by everything that runs, and the deadline it sets.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Makes a trigger and what it triggers.
pub fn shutdown() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(None);
    (Trigger(sender), Shutdown(receiver))
}

/// Begins the shutdown. To drop it is to begin a shutdown without grace.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Option<Instant>>);

impl Trigger {
    /// Stops what is idle at once and the rest after `grace`. Said again, it can only shorten it.
    pub fn begin(&self, grace: Duration) {
        let asked = Instant::now() + grace;
        self.0.send_modify(|deadline| {
            *deadline = Some(deadline.map_or(asked, |earlier| earlier.min(asked)));
        });
    }
}

/// Tells whether and when to stop. Every task has its own.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Option<Instant>>);

impl Shutdown {
    /// Waits until the shutdown begins, and gives the time at which it has to be over. Can be
    /// dropped and called again.
    pub async fn begun(&mut self) -> Instant {
        match self.0.wait_for(Option::is_some).await {
            Ok(deadline) => deadline.unwrap_or_else(Instant::now),
            Err(_) => Instant::now(),
        }
    }

    /// Waits until the shutdown has to be over.
    pub async fn over(&mut self) {
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
    async fn the_deadline_can_only_come_nearer() {
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
    async fn a_dropped_trigger_shuts_down() {
        let (trigger, mut shutdown) = shutdown();
        let mut other = shutdown.clone();
        let waiting = tokio::spawn(async move { other.over().await });
        drop(trigger);
        waiting.await.unwrap();
        shutdown.begun().await;
    }
}
