//! Prints a set-up as configuration for Kong's Terraform provider, for kongctl, or for a shell.
//!
//! The names are those of the provider `kong/konnect` (`konnect_audit_log`,
//! `konnect_audit_log_destination`, `konnect_portal_audit_log_webhook`, documented under
//! `docs/resources/` of its repository) and of kongctl's declarative files (`audit-logs`,
//! `audit_log_webhook`, from its example `audit-logs/portal-audit-log-webhook.yaml`). Comments in
//! the output say what these tools cannot do. No secret is printed.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;

use super::access::quoted;
use crate::entry::Format;
use crate::konnect::client::Hosts;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For Kong's Terraform provider, kong/konnect
    Terraform,
    /// Declarative configuration for kongctl
    Kongctl,
    /// Shell commands
    Curl,
}

/// The location of the authorization value.
#[derive(Clone, Debug)]
pub(super) enum Where {
    File(PathBuf),
    /// The environment variable `VIDIMUS_AUTHORIZATION`.
    Variable,
}

#[derive(Clone, Debug)]
pub(super) struct Recipe<'a> {
    pub(super) endpoint: &'a str,
    pub(super) name: &'a str,
    pub(super) log_format: Format,
    pub(super) skip_ssl_verification: bool,
    pub(super) portal: Option<&'a str>,
    pub(super) hosts: &'a Hosts,
    pub(super) authorization: Where,
}

impl Recipe<'_> {
    pub(super) fn print(&self, form: Form) -> String {
        match form {
            Form::Terraform => self.terraform(),
            Form::Kongctl => self.kongctl(),
            Form::Curl => self.curl(),
        }
    }

    fn terraform(&self) -> String {
        let value = match &self.authorization {
            Where::File(path) => {
                format!("export TF_VAR_audit_log_authorization=\"$(cat {})\"", shell(path))
            }
            Where::Variable => {
                "export TF_VAR_audit_log_authorization=\"$VIDIMUS_AUTHORIZATION\"".to_owned()
            }
        };
        let start = format!(
            "# Before terraform apply:
#   {value}
#   export KONNECT_TOKEN=…
terraform {{
  required_providers {{
    konnect = {{
      source = \"kong/konnect\"
    }}
  }}
}}

provider \"konnect\" {{
  server_url = {}
}}

variable \"audit_log_authorization\" {{
  type      = string
  sensitive = true
}}

",
            hcl(self.hosts.regional())
        );
        let fields = format!(
            "  authorization         = var.audit_log_authorization
  endpoint              = {}
  log_format            = {}
  skip_ssl_verification = {}
",
            hcl(self.endpoint),
            hcl(self.log_format.as_str()),
            self.skip_ssl_verification
        );
        start
            + &match self.portal {
                None => format!(
                    "# The organization's webhook in this region. The provider has no separate destination \
                     for it.
resource \"konnect_audit_log\" \"vidimus\" {{
  enabled               = true
{fields}}}
"
                ),
                Some(portal) => format!(
                    "resource \"konnect_audit_log_destination\" \"vidimus\" {{
  name                  = {}
{fields}}}

