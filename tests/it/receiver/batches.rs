//! The lines of a batch are counted correctly and stored unchanged.

use serde_json::{Value, json};

use crate::harness::{Serve, Setup, Signer, cef, gzip, jwks};
use crate::vectors::{Vector, fixture, vectors};

fn start(signers: &[&Signer]) -> Serve {
    Setup::new().file("jwks.json", jwks(signers)).arguments("--jwks jwks.json").start()
}

fn counts(of: &Value) -> [u64; 8] {
    let count = |value: &Value| value.as_u64().unwrap();
    let verdicts = &of["verdicts"];
    [
        count(&of["received"]),
        count(&of["stored"]),
        count(&of["duplicates"]),
        count(&of["malformed"]),
        count(&verdicts["valid"]),
        count(&verdicts["invalid"]),
        count(&verdicts["unsigned"]),
        count(&verdicts["no_key"]),
    ]
}

#[test]
fn good_tampered_unsigned_malformed_and_duplicate_lines_are_counted_and_kept() {
    let (signer, stranger) = (Signer::new("k1"), Signer::new("stranger"));
    let serve = start(&[&signer]);
    let lines = [
        signer.cef(1),
        signer.json(2),
        signer.cps(3),
        signer.cef(4).replace("status=201", "status=200"),
        signer.json(5).replace("true", "false"),
        stranger.cps(6),
        cef(7),
        "{\"name\":\"unsigned\"}".to_owned(),
        "not an entry \u{1b}[2J".to_owned(),
        "{\"name\":".to_owned(),
        signer.cef(1),
        "not an entry \u{1b}[2J".to_owned(),
    ];
    let answer = serve.deliver(gzip(lines.join("\n").as_bytes()));
    assert_eq!(counts(&answer), [12, 10, 2, 3, 4, 3, 2, 0], "{answer}");
    // The same lines again, and three new lines.
    let more = [signer.cef(21), cef(22), "hello".to_owned()];
    let answer = serve.deliver(format!("{}\n{}\n", lines.join("\n"), more.join("\n")));
    assert_eq!(counts(&answer), [15, 3, 12, 4, 5, 3, 3, 0], "{answer}");

    let stored = serve.stored();
    let expected: Vec<_> = lines[..10].iter().chain(&more).map(|line| line.as_bytes()).collect();
    let found: Vec<_> = stored.iter().map(|entry| entry.line.as_slice()).collect();
    assert_eq!(found, expected);
    let verdicts: Vec<_> = stored.iter().map(|entry| entry.verdict.as_str()).collect();
    let expected = "valid valid valid invalid invalid invalid unsigned unsigned malformed malformed \
                    valid unsigned malformed";
    assert_eq!(verdicts.join(" "), expected);
    for entry in &stored {
        assert_eq!(entry.kid.is_some(), entry.verdict == "valid", "{entry:?}");
        assert_eq!(entry.reason.as_deref() == Some("no_matching_key"), entry.verdict == "invalid");
    }
    let deliveries: Vec<_> = stored.iter().map(|entry| entry.delivery_count).collect();
    assert_eq!(deliveries, [4, 2, 2, 2, 2, 2, 2, 2, 4, 2, 1, 1, 1], "{stored:?}");
}

#[test]
fn a_forged_copy_that_comes_first_does_not_displace_the_genuine_entry() {
    let signer = Signer::new("k1");
    let serve = start(&[&signer]);
    let genuine = signer.cef(1);
    // The same payload with a forged signature, without a signature, and with two signatures.
    let forged = Signer::new("forger").cef(1);
    let both = format!("{genuine} sig={}", forged.rsplit_once('=').unwrap().1);
    for line in [&forged, &cef(1), &both, &genuine] {
        assert_eq!(serve.deliver(line)["stored"], 1, "{line}");
    }
    assert_eq!(serve.deliver(&genuine)["duplicates"], 1);
    let verdicts: Vec<_> = serve.stored().into_iter().map(|e| (e.line, e.verdict)).collect();
    let last = (genuine.into_bytes(), "valid".to_owned());
    assert_eq!((verdicts.len(), verdicts.last()), (4, Some(&last)), "{verdicts:?}");
}

#[test]
fn only_line_ends_and_blank_lines_are_left_out() {
    let signer = Signer::new("k1");
    let serve = start(&[&signer]);
    let (one, two, three) = (signer.cef(1), signer.json(2), signer.cps(3));
    let body = format!("\r\n\n{one}\r\n\r\n\r\n{two}\n\n{three}\r\n");
    let answer = serve.deliver(body);
    assert_eq!(counts(&answer), [3, 3, 0, 0, 3, 0, 0, 0], "{answer}");
    assert_eq!(serve.deliver(format!("{one}\n{two}\n{three}"))["duplicates"], 3);
    for blank in ["", "\n", "\r\n", "\n\r\n\n"] {
        assert_eq!(counts(&serve.deliver(blank)), [0; 8], "{blank:?}");
    }
    let mut odd: [&[u8]; 5] = [b"\xef\xbb\xbf{}", b" ", b"\0", b"{}\r\r", b"\xff\xfe"];
    for line in odd {
        assert_eq!(serve.deliver([line, b"\n"].concat())["stored"], 1, "{}", line.escape_ascii());
    }
    let lines = serve.lines();
    let lines: Vec<_> = lines.iter().map(Vec::as_slice).collect();
    assert_eq!(lines[..3], [one.as_bytes(), two.as_bytes(), three.as_bytes()]);
    // Only one CR belongs to the line end.
    odd[3] = b"{}\r";
    assert_eq!(lines[3..], odd);
}

