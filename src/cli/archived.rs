//! Which archive in object storage a command is about, and `--archive`: a command reads entries from it,
//! not from the store.

use clap::Args;
use tokio::runtime::Runtime;

use super::exit::Failure;
use super::print::LinePieces;
use super::terminal::tell;
use crate::archive::read::{Archive, Order, Scan};
use crate::config::{self, Flags};
use crate::objects::BucketUrl;
use crate::search::{self, Filter};

/// The place of an archive, and the store that it is of.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The URL of the archive: s3://, gs://, az:// or file:// [default: `[archive] url`]
    #[arg(long, value_name = "URL")]
    archive_url: Option<String>,

    /// The id of the store, if the archive has several
    #[arg(long = "store", value_name = "ID")]
    store_id: Option<String>,
}

/// Where to read entries from, if not from the store.
#[derive(Clone, Debug, Args)]
pub(crate) struct ArchiveArgs {
    /// Read the archive, not the store; so does --archive-url
    #[arg(long)]
    archive: bool,

    #[command(flatten)]
    place: PlaceArgs,
}

/// An open archive.
pub(crate) struct Archived {
    archive: Archive,
    /// Makes the requests of `archive`.
    _runtime: Runtime,
}

impl PlaceArgs {
    /// The URL: the one that is given, or else that of the configuration. `flags` say where that is.
    pub(crate) fn url(&self, flags: &Flags) -> Result<BucketUrl, Failure> {
        match &self.archive_url {
            Some(url) => {
                url.parse().map_err(|error| Failure::usage(format!("--archive-url is {error}")))
            }
            None => config::archive(flags).map_err(Failure::usage)?.url.ok_or_else(|| {
                Failure::usage("the configuration has no url in [archive]; use --archive-url URL")
            }),
        }
    }

    /// The id of the store, if one is named.
    pub(crate) fn store(&self) -> Option<&str> {
        self.store_id.as_deref()
    }
}

impl ArchiveArgs {
    /// Opens the archive, if one is asked for. `flags` say where the configuration is.
    pub(crate) fn open(&self, flags: &Flags) -> Result<Option<Archived>, Failure> {
        if !self.archive && self.place.archive_url.is_none() {
            return match self.place.store() {
                None => Ok(None),
                Some(_) => Err(Failure::usage("--store: use it with --archive or --archive-url")),
            };
        }
        let url = self.place.url(flags)?;
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build()?;
        let archive = Archive::open(&url, self.place.store(), runtime.handle().clone());
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
