//! Tests of the project itself: the code that its files may use, their descriptions, and the
//! documentation.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

/// A file of the project.
struct Source {
    /// Relative to the root of the project, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// The lines of code with their numbers, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(at, line)| (at + 1, line.split_once("//").map_or(line, |(code, _)| code)))
    }

    /// The paths in the code that begin at the root of the crate, for example
    /// `crate::store::Reader`. Each path in the braces of a `use` line counts.
    fn uses(&self) -> Vec<String> {
        let code: String = self.code().map(|(_, line)| format!("{line}\n")).collect();
        let mut found = Vec::new();
        for (at, _) in code.match_indices("crate::") {
            expand(&code[at..], "", &mut found);
        }
        found
    }

    /// Checks that no line of code has `word` as a whole word.
    fn check_lacks(&self, word: &str, why: &str) {
        for (number, code) in self.code() {
            let part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
            let found = code.match_indices(word).any(|(at, _)| {
                !code[..at].ends_with(part_of_a_word)
                    && !code[at + word.len()..].starts_with(part_of_a_word)
            });
            assert!(!found, "{}:{number}: {word}: {why}\n{code}", self.path);
        }
    }
}

/// Adds the paths at the start of `text` to `found`, each after `before`. Returns the rest of the
/// text.
fn expand<'t>(text: &'t str, before: &str, found: &mut Vec<String>) -> &'t str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let (path, mut rest) = text.split_at(end.unwrap_or(text.len()));
    let path = format!("{before}{path}");
    if !path.ends_with("::") || !rest.starts_with('{') {
        found.push(path);
        let alias = rest.strip_prefix(" as ");
        return alias.map_or(rest, |alias| alias.trim_start_matches(|c: char| c.is_alphanumeric()));
    }
    while let Some(next) = rest.strip_prefix(['{', ',']) {
        rest = expand(next.trim_start(), &path, found).trim_start();
    }
    rest.strip_prefix('}').unwrap_or(rest)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files below `folder` with this extension.
fn files(folder: &str, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|one| one == extension) {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push(Source { text: read(&name), path: name });
            }
        }
    }
    assert!(!found.is_empty(), "no files in {folder}");
    found
}

fn every_rust_file() -> Vec<Source> {
    ["src", "tests", "benches"].into_iter().flat_map(|folder| files(folder, "rs")).collect()
}

const DOMAIN: [&str; 6] = [
    "src/entry/",
    "src/signature/",
    "src/search/",
    "src/ingest/",
    "src/tlog/",
    "src/properties.rs",
];

#[test]
fn the_domain_does_no_io_and_reads_no_clock() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    let of_the_app = dependencies
        .iter()
        .filter(|(_, one)| one.get("optional").and_then(toml::Value::as_bool) == Some(true))
        .map(|(name, _)| name.replace('-', "_"));
    let of_the_app: Vec<_> = of_the_app.collect();
    assert!(
        ["hyper", "tokio", "rusqlite", "clap"]
            .iter()
            .all(|one| { of_the_app.contains(&(*one).to_owned()) })
    );

    let library = read("src/lib.rs");
    let modules: Vec<_> = library
        .split("#[cfg(feature = \"app\")]\n")
        .skip(1)
        .map(|rest| rest.split_once(';').unwrap().0.split_once("mod ").unwrap().1)
        .map(|name| format!("crate::{name}"))
        .collect();
    assert!(modules.contains(&"crate::clock".to_owned()) && modules.len() > 5);

    let mut seen = 0;
    for file in files("src", "rs") {
        if !DOMAIN.iter().any(|domain| file.path.starts_with(domain)) {
            continue;
        }
        seen += 1;
        for name in &of_the_app {
            file.check_lacks(name, "the domain does not depend on the feature `app`");
        }
        for module in &modules {
            file.check_lacks(module, "the domain does not use the rest of the crate");
        }
        for word in ["std::env", "std::fs", "std::io", "std::os", "std::path", "std::process"] {
            file.check_lacks(word, "the domain does no I/O");
        }
        // Addresses are values, but sockets do I/O.
        for word in ["TcpStream", "TcpListener", "UdpSocket", "ToSocketAddrs"] {
            file.check_lacks(word, "the domain does no I/O");
        }
        for word in ["SystemTime", "Instant", "now()", "TimeZone::system"] {
            file.check_lacks(word, "the domain gets the time from its caller");
        }
    }
    assert!(seen > 15, "only {seen} files are the domain's");
}

