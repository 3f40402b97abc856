//! A memory limit for a program. The system kills a program that exceeds it.
//!
//! The limit is a control group (cgroups(7)) of version 2 or 1 if this user may create one, as root
//! usually may. Otherwise it is a limit on allocations (`RLIMIT_DATA`, setrlimit(2)).

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A limit on the total memory of all programs that are started with it.
pub(crate) struct MemoryLimit {
    group: Option<PathBuf>,
    bytes: u64,
}

/// The directory of the groups, the file of the memory limit, and the file of the setting that
/// prevents swapping, with its value.
const ROOTS: [(&str, &str, &str, &str); 2] = [
    ("/sys/fs/cgroup", "memory.max", "memory.swap.max", "0"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.swappiness", "0"),
];

impl MemoryLimit {
    pub(crate) fn new(bytes: u64) -> MemoryLimit {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("vidimus-test-{}-{number}", std::process::id());
        let make = |(root, limit, swap, none): &(&str, &str, &str, &str)| {
            let group = PathBuf::from(root).join(&name);
            fs::create_dir(&group).ok()?;
            // The file exists only in a control group. It must not be created elsewhere.
            let limited = || fs::OpenOptions::new().write(true).open(group.join(limit));
            let written =
                limited().and_then(|mut file| file.write_all(bytes.to_string().as_bytes()));
            if written.is_err() {
                let _ = fs::remove_dir(&group);
                return None;
            }
            // The file does not exist on a system without swap.
            if group.join(swap).exists() {
                let _ = fs::write(group.join(swap), none);
            }
            Some(group)
        };
        let group = ROOTS.iter().find_map(make);
        if group.is_none() {
            eprintln!("no control group can be created, so allocations are limited instead");
        }
        MemoryLimit { group, bytes }
    }

    /// The command that runs `program` under the limit. The caller adds the arguments.
    pub(crate) fn command(&self, program: &str) -> Command {
        let limit = match &self.group {
            Some(group) => format!("echo $$ > '{}/cgroup.procs'", group.display()),
            None => format!("ulimit -d {}", self.bytes / 1024),
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{limit} && exec \"$0\" \"$@\""), program]);
        shell
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // The group stays busy for a moment after its last program has ended.
        if let Some(group) = &self.group {
            let _ = (0..100_000).find(|_| {
                std::thread::yield_now();
                fs::remove_dir(group).is_ok()
            });
        }
    }
}
