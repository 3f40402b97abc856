//! The comparison, by examples and against a naive model.

use fastrand::Rng;
use serde_json::json;

use super::*;
use crate::entry::Value as FieldValue;
use crate::konnect::event::Event;
use crate::konnect::generate::Generator;

const AT: i64 = 1_747_426_194_123;

fn stored(event: &Event) -> StoredEntry {
    let mut fields = Fields::default();
    event.fields().into_iter().for_each(|(name, value)| fields.restore(name, value));
    let identity = EntryIdentity::of(Kind::of(Some(&event.name)), event.at, &fields);
    StoredEntry { identity, delivery_count: 1, verdict: VerdictName::Valid }
}

/// The same entry as the API shows it.
fn pulled(event: &Event) -> Pulled {
    let fields: HashMap<_, _> = event.fields().into_iter().collect();
    let field = |name: &str| match fields.get(name) {
        Some(FieldValue::Integer(number)) => Value::from(*number),
        Some(FieldValue::Boolean(boolean)) => Value::from(*boolean),
        Some(other) => Value::from(other.as_text().into_owned()),
        None => Value::Null,
    };
    let end = |text: &str| text.rsplit('_').next().unwrap().to_ascii_lowercase();
    let mut json = json!({"ts": event.at.to_string(), "trace_id": field("trace_id"),
        "principal_id": field("principal_id"), "client_ip": field("src"), "signature": "x"});
    let own = match Kind::of(Some(&event.name)) {
        Kind::Authorization => json!({"type": "authorization", "service": event.class_id,
            "resource": format!("krn:{}", &event.name["Authz.".len()..]),
            "action": field("action"), "granted": field("granted")}),
        Kind::Authentication => json!({"type": "authentication", "successful": field("success"),
            "outcome": event.name["AUTHENTICATION_OUTCOME_".len()..].to_ascii_lowercase(),
            "authentication_type": end(&event.class_id), "uri": field("request")}),
        _ => json!({"type": "gateway_access", "method": field("act"), "uri": field("request"),
            "status_code": field("status"), "query": field("query")}),
    };
    json.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    Pulled::read(&json.to_string()).unwrap()
}

/// Of two `trace_id`s, so that many entries are of one key.
fn events(seed: u64, count: usize) -> Vec<Event> {
    let (mut generator, mut random) = (Generator::new(seed, None), Rng::with_seed(seed));
    let event = |_| {
        let mut event = generator.event(Millis::saturating(AT + random.usize(..2) as i64));
        for (name, value) in &mut event.extensions {
            match *name {
                "trace_id" => *value = FieldValue::Text(random.usize(..2).to_string()),
                "src" | "principal_id" => *value = FieldValue::Text("same".into()),
                _ => {}
            }
        }
        event
    };
    (0..count).map(event).collect()
}

/// Takes an equal one away for each that is stored, one by one.
fn naive(pulled: &[Pulled], withheld: &[bool]) -> Vec<String> {
    let mut left: Vec<String> = pulled.iter().map(|one| one.json().to_string()).collect();
    for (one, withheld) in pulled.iter().zip(withheld) {
        if !withheld {
            let json = one.json().to_string();
            let at = left.iter().position(|one| *one == json).unwrap();
            left.remove(at);
        }
    }
    left.sort();
    left
}

#[test]
fn exactly_what_was_withheld_is_missing() {
    for seed in 0..60 {
        let mut random = Rng::with_seed(seed + 1000);
        let events = events(seed, random.usize(..80));
        let all: Vec<_> = events.iter().map(pulled).collect();
        let withheld: Vec<_> = events.iter().map(|_| random.f64() < 0.3).collect();
        let kept = events.iter().zip(&withheld).filter(|(_, withheld)| !**withheld);
        let kept: Vec<_> = kept.map(|(event, _)| stored(event)).collect();
        let found = compare(all.clone(), &kept);
        let mut missing: Vec<_> = found.missing.iter().map(|one| one.json().to_string()).collect();
        missing.sort();
        assert_eq!(missing, naive(&all, &withheld), "seed {seed}");
        assert_eq!(all.len() - found.missing.len(), kept.len());
    }
}

fn check(pulled: &[Pulled], stored: &[StoredEntry], missing: usize) {
    let found = compare(pulled.to_vec(), stored);
    assert_eq!(found.missing.len(), missing, "{:#?}", found.missing);
}

#[test]
fn entries_that_look_alike_are_counted() {
    let event = &events(1, 1)[0];
    let (entry, once) = (pulled(event), stored(event));
    let twice = StoredEntry { delivery_count: 2, ..once.clone() };
    let times = |count: usize| vec![entry.clone(); count];
    for (pulled, stored, missing) in [
        (0, vec![once.clone()], 0),
        (1, vec![], 1),
        (2, vec![once.clone()], 1),
        (2, vec![once.clone(), once.clone()], 0),
        (2, vec![twice.clone()], 0),
        (3, vec![twice.clone()], 1),
    ] {
        check(&times(pulled), &stored, missing);
    }
    // A replay of one is no delivery of another.
    let mut other = entry.clone();
    other.identity.details[0] = "other".into();
    let mut json = other.json();
    json["uri"] = "other".into();
    json["resource"] = "other".into();
    other.text = json.to_string();
    check(&[entry, other], &[twice], 1);
}

#[test]
fn another_outcome_is_another_entry() {
    for event in events(2, 40) {
        let tampered = event.tampered();
        let is_outcome = tampered.extensions.len() == event.extensions.len();
        // An authentication's outcome is its name, which stays.
        let counts = is_outcome && Kind::of(Some(&event.name)) != Kind::Authentication;
        check(&[pulled(&event)], &[stored(&tampered)], usize::from(counts));
        let invalid = StoredEntry { verdict: VerdictName::Invalid, ..stored(&tampered) };
        let found = compare(vec![pulled(&event)], &[invalid]);
        assert_eq!(found.altered, usize::from(counts));
    }
}

#[test]
fn a_finer_time_may_have_been_rounded() {
    let event = &events(3, 1)[0];
    let mut json = pulled(event).json();
    let time = event.at.to_string();
    for (digits, later, missing) in
        [("", 0, 0), ("", 1, 1), ("900", 0, 0), ("900", 1, 0), ("900", 2, 1), ("900", -1, 1)]
    {
        json["ts"] = time.replace('Z', &format!("{digits}Z")).into();
        let at = Millis::saturating(event.at.get() + later);
        let stored = stored(&Event { at, ..event.clone() });
        check(&[Pulled::read(&json.to_string()).unwrap()], &[stored], missing);
    }
}

#[test]
fn entries_without_a_time_cannot_be_compared() {
    assert_eq!(Pulled::read(&json!({"type": "authorization"}).to_string()), None);
    assert_eq!(Pulled::read(&json!({"ts": "yesterday"}).to_string()), None);
    assert_eq!(Pulled::read(&json!([]).to_string()), None);
    let other = Pulled::read(r#"{"ts": "2025-05-16T20:09:54Z", "type": "new"}"#).unwrap();
    assert_eq!((other.identity.kind, &*other.identity.outcome), (Kind::Other, ""));
}
