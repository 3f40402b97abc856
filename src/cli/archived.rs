//! `--archive`: a command reads entries from the archive in object storage, not from the store.

use clap::Args;
use tokio::runtime::Runtime;

use super::exit::Failure;
use super::print::LinePieces;
use super::terminal::tell;
use crate::archive::read::{Archive, Order, Scan};
use crate::config::{self, Flags};
use crate::objects::BucketUrl;
use crate::search::{self, Filter};

/// Where to read entries from, if not from the store.
#[derive(Clone, Debug, Args)]
pub(crate) struct ArchiveArgs {
    /// Read the archive at the `[archive] url` of the configuration, not the store
    #[arg(long)]
    archive: bool,

    /// Read the archive at this URL: s3://, gs://, az:// or file://
    #[arg(long, value_name = "URL")]
    archive_url: Option<String>,

    /// Read the archive of the store with this id; only needed if the place has several
    #[arg(long, value_name = "ID")]
    store: Option<String>,
}

/// An open archive.
pub(crate) struct Archived {
    archive: Archive,
    /// Makes the requests of `archive`.
    _runtime: Runtime,
}

impl ArchiveArgs {
    /// Opens the archive, if one is asked for. `flags` say where the configuration is.
    pub(crate) fn open(&self, flags: &Flags) -> Result<Option<Archived>, Failure> {
        let url = match &self.archive_url {
            Some(url) => url
                .parse::<BucketUrl>()
                .map_err(|error| Failure::usage(format!("--archive-url is {error}")))?,
            None if self.archive => {
                let archive = config::archive(flags).map_err(Failure::usage)?;
                archive.url.ok_or_else(|| {
                    Failure::usage(
                        "--archive: the configuration has no url in [archive]; use --archive-url URL",
                    )
                })?
            }
            None if self.store.is_some() => {
                return Err(Failure::usage("--store: use it with --archive or --archive-url"));
            }
            None => return Ok(None),
        };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build()?;
        let archive = Archive::open(&url, self.store.as_deref(), runtime.handle().clone());
        Ok(Some(Archived { archive: archive?, _runtime: runtime }))
    }
}

impl Archived {
    /// All entries that match, in an order. The caller expects to read about `most`.
    pub(crate) fn scan(
        &self,
        filter: &Filter,
        order: Order,
        most: usize,
    ) -> Result<Scan<'_>, Failure> {
        self.archive.scan(filter, order, most).map_err(Failure::failed)
    }
}

impl LinePieces for Archived {
    fn line_piece(&self, id: u64, number: u64) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.archive.line_piece(id, number)?)
    }
}

/// Says what the query is likely to have wrong, for it matches nothing. Which fields entries have is
/// not known without reading them all.
pub(crate) fn print_hints(filter: &Filter) {
    let fields = search::undefined_fields(filter).into_iter().map(str::to_owned).collect();
    let hints = search::hints(filter, &fields);
    hints.iter().for_each(|hint| tell(format_args!("note: {hint}")));
}
