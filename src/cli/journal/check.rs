//! `vidimus journal check`: whether the object store keeps what the journal relies on.

use std::sync::Arc;

use clap::Args;

use super::{JournalArgs, random_id, run};
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::Output;
use crate::journal::keys;
use crate::objects::Bucket;
use crate::objects::check::{Finding, KEYS, RACERS, permissions, race};

/// Check whether the object store works for the journal
///
/// The check creates, reads, lists and deletes objects under check/ in the place of the journal. Then 32
/// creates race for each of 100 keys: exactly one may win, and everyone must read what it wrote. Some
/// stores that speak S3 get this wrong. Do not use such a store: entries would be lost.
///
/// The journal may be in use meanwhile: its own objects are not touched.
///
/// Exit codes: 0 everything is as it must be, 1 something is not, 3 the object store cannot be reached.
#[derive(Args)]
pub(super) struct Check {
    /// Race through this endpoint of S3, such as <https://node1:8333>. Can be repeated, for a store with
    /// several servers [default: that of the environment]
    #[arg(long, value_name = "URL")]
    endpoint: Vec<String>,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    journal: JournalArgs,
}

impl Check {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let url = self.journal.url()?;
        let through: Vec<_> = match self.endpoint.is_empty() {
            true => vec![None],
            false => self.endpoint.iter().map(|one| Some(one.as_str())).collect(),
        };
        let open = |endpoint| Bucket::open_through(&url, endpoint).map(Arc::new);
        let endpoints: Vec<_> =
            through.into_iter().map(open).collect::<Result<_, _>>().map_err(Failure::usage)?;
        let folder = keys::check(&random_id()?);
        let findings = run(async {
            let mut findings = Vec::new();
            for endpoint in &endpoints {
                findings.extend(permissions(endpoint, &folder).await?);
            }
            if findings.iter().all(|one: &Finding| one.problems.is_empty()) {
                findings.push(race(&endpoints, &folder, KEYS, RACERS).await);
            }
            Ok(findings)
        })?;
        let is_good = findings.iter().all(|one| one.problems.is_empty());
        ignore_closed(self.print(&findings, &url.to_string()))?;
        Ok(if is_good { Exit::Done } else { Exit::Negative })
    }

    fn print(&self, findings: &[Finding], url: &str) -> Result<(), Failure> {
        let mut output = Output::new();
        for Finding { what, problems } in findings {
            match self.output {
                PrintFormat::Jsonl => {
                    output.json(&serde_json::json!({"check": what, "problems": problems}))?;
                }
                PrintFormat::Text => {
                    let state = if problems.is_empty() { "ok    " } else { "failed" };
                    output.line(format_args!("{state}  {what}"))?;
                    problems
                        .iter()
                        .try_for_each(|one| output.line(format_args!("        {one}")))?;
                }
            }
        }
        if self.output == PrintFormat::Text {
            output.line(format_args!(
                "not checked: whether a life-cycle rule deletes or moves objects of {url}. None may: \
                 look at the rules of the bucket (for S3: aws s3api \
                 get-bucket-lifecycle-configuration --bucket BUCKET)"
            ))?;
        }
        output.flush()
    }
}
