//! How many files and connections the system lets this process have open (`RLIMIT_NOFILE`).
//!
//! Where connections could take all of them, the store could not open a segment and nobody could look
//! at the console. So what the listeners may have is lowered to what is left beside those.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Limits;

/// What is left for the store, the outputs and the keys; less where there is little.
const KEPT: usize = 256;

/// The console gets one in so many of the connections.
const CONSOLE: usize = 8;

/// Raises the limit as far as this process may, and returns it. `None` if there is none.
pub fn raise() -> Option<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // What cannot be raised stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current
}

/// The limits of the receiver and of the console where `open` descriptors are to be had, if each of
/// them should have `limits`.
pub fn shared(limits: &Limits, open: Option<u64>) -> (Limits, Limits) {
    let (mut receiver, mut console) = (limits.clone(), limits.clone());
    let open = open.and_then(|open| usize::try_from(open).ok()).unwrap_or(usize::MAX);
    let left = open - KEPT.min(open / 2);
    if left < limits.max_connections.saturating_mul(2) {
        console.max_connections = limits.max_connections.min(left / CONSOLE).max(1);
        let left = left - console.max_connections.min(left);
        receiver.max_connections = limits.max_connections.min(left).max(1);
    }
    (receiver, console)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(max_connections: usize, open: Option<u64>, receiver: usize, console: usize) {
        let limits = Limits { max_connections, ..Limits::default() };
        let found = shared(&limits, open);
        let found = (found.0.max_connections, found.1.max_connections);
        assert_eq!(found, (receiver, console), "{max_connections} {open:?}");
    }

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        check(1024, None, 1024, 1024);
        check(1024, Some(1 << 20), 1024, 1024);
        check(1024, Some(2304), 1024, 1024);
        check(1024, Some(2000), 1024, 218);
        check(1024, Some(1024), 672, 96);
        check(100, Some(1024), 100, 100);
        check(1024, Some(64), 28, 4);
        check(1024, Some(0), 1, 1);
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let raised = raise();
        assert_eq!(raised, getrlimit(Resource::Nofile).maximum);
    }
}
