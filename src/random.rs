//! Random values. Secrets come from the system's source. Made-up data comes from [`fastrand::Rng`],
//! which a seed repeats.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fastrand::Rng;
use ring::rand::{SecureRandom, SystemRandom, generate};

use crate::signature::Seed;

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomBytes;

/// Bytes that nobody can guess, from the system.
///
/// # Errors
/// When the system has none.
pub fn secret_bytes<const N: usize>() -> Result<[u8; N], NoRandomBytes> {
    let bytes = generate::<[u8; N]>(&SystemRandom::new()).map_err(|_| NoRandomBytes)?;
    Ok(bytes.expose())
}

/// Fills `bytes` with ones that nobody can guess, from the system.
///
/// # Errors
/// When the system has none.
pub fn fill(bytes: &mut [u8]) -> Result<(), NoRandomBytes> {
    SystemRandom::new().fill(bytes).map_err(|_| NoRandomBytes)
}

/// A seed for the batches of a delivery or a run.
///
/// # Errors
/// When the system has no random bytes.
pub fn seed() -> Result<Seed, NoRandomBytes> {
    Ok(Seed::new(secret_bytes()?))
}

/// A text that nobody can guess: 256 bits in base64url.
///
/// # Errors
/// When the system has no random bytes.
pub fn secret_text() -> Result<String, NoRandomBytes> {
    Ok(URL_SAFE_NO_PAD.encode(secret_bytes::<32>()?))
}

/// A version 4 UUID (RFC 9562 section 5.4). It is no secret.
pub fn uuid(random: &mut Rng) -> String {
    uuid::Builder::from_random_bytes(random.u128(..).to_be_bytes()).into_uuid().to_string()
}

/// One of `items`, of which there must be at least one.
pub fn pick<T: Copy>(random: &mut Rng, items: &[T]) -> T {
    items[random.usize(..items.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_picked_and_no_other() {
        let mut random = Rng::with_seed(7);
        let mut seen = [0; 3];
        (0..300).for_each(|_| seen[pick(&mut random, &[0, 1, 2])] += 1);
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }

    #[test]
    fn a_uuid_is_of_version_4() {
        let uuid = uuid(&mut Rng::with_seed(1));
        let parts: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{uuid}");
        assert_eq!(&uuid[14..15], "4");
        assert!(["8", "9", "a", "b"].contains(&&uuid[19..20]), "{uuid}");
    }

    #[test]
    fn no_secret_is_made_twice() {
        let [one, other] = [secret_text().unwrap(), secret_text().unwrap()];
        assert!(one.len() == 43 && one != other, "{one} {other}");
    }
}
