//! The URL of a place in an object store.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, RetryConfig};

use super::ObjectError;
use super::http::Connector;
use crate::settings::Mismatch;

const EXPECTED: &str = "a URL such as s3://bucket/prefix, gs://bucket/prefix, \
                        az://container/prefix or file:///folder";

/// `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///folder`. It has no
/// credentials: those are in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BucketUrl {
    scheme: Scheme,
    /// The name of the bucket or container; empty for a folder.
    bucket: String,
    /// The prefix in the bucket, or the folder.
    prefix: Path,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    S3,
    Google,
    Azure,
    File,
}

impl Scheme {
    const ALL: [(&'static str, Scheme); 4] =
        [("s3", Scheme::S3), ("gs", Scheme::Google), ("az", Scheme::Azure), ("file", Scheme::File)];
}

impl FromStr for BucketUrl {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<BucketUrl, Mismatch> {
        let bad = || Mismatch::text(text, EXPECTED);
        if text.contains('@') {
            return Err(Mismatch::new("a URL with an @, as credentials have it", EXPECTED));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let (_, scheme) = *Scheme::ALL.iter().find(|(word, _)| *word == scheme).ok_or_else(bad)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if rest.contains(['?', '#']) || bucket.is_empty() != (scheme == Scheme::File) {
            return Err(bad());
        }
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|_| bad())?;
        Ok(BucketUrl { scheme, bucket: bucket.to_owned(), prefix })
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Scheme::ALL.iter().find(|(_, scheme)| *scheme == self.scheme);
        let (word, bucket) = (word.map_or("", |(word, _)| word), &self.bucket);
        match self.prefix.as_ref() {
            "" => write!(f, "{word}://{bucket}"),
            prefix => write!(f, "{word}://{bucket}/{prefix}"),
        }
    }
}

impl BucketUrl {
    /// The same bucket, with `name` added to the prefix.
    pub(crate) fn join(&self, name: &str) -> BucketUrl {
        let prefix = self.prefix.parts().chain(Path::from(name).parts()).collect();
        BucketUrl { prefix, ..self.clone() }
    }

    /// What every key in the store begins with.
    pub(super) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// A client for the whole store. `retry` repeats calls that failed.
    pub(super) fn connect(&self, retry: bool) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        let mut retries = RetryConfig::default();
        if !retry {
            retries.max_retries = 0;
        }
        let place = |why: String| ObjectError::Place { url: self.to_string(), why };
        let connector = Connector::from_env().map_err(|error| place(error.to_string()))?;
        let store: Result<Arc<dyn ObjectStore>, _> = match self.scheme {
            Scheme::S3 => AmazonS3Builder::from_env()
                .with_bucket_name(&self.bucket)
                .with_conditional_put(S3ConditionalPut::ETagMatch)
                .with_retry(retries)
                .with_http_connector(connector)
                .build()
                .map(|store| Arc::new(store) as _),
            Scheme::Google => GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(&self.bucket)
                .with_retry(retries)
                .with_http_connector(connector)
                .build()
                .map(|store| Arc::new(store) as _),
            Scheme::Azure => MicrosoftAzureBuilder::from_env()
                .with_container_name(&self.bucket)
                .with_retry(retries)
                .with_http_connector(connector)
                .build()
                .map(|store| Arc::new(store) as _),
            Scheme::File => {
                let folder = PathBuf::from(format!("/{}", self.prefix));
                std::fs::create_dir_all(&folder).map_err(|error| place(error.to_string()))?;
                // The prefix is in every path already.
                LocalFileSystem::new_with_prefix("/")
                    .map(|store| Arc::new(store.with_fsync(true)) as _)
            }
        };
        store.map_err(|error| place(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in ["s3://b", "s3://b/p/q", "gs://b/p", "az://c/p", "file:///srv/journal"] {
            assert_eq!(good.parse::<BucketUrl>().unwrap().to_string(), good);
        }
        let joined = "s3://b/p/".parse::<BucketUrl>().unwrap().join("x/y");
        assert_eq!(joined.to_string(), "s3://b/p/x/y");
        for bad in [
            "",
            "b/p",
            "s3://",
            "s3:///p",
            "http://b/p",
            "file://srv/x",
            "s3://k:s@b",
            "s3://b?x",
            "s3://b/../x",
            "s3://b//x",
        ] {
            assert!(bad.parse::<BucketUrl>().is_err(), "{bad}");
        }
    }
}
