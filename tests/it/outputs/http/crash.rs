//! HTTP outputs after kills under load.

use super::*;
use crate::outputs::crash::kill_under_load;

#[test]
fn the_endpoint_has_every_entry_in_order_after_kills_and_only_batches_repeat() {
    let endpoint = Endpoint::start(|_| ok());
    let config = http_output(&endpoint.url("/in"), "format = 'raw'\nbatch_entries = 100");
    let (mut serve, acknowledged) = kill_under_load(&config);
    let stored = serve.text_lines();
    let last = stored.last().unwrap();
    wait_until("the last line", || {
        endpoint.taken().last().is_some_and(|taken| taken.lines().last() == Some(last))
    });
    serve.stop();
    // Each request continues after the last one or repeats it.
    let mut next = 0;
    for taken in endpoint.taken() {
        let lines = taken.lines();
        let at = stored[..next].iter().rposition(|line| *line == lines[0]).unwrap_or(next);
        assert!(next - at <= 100, "{} lines come again", next - at);
        assert_eq!(stored[at..at + lines.len()], lines);
        next = at + lines.len();
    }
    assert_eq!(next, stored.len());
    let missing = acknowledged.iter().find(|line| !stored.contains(line));
    assert_eq!(missing, None, "an acknowledged line is missing");
    assert!(dead_letters(&serve).is_empty());
}
