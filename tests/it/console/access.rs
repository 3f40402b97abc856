//! Access to the console: the `Host`, the token, TLS, and the security headers.

use super::{connect, get, host, port, send, wait_for};
use crate::harness::{RawConnection, Serve, Setup, wait_until};
use crate::program::run;

const TOKEN: &str = "a token of the tests";

fn with_token() -> Serve {
    Setup::new()
        .file("token", TOKEN)
        .config("[console]\ntoken_file = 'token'\nhosts = ['siem.example.com']\n")
        .start()
}

#[test]
fn a_foreign_host_is_refused_everywhere_but_on_health() {
    let serve = Serve::start();
    let own = port(&serve);
    let foreign = ["evil.example".to_owned(), format!("evil.example:{own}"), String::new()];
    for host in foreign.iter().map(String::as_str).chain(["localhost", "localhost:1"]) {
        for target in
            ["/", "/api/v1/entries", "/metrics", "/api/openapi.json", "/login", "/nowhere"]
        {
            let answer = send(&serve, "GET", target, &[("host", host)], b"");
            assert_eq!(answer.status, 421, "{host:?} {target}: {}", answer.text());
        }
        for target in ["/healthz", "/readyz"] {
            assert_eq!(send(&serve, "GET", target, &[("host", host)], b"").status, 200, "{host}");
        }
    }
    for host in [host(&serve), format!("127.0.0.1:{own}")] {
        assert_eq!(send(&serve, "GET", "/api/v1/stats", &[("host", &host)], b"").status, 200);
    }
    let mut none = connect(&serve);
    none.send("GET /api/v1/stats HTTP/1.1\r\n\r\n");
    assert_eq!(none.answer().status, 421);
}

#[test]
fn nothing_is_shown_without_the_token() {
    let serve = with_token();
    let ask = |target: &str, headers: &[(&str, &str)]| {
        let host = host(&serve);
        send(&serve, "GET", target, &[&[("host", host.as_str())], headers].concat(), b"")
    };
    let bearer = format!("Bearer {TOKEN}");
    let good = ("authorization", bearer.as_str());
    for target in ["/api/v1/entries", "/api/v1/stats", "/metrics", "/api/openapi.json"] {
        let none = ask(target, &[]);
        assert_eq!(none.status, 401, "{target}");
        assert_eq!(none.header("www-authenticate"), Some("Bearer realm=\"vidimus console\""));
        assert_eq!(none.json()["status"], 401);
        assert_eq!(ask(target, &[good]).status, 200, "{target}");
        assert_eq!(ask(target, &[good, good]).status, 401, "{target}");
    }
    for wrong in ["Bearer x", "Basic YTpi", TOKEN, ""] {
        assert_eq!(ask("/api/v1/stats", &[("authorization", wrong)]).status, 401, "{wrong}");
    }
    let forged = ("cookie", "vidimus_session=AAAA");
    assert_eq!(ask("/api/v1/stats", &[forged]).status, 401);
    for target in ["/healthz", "/readyz"] {
        assert_eq!(ask(target, &[]).status, 200, "{target}");
    }
    // A page redirects to the login. The API does not redirect.
    let html = ("accept", "text/html,*/*");
    let page = ask("/", &[html]);
    assert_eq!((page.status, page.header("location")), (303, Some("/login")));
    assert_eq!(ask("/api/v1/stats", &[html]).status, 401);
    let named = [("host", "siem.example.com"), good];
    assert_eq!(send(&serve, "GET", "/api/v1/stats", &named, b"").status, 200);
    assert!(!serve.stderr().contains(TOKEN), "the token is in the log");
}

#[test]
fn token_guesses_are_rate_limited_per_address() {
    let serve = with_token();
    let ask = |from: [u8; 4], token: &str| {
        let mut connection = RawConnection::plain_from(from, port(&serve));
        connection.send(format!(
            "GET /api/v1/stats HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\r\n",
            host(&serve)
        ));
        connection.answer()
    };
    let (guessing, other) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    assert_eq!(ask(guessing, TOKEN).status, 200);
    let found: Vec<_> = (0..30).map(|n| ask(guessing, &n.to_string()).status).collect();
    assert!(found.iter().all(|status| [401, 429].contains(status)), "{found:?}");
    let throttled = ask(guessing, TOKEN);
    assert_eq!((throttled.status, throttled.header("retry-after")), (429, Some("6")));
    for _ in 0..20 {
        assert_eq!(ask(other, TOKEN).status, 200);
    }
}

#[test]
fn a_guessable_token_is_refused() {
    let setup =
        Setup::new().file("token", "fifteen letters").config("[console]\ntoken_file = 'token'\n");
    let (status, stderr) = setup.fail();
    assert_eq!(status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("is a token of 15 bytes, expected at least 16 bytes"), "{stderr}");
    assert!(!stderr.contains("fifteen"), "{stderr}");
}

#[test]
fn every_answer_has_security_headers() {
    let (open, closed) = (Serve::start(), with_token());
    for (serve, host, target, status) in [
        (&open, host(&open), "/api/v1/entries", 200),
        (&open, host(&open), "/api/v1/entries?limit=0", 400),
        (&open, host(&open), "/api/v1/entries/7", 404),
        (&open, host(&open), "/nowhere", 404),
        (&open, host(&open), "/api/v1/verify", 405),
        (&open, host(&open), "/metrics", 200),
        (&open, host(&open), "/healthz", 200),
        (&open, "evil.example".to_owned(), "/api/v1/stats", 421),
        (&closed, host(&closed), "/api/v1/stats", 401),
    ] {
        let answer = send(serve, "GET", target, &[("host", &host)], b"");
        assert_eq!(answer.status, status, "{target}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{target}: {name}");
        }
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[test]
fn a_token_is_required_on_a_public_address() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let ran = run(&["serve", "--console", address, "--data-dir", "/nowhere"], b"").expect(2);
        assert!(ran.stderr.contains("console.token_file"), "{address}: {ran}");
    }
}

#[test]
fn the_console_speaks_tls_when_configured() {
    let serve = Setup::new().config("[console.tls]\nenabled = true\n").start();
    assert!(serve.console.starts_with("https://"), "{}", serve.console);
    wait_until("the line", || serve.stderr().contains(&format!("console at {}", serve.console)));
    assert_eq!(get(&serve, "/api/v1/stats").status, 200);
    wait_for(&serve, "/readyz");
    let mut plain = RawConnection::plain(port(&serve));
    plain.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(plain.rest().is_empty());
    let counted = "vidimus_tls_handshake_failures_total{listener=\"console\"} 1";
    wait_until("the handshake", || get(&serve, "/metrics").text().contains(counted));

    // The console has its own pair if the receiver has none.
    let config = "[receiver.tls]\nenabled = false\n[console.tls]\nenabled = true\n";
    let serve = Setup::new().config(config).start();
    assert!(serve.receiver.starts_with("http://") && serve.console.starts_with("https://"));
    assert_eq!(get(&serve, "/healthz").status, 200);
}
