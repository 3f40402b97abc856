//! `vidimus health`, the health check of a container.

use crate::harness::Setup;
use crate::program::run;

#[test]
fn health_tells_whether_a_server_is_ok_not_ready_or_gone() {
    let missing = "[keys]\njwks = [\"https://127.0.0.1:1/none\"]\n";
    let mut serve = Setup::new().config(missing).start();
    let console = serve.console.clone();
    let well = run(&["health", &format!("{console}/healthz")], b"").expect(0);
    assert_eq!(well.stdout, "ok\n", "{well}");
    // The server has no keys yet.
    let waiting = run(&["health", &format!("{console}/readyz")], b"").expect(1);
    assert!(waiting.stderr.contains("503") && waiting.stderr.contains("keys"), "{waiting}");

    let receiver = format!("{}/healthz", serve.receiver);
    let certificate = serve.certificate();
    run(&["health", &receiver], b"").expect(3);
    run(&["health", &receiver, "--insecure"], b"").expect(0);
    run(&["health", &receiver, "--cacert", certificate.to_str().unwrap()], b"").expect(0);

    serve.stop();
    run(&["health", &format!("{console}/healthz"), "--timeout", "50"], b"").expect(3);
    run(&["health", "not a URL"], b"").expect(2);
}
