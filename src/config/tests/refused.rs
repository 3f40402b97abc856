//! Every refused setting, with its message.

use std::path::PathBuf;

use super::super::*;
use super::load;
use crate::tlog::cosignature::CosigningKey;
use crate::tlog::note::SigningKey;

fn check(toml: &str, expected: &str) {
    check_with(toml, |_| (), expected);
}

fn check_with(toml: &str, set: impl FnOnce(&mut Flags), expected: &str) {
    let mut flags = Flags::default();
    set(&mut flags);
    match load(toml, &flags) {
        Ok(config) => panic!("no error\n{toml}\n{config:#?}"),
        Err(error) => assert_eq!(error.to_string(), expected, "{toml}"),
    }
}

#[test]
fn witnesses_and_time_stamping_authorities() {
    let key = |name: &str, seed: u8| {
        CosigningKey::from_seed(name, &[seed; 32]).unwrap().verifier().to_string()
    };
    let witness = |url: &str, key: &str| format!("[[log.witness]]\nurl = '{url}'\nkey = '{key}'\n");
    let good = witness("https://w.example/a", &key("w.example", 1));
    let expected_url = "expected an https URL without a query, or an http one to a loopback \
                        address, such as \"https://witness.example.com\"";
    for url in ["http://w.example/", "https://w.example/?x=1", "w.example"] {
        let shown = url.split('?').next().unwrap();
        check(
            &witness(url, &key("w.example", 1)),
            &format!("c.toml:2: log.witness.url is \"{shown}\", {expected_url}"),
        );
    }
    for (name, seed) in [("w.example", 2), ("v.example", 1)] {
        let key = key(name, seed);
        let expected = "expected a name and a key that no witness before has";
        check(
            &(good.clone() + &witness("https://v.example", &key)),
            &format!("c.toml:6: log.witness.key is \"{key}\", {expected}"),
        );
    }
    let log = SigningKey::from_seed("log", &[1; 32]).unwrap().verifier().to_string();
    check(
        &witness("https://w.example", &log),
        &format!(
            "c.toml:3: log.witness.key is \"{log}\", expected the key of a witness, with the \
             signature type 0x04"
        ),
    );
    check(
        &witness("https://w.example", "w.example"),
        "c.toml:3: log.witness.key is \"w.example\", expected the verifier key of a witness (found \
         \"w.example\", expected a verifier key: <name>+<id in hex>+<base64 of the type and the key>)",
    );
    check(
        "[[log.witness]]\nurl = 'https://w.example'",
        "c.toml:1: log.witness.key is missing: the verifier key of the witness",
    );
    check(
        "[log]\ntsa = 'ftp://tsa.example'",
        "c.toml:2: log.tsa is \"ftp://tsa.example\", expected an https or http URL, such as \
         \"https://tsa.example.com/\"",
    );
}

#[test]
fn values_of_another_kind() {
    check("data_dir = ''", "c.toml:1: data_dir is \"\", expected a path");
    check(
        "[receiver]\nlisten = 8443",
        "c.toml:2: receiver.listen is 8443, expected a string such as \"127.0.0.1:8443\"",
    );
    check(
        "[log]\nlevel = 'loud'",
        "c.toml:2: log.level is \"loud\", expected one of error, warn, info, debug, trace",
    );
    check(
        "[log]\norigin = 'a b'",
        "c.toml:2: log.origin is \"a b\", expected a name without spaces and without +, such as \
         \"siem.example.com/audit\"",
    );
    check(
        "[log]\ncheckpoint_interval = '99ms'",
        "c.toml:2: log.checkpoint_interval is \"99ms\", expected a duration of at least 100ms",
    );
    check(
        "[log]\npublish = 'a/../b'",
        "c.toml:2: log.publish is \"a/../b\", expected a folder, or a URL such as s3://bucket/prefix",
    );
    check(
        "[receiver]\nmax_lines = 0",
        "c.toml:2: receiver.max_lines is 0, expected a whole number from 1 to 1000000000",
    );
    check(
        "[receiver]\nmax_connections = '10'",
        "c.toml:2: receiver.max_connections is \"10\", expected a whole number from 1 to 1000000",
    );
    check(
        "[receiver]\nmax_body = '64M'",
        "c.toml:2: receiver.max_body is \"64M\", expected a size such as \"64MiB\" or \"500kB\" (a \
         whole number and B, kB, MB, GB, TB, KiB, MiB, GiB or TiB), or a number of bytes, at most \
         1 EiB",
    );
    check(
        "[receiver]\nmax_header_bytes = 4096",
        "c.toml:2: receiver.max_header_bytes is 4096, expected a size from 8KiB to 16MiB",
    );
    check(
        "[receiver]\nbody_timeout = 30",
        "c.toml:2: receiver.body_timeout is 30, expected a duration such as \"10s\" (a whole number \
         and ms, s, m, h, d or w), at most 36500d",
    );
    check(
        "[receiver]\nbody_timeout = '0s'",
        "c.toml:2: receiver.body_timeout is \"0s\", expected a duration of at least 1ms",
    );
    check(
        "[keys]\nrefresh = '10ms'",
        "c.toml:2: keys.refresh is \"10ms\", expected a duration of at least 1s",
    );
    check(
        "[receiver]\ntrusted_proxies = ['10.0.0.0/8',\n'10.0.0.0/33']",
        "c.toml:2: receiver.trusted_proxies is \"10.0.0.0/33\", expected an IP address or a \
         network, such as \"10.0.0.1\" or \"10.0.0.0/8\"",
    );
    check(
        "[receiver.tls]\nenabled = 1",
        "c.toml:2: receiver.tls.enabled is 1, expected true or false",
    );
    check(
        "[receiver]\npublic_url = 'https://a.example/audit-logs'",
        "c.toml:2: receiver.public_url is \"https://a.example/audit-logs\", expected an https or \
         http URL without a path, such as \"https://siem.example.com\"",
    );
    check(
        "[keys]\nregion = 'EU'",
        "c.toml:2: keys.region is \"EU\", expected a region such as us, eu, au, me, in, sg, or auto",
    );
    check(
        "[keys]\njwks = ['a.json', 'http://a.example/']",
        "c.toml:2: keys.jwks is \"http://a.example/\", expected a file, an https URL, or an http \
         URL to a loopback address such as 127.0.0.1",
    );
    check(
        "[konnect]\nregion = 'auto'",
        "c.toml:2: konnect.region is \"auto\", expected one region, such as us, eu, au, me, in, sg",
    );
    check(
        "[konnect]\nbase_url = 'http://a.example'",
        "c.toml:2: konnect.base_url is \"http://a.example\", expected an https URL without a path, \
         or an http one to a loopback address, such as \"http://127.0.0.1:8490\"",
    );
    check(
        "[console]\nhosts = ['https://a.example']",
        "c.toml:2: console.hosts is \"https://a.example\", expected a host as browsers name it, \
         such as \"siem.example.com\"",
    );
}

