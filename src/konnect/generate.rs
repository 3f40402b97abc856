//! Realistic entries of every kind, from a seed: the same seed gives the same entries.
//!
//! Which fields a kind has, and which severity an outcome has, is from the vendor's page "Konnect
//! and Dev Portal audit logs". Addresses are those reserved for documentation (RFC 5737, RFC 3849).

use super::event::Event;
use super::random::Random;
use crate::entry::{Millis, Value};

/// Makes entries of one organization: its people, its portals, what they do.
#[derive(Clone, Debug)]
pub struct Generator {
    random: Random,
    /// A generator of its own, whose numbers do not repeat.
    trace_ids: Random,
    org_id: String,
    portals: [String; 3],
    control_planes: [String; 8],
    people: [Person; 40],
}

#[derive(Clone, Debug)]
struct Person {
    id: String,
    name: Option<&'static str>,
    address: String,
    user_agent: &'static str,
}

/// Some hold what a sender must escape.
const NAMES: [&str; 8] = [
    "Ada Byron",
    "Build Bot",
    "Zoë Ångström",
    "ACME\\svc-deploy",
    "team=platform",
    "王小明",
    "Robert \"Bob\" O'Neil",
    "a | b",
];

/// The last imitates fields.
const USER_AGENTS: [&str; 9] = [
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) \
     Chrome/113.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "grpc-node-js/1.12.4",
    "grpc-go/1.54.0",
    "decK/1.40.2",
    "terraform-provider-konnect/2.4.1",
    "curl/8.5.0",
    "",
    "x granted=false sig=ZZ",
];

/// Each outcome with its severity and the types it comes with.
const OUTCOMES: [(&str, i64, &[&str]); 7] = [
    (
        "SUCCESS",
        0,
        &["BASIC", "SSO", "PAT", "SPAT", "GOOGLE", "GITHUB", "WINDOWSLIVE", "FEDERATED"],
    ),
    ("NOT_FOUND", 1, &["BASIC", "PAT"]),
    ("INVALID_PASSWORD", 1, &["BASIC"]),
    ("TOKEN_EXPIRED", 1, &["PAT", "SPAT"]),
    ("LOCKED", 6, &["BASIC"]),
    ("DISABLED", 6, &["BASIC", "SSO", "FEDERATED"]),
    ("INVALID", 7, &["INVALID"]),
];

/// Whichever service checked a permission.
const SERVICES: [&str; 4] = ["konnect", "identity", "kauth", "portal"];
const RESOURCES: [&str; 6] =
    ["organization", "control-planes", "identity-provider", "teams", "portals", "audit-logs"];
const ACTIONS: [&str; 5] = ["retrieve", "list", "edit", "create", "delete"];