resource \"konnect_portal_audit_log_webhook\" \"vidimus\" {{
  portal_id                = {}
  audit_log_destination_id = konnect_audit_log_destination.vidimus.id
  enabled                  = true
}}
",
                    hcl(self.name),
                    hcl(portal)
                ),
            }
    }

    fn kongctl(&self) -> String {
        let mut text = format!(
            "# kongctl's declarative files can refer to a destination, but not create one. Create it first:
#   {}
",
            self.create_command()
        );
        if self.portal.is_none() {
            text += "# They can set the webhook of a Dev Portal, but not the organization's. For that webhook, use
# --print terraform, --print curl, or vidimus konnect setup.
";
        }
        text += &format!(
            "audit-logs:
  destinations:
    - ref: vidimus
      _external:
        selector:
          matchFields:
            name: {}
",
            json!(self.name)
        );
        if let Some(portal) = self.portal {
            text += &format!(
                "
portals:
  - ref: vidimus-portal
    _external:
      id: {}
    audit_log_webhook:
      ref: vidimus-webhook
      enabled: true
      audit_log_destination_id: !ref vidimus
",
                json!(portal)
            );
        }
        text
    }

    /// The command that creates the destination.
    fn create_command(&self) -> String {
        let mut command = format!(
            "vidimus konnect destinations create --name {} --endpoint {} --log-format {}",
            quoted(self.name),
            quoted(self.endpoint),
            self.log_format
        );
        if self.skip_ssl_verification {
            command += " --skip-ssl-verification";
        }
        if let Where::File(path) = &self.authorization {
            command += &format!(" --authorization-file {}", shell(path));
        }
        command
    }

    fn curl(&self) -> String {
        let (global, regional) = (self.hosts.global(), self.hosts.regional());
        // Not as an argument, because other users of the machine could see it.
        let (option, value) = match &self.authorization {
            Where::File(path) => {
                let option = format!(" --rawfile authorization {}", shell(path));
                (option, "($authorization | rtrimstr(\"\\n\"))")
            }
            Where::Variable => (String::new(), "env.VIDIMUS_AUTHORIZATION"),
        };
        let destination = json!({
            "name": self.name,
            "endpoint": self.endpoint,
            "log_format": self.log_format,
            "skip_ssl_verification": self.skip_ssl_verification,
        });
        let webhook = match self.portal {
            None => format!("{regional}/v3/audit-log-webhook"),
            Some(portal) => format!("{regional}/v3/portals/{portal}/audit-log-webhook"),
        };
        format!(
            "# This needs the access token in KONNECT_TOKEN. jq puts the authorization value into the request.
destination=$(jq -n{option} \\
    {} \\
  | curl --fail-with-body -sS {} \\
      -H \"Authorization: Bearer $KONNECT_TOKEN\" -H 'Content-Type: application/json' -d @- \\
  | jq -er .id)
jq -n --arg id \"$destination\" '{{audit_log_destination_id: $id, enabled: true}}' \\
  | curl --fail-with-body -sS -X PATCH {} \\
      -H \"Authorization: Bearer $KONNECT_TOKEN\" -H 'Content-Type: application/json' -d @-
",
            quoted(&format!("{destination} + {{authorization: {value}}}")),
            quoted(&format!("{global}/v3/audit-log-destinations")),
            quoted(&webhook),
        )
    }
}

/// An HCL string, in which `${` and `%{` must be escaped.
fn hcl(text: &str) -> String {
    json!(text).to_string().replace("${", "$${").replace("%{", "%%{")
}

fn shell(path: &std::path::Path) -> String {
    quoted(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Region;

    fn check(form: Form, recipe: &Recipe<'_>, fixture: &str) {
        let path = format!("{}/fixtures/konnect/setup/{fixture}", env!("CARGO_MANIFEST_DIR"));
        let expected = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(recipe.print(form), expected, "\n{}", recipe.print(form));
    }

    #[test]
    fn the_printed_set_ups() {
        let hosts = Hosts::of(Region::Eu);
        let organization = Recipe {
            endpoint: "https://siem.example.com/audit-logs",
            name: "vidimus-eu",
            log_format: Format::Json,
            skip_ssl_verification: false,
            portal: None,
            hosts: &hosts,
            authorization: Where::File("vidimus-data/authorization".into()),
        };
        check(Form::Terraform, &organization, "organization.tf");
        check(Form::Kongctl, &organization, "organization.yaml");
        check(Form::Curl, &organization, "organization.sh");
        let id = Some("f32d905a-ed33-46a3-a093-d8f536af9a8a");
        let portal = Recipe { portal: id, ..organization.clone() };
        check(Form::Terraform, &portal, "portal.tf");
        check(Form::Kongctl, &portal, "portal.yaml");
        check(Form::Curl, &portal, "portal.sh");
        // What must be quoted, and an authorization value that is in no file.
        let quoted = Recipe {
            endpoint: "https://siem.example.com/audit-logs?a=b&c='d'",
            name: "it's \"${x}\" <&>",
            skip_ssl_verification: true,
            authorization: Where::Variable,
            ..portal
        };
        check(Form::Terraform, &quoted, "quoted.tf");
        check(Form::Kongctl, &quoted, "quoted.yaml");
        check(Form::Curl, &quoted, "quoted.sh");
        let file = Where::File("vidimus data/authorization".into());
        let quoted = Recipe { authorization: file, portal: None, ..quoted };
        check(Form::Terraform, &quoted, "quoted-file.tf");
        check(Form::Kongctl, &quoted, "quoted-file.yaml");
        check(Form::Curl, &quoted, "quoted-file.sh");
    }

    #[test]
    fn what_a_template_would_read_is_escaped() {
        assert_eq!(hcl("a\"${x}%{y}"), r#""a\"$${x}%%{y}""#);
    }
}
