//! Outputs of the type `http`.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::super::super::*;
use super::super::load;
use super::{check_refused, outputs};

const HTTP: &str = "[[output]]\nname = 'a'\ntype = 'http'\nurl = 'https://a.test/in'\n";

fn http(keys: &str) -> OutputHttp {
    let output = outputs(&format!("{HTTP}{keys}")).remove(0);
    let Destination::Http(http) = output.to else { panic!("{output:?}") };
    *http
}

#[test]
fn raw_lines_for_splunk_are_raw() {
    use crate::output::Format;
    let format = |keys: &str| outputs(&format!("{HTTP}{keys}")).remove(0).format;
    assert_eq!(format("body = 'hec_raw'"), Format::Raw);
    assert_eq!(format("body = 'hec_raw'\nformat = 'ecs'"), Format::Ecs);
    assert_eq!(format("body = 'hec_event'"), Format::Json);
    assert_eq!(format(""), Format::Json);
}

#[test]
fn what_is_not_said_has_its_default() {
    let found = http("");
    let expected = OutputHttp {
        url: found.url.clone(),
        allow_plain_http: false,
        body: Body::Lines,
        index: None,
        action: Action::Index,
        source: None,
        sourcetype: None,
        host: None,
        batch_entries: 500,
        batch_size: 1 << 20,
        batch_every: Duration::from_secs(1),
        compress: true,
        timeout: Duration::from_secs(30),
        authorization: None,
        headers: vec![],
        ca_file: None,
        certificate: None,
        dead_letters: None,
    };
    assert_eq!(found, expected);
    assert_eq!(found.url.uri(), "https://a.test/in");
}

#[test]
fn each_key_of_the_example_is_right_and_a_default_is_one() {
    let block = example().split("#type = \"http\"\n").nth(1).unwrap();
    let lines = block.lines().take_while(|line| line.starts_with('#'));
    let keys =
        lines.filter_map(|line| line.strip_prefix('#')).filter(|line| !line.starts_with(' '));
    let mut count = 0;
    for line in keys {
        let (key, _) = line.split_once(" = ").unwrap();
        count += 1;
        let (others, default) = match key {
            // Those that are no use alone are tested below.
            "url" | "username" | "password_file" | "cert_file" | "key_file" => continue,
            "index" => ("body = 'bulk'\n", false),
            "action" => ("body = 'bulk'\nindex = 'a'\n", true),
            "source" | "sourcetype" | "host" => ("body = 'hec_raw'\n", false),
            "allow_plain_http" | "body" | "compress" | "timeout" => ("", true),
            key => ("", key.starts_with("batch_")),
        };
        let found = load(&format!("{HTTP}{others}{line}"), &Flags::default());
        match found.map_err(|error| error.to_string()) {
            Ok(config) if default => {
                let without = outputs(&format!("{HTTP}{others}"));
                assert_eq!(config.outputs, without, "{line}");
            }
            Ok(config) => assert_eq!(config.outputs.len(), 1, "{line}"),
            Err(error) => assert!(error.starts_with("cannot read secrets/siem"), "{line}: {error}"),
        }
    }
    assert_eq!(count, 24);
}

#[test]
fn who_we_are_is_in_the_file_or_in_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let token = file("token", "0123\n", 0o600);
    let shown = file("shown", "4567\n", 0o644);
    let check = |keys: &str, authorization: Option<&str>, headers: &[(&str, &str)]| {
        let found = http(keys);
        assert_eq!(found.authorization.as_ref().map(Secret::expose), authorization, "{keys}");
        let values = found.headers.iter().map(|(name, value)| (name.as_str(), value.expose()));
        assert_eq!(values.collect::<Vec<_>>(), headers, "{keys}");
        assert!(!format!("{found:?}").contains("0123"), "{found:?}");
    };
    check("authorization = 'Splunk 0123'", Some("Splunk 0123"), &[]);
    check(&format!("authorization_file = '{token}'"), Some("0123"), &[]);
    check(&format!("token_file = '{token}'"), Some("Bearer 0123"), &[]);
    check(
        &format!("username = 'Aladdin'\npassword_file = '{token}'"),
        Some("Basic QWxhZGRpbjowMTIz"),
        &[],
    );
    check(
        &format!("headers = {{ X-A = 'b c' }}\nheader_files = {{ x-key = '{token}' }}"),
        None,
        &[("x-a", "b c"), ("x-key", "0123")],
    );

    let toml = format!("{HTTP}authorization_file = '{shown}'");
    let config = load(&toml, &Flags::default()).unwrap();
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert!(warning.contains("can be read by every user"), "{warning}");
    // Another secret is another output.
    let before = http(&format!("token_file = '{token}'"));
    file("token", "0124\n", 0o600);
    assert_ne!(before, http(&format!("token_file = '{token}'")));
    assert_eq!(http("authorization = 'x'"), http("authorization = 'x'"));
    // The configuration itself holds some.
    let path = file("c.toml", &format!("{HTTP}headers = {{ X-Key = '0123' }}"), 0o644);
    let flags = Flags { config: Some(path.into()), ..Flags::default() };
    let warnings = super::super::super::outputs(&flags).unwrap().1;
    assert!(warnings[0].contains("named by --config, holds a secret"), "{warnings:?}");
    let pair = http("cert_file = 'c.pem'\nkey_file = 'k.pem'").certificate.unwrap();
    assert_eq!((pair.certificate, pair.key), ("c.pem".into(), "k.pem".into()));
}

