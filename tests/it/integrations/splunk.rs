//! The configuration for Splunk finds the fields of an entry in what the program sends.
//!
//! `Conf` reads a file, and `Extractor` does what Splunk does at search time with `REPORT-` and
//! `EVAL-`. Splunk's regular expressions are those of PCRE, and `fancy_regex` has all that is used.
//!
//! Defined by: Splunk, "props.conf", "transforms.conf" and "The sequence of search-time operations".

use std::collections::{BTreeMap, BTreeSet};

use fancy_regex::Regex;
use serde_json::Value;
use vidimus::entry::fields::KNOWN;

use super::eval::{eval, names};
use super::{file, sent};
use crate::harness::Received;
use crate::vectors::vector;

const SOURCETYPE: &str = "kong:konnect:audit";

type Fields = BTreeMap<String, String>;

/// A file: stanzas with their settings.
struct Conf(BTreeMap<String, BTreeMap<String, String>>);

impl Conf {
    fn read(name: &str) -> Conf {
        let mut stanzas: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut stanza = None;
        let text = file(&format!("splunk/{name}"));
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix('[') {
                Some(rest) => {
                    let name = rest.strip_suffix(']').unwrap().to_owned();
                    assert!(!stanzas.contains_key(&name), "[{name}] twice");
                    stanza = Some(stanzas.entry(name).or_default());
                }
                None => {
                    let (key, value) = line.split_once(" = ").unwrap();
                    let settings = stanza.as_mut().expect("a stanza");
                    let before = settings.insert(key.to_owned(), value.to_owned());
                    assert_eq!(before, None, "{key} twice");
                }
            }
        }
        Conf(stanzas)
    }
}

struct Extractor {
    props: BTreeMap<String, String>,
    transforms: Conf,
}

impl Extractor {
    fn new() -> Extractor {
        let mut props = Conf::read("props.conf");
        let props = props.0.remove(SOURCETYPE).unwrap();
        Extractor { props, transforms: Conf::read("transforms.conf") }
    }

    /// The fields that are extracted from an event.
    fn extract(&self, event: &str) -> Fields {
        assert_eq!(self.props["KV_MODE"], "none");
        let mut fields = Fields::new();
        for name in self.props["REPORT-konnect"].split(", ") {
            let transform = &self.transforms.0[name];
            assert_eq!(transform["MV_ADD"], "false", "the first value is kept");
            let source = match transform.get("SOURCE_KEY") {
                None => Some(event.to_owned()),
                Some(key) => fields.get(key).cloned(),
            };
            let (Some(source), regex) = (source, Regex::new(&transform["REGEX"]).unwrap()) else {
                continue;
            };
            let mut put = |name: &str, value: &str| {
                fields.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            };
            if let Some(format) = transform.get("FORMAT") {
                assert_eq!(format, "$1::$2");
                // A field for each match.
                for found in regex.captures_iter(&source).map(Result::unwrap) {
                    put(found.get(1).unwrap().as_str(), found.get(2).unwrap().as_str());
                }
            } else if let Some(found) = regex.captures(&source).unwrap() {
                for name in regex.capture_names().flatten() {
                    found.name(name).inspect(|value| put(name, value.as_str()));
                }
            }
        }
        fields
    }

    fn expressions(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.props.iter();
        all.filter_map(|(key, value)| Some((key.strip_prefix("EVAL-")?, value.as_str())))
    }

    /// The fields that a search has.
    fn search(&self, event: &str) -> Fields {
        let extracted = self.extract(event);
        let mut fields = extracted.clone();
        // Each expression sees what was extracted, not what another expression gives.
        for (name, expression) in self.expressions() {
            match eval(expression, &extracted) {
                Some(value) => drop(fields.insert(name.to_owned(), value)),
                None => drop(fields.remove(name)),
            }
        }
        fields
    }
}

/// The text of a value with the escapes of its format undone.
fn unescaped(text: &str, is_cef: bool) -> String {
    if !is_cef {
        return serde_json::from_str(&format!("\"{text}\"")).unwrap_or_else(|_| text.to_owned());
    }
    let mut chars = text.chars().peekable();
    let mut unescaped = String::new();
    while let Some(c) = chars.next() {
        let next = if c == '\\' { chars.next_if(|c| "\\|=nr".contains(*c)) } else { None };
        unescaped.push(match next {
            Some('n') => '\n',
            Some('r') => '\r',
            Some(next) => next,
            None => c,
        });
    }
    unescaped
}

/// The known fields of an entry as text, without spaces at the end, and without empty ones.
fn expected(entry: &Value) -> Fields {
    let known = KNOWN.iter().filter_map(|(name, _)| Some((*name, entry["fields"].get(name)?)));
    let texts = known.map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (name.to_owned(), text.trim_end_matches(' ').to_owned())
    });
    texts.filter(|(_, text)| !text.is_empty()).collect()
}

fn found(extracted: &Fields, is_cef: bool) -> Fields {
    let known = extracted.iter().filter(|(name, _)| KNOWN.iter().any(|(one, _)| one == name));
    let texts = known.map(|(name, text)| {
        let text = unescaped(text, is_cef);
        (name.clone(), text.trim_end_matches(' ').to_owned())
    });
    texts.filter(|(_, text)| !text.is_empty()).collect()
}

