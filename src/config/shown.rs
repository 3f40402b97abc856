//! The settings in effect, in the words of the file and without secrets, for people.
//!
//! The outputs are left out, since they can change while the program runs. Every struct is taken
//! apart whole, so the compiler says if a key is missing here.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use super::receiver::Tls;
use super::{
    Archive, Authorization, Config, Console, FetchedSource, Input, Journal, Keys, Konnect, Log,
    Receiver, Store, Witness,
};
use crate::net::PairFiles;
use crate::settings::HttpUrl;
use crate::settings::units::{show_duration, show_size};

impl Config {
    /// The settings in effect as TOML. Keys without a value are left out.
    pub(crate) fn shown(&self) -> String {
        let Config {
            data_dir, receiver, has_receiver, inputs, keys, store, console, sources, ..
        } = self;
        let Config { journal, archive, konnect, log, .. } = self;
        let mut shown = Shown::default();
        shown.text("data_dir", data_dir.display());
        if *has_receiver {
            shown.receiver(receiver);
        }
        inputs.iter().for_each(|input| shown.input(input));
        shown.keys(keys);
        shown.store(store);
        shown.console(console);
        sources.iter().for_each(|source| shown.source(source));
        shown.journal(journal);
        shown.archive(archive);
        shown.konnect(konnect);
        shown.log(log);
        shown.0
    }
}

/// The text so far.
#[derive(Default)]
struct Shown(String);

