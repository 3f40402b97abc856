//! The authorization value made on first run.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom;

use crate::config::Secret;
use crate::private_file;

/// The authorization value in the file `path`, made if it is not there: 256 random bits.
pub(super) fn generated(path: &Path) -> Result<Secret, String> {
    match fs::read(path) {
        Ok(contents) => Secret::from_file_contents(&contents).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut random = [0; 32];
            ring::rand::SystemRandom::new()
                .fill(&mut random)
                .map_err(|_| "the system has no random bytes".to_owned())?;
            let value = format!("Bearer {}", URL_SAFE_NO_PAD.encode(random));
            private_file::write(path, &format!("{value}\n")).map_err(|error| error.to_string())?;
            Secret::new(&value).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}