/// The lines of a request. Some are not UTF-8.
fn lines(request: &Received) -> Vec<String> {
    let text = String::from_utf8_lossy(&request.body);
    text.split('\n').map(str::to_owned).collect()
}

/// Whether known names stand in a nested object, which a regular expression cannot tell apart.
fn has_nested(entry: &Value) -> bool {
    entry["fields"].as_object().unwrap().values().any(Value::is_object)
}

/// The text of the event in a line for `/services/collector/event`.
fn event(line: &str) -> &str {
    let (_, event) = line.split_once(",\"event\":").unwrap();
    event.strip_suffix('}').unwrap()
}

#[test]
fn the_fields_of_a_raw_line_are_extracted() {
    let keys = "format = 'raw'\nbody = 'hec_raw'\nsourcetype = 'kong:konnect:audit'";
    let (requests, entries) = sent("/services/collector/raw", keys, |one| lines(one).len());
    assert!(requests[0].target.ends_with("?sourcetype=kong%3Akonnect%3Aaudit"));
    let extractor = Extractor::new();
    let lines: Vec<String> = requests.iter().flat_map(lines).collect();
    let mut checked = 0;
    for (line, entry) in lines.iter().zip(&entries) {
        if entry["format"] == "unknown" || has_nested(entry) {
            continue;
        }
        let is_cef = entry["format"] == "cef";
        assert_eq!(found(&extractor.extract(line), is_cef), expected(entry), "{line}");
        checked += 1;
    }
    assert!(checked > 45, "{checked}");
}

#[test]
fn the_fields_of_an_entry_in_json_are_extracted() {
    let keys = "body = 'hec_event'\nsourcetype = 'kong:konnect:audit'";
    let (requests, entries) = sent("/services/collector/event", keys, |one| one.lines().len());
    let extractor = Extractor::new();
    let lines: Vec<String> = requests.iter().flat_map(Received::lines).collect();
    let mut indexed = BTreeSet::new();
    for (line, entry) in lines.iter().zip(&entries) {
        let whole: Value = serde_json::from_str(line).unwrap();
        assert_eq!(whole["sourcetype"], SOURCETYPE);
        indexed.extend(whole["fields"].as_object().unwrap().keys().cloned());
        if has_nested(entry) {
            continue;
        }
        assert_eq!(found(&extractor.extract(event(line)), false), expected(entry), "{line}");
    }
    let configured = Conf::read("fields.conf").0;
    assert!(configured.values().all(|one| one["INDEXED"] == "true"));
    assert_eq!(configured.into_keys().collect::<BTreeSet<_>>(), indexed);
}

#[test]
fn every_known_field_is_extracted_and_no_other_is_used() {
    let extractor = Extractor::new();
    let keys = |name: &str| -> BTreeSet<String> {
        let regex = &extractor.transforms.0[name]["REGEX"];
        let list = regex.split('(').map(|part| part.split(')').next().unwrap());
        let list = list.max_by_key(|part| part.matches('|').count()).unwrap();
        list.split('|').map(str::to_owned).collect()
    };
    let known: BTreeSet<String> = KNOWN.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(keys("konnect_json_text"), known);
    assert_eq!(keys("konnect_json_scalar"), known);
    let header = Regex::new(&extractor.transforms.0["konnect_cef_header"]["REGEX"]).unwrap();
    let mut in_cef = keys("konnect_cef_extensions");
    in_cef.extend(header.capture_names().flatten().map(str::to_owned));
    assert!(in_cef.remove("cef_extensions"));
    assert_eq!(in_cef, known);
    for (_, expression) in extractor.expressions() {
        for name in names(expression) {
            assert!(known.contains(&name), "{name} in {expression}");
        }
    }
}

