//! The settings of outputs of the type `http`: the endpoint, the requests and the credentials.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::HeaderName;
use toml::de::DeValue;

use super::credentials::{self, CredentialKeys};
use super::oauth::{ClientCredentials, OauthKeys};
use super::{HttpSink, try_out};
use crate::entry::Record;
use crate::entry::words::words;
use crate::net::PairFiles;
use crate::output::destination::{OutputType, SinkOptions, Trial};
use crate::output::error::OutputError;
use crate::output::file::Compress;
use crate::output::format::OutputFormat;
use crate::output::sink::Sink;
use crate::output::template::Template;
use crate::settings::units::{MIB, MILLISECOND, SECOND};
use crate::settings::value::{boolean, count, duration, path, size, text, word};
use crate::settings::{
    ConfigError, HttpUrl, Mismatch, PairKeys, Secret, Section, optional, or, required, settings,
};

settings! {
    /// The keys of the type `http`. Sizes are in bytes.
    pub(crate) struct HttpSettings {
        /// The URL of the endpoint.
        pub url: HttpUrl =
            required("give it, such as \"https://siem.example.com/audit-logs\"", url);
        /// Whether plain HTTP is allowed beyond the loopback address.
        pub allow_plain_http: bool = or(false, boolean);
        /// The index of Splunk, Elasticsearch or OpenSearch.
        pub index: Option<String> = optional(name);
        /// The action for each document of a `_bulk`.
        pub action: Action = or(Action::Index, word(Action::ALL, Action::as_str));
        /// Splunk's `source`.
        pub source: Option<String> = optional(name);
        /// Splunk's `sourcetype`.
        pub sourcetype: Option<String> = optional(name);
        /// Splunk's `host`.
        pub host: Option<String> = optional(name);
        /// The maximum number of entries per batch.
        pub batch_entries: usize = or(500, count(1..=10_000));
        /// The maximum size of a batch before compression. A larger entry is sent alone.
        pub batch_size: usize = or(1 << 20, size(1..=64 * MIB));
        /// How long a batch waits for more entries.
        pub batch_every: Duration = or(SECOND, duration(100 * MILLISECOND));
        /// Whether requests are compressed with gzip.
        pub compress: bool = or(true, compress);
        /// How long a response may take.
        pub timeout: Duration = or(30 * SECOND, duration(100 * MILLISECOND));
        /// Certificates that are trusted in addition to those of the system.
        pub ca_file: Option<PathBuf> = optional(path);
        /// The file of the dead letters, if not one in the data directory.
        pub dead_letters: Option<PathBuf> = optional(path);
    } with {
        /// The format of the body of a request.
        pub body: Body,
        /// The value of the header `Authorization`.
        pub authorization: Option<Secret>,
        /// What the bearer tokens are fetched with.
        pub client: Option<ClientCredentials>,
        /// Other headers.
        pub headers: Vec<(HeaderName, Secret)>,
        /// The client certificate.
        pub certificate: Option<PairFiles>,
    }
}

settings! {
    /// The key on which other keys depend.
    struct BodyKey {
        body: Body = or(Body::Lines, word(Body::ALL, Body::as_str));
    }
}

words! {
    /// The format of the body of a request.
    pub(crate) enum Body {
        /// One entry per line.
        Lines = "lines",
        /// A JSON array.
        Array = "array",
        /// Splunk's HTTP Event Collector, `/services/collector/event`.
        HecEvent = "hec_event",
        /// Splunk's HTTP Event Collector, `/services/collector/raw`.
        HecRaw = "hec_raw",
        /// Elasticsearch's and OpenSearch's `_bulk`.
        Bulk = "bulk",
        /// The Logs Ingestion API of Azure Monitor, for Microsoft Sentinel.
        LogsIngestion = "logs_ingestion",
    }
}

words! {
    /// The action of a `_bulk`.
    pub(crate) enum Action {
        /// Writes the document, and replaces one with the same id.
        Index = "index",
        /// Writes the document unless there is one with the same id. Data streams need this.
        Create = "create",
    }
}

