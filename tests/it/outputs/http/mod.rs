//! Outputs to endpoints of HTTP: nothing is lost and the order is kept, whatever is answered.
//!
//! - `pass_through`: as Konnect delivers, to another Vidimus too. `failures`: an endpoint that fails in
//!   every way. `shapes`: Splunk's and Elasticsearch's. `credentials`: who we are. `crash`: the process
//!   is killed under load.

mod crash;
mod credentials;
mod failures;
mod pass_through;
mod shapes;

use super::*;
use crate::harness::{Endpoint, Reply, Setup};

/// An output of the type http with these keys besides; entries wait for others as short as they can.
fn http_output(url: &str, keys: &str) -> String {
    format!(
        "[[output]]\nname = 'siem'\ntype = 'http'\nurl = '{url}'\nbatch_every = '100ms'\n{keys}\n"
    )
}

fn ok() -> Reply {
    Reply::status(200)
}

/// The dead letters of the output, where they go without being told.
fn letters(serve: &Serve) -> Vec<serde_json::Value> {
    let lines = lines_of(&serve.data().join("dead-letters/siem.jsonl"));
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}