#[test]
fn a_receiver_puts_no_object_that_cannot_be_read() {
    let check = |toml: &str, expected: &str| {
        let config = load(toml, &Flags::default()).unwrap();
        let checked = config.check_receive().map_err(|error| error.to_string());
        assert_eq!(checked.err().unwrap_or_default(), expected, "{toml}");
    };
    let with = |max_body, max_decoded, max_size| {
        format!(
            "[receiver]\nmax_in_flight = '2GiB'\nmax_body = '{max_body}MiB'\n\
             max_decoded = '{max_decoded}MiB'\n[journal]\nmax_size = '{max_size}MiB'"
        )
    };
    let because = "because an object with more cannot be read";
    check("", "");
    check(&with(64, 432, 8), "");
    check(
        &with(64, 433, 8),
        &format!(
            "receiver.max_decoded is 433MiB, expected at most 432MiB with journal.max_size = 8MiB, \
             {because}"
        ),
    );
    check(&with(184, 64, 256), "");
    check(
        &with(185, 64, 256),
        &format!(
            "receiver.max_body is 185MiB, expected at most 184MiB with journal.max_size = 256MiB, \
             {because}"
        ),
    );
}

#[test]
fn values_that_do_not_fit_together() {
    let in_flight = "expected at least max_body + max_decoded, which is 640MiB";
    check(
        "[receiver]\nmax_in_flight = '600MiB'\nmax_decoded = '576MiB'",
        &format!("c.toml:2: receiver.max_in_flight is 600MiB, {in_flight}"),
    );
    check(
        "\n[receiver]\nmax_decoded = '576MiB'",
        &format!("c.toml:2: receiver.max_in_flight is 512MiB, {in_flight}"),
    );
    check(
        "[journal]\nmax_wait = '8s'",
        "c.toml:2: journal.max_wait is 8s, expected less than put_timeout, which is 8s",
    );
    let alone = "alone is no use, give both, or neither for a self-signed certificate";
    check(
        "[receiver.tls]\ncert_file = 'x'",
        &format!("c.toml:1: receiver.tls.key_file is missing: a certificate {alone}"),
    );
    check_with(
        "",
        |flags| flags.tls_key = Some("x".into()),
        &format!("--tls-cert is missing: a key {alone}"),
    );
    check_with(
        "",
        |flags| (flags.no_tls, flags.tls_cert) = (true, Some("x".into())),
        "--no-tls cannot be used together with --tls-cert: leave one of them out",
    );
    let others = "which others can reach, expected a loopback address such as 127.0.0.1:8480, or \
                  console.token_file in the configuration";
    check(
        "[console]\nlisten = '0.0.0.0:8480'",
        &format!("c.toml:2: console.listen is 0.0.0.0:8480, {others}"),
    );
    check_with(
        "",
        |flags| flags.console = Some("[::]:0".parse().unwrap()),
        &format!("--console is [::]:0, {others}"),
    );
}

