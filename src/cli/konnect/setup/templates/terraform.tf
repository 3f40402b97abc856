# Before terraform apply:
{%- match setup.authorization %}
{%- when AuthorizationSource::File(path) %}
#   export TF_VAR_audit_log_authorization="$(cat {{ self::shell(path) }})"
{%- when AuthorizationSource::Variable %}
#   export TF_VAR_audit_log_authorization="$VIDIMUS_AUTHORIZATION"
{%- endmatch %}
#   export KONNECT_TOKEN=…
terraform {
  required_providers {
    konnect = {
      source = "kong/konnect"
    }
  }
}

provider "konnect" {
  server_url = {{ self::hcl(setup.hosts.regional()) }}
}

variable "audit_log_authorization" {
  type      = string
  sensitive = true
}
{% if setup.portal.is_none() %}
# The organization's webhook in this region. The provider has no separate destination for it.
resource "konnect_audit_log" "vidimus" {
  enabled               = true
{%- else %}
resource "konnect_audit_log_destination" "vidimus" {
  name                  = {{ self::hcl(setup.name) }}
{%- endif %}
  authorization         = var.audit_log_authorization
  endpoint              = {{ self::hcl(setup.endpoint) }}
  log_format            = {{ self::hcl(setup.log_format.as_str()) }}
  skip_ssl_verification = {{ setup.skip_ssl_verification }}
}
{%- if let Some(portal) = setup.portal %}

resource "konnect_portal_audit_log_webhook" "vidimus" {
  portal_id                = {{ self::hcl(portal) }}
  audit_log_destination_id = konnect_audit_log_destination.vidimus.id
  enabled                  = true
}
{%- endif %}