#[test]
fn the_vectors_are_stored_with_their_verdicts() {
    let mut vectors = vectors();
    // A CR before an LF belongs to the line end.
    for vector in &mut vectors {
        vector.line.pop_if(|byte| *byte == b'\r');
    }
    vectors.sort_by(|one, other| one.line.cmp(&other.line));
    vectors.dedup_by(|one, other| one.line == other.line);
    assert!(vectors.len() >= 60, "only {} vectors", vectors.len());
    let keys = fixture("jwks-with-bad-key.json");
    let serve = Setup::new().argument("--jwks", keys.to_str().unwrap()).start();
    let lines: Vec<_> = vectors.iter().map(|vector| vector.line.as_slice()).collect();
    let answer = serve.deliver(gzip(&lines.join(&b"\n"[..])));
    assert_eq!(answer["received"], vectors.len(), "{answer}");
    let stored = serve.stored();
    let mut again = 0;
    for Vector { name, header, line } in &vectors {
        match stored.iter().find(|entry| entry.line == *line) {
            Some(entry) => assert_eq!(entry.verdict, header["verdict"], "{name}"),
            // Some vectors are other lines of the same signed entry.
            None => {
                assert_eq!(header["verdict"], "valid", "{name}");
                again += 1;
            }
        }
    }
    assert_eq!((&answer["duplicates"], &answer["stored"]), (&6.into(), &stored.len().into()));
    assert_eq!(again, 6);
}

#[test]
fn a_batch_can_have_a_hundred_thousand_lines() {
    let serve = Serve::start();
    let body: String = (0..100_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let answer = serve.deliver(gzip(body.as_bytes()));
    assert_eq!(counts(&answer), [100_000, 100_000, 0, 0, 0, 0, 100_000, 0], "{answer}");
    let lines = serve.lines();
    assert_eq!(lines.len(), 100_000);
    assert!(body.lines().zip(&lines).all(|(sent, kept)| sent.as_bytes() == kept));
}

#[test]
fn a_line_can_imitate_ten_thousand_signatures() {
    let signer = Signer::new("k1");
    let serve = start(&[&signer]);
    let imitation = signer.cef(0).rsplit_once(' ').unwrap().1.to_owned();
    let many = format!("{} user={}", cef(1), [" x ", &imitation].concat().repeat(10_000));
    assert!((900_000..1 << 20).contains(&many.len()), "{}", many.len());
    let genuine = signer.sign(&many);
    let answer = serve.deliver(format!("{many}\n{genuine}\n"));
    assert_eq!(counts(&answer), [2, 2, 0, 0, 1, 1, 0, 0], "{answer}");
    assert_eq!(serve.lines(), [many.as_bytes(), genuine.as_bytes()]);
    // A line over the parsing limit is still stored.
    let longer = format!("{many}{}", imitation.repeat(2000));
    let answer = serve.deliver(&longer);
    assert_eq!(counts(&answer), [1, 1, 0, 1, 0, 0, 0, 0], "{answer}");
    assert_eq!(serve.lines()[2], &longer.as_bytes()[..1 << 20]);
    assert_eq!(crate::console::get(&serve, "/entries/3/raw").body, longer.as_bytes());
}

#[test]
fn invalid_times_are_not_used_and_give_a_warning() {
    let serve = Serve::start();
    // The years 1 and 292277026596 in seconds and milliseconds, and numbers that no integer holds.
    let times = [
        "-62135596800000",
        "9223372036854775807",
        "9223372036854775807000",
        "-9223372036854775808",
        "18446744073709551615",
        "1e300",
        "253402300800000",
    ];
    let line = |rt: &str| json!({"name": "Ingress", "rt": rt}).to_string();
    let number = |rt: &str| format!("{{\"name\":\"Ingress\",\"rt\":{rt}}}");
    let cef = |rt: &str| format!("CEF:0|a|b|c|d|Ingress|1|rt={rt} act=POST");
    let all: Vec<_> = times.iter().flat_map(|rt| [line(rt), number(rt), cef(rt)]).collect();
    let answer = serve.deliver(all.join("\n"));
    assert_eq!(counts(&answer), [21, 21, 0, 0, 0, 0, 21, 0], "{answer}");
    for entry in serve.stored() {
        let line = entry.line.escape_ascii().to_string();
        assert_eq!((entry.event_time, entry.warnings.as_str()), (0, "bad_time"), "{line}");
    }
    assert_eq!(serve.deliver(all.join("\n"))["duplicates"], 21);
    let last = "253402300799999";
    assert_eq!(serve.deliver([line(last), cef("0")].join("\n"))["stored"], 2);
    let times: Vec<_> =
        serve.stored()[21..].iter().map(|e| (e.event_time, e.warnings.clone())).collect();
    assert_eq!(times[0], (253_402_300_799_999, String::new()));
}
