//! What a server signs and serves.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use super::{
    Hash, checkpoint, differences, entry_id, leaf_hash, lines, log, records, root, served, sha256,
    tile_path, vkey, wait_for_size,
};
use crate::console::{get, host, send};
use crate::harness::{Answer, RawConnection, Serve, Setup, output_of, tool, write_private};

const FAST: &str = "[log]\ncheckpoint_interval = '100ms'\n";

#[test]
fn the_root_follows_from_the_tiles_that_are_served() {
    let mut serve = Setup::new().config(FAST).start();
    let first = wait_for_size(&serve, 1);
    serve.deliver(lines(0..300));
    serve.deliver(lines(300..701));
    // A duplicate has no leaf.
    serve.deliver(lines(5..10));
    let newest = wait_for_size(&serve, 702);
    assert_eq!(newest.size, 702);
    let records = records(&serve, 702);
    let hashes: Vec<_> = records.iter().map(|record| leaf_hash(record)).collect();
    assert_eq!((root(&hashes), root(&hashes[..first.size])), (newest.root, first.root));
    for index in 0..3 {
        let width = (702 - index * 256).min(256);
        let tile = get(&serve, &tile_path("0", index, 702));
        assert_eq!(tile.body, hashes[index * 256..index * 256 + width].concat());
    }
    let above = get(&serve, &tile_path("1", 0, 2));
    assert_eq!(above.body, [root(&hashes[..256]), root(&hashes[256..512])].concat());

    // The first leaf is the start, of a store without entries; the others are the entries, in order.
    assert_eq!(records[0][..2], [1, 1]);
    assert_eq!(records[0][10..], [&[0; 16][..], &sha256(&[])].concat());
    let ids: Vec<_> = records.iter().filter_map(|record| entry_id(record)).collect();
    assert_eq!(ids, (1..=701).collect::<Vec<_>>());
    serve.stop();
    assert_eq!(differences(&[], &serve.data()), [""; 0]);
}

