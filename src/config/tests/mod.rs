//! The result of a whole file, the environment and the flags.

mod refused;
mod tables;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ipnet::IpNet;

use super::*;
use crate::net::PairFiles;
use crate::settings::Secret;

/// Only the authorization value of one input is set.
fn env(name: &str) -> Option<String> {
    (name == "PORTAL").then(|| "Splunk 4567".to_owned())
}

fn load(toml: &str, flags: &Flags) -> Result<Config, ConfigError> {
    Config::resolve(flags, &env, &Source::new(Path::new("c.toml"), toml.to_owned(), tables()))
}

fn eu() -> Region {
    Region::One("eu".to_owned())
}

#[test]
fn the_example_gives_the_defaults() {
    let example = load(example(), &Flags::default()).unwrap();
    let default = Config::load(&Flags::default(), &|_| None).unwrap();
    assert_eq!(format!("{example:#?}"), format!("{default:#?}"));
}

#[test]
fn the_example_has_every_key() {
    // The keys without a default.
    let unset: BTreeSet<&str> = [
        "receiver.public_url",
        "receiver.tls.cert_file",
        "receiver.tls.key_file",
        "keys.jwks",
        "keys.region",
        "store.retention_age",
        "store.retention_size",
        "console.token_file",
        "console.tls.cert_file",
        "console.tls.key_file",
        "journal.url",
        "journal.key_file",
        "archive.url",
        "konnect.token_file",
        "konnect.region",
        "konnect.base_url",
        "konnect.retention",
        "konnect.reconcile_every",
        "log.level",
        "log.origin",
        "log.key_file",
        "log.publish",
        "log.listen",
        "log.tsa",
    ]
    .into();
    let mut table = "".to_owned();
    let mut found = BTreeSet::new();
    for line in example().lines() {
        let (set, line) = match line.strip_prefix('#') {
            Some(rest) if rest.starts_with([' ', '#']) || rest.is_empty() => continue,
            Some(rest) => (false, rest),
            None => (true, line),
        };
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = line.split_once(" = ") {
            let name = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
            let is_listed = ["input", "input.keys", "output", "source", "log.witness"]
                .contains(&table.as_str());
            let has_default = !unset.contains(name.as_str()) && !is_listed;
            assert_eq!(set, has_default, "{name}");
            found.insert(name);
        }
        found.insert(table.clone());
    }
    assert_eq!(found, known_keys().map(|(_, _, name)| name).chain([String::new()]).collect());
}

#[test]
fn every_known_key_is_read() {
    for (table, key, name) in known_keys() {
        // No key takes a date. The required keys of an input are there besides.
        let mut toml = match table {
            "" => String::new(),
            "input" | "input.keys" => {
                let rest = ["name = 'a'", "path = '/a'", "authorization = 'x'"];
                let mut rest = rest.map(|line| format!("{line}\n")).to_vec();
                rest.retain(|line| !line.starts_with(&format!("{key} ")));
                format!("[[input]]\n{}", rest.concat())
            }
            "output" => {
                let mut rest = output_with(key);
                rest.retain(|line| !line.starts_with(&format!("{key} ")));
                format!("[[output]]\n{}\n", rest.join("\n"))
            }
            "source" | "log.witness" => format!("[[{table}]]\n"),
            table => format!("[{table}]\n"),
        };
        if table == "input.keys" {
            toml += "[input.keys]\n";
        }
        toml += &format!("{key} = 1979-05-27\n");
        let line = toml.lines().count();
        let error = load(&toml, &Flags::default()).map(|_| toml.clone()).unwrap_err().to_string();
        let start = format!("c.toml:{line}: {name} is a date or time, expected ");
        assert!(error.starts_with(&start), "{error}");
    }
}

/// The other keys of an output that has `key`.
fn output_with(key: &str) -> Vec<&'static str> {
    let file = vec!["name = 'a'", "type = 'file'", "path = 'a'"];
    let http = vec!["name = 'a'", "type = 'http'", "url = 'https://a.test'"];
    let syslog = vec!["name = 'a'", "type = 'syslog'", "address = 'a:1'"];
    let event = [http.clone(), vec!["body = 'hec_event'"]].concat();
    let bulk = [http.clone(), vec!["body = 'bulk'", "index = 'a'"]].concat();
    let fits = |others: &&Vec<&str>| {
        let toml = format!("[[output]]\n{}\n{key} = 1979-05-27", others.join("\n"));
        let error = load(&toml, &Flags::default()).map(drop).unwrap_err().to_string();
        !error.contains("cannot be used together")
    };

    [&file, &http, &event, &bulk, &syslog].into_iter().find(fits).unwrap_or(&file).clone()
}

