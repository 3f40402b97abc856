//! Connections with a listener on the loopback address, over both protocols, with and without TLS.

use rustls::crypto::ring::cipher_suite as suites;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::net::testing::{
    SHORT, TestCertificate, TestServer, exchange, generous_limits, http, in_time,
};

/// Sends `bytes` to a listener with `limits`, and checks the start of its answer and the refusal.
async fn check(tls: bool, limits: Limits, bytes: &[u8], answer: &str, why: ConnectionRefusal) {
    let tls = tls.then(|| TestCertificate::new("localhost").tls());
    let mut server = TestServer::start(limits, tls).await;
    let found = exchange(server.connect().await, bytes).await;
    let bytes = String::from_utf8_lossy(bytes);
    assert!(found.starts_with(answer), "{bytes:.60}: {found}");
    assert_eq!(found.is_empty(), answer.is_empty(), "{bytes:.60}: {found}");
    assert_eq!(server.refused().await, why, "{bytes:.60}");
    assert!(server.ends().await, "{bytes:.60}: refused twice");
}

#[tokio::test]
async fn a_handshake_has_a_timeout() {
    let limits = || Limits { handshake_timeout: SHORT, ..generous_limits() };
    let why = || ConnectionRefusal::HandshakeTimeout { after: SHORT };
    check(true, limits(), b"", "", why()).await;
    check(true, limits(), &[TLS_HANDSHAKE, 3, 1, 0, 200], "", why()).await;
}

#[tokio::test]
async fn the_first_header_has_a_timeout() {
    let limits = || Limits { header_timeout: SHORT, ..generous_limits() };
    let why = || ConnectionRefusal::HeaderTimeout { after: SHORT };
    check(false, limits(), b"", "", why()).await;
    check(false, limits(), b"POST /echo HTTP/1.1\r\nhost: x\r\nx", "", why()).await;
    check(false, limits(), b"PRI * HTT", "", why()).await;
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    check(false, limits(), settings, "\0\0", why()).await;

    let tls = Some(TestCertificate::new("localhost").tls());
    let mut server = TestServer::start(limits(), tls).await;
    let io = server.connect_tls("http/1.1").await;
    assert_eq!(exchange(io, b"POST /echo HTTP/1.1\r\n").await, "");
    assert_eq!(server.refused().await, why());
}

#[tokio::test]
async fn the_wrong_scheme_is_recognised() {
    check(true, generous_limits(), b"GET / HTTP/1.1\r\n\r\n", "", ConnectionRefusal::PlainToTls)
        .await;
    check(true, generous_limits(), b"PRI * HTTP/2.0\r\n", "", ConnectionRefusal::PlainToTls).await;
    check(
        false,
        generous_limits(),
        &[TLS_HANDSHAKE, 3, 1, 0, 200],
        "",
        ConnectionRefusal::TlsToPlain,
    )
    .await;
}

#[tokio::test]
async fn bad_headers_are_reported() {
    let bad = |why: &str| ConnectionRefusal::BadHeader(why.to_owned());
    let bytes = b"GET / HTTP/1.1\r\nno colon\r\n\r\n";
    check(false, generous_limits(), bytes, "HTTP/1.1 400", bad("invalid HTTP header parsed")).await;
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(33 << 10));
    let why = bad("message head is too large");
    check(false, generous_limits(), large.as_bytes(), "HTTP/1.1 431", why).await;
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(101));
    let why = bad("message head is too large");
    check(false, generous_limits(), many.as_bytes(), "HTTP/1.1 431", why).await;
}

#[tokio::test]
async fn a_connection_without_a_byte_is_not_reported() {
    for tls in [None, Some(TestCertificate::new("localhost").tls())] {
        let server = TestServer::start(generous_limits(), tls).await;
        drop(server.connect().await);
        // This connection is served after the first one.
        let mut other = server.connect().await;
        other.shutdown().await.unwrap();
        assert_eq!(exchange(other, b"").await, "");
        assert!(server.ends().await);
    }
}

#[tokio::test]
async fn requests_are_answered_over_both_protocols() {
    for (two, alpn) in [(false, "http/1.1"), (true, "h2")] {
        let tls = Some(TestCertificate::new("localhost").tls());
        let with_tls = TestServer::start(generous_limits(), tls).await;
        let (mut client, _) = http(with_tls.connect_tls(alpn).await, two).await;
        assert_eq!(client.post("/echo", "a").await.unwrap(), (200, "a".into()), "{alpn}");
        let plain = TestServer::start(generous_limits(), None).await;
        let (mut client, _) = http(plain.connect().await, two).await;
        assert_eq!(client.post("/echo", "b").await.unwrap(), (200, "b".into()), "{alpn}");
        assert_eq!(client.post("/none", "").await.unwrap().0, 404, "{alpn}");
    }
}