#[test]
fn answers_have_the_headers_of_the_specification() {
    let serve = Setup::new().config(FAST).start();
    serve.deliver(lines(0..300));
    wait_for_size(&serve, 301);
    let newest = get(&serve, "/log/checkpoint");
    assert_eq!(newest.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(newest.header("cache-control"), Some("no-cache"));
    for path in ["entries/000", "entries/001.p/45", "0/000", "0/001.p/45", "1/000.p/1"] {
        let tile = get(&serve, &format!("/log/tile/{path}"));
        assert_eq!(tile.status, 200, "{path}: {}", tile.text());
        assert_eq!(tile.header("content-type"), Some("application/octet-stream"));
        assert_eq!(tile.header("cache-control"), Some("public, max-age=31536000, immutable"));
        let head =
            send(&serve, "HEAD", &format!("/log/tile/{path}"), &[("host", &host(&serve))], b"");
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
    for path in [
        "0/001",
        "0/001.p/46",
        "0/001.p/0",
        "0/001.p/045",
        "0/001.p/256",
        "0/002",
        "1/000",
        "entries/001",
        "entries/x001/000",
        "2/000.p/1",
        "64/000",
        "0/0",
        "0/%30%30%30",
        "0/000/",
        "0/../0/000",
        "entries",
        "",
        "-1/000",
    ] {
        let missing = get(&serve, &format!("/log/tile/{path}"));
        assert_eq!(missing.status, 404, "{path}: {}", missing.text());
    }
    for path in ["/log", "/log/", "/log/key", "/log/origin", "/log/size", "/log/records/0000"] {
        assert_eq!(get(&serve, path).status, 404, "{path}");
    }
    let posted = send(&serve, "POST", "/log/checkpoint", &[("host", &host(&serve))], b"x");
    assert_eq!(posted.status, 405);
}

#[test]
fn the_log_is_served_to_those_with_the_token() {
    let config = format!("{FAST}[console]\ntoken_file = 'token'\n");
    let serve = Setup::new().file("token", "a token of the tests").config(&config).start();
    let host = host(&serve);
    let ask = |target: &str, headers: &[(&str, &str)]| {
        send(&serve, "GET", target, &[&[("host", host.as_str())], headers].concat(), b"")
    };
    let token = [("authorization", "Bearer a token of the tests")];
    crate::harness::wait_until("a checkpoint", || ask("/log/checkpoint", &token).status == 200);
    for target in ["/log/checkpoint", "/log/tile/0/000.p/1", "/log/tile/entries/000.p/1"] {
        assert_eq!(ask(target, &[]).status, 401, "{target}");
        assert_eq!(ask(target, &token).status, 200, "{target}");
    }
    let tile = ask("/log/tile/0/000.p/1", &token);
    assert_eq!(tile.header("cache-control"), Some("private, max-age=31536000, immutable"));
}

/// Connects to the address that has the log alone.
fn connect_to_log(serve: &Serve) -> RawConnection {
    let url = serve.ready()["log"].as_str().unwrap().to_owned();
    RawConnection::plain(url.rsplit_once(':').unwrap().1.parse().unwrap())
}

/// Asks that address.
fn ask_log(serve: &Serve, target: &str) -> Answer {
    let mut connection = connect_to_log(serve);
    connection.request("GET", target, &[], b"");
    connection.answer()
}

#[test]
fn everybody_may_read_the_log_at_an_address_of_its_own() {
    let config = format!("{FAST}listen = '127.0.0.1:0'\n[console]\ntoken_file = 'token'\n");
    let setup = Setup::new().file("token", "a token of the tests").config(&config);
    let serve = setup.start();
    let vkey = vkey(&serve.data());
    serve.deliver(lines(0..300));
    let mut newest = String::new();
    crate::harness::wait_until("a checkpoint of 301 leaves", || {
        let answer = ask_log(&serve, "/log/checkpoint");
        newest = answer.text();
        answer.status == 200 && checkpoint(&newest, &vkey).size == 301
    });
    let checkpoint = checkpoint(&newest, &vkey);
    let tiles = ["0/000", "0/001.p/45"].map(|path| ask_log(&serve, &format!("/log/tile/{path}")));
    for tile in &tiles {
        assert_eq!(tile.status, 200);
        assert_eq!(tile.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(tile.header("x-content-type-options"), Some("nosniff"));
    }
    let hashes = tiles.map(|tile| tile.body).concat();
    let hashes: Vec<Hash> = hashes.chunks(32).map(|hash| hash.try_into().unwrap()).collect();
    assert_eq!(root(&hashes), checkpoint.root);
    assert_eq!(ask_log(&serve, "/log/tile/entries/000").status, 200);
    // There is nothing else, and no way to write.
    for target in ["/", "/overview", "/api/v1/entries", "/metrics", "/healthz", "/log", "/log/key"]
    {
        assert_eq!(ask_log(&serve, target).status, 404, "{target}");
    }
    let mut posting = connect_to_log(&serve);
    posting.request("POST", "/log/checkpoint", &[], b"x");
    assert_eq!(posting.answer().status, 405);
    // The console still asks for its token.
    assert_eq!(get(&serve, "/log/checkpoint").status, 401);
}

#[test]
fn the_log_has_tls_if_the_console_has() {
    let config = format!("{FAST}listen = '127.0.0.1:0'\n[console.tls]\nenabled = true\n");
    let serve = Setup::new().config(&config).start();
    wait_for_size(&serve, 1);
    let url = serve.ready()["log"].as_str().unwrap().to_owned();
    let port = url.strip_prefix("https://127.0.0.1:").unwrap().parse().unwrap();
    let mut connection = RawConnection::tls(port, &serve.certificate());
    connection.request("GET", "/log/checkpoint", &[], b"");
    assert_eq!(connection.answer().text(), served(&serve).unwrap());
    let mut plain = RawConnection::plain(port);
    plain.request("GET", "/log/checkpoint", &[], b"");
    assert!(!plain.rest().starts_with(b"HTTP/1.1 200"));
}

#[test]
fn strangers_cannot_hold_up_the_log_at_its_own_address() {
    let limits = "[receiver]\nmax_connections_per_address = 4\nheader_timeout = '300ms'\n\
                  max_header_bytes = '8KiB'\n";
    let config = format!("{FAST}listen = '127.0.0.1:0'\n{limits}");
    let serve = Setup::new().config(&config).start();
    wait_for_size(&serve, 1);
    // Connections over the limit are closed, and those that send nothing do not stay.
    let mut idle: Vec<_> = (0..12).map(|_| connect_to_log(&serve)).collect();
    for connection in &mut idle {
        connection.rest();
    }
    let mut slow = connect_to_log(&serve);
    slow.send("GET /log/checkpoint HT");
    slow.rest();
    // A header that is too large is refused, and hostile paths are not found.
    let mut large = connect_to_log(&serve);
    large.request("GET", "/log/checkpoint", &[("x", &"y".repeat(20_000))], b"");
    assert_eq!(large.answer().status, 431);
    for target in ["/log/tile/../../key", "/log/tile/%2e%2e/key", "/log/tile/0/000.p/99999999999"] {
        assert_eq!(ask_log(&serve, target).status, 404, "{target}");
    }
    assert_eq!(ask_log(&serve, "/log/checkpoint").status, 200);
    // The console and the receiver have their own connections.
    serve.deliver(lines(0..5));
    let metrics = get(&serve, "/metrics").text();
    assert!(metrics.contains("listener=\"log\""), "{metrics}");
}

#[test]
fn commands_print_what_is_signed() {
    // No checkpoint but the first comes before the end.
    let mut serve = Setup::new().config("[log]\ncheckpoint_interval = '1h'\n").start();
    wait_for_size(&serve, 1);
    serve.deliver(lines(0..10));
    let (running, key) = (served(&serve).unwrap(), vkey(&serve.data()));
    assert_eq!(log(&["checkpoint"], &serve.data()).1, running);
    assert_eq!(checkpoint(&running, &key).size, 1);
    serve.stop();
    // The last one covers everything.
    let (code, last, stderr) = log(&["checkpoint"], &serve.data());
    assert_eq!((code, checkpoint(&last, &key).size), (Some(0), 11), "{stderr}");
    assert_eq!(vkey(&serve.data()), key);
    let nothing = tempfile::tempdir().unwrap();
    for command in [&["key"][..], &["checkpoint"], &["check"]] {
        let (code, stdout, stderr) = log(command, &nothing.path().join("data"));
        assert_eq!((code, stdout.as_str()), (Some(3), ""), "{stderr}");
    }
}

#[test]
fn the_key_and_the_origin_stay() {
    let mut serve = Setup::new().config(FAST).start();
    wait_for_size(&serve, 1);
    let (data, key) = (serve.data(), vkey(&serve.data()));
    let folder = data.join("log");
    for file in ["key", "origin", "vkeys", "checkpoint"] {
        assert_eq!(fs::metadata(folder.join(file)).unwrap().mode() & 0o777, 0o600, "{file}");
    }
    for day in fs::read_dir(folder.join("checkpoints")).unwrap() {
        assert_eq!(day.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
    }
    serve.restart();
    serve.deliver(lines(0..5));
    let newest = wait_for_size(&serve, 6);
    assert_eq!(
        (vkey(&data), newest.origin.as_str()),
        (key.clone(), key.split('+').next().unwrap())
    );
    assert!(newest.origin.contains("/vidimus/"), "{}", newest.origin);
    serve.stop();

    // Another origin or another key is refused: it would be another log.
    let config = |text: &str| write_private(&serve.home().join("config.toml"), text.as_bytes());
    config("[log]\norigin = 'example.com/other'\n");
    let (status, stderr) = serve.fail();
    assert_eq!(status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("Only `vidimus log fork` changes it"), "{stderr}");
    config(&format!("[log]\norigin = '{}'\n", newest.origin));
    fs::rename(folder.join("key"), folder.join("kept")).unwrap();
    let (status, stderr) = serve.fail();
    assert_eq!(status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("bring the key back"), "{stderr}");
    fs::rename(folder.join("kept"), folder.join("key")).unwrap();
    serve.restart();
    assert_eq!(vkey(&data), key);
}

#[test]
fn a_key_that_openssl_made_signs() {
    let Some(mut openssl) = tool("openssl") else { return };
    let setup = Setup::new()
        .config("[log]\norigin = 'siem.example.com/audit'\nkey_file = 'log.pem'\n")
        .variable("VIDIMUS_LOG", "info");
    let pem = setup.home().join("log.pem");
    let made = output_of(openssl.args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&pem));
    assert_eq!(made.0, Some(0), "{}", made.2);
    fs::set_permissions(&pem, fs::Permissions::from_mode(0o600)).unwrap();
    let mut serve = setup.start();
    let served = || served(&serve);
    crate::harness::wait_until("a checkpoint", || served().is_some());
    let note = served().unwrap();
    // The commands find the key by the configuration.
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command.args(["log", "key", "--config", "config.toml"]).current_dir(serve.home());
    let (code, key, stderr) = output_of(&mut command);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(key.starts_with("siem.example.com/audit+"), "{key}");
    assert_eq!(checkpoint(&note, key.trim_end()).size, 1);
    let (code, _, stderr) = log(&["key"], &serve.data());
    assert_eq!(code, Some(3), "{stderr}");
    assert!(!serve.data().join("log/key").exists());
    let checked = log(&["check", "--log-key", key.trim_end()], &serve.data());
    assert_eq!(checked.0, Some(0), "{}{}", checked.1, checked.2);

    // openssl verifies the signature with its own public key.
    let (text, signature) = note.split_once("\n\n").unwrap();
    let signature = signature.trim_end().rsplit(' ').next().unwrap();
    let signature = data_encoding::BASE64.decode(signature.as_bytes()).unwrap();
    fs::write(serve.home().join("text"), format!("{text}\n")).unwrap();
    fs::write(serve.home().join("signature"), &signature[4..]).unwrap();
    let verify = "pkeyutl -verify -inkey log.pem -rawin -in text -sigfile signature";
    let mut openssl = Command::new("openssl");
    let (code, stdout, stderr) =
        output_of(openssl.args(verify.split(' ')).current_dir(serve.home()));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    serve.stop();
}

#[test]
fn a_tree_that_contradicts_what_was_signed_is_not_signed() {
    let mut serve = Setup::new().config(FAST).start();
    serve.deliver(lines(0..300));
    wait_for_size(&serve, 301);
    serve.stop();
    let signed = served_after(&serve);
    // A byte of a hash in the tile of level 0.
    let tile = serve.data().join("log/hashes/0/0000");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[290 * 32] ^= 1;
    fs::write(&tile, bytes).unwrap();
    serve.restart();
    serve.wait_for_log("no checkpoint of the log is signed any more");
    // Entries are stored as before.
    serve.deliver(lines(300..310));
    let ready = get(&serve, "/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("no checkpoint of the transparency log"), "{}", ready.text());
    let metrics = get(&serve, "/metrics").text();
    assert!(metrics.contains("\nvidimus_log_stopped 1\n"), "{metrics}");
    assert!(get(&serve, "/overview").text().contains("The signer has stopped"));
    serve.stop();
    assert_eq!(served_after(&serve), signed);
}

/// The checkpoint of a server that does not run.
fn served_after(serve: &Serve) -> String {
    fs::read_to_string(serve.data().join("log/checkpoint")).unwrap()
}
