//! The sections `[[output]]` of the configuration.
//!
//! The keys of every output are here. Those of a type are in its folder. A key that the type does
//! not have is an error, since it would have no effect.

use std::sync::LazyLock;

use toml::de::DeValue;

pub(crate) use super::destination::Destination;
use super::destination::TypeName;
use super::format::OutputFormat;
use super::template::Template;
use crate::clock::now;
use crate::entry::VerdictName;
use crate::entry::words::words;
use crate::search::{self, Field, Filter, Operand, Test};
use crate::settings::value::{name, text, word};
use crate::settings::{ConfigError, Mismatch, Section, optional, or, required, settings};

settings! {
    pub(crate) struct Output {
        /// The entries that go out.
        pub filter: Filter = or(Filter::All, filter);
        /// Where an output with a new name begins.
        pub start: Start = or(Start::Newest, word(Start::ALL, Start::as_str));
        /// What happens to entries that are not valid.
        pub not_valid: NotValid = or(NotValid::Forward, word(NotValid::ALL, NotValid::as_str));
    } with {
        /// Its name: 1 to 64 of `a` to `z`, digits, `_` and `-`; no other output has it.
        pub name: String,
        /// The type and its settings.
        pub to: Destination,
        /// The format of an entry.
        pub format: OutputFormat,
    }
}

settings! {
    /// The keys of every output on which the other keys depend.
    struct FirstKeys {
        name: String = required("every output has a name of its own", name);
        r#type: TypeName =
            required("give it, such as \"file\"", word(TypeName::ALL, TypeName::as_str));
        format: Option<OutputFormat> = optional(word(OutputFormat::ALL, OutputFormat::as_str));
    }
}

words! {
    /// Where an output with a new name begins.
    pub(crate) enum Start {
        /// With the next entry that is received.
        Newest = "newest",
        /// With the oldest entry of the store.
        Oldest = "oldest",
    }
}

words! {
    /// What happens to entries that are not valid.
    pub(crate) enum NotValid {
        /// They go out like valid ones.
        Forward = "forward",
        /// They go out, and a raw line has its verdict before it.
        Mark = "mark",
        /// They do not go out unless they become valid later.
        Withhold = "withhold",
    }
}

/// The keys of all outputs. Some types share a key.
pub(crate) fn keys() -> Vec<&'static str> {
    let of_types = TypeName::ALL.iter().flat_map(|name| name.keys());
    FirstKeys::KEYS.iter().chain(Output::KEYS).copied().chain(of_types).collect()
}

/// Whether an output has a secret in the configuration file itself.
pub(crate) fn hold_secrets(top: &Section<'_>) -> Result<bool, ConfigError> {
    let mut secrets = TypeName::ALL.iter().flat_map(|name| name.secrets());
    let sections = top.tables("output")?;
    Ok(secrets.any(|key| sections.iter().any(|section| section.has(key))))
}