#[tokio::test]
async fn a_handler_knows_the_version_and_the_cipher_suite() {
    let certificate = TestCertificate::new("localhost");
    let server = TestServer::start(generous_limits(), Some(certificate.tls())).await;
    let mut roots = rustls::RootCertStore::empty();
    for one in CertificateDer::pem_slice_iter(certificate.certificate.as_bytes()) {
        roots.add(one.unwrap()).unwrap();
    }
    for (version, suite, expected) in [
        (
            &rustls::version::TLS13,
            suites::TLS13_CHACHA20_POLY1305_SHA256,
            "TLS 1.3, TLS_CHACHA20_POLY1305_SHA256",
        ),
        (
            &rustls::version::TLS12,
            suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            "TLS 1.2, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ),
    ] {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites = vec![suite];
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let (mut client, _) = http(server.connect_with(config, "http/1.1").await, false).await;
        assert_eq!(client.post("/tls", "").await.unwrap(), (200, expected.into()));
    }
    let plain = TestServer::start(generous_limits(), None).await;
    let (mut client, _) = http(plain.connect().await, false).await;
    assert_eq!(client.post("/tls", "").await.unwrap(), (200, "".into()));
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_not_reported() {
    for (two, alpn) in [(false, "http/1.1"), (true, "h2")] {
        let limits = Limits { idle_timeout: SHORT, linger_timeout: SHORT, ..generous_limits() };
        let tls = Some(TestCertificate::new("localhost").tls());
        let server = TestServer::start(limits, tls).await;
        let (mut client, connection) = http(server.connect_tls(alpn).await, two).await;
        client.post("/echo", "").await.unwrap();
        // The client neither closes the connection nor sends another request.
        in_time(connection).await.unwrap().unwrap();
        assert!(server.ends().await, "{alpn}");
    }
}

#[tokio::test]
async fn a_connection_with_a_request_is_not_idle() {
    for two in [false, true] {
        let limits = Limits { idle_timeout: SHORT, header_timeout: SHORT, ..generous_limits() };
        let server = TestServer::start(limits, None).await;
        let (mut client, _) = http(server.connect().await, two).await;
        let gate = server.gate.clone();
        let answer = tokio::spawn(async move { client.post("/wait", "").await });
        in_time(gate.arrived.notified()).await;
        // Two other connections are opened and closed as idle meanwhile, so the time-out passes twice.
        for _ in 0..2 {
            assert_eq!(exchange(server.connect().await, b"").await, "");
        }
        gate.open.notify_one();
        assert_eq!(in_time(answer).await.unwrap().unwrap().0, 200);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    const MUCH: usize = 32 << 20;
    let limits = Limits {
        max_connections: 1,
        idle_timeout: SHORT,
        linger_timeout: SHORT,
        ..generous_limits()
    };
    let server = TestServer::start(limits, None).await;
    let mut io = server.connect().await;
    let head = format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {MUCH}\r\n\r\n");
    let request = [head.as_bytes(), &vec![b'x'; MUCH]].concat();
    in_time(io.write_all(&request)).await.unwrap();
    // Others are refused until the first connection is closed.
    let ask = b"GET /early HTTP/1.1\r\nconnection: close\r\n\r\n";
    in_time(async { while exchange(server.connect().await, ask).await.is_empty() {} }).await;
    assert!(exchange(io, b"").await.len() < MUCH);
}

#[tokio::test]
async fn a_handler_can_close_the_connection() {
    let server = TestServer::start(generous_limits(), None).await;
    let request = b"POST /close HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n";
    assert_eq!(exchange(server.connect().await, request).await, "");

    let (mut client, connection) = http(server.connect().await, true).await;
    let error = client.post("/close", "").await.unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("INTERNAL_ERROR"), "{text}");
    in_time(connection).await.unwrap().unwrap();
    assert!(server.ends().await);
}

#[tokio::test]
async fn a_refused_request_closes_its_connection() {
    for two in [false, true] {
        let server = TestServer::start(generous_limits(), None).await;
        let (mut client, connection) = http(server.connect().await, two).await;
        assert_eq!(client.post("/authorized", "").await.unwrap().0, 200);
        assert_eq!(client.post("/refused", "x").await.unwrap().0, 200);
        in_time(connection).await.unwrap().unwrap();
        assert!(server.ends().await);
    }
}

#[tokio::test]
async fn idle_connections_are_evicted_and_authorized_ones_are_not() {
    for two in [false, true] {
        let limits = Limits { max_connections: 4, ..generous_limits() };
        let mut server = TestServer::start(limits, None).await;
        let (mut authorized, _) = http(server.connect().await, two).await;
        authorized.post("/authorized", "").await.unwrap();
        let (mut busy, _) = http(server.connect().await, two).await;
        let gate = server.gate.clone();
        let answer = tokio::spawn(async move { busy.post("/wait", "").await });
        in_time(gate.arrived.notified()).await;
        // One connection was answered and never authorized, the other sends nothing.
        let (mut answered, answered_ends) = http(server.connect().await, two).await;
        answered.post("/echo", "").await.unwrap();
        let silent = server.connect().await;
        for _ in 0..2 {
            let (mut more, _) = http(server.connect().await, two).await;
            more.post("/authorized", "").await.unwrap();
            assert_eq!(server.refused().await, ConnectionRefusal::Evicted);
        }
        let _ = in_time(answered_ends).await.unwrap();
        assert_eq!(exchange(silent, b"").await, "");
        authorized.post("/authorized", "").await.unwrap();
        gate.open.notify_one();
        assert_eq!(in_time(answer).await.unwrap().unwrap().0, 200);
    }
}

#[tokio::test]
async fn a_response_before_the_end_of_the_body_arrives() {
    let body = vec![b'x'; 8 << 20];
    let head = format!("POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let request = [head.as_bytes(), &body].concat();
    let tls = Some(TestCertificate::new("localhost").tls());
    let (plain, with_tls) = (
        TestServer::start(generous_limits(), None).await,
        TestServer::start(generous_limits(), tls).await,
    );
    check(plain.connect().await, &request).await;
    check(with_tls.connect_tls("http/1.1").await, &request).await;

    /// Sends the whole request before it reads the answer, as simple clients do.
    async fn check(mut io: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) {
        in_time(io.write_all(request)).await.unwrap();
        let answer = exchange(io, b"").await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer:?}");
    }
}
