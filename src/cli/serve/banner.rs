//! The banner of `serve`: what to enter in Konnect, and how to try it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::cli::terminal::{counted, tell as say};
use crate::config::{Authorization, Config, Input, KeySource, Tls};
use crate::server::Server;

/// Prints the banner on standard error, in lines of at most 80 columns. The secret is printed on a
/// terminal only.
pub(super) fn print(config: &Config, server: &Server, on_terminal: bool) {
    let Some(address) = server.listeners.receiver_address() else {
        say("");
        say("There is no receiver. Entries come from:");
        say("");
        for source in &config.sources {
            say(format_args!("  source {} ({})", source.name, source.r#type));
        }
        say("");
        explain_keys(config, server);
        return;
    };
    let tls = server.listeners.certificate.is_some();
    let base = base(config, address, tls);
    say("");
    say("Enter this in Konnect, under Organization > Audit Logs Setup > Webhook,");
    say("or in the audit logs of a Dev Portal:");
    for input in &config.inputs {
        say("");
        if config.inputs.len() > 1 {
            say(format_args!("  Input          {}", input.name));
        }
        say(format_args!("  Endpoint       {base}{}", input.path));
        say(format_args!("  Authorization  {}", authorization(input, server, on_terminal)));
        say("  Log format     cef, json or cps");
    }
    say("");
    if config.receiver.public_url.is_none() {
        explain_reach(address, tls);
    }
    if tls && config.receiver.tls == Tls::SelfSigned {
        say("The certificate is self-signed: set skip_ssl_verification on the destination,");
        say("for development only, or use your own with --tls-cert and --tls-key.");
        say("");
    }
    explain_keys(config, server);
    say("To send a first delivery:");
    say("");
    say(curl(config, server, address));
    say("");
}

/// Logs the essential parts of the banner, for a log in JSON.
pub(super) fn log(config: &Config, server: &Server) {
    if let Some(path) = &server.generated_authorization {
        let file = path.display();
        tracing::info!(%file, "this file has the Authorization value to enter in Konnect");
    }
    // If there is a source, its refresh logs the result.
    if server.ring().is_empty() && sources(config).is_empty() {
        tracing::warn!("there are no keys yet, so nothing can be verified: use --region or --jwks");
    }
}

/// The scheme, host and port of the endpoint for clients.
fn base(config: &Config, address: SocketAddr, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    match &config.receiver.public_url {
        Some(url) => url.clone(),
        None if address.ip().is_unspecified() => format!("{scheme}://HOST:{}", address.port()),
        None => format!("{scheme}://{address}"),
    }
}

fn authorization(input: &Input, server: &Server, on_terminal: bool) -> String {
    match (&input.authorization, &server.generated_authorization) {
        (Authorization::Generated, Some(path)) => match std::fs::read_to_string(path) {
            Ok(value) if on_terminal => value.trim_end().to_owned(),
            _ => format!("the value in {}", path.display()),
        },
        (Authorization::Given(values), _) if values.len() > 1 => {
            format!("one of the {} configured values", values.len())
        }
        _ => "the configured value".to_owned(),
    }
}

/// Explains how Konnect can reach the address.
fn explain_reach(address: SocketAddr, tls: bool) {
    let port = address.port();
    if address.ip().is_loopback() {
        say(format_args!("Konnect cannot reach {address}, because it is a loopback address."));
        say("For development, start one of these tunnels, and restart vidimus serve with");
        say("--no-tls and --public-url set to the URL of the tunnel:");
        say("");
        say(format_args!("  cloudflared tunnel --url http://127.0.0.1:{port}"));
        say(format_args!("  ngrok http {port}"));
        say("");
    } else if !tls {
        say("Konnect delivers to https only: use a TLS proxy, and set its URL with");
        say("--public-url.");
        say("");
    } else if address.ip().is_unspecified() {
        say("HOST is the name in your certificate. You can set it with --public-url.");
        say("");
    }
}

fn explain_keys(config: &Config, server: &Server) {
    let sources = sources(config);
    match (server.ring().len() as u64, sources.as_slice()) {
        (0, []) => {
            say("There are no keys yet, so nothing can be verified. Signed entries get the");
            say("verdict no_key. Use --region us (or eu, au, me, in, sg, auto), or --jwks");
            say("FILE-OR-URL. Stored entries are verified when the keys arrive.");
        }
        (0, sources) => {
            say("There are no keys yet. Signed entries get the verdict no_key until the keys");
            say("arrive, and are then verified. The keys are read from");
            sources.iter().for_each(|source| say(format_args!("  {source}")));
        }
        (keys, []) => {
            let keys = counted(keys, "key");
            say(format_args!("There is no key source: verifying with the {keys} seen before."));
            say("Use --region or --jwks to keep them up to date.");
        }
        (keys, _) => say(format_args!("Verifying with {}.", counted(keys, "known key"))),
    }
    say("");
}

/// The distinct key sources.
fn sources(config: &Config) -> Vec<&KeySource> {
    let mut sources: Vec<&KeySource> = Vec::new();
    for source in config.inputs.iter().flat_map(|input| &input.keys) {
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    sources
}

/// A `curl` command that delivers an entry.
fn curl(config: &Config, server: &Server, address: SocketAddr) -> String {
    const ENTRY: &str = "CEF:0|KongInc|Konnect|1.0|KongGateway|Ingress|1|act=POST status=200";
    let path = config.inputs.first().map_or("", |input| input.path.as_str());
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let (scheme, trust) = match &server.listeners.certificate {
        Some(file) if config.receiver.tls == Tls::SelfSigned => {
            ("https", format!(" --cacert {}", quoted(file)))
        }
        Some(_) => ("https", " --insecure".to_owned()),
        None => ("http", String::new()),
    };
    let value = match &server.generated_authorization {
        Some(file) => format!("$(cat {})", quoted(file)),
        None => "YOUR VALUE".to_owned(),
    };
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    format!(
        "  curl{trust} \\\n    -H \"Authorization: {value}\" \\\n    --data-binary '{ENTRY}' \\\n    \
         {scheme}://{address}{path}"
    )
}