fn known_keys() -> impl Iterator<Item = (&'static str, &'static str, String)> {
    tables().into_iter().flat_map(|(table, keys)| {
        // A table is a key of the table that holds it.
        let outer = table.rsplit_once('.').unwrap_or(("", table));
        let outer = (!table.is_empty()).then_some(outer);
        let keys = keys.into_iter().map(move |key| (table, key)).chain(outer);
        keys.map(|(table, key)| {
            (table, key, format!("{table}.{key}").trim_start_matches('.').to_owned())
        })
    })
}

#[test]
fn a_variable_that_no_input_uses_is_a_warning() {
    let is_set = |_: &str| Some("Splunk 4567-89ab-cdef".to_owned());
    for (source, count) in [
        ("authorization = 'Splunk 0123-4567-89ab'", 1),
        ("authorization_env = 'PORTAL'", 1),
        ("authorization_env = ['PORTAL', 'VIDIMUS_AUTHORIZATION']", 0),
    ] {
        let toml = format!("[[input]]\nname = 'a'\npath = '/a'\n{source}");
        let source = Source::new(Path::new("c.toml"), toml.clone(), tables());
        let config = Config::resolve(&Flags::default(), &is_set, &source).unwrap();
        assert_eq!(config.warnings.len(), count, "{toml}\n{:?}", config.warnings);
    }
}

#[test]
fn a_value_that_can_be_guessed_is_a_warning() {
    let check = |flag: Option<&str>, toml: &str, setting: &str| {
        let flags = Flags { authorization: flag.map(str::to_owned), ..Flags::default() };
        let config = load(toml, &flags).unwrap();
        let [warning] = &config.warnings[..] else { panic!("{toml}: {:?}", config.warnings) };
        assert!(warning.starts_with(&format!("{setting}: a value of fewer than 16")), "{warning}");
        assert!(!warning.contains("hunter"), "{warning}");
    };
    check(Some("Splunk hunter22"), "", "--authorization");
    let input = "[[input]]\nname = 'a'\npath = '/a'\n";
    let list = "authorization = ['Splunk 0123-4567-89ab', 'hunter2']";
    check(None, &format!("{input}{list}"), "c.toml:4: input.authorization");
    let long = Flags { authorization: Some("Splunk hunter222".to_owned()), ..Flags::default() };
    assert!(load("", &long).unwrap().warnings.is_empty());
}

/// The accepted values of each input.
fn accepted(config: &Config) -> Vec<Vec<&str>> {
    let values = config.inputs.iter().map(|input| match &input.authorization {
        Authorization::Given(secrets) => secrets.iter().map(Secret::expose).collect(),
        Authorization::Generated | Authorization::Unused => Vec::new(),
    });
    values.collect()
}

#[test]
fn inputs_of_the_file() {
    let toml = "
        [keys]
        jwks = 'global.json'
        [[input]]
        name = 'konnect'
        path = '/konnect'
        authorization = ['Splunk 0123', 'Bearer 89']
        org_ids = ['o1']
        [[input]]
        name = 'portal'
        path = '/portal'
        authorization_env = 'PORTAL'
        portal_ids = 'p1'
        response_profile = 'splunk-hec'
        keys = { jwks = ['own.json', 'own.json'], region = 'eu' }";
    let config = load(toml, &Flags::default()).unwrap();
    assert_eq!(accepted(&config), [vec!["Splunk 0123", "Bearer 89"], vec!["Splunk 4567"]]);
    let [konnect, portal] = &config.inputs[..] else { panic!("{config:#?}") };
    assert_eq!((&*konnect.name, &*konnect.path), ("konnect", "/konnect"));
    assert_eq!(
        (&konnect.org_ids[..], &portal.portal_ids[..]),
        (&["o1".into()][..], &["p1".into()][..])
    );
    let profiles = [konnect.response_profile, portal.response_profile];
    assert_eq!(profiles, [ResponseProfile::Vidimus, ResponseProfile::SplunkHec]);
    let file = |path: &str| KeySource::File(path.into());
    assert_eq!(konnect.keys, [file("global.json")]);
    assert_eq!(portal.keys, [vec![file("own.json")], eu().sources()].concat());
    assert_eq!(config.keys.sources, [file("global.json")]);
}

