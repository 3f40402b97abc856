//! Bodies in every encoding that Konnect uses or documents.

use crate::harness::{Serve, gzip};

const HELLO: &str = "CEF:0|KongInc|Konnect|1.0|KongGateway|Ingress|1|act=POST n=";

#[test]
fn gzip_is_accepted_in_every_spelling() {
    let serve = Serve::start();
    let twice = |body: &[u8]| gzip(&gzip(body));
    let members = |body: &[u8]| {
        let (one, two) = body.split_at(9);
        [gzip(one), gzip(b""), gzip(two)].concat()
    };
    let plain = |body: &[u8]| body.to_vec();
    type Encode<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let cases: &[(&[&str], Encode<'_>)] = &[
        (&["application/gzip"], &gzip),
        (&["gzip"], &gzip),
        (&["x-gzip"], &gzip),
        (&["Application/GZIP"], &gzip),
        (&["GZip"], &gzip),
        (&["X-Gzip"], &gzip),
        (&["identity"], &plain),
        (&["identity"], &gzip),
        (&["identity, gzip"], &gzip),
        (&["gzip,identity"], &gzip),
        (&["identity", "application/gzip"], &gzip),
        (&["gzip, application/gzip"], &twice),
        (&["gzip", "x-gzip"], &twice),
        (&[""], &gzip),
        (&[], &gzip),
        (&[], &plain),
        (&["gzip"], &plain),
        (&["application/gzip"], &plain),
        (&["gzip"], &members),
        (&[], &members),
    ];
    for (n, (values, encode)) in cases.iter().enumerate() {
        let line = format!("{HELLO}{n}");
        let authorization = ("authorization", serve.authorization.as_str());
        let mut headers = vec![authorization, ("content-type", "text/plain")];
        headers.extend(values.iter().map(|value| ("content-encoding", *value)));
        let answer = serve.post("/audit-logs", &headers, &encode(format!("{line}\n").as_bytes()));
        assert_eq!(answer.status, 200, "{n}: {values:?}: {}", answer.text());
        assert_eq!(answer.json()["stored"], 1, "{n}: {values:?}: {}", answer.text());
        assert_eq!(serve.lines().last().unwrap(), line.as_bytes(), "{n}: {values:?}");
    }
    let headers = [("authorization", serve.authorization.as_str()), ("content-encoding", "gzip")];
    for empty in [gzip(b""), gzip(b"\n\r\n"), Vec::new()] {
        let answer = serve.post("/audit-logs", &headers, &empty);
        assert_eq!((answer.status, &answer.json()["received"]), (200, &0.into()));
    }
    assert_eq!(serve.lines().len(), cases.len());
}