/// Checks that no file in `folder` uses `module`, except the paths in `except`.
fn check_is_below(folder: &str, module: &str, except: Option<&str>) {
    let is_in = |path: &str, module: &str| {
        path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    for file in files(folder, "rs") {
        let uses = file.uses();
        let mut used = uses.iter().filter(|path| is_in(path, module));
        let found = used.find(|path| !except.is_some_and(|except| is_in(path, except)));
        assert!(found.is_none(), "{} uses {found:?}", file.path);
    }
}

#[test]
fn configuration_and_outputs_do_not_use_each_other() {
    check_is_below("src/settings", "crate::config", None);
    check_is_below("src/settings", "crate::output", None);
    check_is_below("src/output", "crate::config", None);
    check_is_below("src/config", "crate::output", Some("crate::output::settings"));
}

#[test]
fn paths_in_braces_are_found() {
    let text =
        "use crate::a::{self as x, b::{C, D}, e};\nuse crate::f;\ncrate::g::h(); // crate::x";
    let source = Source { path: String::new(), text: text.to_owned() };
    let expected = ["a::self", "a::b::C", "a::b::D", "a::e", "f", "g::h"];
    assert_eq!(source.uses(), expected.map(|path| format!("crate::{path}")));
}

#[test]
fn only_the_command_line_prints() {
    for file in files("src", "rs") {
        if file.path.starts_with("src/cli/") {
            continue;
        }
        for word in ["println!", "print!", "eprintln!", "eprint!", "dbg!", "stdout()", "stderr()"] {
            file.check_lacks(word, "only src/cli prints");
        }
    }
}

#[test]
fn every_file_begins_with_a_description() {
    for file in every_rust_file().into_iter().chain(files("fuzz/fuzz_targets", "rs")) {
        assert!(file.text.starts_with("//! "), "{} does not open with //!", file.path);
    }
}

#[test]
fn no_code_is_unsafe_unfinished_or_skipped() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for file in every_rust_file() {
        for name in ["todo", "unimplemented"] {
            file.check_lacks(&format!("{name}!"), "unfinished code");
        }
        file.check_lacks(concat!("#[", "ignore"), "an ignored test tests nothing");
    }
}

