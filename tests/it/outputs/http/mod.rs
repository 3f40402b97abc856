//! Outputs to HTTP endpoints: nothing is lost or reordered, whatever the endpoint answers.
//!
//! - `pass_through`: deliveries like Konnect's, also to another Vidimus.
//! - `failures`: an endpoint that fails.
//! - `shapes`: the formats of Splunk and Elasticsearch.
//! - `logs_ingestion`: Azure Monitor, for Microsoft Sentinel, with tokens.
//! - `credentials`: client certificates, headers and tokens.
//! - `crash`: kills under load.

mod crash;
mod credentials;
mod failures;
mod logs_ingestion;
mod pass_through;
mod shapes;

use super::*;
use crate::harness::{Endpoint, Reply, Setup};

/// The configuration of an http output with additional keys. Batches are sent as soon as possible.
fn http_output(url: &str, keys: &str) -> String {
    format!(
        "[[output]]\nname = 'siem'\ntype = 'http'\nurl = '{url}'\nbatch_every = '100ms'\n{keys}\n"
    )
}

fn ok() -> Reply {
    Reply::status(200)
}

/// The dead letters of the output, in their default file.
fn dead_letters(serve: &Serve) -> Vec<serde_json::Value> {
    let lines = lines_of(&serve.data().join("dead-letters/siem.jsonl"));
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}
