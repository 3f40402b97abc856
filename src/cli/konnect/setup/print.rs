//! Prints a set-up as configuration for Kong's Terraform provider, for kongctl, or for a shell. The
//! texts are in `templates/`.
//!
//! The names are those of the provider `kong/konnect` (`konnect_audit_log`,
//! `konnect_audit_log_destination`, `konnect_portal_audit_log_webhook`, documented under
//! `docs/resources/` of its repository) and of kongctl's declarative files (`audit-logs`,
//! `audit_log_webhook`, from its example `audit-logs/portal-audit-log-webhook.yaml`). Comments in
//! the output say what these tools cannot do. No secret is printed.

use askama::Template;
use clap::ValueEnum;
use serde_json::json;

use crate::cli::konnect::access::quoted;
use crate::entry::Format;
use crate::konnect::client::Hosts;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Tool {
    /// For Kong's Terraform provider, kong/konnect
    Terraform,
    /// Declarative configuration for kongctl
    Kongctl,
    /// Shell commands
    Curl,
}

/// The location of the authorization value.
#[derive(Clone, Debug)]
pub(super) enum AuthorizationSource {
    File(String),
    /// The environment variable `VIDIMUS_AUTHORIZATION`.
    Variable,
}

/// What the templates are filled with.
#[derive(Clone, Debug)]
pub(super) struct PrintedSetup<'a> {
    pub(super) endpoint: &'a str,
    pub(super) name: &'a str,
    pub(super) log_format: Format,
    pub(super) skip_ssl_verification: bool,
    pub(super) portal: Option<&'a str>,
    pub(super) hosts: &'a Hosts,
    pub(super) authorization: AuthorizationSource,
}

#[derive(Template)]
#[template(path = "terraform.tf", escape = "none")]
struct Terraform<'a> {
    setup: &'a PrintedSetup<'a>,
}

#[derive(Template)]
#[template(path = "kongctl.yaml", escape = "none")]
struct Kongctl<'a> {
    setup: &'a PrintedSetup<'a>,
}

#[derive(Template)]
#[template(path = "curl.sh", escape = "none")]
struct Curl<'a> {
    setup: &'a PrintedSetup<'a>,
}

impl PrintedSetup<'_> {
    /// The text for `tool`, without a line end.
    pub(super) fn render(&self, tool: Tool) -> askama::Result<String> {
        match tool {
            Tool::Terraform => Terraform { setup: self }.render(),
            Tool::Kongctl => Kongctl { setup: self }.render(),
            Tool::Curl => Curl { setup: self }.render(),
        }
    }

    /// The `jq` expression for the body of the destination. The authorization value is not an
    /// argument of a command, because other users of the machine could see it.
    fn destination_body(&self) -> String {
        let destination = json!({
            "name": self.name,
            "endpoint": self.endpoint,
            "log_format": self.log_format,
            "skip_ssl_verification": self.skip_ssl_verification,
        });
        let value = match self.authorization {
            AuthorizationSource::File(_) => "($authorization | rtrimstr(\"\\n\"))",
            AuthorizationSource::Variable => "env.VIDIMUS_AUTHORIZATION",
        };
        format!("{destination} + {{authorization: {value}}}")
    }

    fn destinations_url(&self) -> String {
        format!("{}/v3/audit-log-destinations", self.hosts.global())
    }

    fn webhook_url(&self) -> String {
        let regional = self.hosts.regional();
        match self.portal {
            None => format!("{regional}/v3/audit-log-webhook"),
            Some(portal) => format!("{regional}/v3/portals/{portal}/audit-log-webhook"),
        }
    }
}

/// A shell word.
fn shell(text: impl AsRef<str>) -> String {
    quoted(text.as_ref())
}

/// A JSON string, which is also a YAML string.
fn json(text: &str) -> String {
    json!(text).to_string()
}

/// An HCL string, in which `${` and `%{` must be escaped.
fn hcl(text: &str) -> String {
    json(text).replace("${", "$${").replace("%{", "%%{")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Region;

    fn check(tool: Tool, setup: &PrintedSetup<'_>, fixture: &str) {
        let path = format!("{}/fixtures/konnect/setup/{fixture}", env!("CARGO_MANIFEST_DIR"));
        let expected = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let text = setup.render(tool).unwrap() + "\n";
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn the_printed_set_ups() {
        let hosts = Hosts::of(&Region::One("eu".to_owned()));
        let organization = PrintedSetup {
            endpoint: "https://siem.example.com/audit-logs",
            name: "vidimus-eu",
            log_format: Format::Json,
            skip_ssl_verification: false,
            portal: None,
            hosts: &hosts,
            authorization: AuthorizationSource::File("vidimus-data/authorization".into()),
        };
        check(Tool::Terraform, &organization, "organization.tf");
        check(Tool::Kongctl, &organization, "organization.yaml");
        check(Tool::Curl, &organization, "organization.sh");
        let id = Some("f32d905a-ed33-46a3-a093-d8f536af9a8a");
        let portal = PrintedSetup { portal: id, ..organization.clone() };
        check(Tool::Terraform, &portal, "portal.tf");
        check(Tool::Kongctl, &portal, "portal.yaml");
        check(Tool::Curl, &portal, "portal.sh");
        // What must be quoted, and an authorization value that is in no file.
        let quoted = PrintedSetup {
            endpoint: "https://siem.example.com/audit-logs?a=b&c='d'",
            name: "it's \"${x}\" <&>",
            skip_ssl_verification: true,
            authorization: AuthorizationSource::Variable,
            ..portal
        };
        check(Tool::Terraform, &quoted, "quoted.tf");
        check(Tool::Kongctl, &quoted, "quoted.yaml");
        check(Tool::Curl, &quoted, "quoted.sh");
        let file = AuthorizationSource::File("vidimus data/authorization".into());
        let quoted = PrintedSetup { authorization: file, portal: None, ..quoted };
        check(Tool::Terraform, &quoted, "quoted-file.tf");
        check(Tool::Kongctl, &quoted, "quoted-file.yaml");
        check(Tool::Curl, &quoted, "quoted-file.sh");
    }

    #[test]
    fn template_syntax_is_escaped() {
        assert_eq!(hcl("a\"${x}%{y}"), r#""a\"$${x}%%{y}""#);
    }
}
