//! Unknown keys, and keys that should be tables.

use std::path::Path;

use super::super::*;

fn check(text: &str, expected: &str) {
    let source = Source::new(Path::new("config.toml"), text.to_owned(), tables());
    let error = source.parse().and_then(|table| {
        let top = Section::top(&source, &table)?;
        top.table("receiver")?.table("tls")?;
        top.tables("input")?;
        Ok(())
    });
    assert_eq!(error.unwrap_err().to_string(), expected, "{text}");
}

#[test]
fn an_unknown_key_names_the_nearest() {
    check(
        "data_dir = 'x'\n[receiver]\nmax_bdy = 1",
        "config.toml:3: unknown key \"max_bdy\" in [receiver], the nearest known key is \
         \"max_body\"",
    );
    check(
        "datadir = 'x'",
        "config.toml:1: unknown key \"datadir\" in the top level, the nearest known key is \
         \"data_dir\"",
    );
    check(
        "\n\nmax_body = 1",
        "config.toml:3: unknown key \"max_body\" in the top level, the nearest known key is \
         \"max_body\" in [receiver]",
    );
    check(
        "[receiver.tls]\n'cert file' = 1",
        "config.toml:2: unknown key \"cert file\" in [receiver.tls], the nearest known key is \
         \"cert_file\"",
    );
    check(
        "[[input]]\nname = 'a'\n[[input]]\nnames = 'b'",
        "config.toml:4: unknown key \"names\" in [[input]], the nearest known key is \"name\"",
    );
    check(
        "[[outputs]]\nname = 'siem'",
        "config.toml:1: unknown key \"outputs\" in the top level, the nearest known key is \
         \"output\"",
    );
    // The first in the file is reported, not the first in the alphabet.
    check(
        "[receiver]\nzzz = 1\naaa = 1\nlisten.port = 1",
        "config.toml:2: unknown key \"zzz\" in [receiver], the nearest known key is \"tls\"",
    );
}

#[test]
fn a_table_must_be_a_table() {
    check("receiver = 1", "config.toml:1: receiver is 1, expected a table, [receiver]");
    check(
        "receiver.tls = true",
        "config.toml:1: receiver.tls is true, expected a table, [receiver.tls]",
    );
    check(
        "[input]\nname = 'a'",
        "config.toml:1: input is a table, expected a list of tables, [[input]]",
    );
    check("input = [1]", "config.toml:1: input is 1, expected a list of tables, [[input]]");
}
