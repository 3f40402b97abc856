//! What the hooks are told is counted, and shown from zero on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;

use super::*;
use crate::entry::Millis;
use crate::keys::Watcher;
use crate::net::Events;
use crate::receiver::Observer;
use crate::store::meter::Classes;
use crate::store::{Appended, Delivery, Meter, Refused};

struct Nobody;

impl Observer for Nobody {
    fn stored(&self, _: &str, _: &str, _: u64, _: &Appended, _: Duration) {}
    fn failed(&self, _: &str, _: &str, _: u16, _: &str) {}
    fn refused(&self, _: &Refused) {}
}

impl Events for Nobody {
    fn refused(&self, _: std::net::SocketAddr, _: NetRefused) {}
    fn cannot_accept(&self, _: &std::io::Error) {}
}

fn check(metrics: &Metrics, expected: &str) {
    let mut text = String::new();
    encode(&mut text, &metrics.registry).unwrap();
    assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
}

#[test]
fn everything_begins_at_zero() {
    let metrics = Metrics::new(&["a"], &["set".to_owned()]);
    check(&metrics, "vidimus_deliveries_total{input=\"a\",status=\"closed\"} 0");
    check(&metrics, "vidimus_entries_total{format=\"cps\",kind=\"other\",verdict=\"no_key\"} 0");
    check(&metrics, "vidimus_key_refreshes_total{source=\"set\",outcome=\"failure\"} 0");
    check(&metrics, "vidimus_tls_handshake_failures_total{listener=\"console\"} 0");
    check(&metrics, "vidimus_requests_refused_total{status=\"405\"} 0");
}

#[test]
fn what_the_other_modules_tell_is_counted() {
    let metrics = Arc::new(Metrics::new(&["a"], &["set".to_owned()]));
    let delivery = Delivery {
        received_at: Millis::saturating(1500),
        started: Instant::now(),
        input: "a".to_owned(),
        peer: "p".to_owned(),
        bytes: 7,
        decoded_bytes: 9,
    };
    let appended = Appended { received: 3, duplicates: 2, ..Appended::default() };
    metrics.stored(&delivery, &appended, &Classes::default());
    metrics.committed(1, Duration::from_millis(3));
    Meter::failed(&*metrics);
    metrics.read("set", false);
    let observer = CountedObserver { metrics: Arc::clone(&metrics), inner: Arc::new(Nobody) };
    observer.failed("a", "p", 0, "hung up");
    observer.failed("a", "p", 429, "overloaded");
    let events = CountedEvents {
        metrics: Arc::clone(&metrics),
        listener: "receiver",
        inner: Arc::new(Nobody),
    };
    let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    for refused in [NetRefused::PlainToTls, NetRefused::TlsToPlain] {
        assert!(NetRefused::REASONS.contains(&refused.reason()));
        Events::refused(&events, peer, refused);
    }
    for expected in [
        "vidimus_deliveries_total{input=\"a\",status=\"200\"} 1",
        "vidimus_deliveries_total{input=\"a\",status=\"429\"} 1",
        "vidimus_deliveries_total{input=\"a\",status=\"closed\"} 1",
        "vidimus_duplicates_total{input=\"a\"} 2",
        "vidimus_received_bytes_total{input=\"a\"} 7",
        "vidimus_decoded_bytes_total{input=\"a\"} 9",
        "vidimus_last_entry_timestamp_seconds{input=\"a\"} 1.5",
        "vidimus_key_refreshes_total{source=\"set\",outcome=\"failure\"} 1",
        "vidimus_store_commit_duration_seconds_bucket{le=\"0.0025\"} 0",
        "vidimus_store_commit_duration_seconds_bucket{le=\"0.005\"} 1",
        "vidimus_store_commit_failures_total 1",
        "vidimus_connections_refused_total{listener=\"receiver\",reason=\"tls_to_plain\"} 1",
        "vidimus_tls_handshake_failures_total{listener=\"receiver\"} 1",
    ] {
        check(&metrics, expected);
    }
}
