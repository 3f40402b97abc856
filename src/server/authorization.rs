//! The authorization value made on first run.

use std::fs;
use std::io;
use std::path::Path;

use crate::private_file;
use crate::random::secret_text;
use crate::settings::Secret;

/// The authorization value in the file `path`, made if it is not there: 256 random bits.
pub(super) fn generated(path: &Path) -> Result<Secret, String> {
    match fs::read(path) {
        Ok(contents) => Secret::from_file_contents(&contents).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = secret_text().map_err(|error| error.to_string())?;
            let value = format!("Bearer {secret}");
            private_file::write(path, &format!("{value}\n")).map_err(|error| error.to_string())?;
            Secret::new(&value).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}
