//! The page of outputs: where each writes to, how far it is behind, what it did last, and its dead
//! letters. If actions are allowed, an output can be tested, retried and reset.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use hyper::{HeaderMap, StatusCode};

use super::done::DonePage;
use super::link::Link;
use super::shell::Shell;
use super::text::{SafeText, TimeTag, bytes, count, plural};
use super::{HtmlProblem, page, secret_page};
use crate::clock::now;
use crate::console::Console;
use crate::console::actions::{Action, CsrfToken};
use crate::console::download::download;
use crate::console::lag::{behind_of, is_behind};
use crate::console::problem::Problem;
use crate::entry::Millis;
use crate::net::percent_encoded;
use crate::output::{
    Activity, LastRequest, RecentLetters, ResetTo, RunningOutput, Tested, recent_letters,
};
use crate::search;
use crate::store::OutputStanding;

/// The number of dead letters that are shown.
const LETTERS: usize = 20;

#[derive(Template)]
#[template(path = "outputs.html")]
pub(super) struct OutputsPage {
    pub(super) shell: Shell,
    pub(super) outputs: Vec<OutputRow>,
    /// Present if actions are allowed.
    pub(super) csrf: Option<CsrfToken>,
}

pub(super) struct OutputRow {
    pub(super) name: SafeText,
    /// `works`, `behind`, `failed` or `does not run`.
    pub(super) state: &'static str,
    pub(super) is_bad: bool,
    /// What is known of the running output.
    pub(super) running: Option<RunningRow>,
    pub(super) behind: String,
    /// The start of the lag, if it is long.
    pub(super) since: Option<TimeTag>,
    pub(super) rate: String,
    pub(super) written: String,
    /// Entries that retention deleted before they were sent.
    pub(super) lost: Option<String>,
    pub(super) error: Option<(TimeTag, SafeText)>,
    /// The number of dead letters in all.
    pub(super) dead_letters: u64,
}

/// What only a running output tells.
pub(super) struct RunningRow {
    pub(super) type_name: &'static str,
    pub(super) destination: SafeText,
    pub(super) format: &'static str,
    pub(super) wrote: Option<(TimeTag, String)>,
    pub(super) request: Option<RequestRow>,
    pub(super) waits_until: Option<TimeTag>,
    pub(super) letters_file: SafeText,
    pub(super) letters: Vec<LetterRow>,
    /// Whether the file has other letters than those shown.
    pub(super) has_more: bool,
    pub(super) download: Link,
    pub(super) test: Link,
    pub(super) retry: Link,
    pub(super) reset: Link,
}

pub(super) struct RequestRow {
    pub(super) at: TimeTag,
    pub(super) answer: SafeText,
    pub(super) is_bad: bool,
    pub(super) what: String,
}

pub(super) struct LetterRow {
    pub(super) at: Option<TimeTag>,
    pub(super) status: String,
    pub(super) reason: SafeText,
    pub(super) entry: Option<(u64, Link)>,
}

/// `GET /outputs`
pub(super) async fn show(State(console): State<Arc<Console>>) -> Result<Response, HtmlProblem> {
    let standings = console.read(|reader| reader.output_standings(now())).await?;
    let all = Arc::clone(&console.outputs);
    let known = console.blocking(move || Ok(with_letters(all.running()))).await?;
    let shell = console.shell("Outputs", "/outputs").await;
    let csrf = console.actions.token();
    let outputs = output_rows(&standings, &known, now());
    Ok(secret_page(StatusCode::OK, &OutputsPage { shell, outputs, csrf }))
}

/// The running outputs with their last dead letters.
fn with_letters(running: Vec<RunningOutput>) -> Vec<(RunningOutput, RecentLetters)> {
    let letters = |one: &RunningOutput| {
        recent_letters(&one.dead_letters, LETTERS).unwrap_or_else(|error| {
            let file = one.dead_letters.display();
            tracing::warn!(%error, %file, "the dead letters cannot be read");
            RecentLetters::default()
        })
    };
    running
        .into_iter()
        .map(|one| (letters(&one), one))
        .map(|(letters, one)| (one, letters))
        .collect()
}

/// The configured outputs, in order.
pub(super) fn output_rows(
    standings: &[OutputStanding],
    running: &[(RunningOutput, RecentLetters)],
    now: Millis,
) -> Vec<OutputRow> {
    let running: HashMap<&str, _> =
        running.iter().map(|(one, letters)| (one.name.as_str(), (one, letters))).collect();
    let row = |standing: &OutputStanding| {
        let known = running.get(standing.name.as_str()).copied();
        output_row(standing, known.map(|(one, letters)| running_row(one, letters)), now)
    };
    standings.iter().filter(|one| one.configured).map(row).collect()
}