#[test]
fn endpoints_that_are_refused() {
    let refused = |keys: &str, line: usize, expected: &str| {
        check_refused(&format!("{HTTP}{keys}"), &format!("c.toml:{line}: output.{expected}"));
    };
    refused("body = 'xml'", 5, "body is \"xml\", expected one of lines, array, hec_event, hec_raw");
    refused("compress = 'zstd'", 5, "compress is \"zstd\", expected none or gzip");
    refused("batch_entries = 0", 5, "batch_entries is 0, expected a whole number from 1 to 10000");
    refused("batch_size = '65MiB'", 5, "batch_size is \"65MiB\", expected a size from 1B to 64MiB");
    refused(
        "batch_every = '1ms'",
        5,
        "batch_every is \"1ms\", expected a duration of at least 100ms",
    );
    refused("index = 'a'", 5, "index cannot be used together with body = \"lines\"");
    refused("body = 'bulk'\nhost = 'a'", 6, "host cannot be used together with body = \"bulk\"");
    refused("body = 'hec_raw'\naction = 'create'", 6, "action cannot be used together with body");
    refused("body = 'bulk'", 1, "index is missing: name the index");
    refused(
        "format = 'raw'\nbody = 'bulk'\nindex = 'a'",
        6,
        "body cannot be used together with format = \"raw\"",
    );
    refused("authorization = ''", 5, "authorization is empty, expected ");
    refused(
        "authorization = 'x'\ntoken_file = 'y'",
        6,
        "token_file cannot be used together with authorization: keep one of them",
    );
    refused("username = 'a'", 1, "password_file is missing: username needs it");
    refused("username = 'a:b'", 5, "username is \"a:b\", expected a name without colons");
    refused("cert_file = 'a'", 1, "key_file is missing: a certificate alone is no use");
    refused("key_file = 'a'", 1, "cert_file is missing: a key alone is no use");
    for (headers, expected) in [
        ("Authorization = 'x'", "\"Authorization\", expected other headers: this one has keys"),
        ("Host = 'x'", "\"Host\", expected other headers: this one is made from"),
        ("'a b' = 'x'", "\"a b\", expected names of headers"),
        ("X-A = 'x', x-a = 'y'", "\"x-a\", expected each header once"),
        ("X-A = \"s3cret\\u0007\"", "a value with a character that is not visible ASCII"),
        ("X-A = 5", "an integer, expected a string"),
    ] {
        let expected = expected.replace("\\n", "\n");
        refused(&format!("headers = {{ {headers} }}"), 5, &format!("headers is {expected}"));
    }
    let url = |url: &str, expected: &str| {
        let toml = HTTP.replace("https://a.test/in", url);
        check_refused(&toml, &format!("c.toml:4: output.url is {expected}"));
    };
    url(
        "http://a.test/?key=s3cret",
        "\"http://a.test/\", expected https; http is for this machine",
    );
    url("a.test", "\"a.test\", expected an https URL");
    url("https://me:s3cret@a.test/", "a URL with an @");
    check_refused(
        "[[output]]\nname = 'a'\ntype = 'http'",
        "c.toml:1: output.url is missing: give it",
    );
    check_refused(
        &format!("{HTTP}path = 'x'"),
        "c.toml:5: output.path cannot be used together with type = \"http\"",
    );
    let letters = format!("{HTTP}dead_letters = 'd'\n");
    check_refused(
        &format!("{letters}{}", letters.replace("'a'", "'b'")),
        "c.toml:10: output.dead_letters is \"d\", expected a path that no entry shares with the \
         output \"a\"",
    );
    let file = "[[output]]\nname = 'b'\ntype = 'file'\npath = './{org_id}'\n";
    check_refused(
        &format!("{letters}{file}"),
        "c.toml:9: output.path is \"./{org_id}\", expected a path that no entry shares",
    );
    check_refused(
        &format!("{file}{}", letters.replace("'d'", "'d/e'")),
        "c.toml:9: output.dead_letters is \"d/e\", expected a path of which no file can have the",
    );
    // In the URL, plain where that is allowed.
    let bulk = HTTP.replace("https://a.test/in", "http://es:9200/audit/_bulk");
    let toml = format!("{bulk}body = 'bulk'\nallow_plain_http = true");
    assert_eq!(outputs(&toml).len(), 1);
    assert_eq!(outputs(&HTTP.replace("https://a.test", "http://localhost:9")).len(), 1);
}
