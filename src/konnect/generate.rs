//! Makes unrelated entries of every kind. The same seed makes the same entries.
//!
//! `traffic` makes entries that are consistent with one another.

use fastrand::Rng;

use super::event::{Event, JsonTypes};
use super::people::Person;
use super::request::{AuthOutcome, EntryStyle, Request};
use crate::entry::Millis;
use crate::random::{pick, uuid};

/// Makes entries of one made-up organization.
#[derive(Clone, Debug)]
pub struct Generator {
    random: Rng,
    org_id: String,
    portals: [String; 3],
    control_planes: [String; 8],
    people: [Person; 40],
}

const SERVICES: [&str; 4] = ["konnect", "identity", "kauth", "portal"];
const RESOURCES: [&str; 6] =
    ["organization", "control-planes", "identity-provider", "teams", "portals", "audit-logs"];
const ACTIONS: [&str; 5] = ["retrieve", "list", "edit", "create", "delete"];

/// Methods with their possible statuses.
const CALLS: [(&str, [u16; 6]); 4] = [
    ("POST", [201, 201, 200, 400, 403, 500]),
    ("PATCH", [200, 200, 200, 404, 401, 409]),
    ("PUT", [200, 200, 201, 400, 403, 500]),
    ("DELETE", [204, 204, 204, 404, 401, 403]),
];
const QUERIES: [&str; 4] = [
    "{}",
    "{\"end\":\"1684270800\",\"start\":\"1684098000\"}",
    "page[size]=100&filter[name][contains]=a\\b",
    "",
];

impl Generator {
    /// A generator that `seed` repeats. Without an `org_id`, it makes one up.
    pub fn new(seed: u64, org_id: Option<String>) -> Generator {
        let mut random = Rng::with_seed(seed);
        let org_id = org_id.unwrap_or_else(|| uuid(&mut random));
        Generator {
            org_id,
            portals: std::array::from_fn(|_| uuid(&mut random)),
            control_planes: std::array::from_fn(|_| uuid(&mut random)),
            people: std::array::from_fn(|_| Person::random(&mut random)),
            random,
        }
    }

    /// An event at `at`, with a random `trace_id`.
    pub fn event(&mut self, at: Millis) -> Event {
        let random = &mut self.random;
        let person = &self.people[random.usize(..self.people.len())];
        let actor = &self.people[random.usize(..self.people.len())];
        let request = Request {
            at,
            org_id: &self.org_id,
            portal_id: None,
            principal: &person.principal,
            actor_id: (random.f64() < 0.05).then_some(&actor.principal.id),
            src: &person.address,
            user_agent: person.user_agent,
            trace_id: random.u64(..),
            kong_initiated: random.f64() < 0.03,
            style: EntryStyle { json_types: pick(random, JsonTypes::ALL), principal_names: true },
        };
        match random.usize(..10) {
            0..3 => {
                let portal = &self.portals[random.usize(..self.portals.len())];
                let portal_id = (random.f64() < 0.3).then_some(portal.as_str());
                authentication(Request { portal_id, ..request }, random)
            }
            3..7 => authorization(request, &self.control_planes, random),
            _ => access(request, &self.control_planes, random),
        }
    }
}

fn authentication(request: Request<'_>, random: &mut Rng) -> Event {
    let any = pick(random, AuthOutcome::ALL);
    let outcome = if random.f64() < 0.6 { AuthOutcome::Success } else { any };
    request.authentication(pick(random, outcome.auth_type()), outcome)
}

fn authorization(request: Request<'_>, control_planes: &[String], random: &mut Rng) -> Event {
    let resource = pick(random, &RESOURCES);
    let control_plane = &control_planes[random.usize(..control_planes.len())];
    let resource = match random.usize(..4) {
        0 => format!("{resource}/*"),
        1 => format!("control-planes/{control_plane}"),
        _ => resource.to_owned(),
    };
    let granted = random.f64() < 0.9;
    request.authorization(pick(random, &SERVICES), &resource, pick(random, &ACTIONS), granted)
}

fn access(request: Request<'_>, control_planes: &[String], random: &mut Rng) -> Event {
    let (method, statuses) = pick(random, &CALLS);
    let control_plane = &control_planes[random.usize(..control_planes.len())];
    let path = format!("/konnect-api/api/control_planes/{control_plane}/services");
    request.access(method, &path, pick(random, &QUERIES), pick(random, &statuses))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use bytes::Bytes;

    use super::*;
    use crate::entry::Format;
    use crate::entry::Kind;
    use crate::ingest::{CheckedLine, ExpectedIds};
    use crate::signature::KeySet;

    fn events(seed: u64) -> Vec<Event> {
        let mut generator = Generator::new(seed, None);
        (0..2000).map(|n| generator.event(Millis::saturating(1_750_280_466_889 + n))).collect()
    }

    #[test]
    fn a_seed_repeats_the_entries_and_another_gives_others() {
        assert_eq!(events(1), events(1));
        assert_ne!(events(1), events(2));
    }

    #[test]
    fn no_trace_id_is_given_twice_and_some_need_all_64_bits() {
        let ids: HashSet<u64> = events(3)
            .iter()
            .flat_map(|event| &event.extensions)
            .filter(|(name, _)| *name == "trace_id")
            .map(|(_, value)| value.as_text().parse().unwrap())
            .collect();
        assert_eq!(ids.len(), 2000);
        assert!(ids.iter().any(|id| *id > i64::MAX as u64));
    }

    #[test]
    fn a_receiver_reads_the_fields_that_were_written() {
        let keys = KeySet::default();
        for event in events(4) {
            for format in &Format::DELIVERED {
                let line = crate::konnect::sign::place(*format, &event.text(*format), None);
                let examined = CheckedLine::new(line.as_bytes(), &keys, 1 << 20);
                let read = examined.read(Bytes::from(line), &ExpectedIds::default(), Millis::MIN);
                let mut expected = crate::entry::Fields::default();
                event.fields().into_iter().for_each(|(name, value)| expected.restore(name, value));
                assert_eq!(read.fields, expected, "{:?}", read.raw);
                assert_eq!(read.format, Some(*format));
                assert_eq!(read.warnings, [], "{:?}", read.raw);
                assert_eq!(read.time, event.at);
            }
        }
    }

    #[test]
    fn every_kind_outcome_and_severity_is_there() {
        let events = events(5);
        let names: BTreeSet<_> = events.iter().map(|event| event.name.as_str()).collect();
        for outcome in AuthOutcome::ALL {
            assert!(names.contains(format!("AUTHENTICATION_OUTCOME_{outcome}").as_str()));
        }
        for kind in [Kind::Authentication, Kind::Authorization, Kind::Access] {
            assert!(names.iter().any(|name| Kind::of(Some(name)) == kind), "{kind}");
        }
        let severities: BTreeSet<_> = events.iter().map(|event| event.severity).collect();
        assert_eq!(severities, [0, 1, 6, 7, 10].into());
        assert!(events.iter().any(|event| event.product == "Dev-Portal"));
        for event in events.iter().filter(|event| event.product == "Dev-Portal") {
            assert_eq!(Kind::of(Some(&event.name)), Kind::Authentication);
            assert!(event.extensions.iter().any(|(name, _)| *name == "portal_id"));
        }
    }
}
