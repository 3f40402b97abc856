//! The people of a made-up organization. Their addresses are those reserved for documentation (RFC
//! 5737, RFC 3849).

use fastrand::Rng;

use crate::random::{pick, uuid};

/// Whoever a request is made as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// `principal_id`: a UUID, or the empty string where nobody was recognised.
    pub id: String,
    /// `principal_name`.
    pub name: Option<String>,
}

/// A principal with the machine they work at.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) principal: Principal,
    pub(super) address: String,
    pub(super) user_agent: &'static str,
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

const BROWSERS: [&str; 2] = [
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) \
     Chrome/113.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
];

/// The last imitates fields.
const TOOLS: [&str; 7] = [
    "grpc-node-js/1.12.4",
    "grpc-go/1.54.0",
    "decK/1.40.2",
    "terraform-provider-konnect/2.4.1",
    "curl/8.5.0",
    "",
    "x granted=false sig=ZZ",
];

impl Person {
    /// Somebody, at a browser or with a tool.
    pub(super) fn random(random: &mut Rng) -> Person {
        let of_a_tool = random.f64() < 0.75;
        let principal = Principal::random(random);
        Person::with(principal, of_a_tool, random)
    }

    /// Nobody that is known.
    pub(super) fn stranger(random: &mut Rng) -> Person {
        Person::with(Principal { id: String::new(), name: None }, true, random)
    }

    /// `principal` at an address of their own, with a tool or at a browser.
    pub(super) fn with(principal: Principal, of_a_tool: bool, random: &mut Rng) -> Person {
        let host = random.usize(..250) + 2;
        Person {
            principal,
            address: match random.usize(..4) {
                0 => format!("198.51.100.{host}"),
                1 => format!("2001:db8::{host:x}"),
                _ => format!("203.0.113.{host}"),
            },
            user_agent: if of_a_tool { *pick(random, &TOOLS) } else { *pick(random, &BROWSERS) },
        }
    }
}

impl Principal {
    /// Somebody with a name or without.
    pub(super) fn random(random: &mut Rng) -> Principal {
        Principal {
            id: uuid(random),
            name: (random.f64() < 0.6).then(|| (*pick(random, &NAMES)).to_owned()),
        }
    }
}
