//! The shipped alert rules are valid and use existing metrics.

use std::collections::BTreeSet;
use std::path::Path;

use super::get;
use crate::harness::{Setup, optional_tool};
use crate::vectors::fixture;

const RULES: &str = include_str!("../../../docs/alerts.yml");

/// The names of the metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("vidimus_")).collect()
}

/// A witness that nobody runs: its metrics are there all the same.
const WITNESS: &str = "[[log.witness]]\nurl = 'http://127.0.0.1:1/'\nkey = \
    'remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2'\n";

#[test]
fn every_metric_in_the_rules_exists() {
    let jwks = fixture("jwks.json");
    let journal = tempfile::tempdir().unwrap();
    let archive = tempfile::tempdir().unwrap();
    let section = format!("[journal]\nurl = 'file://{}'\n", journal.path().display());
    let archived = format!("[archive]\nurl = 'file://{}'\n", archive.path().display());
    let config = format!(
        "{section}{archived}{WITNESS}[[source]]\nname = 'main'\ntype = 'journal'\n[[output]]\nname = 'siem'\ntype = \
         'file'\npath = 'siem.log'\n"
    );
    let serve = Setup::new().config(&config).argument("--jwks", jwks.to_str().unwrap()).start();
    let receive = Setup::receive().config(&section).start();
    let text = get(&serve, "/metrics").text() + &get(&receive, "/metrics").text();
    let mut there: BTreeSet<&str> = BTreeSet::new();
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(family) => {
                let (name, kind) = family.split_once(' ').unwrap();
                there.insert(name);
                if kind == "counter" {
                    there.insert(Box::leak(format!("{name}_total").into_boxed_str()));
                }
            }
            None => there.extend(line.split(['{', ' ']).next()),
        }
    }
    let named = names(RULES);
    assert!(named.len() >= 10, "{named:?}");
    let missing: Vec<_> = named.difference(&there).collect();
    assert!(missing.is_empty(), "{missing:?} are not in\n{text}");
    let readme = include_str!("../../../docs/api.md");
    let missing: Vec<_> = names(readme).into_iter().filter(|name| !there.contains(name)).collect();
    assert!(missing.is_empty(), "docs/api.md: {missing:?}");
    let undocumented: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| !readme.contains(name))
        .collect();
    assert!(undocumented.is_empty(), "not in docs/api.md: {undocumented:?}");
}

#[test]
fn promtool_accepts_the_rules() {
    let Some(mut promtool) = optional_tool("promtool") else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.yml");
    let checked = promtool.args(["check", "rules"]).arg(file).output().unwrap();
    let output =
        String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{output}");
}
