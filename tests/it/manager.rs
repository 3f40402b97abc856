//! A service manager: the notifications that it gets, and the socket that it passes.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::full_disk::limit;
use crate::harness::{DEADLINE, RawConnection, Serve, Setup};

/// The notification socket of the manager.
struct Manager(UnixDatagram);

impl Manager {
    /// Starts a server that notifies this manager. Its watchdog time is 200 ms.
    fn start() -> (Manager, Serve) {
        Manager::start_with(Setup::new())
    }

    fn start_with(setup: Setup) -> (Manager, Serve) {
        let path = setup.home().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let setup = setup.variable("NOTIFY_SOCKET", path.to_str().unwrap());
        (Manager(socket), setup.variable("WATCHDOG_USEC", "200000").start())
    }

    fn next(&self) -> String {
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// The next message that does not feed the watchdog.
    fn next_notification(&self) -> String {
        // The watchdog is fed every 50 ms.
        let mut messages = (0..2000).map(|_| self.next());
        messages.find(|message| message != "WATCHDOG=1\n").expect("a notification")
    }

    fn expect_watchdog(&self) {
        assert_eq!(self.next(), "WATCHDOG=1\n");
    }
}

#[test]
fn the_manager_is_told_of_start_reload_watchdog_and_stop() {
    let (manager, mut serve) = Manager::start();
    assert_eq!(manager.next_notification(), "READY=1\n");
    manager.expect_watchdog();
    manager.expect_watchdog();

    serve.signal(Signal::HUP);
    let reloading = manager.next_notification();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(time.trim_end().parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(manager.next_notification(), "READY=1\n");
    manager.expect_watchdog();

    serve.signal(Signal::TERM);
    assert_eq!(manager.next_notification(), "STOPPING=1\n");
    serve.wait_for_end();
}

#[test]
fn a_receiver_without_its_journal_feeds_the_watchdog() {
    let journal = tempfile::tempdir().unwrap();
    let url = format!("file://{}/journal", journal.path().display());
    let setup = Setup::receive().config(&format!("[journal]\nurl = \"{url}\"\n"));
    let (manager, mut receive) = Manager::start_with(setup);
    assert_eq!(manager.next_notification(), "READY=1\n");
    manager.expect_watchdog();
    std::fs::remove_dir_all(journal.path().join("journal")).unwrap();
    std::fs::write(journal.path().join("journal"), "no folder").unwrap();
    // The socket holds about ten earlier messages.
    for _ in 0..20 {
        manager.expect_watchdog();
    }
    receive.signal(Signal::TERM);
    assert_eq!(manager.next_notification(), "STOPPING=1\n");
    receive.wait_for_end();
}

#[test]
fn a_full_disk_does_not_starve_the_watchdog() {
    let (manager, serve) = Manager::start();
    assert_eq!(manager.next_notification(), "READY=1\n");
    let body = format!("{{\"user_agent\":\"{}\"}}", "x".repeat(900_000));
    let deliver = || {
        let headers = [("authorization", serve.authorization.as_str())];
        serve.post("/audit-logs", &headers, body.as_bytes()).status
    };
    limit(&serve, Some(300_000));
    assert_eq!(deliver(), 500);
    // The socket holds about ten earlier messages, so 50 messages include new ones.
    for _ in 0..50 {
        assert_eq!(deliver(), 500);
        manager.expect_watchdog();
    }
    limit(&serve, None);
    assert_eq!(deliver(), 200);
}

#[test]
fn an_inherited_socket_keeps_deliveries_during_a_restart() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let setup = Setup::new().arguments("--no-tls").hand_over(socket);
    let mut serve = setup.start();
    assert_eq!(serve.receiver, format!("http://{address}"));
    assert_eq!(serve.deliver("{\"n\":1}")["stored"], 1);

    serve.stop();
    let mut waiting = RawConnection::plain(address.port());
    let headers = [("authorization", serve.authorization.as_str())];
    waiting.request("POST", "/audit-logs", &headers, b"{\"n\":2}");
    serve.restart();
    assert_eq!(waiting.answer().status, 200);
    assert_eq!(serve.lines().len(), 2);
}

#[test]
fn unusable_sockets_are_refused() {
    let (status, stderr) = Setup::new().variable("LISTEN_FDS", "2").fail();
    assert_eq!(status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("passed 2 sockets, expected 1"), "{stderr}");
    // Standard input is not a socket.
    let setup = Setup::new().variable("LISTEN_FDS", "1").variable("LISTEN_FDS_FIRST_FD", "0");
    let (status, stderr) = setup.fail();
    assert_eq!(status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("is not a socket"), "{stderr}");
}