/// The outputs of the file. Names and paths are checked to be distinct. Warnings are added to
/// `warnings`.
pub(crate) fn outputs(
    top: &Section<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Output>, ConfigError> {
    let mut outputs: Vec<Output> = Vec::new();
    for section in &top.tables("output")? {
        let output = output(section, warnings)?;
        if outputs.iter().any(|other| other.name == output.name) {
            return Err(repeated(section, "name", &output.name));
        }
        let type_name = output.to.type_name();
        let has_type = |other: &Output| other.to.type_name() == type_name;
        if type_name.is_single() && outputs.iter().any(has_type) {
            return Err(repeated(section, "type", type_name.as_str()));
        }
        if let Some((key, path)) = output.to.of_type().files() {
            let mut expected = outputs.iter().filter_map(|other| other.apart_from(&path));
            if let Some(expected) = expected.next() {
                return Err(section.wrong(key, Mismatch::text(&path.to_string(), expected)));
            }
        }
        outputs.push(output);
    }
    Ok(outputs)
}

fn output(section: &Section<'_>, warnings: &mut Vec<String>) -> Result<Output, ConfigError> {
    let FirstKeys { name, r#type, format } = FirstKeys::read(section)?;
    refuse_foreign_keys(section, r#type)?;
    let format = match format {
        Some(format) => format,
        None => r#type.default_format(section)?,
    };
    let to = r#type.resolve(section, format, warnings)?;
    Output::read(section, name, to, format)
}

/// Refuses keys that only other types have, since they would have no effect.
fn refuse_foreign_keys(section: &Section<'_>, own: TypeName) -> Result<(), ConfigError> {
    let own_keys = own.keys();
    for other in TypeName::ALL {
        let foreign = |key: &&str| section.has(key) && !own_keys.contains(key);
        if let Some(key) = other.keys().into_iter().find(foreign) {
            return Err(section.conflict(
                key,
                format!("type = \"{own}\""),
                format!("only an output of the type {other} has it"),
            ));
        }
    }
    Ok(())
}

impl Output {
    /// The filter for the store: that of the output, and `verdict:valid` if others are withheld.
    pub(crate) fn wanted(&self) -> Filter {
        if self.not_valid != NotValid::Withhold {
            return self.filter.clone();
        }
        let word = Operand::Text(VerdictName::Valid.as_str().to_owned());
        let valid = Filter::Field(Field::Verdict, Test::Equals(word));
        match &self.filter {
            Filter::All => valid,
            filter => Filter::And(vec![filter.clone(), valid]),
        }
    }

    /// If files of `path` could collide with those of this output, what is expected of `path`
    /// instead.
    fn apart_from(&self, path: &Template) -> Option<String> {
        let (_, own) = self.to.of_type().files()?;
        if own.may_overlap(path) {
            return Some(format!("a path that no entry shares with the output {:?}", self.name));
        }
        // If an entry creates a file where the other output needs a folder, that output would stop.
        if own.may_be_parent_of(path) || path.may_be_parent_of(&own) {
            return Some(format!(
                "a path of which no file can have the name of a folder of the output {:?}, or the \
                 other way round: put them into folders apart",
                self.name
            ));
        }
        None
    }
}

/// The start of the program in milliseconds since 1970. It is the same each time the configuration
/// is read.
static STARTED: LazyLock<i64> = LazyLock::new(|| now().get());

/// A query. Relative times in it count from the start of the program.
fn filter(value: &DeValue<'_>) -> Result<Filter, Mismatch> {
    let query = text(value)?;
    search::parse(query, *STARTED)
        .map_err(|error| Mismatch::text(query, format!("a query ({error})")))
}

/// The error for a value of `key` that an earlier output has.
fn repeated(section: &Section<'_>, key: &str, value: &str) -> ConfigError {
    let found = format!("{value:?}, which an output before it has");
    section.wrong(key, Mismatch::new(found, format!("another {key}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::file::{Access, Compress, FileSettings, Fsync};
    use crate::output::testing::{EXAMPLE, check_refused, outputs};
    use crate::search::parse;

    const FILE: &str = "[[output]]\nname = 'a'\ntype = 'file'\npath = 'a.log'\n";

    #[test]
    fn missing_keys_have_defaults() {
        let expected = Output {
            name: "a".into(),
            to: Destination::File(Box::new(FileSettings {
                path: "a.log".parse().unwrap(),
                max_values: 1000,
                rotate_size: None,
                rotate_every: None,
                compress: Compress::None,
                keep: None,
                keep_age: None,
                keep_size: None,
                fsync: Fsync::Second,
                access: Access { mode: 0o600, owner: None, group: None },
            })),
            format: OutputFormat::Json,
            filter: Filter::All,
            start: Start::Newest,
            not_valid: NotValid::Forward,
        };
        assert_eq!(outputs(FILE), [expected]);
        assert!(outputs("").is_empty());
    }

    #[test]
    fn an_owner_and_a_group_are_a_name_or_an_id() {
        let check = |keys: &str, expected: (Option<u32>, Option<u32>)| {
            let Destination::File(file) = outputs(&format!("{FILE}{keys}")).remove(0).to else {
                panic!("{keys}")
            };
            assert_eq!((file.access.owner, file.access.group), expected, "{keys}");
        };
        check("owner = 'root'", (Some(0), None));
        check("group = 1000", (None, Some(1000)));
        check("owner = '1000'\ngroup = 4294967294", (Some(1000), Some(u32::MAX - 1)));
    }

    #[test]
    fn the_outputs_of_the_example_are_right() {
        let mut output = String::new();
        for line in EXAMPLE.lines().skip_while(|line| *line != "#[[output]]") {
            match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => output += &format!("{rest}\n"),
                Some(_) => {}
                None => break,
            }
        }
        let found = outputs(&output);
        let [Output { to: Destination::File(file), filter, .. }, syslog, ..] = &found[..] else {
            panic!("{output}\n{found:#?}")
        };
        let Destination::Syslog(settings) = &syslog.to else { panic!("{syslog:#?}") };
        assert_eq!(settings.address.to_string(), "siem.example.com:6514");
        assert_eq!(file.path.to_string(), "out/{date}.jsonl");
        assert_eq!((file.rotate_size, file.keep), (Some(100 << 20), Some(30)));
        assert_eq!((file.access.owner, file.access.group), (Some(0), Some(4)));
        assert_eq!(*filter, parse("verdict:valid", 0).unwrap());
    }

    #[test]
    fn withheld_entries_are_not_read() {
        let wanted = |keys: &str| outputs(&format!("{FILE}{keys}")).remove(0).wanted();
        let check = |keys: &str, query: &str| assert_eq!(wanted(keys), parse(query, 0).unwrap());
        check("not_valid = 'withhold'", "verdict:valid");
        check("not_valid = 'withhold'\nfilter = 'kind:access'", "kind:access AND verdict:valid");
        check("not_valid = 'mark'\nfilter = 'kind:access'", "kind:access");
        assert_eq!(wanted(""), Filter::All);
    }

    #[test]
    fn outputs_that_are_refused() {
        let refused = |keys: &str, expected: &str| {
            check_refused(&format!("{FILE}{keys}"), &format!("c.toml:5: output.{expected}"));
        };
        refused("format = 'xml'", "format is \"xml\", expected one of raw, json");
        refused("start = 'now'", "start is \"now\", expected one of newest, oldest");
        refused(
            "not_valid = 'drop'",
            "not_valid is \"drop\", expected one of forward, mark, withhold",
        );
        refused("compress = 'xz'", "compress is \"xz\", expected one of none, gzip, zstd");
        refused("fsync = 'no'", "fsync is \"no\", expected one of always, second, never");
        refused("rotate_size = 0", "rotate_size is 0, expected a size from ");
        refused(
            "rotate_every = '1ms'",
            "rotate_every is \"1ms\", expected a duration of at least 1s",
        );
        refused(
            "filter = 'status:abc'",
            "filter is \"status:abc\", expected a query (query, character 8: found \"abc\"",
        );
        for mode in ["0755", "0444", "x", "+600", "4600", ""] {
            refused(
                &format!("mode = '{mode}'"),
                &format!("mode is \"{mode}\", expected permissions"),
            );
        }
        for (key, what) in [("owner", "user"), ("group", "group")] {
            let expected = format!("expected the name or the id of a {what} of this machine");
            for name in ["nobody-has-this-name", "", "-1", "4294967295", "a\\u0000b"] {
                let shown = name.replace("\\u0000", "\\0");
                refused(
                    &format!("{key} = \"{name}\""),
                    &format!("{key} is \"{shown}\", {expected}"),
                );
            }
            refused(&format!("{key} = true"), &format!("{key} is true, {expected}"));
            refused(&format!("{key} = 4294967295"), &format!("{key} is 4294967295, {expected}"));
        }
        check_refused(
            "[[output]]\nname = 'a'\ntype = 'file'",
            "c.toml:1: output.path is missing: give it, such as \"out/{date}.jsonl\"",
        );
        check_refused("[[output]]\nname = 'a'\npath = 'a'", "c.toml:1: output.type is missing: ");
        check_refused("[[output]]\ntype = 'stdout'", "c.toml:1: output.name is missing: ");
        check_refused(
            "[[output]]\nname = 'A'",
            "c.toml:2: output.name is \"A\", expected 1 to 64 of ",
        );
        check_refused(
            "[[output]]\nname = 'a'\ntype = 'pipe'",
            "c.toml:3: output.type is \"pipe\", expected one of ",
        );
        check_refused(
            "[[output]]\nname = 'a'\ntype = 'file'\npath = 'a/{day}'",
            "c.toml:4: output.path is \"a/{day}\", expected one of {date}, ",
        );
        check_refused(
            "[[output]]\nname = 'a'\ntype = 'stdout'\nkeep = 3",
            "c.toml:4: output.keep cannot be used together with type = \"stdout\": only an output of ",
        );
        check_refused(
            &format!("{FILE}{FILE}"),
            "c.toml:6: output.name is \"a\", which an output before ",
        );
        check_refused(
            &format!("{FILE}{}", FILE.replace("'a'", "'b'")),
            "c.toml:8: output.path is \"a.log\", expected a path that no entry shares with the output \"a\"",
        );
        for path in ["./a.log", ".//a.log", "{org_id}.log"] {
            check_refused(
                &format!("{FILE}{}", FILE.replace("'a'", "'b'").replace("a.log", path)),
                &format!(
                    "c.toml:8: output.path is \"{path}\", expected a path that no entry shares"
                ),
            );
        }
        for (one, other) in [("o/{org_id}", "o/x/{date}.log"), ("o/x/{date}.log", "./o/{org_id}")] {
            let both =
                FILE.replace("a.log", one) + &FILE.replace("'a'", "'b'").replace("a.log", other);
            check_refused(
                &both,
                &format!(
                    "c.toml:8: output.path is \"{other}\", expected a path of which no file can "
                ),
            );
        }
        let apart = FILE.replace("a.log", "o/raw.log")
            + &FILE.replace("'a'", "'b'").replace("a.log", "o/{kind}/x.jsonl");
        assert_eq!(outputs(&apart).len(), 2);
        check_refused(
            &FILE.replace("a.log", "x/../a.log"),
            "c.toml:4: output.path is \"x/../a.log\", expected a path without \"..\"",
        );
        check_refused(
            "[[output]]\nname = 'a'\ntype = 'stdout'\n[[output]]\nname = 'b'\ntype = 'stdout'",
            "c.toml:6: output.type is \"stdout\", which an output before it has",
        );
    }
}