#[test]
fn every_property_has_a_fuzz_target_and_a_test() {
    let tests = read("tests/it/properties.rs");
    let manifest = read("fuzz/Cargo.toml");
    let properties = read("src/properties.rs");
    let names = properties.lines().filter_map(|line| line.strip_prefix("pub fn "));
    let names: Vec<_> = names.map(|line| line.split('(').next().unwrap()).collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        let target = read(&format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(target.contains(&format!("vidimus::properties::{name}(data)")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        assert!(tests.contains(&format!("properties::{name}(")), "{name}");
    }
}

fn every_flag(command: &clap::Command, path: &str, check: &mut impl FnMut(&str, &str)) {
    let path = format!("{path} {}", command.get_name());
    for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
        check(path.trim(), flag);
    }
    command.get_subcommands().for_each(|one| every_flag(one, &path, check));
}

#[test]
fn every_flag_is_documented() {
    let pages: String = files("docs", "md").into_iter().map(|page| page.text).collect();
    let pages = read("README.md") + &pages;
    let mut missing = Vec::new();
    every_flag(&vidimus::cli::Cli::command(), "", &mut |command, flag| {
        let flag = format!("--{flag}");
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-');
        if !pages.match_indices(&flag).any(|(at, _)| ends(&pages[at + flag.len()..])) {
            missing.push(format!("{command} {flag}"));
        }
    });
    assert!(missing.is_empty(), "not in README.md or docs/: {missing:#?}");
}

/// The parts of the store with their ranks. A part uses only parts of a lower rank.
const STORE_PARTS: [(&str, u8); 14] = [
    ("origin", 0),
    ("error", 1),
    ("interrupt", 2),
    ("options", 2),
    ("schema", 2),
    ("directory", 2),
    ("sqlite", 3),
    ("refused", 4),
    ("tiles", 4),
    ("segment", 5),
    ("catalog", 6),
    ("read", 7),
    ("write", 7),
    ("maintain", 8),
];

/// The files of the store without their tests. `mod.rs`, which combines the parts, is left out.
fn store_files() -> Vec<Source> {
    let mut files = files("src/store", "rs");
    files.retain(|file| file.path != "src/store/mod.rs" && !file.path.ends_with("/tests.rs"));
    for file in &mut files {
        if let Some(at) = file.text.find("#[cfg(test)]\nmod tests {") {
            file.text.truncate(at);
        }
    }
    files
}

#[test]
fn the_parts_of_the_store_form_no_circle() {
    let rank = |part: &str| STORE_PARTS.iter().find(|(one, _)| *one == part).map(|(_, rank)| *rank);
    let mut seen = 0;
    for file in store_files() {
        let inside = file.path.strip_prefix("src/store/").unwrap();
        let (part, below) = inside.split_once('/').unwrap_or((inside.trim_end_matches(".rs"), ""));
        let own = rank(part).unwrap_or_else(|| panic!("{}: {part} has no rank", file.path));
        // `super` may name only the part itself. Other parts need their full path.
        let folders = below.matches('/').count();
        let depth = folders + usize::from(!below.is_empty() && !below.ends_with("mod.rs"));
        let above = "super::".repeat(depth) + "super";
        file.check_lacks(&above, "`super` names another part");
        for path in file.uses() {
            let Some(used) = path.strip_prefix("crate::store::") else { continue };
            let used = used.split("::").next().unwrap();
            let of_used = rank(used).unwrap_or_else(|| panic!("{} uses {path}", file.path));
            assert!(used == part || of_used < own, "{} uses {path}", file.path);
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} paths are found");
}

/// The tables that the SQL in a file names.
fn tables(file: &Source) -> Vec<String> {
    let code: Vec<&str> = file.code().map(|(_, line)| line).collect();
    let code = code.join(" ");
    let is_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    let words: Vec<&str> = code.split(|c| !is_of_a_word(c)).filter(|one| !one.is_empty()).collect();
    let before = ["FROM", "JOIN", "INTO", "UPDATE"];
    let keywords = ["OR", "REPLACE", "SET", "SELECT"];
    let pairs = words.windows(2).filter(|pair| before.contains(&pair[0]));
    pairs.map(|pair| pair[1].to_owned()).filter(|one| !keywords.contains(&one.as_str())).collect()
}

#[test]
fn only_the_overlay_names_its_tables() {
    const OF_THE_CATALOG: [&str; 23] = [
        "archived",
        "backfills",
        "dropped",
        "gaps",
        "inputs",
        "journal_cursors",
        "journal_ends",
        "journal_skips",
        "json_each",
        "logged",
        "older_rules",
        "outputs",
        "quarantine",
        "reconciles",
        "removals",
        "repairs",
        "retirements",
        "segment_epochs",
        "segments",
        "sightings",
        "sources",
        "store",
        "uptime",
    ];
    // The compiler lets only the files of this folder run SQL on the catalog.
    let catalog = read("src/store/catalog/mod.rs");
    assert!(
        catalog.contains("struct Catalog {\n    database: Database,\n}"),
        "the database is not private"
    );
    assert!(!catalog.contains("Deref for Catalog"), "the connection is not private");
    let (mut of_the_overlay, mut of_the_catalog) = (0, 0);
    for file in store_files() {
        let tables = tables(&file);
        if file.path == "src/store/catalog/overlay.rs" {
            let own = ["changes", "entries", "raw", "redeliveries", "spellings"];
            of_the_overlay = own.iter().filter(|one| tables.iter().any(|t| t == *one)).count();
        } else if file.path.starts_with("src/store/catalog/") {
            for table in tables {
                assert!(OF_THE_CATALOG.contains(&table.as_str()), "{} names {table}", file.path);
                of_the_catalog += 1;
            }
            for word in ["extensions", "spellings", "redeliveries", "changes"] {
                file.check_lacks(word, "only the overlay uses this table");
            }
        } else {
            // The other tables of the overlay share their names with tables of a segment.
            for table in ["changes", "redeliveries"] {
                assert!(!tables.iter().any(|one| one == table), "{} names {table}", file.path);
            }
        }
    }
    assert_eq!(of_the_overlay, 5, "the tables of the overlay are not found");
    assert!(of_the_catalog > 20, "only {of_the_catalog} tables of the catalog are found");
}
