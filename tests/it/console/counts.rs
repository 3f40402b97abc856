//! Histogram and facets compared with a naive model on random data, with late verdicts.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};
use vidimus::entry::Millis;

use super::{ask, get};
use crate::harness::{Serve, Setup, Signer, jwks, wait_until, write_private};

/// An entry of the model. The signer decides the final verdict.
struct Model {
    rt: i64,
    name: String,
    src: Option<String>,
    status: u64,
    signer: usize,
    /// The number of its delivery.
    batch: usize,
}

/// The number of entries of a delivery.
const BATCH: usize = 50;

impl Model {
    fn verdict(&self, known: usize) -> &'static str {
        match self.signer {
            0 => "unsigned",
            signer if signer <= known => "valid",
            _ => "invalid",
        }
    }

    /// Some segments have entries of one input, and others those of two.
    fn input(&self) -> &'static str {
        if self.path() == "/audit-logs" { "default" } else { "portal" }
    }

    fn path(&self) -> &'static str {
        if self.batch % 3 == 1 { "/portal" } else { "/audit-logs" }
    }

    fn value(&self, field: &str, known: usize) -> Option<String> {
        match field {
            "name" => Some(self.name.clone()),
            "src" => self.src.clone(),
            "status" => Some(self.status.to_string()),
            "verdict" => Some(self.verdict(known).to_owned()),
            "kind" => {
                Some(if self.name == "Ingress" { "access" } else { "authorization" }.to_owned())
            }
            other => panic!("the model knows no {other}"),
        }
    }
}

const BEGIN: i64 = 1_750_000_000_000;
const SPAN: i64 = 36 * 3_600_000;

fn models(random: &mut Rng, count: usize) -> Vec<Model> {
    (0..count)
        .map(|number| Model {
            rt: BEGIN + random.i64(0..SPAN),
            name: match random.u8(..12) {
                0..5 => "Ingress".to_owned(),
                n => format!("Authz.{n}"),
            },
            src: (random.u8(..3) > 0).then(|| format!("10.0.0.{}", random.u8(..20))),
            status: [200, 201, 403, 500][random.usize(..4)],
            signer: random.usize(..3),
            batch: number / BATCH,
        })
        .collect()
}

fn line(number: usize, model: &Model, signers: &[Signer]) -> String {
    let mut payload = format!(
        "CEF:0|KongInc|Konnect|1.0|{}|{}|1|rt={} status={} trace_id={number}",
        model.name, model.name, model.rt, model.status
    );
    if let Some(src) = &model.src {
        payload += &format!(" src={src}");
    }
    match model.signer {
        0 => payload,
        signer => signers[signer - 1].sign(&payload),
    }
}

fn time(millis: i64) -> String {
    Millis::saturating(millis).to_string()
}

fn millis(time: &Value) -> i64 {
    let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    time.as_millisecond()
}

/// Whether an entry matches when the first `usize` keys are known.
type Matches = fn(&Model, usize) -> bool;

/// A query, and its meaning for the model.
struct CountQuery<'a> {
    words: &'a str,
    matches: Matches,
    since: Option<i64>,
    until: Option<i64>,
}

impl CountQuery<'_> {
    fn target(&self) -> String {
        let part = |name: &str, time_at: Option<i64>| {
            time_at.map_or_else(String::new, |at| format!("&{name}={}", time(at)))
        };
        format!("q={}{}{}", self.words, part("since", self.since), part("until", self.until))
    }

    fn of<'m>(&self, models: &'m [Model], known: usize) -> Vec<&'m Model> {
        let within = |one: &&Model| {
            self.since.is_none_or(|since| since <= one.rt)
                && self.until.is_none_or(|until| one.rt < until)
                && (self.matches)(one, known)
        };
        models.iter().filter(within).collect()
    }
}

fn check(serve: &Serve, models: &[Model], known: usize, asked: &CountQuery<'_>, most: usize) {
    let found = asked.of(models, known);
    let target = format!("/api/v1/histogram?{}&buckets={most}", asked.target());
    let histogram = get(serve, &target).json();
    assert_eq!(histogram["entries"], found.len(), "{target}");
    assert_eq!(histogram["complete"], true);
    let buckets = histogram["buckets"].as_array().unwrap();
    assert!(buckets.len() <= most, "{target}: {} buckets", buckets.len());
    let (width, mut counted) = (histogram["width_ms"].as_i64().unwrap(), 0);
    for bucket in buckets {
        let start = millis(&bucket["start"]);
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for one in found.iter().filter(|one| (start..start + width).contains(&one.rt)) {
            *expected.entry(one.verdict(known)).or_default() += 1;
        }
        assert_eq!(bucket["verdicts"], json!(expected), "{target}: {bucket}");
        assert_eq!(bucket["entries"], expected.values().sum::<u64>(), "{target}");
        counted += expected.values().sum::<u64>();
    }
    assert_eq!(counted, found.len() as u64, "{target}: the buckets leave some out");

    check_stacks(serve, &found, known, asked, most);

    for field in ["name", "src", "status", "verdict", "kind"] {
        let target = format!("/api/v1/facets?{}&field={field}&limit=4", asked.target());
        let facets = get(serve, &target).json();
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        for value in found.iter().filter_map(|one| one.value(field, known)) {
            *expected.entry(value).or_default() += 1;
        }
        let all: u64 = expected.values().sum();
        assert_eq!(facets["entries"], found.len(), "{target}");
        assert_eq!(facets["missing"], found.len() as u64 - all, "{target}");
        let values = facets["values"].as_array().unwrap();
        assert_eq!(values.len(), expected.len().min(4), "{target}: {facets}");
        let counts: Vec<_> = values.iter().map(|one| one["entries"].as_u64().unwrap()).collect();
        let mut commonest: Vec<_> = expected.values().copied().collect();
        commonest.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(counts, commonest[..counts.len()], "{target}: {facets}");
        for one in values {
            let value = one["value"].as_str().unwrap();
            assert_eq!(Some(&one["entries"].as_u64().unwrap()), expected.get(value), "{target}");
        }
        assert_eq!(facets["other"], all - counts.iter().sum::<u64>(), "{target}");
    }
}