impl OutputType for HttpSettings {
    fn keys() -> Vec<&'static str> {
        [BodyKey::KEYS, HttpSettings::KEYS, CredentialKeys::KEYS, OauthKeys::KEYS, PairKeys::KEYS]
            .concat()
    }

    fn secrets() -> &'static [&'static str] {
        &["authorization", "headers"]
    }

    /// An add-on for Splunk parses the line as Konnect sends it. A data collection rule has the
    /// columns of its stream.
    fn default_format(section: &Section<'_>) -> Result<OutputFormat, ConfigError> {
        Ok(match BodyKey::read(section)?.body {
            Body::HecRaw => OutputFormat::Raw,
            Body::LogsIngestion => OutputFormat::Sentinel,
            _ => OutputFormat::Json,
        })
    }

    fn resolve(
        section: &Section<'_>,
        format: OutputFormat,
        warnings: &mut Vec<String>,
    ) -> Result<HttpSettings, ConfigError> {
        let body = BodyKey::read(section)?.body;
        body.refuse_foreign_keys(section)?;
        let keys = CredentialKeys::read(section)?;
        let authorization = credentials::authorization(section, &keys, warnings)?;
        let client = OauthKeys::credentials(section, warnings)?;
        let headers = credentials::headers(section, &keys, warnings)?;
        let certificate = PairKeys::of_client(section, warnings)?;
        let settings =
            HttpSettings::read(section, body, authorization, client, headers, certificate)?;
        settings.check_url(section, "url", &settings.url)?;
        if let Some(client) = &settings.client {
            settings.check_url(section, "token_url", &client.token_url)?;
        }
        match body {
            Body::Bulk => settings.check_bulk(section, format)?,
            Body::LogsIngestion => settings.check_logs_ingestion(section, format)?,
            _ => {}
        }
        Ok(settings)
    }

    fn destination(&self) -> String {
        self.url.shown()
    }

    fn sink(&self, with: SinkOptions<'_>) -> Result<Box<dyn Sink>, OutputError> {
        let SinkOptions { name, format, dead_letters, shutdown, activity, .. } = with;
        let sink = HttpSink::new(name, self, format, dead_letters, shutdown)?;
        Ok(Box::new(sink.reporting_to(activity)))
    }

    fn try_out(
        &self,
        format: OutputFormat,
        record: &Record,
        line: &[u8],
    ) -> Result<Trial, OutputError> {
        try_out(self, format, record, line)
    }

    fn sends_verdict(&self) -> bool {
        self.body == Body::HecEvent
    }

    fn files(&self) -> Option<(&'static str, Cow<'_, Template>)> {
        let path = self.dead_letters()?;
        Some(("dead_letters", Cow::Owned(Template::literal(path))))
    }

    fn dead_letters(&self) -> Option<&Path> {
        self.dead_letters.as_deref()
    }
}

impl HttpSettings {
    /// Refuses plain HTTP beyond this machine, unless it is allowed.
    fn check_url(
        &self,
        section: &Section<'_>,
        key: &str,
        url: &HttpUrl,
    ) -> Result<(), ConfigError> {
        if url.is_https() || url.is_loopback() || self.allow_plain_http {
            return Ok(());
        }
        let expected = "https; http is for this machine, or for those who set allow_plain_http";
        Err(section.wrong(key, Mismatch::text(&url.shown(), expected)))
    }

    /// Checks that documents are JSON, and that the index is named.
    fn check_bulk(&self, section: &Section<'_>, format: OutputFormat) -> Result<(), ConfigError> {
        if format == OutputFormat::Raw {
            let advice = "documents are JSON: format = \"ecs\" suits an index best";
            return Err(section.conflict("body", "format = \"raw\"", advice));
        }
        // It may be in the URL: /index/_bulk.
        let names_index = self.url.uri().path().trim_matches('/').contains('/');
        if self.index.is_none() && !names_index {
            let advice = "name the index or the data stream that documents go to";
            return Err(section.missing("index", advice));
        }
        Ok(())
    }

    /// Checks that records are JSON objects, that a request is not larger than the API takes, and
    /// that the URL is one of the API: `/dataCollectionRules/ID/streams/NAME?api-version=…`.
    fn check_logs_ingestion(
        &self,
        section: &Section<'_>,
        format: OutputFormat,
    ) -> Result<(), ConfigError> {
        if format == OutputFormat::Raw {
            let advice = "records are JSON objects: format = \"sentinel\" has the columns of the \
                          table in integrations/sentinel";
            return Err(section.conflict("body", "format = \"raw\"", advice));
        }
        if self.batch_size > MAX_LOGS_INGESTION {
            let found = format!("{} bytes", self.batch_size);
            let expected = "at most 1MiB: the API takes no larger request, compressed or not";
            return Err(section.wrong("batch_size", Mismatch::new(found, expected)));
        }
        let uri = self.url.uri();
        let parts: Vec<&str> = uri.path().split('/').collect();
        let is_path = matches!(parts[..], ["", "dataCollectionRules", id, "streams", name]
            if !id.is_empty() && !name.is_empty());
        let has_version = uri.query().is_some_and(|query| query.contains("api-version="));
        if is_path && has_version {
            return Ok(());
        }
        let expected = "a URL with /dataCollectionRules/ID/streams/NAME?api-version=2023-01-01";
        Err(section.wrong("url", Mismatch::text(&self.url.shown(), expected)))
    }
}

