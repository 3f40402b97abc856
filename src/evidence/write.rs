//! Writes the files of a bundle: into a folder or a zip.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use rawzip::time::UtcDateTime;
use rawzip::{CompressionMethod, ZipArchiveWriter};

use super::name::Name;
use crate::entry::Millis;

/// Takes the files of a bundle.
pub(crate) trait Sink {
    /// Whether a line may be longer than the receiver parses.
    fn takes_long_lines(&self) -> bool {
        true
    }

    /// Adds a file.
    fn add(&mut self, name: Name, contents: &mut dyn Read) -> io::Result<()>;
}

/// Writes into a folder.
pub(crate) struct FolderSink(PathBuf);

impl Sink for FolderSink {
    fn add(&mut self, name: Name, contents: &mut dyn Read) -> io::Result<()> {
        let path = self.0.join(name.to_string());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::create_new(path)?;
        io::copy(contents, &mut file).map(drop)
    }
}

/// Writes a zip, from its beginning to its end. The files are compressed, because not every program
/// can read one that is not and whose length follows it.
pub(crate) struct ZipSink<W> {
    archive: ZipArchiveWriter<W>,
    at: UtcDateTime,
}

impl<W: Write> ZipSink<W> {
    /// Begins a zip whose files have the time `at`.
    pub(crate) fn new(to: W, at: Millis) -> ZipSink<W> {
        let at = UtcDateTime::from_unix(at.get().div_euclid(1000));
        ZipSink { archive: ZipArchiveWriter::new(to), at }
    }

    /// Ends the zip.
    pub(crate) fn finish(self) -> io::Result<W> {
        self.archive.finish().map_err(io::Error::other)
    }
}

/// A file that everybody may read (`st_mode` of POSIX).
const MODE: u32 = 0o100_644;

impl<W: Write> Sink for ZipSink<W> {
    fn add(&mut self, name: Name, contents: &mut dyn Read) -> io::Result<()> {
        let name = name.to_string();
        let file = self.archive.new_file(name.as_str());
        let file = file.compression_method(CompressionMethod::DEFLATE);
        let started = file.last_modified(self.at).unix_permissions(MODE).start();
        let (mut entry, config) = started.map_err(io::Error::other)?;
        let mut writer = config.wrap(DeflateEncoder::new(&mut entry, Compression::fast()));
        io::copy(contents, &mut writer)?;
        let (encoder, descriptor) = writer.finish().map_err(io::Error::other)?;
        encoder.finish()?;
        entry.finish(descriptor).map(drop).map_err(io::Error::other)
    }
}

/// A bundle that is being written, under a temporary name beside its own. What is not finished is
/// removed.
pub(crate) struct Unfinished {
    path: PathBuf,
    temporary: PathBuf,
    sink: Option<FileSink>,
}

/// The sink of a bundle that is a file or a folder.
enum FileSink {
    Folder(FolderSink),
    Zip(ZipSink<BufWriter<File>>),
}

impl Unfinished {
    /// Begins a bundle at `path`: a zip if its name ends in `.zip`, or else a folder.
    ///
    /// # Errors
    /// When there is something at `path` that is not empty, or nothing can be written beside it.
    pub(crate) fn new(path: &Path, at: Millis) -> io::Result<Unfinished> {
        check_is_free(path)?;
        let name = path.file_name().ok_or_else(|| invalid("its last part is not a name"))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.unfinished", std::process::id()));
        let temporary = path.with_file_name(hidden);
        let sink = match is_zip(path) {
            true => {
                let file = BufWriter::new(File::create_new(&temporary)?);
                FileSink::Zip(ZipSink::new(file, at))
            }
            false => {
                fs::create_dir(&temporary)?;
                FileSink::Folder(FolderSink(temporary.clone()))
            }
        };
        Ok(Unfinished { path: path.to_owned(), temporary, sink: Some(sink) })
    }

    /// Gives the bundle its name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if let Some(FileSink::Zip(zip)) = self.sink.take() {
            let file = zip.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
        }
        check_is_free(&self.path)?;
        fs::rename(&self.temporary, &self.path)
    }
}

impl Sink for Unfinished {
    fn add(&mut self, name: Name, contents: &mut dyn Read) -> io::Result<()> {
        match &mut self.sink {
            Some(FileSink::Folder(folder)) => folder.add(name, contents),
            Some(FileSink::Zip(zip)) => zip.add(name, contents),
            None => Ok(()),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It no longer exists if it was finished. There is nobody to tell of another error.
        let _ = match is_zip(&self.path) {
            true => fs::remove_file(&self.temporary),
            false => fs::remove_dir_all(&self.temporary),
        };
    }
}

/// Whether a bundle at this path is a zip.
pub(super) fn is_zip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zip")
}

/// Checks that nothing is at `path`, or something empty of the right kind.
fn check_is_free(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let is_free = match is_zip(path) {
        true => found.is_file() && found.len() == 0,
        false => found.is_dir() && fs::read_dir(path)?.next().is_none(),
    };
    match is_free {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "it exists and is not empty; nothing is overwritten",
        )),
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|one| one.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_a_whole_bundle_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bundle", "bundle.zip"] {
            let path = folder.path().join(name);
            let begin = || Unfinished::new(&path, Millis::MIN).unwrap();
            let mut unfinished = begin();
            unfinished.add(Name::Checkpoint, &mut &b"text"[..]).unwrap();
            assert!(!path.exists() && names(folder.path()).len() == 1);
            drop(unfinished);
            assert_eq!(names(folder.path()), [""; 0]);
            // What exists and is empty is replaced.
            match is_zip(&path) {
                true => fs::write(&path, "").unwrap(),
                false => fs::create_dir(&path).unwrap(),
            }
            let mut unfinished = begin();
            unfinished.add(Name::Checkpoint, &mut &b"text"[..]).unwrap();
            unfinished.finish().unwrap();
            assert_eq!(names(folder.path()), [name]);
            let error = Unfinished::new(&path, Millis::MIN).err().unwrap();
            assert!(error.to_string().contains("not empty"), "{error}");
            match is_zip(&path) {
                true => fs::remove_file(&path).unwrap(),
                false => {
                    assert_eq!(fs::read(path.join("checkpoint")).unwrap(), b"text");
                    fs::remove_dir_all(&path).unwrap();
                }
            }
        }
    }

    #[test]
    fn what_came_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bundle", "bundle.zip"] {
            let path = folder.path().join(name);
            let unfinished = Unfinished::new(&path, Millis::MIN).unwrap();
            fs::write(&path, "other").unwrap();
            unfinished.finish().unwrap_err();
            assert_eq!(fs::read(&path).unwrap(), b"other");
            fs::remove_file(&path).unwrap();
            assert_eq!(names(folder.path()), [""; 0]);
        }
    }
}
