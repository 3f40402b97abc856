//! URLs in settings: `http` or `https`, with a host.
//!
//! Credentials in a URL are refused, since they would be shown with the URL.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;

use super::error::Mismatch;

/// An absolute `http` or `https` URL without credentials or fragment. `Debug` hides the query,
/// which may contain a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HttpUrl(Uri);

impl HttpUrl {
    /// Parses `text`. `expected` describes the URL in the error.
    pub(crate) fn new(text: &str, expected: &str) -> Result<HttpUrl, Mismatch> {
        if text.contains('@') {
            return Err(Mismatch::new("a URL with an @, as credentials have it", expected));
        }
        // The query may contain a secret.
        let bad = || Mismatch::text(text.split('?').next().unwrap_or_default(), expected);
        if text.contains('#') {
            return Err(bad());
        }
        let url = HttpUrl(text.parse().map_err(|_| bad())?);
        let known = matches!(url.0.scheme_str(), Some("http" | "https"));
        // The parser accepts any digits as a port, but returns only valid ports.
        let authority = url.0.authority().ok_or_else(bad)?;
        let whole = match authority.port_u16() {
            Some(port) => authority.as_str() == format!("{}:{port}", authority.host()),
            None => authority.as_str() == authority.host(),
        };
        if known && whole && !authority.host().is_empty() { Ok(url) } else { Err(bad()) }
    }

    /// Whether the scheme is `https`.
    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Whether the host is `localhost` or a loopback address.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.0.host().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || address.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
    }

    /// The URL with its query, for requests.
    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }

    /// Scheme, host, port and path, for showing.
    pub(crate) fn shown(&self) -> String {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        format!("{scheme}://{authority}{}", self.0.path())
    }

    /// Scheme, host and port without a slash at the end, or `None` if there is a path or query.
    pub(crate) fn origin(&self) -> Option<String> {
        let bare = self.0.path() == "/" && self.0.query().is_none();
        let (scheme, authority) = (self.0.scheme_str()?, self.0.authority()?);
        bare.then(|| format!("{scheme}://{authority}"))
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({})", self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_http_urls_are_taken() {
        let check = |text: &str, expected: Option<Option<&str>>| {
            let found = HttpUrl::new(text, "").ok().map(|url| url.origin());
            assert_eq!(found, expected.map(|origin| origin.map(str::to_owned)), "{text:?}");
        };
        check("https://a.example", Some(Some("https://a.example")));
        check("https://a.example/", Some(Some("https://a.example")));
        check("http://a.example:8443/", Some(Some("http://a.example:8443")));
        check("https://[2001:db8::1]:1", Some(Some("https://[2001:db8::1]:1")));
        check("HTTPS://a.example", Some(Some("https://a.example")));
        check("https://a.example/x", Some(None));
        check("https://a.example/?x", Some(None));
        for bad in [
            "",
            "a.example",
            "/x",
            "ftp://a.example",
            "https://",
            "https://:80",
            "https://a.example:99999",
            "https://a.example:",
            "https://a.example/#x",
            "https://user:pass@a.example/",
            "https://a example/",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn loopback() {
        for (text, expected) in [
            ("http://127.0.0.1/", true),
            ("http://127.8.8.8:80/", true),
            ("http://[::1]:80/", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://localhost:80/x", true),
            ("http://LOCALHOST/", true),
            ("http://localhost.example/", false),
            ("http://127.0.0.1.example/", false),
            ("http://10.0.0.1/", false),
            ("http://[::2]/", false),
        ] {
            assert_eq!(HttpUrl::new(text, "").unwrap().is_loopback(), expected, "{text}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        for url in ["https://user:hunter2@a.example", "https://a.example/?token=hunter2#x"] {
            let error = HttpUrl::new(url, "x").unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let url = HttpUrl::new("https://a.example:1/x?token=hunter2", "x").unwrap();
        assert_eq!(format!("{url:?}"), "HttpUrl(https://a.example:1/x)");
    }
}
