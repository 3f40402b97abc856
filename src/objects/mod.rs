//! Object storage: S3 and what speaks it, Google Cloud Storage, Azure Blob, and folders of files.
//!
//! [`Objects`] is what the journal needs: to create an object only if its key is free, to read one,
//! to ask whether there is one, and to delete one. [`Bucket`] has that, and what the archive and
//! backups need besides.
//!
//! - `url` reads the place from a URL.
//! - `http` lets the crate `object_store` use the project's own HTTP client, so that there is one TLS
//!   library and one way to find proxies and certificates.
//! - `retry` makes calls again that failed. `blocking` is for threads that may block.
//! - `watched` limits the time of calls and tells how they end.
//! - `series` finds the end of a series of objects.
//! - `check` checks that a store keeps what the journal relies on.

mod blocking;
pub(crate) mod check;
mod http;
mod retry;
pub(crate) mod series;
#[cfg(test)]
pub(crate) mod testing;
mod url;
pub(crate) mod watched;

use std::cell::RefCell;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};

pub(crate) use self::blocking::Blocking;
use self::retry::Retry;
pub(crate) use self::url::BucketUrl;
use crate::net::ClientError;

/// The largest file of the archive that is read whole, in bytes. A larger one is read in parts.
pub(crate) const MAX_OBJECT: usize = 256 << 20;

/// The largest object that can be read whole, in bytes.
pub(crate) const MOST_READ: usize = 512 << 20;

/// Why an object store did not do what it was asked. After a failed `create` the object may be there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectError {
    /// The place cannot be used: the settings or the environment are wrong.
    #[error("cannot use {url}: {why}")]
    Place { url: String, why: String },
    /// A call failed.
    #[error("cannot {doing} {key:?} in the object store: {why}")]
    Call { doing: &'static str, key: String, why: String },
    /// An object that was to be read in part is not there.
    #[error("{key:?} is not in the object store")]
    Missing { key: String },
    /// An object is larger than what is read whole. It will not get smaller.
    #[error("{key:?} in the object store is too large: expected at most {MOST_READ} bytes")]
    TooLarge { key: String },
    /// The object store refused a call: the credentials are wrong, or do not allow it.
    #[error("the object store does not allow to {doing} {key:?}: {why}")]
    Denied { doing: &'static str, key: String, why: String },
    /// The call was not made again because the program ends.
    #[error("the program is ending")]
    Stopped,
}

/// What became of an object that was to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    /// This call created it.
    Now,
    /// There is an object under this key, or another call was creating one.
    Exists,
}

/// An object store as the journal uses it. A create and a read are made once. The journal repeats them
/// itself.
pub(crate) trait Objects: Send + Sync + 'static {
    /// Creates the object `key` if there is none. An error says nothing of whether it was created.
    fn create(
        &self,
        key: &str,
        body: Bytes,
    ) -> impl Future<Output = Result<Created, ObjectError>> + Send;

    /// Reads the object `key`; `None` if there is none.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, ObjectError>> + Send;

    /// Whether there is an object `key`, of any size.
    fn exists(&self, key: &str) -> impl Future<Output = Result<bool, ObjectError>> + Send {
        async move { Ok(self.get(key).await?.is_some()) }
    }

    /// Deletes the object `key`. It is no error if there is none.
    fn delete(&self, key: &str) -> impl Future<Output = Result<(), ObjectError>> + Send;
}

/// A place in an object store: a bucket or a folder, and a prefix. Keys are relative to it.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    url: BucketUrl,
    /// Makes every call once.
    client: Arc<dyn ObjectStore>,
    retry: Retry,
}

impl Bucket {
    /// Opens the place. Credentials and endpoints come from the environment, as the crate
    /// `object_store` documents them: `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`,
    /// `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME` and the others. `AWS_CA_BUNDLE` names
    /// a PEM file with more certificates to trust. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ObjectError::Place`] if the environment lacks something or has something wrong.
    pub(crate) fn open(url: &BucketUrl) -> Result<Bucket, ObjectError> {
        Bucket::open_through(url, None)
    }

    /// Like [`Bucket::open`], through the endpoint of S3 at this URL instead of that of the environment.
    ///
    /// # Errors
    /// Also if the place is not in S3.
    pub(crate) fn open_through(
        url: &BucketUrl,
        endpoint: Option<&str>,
    ) -> Result<Bucket, ObjectError> {
        let client = url.connect(endpoint)?;
        Ok(Bucket { url: url.clone(), client, retry: Retry::default() })
    }

    /// The place as it was written.
    pub(crate) fn url(&self) -> &BucketUrl {
        &self.url
    }

