//! What the sections `[[output]]` come to, and what is refused in them.
//!
//! `http` is about the type of that name.

mod http;

use super::super::*;
use super::load;
use crate::output::Format;
use crate::search::{Filter, parse};

const FILE: &str = "[[output]]\nname = 'a'\ntype = 'file'\npath = 'a.log'\n";

pub(super) fn outputs(toml: &str) -> Vec<Output> {
    load(toml, &Flags::default()).unwrap().outputs
}

pub(super) fn check_refused(toml: &str, expected: &str) {
    let error = load(toml, &Flags::default()).map(|_| toml).unwrap_err().to_string();
    assert!(error.starts_with(expected), "{toml}\n{error}\n{expected}");
}

#[test]
fn what_is_not_said_has_its_default() {
    let expected = Output {
        name: "a".into(),
        to: Destination::File(Box::new(OutputFile {
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
        format: Format::Json,
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
    for line in example().lines().skip_while(|line| *line != "#[[output]]") {
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
fn what_is_withheld_is_not_asked_for() {
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
    refused("not_valid = 'drop'", "not_valid is \"drop\", expected one of forward, mark, withhold");
    refused("compress = 'xz'", "compress is \"xz\", expected one of none, gzip, zstd");
    refused("fsync = 'no'", "fsync is \"no\", expected one of always, second, never");
    refused("rotate_size = 0", "rotate_size is 0, expected a size from ");
    refused("rotate_every = '1ms'", "rotate_every is \"1ms\", expected a duration of at least 1s");
    refused(
        "filter = 'status:abc'",
        "filter is \"status:abc\", expected a query (query, character 8: found \"abc\"",
    );
    for mode in ["0755", "0444", "x", "+600", "4600", ""] {
        refused(&format!("mode = '{mode}'"), &format!("mode is \"{mode}\", expected permissions"));
    }
    for (key, what) in [("owner", "user"), ("group", "group")] {
        let expected = format!("expected the name or the id of a {what} of this machine");
        for name in ["nobody-has-this-name", "", "-1", "4294967295", "a\\u0000b"] {
            let shown = name.replace("\\u0000", "\\0");
            refused(&format!("{key} = \"{name}\""), &format!("{key} is \"{shown}\", {expected}"));
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
    check_refused("[[output]]\nname = 'A'", "c.toml:2: output.name is \"A\", expected 1 to 64 of ");
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
            &format!("c.toml:8: output.path is \"{path}\", expected a path that no entry shares"),
        );
    }
    for (one, other) in [("o/{org_id}", "o/x/{date}.log"), ("o/x/{date}.log", "./o/{org_id}")] {
        let both = FILE.replace("a.log", one) + &FILE.replace("'a'", "'b'").replace("a.log", other);
        check_refused(
            &both,
            &format!("c.toml:8: output.path is \"{other}\", expected a path of which no file can "),
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

const SYSLOG: &str = "[[output]]\nname = 'a'\ntype = 'syslog'\naddress = 'siem.test:6514'\n";

#[test]
fn what_is_not_said_of_syslog_has_its_default() {
    let found = outputs(SYSLOG).remove(0);
    assert_eq!(found.format, Format::Raw);
    let expected = OutputSyslog {
        address: "siem.test:6514".parse().unwrap(),
        transport: Transport::Tls(SyslogTls {
            server_name: "siem.test".try_into().unwrap(),
            ca_file: None,
            certificate: None,
        }),
        facility: Facility::Audit,
        app_name: "vidimus".into(),
        hostname: None,
        sd_id: "vidimus@32473".into(),
        timeout: std::time::Duration::from_secs(30),
    };
    assert_eq!(found.to, Destination::Syslog(Box::new(expected)));
    let tcp = outputs(&format!("{SYSLOG}transport = 'tcp'\nformat = 'json'")).remove(0);
    assert_eq!(tcp.format, Format::Json);
    assert!(matches!(tcp.to, Destination::Syslog(to) if to.transport == Transport::Tcp));
}

#[test]
fn outputs_to_syslog_that_are_refused() {
    let refused = |keys: &str, expected: &str| {
        check_refused(&format!("{SYSLOG}{keys}"), &format!("c.toml:5: output.{expected}"));
    };
    refused("transport = 'udp'", "transport is \"udp\", expected one of tcp, tls");
    refused("facility = 'security'", "facility is \"security\", expected one of kern, user, ");
    refused("app_name = 'a b'", "app_name is \"a b\", expected 1 to 48 visible ASCII characters");
    refused("hostname = ''", "hostname is \"\", expected 1 to 255 visible ASCII characters");
    refused("server_name = 'a b'", "server_name is \"a b\", expected a host name or an IP address");
    refused("timeout = '1ms'", "timeout is \"1ms\", expected a duration of at least 1s");
    for id in ["vidimus", "@1", "a@", "a@b", "a]@1", "a@1@2", "a b@1", "a@1.", &"a".repeat(40)] {
        refused(
            &format!("sd_id = '{id}'"),
            &format!("sd_id is {id:?}, expected a name, an @ and "),
        );
    }
    refused("rotate_size = 1", "rotate_size cannot be used together with type = \"syslog\": only ");
    refused(
        "ca_file = 'a'\ntransport = 'tcp'",
        "ca_file cannot be used together with transport = \"tcp\": leave one of them out",
    );
    for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        let missing = format!("c.toml:1: output.{other} is missing: a ");
        check_refused(&format!("{SYSLOG}{one} = 'a'"), &missing);
    }
    check_refused(
        "[[output]]\nname = 'a'\ntype = 'syslog'",
        "c.toml:1: output.address is missing: give it, such as \"siem.example.com:6514\"",
    );
}

#[test]
fn a_key_of_a_client_that_others_can_read_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, "key").unwrap();
    let keys = format!("{SYSLOG}cert_file = 'none'\nkey_file = '{}'", key.display());
    let warnings = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        load(&keys, &Flags::default()).unwrap().warnings
    };
    assert!(warnings(0o600).is_empty());
    assert!(warnings(0o644)[0].contains("chmod o-r"));
}