#[test]
fn the_time_is_that_of_the_entry() {
    let extractor = Extractor::new();
    assert_eq!(extractor.props["TIME_FORMAT"], "%s%3N");
    let prefix = Regex::new(&extractor.props["TIME_PREFIX"]).unwrap();
    let length: usize = extractor.props["MAX_TIMESTAMP_LOOKAHEAD"].parse().unwrap();
    let check = |line: &str, expected: &str| {
        let at = prefix.find(line).unwrap().unwrap().end();
        assert_eq!(&line[at..at + length], expected, "{line}");
    };
    check(&vector("cef-access.vec"), "1684267794226");
    check(&vector("cef-authorization.vec"), "1750280466889");
    check(&vector("json-access-denied.vec"), "1684196881193");
    check(&vector("cps-object-signed.vec"), "1682715129807");
    check("CEF:0|a|b|c|d|e|1|rt=1750280556001 user_agent=x rt=1", "1750280556001");
    check(r#"{"id":1,"fields":{"name":"x","rt":1750280556001},"raw":"rt=5"}"#, "1750280556001");
    assert!(prefix.find("no time, but a cart=1").unwrap().is_none());
}

#[test]
fn a_line_is_one_event_and_is_not_cut() {
    let props = Extractor::new().props;
    assert_eq!(props["SHOULD_LINEMERGE"], "false");
    let breaker = Regex::new(&props["LINE_BREAKER"]).unwrap();
    let lines: Vec<_> = breaker.split("one\ntwo\r\nthree").map(Result::unwrap).collect();
    assert_eq!(lines, ["one", "two", "three"]);
    // The default of max_line.
    assert_eq!(props["TRUNCATE"], (1 << 20).to_string());
}

#[test]
fn a_search_has_the_fields_of_the_common_information_model() {
    let extractor = Extractor::new();
    let check = |line: &str, expected: &[(&str, &str)]| {
        let fields = extractor.search(line.trim_end());
        for (name, value) in expected {
            let found = fields.get(*name).map_or("(none)", String::as_str);
            assert_eq!(found, *value, "{name} of {line}\n{fields:#?}");
        }
    };
    let locked = [
        ("action", "failure"),
        ("app", "Konnect"),
        ("authentication_method", "basic"),
        ("dest", "konghq.com"),
        ("reason", "locked"),
        ("signature", "AUTHENTICATION_OUTCOME_LOCKED"),
        ("src", "127.0.0.6"),
        ("user", "87655c36-8d63-48fe-9a1e-53b28dfbc19b"),
        ("user_agent", "grpc-node-js/1.8.10"),
        ("vendor_product", "Kong Konnect"),
        ("object", "(none)"),
        ("status", "(none)"),
    ];
    let line = vector("json-authentication-locked.vec");
    check(&line, &locked);
    // The same entry as Vidimus writes it in JSON.
    let raw = Value::from(line.trim_end());
    check(
        &format!("{{\"id\":1,\"kind\":\"x\",\"fields\":{},\"raw\":{raw}}}", line.trim_end()),
        &locked,
    );
    check(
        super::EVERY_FIELD,
        &[("action", "failure"), ("reason", "disabled"), ("dest", "p"), ("user", "Ada B")],
    );
    check(
        &vector("json-access-denied.vec"),
        &[
            ("action", "created"),
            ("change_type", "api"),
            ("command", "POST"),
            ("http_status", "403"),
            ("result", "403"),
            ("status", "failure"),
            ("object_category", "url"),
            (
                "object",
                "/konnect-api/api/control_planes/1c026712-c17d-4e30-ac27-53a6cdc56b9c/services",
            ),
            ("authentication_method", "(none)"),
            ("reason", "(none)"),
        ],
    );
    let cef = |act: &str, status: &str| {
        format!(
            "CEF:0|KongInc|Konnect|1.0|KongGateway|Ingress|1|act={act} status={status} request=/a?b=c"
        )
    };
    for (act, action) in [("PUT", "modified"), ("PATCH", "modified"), ("DELETE", "deleted")] {
        let expected = [("action", action), ("status", "success"), ("object", "/a")];
        check(&cef(act, "204"), &expected);
    }
    check(&cef("GET", "502"), &[("action", "read"), ("status", "failure")]);
    check(&cef("GET", "odd"), &[("status", "odd"), ("http_status", "odd")]);
    check(
        &vector("cef-authorization.vec"),
        &[("action", "list"), ("konnect_action", "list"), ("status", "(none)")],
    );
    check(
        "CEF:0|KongInc|Konnect|1.0|AUTHENTICATION_TYPE_SSO|AUTHENTICATION_OUTCOME_SUCCESS|0|success=true",
        &[("action", "success"), ("reason", "(none)"), ("authentication_method", "sso")],
    );
}

#[test]
fn a_sender_cannot_choose_the_names_of_fields() {
    let extractor = Extractor::new();
    let names = |line: &str| extractor.extract(line).into_keys().collect::<BTreeSet<_>>();
    let cef = "CEF:0|a|b|c|d|Ingress|1|index=x host=y _raw=z vidimus_verdict=valid user_agent=a";
    let mut found = names(cef);
    assert!(found.remove("cef_extensions"));
    assert!(found.iter().all(|name| KNOWN.iter().any(|(known, _)| known == name)), "{found:?}");
    let json = r#"{"index":"x","host":"y","vidimus_verdict":"valid","name":"a \"src\":\"b\" c"}"#;
    assert_eq!(names(json), BTreeSet::from(["name".to_owned()]));
    // The first of a name is used, and a marked line is read like any other.
    let marked = "[vidimus verdict=invalid] CEF:0|a|b|c|d|e|1|src=1 user_agent=x src=2";
    let fields = extractor.extract(marked);
    assert_eq!((fields["src"].as_str(), fields["user_agent"].as_str()), ("1", "x"));
}

#[test]
fn the_tags_belong_to_event_types() {
    let types = Conf::read("eventtypes.conf").0;
    for stanza in Conf::read("tags.conf").0.keys() {
        let name = stanza.strip_prefix("eventtype=").unwrap();
        assert!(types.contains_key(name), "{name}");
    }
    for (name, settings) in types {
        assert!(
            settings["search"].starts_with("sourcetype=\"kong:konnect:audit\" name="),
            "{name}"
        );
    }
}
