//! A full disk: the answer is 500, no acknowledged entry is lost, and deliveries work again when
//! there is room. The test simulates the disk with a limit on the size of files.

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::harness::{Serve, Setup};

/// Limits the size of the files that the server writes, in bytes.
pub(crate) fn limit(serve: &Serve, bytes: Option<u64>) {
    let pid = i32::try_from(serve.pid()).ok().and_then(Pid::from_raw).unwrap();
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

fn body(round: usize) -> String {
    (0..200)
        .map(|n| {
            format!("{{\"rt\":{},\"user_agent\":\"{}\"}}\n", 1000 * round + n, "x".repeat(500))
        })
        .collect()
}

#[test]
fn a_full_disk_answers_500_until_there_is_room() {
    let serve = Setup::new().config("[store]\nsegment_entries = 500\n").start();
    let headers = [("authorization", serve.authorization.as_str())];
    let mut acknowledged = Vec::new();
    let mut send = |round: usize| {
        let answer = serve.post("/audit-logs", &headers, body(round).as_bytes());
        if answer.status == 200 {
            acknowledged.extend(body(round).lines().map(|line| line.as_bytes().to_vec()));
        }
        answer.status
    };
    assert_eq!(send(0), 200);
    limit(&serve, Some(300_000));
    let statuses: Vec<_> = (1..12).map(&mut send).collect();
    assert_eq!(statuses.last(), Some(&500), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 500].contains(status)), "{statuses:?}");
    // A body that cannot be decoded cannot be quarantined either, so it must not be acknowledged.
    let noise: Vec<u8> =
        [0x1f, 0x8b].into_iter().chain((0..400_000).map(|n| (n % 251) as u8)).collect();
    assert_eq!(serve.post("/audit-logs", &headers, &noise).status, 500);

    limit(&serve, None);
    let statuses: Vec<_> = (12..20).map(&mut send).collect();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(serve.post("/audit-logs", &headers, &noise).status, 400);
    let stored = serve.lines();
    assert_eq!(stored.len(), acknowledged.len());
    assert!(acknowledged.iter().all(|line| stored.contains(line)));
}
