//! The JSON API: conformance with its description, paging under load, and verification.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{ask, conforms, description, get, host, ids, line, path_of, send};
use crate::harness::{Serve, Setup, wait_until};
use crate::vectors::{fixture, vector, vectors};

/// A server with the keys of the vectors that has received every vector, malformed lines, and
/// requests that it refuses.
fn filled() -> Serve {
    let jwks = fixture("jwks.json");
    let serve = Setup::new().argument("--jwks", jwks.to_str().unwrap()).start();
    for vector in vectors() {
        serve.deliver(&vector.line);
    }
    serve.deliver(b"not utf-8: \xff\xfe\n");
    let headers = [("authorization", serve.authorization.as_str()), ("content-encoding", "br")];
    assert_eq!(serve.post("/audit-logs", &headers, b"x").status, 415);
    assert_eq!(serve.post("/nowhere", &[], b"").status, 404);
    serve
}

#[test]
fn every_answer_conforms_to_the_description() {
    let serve = filled();
    // A checkpoint must cover it.
    wait_until("a proof", || get(&serve, "/api/v1/entries/1/evidence").status == 200);
    let mut described = BTreeSet::new();
    for (target, status) in [
        ("/api/v1/entries", 200),
        ("/api/v1/entries?limit=1000", 200),
        ("/api/v1/entries?q=verdict:valid&since=10000d&until=1h", 200),
        ("/api/v1/entries?q=nothing-is-called-that", 200),
        ("/api/v1/entries?q=status:abc", 400),
        ("/api/v1/entries?q=%28", 400),
        ("/api/v1/entries?limit=0", 400),
        ("/api/v1/entries?limit=1001", 400),
        ("/api/v1/entries?since=yesterday", 400),
        ("/api/v1/entries?cursor=x", 400),
        ("/api/v1/entries?limits=1", 400),
        ("/api/v1/entries?q=a&q=b", 400),
        ("/api/v1/entries/1", 200),
        ("/api/v1/entries/0", 404),
        ("/api/v1/entries/x", 404),
        ("/api/v1/entries/18446744073709551615", 404),
        ("/api/v1/entries/18446744073709551616", 404),
        ("/api/v1/entries/1/raw", 200),
        ("/api/v1/entries/999999/raw", 404),
        ("/api/v1/histogram", 200),
        ("/api/v1/histogram?q=kind:access&buckets=3", 200),
        ("/api/v1/histogram?buckets=501", 400),
        ("/api/v1/facets?field=name", 200),
        ("/api/v1/facets?field=trace_id&q=verdict:valid&limit=2", 200),
        ("/api/v1/histogram?by=verdict", 200),
        ("/api/v1/histogram?by=kind&q=verdict:valid", 200),
        ("/api/v1/histogram?by=status", 200),
        ("/api/v1/histogram?by=input&buckets=3", 200),
        ("/api/v1/histogram?by=name", 400),
        ("/api/v1/facets?field=name&prefix=a", 200),
        ("/api/v1/facets?field=trace_id&prefix=", 200),
        ("/api/v1/facets", 400),
        ("/api/v1/fields", 200),
        ("/api/v1/fields?prefix=s&limit=3", 200),
        ("/api/v1/fields?limit=0", 400),
        ("/api/v1/export", 200),
        ("/api/v1/export?format=csv&columns=id,cs1&limit=2", 200),
        ("/api/v1/export?format=xml", 400),
        ("/api/v1/deliveries", 200),
        ("/api/v1/deliveries?limit=1", 200),
        ("/api/v1/deliveries?cursor=x", 400),
        ("/api/v1/stats", 200),
        ("/api/openapi.json", 200),
        ("/metrics", 200),
        ("/log/checkpoint", 200),
        ("/api/v1/entries/1/evidence", 200),
        ("/api/v1/entries/999999/evidence", 404),
        ("/api/v1/evidence?q=id:1", 200),
        ("/api/v1/evidence?q=%28", 400),
        ("/healthz", 200),
        ("/readyz", 200),
    ] {
        let answer = get(&serve, target);
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        conforms("get", target, &answer);
        if status == 200 {
            described.insert(path_of(target));
        }
    }
    // The stream never ends, and `verify` takes a body.
    described.extend(["/api/v1/stream", "/api/v1/verify"].map(str::to_owned));
    let paths = description()["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(described, paths);
    assert_eq!(get(&serve, "/api/openapi.json").json(), description());

    let stats = ask(&serve, "/api/v1/stats");
    assert_eq!(stats["sources"].as_array().unwrap().len(), 1);
    let deliveries = ask(&serve, "/api/v1/deliveries");
    assert_eq!(deliveries["quarantine"][0]["status"], 415);
}

#[test]
fn a_delivery_finds_its_entries_and_counts_their_warnings() {
    let config = "[store]\nsegment_entries = 3\n\
                  [[input]]\nname = 'default'\npath = '/audit-logs'\nauthorization = 'x'\norg_ids = ['ours']\n";
    let mut serve = Setup::new().config(config).start();
    serve.authorization = "x".to_owned();
    let line =
        |n: usize, org: &str| format!("{{\"name\":\"Ingress\",\"n\":{n},\"org_id\":\"{org}\"}}");
    for n in 0..5 {
        let own = line(2 * n, "ours");
        let other = if n == 3 { "theirs" } else { "ours" };
        serve.deliver([own, line(2 * n + 1, other)].join("\n"));
    }
    wait_until("sealing", || ask(&serve, "/api/v1/stats")["states"]["sealed"].as_u64() > Some(1));
    for n in 1..=5 {
        let page = ask(&serve, &format!("/api/v1/entries?q=delivery:{n}"));
        assert_eq!(ids(&page), [2 * n, 2 * n - 1]);
    }
    assert_eq!(ids(&ask(&serve, "/api/v1/entries?q=delivery:%3C3")), [4, 3, 2, 1]);
    assert_eq!(ids(&ask(&serve, "/api/v1/entries?q=warning:foreign_*")), [8]);
    let deliveries = ask(&serve, "/api/v1/deliveries")["deliveries"].clone();
    let warnings = deliveries.as_array().unwrap().iter().map(|one| one["warnings"].clone());
    assert_eq!(
        warnings.collect::<Vec<_>>(),
        [json!({}), json!({"foreign_org": 1}), json!({}), json!({}), json!({})]
    );
    let facets = ask(&serve, "/api/v1/facets?field=warning");
    assert_eq!((&facets["complete"], &facets["missing"]), (&json!(true), &json!(9)));
    assert_eq!(facets["values"], json!([{"value": "foreign_org", "entries": 1}]));
}

#[test]
fn a_histogram_covers_the_requested_range() {
    let serve = Serve::start();
    let now = vidimus::clock::now().get();
    let buckets = |target: &str| {
        let histogram = ask(&serve, target);
        let start = |one: &Value| {
            let start: jiff::Timestamp = one["start"].as_str().unwrap().parse().unwrap();
            start.as_millisecond()
        };
        let starts: Vec<_> = histogram["buckets"].as_array().unwrap().iter().map(start).collect();
        (starts, histogram["width_ms"].as_i64().unwrap())
    };
    // The histogram covers the range without entries.
    let (starts, width) = buckets("/api/v1/histogram?since=24h");
    let (first, last) = (starts[0], starts[starts.len() - 1]);
    assert!(first <= now - 23 * 3_600_000 && now < last + 2 * width, "{first} to {last}");
    // The last entry was two hours ago.
    serve.deliver(line(usize::try_from(now).unwrap() - 7_200_000, 200));
    let (starts, width) = buckets("/api/v1/histogram");
    let (first, last) = (starts[0], starts[starts.len() - 1]);
    assert!(first + width > now - 7_200_000 && now < last + 2 * width, "{first} to {last}");
}

#[test]
fn a_problem_names_its_parameter() {
    let serve = Serve::start();
    for (target, parameter, detail) in [
        ("/api/v1/entries?limits=1", None, "limits"),
        ("/api/v1/entries?limit=ten", Some("limit"), "limit: found \"ten\""),
        ("/api/v1/entries?until=soon", Some("until"), "until: found \"soon\""),
        ("/api/v1/entries?cursor=%20", Some("cursor"), "cursor: "),
        ("/api/v1/entries?q=status:abc", Some("q"), "expected a whole number"),
        ("/api/v1/facets?q=", Some("field"), "field: it is missing"),
    ] {
        let problem = get(&serve, target).json();
        assert_eq!(problem.get("parameter").and_then(Value::as_str), parameter, "{target}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{target}: {problem}");
    }
    assert_eq!(get(&serve, "/api/v1/entries?q=status:abc").json()["position"], 7);
}

#[test]
fn head_is_get_without_a_body_and_no_method_writes() {
    let serve = Serve::start();
    let host = host(&serve);
    for target in ["/api/v1/entries", "/api/v1/stats", "/api/openapi.json", "/healthz", "/nowhere"]
    {
        let (whole, head) =
            (get(&serve, target), send(&serve, "HEAD", target, &[("host", &host)], b""));
        assert_eq!((head.status, head.body.len()), (whole.status, 0), "{target}");
        let kind = head.header("content-type");
        assert_eq!(kind, whole.header("content-type"), "{target}");
    }
    for (method, target) in [
        ("POST", "/api/v1/entries"),
        ("DELETE", "/api/v1/entries/1"),
        ("PUT", "/metrics"),
        ("GET", "/api/v1/verify"),
    ] {
        let answer = send(&serve, method, target, &[("host", &host)], b"");
        assert_eq!(answer.status, 405, "{method} {target}");
        assert_eq!(answer.json()["status"], 405);
    }
}

#[test]
fn pages_neither_repeat_nor_miss_entries_under_load() {
    let serve = Setup::new().config("[store]\nsegment_entries = 40\n").start();
    let lines = |from: usize, to: usize| -> String {
        // Many entries have the same time, and later entries have all times.
        (from..to).map(|n| line(1_000_000 + n % 7, 200 + n)).collect()
    };
    serve.deliver(lines(0, 100));
    for (query, expected) in [
        ("limit=7", (1..=100).collect::<BTreeSet<u64>>()),
        ("limit=1000", (1..=100).collect()),
        ("limit=9&q=status:%3C250&since=1970-01-01T00:16:40.003Z", BTreeSet::new()),
    ] {
        let (mut seen, mut keys) = (Vec::new(), Vec::new());
        let mut cursor = String::new();
        let known = ask(&serve, "/api/v1/stats")["entries"].as_u64().unwrap();
        let mut next = usize::try_from(known).unwrap();
        loop {
            let page = ask(&serve, &format!("/api/v1/entries?{query}&cursor={cursor}"));
            for entry in page["entries"].as_array().unwrap() {
                keys.push((entry["time"].as_str().unwrap().to_owned(), entry["id"].as_u64()));
            }
            seen.extend(ids(&page));
            serve.deliver(lines(next, next + 30));
            next += 30;
            match page["next"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        assert!(keys.windows(2).all(|pair| pair[0] > pair[1]), "{query}: not by time and id");
        let distinct: BTreeSet<u64> = seen.iter().copied().collect();
        assert_eq!(distinct.len(), seen.len(), "{query}: repeated");
        if expected.is_empty() {
            // Entry number n has id n + 1, status 200 + n, and n % 7 as milliseconds.
            let matches = (1..=known).filter(|id| *id <= 50 && (id - 1) % 7 >= 3);
            assert_eq!(distinct, matches.collect(), "{query}");
        } else {
            assert_eq!(distinct, (1..=known).collect(), "{query}");
            assert!(distinct.is_superset(&expected), "{query}");
        }
    }
}

#[test]
fn deliveries_are_paged_by_number() {
    let serve = Setup::new().config("[store]\nsegment_entries = 4\n").start();
    for n in 0..25 {
        serve.deliver(line(1000 + n, 200));
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ask(&serve, &format!("/api/v1/deliveries?limit=4&cursor={cursor}"));
        let deliveries = page["deliveries"].as_array().unwrap();
        seen.extend(deliveries.iter().map(|one| one["id"].as_u64().unwrap()));
        serve.deliver(line(5000 + seen.len(), 200));
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, (1..=25).rev().collect::<Vec<_>>());
}

#[test]
fn lines_are_verified_and_not_stored() {
    let jwks = fixture("jwks.json");
    let serve = Setup::new().argument("--jwks", jwks.to_str().unwrap()).start();
    let host = host(&serve);
    let verify = |body: &[u8]| send(&serve, "POST", "/api/v1/verify", &[("host", &host)], body);
    for vector in vectors() {
        let answer = verify(&vector.line);
        conforms("post", "/api/v1/verify", &answer);
        let found = answer.json();
        let entries = found["entries"].as_array().unwrap();
        let [entry] = entries.as_slice() else { panic!("{}: {found}", vector.name) };
        assert_eq!(entry["verdict"], vector.header["verdict"], "{}", vector.name);
        assert_eq!(entry["format"], vector.header["format"], "{}", vector.name);
        let kid = vector.header.get("kid").map(String::as_str);
        assert_eq!(entry["kid"].as_str(), kid, "{}", vector.name);
        assert_eq!(found["verdicts"][&vector.header["verdict"]], 1, "{}", vector.name);
    }
    let body = vector("cef-access.vec") + "\n\nhello\n" + &vector("cef-flipped-byte.vec");
    let found = verify(body.as_bytes()).json();
    let verdicts = ["valid", "invalid", "malformed", "unsigned"].map(|v| &found["verdicts"][v]);
    assert_eq!(verdicts, [1, 1, 1, 0]);
    assert_eq!(verify(b"").json()["entries"], Value::Array(vec![]));
    for body in [vec![b'x'; 3 << 20], b"x\n".repeat(5001)] {
        let answer = verify(&body);
        assert_eq!(answer.status, 413, "{}", answer.text());
        conforms("post", "/api/v1/verify", &answer);
    }
    assert_eq!(ask(&serve, "/api/v1/stats")["entries"], 0);
}

#[test]
fn values_are_completed() {
    let serve = Setup::new().config("[store]\nsegment_entries = 3\n").start();
    let names = ["Ingress", "ingress", "Authz.a", "In", "Österreich"];
    for (n, name) in names.into_iter().chain(names).enumerate() {
        let entry = json!({"name": name, "rt": n, "cs1": format!("{name}{}", n % 2), "n": n});
        serve.deliver(entry.to_string());
    }
    serve.deliver(r#"{"rt":1}"#);
    wait_until("sealing", || ask(&serve, "/api/v1/stats")["states"]["sealed"].as_u64() > Some(2));
    let check = |parameters: &str, values: &[(&str, u64)], other: u64| {
        let facets = ask(&serve, &format!("/api/v1/facets?{parameters}"));
        let expected: Vec<_> =
            values.iter().map(|(value, count)| json!({"value": value, "entries": count})).collect();
        assert_eq!(facets["values"], json!(expected), "{parameters}");
        assert_eq!((&facets["other"], &facets["entries"]), (&json!(other), &json!(11)), "{facets}");
        assert_eq!(
            (&facets["missing"], &facets["complete"]),
            (&json!(1), &json!(true)),
            "{facets}"
        );
    };
    check("field=name&prefix=IN", &[("In", 2), ("Ingress", 2), ("ingress", 2)], 4);
    check("field=name&prefix=in&limit=1", &[("In", 2)], 8);
    check("field=name&prefix=x", &[], 10);
    check("field=name&prefix=&limit=1", &[("Authz.a", 2)], 8);
    check("field=name&prefix=%C3%96S", &[("Österreich", 2)], 8);
    check("field=name&prefix=%C3", &[], 10);
    // The summaries do not have these fields.
    check("field=cs1&prefix=AUTHZ.", &[("Authz.a0", 1), ("Authz.a1", 1)], 8);
    check("field=n&prefix=9", &[("9", 1)], 9);
}

/// The fields that the API names.
fn fields(serve: &Serve, parameters: &str) -> Vec<(String, String)> {
    let found = ask(serve, &format!("/api/v1/fields?{parameters}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let fields = found["fields"].as_array().unwrap().iter();
    fields.map(|field| (text(&field["name"]), text(&field["type"]))).collect()
}

#[test]
fn fields_are_named_with_their_types() {
    let serve = Setup::new().config("[store]\nsegment_entries = 2\n").start();
    let defined = fields(&serve, "");
    for (name, kind) in [
        ("status", "integer"),
        ("granted", "boolean"),
        ("time", "time"),
        ("verdict", "word"),
        ("src", "text"),
        ("trace_id", "digits"),
    ] {
        assert!(defined.contains(&(name.to_owned(), kind.to_owned())), "{name}: {defined:?}");
    }
    let names = |parameters: &str| -> Vec<String> {
        fields(&serve, parameters).into_iter().map(|(name, _)| name).collect()
    };
    // The fields of entries come when they are stored, and stay when their segment is sealed.
    serve.deliver(br#"{"name":"Ingress","cs1":"x","Status text":"y","id":"z"}"#);
    assert_eq!(fields(&serve, "").len(), defined.len() + 2);
    assert_eq!(fields(&serve, "")[defined.len()], ("Status text".to_owned(), "text".to_owned()));
    serve.deliver(r#"{"name":"Ingress","csä":"x"}"#);
    serve.deliver(br#"{"name":"Ingress","cs3":"x"}"#);
    wait_until("sealing", || ask(&serve, "/api/v1/stats")["states"]["sealed"] == 1);
    for _ in 0..2 {
        assert_eq!(names("prefix=cs"), ["cs1", "cs3", "csä"]);
        assert_eq!(names("prefix=CS%C3%A4"), ["csä"]);
        assert_eq!(names("prefix=CS%C3%84"), [""; 0]);
        assert_eq!(names("prefix=STAT"), ["status", "Status text"]);
        assert_eq!(names("prefix=STAT&limit=1"), ["status"]);
        assert_eq!(names("limit=2"), ["id", "verdict"]);
        assert_eq!(names("prefix=s1"), [""; 0]);
    }
}