#[test]
fn the_input_of_the_flags() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authorization");
    std::fs::write(&file, "from file\r\n").unwrap();
    let check = |flags: Flags, variable: Option<&str>, expected: &[&str]| {
        let env =
            |name: &str| variable.filter(|_| name == AUTHORIZATION_VARIABLE).map(String::from);
        let config = Config::load(&flags, &env).unwrap();
        assert_eq!(accepted(&config), [expected]);
        config
    };
    let config = check(Flags::default(), None, &[]);
    assert!(matches!(config.inputs[0].authorization, Authorization::Generated));
    assert_eq!((&*config.inputs[0].name, &*config.inputs[0].path), ("default", "/audit-logs"));
    check(Flags::default(), Some("from env"), &["from env"]);
    let flags =
        Flags { authorization_file: Some(file), path: Some("/x".into()), ..Flags::default() };
    assert_eq!(check(flags, Some("from env"), &["from file"]).inputs[0].path, "/x");
    let flags = Flags { authorization: Some("from flag".into()), ..Flags::default() };
    check(flags, Some("from env"), &["from flag"]);

    let error = Config::load(&Flags::default(), &|_| Some(" s3cret".into())).unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[test]
fn a_flag_overrides_the_environment_and_that_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, "data_dir = 'file'\n[keys]\njwks = 'file.json'\nregion = 'us'").unwrap();
    let in_env = |name: &str| (name == DATA_DIR_VARIABLE).then(|| "env".to_owned());
    let mut flags = Flags { config: Some(path), ..Flags::default() };
    assert_eq!(data_dir(&flags, &|_| None).unwrap(), Path::new("file"));
    assert_eq!(data_dir(&flags, &in_env).unwrap(), Path::new("env"));
    assert_eq!(Config::load(&flags, &in_env).unwrap().data_dir, Path::new("env"));
    assert_eq!(keys(&flags).unwrap().sources.len(), 2);
    flags.data_dir = Some("flag".into());
    flags.region = Some(eu());
    assert_eq!(data_dir(&flags, &in_env).unwrap(), Path::new("flag"));
    assert_eq!(keys(&flags).unwrap().sources, eu().sources());
    flags.jwks = vec!["flag.json".into()];
    flags.region = None;
    assert_eq!(keys(&flags).unwrap().sources, [KeySource::File("flag.json".into())]);
    assert_eq!(Config::load(&flags, &in_env).unwrap().inputs[0].keys.len(), 1);
}

#[test]
fn flags_go_before_the_receiver_and_the_console_of_the_file() {
    let toml = "
        [receiver]
        listen = '127.0.0.1:1'
        public_url = 'https://file.example/'
        trusted_proxies = ['10.0.0.0/8', '::ffff:192.0.2.1', '2001:db8::1']
        [receiver.tls]
        enabled = false
        [console]
        actions = true
        keep_requests = '3MiB'
        listen = '127.0.0.1:2'
        hosts = 'SIEM.example'";
    let config = load(toml, &Flags::default()).unwrap();
    assert_eq!(config.receiver.listen.port(), 1);
    assert_eq!(config.receiver.public_url.as_deref(), Some("https://file.example"));
    assert_eq!(config.receiver.tls, Tls::Off);
    assert_eq!(config.console.listen.port(), 2);
    assert_eq!(config.console.hosts, ["siem.example"]);
    assert_eq!(config.console.keep_requests, 3 << 20);
    assert!(config.console.actions && !load("", &Flags::default()).unwrap().console.actions);
    for (peer, trusted) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("11.1.2.3", false),
        ("192.0.2.1", true),
        ("192.0.2.2", false),
        ("2001:db8::1", true),
        ("2001:db8::2", false),
    ] {
        let peer: IpAddr = peer.parse().unwrap();
        let is_among = |net: &IpNet| net.contains(&peer.to_canonical());
        assert_eq!(config.receiver.trusted_proxies.iter().any(is_among), trusted, "{peer}");
    }

    let flags = Flags {
        listen: Some("127.0.0.1:3".parse().unwrap()),
        public_url: Some("http://flag.example".into()),
        tls_cert: Some("cert".into()),
        tls_key: Some("key".into()),
        console: Some("[::1]:4".parse().unwrap()),
        keep_requests: Some(4),
        ..Flags::default()
    };
    let config = load(toml, &flags).unwrap();
    assert_eq!(config.receiver.listen.port(), 3);
    assert_eq!(config.receiver.public_url.as_deref(), Some("http://flag.example"));
    let files = Tls::Files(PairFiles { certificate: "cert".into(), key: "key".into() });
    assert_eq!(config.receiver.tls, files);
    assert_eq!(config.console.listen.port(), 4);
    assert_eq!(config.console.keep_requests, 4);

    let file = "[receiver.tls]\ncert_file = 'cert'\nkey_file = 'key'";
    assert_eq!(load(file, &Flags::default()).unwrap().receiver.tls, files);
    let flags = Flags { no_tls: true, ..Flags::default() };
    assert_eq!(load(file, &flags).unwrap().receiver.tls, Tls::Off);
    assert_eq!(load("", &Flags::default()).unwrap().receiver.tls, Tls::SelfSigned);
}