/// Each method with the statuses that it is answered with.
const CALLS: [(&str, [i64; 6]); 4] = [
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
    /// The generator that `seed` stands for. Without an `org_id` the organization is made up too.
    pub fn new(seed: u64, org_id: Option<String>) -> Generator {
        let mut random = Random::new(seed);
        let trace_ids = Random::new(random.number());
        let org_id = org_id.unwrap_or_else(|| random.uuid());
        Generator {
            org_id,
            portals: std::array::from_fn(|_| random.uuid()),
            control_planes: std::array::from_fn(|_| random.uuid()),
            people: std::array::from_fn(|_| person(&mut random)),
            trace_ids,
            random,
        }
    }

    /// Something that happened at `at`. No two entries of a generator have the same `trace_id`.
    pub fn event(&mut self, at: Millis) -> Event {
        let person = &self.people[self.random.below(self.people.len())].clone();
        let mut event = match self.random.below(10) {
            0..3 => self.authentication(at, person),
            3..7 => self.authorization(at, person),
            _ => self.access(at, person),
        };
        event.as_strings = self.random.chance(50);
        event
    }

    fn authentication(&mut self, at: Millis, person: &Person) -> Event {
        let (outcome, severity, types) =
            if self.random.chance(60) { OUTCOMES[0] } else { self.random.pick(&OUTCOMES) };
        let portal = self.random.chance(30).then(|| self.random.below(self.portals.len()));
        let request = match portal {
            Some(_) => "/api/v2/developer/authenticate",
            None => "/api/v1/authenticate",
        };
        let own = vec![("request", text(request)), ("success", Value::Boolean(severity == 0))];
        let portal = portal.map(|portal| self.portals[portal].clone());
        Event {
            product: if portal.is_some() { "Dev-Portal" } else { "Konnect" },
            class_id: format!("AUTHENTICATION_TYPE_{}", types[self.random.below(types.len())]),
            name: format!("AUTHENTICATION_OUTCOME_{outcome}"),
            severity,
            extensions: self.extensions(person, own, portal),
            at,
            as_strings: false,
        }
    }

    fn authorization(&mut self, at: Millis, person: &Person) -> Event {
        let resource = self.random.pick(&RESOURCES);
        let control_plane = self.random.below(self.control_planes.len());
        let name = match self.random.below(4) {
            0 => format!("Authz.{resource}/*"),
            1 => format!("Authz.control-planes/{}", self.control_planes[control_plane]),
            _ => format!("Authz.{resource}"),
        };
        let granted = self.random.chance(90);
        let own = vec![
            ("action", text(self.random.pick(&ACTIONS))),
            ("granted", Value::Boolean(granted)),
        ];
        Event {
            product: "Konnect",
            class_id: self.random.pick(&SERVICES).to_owned(),
            name,
            severity: if granted { 1 } else { 6 },
            extensions: self.extensions(person, own, None),
            at,
            as_strings: false,
        }
    }

    fn access(&mut self, at: Millis, person: &Person) -> Event {
        let (method, statuses) = self.random.pick(&CALLS);
        let status = self.random.pick(&statuses);
        let control_plane = self.random.below(self.control_planes.len());
        let request = format!(
            "/konnect-api/api/control_planes/{}/services",
            self.control_planes[control_plane]
        );
        let own = vec![
            ("request", Value::Text(request)),
            ("act", text(method)),
            ("status", Value::Integer(status)),
        ];
        let mut extensions = self.extensions(person, own, None);
        extensions.push(("query", text(self.random.pick(&QUERIES))));
        Event {
            product: "Konnect",
            class_id: "KongGateway".to_owned(),
            name: "Ingress".to_owned(),
            severity: match status {
                401 | 403 => 6,
                500 => 10,
                _ => 1,
            },
            extensions,
            at,
            as_strings: false,
        }
    }

    /// The fields of every entry, around those of its kind.
    fn extensions(
        &mut self,
        person: &Person,
        own: Vec<(&'static str, Value)>,
        portal: Option<String>,
    ) -> Vec<(&'static str, Value)> {
        let mut extensions = vec![("src", text(&person.address))];
        extensions.extend(own);
        extensions.push(("org_id", text(&self.org_id)));
        extensions.extend(portal.map(|portal| ("portal_id", Value::Text(portal))));
        extensions.push(("principal_id", text(&person.id)));
        extensions.extend(person.name.map(|name| ("principal_name", text(name))));
        if self.random.chance(5) {
            let actor = self.random.below(self.people.len());
            extensions.push(("actor_id", text(&self.people[actor].id)));
        }
        if self.random.chance(3) {
            extensions.push(("kong_initiated", Value::Boolean(true)));
        }
        extensions.push(("trace_id", Value::Text(self.trace_ids.number().to_string())));
        extensions.push(("user_agent", text(person.user_agent)));
        extensions
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn person(random: &mut Random) -> Person {
    let host = random.below(250) + 2;
    Person {
        id: random.uuid(),
        name: random.chance(60).then(|| random.pick(&NAMES)),
        address: match random.below(4) {
            0 => format!("198.51.100.{host}"),
            1 => format!("2001:db8::{host:x}"),
            _ => format!("203.0.113.{host}"),
        },
        user_agent: random.pick(&USER_AGENTS),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use bytes::Bytes;

    use super::*;
    use crate::entry::Kind;
    use crate::ingest::{Examined, Expected};
    use crate::konnect::LogFormat;
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
            for format in LogFormat::ALL {
                let line = crate::konnect::sign::place(*format, &event.text(*format), None);
                let examined = Examined::line(line.as_bytes(), &keys, 1 << 20);
                let read = examined.read(Bytes::from(line), &Expected::default(), Millis::MIN);
                let mut expected = crate::entry::Fields::default();
                event.fields().into_iter().for_each(|(name, value)| expected.restore(name, value));
                assert_eq!(read.fields, expected, "{:?}", read.raw);
                assert_eq!(read.format.as_str(), format.as_str());
                assert_eq!(read.warnings, [], "{:?}", read.raw);
                assert_eq!(read.time, event.at);
            }
        }
    }

    #[test]
    fn every_kind_outcome_and_severity_is_there() {
        let events = events(5);
        let names: BTreeSet<_> = events.iter().map(|event| event.name.as_str()).collect();
        for (outcome, _, _) in OUTCOMES {
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
