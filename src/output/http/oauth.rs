//! Bearer tokens by the client credentials grant of OAuth 2.0, such as those of Microsoft Entra ID.
//!
//! A token is kept in memory only. It is fetched anew shortly before it expires, and when the
//! endpoint refuses it.
//!
//! Defined by: RFC 6749, sections 4.4 (the grant), 2.3.1 (the client's secret) and 5.1 (the
//! response); Microsoft, "OAuth 2.0 client credentials flow on the Microsoft identity platform".

use std::fmt::Display;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use serde::Deserialize;
use toml::de::DeValue;

use crate::net::percent_encoded;
use crate::settings::value::{path, text};
use crate::settings::{ConfigError, HttpUrl, Mismatch, Secret, Section, optional, settings};

settings! {
    /// The keys of the client credentials.
    pub(super) struct OauthKeys {
        client_id: Option<String> = optional(word);
        client_secret_file: Option<PathBuf> = optional(path);
        tenant_id: Option<String> = optional(tenant);
        token_url: Option<HttpUrl> = optional(token_url);
        scope: Option<String> = optional(word);
    }
}

/// The scope of Azure Monitor, which is the default for a tenant.
const AZURE_MONITOR: &str = "https://monitor.azure.com/.default";

/// How long before its end a token is no longer used, unless it lives for less than twice as long.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// What a program proves its identity with, and where it gets a token for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientCredentials {
    /// The token endpoint.
    pub(super) token_url: HttpUrl,
    client_id: String,
    pub(super) secret: Secret,
    scope: Option<String>,
}

impl OauthKeys {
    /// The credentials, if there are any. Warnings are added to `warnings`.
    pub(super) fn credentials(
        section: &Section<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<ClientCredentials>, ConfigError> {
        let OauthKeys { client_id, client_secret_file, tenant_id, token_url, scope } =
            OauthKeys::read(section)?;
        let Some(client_id) = client_id else {
            let mut others = OauthKeys::KEYS.iter().filter(|key| section.has(key));
            return match others.next() {
                None => Ok(None),
                Some(key) => Err(section.missing("client_id", &format!("{key} needs it"))),
            };
        };
        let Some(file) = client_secret_file else {
            return Err(section.missing("client_secret_file", "client_id needs it"));
        };
        let (token_url, scope) = match (tenant_id, token_url) {
            (Some(_), Some(_)) => {
                return Err(section.conflict("token_url", "tenant_id", "keep one of them"));
            }
            (None, None) => {
                let advice = "client_id needs it, or a token_url if the token is not from Entra ID";
                return Err(section.missing("tenant_id", advice));
            }
            (None, Some(url)) => (url, scope),
            (Some(tenant), None) => {
                let url = format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token");
                let url = HttpUrl::new(&url, TENANT).map_err(|one| section.wrong("tenant_id", one));
                (url?, scope.or_else(|| Some(AZURE_MONITOR.to_owned())))
            }
        };
        let setting = section.setting("client_secret_file");
        let secret = Secret::read(&setting, &file, warnings)?;
        Ok(Some(ClientCredentials { token_url, client_id, secret, scope }))
    }
}

impl ClientCredentials {
    /// The request for a token.
    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        let secret: &dyn Display = &percent_encoded(self.secret.expose());
        let mut form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={secret}",
            percent_encoded(&self.client_id)
        );
        if let Some(scope) = &self.scope {
            form = format!("{form}&scope={}", percent_encoded(scope));
        }
        let mut request = Request::new(Full::new(Bytes::from(form)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.token_url.uri().clone();
        let headers = request.headers_mut();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        request
    }

    /// What an answer may repeat, which nobody else may see.
    pub(super) fn secrets(&self) -> [String; 2] {
        let secret = self.secret.expose();
        [secret.to_owned(), percent_encoded(secret).to_string()]
    }
}

/// A token.
pub(super) struct Token {
    /// The value of the header `Authorization`. Its `Debug` hides it.
    pub(super) header: HeaderValue,
    /// The token alone.
    pub(super) text: String,
    /// Until when it is used. `None` if that was not said.
    until: Option<Instant>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    token_type: String,
    /// Seconds.
    expires_in: Option<u64>,
}

impl Token {
    /// Reads the body of a 200. The token was asked for at `asked_at`. `None` if the body has no
    /// bearer token.
    pub(super) fn read(body: &[u8], asked_at: Instant) -> Option<Token> {
        let response: TokenResponse = serde_json::from_slice(body).ok()?;
        if !response.token_type.eq_ignore_ascii_case("bearer") || response.access_token.is_empty() {
            return None;
        }
        let mut header: HeaderValue = format!("Bearer {}", response.access_token).parse().ok()?;
        header.set_sensitive(true);
        let until = response.expires_in.and_then(|seconds| {
            let life = Duration::from_secs(seconds);
            asked_at.checked_add(life.saturating_sub(MARGIN.min(life / 2)))
        });
        Some(Token { header, text: response.access_token, until })
    }

