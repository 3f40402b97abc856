//! The budget, what goes first, and the look-ups.

use bytes::Bytes;
use hyper::Request;

use super::*;
use crate::config::ResponseProfile;
use crate::entry::Millis;
use crate::receiver::response::Problem;

const STORED: Outcome = Outcome::Stored { delivery: 7, received: 1, stored: 1, duplicates: 0 };

fn head(input: Option<&str>) -> KeptHead {
    let request = Request::post("/audit-logs?x=1").header("authorization", "Bearer hunter2");
    KeptHead::new(&request.body(()).unwrap(), Millis::MIN, "p", None, input, None)
}

/// Keeps a request with this body, or one whose body was not read.
fn keep(kept: &KeptRequests, input: &str, body: Option<usize>, outcome: Outcome) {
    let mut draft = kept.begin(Instant::now(), || head(Some(input))).unwrap();
    if let Some(length) = body {
        draft.hold(&Bytes::from(vec![b'x'; length]));
    }
    let answer = Problem::overloaded().into_response(ResponseProfile::Vidimus);
    let phases = Phases::default();
    kept.keep(*draft, Ending { outcome, phases, reason: None, answer: Some(&answer) });
}

fn numbers(kept: &KeptRequests, matches: impl Fn(Outcome) -> bool) -> Vec<u64> {
    kept.newest(matches, usize::MAX).iter().map(|one| one.number).collect()
}

#[test]
fn nothing_is_kept_without_a_budget() {
    let kept = KeptRequests::new(0);
    assert!(!kept.is_on());
    let draft = kept.begin(Instant::now(), || panic!("the head is read"));
    assert!(draft.is_none());
    kept.keep_failed(draft, Phases::default(), "x".to_owned(), None);
    assert!(numbers(&kept, |_| true).is_empty());
}

#[test]
fn the_oldest_go_when_the_budget_is_used_up() {
    let kept = KeptRequests::new(1 << 20);
    assert!(kept.is_on());
    for _ in 0..100 {
        keep(&kept, "a", Some(50_000), STORED);
        let rings = kept.rings();
        let sizes = rings.authorized.requests.iter().map(|one| one.bytes());
        assert_eq!(sizes.sum::<usize>(), rings.authorized.bytes);
        assert!(rings.authorized.bytes <= 3 << 18, "{}", rings.authorized.bytes);
    }
    // Three quarters of the budget hold 15 such bodies.
    assert_eq!(numbers(&kept, |_| true), (86..=100).rev().collect::<Vec<_>>());
    assert!(kept.get(85).is_none());
    assert_eq!(kept.get(86).unwrap().number, 86);
}

#[test]
fn refused_requests_push_out_only_refused_ones() {
    let kept = KeptRequests::new(1 << 20);
    keep(&kept, "a", Some(700_000), STORED);
    for _ in 0..1000 {
        keep(&kept, "a", None, Outcome::Refused);
    }
    assert_eq!(numbers(&kept, |one| one == STORED), [1]);
    let refused = numbers(&kept, |one| one == Outcome::Refused);
    assert!((50..1000).contains(&refused.len()), "{}", refused.len());
    assert!(kept.rings().refused.bytes <= 1 << 18);
    // And the other way round.
    keep(&kept, "a", Some(700_000), STORED);
    assert_eq!(numbers(&kept, |one| one == STORED), [1002]);
    assert_eq!(numbers(&kept, |one| one == Outcome::Refused), refused);
}

#[test]
fn the_number_of_requests_is_limited_too() {
    let kept = KeptRequests::new(1 << 30);
    for _ in 0..MOST + 5 {
        keep(&kept, "a", Some(1), STORED);
    }
    let numbers = numbers(&kept, |_| true);
    assert_eq!((numbers.len(), numbers.last()), (MOST, Some(&6)));
}

#[test]
fn a_body_over_the_budget_is_noted() {
    let check = |length: usize, whole: bool| {
        let kept = KeptRequests::new(1 << 20);
        keep(&kept, "a", Some(length), STORED);
        let found = kept.get(1).unwrap();
        let expected = match whole {
            true => KeptBody::Whole(vec![b'x'; length].into()),
            false => KeptBody::TooLarge(length),
        };
        assert!(found.body == expected, "{length}: {found:?}");
        assert_eq!(found.head.headers.len(), 1, "{length}");
    };
    check(0, true);
    check(750_000, true);
    check((3 << 18) - 1000, false);
    check(2 << 20, false);
    // Not even the headers fit. The others stay.
    let kept = KeptRequests::new(4000);
    keep(&kept, "a", None, Outcome::Failed);
    keep(&kept, "a", Some(2000), STORED);
    keep(&kept, &"a".repeat(4000), None, Outcome::Failed);
    assert_eq!(numbers(&kept, |_| true), [2, 1]);
}

#[test]
fn a_request_is_found_by_what_became_of_it() {
    let kept = KeptRequests::new(1 << 20);
    keep(&kept, "a", Some(1), STORED);
    keep(&kept, "b", Some(2), Outcome::Quarantined { id: 7 });
    keep(&kept, "a", None, Outcome::Refused);
    keep(&kept, "a", None, Outcome::Failed);
    let found = |one: Option<Arc<KeptRequest>>| one.map(|one| one.number);
    assert_eq!(found(kept.of_delivery(7)), Some(1));
    assert_eq!(found(kept.of_quarantine(7)), Some(2));
    assert_eq!(found(kept.of_delivery(1)), None);
    assert_eq!(found(kept.of_quarantine(2)), None);
    assert_eq!(found(kept.get(3)), Some(3));
    assert_eq!(found(kept.get(5)), None);
    assert_eq!(numbers(&kept, |_| true), [4, 3, 2, 1]);
    let outcomes = [STORED, Outcome::Quarantined { id: 7 }, Outcome::Refused, Outcome::Failed];
    for (outcome, number) in outcomes.into_iter().zip(1..) {
        assert_eq!(numbers(&kept, |one| one == outcome), [number], "{outcome:?}");
    }
    assert_eq!(kept.newest(|_| true, 2).len(), 2);
    // The request before it, of the same input.
    for (number, before) in [(4, Some(3)), (3, Some(1)), (2, None), (1, None)] {
        assert_eq!(found(kept.before(&kept.get(number).unwrap())), before, "{number}");
    }
}

#[test]
fn debug_shows_no_header_and_no_body() {
    let kept = KeptRequests::new(1 << 20);
    keep(&kept, "a", Some(12), STORED);
    let request = kept.get(1).unwrap();
    let shown = format!("{kept:?} {request:?}");
    assert!(shown.contains("Some(\"a\")") && shown.contains("delivery: 7"), "{shown}");
    for hidden in ["xxxx", "hunter2", "Bearer", "authorization", "audit-logs"] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
}