/// The maximum size of a request to the Logs Ingestion API in bytes, before compression (Microsoft,
/// "Azure Monitor service limits").
const MAX_LOGS_INGESTION: usize = 1 << 20;

impl Body {
    /// The keys that only some bodies have.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Body::Lines | Body::Array | Body::LogsIngestion => &[],
            Body::HecEvent | Body::HecRaw => &["index", "source", "sourcetype", "host"],
            Body::Bulk => &["index", "action"],
        }
    }

    /// Refuses keys that only other bodies have, since they would have no effect.
    fn refuse_foreign_keys(self, section: &Section<'_>) -> Result<(), ConfigError> {
        for other in Body::ALL {
            let foreign = |key: &&&str| section.has(key) && !self.keys().contains(*key);
            if let Some(key) = other.keys().iter().find(foreign) {
                return Err(section.conflict(
                    key,
                    format!("body = \"{self}\""),
                    format!("it is for requests such as body = \"{other}\""),
                ));
            }
        }
        Ok(())
    }
}

fn url(value: &DeValue<'_>) -> Result<HttpUrl, Mismatch> {
    HttpUrl::new(text(value)?, "an https URL, without credentials or #")
}

/// A name that is not empty and has no control characters.
fn name(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let name = text(value)?;
    match name.is_empty() || name.contains(char::is_control) {
        true => Err(Mismatch::text(name, "a name")),
        false => Ok(name.to_owned()),
    }
}

