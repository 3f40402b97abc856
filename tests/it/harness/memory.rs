//! A program that may have so much memory and no more: the system ends one that takes more.
//!
//! That is a control group (cgroups(7)) of version 2 or 1 where one can be made, as it can by root;
//! elsewhere a limit on what the program allocates (`RLIMIT_DATA`, setrlimit(2)).

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A limit that holds for all programs that are started with it, together.
pub(crate) struct MemoryLimit {
    group: Option<PathBuf>,
    bytes: u64,
}

/// Where groups are made, the file of the limit, and that of the limit with what is swapped out.
const ROOTS: [(&str, &str, &str, &str); 2] = [
    ("/sys/fs/cgroup", "memory.max", "memory.swap.max", "0"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.swappiness", "0"),
];

impl MemoryLimit {
    /// A limit of so many bytes.
    pub(crate) fn new(bytes: u64) -> MemoryLimit {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("vidimus-test-{}-{number}", std::process::id());
        let make = |(root, limit, swap, none): &(&str, &str, &str, &str)| {
            let group = PathBuf::from(root).join(&name);
            fs::create_dir(&group).ok()?;
            // A folder where no groups are made has no such file, and does not get one.
            let limited = || fs::OpenOptions::new().write(true).open(group.join(limit));
            let written =
                limited().and_then(|mut file| file.write_all(bytes.to_string().as_bytes()));
            if written.is_err() {
                let _ = fs::remove_dir(&group);
                return None;
            }
            // Where nothing can be swapped out there is no such file.
            if group.join(swap).exists() {
                let _ = fs::write(group.join(swap), none);
            }
            Some(group)
        };
        let group = ROOTS.iter().find_map(make);
        if group.is_none() {
            eprintln!("no control group can be made here: what is allocated is limited instead");
        }
        MemoryLimit { group, bytes }
    }

    /// The program under the limit; arguments are to be added.
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
        // The group stays for a moment after its last program has ended.
        if let Some(group) = &self.group {
            let _ = (0..100_000).find(|_| {
                std::thread::yield_now();
                fs::remove_dir(group).is_ok()
            });
        }
    }
}
