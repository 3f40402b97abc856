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
use crate::signature::{KeySet, Verdict};
use crate::tlog::note::{KeyType, VerifierKey};
use crate::tlog::policy::Policy;

/// The number of entries that are checked before they are printed.
const SLICE: usize = 8192;

/// Check what an evidence bundle proves, without the store that it is from
///
/// For each entry a line says whether its signature is valid and under which key, whether the log
/// has it, and whether witnesses cosigned the checkpoint. Nothing in the bundle is trusted, except
/// for Konnect's keys if neither `--jwks` nor `--region` is given: that is said then. Nothing is
/// fetched unless `--region` or a URL is given.
///
/// Without `--policy`, cosignatures are not checked and every entry is `not witnessed`. With it, a
/// checkpoint that the policy does not accept proves nothing.
///
/// Exit codes: 0 every entry is valid and in the log, and the policy is met, 1 not, or something
/// does not belong into a bundle, 2 usage error, 3 there is no key or the bundle could not be read.
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
        let bundle = Bundle::open(&self.path)?;
        let is_given = given.is_some();
        let keys = match given {
            Some(keys) => Some(keys),
            None => keys_of(&bundle)?,
        };
        let no_key = keys.as_ref().is_none_or(KeySet::is_empty);
        let keys = keys.unwrap_or_default();
        let trust = Trust { logs: &logs, policy: policy.as_ref(), keys: &keys };
        let check = Check::new(&bundle, &trust, random::seed()?);
        let mut report = Report {
            check: &check,
            output: Output::new(),
            format: self.output,
            is_given,
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
        self.tell_of_trust(&check, is_given);
        if no_key {
            tell("error: no keys to verify with: use --region, or --jwks FILE-OR-URL");
        }
        let is_good = check.faults().is_empty() && proved == entries;
        Ok(match () {
            () if no_key || is_unreadable => Exit::Failed,
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

    /// The policy. If it lists logs, those of the command must be among them. None is its own witness.
    fn policy(&self, logs: &[VerifierKey]) -> Result<Option<Policy>, Failure> {
        let Some(path) = &self.policy else { return Ok(None) };
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::usage(format!("--policy {}: {why}", path.display()))
        };
        let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
        let policy = Policy::parse(&bytes).map_err(|error| wrong(&error))?;
        let is_log = |key: &VerifierKey| logs.iter().any(|log| log.public() == key.public());
        if let Some(witness) = policy.witnesses().find(|witness| is_log(&witness.key)) {
            return Err(wrong(&format!("the witness {} has the key of the log", witness.key)));
        }
        let is_listed = |log: &VerifierKey| policy.logs().iter().any(|one| one.key == *log);
        match policy.logs().is_empty() || logs.iter().all(is_listed) {
            true => Ok(Some(policy)),
            false => Err(wrong(&"it lists logs, and the one of --log-key is not among them")),
        }
    }

    /// Says what was trusted, and what was not looked at.
    fn tell_of_trust(&self, check: &Check<'_>, is_given: bool) {
        if !is_given {
            tell(
                "note: Konnect's keys are those of the bundle. Whoever made it chose them: use --region, \
                 or --jwks, to verify with keys from elsewhere",
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

/// The keys in the bundle, if it has a set.
fn keys_of(bundle: &Bundle) -> Result<Option<KeySet>, Failure> {
    let Some(json) = bundle.keys()? else { return Ok(None) };
    let (keys, bad) = KeySet::parse(&json)
        .map_err(|error| Failure::failed(format!("jwks.json in the bundle: {error}")))?;
    bad.iter().for_each(|bad| tell(format_args!("warning: jwks.json in the bundle: {bad}")));
    Ok(Some(keys))
}

/// What is printed.
struct Report<'a> {
    check: &'a Check<'a>,
    output: Output,
    format: PrintFormat,
    /// Whether Konnect's keys are not those of the bundle.
    is_given: bool,
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
            let from = if self.is_given { "" } else { " of the bundle" };
            details.push(format!("key {}{from}", proof.key().kid()));
        }
        details.extend(verdict.and_then(Verdict::reason).map(str::to_owned));
        let in_log = match found.leaf {
            Some(leaf) => format!("in the log at {leaf}"),
            None => "NOT in the log".to_owned(),
        };
        let witnessed = if self.check.is_witnessed() { "witnessed" } else { "not witnessed" };
        details.extend([in_log, witnessed.to_owned()]);
        details.extend(found.faults.iter().map(|fault| format!("ERROR: {fault}")));
        format!("{}  {word:9}  {}", found.id, details.join("; "))
    }

    fn json(&self, found: &Found) -> serde_json::Value {
        let verdict = found.verdict.as_ref();
        let key = verdict.and_then(Verdict::proof).map(|proof| proof.key());
        let recorded = found.recorded.map(|recorded| {
            json!({
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
            "key_from": key.map(|_| if self.is_given { "elsewhere" } else { "bundle" }),
            "in_log": found.leaf.is_some(),
            "leaf": found.leaf,
            "witnessed": self.check.is_witnessed(),
            "witnesses": self.check.witnesses(),
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
                "witnessed": self.check.is_witnessed(),
                "errors": errors,
            })))?;
        }
        ignore_closed(self.output.flush())
    }
}