/// Checks the histograms that are not split by the verdict.
fn check_stacks(
    serve: &Serve,
    found: &[&Model],
    known: usize,
    asked: &CountQuery<'_>,
    most: usize,
) {
    for by in ["kind", "status", "input"] {
        let target = format!("/api/v1/histogram?{}&buckets={most}&by={by}", asked.target());
        let histogram = get(serve, &target).json();
        assert_eq!(
            (&histogram["entries"], &histogram["complete"]),
            (&json!(found.len()), &json!(true))
        );
        let width = histogram["width_ms"].as_i64().unwrap();
        for bucket in histogram["buckets"].as_array().unwrap() {
            let start = millis(&bucket["start"]);
            let mut expected: BTreeMap<String, u64> = BTreeMap::new();
            let mut not_valid = 0;
            for one in found.iter().filter(|one| (start..start + width).contains(&one.rt)) {
                let word = match by {
                    "kind" => one.value("kind", known).unwrap(),
                    "status" => format!("{}xx", one.status / 100),
                    _ => one.input().to_owned(),
                };
                *expected.entry(word).or_default() += 1;
                not_valid += u64::from(one.verdict(known) != "valid");
            }
            assert_eq!(bucket["counts"], json!(expected), "{target}: {bucket}");
            assert_eq!(bucket["not_valid"], not_valid, "{target}: {bucket}");
        }
    }
}

fn check_all(serve: &Serve, models: &[Model], known: usize, random: &mut Rng) {
    const QUERIES: [(&str, Matches); 5] = [
        ("", |_, _| true),
        ("status:%3E=400", |one, _| one.status >= 400),
        ("verdict:invalid", |one, known| one.verdict(known) == "invalid"),
        ("verdict:valid%20AND%20NOT%20name:Ingress", |one, known| {
            one.verdict(known) == "valid" && one.name != "Ingress"
        }),
        ("src:*", |one, _| one.src.is_some()),
    ];
    for most in [1, 7, 60, 500] {
        for (words, matches) in QUERIES {
            let mut edge = || match random.i64(0..3) {
                0 => None,
                // At the start of a minute, where a summary begins, or within a minute.
                n => Some(BEGIN + random.i64(0..2000) * 60_000 + (n - 1)),
            };
            let (one, other) = (edge(), edge());
            let (since, until) = match (one, other) {
                (Some(one), Some(other)) => (Some(one.min(other)), Some(one.max(other) + 1)),
                edges => edges,
            };
            let asked = CountQuery { words, matches, since, until };
            check(serve, models, known, &asked, most);
        }
    }
}

#[test]
fn counts_match_a_naive_model() {
    let mut random = Rng::with_seed(7);
    let signers = [Signer::new("k1"), Signer::new("k2")];
    let mut serve = Setup::new()
        .file("jwks.json", jwks(&[&signers[0]]))
        .config(
            "[store]\nsegment_entries = 90\n[keys]\njwks = 'jwks.json'\nrefresh = '1s'\n\
             [[input]]\nname = 'default'\npath = '/audit-logs'\nauthorization = 'x'\n\
             [[input]]\nname = 'portal'\npath = '/portal'\nauthorization = 'x'\n",
        )
        .start();
    serve.authorization = "x".to_owned();
    let mut models = models(&mut random, 700);
    // Two entries with the same time must both be counted.
    models[1].rt = models[0].rt;
    for (at, some) in models.chunks(BATCH).enumerate() {
        let lines: Vec<_> = some
            .iter()
            .enumerate()
            .map(|(n, model)| line(at * BATCH + n, model, &signers))
            .collect();
        assert_eq!(serve.deliver_to(some[0].path(), lines.join("\n"))["stored"], some.len());
    }
    check_all(&serve, &models, 1, &mut random);
    wait_until("sealing", || ask(&serve, "/api/v1/stats")["states"]["sealed"].as_u64() > Some(5));
    check_all(&serve, &models, 1, &mut random);

    // The second key arrives late and changes verdicts in all segments.
    let set = jwks(&[&signers[0], &signers[1]]);
    write_private(&serve.home().join("jwks.json"), set.as_bytes());
    wait_until("verdicts to change", || {
        ask(&serve, "/api/v1/facets?field=verdict&q=verdict:invalid")["entries"] == 0
    });
    check_all(&serve, &models, 2, &mut random);
    let more = super::line(usize::try_from(BEGIN).unwrap() - 1, 200);
    serve.deliver(more);
    let histogram = ask(&serve, &format!("/api/v1/histogram?until={}", time(BEGIN)));
    assert_eq!(histogram["entries"], 1);
}