impl Shown {
    fn table(&mut self, name: &str) {
        self.line(format_args!("\n{name}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    /// A number or a boolean.
    fn bare(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key} = {value}"));
    }

    fn text(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key} = {:?}", value.to_string()));
    }

    fn optional_text(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn list<T: Display>(&mut self, key: &str, values: &[T]) {
        let values: Vec<_> =
            values.iter().map(|value| format!("{:?}", value.to_string())).collect();
        self.line(format_args!("{key} = [{}]", values.join(", ")));
    }

    fn size(&mut self, key: &str, bytes: u64) {
        self.text(key, show_size(bytes));
    }

    fn duration(&mut self, key: &str, duration: Duration) {
        self.text(key, show_duration(duration));
    }

    fn tls(&mut self, table: &str, tls: &Tls) {
        self.table(table);
        self.bare("enabled", *tls != Tls::Off);
        match tls {
            Tls::Off => {}
            Tls::SelfSigned => self.line(format_args!("# a self-signed certificate")),
            Tls::Files(PairFiles { certificate, key }) => {
                self.text("cert_file", certificate.display());
                self.text("key_file", key.display());
            }
        }
    }

    fn receiver(&mut self, receiver: &Receiver) {
        let Receiver { listen, public_url, max_body, max_decoded, max_line, .. } = receiver;
        let Receiver { max_lines, max_in_flight, max_connections, .. } = receiver;
        let Receiver { max_connections_per_address, max_header_bytes, .. } = receiver;
        let Receiver { handshake_timeout, header_timeout, body_timeout, .. } = receiver;
        let Receiver { idle_timeout, queue_timeout, trusted_proxies, tls, .. } = receiver;
        self.table("[receiver]");
        self.text("listen", listen);
        self.optional_text("public_url", public_url.as_ref());
        self.size("max_body", *max_body);
        self.size("max_decoded", *max_decoded);
        self.size("max_line", *max_line);
        self.bare("max_lines", max_lines);
        self.size("max_in_flight", *max_in_flight);
        self.bare("max_connections", max_connections);
        self.bare("max_connections_per_address", max_connections_per_address);
        self.size("max_header_bytes", *max_header_bytes as u64);
        self.duration("handshake_timeout", *handshake_timeout);
        self.duration("header_timeout", *header_timeout);
        self.duration("body_timeout", *body_timeout);
        self.duration("idle_timeout", *idle_timeout);
        self.duration("queue_timeout", *queue_timeout);
        self.list("trusted_proxies", trusted_proxies);
        self.tls("[receiver.tls]", tls);
    }

    fn input(&mut self, input: &Input) {
        let Input { name, path, org_ids, portal_ids, response_profile, authorization, keys } =
            input;
        self.table("[[input]]");
        self.text("name", name);
        self.text("path", path);
        match authorization {
            Authorization::Generated => {
                self.line(format_args!("# authorization: made on the first run"));
            }
            Authorization::Unused => {
                self.line(format_args!("# authorization: not used, there is no receiver"));
            }
            Authorization::Given(values) => {
                self.line(format_args!("# authorization: hidden, {} accepted", values.len()));
            }
        }
        self.list("org_ids", org_ids);
        self.list("portal_ids", portal_ids);
        self.text("response_profile", response_profile);
        self.table("[input.keys]");
        self.list("jwks", keys);
    }

    fn keys(&mut self, keys: &Keys) {
        let Keys { refresh, retire_after, sources } = keys;
        self.table("[keys]");
        self.list("jwks", sources);
        self.duration("refresh", *refresh);
        self.duration("retire_after", *retire_after);
    }

    fn store(&mut self, store: &Store) {
        let Store { segment_entries, segment_age, retention_age, retention_size, quarantine_size } =
            store;
        self.table("[store]");
        self.bare("segment_entries", segment_entries);
        self.duration("segment_age", *segment_age);
        self.optional_text("retention_age", retention_age.map(show_duration));
        self.optional_text("retention_size", retention_size.map(show_size));
        self.size("quarantine_size", *quarantine_size);
    }

    fn console(&mut self, console: &Console) {
        let Console { listen, hosts, actions, resend_to, keep_requests, token, tls } = console;
        self.table("[console]");
        self.text("listen", listen);
        self.list("hosts", hosts);
        self.bare("actions", actions);
        self.list("resend_to", resend_to);
        self.size("keep_requests", *keep_requests);
        let token = if token.is_some() { "hidden" } else { "none" };
        self.line(format_args!("# token: {token}"));
        self.tls("[console.tls]", tls);
    }

    fn source(&mut self, source: &FetchedSource) {
        let FetchedSource { name, r#type, interval, delay, since } = source;
        self.table("[[source]]");
        self.text("name", name);
        self.text("type", r#type);
        self.duration("interval", *interval);
        self.duration("delay", *delay);
        self.optional_text("since", since.map(show_duration));
    }

    fn journal(&mut self, journal: &Journal) {
        let Journal { url, key_file, max_wait, max_size, put_timeout, .. } = journal;
        let Journal { poll_interval, seal_after, .. } = journal;
        self.table("[journal]");
        self.optional_text("url", url.as_ref());
        self.optional_text("key_file", key_file.as_ref().map(|path| path.display()));
        self.duration("max_wait", *max_wait);
        self.size("max_size", *max_size);
        self.duration("put_timeout", *put_timeout);
        self.duration("poll_interval", *poll_interval);
        self.duration("seal_after", *seal_after);
    }

    fn archive(&mut self, archive: &Archive) {
        let Archive { url, max_delay, retention_needs_archive } = archive;
        self.table("[archive]");
        self.optional_text("url", url.as_ref());
        self.duration("max_delay", *max_delay);
        self.bare("retention_needs_archive", retention_needs_archive);
    }

    fn konnect(&mut self, konnect: &Konnect) {
        let Konnect { token_file, region, base_url, retention, reconcile_every } = konnect;
        self.table("[konnect]");
        self.optional_text("token_file", token_file.as_ref().map(|file| file.display()));
        self.optional_text("region", region.as_ref());
        self.optional_text("base_url", base_url.as_ref());
        self.optional_text("retention", retention.map(show_duration));
        self.optional_text("reconcile_every", reconcile_every.map(show_duration));
    }

    fn log(&mut self, log: &Log) {
        let Log { level, origin, key_file, checkpoint_interval, anchor, publish, listen, .. } = log;
        self.table("[log]");
        self.optional_text("level", level.as_ref());
        self.optional_text("origin", origin.as_ref());
        self.optional_text("key_file", key_file.as_ref().map(|path| path.display()));
        self.duration("checkpoint_interval", *checkpoint_interval);
        self.list("anchor", anchor);
        self.optional_text("publish", publish.as_ref());
        self.optional_text("listen", listen.as_ref());
        self.optional_text("tsa", log.tsa.as_ref().map(HttpUrl::shown));
        for Witness { url, key } in &log.witnesses {
            self.table("[[log.witness]]");
            self.text("url", url.shown());
            self.text("key", key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Flags, tables};
    use super::*;
    use crate::settings::Source;

    fn load(toml: &str) -> Config {
        let source = Source::new(Path::new("c.toml"), toml.to_owned(), tables());
        Config::resolve(&Flags::default(), &|_| None, &source).unwrap()
    }

    #[test]
    fn what_is_shown_is_valid_and_says_the_same() {
        let toml = "data_dir = 'd'\n[receiver]\npublic_url = 'https://a.example'\nmax_line = '2MiB'\n\
                    trusted_proxies = ['10.0.0.0/8']\n[store]\nretention_age = '90d'\n[keys]\n\
                    region = 'eu'\n[console]\nactions = true\nhosts = ['b.example']\n[[source]]\n\
                    name = 's'\ntype = 'konnect-pull'\n[konnect]\nregion = 'eu'\n[log]\nlevel = 'warn'\n\
                    origin = 'a.example/log'\nanchor = ['a', 'https://b.example/log']\npublish = 'p'\n\
                    listen = ':9000'\ntsa = 'http://tsa.example/'\n[[log.witness]]\n\
                    url = 'https://w.example/'\nkey = 'remora.n621.de+da77ade7+\
                    BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2'\n";
        let config = load(toml);
        let shown = config.shown();
        // The input of the flags is not one of the file.
        let (before, rest) = shown.split_once("[[input]]").unwrap();
        let (_, after) = rest.split_once("\n[keys]").unwrap();
        let again = load(&format!("{before}[keys]{after}"));
        assert_eq!(again.differences(&config), [""; 0], "{shown}");
        assert_eq!(again.shown(), shown);
    }

    #[test]
    fn no_secret_is_shown() {
        let home = tempfile::tempdir().unwrap();
        let token = home.path().join("token");
        std::fs::write(&token, "a-secret-token-of-tests").unwrap();
        let toml = format!(
            "[[input]]\nname = 'a'\npath = '/a'\nauthorization = ['Splunk a-secret', 'b-secret']\n\
             [console]\ntoken_file = {token:?}\n"
        );
        let shown = load(&toml).shown();
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("# authorization: hidden, 2 accepted"), "{shown}");
        assert!(shown.contains("# token: hidden"), "{shown}");
    }
}
