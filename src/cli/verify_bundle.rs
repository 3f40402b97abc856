//! `vidimus verify-bundle`: check what an evidence bundle proves.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::args::KeyArgs;
use super::exit::{Exit, Failure, ignore_closed};
use super::print::PrintFormat;
use super::terminal::{Output, counted, tell};
use crate::evidence::check::{Check, Found, Trust};
use crate::evidence::read::Bundle;
use crate::random;
use crate::signature::Verdict;
use crate::tlog::note::{KeyType, VerifierKey};
use crate::tlog::policy::{Known, Policy};

/// The number of entries that are checked before they are printed.
const SLICE: usize = 8192;

/// Check what an evidence bundle proves, without the store that it is from
///
/// For each entry a line says whether its signature is valid and under which key, whether the log
/// has it, which verdict the log has from its receipt, and which witnesses cosigned the checkpoint.
/// Nothing in the bundle is trusted. Without `--jwks` and `--region`, a key of Konnect in the bundle
/// counts only for entries whose leaf in the log names it. Nothing is fetched unless `--region` or a
/// URL is given.
///
/// Without `--policy`, cosignatures are not checked and every entry is `not witnessed`. With it, a
/// checkpoint that the policy does not accept proves nothing.
///
/// Exit codes: 0 every entry is valid and in the log, and the policy is met, 1 not, or the bundle
/// was tampered with, 2 usage error, 3 there is no key, or no bundle that can be read.
#[derive(Args)]
pub(crate) struct VerifyBundle {
    /// The bundle: a folder or a zip
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// The verifier key of the log, as `vidimus log key` prints it. Can be repeated, if the log had
    /// another key before
    #[arg(long, value_name = "VKEY", required = true)]
    log_key: Vec<String>,

    /// Require the cosignatures of this policy (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    #[command(flatten)]
    keys: KeyArgs,

    /// The output format
    #[arg(short, long, value_enum, default_value_t)]
    output: PrintFormat,
}

impl VerifyBundle {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let start = Instant::now();
        let logs = self.logs()?;
        let policy = self.policy(&logs)?;
        let given = self.keys.read_given()?;
        let bundle = match Bundle::open(&self.path) {
            Err(error) if error.is_damage() => {
                tell(format_args!("error: {error}"));
                return Ok(Exit::Negative);
            }
            opened => opened?,
        };
        let trust = Trust { logs: &logs, policy: policy.as_ref(), keys: given.as_ref() };
        let check = Check::new(&bundle, &trust, random::seed()?);
        let mut report = Report {
            check: &check,
            output: Output::new(),
            format: self.output,
            keys_from: if given.is_some() { "elsewhere" } else { "bundle" },
            proved: 0,
            entries: 0,
            is_unreadable: false,
        };
        for ids in bundle.ids().chunks(SLICE) {
            for found in check.entries(ids) {
                report.entry(&found)?;
            }
        }
        report.end(&self)?;
        let Report { proved, entries, is_unreadable, .. } = report;
        tell(format_args!(
            "{} in {:.1} s: {proved} proved, {} not",
            counted(entries, "entry"),
            start.elapsed().as_secs_f64(),
            entries - proved
        ));
        check.faults().iter().for_each(|fault| tell(format_args!("error: {fault}")));
        self.tell_of_trust(&check, given.is_some());
        if !check.has_keys() {
            tell("error: no keys to verify with: use --region, or --jwks FILE-OR-URL");
        }
        let is_good = check.faults().is_empty() && proved == entries;
        Ok(match () {
            () if !check.has_keys() || is_unreadable => Exit::Failed,
            () if is_good => Exit::Done,
            () => Exit::Negative,
        })
    }

    /// The verifier keys of the log.
    fn logs(&self) -> Result<Vec<VerifierKey>, Failure> {
        let parse = |vkey: &String| {
            let key: VerifierKey = vkey
                .trim()
                .parse()
                .map_err(|error| Failure::usage(format!("--log-key: {error}")))?;
            match key.kind() {
                KeyType::Note => Ok(key),
                KeyType::Cosignature => {
                    Err(Failure::usage("--log-key: this is the key of a witness, not of a log"))
                }
            }
        };
        self.log_key.iter().map(parse).collect()
    }

    /// The policy. If it lists logs, those of the command must be among them. No witness may have
    /// the key of a log, which would witness itself.
    fn policy(&self, logs: &[VerifierKey]) -> Result<Option<Policy>, Failure> {
        let Some(path) = &self.policy else { return Ok(None) };
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::usage(format!("--policy {}: {why}", path.display()))
        };
        let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
        let policy = Policy::parse(&bytes).map_err(|error| wrong(&error))?;
        let listed: Vec<_> = policy.logs().iter().map(|log| &log.key).collect();
        if !listed.is_empty() && !logs.iter().all(|log| listed.contains(&log)) {
            return Err(wrong(&"it lists logs, and the one of --log-key is not among them"));
        }
        let publics: Vec<_> = logs.iter().chain(listed).map(VerifierKey::public).collect();
        let is_log = |witness: &&Known| publics.contains(&witness.key.public());
        if let Some(witness) = policy.witnesses().find(is_log) {
            let name = witness.key.name();
            return Err(wrong(&format!("the witness {name} has the key of the log")));
        }
        Ok(Some(policy))
    }

    /// Says what was trusted, and what was not looked at.
    fn tell_of_trust(&self, check: &Check<'_>, is_given: bool) {
        if !is_given {
            tell(
                "note: Konnect's keys are those of the bundle, as far as the log vouches for them: use \
                 --region, or --jwks, to verify with keys from elsewhere",
            );
        }
        let others = check.other_signatures();
        match (&self.policy, others) {
            (Some(_), _) | (None, 0) => {}
            (None, others) => tell(format_args!(
                "note: the checkpoint has {} that {} not checked: use --policy",
                counted(others as u64, "other signature"),
                if others == 1 { "was" } else { "were" }
            )),
        }
    }
}

