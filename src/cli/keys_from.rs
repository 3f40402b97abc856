//! The keys that a command is told to verify with.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::exit::Failure;
use super::terminal::tell;
use crate::config::{self, Flags, KeySource, Region};
use crate::keys;
use crate::net::{Client, ClientOptions};
use crate::signature::KeySet;

/// The key sources of a command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct KeysFrom {
    /// Use this JWK set: a file, an https URL, or an http URL on the loopback address. Can be
    /// repeated
    #[arg(long, value_name = "FILE-OR-URL")]
    jwks: Vec<String>,
    /// Use Konnect's keys for this region, or for all regions with `auto`
    #[arg(long, value_parser = region())]
    region: Option<Region>,
    /// Use the [keys] of this configuration file, unless --jwks or --region is given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn region() -> impl TypedValueParser<Value = Region> {
    PossibleValuesParser::new(Region::ALL.map(Region::as_str)).try_map(|word| word.parse())
}

impl KeysFrom {
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

    pub(crate) fn into_flags(self) -> Flags {
        Flags { config: self.config, jwks: self.jwks, region: self.region, ..Flags::default() }
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