#[test]
fn the_console_has_tls_when_asked() {
    let check = |toml: &str, expected: &Tls| {
        let config = load(toml, &Flags::default()).unwrap();
        assert_eq!(config.console.tls, *expected, "{toml}");
    };
    let files = |name: &str| {
        let certificate = format!("{name}.pem").into();
        Tls::Files(PairFiles { certificate, key: format!("{name}.key").into() })
    };
    let receiver = "[receiver.tls]\ncert_file = 'r.pem'\nkey_file = 'r.key'\n";
    let own = "cert_file = 'c.pem'\nkey_file = 'c.key'\n";
    check(receiver, &Tls::Off);
    check("[console.tls]\nenabled = true", &Tls::SelfSigned);
    check(&format!("{receiver}[console.tls]\nenabled = true"), &files("r"));
    check(&format!("{receiver}[console.tls]\nenabled = true\n{own}"), &files("c"));
    check(&format!("[console.tls]\n{own}"), &Tls::Off);
    let off = "[receiver.tls]\nenabled = false\n";
    check(&format!("{off}[console.tls]\nenabled = true"), &Tls::SelfSigned);
    let alone = load("[console.tls]\nenabled = true\nkey_file = 'x'", &Flags::default());
    let error = alone.unwrap_err().to_string();
    assert!(error.contains("console.tls.cert_file is missing"), "{error}");
}

#[test]
fn secrets_do_not_show_and_exposed_files_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, contents: &str| {
        std::fs::write(path(name), contents).unwrap();
        std::fs::set_permissions(path(name), PermissionsExt::from_mode(0o644)).unwrap();
    };
    write("token", "s3cret-token-of-the-tests\n");
    write("portal", "s3cret-file-of-the-tests\n");
    write("key", "s3cret-key\n");
    write(
        "config.toml",
        &format!(
            "[[input]]\nname = 'a'\npath = '/a'\nauthorization = 's3cret-text-of-the-tests'\n\
             [[input]]\nname = 'b'\npath = '/b'\nauthorization_file = {:?}\n\
             [receiver.tls]\ncert_file = 'none'\nkey_file = {:?}\n\
             [console]\nlisten = '0.0.0.0:8480'\ntoken_file = {:?}\n",
            path("portal"),
            path("key"),
            path("token")
        ),
    );
    let flags = Flags { config: Some(path("config.toml")), ..Flags::default() };
    let config = Config::load(&flags, &|_| None).unwrap();
    assert_eq!(accepted(&config), [["s3cret-text-of-the-tests"], ["s3cret-file-of-the-tests"]]);
    assert_eq!(
        config.console.token.as_ref().map(Secret::expose),
        Some("s3cret-token-of-the-tests")
    );
    let shown = format!("{config:?}{config:#?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    let warned = |name: &str| {
        let start = format!("{}, named by ", path(name).display());
        config.warnings.iter().filter(|warning| warning.starts_with(&start)).count()
    };
    assert_eq!(["token", "portal", "key", "config.toml"].map(warned), [1; 4]);
    assert_eq!(config.warnings.len(), 4, "{:#?}", config.warnings);
}

#[test]
fn a_file_with_the_secrets_of_outputs_that_others_can_read_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let output = "[[output]]\nname = 'a'\ntype = 'http'\nurl = 'https://a.test/in'\n";
    std::fs::write(&path, format!("{output}headers = {{ X-Key = '0123' }}")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let flags = Flags { config: Some(path), ..Flags::default() };
    let warnings = outputs(&flags).unwrap().1;
    assert!(warnings[0].contains("named by --config, holds a secret"), "{warnings:?}");
}