/// What is printed.
struct Report<'a> {
    check: &'a Check<'a>,
    output: Output,
    format: PrintFormat,
    /// Where Konnect's keys are from.
    keys_from: &'static str,
    proved: u64,
    entries: u64,
    /// Whether a file could not be read.
    is_unreadable: bool,
}

impl Report<'_> {
    fn entry(&mut self, found: &Found) -> Result<(), Failure> {
        self.entries += 1;
        self.proved += u64::from(self.check.proves(found));
        self.is_unreadable |= found.is_unreadable();
        ignore_closed(match self.format {
            PrintFormat::Text => self.output.line(self.text(found)),
            PrintFormat::Jsonl => self.output.json(&self.json(found)),
        })
    }

    /// An entry as a line: what was proved of it by whom, and what is wrong.
    fn text(&self, found: &Found) -> String {
        let verdict = found.verdict.as_ref();
        let word = verdict.map_or("no line", |verdict| verdict.name().as_str());
        let mut details = Vec::new();
        if let Some(proof) = verdict.and_then(Verdict::proof) {
            let vouched = if self.keys_from == "bundle" { ", says the log" } else { "" };
            details.push(format!("signed by Konnect's key {}{vouched}", proof.key().kid()));
        }
        details.extend(verdict.and_then(Verdict::reason).map(str::to_owned));
        details.push(match found.logged() {
            Some((leaf, recorded)) => {
                let when = match recorded.kind {
                    "backfill" => "when it got its leaf",
                    _ => "at receipt",
                };
                format!("in the log at {leaf}, {} {when}", recorded.verdict.as_str())
            }
            None => "NOT in the log".to_owned(),
        });
        let witnesses = self.check.witnesses_of(found);
        let witnesses = witnesses.iter().map(|one| format!("{} at {}", one.name, one.at));
        details.push(match witnesses.collect::<Vec<_>>().as_slice() {
            [] => "not witnessed".to_owned(),
            witnesses => format!("witnessed by {}", witnesses.join(" and ")),
        });
        details.extend(found.faults.iter().map(|fault| format!("ERROR: {fault}")));
        format!("{}  {word:9}  {}", found.id, details.join("; "))
    }

    fn json(&self, found: &Found) -> serde_json::Value {
        let verdict = found.verdict.as_ref();
        let key = verdict.and_then(Verdict::proof).map(|proof| proof.key());
        let recorded = found.logged().map(|(_, recorded)| {
            json!({
                "kind": recorded.kind,
                "verdict": recorded.verdict.as_str(),
                "received_at": recorded.received_at,
                "stored_at": recorded.stored_at,
            })
        });
        json!({
            "id": found.id,
            "proved": self.check.proves(found),
            "verdict": verdict.map(|verdict| verdict.name().as_str()),
            "reason": verdict.and_then(Verdict::reason),
            "kid": key.map(|key| key.kid()),
            "thumbprint": key.map(|key| key.thumbprint().to_string()),
            "key_from": key.map(|_| self.keys_from),
            "in_log": found.leaf.is_some(),
            "leaf": found.leaf,
            "witnessed": !self.check.witnesses_of(found).is_empty(),
            "witnesses": self.check.witnesses_of(found),
            "recorded": recorded,
            "errors": found.faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }

    /// Says what the bundle has as a whole.
    fn end(&mut self, command: &VerifyBundle) -> Result<(), Failure> {
        self.is_unreadable |= self.check.faults().iter().any(|fault| fault.is_unreadable());
        if self.format == PrintFormat::Jsonl {
            let checkpoint = self.check.checkpoint().map(|checkpoint| {
                json!({
                    "origin": checkpoint.origin(),
                    "size": checkpoint.size(),
                    "root": checkpoint.root().to_string(),
                })
            });
            let errors = self.check.faults().iter().map(ToString::to_string).collect::<Vec<_>>();
            ignore_closed(self.output.json(&json!({
                "bundle": command.path.to_string_lossy(),
                "entries": self.entries,
                "proved": self.proved,
                "checkpoint": checkpoint,
                "witnesses": self.check.witnesses(),
                "errors": errors,
            })))?;
        }
        ignore_closed(self.output.flush())
    }
}
