//! Object stores in memory for tests.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;

use super::{Created, ObjectError, Objects};

/// An object store that does what it is asked: the objects by key.
#[derive(Debug, Default)]
pub(crate) struct Memory(pub(crate) Mutex<BTreeMap<String, Bytes>>);

impl Memory {
    /// Puts an object, whatever is there.
    pub(crate) fn put(&self, key: &str, body: impl Into<Bytes>) {
        self.0.lock().unwrap().insert(key.to_owned(), body.into());
    }

    /// The body of an object, which must be there.
    pub(crate) fn body(&self, key: &str) -> Bytes {
        self.0.lock().unwrap()[key].clone()
    }

    /// The keys that begin with `prefix`.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let objects = self.0.lock().unwrap();
        objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }
}

impl Objects for Memory {
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, ObjectError> {
        let mut objects = self.0.lock().unwrap();
        if objects.contains_key(key) {
            return Ok(Created::Exists);
        }
        objects.insert(key.to_owned(), body);
        Ok(Created::Now)
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }

    async fn exists(&self, key: &str) -> Result<bool, ObjectError> {
        Ok(self.0.lock().unwrap().contains_key(key))
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

/// An object store that does not allow to create objects.
#[derive(Default)]
pub(crate) struct ReadOnly(Memory);

impl Objects for ReadOnly {
    async fn create(&self, key: &str, _: Bytes) -> Result<Created, ObjectError> {
        let (key, why) = (key.to_owned(), "read only".to_owned());
        Err(ObjectError::Denied { doing: "create", key, why })
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
        self.0.get(key).await
    }

    async fn exists(&self, key: &str) -> Result<bool, ObjectError> {
        self.0.exists(key).await
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.0.delete(key).await
    }
}