fn output_row(standing: &OutputStanding, running: Option<RunningRow>, now: Millis) -> OutputRow {
    let is_behind = is_behind(standing, now);
    let state = match (&running, &standing.error) {
        (_, Some(_)) => "failed",
        (None, None) => "does not run",
        (Some(_), None) if is_behind => "behind",
        (Some(_), None) => "works",
    };
    OutputRow {
        name: SafeText::new(&standing.name),
        state,
        is_bad: state != "works",
        running,
        behind: plural(standing.behind, "entry", "entries"),
        since: standing.behind_since.filter(|_| is_behind).map(TimeTag),
        rate: format!("{:.1}", standing.rate),
        written: count(standing.written),
        lost: (standing.lost > 0).then(|| count(standing.lost)),
        error: standing
            .error
            .as_deref()
            .zip(standing.failed_at)
            .map(|(error, at)| (TimeTag(at), SafeText::new(error))),
        dead_letters: standing.dead_letters,
    }
}

fn running_row(one: &RunningOutput, recent: &RecentLetters) -> RunningRow {
    let Activity { write, request, waits_until } = &one.activity;
    let link =
        |what: &str| Link::new(&format!("/outputs/{}/{what}", percent_encoded(&one.name)), &[]);
    let letters = recent.letters.iter().map(|letter| LetterRow {
        at: TimeTag::parse(&letter.time),
        status: letter.status.map(|status| status.to_string()).unwrap_or_default(),
        reason: SafeText::truncated(&letter.reason, 500),
        entry: letter.entry.id.map(|id| (id, Link::to_entry(id))),
    });
    RunningRow {
        type_name: one.type_name,
        destination: SafeText::truncated(&one.destination, 500),
        format: one.format,
        wrote: write
            .as_ref()
            .map(|write| (TimeTag(write.at), plural(write.lines, "entry", "entries"))),
        request: request.as_ref().map(request_row),
        waits_until: waits_until.map(TimeTag),
        letters_file: SafeText::new(&one.dead_letters.display().to_string()),
        letters: letters.collect(),
        has_more: recent.has_more,
        download: link("dead-letters"),
        test: link("test"),
        retry: link("retry"),
        reset: link("reset"),
    }
}

fn request_row(request: &LastRequest) -> RequestRow {
    let what = format!(
        "{}, {}, {} ms",
        plural(request.entries as u64, "entry", "entries"),
        bytes(request.bytes as u64),
        request.took.as_millis()
    );
    let (answer, is_bad) = match &request.answer {
        Ok(status) => (SafeText::new(&status.to_string()), !(200..300).contains(status)),
        Err(why) => (SafeText::truncated(why, 500), true),
    };
    RequestRow { at: TimeTag(request.at), answer, is_bad, what }
}

/// One line about all outputs, for the overview. `None` without outputs.
pub(super) fn summary(standings: &[OutputStanding], now: Millis) -> Option<String> {
    let (all, behind) = behind_of(standings, now);
    (all > 0).then(|| format!("{}, {behind} behind", plural(all, "output", "outputs")))
}

/// No output of this name runs.
fn missing(name: &str) -> Problem {
    let name: String = name.chars().take(64).collect();
    Problem::not_found(format!("there is no running output {name:?}"))
}

/// `GET /outputs/{name}/dead-letters`
pub(super) async fn dead_letters(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
) -> Result<Response, HtmlProblem> {
    let found = console.outputs.running().into_iter().find(|one| one.name == name);
    let output = found.ok_or_else(|| missing(&name))?;
    Ok(download(output.dead_letters, &format!("dead-letters-{}.jsonl", output.name)).await?)
}

/// `POST /outputs/{name}/test`
pub(super) async fn test(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    action: Action,
) -> Result<Response, HtmlProblem> {
    let output = console.outputs.settings(&name).ok_or_else(|| missing(&name))?;
    let permit = console.actions.waiting()?;
    action.record(&console, "test output", &output.name).await?;
    let test = move || {
        let tested = output.test();
        // The test goes on if the visitor leaves.
        drop(permit);
        Ok(tested)
    };
    let Tested { line, ignores_filter, trial } = console.blocking(test).await?;
    let (mut lines, is_good) = match trial {
        Ok(trial) => (trial.lines, trial.is_taken),
        Err(error) => (vec![error.to_string()], false),
    };
    if ignores_filter {
        lines.push(
            "The filter and not_valid of the output are ignored here: they may exclude an entry \
             like this."
                .to_owned(),
        );
    }
    let heading = match is_good {
        true => format!("The test of {name} succeeded"),
        false => format!("The test of {name} failed"),
    };
    let done = DonePage {
        shell: console.shell("Test of an output", "/outputs").await,
        heading: SafeText::new(&heading),
        is_good,
        lines: lines.iter().map(|line| SafeText::truncated(line, 2000)).collect(),
        sent: Some(("The made-up entry", SafeText::prefix(line.trim_ascii_end(), 4000))),
        back: (Link::new("/outputs", &[]), "Back to the outputs"),
    };
    Ok(page(StatusCode::OK, &done))
}

