//! Arguments that several commands share: the data directory, the query, the time range, the keys.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use unicode_width::UnicodeWidthStr;

use super::exit::{Exit, Failure};
use super::terminal::{sanitise, tell};
use crate::clock::now;
use crate::config::{self, Flags, KeySource, Region};
use crate::keys;
use crate::net::{Client, ClientOptions};
use crate::search::{self, Filter, QueryError};
use crate::signature::KeySet;
use crate::store::{Directory, Reader, TimeRange};

/// The data directory.
#[derive(Clone, Debug, Args)]
pub(crate) struct StoreArgs {
    /// The data directory [default: vidimus-data] [env: VIDIMUS_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The query.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// The query, such as `kind:access AND status:>=400` [default: all entries]
    #[arg(value_name = "QUERY")]
    query: Vec<String>,
}

/// The time range, unlimited by default.
#[derive(Debug, Args)]
pub(crate) struct TimeArgs {
    /// Start at this time: RFC 3339, a date, or an age (15m, 6h, 7d)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// End before this time: RFC 3339, a date, or an age
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl StoreArgs {
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        config::data_dir(&self.flags(), &|name| std::env::var(name).ok()).map_err(Failure::usage)
    }

    /// Opens the data directory for writing.
    pub(crate) fn directory(&self) -> Result<Directory, Failure> {
        Directory::open(&self.path()?).map_err(Failure::failed)
    }

    /// Opens the store for reading.
    pub(crate) fn reader(&self) -> Result<Reader, Failure> {
        let directory = Directory::open_to_read(&self.path()?)?;
        Reader::open(&directory).map_err(Failure::failed)
    }

    /// The flags for the configuration.
    pub(crate) fn flags(&self) -> Flags {
        let StoreArgs { data_dir, config } = self.clone();
        Flags { data_dir, config, ..Flags::default() }
    }
}

impl QueryArgs {
    /// Whether no query is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.query.is_empty()
    }

    /// Parses the query.
    pub(crate) fn filter(&self) -> Result<Filter, Failure> {
        let query = self.query.join(" ");
        search::parse(&query, now().get()).map_err(|error| Failure::usage(explain(&query, &error)))
    }
}

impl TimeArgs {
    /// Parses the range.
    pub(crate) fn range(&self) -> Result<TimeRange, Failure> {
        let range = search::time::range(self.since.as_deref(), self.until.as_deref(), now().get());
        let (since, until) =
            range.map_err(|(end, error)| Failure::usage(format!("--{end}: {error}")))?;
        Ok(TimeRange { since, until })
    }
}

/// Says what the query is likely to have wrong, for it matches nothing.
pub(crate) fn print_hints(reader: &Reader, filter: &Filter) -> Result<(), Failure> {
    let hints = reader.hints(filter)?;
    hints.iter().for_each(|hint| tell(format_args!("note: {hint}")));
    Ok(())
}

/// The result of a command that has printed everything it could read. It reports segments that
/// could not be read.
pub(crate) fn report_unreadable(reader: &Reader) -> Result<Exit, Failure> {
    let left_out = reader.left_out();
    if left_out.is_empty() {
        return Ok(Exit::Done);
    }
    for reason in &left_out {
        tell(format_args!("warning: {reason}"));
    }
    let what = if left_out.len() == 1 { "a segment" } else { "some segments" };
    Err(Failure::failed(format!(
        "{what} of the store cannot be read, so entries are missing here; `vidimus store \
         check` checks the whole store"
    )))
}

/// The error, and the query with a mark under the position.
fn explain(query: &str, error: &QueryError) -> String {
    let before: String = query.chars().take(error.position).collect();
    // Measured as shown, because a character may be replaced by one of another width.
    let column = sanitise(&before).width();
    format!("{error}\n    {}\n    {:column$}^", sanitise(query), "")
}

/// Key sources that are given on the command line alone.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct GivenKeyArgs {
    /// Use this JWK set: a file, an https URL, or an http URL on the loopback address. Can be
    /// repeated
    #[arg(long, value_name = "FILE-OR-URL")]
    jwks: Vec<String>,
    /// Use Konnect's keys for this region: us, eu, au, me, in, sg, another, or auto for all of these
    #[arg(long, value_name = "REGION")]
    region: Option<Region>,
}

impl GivenKeyArgs {
    /// Reads the keys like [`KeyArgs::read`], if a source is given.
    pub(crate) fn read(&self) -> Result<Option<Arc<KeySet>>, Failure> {
        let keys = KeyArgs { given: self.clone(), config: None }.read_given()?;
        match keys {
            Some(keys) if keys.is_empty() => {
                Err(Failure::failed("no keys to verify with: the key set has no usable key"))
            }
            keys => Ok(keys.map(Arc::new)),
        }
    }
}

/// The key sources of a command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct KeyArgs {
    #[command(flatten)]
    given: GivenKeyArgs,
    /// Use the [keys] of this configuration file, unless --jwks or --region is given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl KeyArgs {
    pub(crate) fn sources(&self) -> Result<Vec<KeySource>, Failure> {
        let sources = config::keys(&self.clone().into_flags()).map_err(Failure::usage)?.sources;
        if sources.is_empty() {
            return Err(Failure::failed(
                "no keys to verify with: use --jwks FILE-OR-URL, or --region for Konnect's keys",
            ));
        }
        Ok(sources)
    }

    /// Reads the keys. A bad key is a warning. A key set that cannot be read is an error, because
    /// the entries it signed would be reported as invalid.
    pub(crate) fn read(&self) -> Result<KeySet, Failure> {
        let sources = self.sources()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime?.block_on(read(sources))
    }

    /// Reads the keys like [`KeyArgs::read`], if a source is given.
    pub(crate) fn read_given(&self) -> Result<Option<KeySet>, Failure> {
        let given = config::keys(&self.clone().into_flags()).map_err(Failure::usage)?;
        if given.sources.is_empty() { Ok(None) } else { self.read().map(Some) }
    }

    pub(crate) fn into_flags(self) -> Flags {
        let GivenKeyArgs { jwks, region } = self.given;
        Flags { config: self.config, jwks, region, ..Flags::default() }
    }
}

/// Reads all key sets in parallel.
async fn read(sources: Vec<KeySource>) -> Result<KeySet, Failure> {
    let client = Client::new(ClientOptions::default())?;
    let reads: Vec<_> = sources
        .into_iter()
        .map(|source| {
            let client = client.clone();
            tokio::spawn(async move { (keys::read(&source, &client).await, source) })
        })
        .collect();
    let mut all = Vec::new();
    for read in reads {
        let (set, source) = read.await?;
        let (set, bad) = set?;
        bad.iter().for_each(|bad| tell(format_args!("warning: {source}: {bad}")));
        all.extend(set.keys().iter().map(Arc::clone));
    }
    Ok(KeySet::new(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, mark: &str) {
        let error = search::parse(query, 0).unwrap_err();
        let explained = explain(query, &error);
        let lines: Vec<_> = explained.lines().collect();
        assert_eq!(lines[0], error.to_string());
        assert_eq!(lines[2], format!("    {mark}"), "{explained}");
    }

    #[test]
    fn the_mark_is_under_the_position() {
        check("status:abc", "       ^");
        check("name:a AND", "          ^");
        check("王 status:abc", "          ^");
        check("\"\x1b\" status:abc", "           ^");
    }
}
