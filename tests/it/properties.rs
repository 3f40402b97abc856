//! The properties of `src/properties.rs` on a fixed number of generated texts, and inputs of the
//! maximum length, which would take too long in quadratic time.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rayon::prelude::*;
use vidimus::entry::fields::MAX_EXTENSIONS;
use vidimus::entry::layout::MAX_LINE;
use vidimus::entry::{Layout, Millis, Warning};
use vidimus::ingest::{CheckedLine, Entry, ExpectedIds};
use vidimus::properties;
use vidimus::signature::KeySet;

/// Base64url text with the length of a signature.
const SIG: &str =
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

const SMALL: &str = "[a-c=\\\\ ]{0,6}|\\PC{0,6}";

fn concat(piece: impl Strategy<Value = String>, most: usize) -> impl Strategy<Value = String> {
    vec(piece, 0..most).prop_map(|pieces| pieces.concat())
}

fn one_of(pieces: &[&str]) -> impl Strategy<Value = String> + Clone + use<> {
    select(pieces.iter().map(|piece| (*piece).to_owned()).collect::<Vec<_>>())
}

/// Pieces of CEF lines, and imitations of them.
fn cef() -> impl Strategy<Value = String> {
    let signature = format!(" sig={SIG}");
    let signature_first = format!("sig={SIG}= ");
    #[rustfmt::skip]
    let piece = one_of(&[
        "CEF:0|", " CEF:0|a|b|c|d|e|5|", "CEF:", "<134>1 ", "2025-06-18T21:02:36Z ", "Apr 14 05:39:08 ",
        "|", "\\|", "\\\\", "\\=", "\\n", "\\", "=", " ", "  ", "\t", "\0", "\r", "\n", "\u{a0}", "é", "😀",
        " sig=", "sig=", " sig=x", "  sig= ", " Sig=x", &signature, &signature_first, " x.sig=1",
        " rt=1684524079524", " rt=-1", "rt=9999999999999999999", " name=x", " a=", " a=1", " [b]=2 c", "\u{feff}",
        " granted=false", " request=/a?x=1&sig=y", "{", "}", "\"", "{\"a\":1}",
    ]);
    concat(prop_oneof![8 => piece, 1 => SMALL], 24)
}

/// Members of JSON objects, valid and broken.
fn json() -> impl Strategy<Value = String> {
    let signature = format!("\"sig\":\"{SIG}\"");
    #[rustfmt::skip]
    let scalar = one_of(&[
        "1", "-0", "1e400", "18446744073709551615", "123456789012345678901234567890", "true", "null", "\"\"",
        "\"a\"", "\"\\ud800\"", "\"\\ud83d\\ude00\"", "\"\\udc00\\ud800x\"", "\"\\u0000\"", "\"\\\"}\"", "\"\\\\\"",
        "\"\u{7f}\u{9b}\"", "\"\\\",\\\"sig\\\":\\\"\"", "\"{[\"", "\"1684524079524\"", "{}", "[]", "\"é😀\"",
        "[\r1,\t2]", "{\"sig\":1}", "{\"event\":{}}", "\"2025-06-18T21:02:36Z\"",
    ]);
    let value = scalar.prop_recursive(3, 12, 3, |inner| {
        vec(inner, 0..3).prop_map(|parts| format!("[ {} ]", parts.join(",")))
    });
    let key = one_of(&[
        "a",
        "sig",
        "\\u0073ig",
        "event",
        "rt",
        "event_ts",
        "name",
        "granted",
        "status",
        "trace_id",
        "\\ud800",
        "",
        "x\\\"sig",
        "Sig",
    ]);
    let space = || one_of(&["", "", " ", "\t\r "]);
    let member = (space(), key, space(), value, space())
        .prop_map(|(a, key, b, value, c)| format!("{a}\"{key}\"{b}:{b}{value}{c}"));
    let member = prop_oneof![9 => member, 2 => Just(signature)];
    let members = vec(member, 0..6).prop_map(|members| members.join(","));
    let broken = one_of(&[
        ",",
        "{",
        "}",
        "\"",
        "\\",
        ":",
        "[",
        "\u{feff}",
        "\0",
        "\n",
        "CEF:0|a|b|c|d|e|5|",
    ]);
    // A fifth of the objects are broken somewhere.
    (members, proptest::option::weighted(0.2, (any::<prop::sample::Index>(), broken))).prop_map(
        |(mut members, broken)| {
            if let Some((at, piece)) = broken {
                let places: Vec<_> =
                    (0..=members.len()).filter(|at| members.is_char_boundary(*at)).collect();
                members.insert_str(*at.get(&places), &piece);
            }
            members
        },
    )
}

