//! What `serve` says before it is ready: what to enter in Konnect, and how to try it.

use std::net::SocketAddr;
use std::path::Path;

use crate::cli::terminal::tell as say;
use crate::config::{Authorization, Config, Input};
use crate::server::Server;

/// Says it on standard error. A secret is shown on a terminal only.
pub(super) fn print(config: &Config, server: &Server, on_terminal: bool) {
    let address = server.receiver_address();
    let tls = server.certificate.is_some();
    let base = base(config, address, tls);
    say("");
    say("Enter this in Konnect (Organization > Audit Logs Setup > Webhook), or for a Dev Portal:");
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
    if tls && config.receiver.tls == crate::config::Tls::SelfSigned {
        say("The certificate is self-signed: set skip_ssl_verification on the destination, for");
        say("development only, or give a real one with --tls-cert and --tls-key.");
        say("");
    }
    explain_keys(server);
    say("To make a first delivery:");
    say("");
    say(format_args!("  {}", curl(config, server, address)));
    say("");
}

/// Scheme, host and port of the endpoint, as a client is told.
fn base(config: &Config, address: SocketAddr, tls: bool) -> String {
    let own = || format!("{}://{address}", if tls { "https" } else { "http" });
    config.receiver.public_url.clone().unwrap_or_else(own)
}

fn authorization(input: &Input, server: &Server, on_terminal: bool) -> String {
    match (&input.authorization, &server.generated_authorization) {
        (Authorization::Generated, Some(path)) => match std::fs::read_to_string(path) {
            Ok(value) if on_terminal => value.trim_end().to_owned(),
            _ => format!("the value in {}", path.display()),
        },
        _ => "the value that you configured".to_owned(),
    }
}

/// Whether Konnect can reach the address, and what to do if not.
fn explain_reach(address: SocketAddr, tls: bool) {
    let port = address.port();
    if address.ip().is_loopback() {
        say(format_args!(
            "{address} is a loopback address: Konnect cannot reach it. For development, put a"
        ));
        say("tunnel in front, and start again with the URL that it gives:");
        say("");
        say(format_args!("  cloudflared tunnel --url http://127.0.0.1:{port}"));
        say(format_args!("  ngrok http {port}"));
        say("  vidimus serve --no-tls --public-url https://NAME.trycloudflare.com");
        say("");
    } else if !tls {
        say(
            "Konnect delivers to https only: put a proxy that speaks TLS in front, and say where it is",
        );
        say("with --public-url.");
        say("");
    }
}

fn explain_keys(server: &Server) {
    if server.ring().is_empty() {
        say(
            "There are no keys yet: nothing can be verified, and signed entries get the verdict no_key.",
        );
        say(
            "Give --region us (or eu, au, me, in, sg, auto), or --jwks FILE-OR-URL. Entries that are",
        );
        say("stored by then are verified when the keys arrive.");
        say("");
    }
}

/// A command that delivers an entry.
fn curl(config: &Config, server: &Server, address: SocketAddr) -> String {
    const ENTRY: &str =
        "CEF:0|KongInc|Konnect|1.0|KongGateway|Ingress|1|act=POST status=200 request=/hello";
    let path = config.inputs.first().map_or("", |input| input.path.as_str());
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let (scheme, trust) = match &server.certificate {
        Some(file) if config.receiver.tls == crate::config::Tls::SelfSigned => {
            ("https", format!("--cacert {} ", quoted(file)))
        }
        Some(_) => ("https", "--insecure ".to_owned()),
        None => ("http", String::new()),
    };
    let value = match &server.generated_authorization {
        Some(file) => format!("$(cat {})", quoted(file)),
        None => "YOUR VALUE".to_owned(),
    };
    let host =
        if address.ip().is_unspecified() { "127.0.0.1".into() } else { address.ip().to_string() };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let port = address.port();
    format!(
        "curl {trust}-H \"Authorization: {value}\" --data-binary '{ENTRY}' {scheme}://{host}:{port}{path}"
    )
}
