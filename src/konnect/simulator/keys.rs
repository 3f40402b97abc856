//! The keys that entries are signed with: one at a time, and those before it stay in the set.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::konnect::sign::{Signer, SignerError};

/// How many keys the set has at most, as many as a receiver takes.
const MAX_KEYS: usize = 64;

/// The signing keys.
#[derive(Debug)]
pub(super) struct Keys {
    current: Arc<Signer>,
    /// The newest first.
    earlier: Vec<Arc<Signer>>,
}

impl Keys {
    /// A first key.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub(super) fn generate() -> Result<Keys, SignerError> {
        Ok(Keys { current: Arc::new(Signer::generate(None)?.0), earlier: Vec::new() })
    }

    /// The key that signs what happens now.
    pub(super) fn current(&self) -> &Arc<Signer> {
        &self.current
    }

    /// Signs with a new key from now on. As many as a set may have stay in it, the newest.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub(super) fn rotate(&mut self) -> Result<(), SignerError> {
        let new = Arc::new(Signer::generate(None)?.0);
        self.earlier.insert(0, std::mem::replace(&mut self.current, new));
        self.earlier.truncate(MAX_KEYS - 1);
        Ok(())
    }

    /// The JWK set (RFC 7517 section 5): `get-audit-log-jwks`.
    pub(super) fn jwk_set(&self) -> Value {
        let keys = std::iter::once(&self.current).chain(&self.earlier);
        json!({ "keys": keys.map(|signer| json!(signer.key())).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_stays_in_the_set() {
        let mut keys = Keys::generate().unwrap();
        let old = json!(keys.current().key());
        keys.rotate().unwrap();
        let new = json!(keys.current().key());
        assert_ne!(old, new);
        assert_eq!(keys.jwk_set(), json!({"keys": [new, old]}));
        (0..MAX_KEYS).for_each(|_| keys.rotate().unwrap());
        assert_eq!(keys.jwk_set()["keys"].as_array().unwrap().len(), MAX_KEYS);
    }
}
