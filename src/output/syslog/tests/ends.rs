//! Receivers that end a connection, that do not, and that do it in TLS.

use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::*;

const SOON: Duration = Duration::from_millis(100);

/// Reads everything, and leaves the connection open.
fn read_and_hold(tcp: TcpStream) -> (Vec<u8>, TcpStream) {
    (read_all(tcp.try_clone().unwrap()), tcp)
}

/// Writes the same again, and fails to have it confirmed.
fn fails(sink: &mut Syslog, expected: &str) {
    sink.restore("").unwrap();
    let failed = write(sink, 0..3).and_then(|()| sink.sync());
    check_fails(failed, expected);
}

#[test]
fn a_receiver_that_leaves_three_connections_open_is_taken_as_it_is() {
    let receiver = Receiver::start_for(3, |_, tcp| read_and_hold(tcp));
    let mut sink = receiver.sink();
    sink.confirm_within = SOON;
    fails(
        &mut sink,
        "the receiver has not closed the connection within 100ms, so it is not known whether it \
         read; trying again (1 of 3)",
    );
    fails(&mut sink, "trying again (2 of 3)");
    assert_eq!((sink.habit, sink.most_unconfirmed), (Habit::Unknown, LEAST_UNCONFIRMED));
    sink.restore("").unwrap();
    write(&mut sink, 0..3).unwrap();
    assert_eq!(sink.sync().unwrap(), format!("silent tcp:{}", receiver.address));
    assert_eq!((sink.unconfirmed, sink.habit), (0, Habit::Silent));
    assert!(sink.connection.is_none());
    receiver.ended().iter().for_each(|(read, _)| check(read, 0..3));
}

#[test]
fn a_receiver_that_does_anything_else_between_is_not_silent() {
    let receiver = Receiver::start_for(5, |n, tcp| match n {
        // Closed with something unread, it is reset.
        1 => {
            tcp.peek(&mut [0]).unwrap();
            None
        }
        4 => {
            check(&read_all(tcp), 0..3);
            None
        }
        _ => Some(read_and_hold(tcp)),
    });
    let mut sink = receiver.sink();
    sink.confirm_within = SOON;
    fails(&mut sink, "trying again (1 of 3)");
    fails(&mut sink, "cannot ");
    fails(&mut sink, "trying again (1 of 3)");
    fails(&mut sink, "trying again (2 of 3)");
    sink.confirm_within = Duration::from_secs(10);
    sink.restore("").unwrap();
    write(&mut sink, 0..3).unwrap();
    sink.sync().unwrap();
    assert_eq!((sink.habit, sink.left_open), (Habit::Confirms, 0));
    receiver.ended();
}

#[test]
fn a_silent_receiver_keeps_its_connection_and_is_asked_again() {
    let receiver = Receiver::start_for(2, |n, tcp| match n {
        0 => Some(read_and_hold(tcp)),
        _ => {
            check(&read_all(tcp), 3..9);
            None
        }
    });
    let mut sink = receiver.sink_that_knows(Habit::Silent);
    // At the start it is asked. It is known, so nothing comes again.
    sink.confirm_within = SOON;
    write(&mut sink, 0..3).unwrap();
    sink.sync().unwrap();
    assert_eq!((sink.unconfirmed, sink.habit), (0, Habit::Silent));
    sink.confirm_within = Duration::from_secs(10);
    write(&mut sink, 3..6).unwrap();
    sink.sync().unwrap();
    assert_eq!((sink.unconfirmed, sink.connection.is_some()), (0, true));
    write(&mut sink, 6..9).unwrap();
    // Another may stand there now.
    sink.reopen();
    sink.sync().unwrap();
    assert_eq!(sink.habit, Habit::Confirms);
    receiver.ended();
}

#[test]
fn of_a_receiver_that_did_close_it_is_expected_ever_after() {
    let receiver = Receiver::start_for(5, |_, tcp| read_and_hold(tcp));
    let mut sink = receiver.sink_that_knows(Habit::Confirms);
    sink.confirm_within = SOON;
    for n in 1..=5 {
        fails(&mut sink, "not everything was read within 100ms");
        assert_eq!(sink.most_unconfirmed, (MOST_UNCONFIRMED >> n).max(LEAST_UNCONFIRMED));
        sink.reopen();
    }
    assert_eq!(sink.habit, Habit::Confirms);
    receiver.ended();
}

/// A receiver with TLS, for as many connections as there are in `notifies`, and whether it ends each
/// of them with a close_notify.
fn tls(notifies: &'static [bool]) -> (Receiver<Vec<Vec<u8>>>, Syslog, TempDir) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let home = tempfile::tempdir().unwrap();
    let ca_file = home.path().join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let config = Arc::new(config.unwrap());
    let receiver = Receiver::start_for(notifies.len(), move |n, tcp| {
        let conn = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = StreamOwned::new(conn, tcp);
        let mut read = Vec::new();
        tls.read_to_end(&mut read).unwrap();
        if notifies[n] {
            tls.conn.send_close_notify();
            tls.flush().unwrap();
        }
        read
    });
    let mut settings = receiver.settings();
    let server_name = "localhost".try_into().unwrap();
    let ca_file = Some(ca_file);
    settings.transport = Transport::Tls(SyslogTls { server_name, ca_file, certificate: None });
    let mut sink = Syslog::new("a", &settings);
    sink.confirm_within = Duration::from_secs(10);
    (receiver, sink, home)
}

#[test]
fn a_receiver_that_sent_a_close_notify_has_to_send_it_ever_after() {
    let (receiver, mut sink, _home) = tls(&[false, true, false, true]);
    let name = format!("tls:localhost@{}", receiver.address);
    write(&mut sink, 0..3).unwrap();
    assert_eq!(sink.sync().unwrap(), format!("confirms {name}"));
    write(&mut sink, 0..3).unwrap();
    let state = sink.sync().unwrap();
    assert_eq!(state, format!("notifies {name}"));

    // After a restart too.
    let mut restarted = Syslog::new("a", &sink.settings);
    restarted.confirm_within = Duration::from_secs(10);
    restarted.restore(&state).unwrap();
    fails(&mut restarted, "the connection was closed without TLS's close_notify");
    restarted.restore(&state).unwrap();
    write(&mut restarted, 0..3).unwrap();
    assert_eq!(restarted.sync().unwrap(), state);
    receiver.ended().iter().for_each(|read| check(read, 0..3));
}

#[test]
fn who_tries_a_receiver_is_told_whether_its_end_was_authenticated() {
    let (receiver, mut sink, _home) = tls(&[false, true]);
    let told = sink.try_out(&record(1, 0), b"line 1").unwrap();
    assert!(told.contains("but without TLS's close_notify"), "{told}");
    let told = sink.try_out(&record(1, 0), b"line 1").unwrap();
    assert!(told.ends_with("it has read the message and closed the connection"), "{told}");
    receiver.ended();
}