/// `POST /outputs/{name}/retry`
pub(super) async fn retry(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    action: Action,
) -> Result<Response, HtmlProblem> {
    let output = console.outputs.settings(&name).ok_or_else(|| missing(&name))?;
    action.record(&console, "retry output", &output.name).await?;
    if !console.outputs.retry(&name) {
        return Err(missing(&name).into());
    }
    let done = DonePage {
        shell: console.shell("Retry of an output", "/outputs").await,
        heading: SafeText::new(&format!("{name} tries again now")),
        is_good: true,
        lines: vec![SafeText::new("If it fails again, the outputs show the new error.")],
        sent: None,
        back: (Link::new("/outputs", &[]), "Back to the outputs"),
    };
    Ok(page(StatusCode::OK, &done))
}

#[derive(Template)]
#[template(path = "reset.html")]
pub(super) struct ResetPage {
    pub(super) shell: Shell,
    pub(super) name: SafeText,
    pub(super) action: Link,
    pub(super) csrf: CsrfToken,
    /// The time as it was written, and what is wrong with it.
    pub(super) since: String,
    pub(super) fault: Option<SafeText>,
}

/// `GET /outputs/{name}/reset`
pub(super) async fn ask_reset(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(csrf) = console.actions.token() else {
        return crate::console::problem_response(Problem::actions_are_off(), &headers);
    };
    match console.outputs.settings(&name) {
        None => HtmlProblem(missing(&name)).into_response(),
        Some(_) => {
            let asked = reset_page(&console, &name, csrf, String::new(), None).await;
            secret_page(StatusCode::OK, &asked)
        }
    }
}

async fn reset_page(
    console: &Console,
    name: &str,
    csrf: CsrfToken,
    since: String,
    fault: Option<SafeText>,
) -> ResetPage {
    ResetPage {
        shell: console.shell("Reset of an output", "/outputs").await,
        name: SafeText::new(name),
        action: Link::new(&format!("/outputs/{}/reset", percent_encoded(name)), &[]),
        csrf,
        since,
        fault,
    }
}

/// `POST /outputs/{name}/reset`
pub(super) async fn reset(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    action: Action,
) -> Result<Response, HtmlProblem> {
    let output = console.outputs.settings(&name).ok_or_else(|| missing(&name))?;
    let (to, since) = (action.field("to"), action.field("since").trim());
    let target = match to {
        "oldest" => Ok(ResetTo::Oldest),
        "newest" => Ok(ResetTo::Newest),
        "since" => search::time::parse(since, now().get())
            .map(|time| ResetTo::Since(Millis::saturating(time)))
            .map_err(|error| error.to_string()),
        _ => Err("choose where the output goes on".to_owned()),
    };
    let target = match (target, console.actions.token()) {
        (Ok(target), _) => target,
        (Err(why), Some(csrf)) => {
            let fault = Some(SafeText::truncated(&why, 300));
            let since = since.chars().take(100).filter(|c| !c.is_control()).collect();
            let asked = reset_page(&console, &name, csrf, since, fault).await;
            return Ok(secret_page(StatusCode::BAD_REQUEST, &asked));
        }
        (Err(why), None) => return Err(Problem::bad_request(why).into()),
    };
    let detail = match target {
        ResetTo::Oldest => format!("{} to the oldest entry", output.name),
        ResetTo::Newest => format!("{} to the newest entry", output.name),
        ResetTo::Since(time) => format!("{} to the entries received since {time}", output.name),
    };
    action.record(&console, "reset output", &detail).await?;
    let (outputs, named) = (Arc::clone(&console.outputs), name.clone());
    let position = console.blocking(move || Ok(outputs.reset(&named, target)?)).await?;
    let position = position.ok_or_else(|| missing(&name))?;
    let done = DonePage {
        shell: console.shell("Reset of an output", "/outputs").await,
        heading: SafeText::new(&format!("{name} was reset")),
        is_good: true,
        lines: vec![SafeText::new(&format!("It goes on with entry {}.", position.next_id))],
        sent: None,
        back: (Link::new("/outputs", &[]), "Back to the outputs"),
    };
    Ok(page(StatusCode::OK, &done))
}
