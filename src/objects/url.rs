//! The URL of a place in an object store.

use std::error::Error;
use std::fmt;
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
/// credentials: those are in the environment. It is shown without a slash at the end, so a place has one
/// text.
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
        if rest.contains(['?', '#'])
            || prefix.starts_with('/')
            || bucket.is_empty() != (scheme == Scheme::File)
        {
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
    /// What every key in the store begins with.
    pub(super) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// Whether it is a folder of files.
    pub(super) fn is_folder(&self) -> bool {
        self.scheme == Scheme::File
    }

    /// A client for the whole store, which makes every call once. `endpoint` is another endpoint of S3
    /// than that of the environment.
    pub(super) fn connect(
        &self,
        endpoint: Option<&str>,
    ) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        let place = |why: String| ObjectError::Place { url: self.to_string(), why };
        if endpoint.is_some() && self.scheme != Scheme::S3 {
            return Err(place("only a bucket of S3 has endpoints to choose from".to_owned()));
        }
        if self.is_folder() {
            return self.folder().map_err(|error| place(error.to_string()));
        }
        let connector = Connector::from_env().map_err(|error| place(error.to_string()))?;
        self.client(connector, endpoint).map_err(|error| place(error.to_string()))
    }

    fn folder(&self) -> Result<Arc<dyn ObjectStore>, Box<dyn Error>> {
        std::fs::create_dir_all(format!("/{}", self.prefix))?;
        // The prefix is in every path already.
        Ok(Arc::new(LocalFileSystem::new_with_prefix("/")?.with_fsync(true)))
    }

    fn client(
        &self,
        connector: Connector,
        endpoint: Option<&str>,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        let bucket = &self.bucket;
        let retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        Ok(match self.scheme {
            Scheme::Google => Arc::new(
                GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(retries)
                    .with_http_connector(connector)
                    .build()?,
            ),
            Scheme::Azure => Arc::new(
                MicrosoftAzureBuilder::from_env()
                    .with_container_name(bucket)
                    .with_retry(retries)
                    .with_http_connector(connector)
                    .build()?,
            ),
            Scheme::S3 | Scheme::File => {
                let mut builder = AmazonS3Builder::from_env();
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                Arc::new(
                    builder
                        .with_bucket_name(bucket)
                        .with_conditional_put(S3ConditionalPut::ETagMatch)
                        .with_retry(retries)
                        .with_http_connector(connector)
                        .build()?,
                )
            }
        })
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
        for (written, shown) in [
            ("s3://b/p/", "s3://b/p"),
            ("s3://b/", "s3://b"),
            ("file:///srv/archive/", "file:///srv/archive"),
        ] {
            assert_eq!(written.parse::<BucketUrl>().unwrap().to_string(), shown);
        }
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