/// A line of any format, usually valid.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        cef().prop_map(|extensions| format!("CEF:0|a|b|c|d|e|5|{extensions}")),
        json().prop_map(|members| format!("{{{members}}}")),
        json().prop_map(|members| format!(" {{\"event\": {{{members} }}}} ")),
    ]
}

/// A line of one format that contains a line of another format.
fn crossed() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    let text = one_of(&[
        "x", " ", "x CEF:0|KongInc|Konnect|1.0|K|Authz.x|1|org_id=b granted=true query=x", "CEF:0|a|b|c|d|e|5|",
        " CEF:0|a|b|c|d|e|5|x=", "<134>1 h CEF:0|a|b|c|d|e|5|a=1 b=2", "{}", "{'event':{'a':1}}",
    ]);
    let value = text.prop_map(|text| format!("\"{text}\""));
    let value = prop_oneof![4 => value, 1 => one_of(&["1", "{}", "{\"a\":1}", "{\"event\":{\"a\":1}}", "[\"\"]"])];
    let members = vec((one_of(&["a", "event", "org_id"]), value), 0..4).prop_map(|members| {
        let members = members.iter().map(|(key, value)| format!("\"{key}\":{value}"));
        members.collect::<Vec<_>>().join(",")
    });
    let around = one_of(&[
        "{@}",
        "{\"event\":{@}}",
        "[@]",
        "@",
        " {@} ",
        "\"@\"",
        "h CEF:0|a|b|c|d|e|5|x={@} y=1",
    ]);
    (around, members).prop_map(|(around, members)| around.replace('@', &members))
}

/// A JWK set. Some have the key that the properties sign with.
fn key_set() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    let jwk = one_of(&[
        r#"{"kty":"OKP","crv":"Ed25519","x":"iojjq0oXI2bkoIhWjSkqTBn2uYB7u0yZVqPhkpIi9Wo"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","kid":"b","x":"gTl3Dqh9F19Wo1Rmw0x-zMuNil07-eJ8-ptCmxoyhYs"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","kid":"same","x":"gTl3Dqh9F19Wo1Rmw0x-zMuNil07-eJ8-ptCmxoyhYs="}"#,
        r#"{"kty":"OKP","crv":"Ed25519","kid":"","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","kid":"\u0000\"","x":"AAAA"}"#,
        r#"{"kty":"OKP","crv":"X25519","kid":7,"x":"AA"}"#,
        r#"{"kty":"RSA","n":"AQAB"}"#, r#"{"x":7}"#, "7", "null", "[]", "\"\"", "{",
    ]);
    let rest = one_of(&["", ",\"a\":1", ",\"keys\":[]", "}", " "]);
    (vec(jwk, 0..6), rest)
        .prop_map(|(keys, rest)| format!("{{\"keys\":[{}]{rest}}}", keys.join(",")))
}

/// Pieces of queries in any order, and valid queries.
fn query() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    let piece = one_of(&[
        "a", "b ", " ", "(", ")", "[", "]", "{", "}", "\"", "'", "\\", "/", "*", "^2", "~1", ":", "src:", "status:",
        "time:", "AND ", "OR ", "NOT ", "-", "+", "!", "&&", "||", "IN [", " TO ", ">=", "<", "10", "6h", "é",
        "\u{3000}", "\0", ",", "=", "kind:auth*", "\"x\":", "verdict:valid ",
    ]);
    #[rustfmt::skip]
    let term = one_of(&[
        "a", "\"b c\"", "'d'", "*", "-e", "NOT f", "!g", "src:::1", "src:a\\ ", "status:>=400", "rt:[1 TO 2}", "kind:auth*",
        "verdict:(valid OR invalid)", "name:(a* -b)", "status: IN [1, 2]", "\"x y\":z", "time:6h", "time:>6h", "x:\"\"*",
        "portal_id:*", "é\u{3000}\0", "a\\)b", "(a)(b)", "https://x/", "20:09", "cs1:{1 TO *]", "a OR b", "IN", "a(b",
    ]);
    let joint = one_of(&[" ", " AND ", " OR ", " && ", "||", " NOT ", "\t-", ""]);
    let terms = vec((term, joint), 0..6)
        .prop_map(|parts| parts.into_iter().map(|(term, joint)| term + &joint).collect::<String>());
    prop_oneof![1 => concat(piece, 16), 2 => terms.prop_map(|query| query + " h")]
}

