//! The pages of the console over HTTP: every page of a server with real deliveries, the login, and
//! the commands that verify an entry without Vidimus.

use std::io::Read;
use std::process::Command;

use crate::harness::{
    Answer, KeyReply, KeyServer, RawConnection, Serve, Setup, Signer, cef, jwks, tool, wait_until,
};

/// A server with the key of `signer`.
fn start(signer: &Signer) -> Serve {
    Setup::new().file("jwks.json", jwks(&[signer])).arguments("--jwks jwks.json").start()
}

fn ask(serve: &Serve, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let host = serve.console.strip_prefix("http://").unwrap();
    let mut connection = RawConnection::plain(host.rsplit_once(':').unwrap().1.parse().unwrap());
    // `RawConnection::request` would add a second `Host`.
    let headers: Vec<_> = [("host", host), ("accept", "text/html")]
        .into_iter()
        .chain(headers.iter().copied())
        .collect();
    let mut request = format!("{method} {path} HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    connection.send(format!("{request}\r\n{body}"));
    connection.answer()
}

/// The HTML of an existing page.
fn page(serve: &Serve, path: &str) -> String {
    let answer = ask(serve, "GET", path, &[], "");
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
    assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(!answer.text().contains("<script>"), "{path}");
    answer.text()
}

/// The unescaped text of the element with this id.
fn text_of<'a>(html: &'a str, id: &str) -> String {
    let (_, after) = html.split_once(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("{html}"));
    let inner: &'a str = after.split_once('>').unwrap().1.split_once('<').unwrap().0;
    let escapes = [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")];
    escapes.iter().fold(inner.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Runs the commands on the page of an entry. Returns whether openssl verifies the signature.
fn verifies(serve: &Serve, id: usize) -> bool {
    let commands = text_of(&page(serve, &format!("/entries/{id}")), "openssl");
    let directory = tempfile::tempdir().unwrap();
    let output =
        Command::new("sh").args(["-c", &commands]).current_dir(directory.path()).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(stdout.contains("Signature Verif"), "{commands}\n{output:?}");
    output.status.success() && stdout.contains("Verified Successfully")
}

#[test]
fn the_overview_shows_what_is_frequent_and_what_has_changed() {
    let serve = Setup::new().arguments("--no-tls").start();
    let denied = |number: usize, rt: &str| {
        cef(number)
            .replace("|Ingress|", "|Authz.portals|")
            .replace(&format!("rt=1750280556{number:03}"), &format!("rt={rt}"))
            + " granted=false"
    };
    // One in the hour before, and three in the hour.
    let before = denied(1, "1750276800000");
    let (first, second) = (denied(2, "1750280400000"), denied(3, "1750281000000"));
    serve.deliver([before, first, second, cef(4)].join("\n"));
    serve.deliver(cef(4));
    let hour = "/overview?since=2025-06-18T21:00:00Z&until=2025-06-18T22:00:00Z";
    let overview = page(&serve, hour);
    let query = "q=kind%3Aauthorization%20granted%3Afalse%20name%3A%22Authz.portals%22";
    let range = "since=2025-06-18T21%3A00%3A00Z&until=2025-06-18T22%3A00%3A00Z";
    let row = format!(
        "<a href=\"/?{query}&{range}\"><bdi>Authz.portals</bdi></a></th>\
         <td class=\"right\">2</td><td class=\"right\">+100 %</td>"
    )
    .replace("&since", "&#38;since")
    .replace("&until", "&#38;until");
    assert!(overview.contains(&row), "{row}\n{overview}");
    let bar = "href=\"/?since=2025-06-18T21%3A00%3A00.000Z&#38;until=2025-06-18T21%3A01%3A00.000Z";
    assert!(overview.contains(&format!("{bar}\"")), "{overview}");
    assert!(overview.contains(&format!("{bar}&#38;by=kind\"")), "{overview}");
    // They were not received then, and all times have no span before.
    assert!(!overview.contains("received_at%3A%5B2025-06-18T21%3A00%3A00.000Z\""), "{overview}");
    let all = page(&serve, "/overview");
    assert!(all.contains("<td class=\"right\">3</td><td class=\"right\">–</td>"), "{all}");
    assert!(all.contains("sent again <span class=\"number\">1</span>"), "{all}");
    assert!(all.contains("q=received_at%3A%5B"), "{all}");
    let part = ask(&serve, "GET", hour, &[("vidimus-part", "main")], "");
    assert_eq!(part.header("vidimus-part"), Some("main"));
    assert!(part.text().trim_start().starts_with("<main"), "{}", part.text());
    assert_eq!(ask(&serve, "GET", "/overview?since=never", &[], "").status, 400);
}

#[test]
fn the_overview_draws_the_lag_of_outputs() {
    let serve = Setup::new()
        .file("folder", "no folder")
        .config("[[output]]\nname = 'siem'\ntype = 'file'\npath = 'folder/siem.log'\n")
        .arguments("--no-tls")
        .start();
    serve.deliver(cef(1));
    wait_until("the output", || page(&serve, "/overview").contains("<polyline"));
    let overview = page(&serve, "/overview");
    assert!(overview.contains(" s, 1 entry</td>"), "{overview}");
    let old = page(&serve, "/overview?until=2025-01-01");
    assert!(old.contains("There are no samples in this range.") && !old.contains("<polyline"));
    let without = Setup::new().arguments("--no-tls").start();
    assert!(!page(&without, "/overview").contains("Lag of the outputs"));
}

#[test]
fn openssl_verifies_an_entry_with_the_commands_on_its_page() {
    if tool("openssl").is_none() {
        return;
    }
    let signer = Signer::new("k");
    let serve = start(&signer);
    // The payload ends with a space.
    let signed = signer.sign(&format!("{} x=it's \"é\" \\= ", cef(4)));
    let tampered = signer.cef(5).replace("act=POST", "act=PUT");
    let lines = [signer.cef(1), signer.json(2), signer.cps(3), signed, tampered];
    let answer = serve.deliver(lines.join("\n"));
    assert_eq!(answer["verdicts"]["valid"], 4, "{answer}");
    for id in 1..=4 {
        assert!(verifies(&serve, id), "{id}");
    }
    assert!(!verifies(&serve, 5));
    assert!(page(&serve, "/entries/5").contains("no known key verifies it (1 tried)"));
}

#[test]
fn every_page_loads_with_and_without_entries() {
    let signer = Signer::new("k");
    let serve = start(&signer);
    assert!(page(&serve, "/").contains("There are no entries yet"));
    assert!(page(&serve, "/deliveries").contains("href=\"/setup\""));
    let setup = page(&serve, "/setup");
    assert!(setup.contains("check in this order") && setup.contains("/authorization"), "{setup}");
    assert!(page(&serve, "/outputs").contains("No outputs are configured"));

    let lines = [signer.cef(1), cef(2), "<b>nothing</b>".to_owned()];
    serve.deliver(lines.join("\n"));
    let entries = page(&serve, "/");
    assert!(entries.contains("<strong>3 entries</strong>"), "{entries}");
    assert!(entries.contains("&#60;b&#62;nothing"), "{entries}");
    assert!(entries.contains("href=\"/?q=verdict%3A%22unsigned%22\""), "{entries}");
    let narrowed = page(&serve, "/?q=verdict%3A%22unsigned%22&limit=1");
    assert!(narrowed.contains("<strong>1 entry</strong>"), "{narrowed}");
    assert!(page(&serve, "/?q=nowhere").contains("No entries match."));
    let slip = page(&serve, "/?q=statuss:200");
    assert!(
        slip.contains("no entry has the field &#34;statuss&#34;; did you mean &#34;status&#34;?"),
        "{slip}"
    );
    assert!(page(&serve, "/entries/1").contains("<del class=\"cut\"> sig="));
    assert!(page(&serve, "/keys").contains("<code>k</code>"));
    assert!(page(&serve, "/deliveries").contains("1 valid"));
    assert!(page(&serve, "/overview?since=1h").contains("severity:10"));

    let older = page(&serve, "/?limit=1");
    let link = older.split("href=\"").find(|link| link.contains("cursor=")).unwrap();
    let link = link.split_once('"').unwrap().0;
    assert!(page(&serve, &link.replace("&#38;", "&")).contains("Newest entries"));
}

#[test]
fn the_keys_page_counts_late_verdicts_too() {
    let (one, two) = (Signer::new("k1"), Signer::new("k2"));
    let source = KeyServer::start(KeyReply::Body(jwks(&[&one]).into_bytes()));
    let config = format!(
        "[keys]\njwks = '{}'\nrefresh = '1s'\n[store]\nsegment_entries = 4\n",
        source.url()
    );
    let serve = Setup::new().config(&config).start();
    serve.wait_for_log("the key set has new keys");
    for n in 0..5 {
        serve.deliver([one.cef(n), two.json(n), cef(n)].join("\n"));
    }
    let verified = |kid: &str| {
        let keys = page(&serve, "/keys");
        let link = format!("<a href=\"/?q=kid%3A%22{kid}%22\">");
        let after = keys.split_once(&link).map(|(_, after)| after.to_owned());
        after.map(|after| after.split_once('<').unwrap().0.to_owned())
    };
    assert_eq!((verified("k1").as_deref(), verified("k2")), (Some("5"), None));
    // Most entries that become valid are in closed segments, some in sealed ones.
    source.set_keys(jwks(&[&one, &two]));
    wait_until("late verdicts", || verified("k2").as_deref() == Some("5"));
    assert_eq!(verified("k1").as_deref(), Some("5"));
    // The page of an entry with a late verdict names the key that verifies it.
    let entry = page(&serve, "/entries/2");
    assert!(entry.contains("A known key verifies") && entry.contains("<code>k2</code>"), "{entry}");
}

#[test]
fn errors_are_pages_too() {
    let serve = Serve::start();
    for (path, status, expected) in [
        ("/?q=kind:access%20AND", 400, "found end of query"),
        ("/?since=yesterday", 400, "since: found"),
        ("/?since=1h&until=2h", 400, "expected a time after that of since"),
        ("/?limit=x", 400, "limit: found"),
        ("/?nothing=1", 400, "unknown field"),
        ("/entries/1", 404, "there is no entry with this id"),
        ("/entries/x", 404, "there is no entry with this id"),
        ("/nowhere", 404, "there is nothing at this path"),
        ("/entries/", 404, "there is nothing at this path"),
        ("/api/v1/nowhere", 404, "there is nothing at this path"),
        ("/assets/0/style.css", 404, "there is no such file"),
        ("/logout", 405, "this path does not support the method"),
    ] {
        let answer = ask(&serve, "GET", path, &[], "");
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains("<h1"), "{path}: {}", answer.text());
        assert!(answer.text().contains(expected), "{path}: {}", answer.text());
    }
    let marked = ask(&serve, "GET", "/?q=kind:access%20status:abc", &[], "").text();
    assert!(marked.contains("kind:access status:<mark>abc</mark>"), "{marked}");
}

#[test]
fn warnings_are_shown_beside_the_verdict_and_counted() {
    let signer = Signer::new("k");
    let mut serve = Setup::new()
        .file("jwks.json", jwks(&[&signer]))
        .config(
            "[keys]\njwks = 'jwks.json'\n\
             [[input]]\nname = 'default'\npath = '/audit-logs'\nauthorization = 'x'\norg_ids = ['ours']\n",
        )
        .start();
    serve.authorization = "x".to_owned();
    serve.deliver(signer.cef(1));
    let warning = "<span class=\"warning\">foreign_org</span>";
    let entries = page(&serve, "/");
    let cell =
        entries.split_once("data-name=\"Verdict\"").unwrap().1.split_once("</td>").unwrap().0;
    assert!(cell.contains("verdict valid") && cell.contains(warning), "{cell}");
    assert!(entries.contains("href=\"/?q=warning%3A%22foreign_org%22\""), "{entries}");
    assert!(page(&serve, "/entries/1").contains(warning));
    let deliveries = page(&serve, "/deliveries");
    assert!(deliveries.contains("<span class=\"warning\">1 foreign_org</span>"), "{deliveries}");
    assert!(deliveries.contains("<a data-page href=\"/deliveries/1\">1</a>"), "{deliveries}");
    let overview = page(&serve, "/overview");
    let condition = "<a href=\"/?q=warning%3Aforeign_%2A\">1</a>";
    assert!(overview.contains(condition), "{overview}");
    // The entry was received just now, although its own time is last year.
    let received = "<a href=\"/?q=received_at%3A%3E%3D15m\">1</a>";
    assert!(overview.contains(received), "{overview}");
}

#[test]
fn the_deliveries_page_shows_malformed_lines_and_refused_requests() {
    let serve = Serve::start();
    serve.deliver("nonsense");
    for _ in 0..7 {
        serve.post("/nowhere", &[], b"");
    }
    let mut deliveries = String::new();
    wait_until("refused requests", || {
        deliveries = page(&serve, "/deliveries");
        deliveries.matches("there is no input at the path").count() == 7
    });
    assert!(deliveries.contains("bad\">1 malformed</span>"), "{deliveries}");
    // Newest first, whatever became of them.
    let at = |text: &str| deliveries.find(text).unwrap_or_else(|| panic!("{deliveries}"));
    assert!(at("there is no input") < at("1 malformed"));
    let refused = page(&serve, "/deliveries?state=refused");
    assert!(!refused.contains("1 malformed"), "{refused}");
    let stored = page(&serve, "/deliveries?state=stored&limit=1000");
    assert!(!stored.contains("there is no input"), "{stored}");
}

#[test]
fn a_past_range_links_to_live_entries() {
    let serve = Serve::start();
    serve.deliver(cef(1));
    let entries = page(&serve, "/?q=POST&since=2025-06-18&until=2025-06-19");
    assert!(entries.contains("Live updates are off: the range is over."), "{entries}");
    assert!(entries.contains("<a href=\"/?q=POST&#38;since=2025-06-18\">Show new entries</a>"));
    let wider =
        "/?q=POST&#38;since=2025-06-16T12%3A00%3A00.000Z&#38;until=2025-06-20T12%3A00%3A00.000Z";
    assert!(
        entries.contains(&format!("href=\"{wider}\" data-part=\"main\">← Zoom out</a>")),
        "{entries}"
    );
    let stream = "data-stream=\"/api/v1/stream?q=POST&#38;since=2025-06-18\"";
    assert!(page(&serve, "/?q=POST&since=2025-06-18").contains(stream));
}

#[test]
fn long_answers_are_compressed_for_clients_that_accept_it() {
    let config = "[console]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"token\"\n";
    let serve = Setup::new().file("token", "a secret of 16 bytes\n").config(config).start();
    serve.deliver((0..50).map(|n| cef(n) + "\n").collect::<String>());
    let bearer = ("authorization", "Bearer a secret of 16 bytes");
    let style = page(&serve, "/login");
    let style = style.split('"').find(|part| part.ends_with("style.css")).unwrap();
    for path in ["/", "/entries/1", "/api/v1/entries", "/metrics", "/api/openapi.json", style] {
        let plain = ask(&serve, "GET", path, &[bearer], "");
        assert_eq!(plain.header("content-encoding"), None, "{path}");
        let packed = ask(&serve, "GET", path, &[bearer, ("accept-encoding", "br, gzip")], "");
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{path}");
        assert_eq!(packed.header("vary"), Some("accept-encoding"), "{path}");
        assert!(packed.body.len() * 2 < plain.body.len(), "{path}: {}", packed.body.len());
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut text).unwrap();
        // Times and measurements differ between answers.
        if path.starts_with("/api") || path == style {
            assert!(text == plain.body, "{path}");
        }
    }
    let login = ask(&serve, "GET", "/login", &[("accept-encoding", "gzip")], "");
    assert_eq!(login.header("content-encoding"), None);
}

#[test]
fn pasted_lines_are_verified_and_not_stored() {
    let signer = Signer::new("k");
    let serve = start(&signer);
    let encoded: String = signer.cef(1).bytes().map(|byte| format!("%{byte:02X}")).collect();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("lines={encoded}%0D%0Anothing");
    let answer = ask(&serve, "POST", "/verify", &form, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("A known key verifies"), "{}", answer.text());
    assert!(answer.text().contains("The line is not an entry"), "{}", answer.text());
    let many = format!("lines={}", "x%0A".repeat(201));
    assert_eq!(ask(&serve, "POST", "/verify", &form, &many).status, 400);
    assert!(serve.lines().is_empty());
}

#[test]
fn assets_are_cached_forever_under_their_hash() {
    let serve = Serve::start();
    let html = page(&serve, "/");
    let mut found = 0;
    for link in html.split('"').filter(|part| part.starts_with("/assets/")) {
        let answer = ask(&serve, "GET", link, &[], "");
        assert_eq!(answer.status, 200, "{link}");
        assert!(answer.header("cache-control").unwrap().contains("immutable"), "{link}");
        found += 1;
    }
    assert_eq!(found, 4);
    assert_eq!(ask(&serve, "GET", "/assets/0/style.css", &[], "").status, 404);
}

#[test]
fn the_login_needs_the_token() {
    let config = "[console]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"token\"\n";
    let serve = Setup::new().file("token", "a secret of the tests\n").config(config).start();
    let answer = ask(&serve, "GET", "/", &[], "");
    assert_eq!((answer.status, answer.header("location")), (303, Some("/login")));
    let login = page(&serve, "/login");
    assert!(
        login.contains("<label for=\"token\">") && !login.contains("href=\"/keys\""),
        "{login}"
    );

    let form = ("content-type", "application/x-www-form-urlencoded");
    let wrong = ask(&serve, "POST", "/login", &[form], "token=wrong");
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    assert!(wrong.text().contains("the token is wrong"), "{}", wrong.text());

    let right = ask(&serve, "POST", "/login", &[form], "token=a+secret+of+the+tests");
    assert_eq!((right.status, right.header("location")), (303, Some("/")));
    let cookie = right.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = cookie.split_once(';').unwrap().0;
    let entries = ask(&serve, "GET", "/", &[("cookie", cookie)], "");
    assert_eq!(entries.status, 200);
    assert!(entries.text().contains("<form method=\"post\" action=\"/logout\">"));
    let out = ask(&serve, "POST", "/logout", &[("cookie", cookie), form], "");
    assert_eq!((out.status, out.header("location")), (303, Some("/login")));
    let ended = out.header("set-cookie").unwrap();
    assert!(ended.starts_with("vidimus_session=;") && ended.ends_with("Max-Age=0"), "{ended}");
    assert_eq!(ask(&serve, "GET", "/", &[("cookie", "vidimus_session=x")], "").status, 303);
}