/// Whether requests are compressed. The type `file` has the same key, with one more value.
fn compress(value: &DeValue<'_>) -> Result<bool, Mismatch> {
    match word(Compress::ALL, Compress::as_str)(value)? {
        Compress::None => Ok(false),
        Compress::Gzip => Ok(true),
        Compress::Zstd => {
            Err(Mismatch::text("zstd", "none or gzip for an output of the type http"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::output::destination::Destination;
    use crate::output::testing::{EXAMPLE, check_refused, load, outputs};

    const HTTP: &str = "[[output]]\nname = 'a'\ntype = 'http'\nurl = 'https://a.test/in'\n";

    fn http(keys: &str) -> HttpSettings {
        let output = outputs(&format!("{HTTP}{keys}")).remove(0);
        let Destination::Http(http) = output.to else { panic!("{output:?}") };
        *http
    }

    #[test]
    fn raw_lines_for_splunk_are_raw() {
        let format = |keys: &str| outputs(&format!("{HTTP}{keys}")).remove(0).format;
        assert_eq!(format("body = 'hec_raw'"), OutputFormat::Raw);
        assert_eq!(format("body = 'hec_raw'\nformat = 'ecs'"), OutputFormat::Ecs);
        assert_eq!(format("body = 'hec_event'"), OutputFormat::Json);
        assert_eq!(format(""), OutputFormat::Json);
        let ingestion =
            HTTP.replace("/in", "/dataCollectionRules/dcr-1/streams/Custom-A?api-version=1");
        let found = outputs(&format!("{ingestion}body = 'logs_ingestion'"));
        assert_eq!(found[0].format, OutputFormat::Sentinel);
    }

    #[test]
    fn missing_keys_have_defaults() {
        let found = http("");
        let expected = HttpSettings {
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
            client: None,
            headers: vec![],
            ca_file: None,
            certificate: None,
            dead_letters: None,
        };
        assert_eq!(found, expected);
        assert_eq!(found.url.uri(), "https://a.test/in");
    }

    #[test]
    fn each_key_of_the_example_is_valid_and_each_default_is_true() {
        let block = EXAMPLE.split("#type = \"http\"\n").nth(1).unwrap();
        let lines = block.lines().take_while(|line| line.starts_with('#'));
        let keys =
            lines.filter_map(|line| line.strip_prefix('#')).filter(|line| !line.starts_with(' '));
        let mut count = 0;
        for line in keys {
            let (key, _) = line.split_once(" = ").unwrap();
            count += 1;
            let (others, default) = match key {
                // Keys that need others are tested below.
                "url" | "username" | "password_file" | "cert_file" | "key_file" => continue,
                "client_id" | "client_secret_file" | "tenant_id" | "token_url" | "scope" => {
                    continue;
                }
                "index" => ("body = 'bulk'\n", false),
                "action" => ("body = 'bulk'\nindex = 'a'\n", true),
                "source" | "sourcetype" | "host" => ("body = 'hec_raw'\n", false),
                "allow_plain_http" | "body" | "compress" | "timeout" => ("", true),
                key => ("", key.starts_with("batch_")),
            };
            let found = load(&format!("{HTTP}{others}{line}"));
            match found.map_err(|error| error.to_string()) {
                Ok((found, _)) if default => {
                    let without = outputs(&format!("{HTTP}{others}"));
                    assert_eq!(found, without, "{line}");
                }
                Ok((found, _)) => assert_eq!(found.len(), 1, "{line}"),
                Err(error) => {
                    assert!(error.starts_with("cannot read secrets/siem"), "{line}: {error}")
                }
            }
        }
        assert_eq!(count, 29);
    }

    #[test]
    fn credentials_are_in_the_configuration_or_in_files() {
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
        let warnings = load(&toml).unwrap().1;
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(warning.contains("can be read by every user"), "{warning}");
        // With another secret it is another output.
        let before = http(&format!("token_file = '{token}'"));
        file("token", "0124\n", 0o600);
        assert_ne!(before, http(&format!("token_file = '{token}'")));
        assert_eq!(http("authorization = 'x'"), http("authorization = 'x'"));
        let pair = http("cert_file = 'c.pem'\nkey_file = 'k.pem'").certificate.unwrap();
        assert_eq!((pair.certificate, pair.key), ("c.pem".into(), "k.pem".into()));
    }

    #[test]
    fn endpoints_that_are_refused() {
        let refused = |keys: &str, line: usize, expected: &str| {
            check_refused(&format!("{HTTP}{keys}"), &format!("c.toml:{line}: output.{expected}"));
        };
        refused(
            "body = 'xml'",
            5,
            "body is \"xml\", expected one of lines, array, hec_event, hec_raw",
        );
        refused("compress = 'zstd'", 5, "compress is \"zstd\", expected none or gzip");
        refused(
            "batch_entries = 0",
            5,
            "batch_entries is 0, expected a whole number from 1 to 10000",
        );
        refused(
            "batch_size = '65MiB'",
            5,
            "batch_size is \"65MiB\", expected a size from 1B to 64MiB",
        );
        refused(
            "batch_every = '1ms'",
            5,
            "batch_every is \"1ms\", expected a duration of at least 100ms",
        );
        refused("index = 'a'", 5, "index cannot be used together with body = \"lines\"");
        refused(
            "body = 'bulk'\nhost = 'a'",
            6,
            "host cannot be used together with body = \"bulk\"",
        );
        refused(
            "body = 'hec_raw'\naction = 'create'",
            6,
            "action cannot be used together with body",
        );
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
        let ingestion = |url: &str, keys: &str, expected: &str| {
            let toml = HTTP.replace("/in", url);
            check_refused(
                &format!("{toml}body = 'logs_ingestion'\n{keys}"),
                &format!("c.toml:{expected}"),
            );
        };
        let stream = "/dataCollectionRules/dcr-1/streams/Custom-A?api-version=2023-01-01";
        ingestion(stream, "format = 'raw'", "5: output.body cannot be used together with format");
        ingestion(
            stream,
            "batch_size = '2MiB'",
            "6: output.batch_size is 2097152 bytes, expected at most 1MiB",
        );
        for url in [
            "/",
            "/dataCollectionRules/dcr-1/streams/Custom-A",
            "/dataCollectionRules/dcr-1/streams/?api-version=2023-01-01",
            "/dataCollectionRules//streams/Custom-A?api-version=2023-01-01",
            "/x/dataCollectionRules/dcr-1/streams/Custom-A?api-version=2023-01-01",
        ] {
            ingestion(url, "", "4: output.url is \"https://a.test/");
        }
        // The index is in the URL, and plain HTTP is allowed.
        let bulk = HTTP.replace("https://a.test/in", "http://es:9200/audit/_bulk");
        let toml = format!("{bulk}body = 'bulk'\nallow_plain_http = true");
        assert_eq!(outputs(&toml).len(), 1);
        assert_eq!(outputs(&HTTP.replace("https://a.test", "http://localhost:9")).len(), 1);
    }
}