    /// Reads some bytes of an object.
    ///
    /// # Errors
    /// [`ObjectError::Missing`] if there is none.
    pub(crate) async fn get_range(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<Bytes, ObjectError> {
        let path = self.path(key);
        let read = || async {
            match self.client.get_range(&path, range.clone()).await {
                Ok(bytes) => Ok(bytes),
                Err(Error::NotFound { .. }) => Err(ObjectError::Missing { key: key.to_owned() }),
                Err(error) => Err(call("read", key)(error)),
            }
        };
        self.retry.again(read).await
    }

    /// The size and the time of an object; `None` if there is none.
    pub(crate) async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, ObjectError> {
        self.retry.again(|| self.head_once(key)).await
    }

    async fn head_once(&self, key: &str) -> Result<Option<ObjectMeta>, ObjectError> {
        match self.client.head(&self.path(key)).await {
            Ok(meta) => Ok(Some(meta)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(call("look for", key)(error)),
        }
    }

    /// The keys under a prefix, which must be whole segments of a path. The order is that of the store.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, ObjectError> {
        let under = self.path(prefix);
        let listed = RefCell::new(Vec::<ObjectMeta>::new());
        let list = || async {
            // A listing that broke off goes on after its last key, if the store has an order.
            let in_order =
                |listed: &[ObjectMeta]| listed.is_sorted_by(|one, two| one.location < two.location);
            if self.url.is_folder() || !in_order(&listed.borrow()) {
                listed.borrow_mut().clear();
            }
            let last = listed.borrow().last().map(|last| last.location.clone());
            let mut rest = match &last {
                None => self.client.list(Some(&under)),
                Some(last) => self.client.list_with_offset(Some(&under), last),
            };
            while let Some(meta) = rest.try_next().await.map_err(call("list", prefix))? {
                listed.borrow_mut().push(meta);
            }
            Ok(())
        };
        self.retry.again(list).await?;
        let mut listed = listed.into_inner();
        let parts = self.url.prefix().parts().count();
        for meta in &mut listed {
            meta.location = meta.location.parts().skip(parts).collect();
        }
        Ok(listed)
    }

    /// Writes an object, also over one that is there. Only for what has one writer and may be read in any
    /// state: everything else is created, and never replaced.
    pub(crate) async fn replace(&self, key: &str, body: &Bytes) -> Result<(), ObjectError> {
        let path = self.path(key);
        let put = || async {
            let put = self.client.put(&path, PutPayload::from(body.clone())).await;
            put.map(drop).map_err(call("write", key))
        };
        self.retry.again(put).await
    }

    fn path(&self, key: &str) -> Path {
        self.url.prefix().parts().chain(Path::from(key).parts()).collect()
    }
}

impl Objects for Bucket {
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, ObjectError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.client.put_opts(&self.path(key), PutPayload::from(body), options).await {
            Ok(_) => Ok(Created::Now),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Created::Exists),
            Err(error) => Err(call("create", key)(error)),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
        let read = match self.client.get(&self.path(key)).await {
            Ok(found) if found.meta.size > MOST_READ as u64 => {
                return Err(ObjectError::TooLarge { key: key.to_owned() });
            }
            Ok(found) => found.bytes().await.map(Some),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        read.map_err(|error| match is_too_large(&error) {
            true => ObjectError::TooLarge { key: key.to_owned() },
            false => call("read", key)(error),
        })
    }

    async fn exists(&self, key: &str) -> Result<bool, ObjectError> {
        Ok(self.head_once(key).await?.is_some())
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let path = self.path(key);
        let delete = || async {
            match self.client.delete(&path).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(call("delete", key)(error)),
            }
        };
        self.retry.again(delete).await
    }
}

/// Whether the HTTP client found that the answer is over its limit.
fn is_too_large(error: &Error) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
        .any(|error| matches!(error.downcast_ref(), Some(ClientError::TooLarge { .. })))
}

fn call(doing: &'static str, key: &str) -> impl FnOnce(Error) -> ObjectError {
    move |error| {
        let (key, why) = (key.to_owned(), error.to_string());
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                ObjectError::Denied { doing, key, why }
            }
            _ => ObjectError::Call { doing, key, why },
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::client::{HttpError, HttpErrorKind};

    use super::*;

    #[tokio::test]
    async fn an_object_over_the_limit_is_told_from_a_failed_call() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display()).parse().unwrap();
        let bucket = Bucket::open(&url).unwrap();
        let file = std::fs::File::create(folder.path().join("x")).unwrap();
        file.set_len(MOST_READ as u64 + 1).unwrap();
        let error = bucket.get("x").await.unwrap_err();
        assert!(matches!(&error, ObjectError::TooLarge { key } if key == "x"), "{error}");
        assert!(bucket.exists("x").await.unwrap());

        let answered = |error| {
            let source = HttpError::new(HttpErrorKind::Unknown, error).into();
            is_too_large(&Error::Generic { store: "S3", source })
        };
        let url = || "https://a.example".to_owned();
        assert!(answered(ClientError::TooLarge { url: url(), max: 1 }));
        assert!(!answered(ClientError::Lost { url: url(), why: "it broke off".to_owned() }));
    }

    #[tokio::test]
    async fn a_folder_is_an_object_store() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}/a/b", folder.path().display()).parse().unwrap();
        let bucket = Bucket::open(&url).unwrap();
        assert_eq!(bucket.get("x/1").await.unwrap(), None);
        assert_eq!(bucket.create("x/1", "one".into()).await.unwrap(), Created::Now);
        assert_eq!(bucket.create("x/1", "two".into()).await.unwrap(), Created::Exists);
        assert_eq!(bucket.get("x/1").await.unwrap(), Some("one".into()));
        assert!(bucket.exists("x/1").await.unwrap() && !bucket.exists("x").await.unwrap());
        assert_eq!(bucket.get_range("x/1", 1..3).await.unwrap(), "ne");
        let missing = bucket.get_range("x/2", 1..3).await.unwrap_err();
        assert!(matches!(missing, ObjectError::Missing { .. }), "{missing}");
        assert_eq!(bucket.head("x/1").await.unwrap().map(|meta| meta.size), Some(3));
        let listed = bucket.list("x").await.unwrap();
        assert_eq!(listed[0].location.as_ref(), "x/1");
        bucket.delete("x/1").await.unwrap();
        bucket.delete("x/1").await.unwrap();
        assert_eq!(bucket.head("x/1").await.unwrap(), None);
        assert!(folder.path().join("a/b/x").is_dir());
    }
}