    /// Whether it can be used at `now`.
    pub(super) fn is_good(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

const TENANT: &str = "the id or a domain of a tenant, such as contoso.onmicrosoft.com";

/// The id of a tenant, or one of its domains. It becomes a part of the URL.
fn tenant(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let tenant = text(value)?;
    let is_of_it = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    match tenant.starts_with(|c: char| c.is_ascii_alphanumeric()) && tenant.chars().all(is_of_it) {
        true => Ok(tenant.to_owned()),
        false => Err(Mismatch::text(tenant, TENANT)),
    }
}

fn token_url(value: &DeValue<'_>) -> Result<HttpUrl, Mismatch> {
    HttpUrl::new(text(value)?, "an https URL, without credentials or #")
}

/// Visible ASCII, with spaces inside (RFC 6749, appendix A).
fn word(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let word = text(value)?;
    let is_visible = word.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    match is_visible && !word.is_empty() && word.trim() == word {
        true => Ok(word.to_owned()),
        false => Err(Mismatch::text(word, "visible ASCII characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::destination::Destination;
    use crate::output::testing::{check_refused, outputs};

    const HTTP: &str = "[[output]]\nname = 'a'\ntype = 'http'\nurl = 'https://a.test/in'\n";

    fn credentials(keys: &str) -> ClientCredentials {
        let output = outputs(&format!("{HTTP}{keys}")).remove(0);
        let Destination::Http(http) = output.to else { panic!("{output:?}") };
        http.client.unwrap()
    }

    /// A file with a secret, and the keys of a client that has it.
    fn client() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "s3~cret+/= x\n").unwrap();
        let keys = format!("client_id = 'app'\nclient_secret_file = '{}'\n", file.display());
        (folder, keys)
    }

    #[test]
    fn a_tenant_has_its_endpoint_and_scope() {
        let (_folder, client) = client();
        let check = |keys: &str, url: &str, scope: Option<&str>| {
            let found = credentials(&format!("{client}{keys}"));
            assert_eq!(found.token_url.shown(), url);
            assert_eq!(found.scope.as_deref(), scope);
            assert!(!format!("{found:?}").contains("cret+"), "{found:?}");
        };
        let entra = "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token";
        let tenant = "tenant_id = 'contoso.example'\n";
        check(tenant, entra, Some("https://monitor.azure.com/.default"));
        check(&format!("{tenant}scope = 'x/.default'"), entra, Some("x/.default"));
        let url = "token_url = 'https://login.example/token'\n";
        check(url, "https://login.example/token", None);
        check(&format!("{url}scope = 'a b'"), "https://login.example/token", Some("a b"));
    }

    #[test]
    fn the_request_is_a_form() {
        let (_folder, client) = client();
        let check = |keys: &str, expected: &str| {
            let request = credentials(&format!("{client}{keys}")).request();
            assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
            let body = format!("{:?}", request.body());
            assert!(body.contains(&format!("\"{expected}\"")), "{body}");
        };
        let form = "grant_type=client_credentials&client_id=app&client_secret=s3~cret%2B%2F%3D%20x";
        check("token_url = 'https://login.example/token'", form);
        check(
            "tenant_id = 't'",
            &format!("{form}&scope=https%3A%2F%2Fmonitor.azure.com%2F.default"),
        );
    }

    #[test]
    fn a_token_is_used_until_shortly_before_its_end() {
        let now = Instant::now();
        let check = |expires_in: &str, good_for: Option<u64>| {
            let body = format!(r#"{{"token_type":"Bearer","access_token":"abc.def"{expires_in}}}"#);
            let token = Token::read(body.as_bytes(), now).unwrap();
            assert_eq!(token.header, "Bearer abc.def");
            assert!(!format!("{:?}", token.header).contains("abc"));
            let Some(seconds) = good_for.map(Duration::from_secs) else {
                assert!(token.is_good(now + Duration::from_secs(1 << 30)));
                return;
            };
            assert!(!token.is_good(now + seconds), "{expires_in}");
            assert_eq!(token.is_good(now), !seconds.is_zero(), "{expires_in}");
            if let Some(before) = seconds.checked_sub(Duration::from_millis(1)) {
                assert!(token.is_good(now + before), "{expires_in}");
            }
        };
        check(r#","expires_in":3599"#, Some(3299));
        check(r#","expires_in":60,"ext_expires_in":60"#, Some(30));
        check(r#","expires_in":0"#, Some(0));
        check("", None);
        check(r#","expires_in":18446744073709551615"#, None);
    }

    #[test]
    fn other_answers_have_no_token() {
        for body in [
            "",
            "{}",
            "[]",
            r#"{"token_type":"mac","access_token":"abc"}"#,
            r#"{"token_type":"Bearer","access_token":""}"#,
            r#"{"token_type":"Bearer","access_token":"a\nb"}"#,
            r#"{"token_type":"Bearer","access_token":5}"#,
            r#"{"error":"invalid_client"}"#,
        ] {
            assert!(Token::read(body.as_bytes(), Instant::now()).is_none(), "{body}");
        }
    }

    #[test]
    fn credentials_that_are_refused() {
        let (_folder, client) = client();
        let refused = |keys: &str, expected: &str| {
            check_refused(&format!("{HTTP}{keys}"), &format!("c.toml:{expected}"));
        };
        refused("scope = 'a'", "1: output.client_id is missing: scope needs it");
        refused("client_id = 'a'", "1: output.client_secret_file is missing: client_id needs it");
        refused(&client, "1: output.tenant_id is missing: client_id needs it, or a token_url");
        let both = format!("{client}tenant_id = 'a'\ntoken_url = 'https://a.test/'");
        refused(&both, "8: output.token_url cannot be used together with tenant_id: keep one");
        for tenant in ["", "a/b", "a?b", ".", "é", "a@b"] {
            let expected = format!("7: output.tenant_id is \"{tenant}\", expected the id or");
            refused(&format!("{client}tenant_id = '{tenant}'"), &expected);
        }
        refused("client_id = ''", "5: output.client_id is \"\", expected visible ASCII");
        refused("scope = ' a'", "5: output.scope is \" a\", expected visible ASCII");
        refused("token_url = 'a.test'", "5: output.token_url is \"a.test\", expected an https URL");
        refused(
            &format!("{client}token_url = 'http://a.test/?k=v'"),
            "7: output.token_url is \"http://a.test/\", expected https; http is for this machine",
        );
        refused(
            &format!("{client}tenant_id = 'a'\ntoken_file = 'b'"),
            "5: output.client_id cannot be used together with token_file: keep one of them",
        );
    }
}