#[test]
fn inputs_that_are_refused() {
    let input = |rest: &str| format!("[[input]]\nname = 'a'\npath = '/a'\n{rest}");
    let given = input("authorization = 'x'\n");
    check(
        "[[input]]\npath = '/a'\nauthorization = 'x'",
        "c.toml:1: input.name is missing: every input has a name of its own",
    );
    check(
        "[[input]]\nname = 'a'\nauthorization = 'x'",
        "c.toml:1: input.path is missing: every input has a path of its own",
    );
    check(
        &input(""),
        "c.toml:1: input.authorization is missing: give it, or authorization_file, or \
         authorization_env",
    );
    check(
        &input("authorization = []"),
        "c.toml:4: input.authorization is an empty list, expected at least one",
    );
    check(
        &input("authorization = 'x'\nauthorization_env = 'PORTAL'"),
        "c.toml:5: input.authorization_env cannot be used together with authorization: keep one of \
         them, it can be a list",
    );
    check(
        &input("authorization_env = 'NONE'"),
        "the environment variable NONE, named by c.toml:4: input.authorization_env, is missing: \
         set it, to the whole value of the header",
    );
    check(
        &input("authorization_file = '/nowhere'"),
        "cannot read /nowhere, named by c.toml:4: input.authorization_file: No such file or \
         directory (os error 2)",
    );
    check(
        &format!("{given}keys = {{}}"),
        "c.toml:5: input.keys is empty, expected jwks or region in it",
    );
    check(
        &format!("{given}keys.refresh = '1h'"),
        "c.toml:5: unknown key \"refresh\" in [input.keys], the nearest known key is \"refresh\" in \
         [keys]",
    );
    check(
        &format!("{given}org_ids = ['a', '']"),
        "c.toml:5: input.org_ids is \"\", expected an id, without spaces",
    );
    check(
        &format!("{given}response_profile = 'splunk'"),
        "c.toml:5: input.response_profile is \"splunk\", expected one of vidimus, splunk-hec",
    );
    check(
        &format!("{given}{given}"),
        "c.toml:6: input.name is \"a\", which an input before it has, expected another name",
    );
    check(
        &format!("{given}[[input]]\nname = 'b'\npath = '/a'\nauthorization = 'x'"),
        "c.toml:7: input.path is \"/a\", which an input before it has, expected another path",
    );
    for name in ["", "A", "a b", &"a".repeat(65)] {
        check(
            &format!("[[input]]\nname = '{name}'"),
            &format!(
                "c.toml:2: input.name is \"{name}\", expected 1 to 64 of a to z, 0 to 9, _ and -"
            ),
        );
    }
    check(
        "[[input]]\npath = '/healthz'",
        "c.toml:2: input.path is \"/healthz\", expected another path: load balancers ask there",
    );
    for path in ["", "audit-logs", "/a?b", "/a b", "/a#b", "/caf\u{e9}"] {
        check(
            &format!("[[input]]\npath = '{path}'"),
            &format!(
                "c.toml:2: input.path is \"{path}\", expected a path such as \"/audit-logs\": it \
                 begins with /, without a query, spaces or letters other than ASCII"
            ),
        );
    }
    for (flag, set) in [
        ("--authorization", (|flags| flags.authorization = Some("x".into())) as fn(&mut Flags)),
        ("--authorization-file", |flags| flags.authorization_file = Some("x".into())),
        ("--path", |flags| flags.path = Some("/x".into())),
    ] {
        check_with(
            &given,
            set,
            &format!(
                "{flag} cannot be used together with c.toml:1: input: each [[input]] of the file \
                 says that itself"
            ),
        );
    }
}

#[test]
fn flags_that_are_refused() {
    check_with(
        "",
        |flags| {
            flags.authorization = Some("x".into());
            flags.authorization_file = Some("x".into());
        },
        "--authorization cannot be used together with --authorization-file: leave one of them out",
    );
    check_with(
        "",
        |flags| flags.path = Some("x".into()),
        "--path is \"x\", expected a path such as \"/audit-logs\": it begins with /, without a \
         query, spaces or letters other than ASCII",
    );
    check_with(
        "",
        |flags| flags.public_url = Some("a.example".into()),
        "--public-url is \"a.example\", expected an https or http URL without a path, such as \
         \"https://siem.example.com\"",
    );
    check_with(
        "",
        |flags| flags.jwks = vec!["a.json".into(), "".into()],
        "--jwks is \"\", expected a file, an https URL, or an http URL to a loopback address such \
         as 127.0.0.1",
    );
    check_with(
        "",
        |flags| flags.data_dir = Some(PathBuf::new()),
        "--data-dir is empty, expected a directory",
    );
}

#[test]
fn errors_do_not_show_secrets() {
    let input = "[[input]]\nname = 'a'\npath = '/a'\n";
    for bad in [
        "authorization = ' s3cret'",
        "authorization = ['ok', \"s3cret\\n\"]",
        "authorization = { value = 's3cret' }",
        "authorization = [['s3cret']]",
        "authorization_env = 'Splunk s3cret'",
        "authorization = 's3cret",
        "authorisation = 's3cret'",
        "authorization = s3cret",
        "authorization = 's3cret' 's3cret'",
        "authorization = \"s3cret\\q\"",
        "authorization = 's3cret'\nauthorization = 's3cret'",
        "keys.jwks = 'https://user:s3cret@a.example/'",
    ] {
        let error = load(&format!("{input}{bad}"), &Flags::default()).map(|_| bad).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
}