/// Notes, requests to witnesses, proofs, policies and paths of tiles, whole and in pieces.
fn tlog() -> impl Strategy<Value = String> {
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let witness = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
    let (hash, signature) = ("A".repeat(43) + "=\n", format!("— a {}==\n", "A".repeat(94)));
    let witness = format!("witness w {witness}\n");
    let log = format!("log {KEY}\n");
    #[rustfmt::skip]
    let piece = one_of(&[
        "\n", "\n\n", "log\n", "a b+c\n", "0\n", "17\n", "9223372036854775808\n", &hash, &hash, &signature, "— ", "— a AAAA\n",
        "old 0\n", "old 17\n", "c2sp.org/tlog-proof@v1\n", "extra AAAA\n", "index 3\n", "tile/", "0/", "entries/", "x001/",
        "002", ".p/", "255", "tile/7/x001/002.p/3", KEY, &log, &witness, "group g any w\n", "group h 2 w g\n", "quorum g\n",
        "quorum none\n", "# é\t\n", "\r", "\0", " ", "\u{a0}",
    ]);
    let checkpoint = format!("log\n17\n{hash}");
    let whole =
        (one_of(&["", "old 3\n", "c2sp.org/tlog-proof@v1\nindex 0\n"]), 0..3_usize, 0..3_usize);
    let whole = whole.prop_map(move |(begin, hashes, extensions)| {
        let separator = if begin.is_empty() { "" } else { "\n" };
        let hashes = if begin.is_empty() { String::new() } else { hash.repeat(hashes) };
        let note = format!("{checkpoint}{}\n{signature}", "x\n".repeat(extensions));
        format!("{begin}{hashes}{separator}{note}")
    });
    // What is put into a whole text usually breaks it.
    let broken = (whole.clone(), any::<prop::sample::Index>(), piece.clone()).prop_map(
        |(mut text, at, piece)| {
            let places: Vec<_> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
            text.insert_str(*at.get(&places), &piece);
            text
        },
    );
    prop_oneof![2 => concat(piece, 12), 1 => whole, 2 => broken]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![2 => select(b"\r\n {}\"\\=|".to_vec()), 1 => any::<u8>()], 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text_is_a_cef_line_or_none(text in cef()) {
        properties::cef(text.as_bytes());
    }

    #[test]
    fn any_text_is_a_json_line_or_none(text in json()) {
        properties::json(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_split_into_lines(bytes in bytes()) {
        properties::body(&bytes);
        properties::cef(&bytes);
        properties::json(&bytes);
        properties::tlog(&bytes);
    }

    #[test]
    fn only_the_signed_bytes_verify(how in any::<[u8; 4]>(), line in line()) {
        properties::signed_payload(&[&how, line.as_bytes()].concat());
    }

    #[test]
    fn a_signed_payload_is_valid_only_in_its_own_format(place in any::<[u8; 2]>(), text in prop_oneof![crossed(), line(), cef()]) {
        properties::formats(&[&place, text.as_bytes()].concat());
    }

    #[test]
    fn a_key_set_is_written_as_it_was_read(set in key_set()) {
        properties::key_set(set.as_bytes());
    }

    #[test]
    fn a_query_is_the_same_filter_again(query in query()) {
        properties::query(query.as_bytes());
    }

    #[test]
    fn what_is_read_of_a_transparency_log_is_written_as_it_was(text in tlog(), hashes in 0..4_usize) {
        properties::tlog(text.as_bytes());
        let sizes = [text.len() as u64, text.len() as u64 + hashes as u64].map(u64::to_be_bytes);
        properties::tlog(&[sizes.concat(), vec![0; 32 * hashes]].concat());
    }
}

/// Repeats `piece` between `before` and `after` up to the maximum length of a line.
fn filled(before: &str, piece: &str, after: &str) -> String {
    let times = (MAX_LINE - before.len() - after.len()) / piece.len();
    format!("{before}{}{after}", piece.repeat(times))
}

fn check_long(before: &str, pieces: &[&str], after: &str) {
    pieces.par_iter().for_each(|piece| {
        let entry = read(filled(before, piece, after));
        let reason = entry.verdict.reason();
        assert_ne!(reason, Some("line_too_long"), "{before}{piece}…");
        assert!(serde_json::to_string(&entry.fields).is_ok(), "{before}{piece}…");
    });
}

#[test]
fn the_longest_cef_lines_are_parsed_in_linear_time() {
    let sig = format!(" sig={SIG}");
    let header = "CEF:0|a|b|c|d|Ingress|5|";
    #[rustfmt::skip]
    check_long(header, &[
        "a=1 ", " ", "  =", "=", "\\", "\\=", "|", "a", "sig= ", " sig=", &sig, "é",
    ], "");
    check_long("", &["CEF:", " CEF:", " CEF:0", "CEF:0|", " CEF:0|\\", "<1>"], "");
    check_long("CEF:0|a", &["\\", "\\|", "\\\\|"], "");
    check_long("CEF:", &["0", "9|"], "|");
}

#[test]
fn the_longest_json_lines_are_parsed_in_linear_time() {
    let sig_member = format!("\"sig\":\"{SIG}\",");
    #[rustfmt::skip]
    check_long("{", &[
        "\"a\":1,", "\"a\":{},", "\"\":\"\",", "\"sig\":1,", "\"\\u0073ig\":1,", &sig_member, "\"rt\" \t: 1 ,", "\"a\":[[[]]],",
    ], "\"z\":0}");
    check_long("{\"event\":{", &["\"a\":1,", &sig_member, " ", "\t"], "\"z\":0}}");
    #[rustfmt::skip]
    check_long("{\"a\":\"", &["\\\\", "\\\"", "\\u0000", "\\ud800", "\\ud83d\\ude00", "[", "{", "é", "\u{7f}"], "\"}");
    check_long("{\"a\":", &["1", "[", "{", " ", "[]", "[{\"a\":", "\"", "\\", "-", "1e"], "}");
    check_long("{\"a\":[", &["1,", "[],", "{},", "\"\",", "[[[[[[[[]]]]]]]],"], "0]}");
    check_long(
        "",
        &["{", "[", "{\"a\":", "{\"event\":", "{}", " ", "\t\r", "\"", "\0", "\u{feff}"],
        "",
    );
}

#[test]
fn a_line_with_a_hundred_thousand_extensions_keeps_a_thousand() {
    let check = |line: String| {
        let read = read(line);
        assert_eq!(read.fields.extensions().count(), MAX_EXTENSIONS);
        assert_eq!(read.warnings, [Warning::TooManyFields]);
        assert_eq!(read.fields.text("src"), Some("9.9.9.9"));
    };
    let many: String = (0..100_000).map(|n| format!(" {n:x}=")).collect();
    check(format!("CEF:0|a|b|c|d|e|5|{many} src=9.9.9.9"));
    let many: String = (0..60_000).map(|n| format!("\"{n:x}\":0,")).collect();
    check(format!("{{{many}\"src\":\"9.9.9.9\"}}"));
}

#[test]
fn the_last_of_ten_thousand_imitated_signatures_is_cut() {
    let line = |n| format!("CEF:0|a|b|c|d|e|5|x=1{} y=2", format!(" sig={SIG}").repeat(n));
    let long = line(10_000);
    let layout = Layout::of(long.as_bytes(), MAX_LINE).unwrap();
    let checked = vidimus::signature::check(&layout, &KeySet::default()).unwrap();
    assert_eq!(checked.verdict.reason(), Some("no_keys"));
    assert_eq!(checked.payload.text(&long), line(9_999));
}

#[test]
fn the_longest_bodies_and_queries_are_parsed() {
    for piece in ["\n", "\r\n", "\r", "a\n", "{}\n", "\0"] {
        properties::body(&piece.repeat((1 << 18) / piece.len()).into_bytes());
    }
    #[rustfmt::skip]
    let pieces = [
        "a ", "(", "NOT ", "-", "a:", "a:(", "\"", "'", "\\", "\\ ", "IN [", "a IN [", "a:IN ", "*", ":", "::", "a:[", " ",
        "a AND ", "a OR ", "é", "1", "a:1 ", "!", "^1", "~", "/", "a/", "IN ", "&& ",
    ];
    for piece in pieces {
        properties::query(&piece.repeat(vidimus::search::MAX_BYTES / piece.len()).into_bytes());
    }
    let key = r#"{"kty":"OKP","crv":"Ed25519","x":"iojjq0oXI2bkoIhWjSkqTBn2uYB7u0yZVqPhkpIi9Wo"},"#;
    for piece in [key, "0,", "[", "{\"keys\":", " ", "\""] {
        properties::key_set(
            format!("{{\"keys\":[{}0]}}", piece.repeat((1 << 20) / piece.len())).as_bytes(),
        );
    }
}

fn read(line: String) -> Entry {
    let examined = CheckedLine::new(line.as_bytes(), &KeySet::default(), MAX_LINE);
    examined.read(line.into(), &ExpectedIds::default(), Millis::MIN)
}
