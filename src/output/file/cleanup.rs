//! A thread that compresses rotated files, and deletes those beyond `keep`, `keep_age` and
//! `keep_size`.
//!
//! Only files with the exact name of a rotated file are touched. Interrupted work is done the next
//! time: a file is compressed under a temporary name that ends in `.tmp` and the number of its
//! [`Cleanup`], and the original is removed last. An error with one file is logged and does not
//! stop the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

use super::name::{ENDINGS, Name, RotatedForm, stamp, with_ending};
use super::open::{folder, sync_folder};
use super::settings::{Compress, FileSettings};
use crate::clock::now;
use crate::entry::Millis;

/// Starts cleaning up on a thread of its own. There is no thread if nothing has to be done.
#[derive(Clone)]
pub(super) struct Cleanup(Option<Sender<PathBuf>>);

impl Cleanup {
    /// Starts the thread. It ends when the last clone of this is dropped.
    pub(super) fn start(settings: FileSettings) -> io::Result<Cleanup> {
        let FileSettings { compress, keep, keep_age, keep_size, .. } = settings;
        let keeps_all = keep.is_none() && keep_age.is_none() && keep_size.is_none();
        if compress == Compress::None && keeps_all {
            return Ok(Cleanup(None));
        }
        let number = next_number();
        let (sender, paths) = channel::<PathBuf>();
        std::thread::Builder::new().name("output-cleanup".to_owned()).spawn(move || {
            while let Ok(path) = paths.recv() {
                // Takes what waits in the queue as well, each path once.
                let all: BTreeSet<_> = [path].into_iter().chain(paths.try_iter()).collect();
                for path in all {
                    clean_up(&path, &settings, number, now());
                }
            }
        })?;
        Ok(Cleanup(Some(sender)))
    }

    /// Requests that the rotated files of `path` are cleaned up.
    pub(super) fn request(&self, path: &Path) {
        if let Some(sender) = &self.0 {
            // The thread does not end before this value.
            let _ = sender.send(path.to_owned());
        }
    }
}

/// A number for each thread: one of the output before a change may still be working.
fn next_number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// Compresses the rotated files of `path`, and deletes those that are not kept.
fn clean_up(path: &Path, settings: &FileSettings, number: u64, now: Millis) {
    let failed = |file: &Path, error: &io::Error, what: &str| {
        tracing::warn!(file = %file.display(), %error, "{what}");
    };
    let remove = |file: &Path| match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            failed(file, &error, "a rotated file cannot be deleted");
        }
        _ => {}
    };
    let list = || {
        list(path).unwrap_or_else(|error| {
            failed(folder(path), &error, "rotated files are left as they are");
            Rotated::new()
        })
    };
    let rotated = list();
    for files in rotated.values().filter(|files| !files.contains_key(&RotatedForm::Plain)) {
        files.get(&RotatedForm::Partial).into_iter().flatten().for_each(|half| remove(half));
    }
    // Files that are deleted anyway are not compressed first. The size that the others take is
    // known only after compression.
    let by_size = FileSettings { keep_size: None, ..settings.clone() };
    too_much(&rotated, &by_size, now).iter().for_each(|file| remove(file));
    if settings.compress != Compress::None {
        for file in list().values().filter_map(|files| files.get(&RotatedForm::Plain)).flatten() {
            if let Err(error) = compress(file, settings, number) {
                failed(file, &error, "a rotated file is left as it is");
            }
        }
    }
    too_much(&list(), settings, now).iter().for_each(|file| remove(file));
}

/// Rotated files by time and form. While one is being compressed there are two of the same time.
type Rotated = BTreeMap<String, BTreeMap<RotatedForm, Vec<PathBuf>>>;

fn list(path: &Path) -> io::Result<Rotated> {
    let name = Name::of(path);
    let mut rotated = Rotated::new();
    for found in fs::read_dir(folder(path))? {
        let found = found?;
        let Ok(file_name) = found.file_name().into_string() else { continue };
        if let Some((stamp, kept)) = name.rotated(&file_name)
            && found.file_type().is_ok_and(|kind| kind.is_file())
        {
            rotated.entry(stamp).or_default().entry(kept).or_default().push(found.path());
        }
    }
    Ok(rotated)
}

/// The files that are not kept.
fn too_much(rotated: &Rotated, settings: &FileSettings, now: Millis) -> Vec<PathBuf> {
    let oldest = settings.keep_age.map(|age| {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        stamp(Millis::saturating(now.get().saturating_sub(age)))
    });
    let (mut count, mut size) = (0, 0_u64);
    let mut too_much = Vec::new();
    for (stamp, files) in rotated.iter().rev() {
        let whole = files.iter().filter(|(kept, _)| **kept != RotatedForm::Partial);
        let files: Vec<&PathBuf> = whole.flat_map(|(_, files)| files).collect();
        count += u64::from(!files.is_empty());
        for file in &files {
            size = size.saturating_add(fs::metadata(file).map_or(0, |found| found.len()));
        }
        let is_too_much = settings.keep.is_some_and(|keep| count > keep)
            || settings.keep_size.is_some_and(|keep| size > keep)
            || oldest.as_ref().is_some_and(|oldest| stamp < oldest);
        if is_too_much {
            too_much.extend(files.into_iter().cloned());
        }
    }
    too_much
}

/// Compresses a rotated file, and removes the original.
fn compress(path: &Path, settings: &FileSettings, number: u64) -> io::Result<()> {
    let [gzip, zstd] = ENDINGS;
    let ending = if settings.compress == Compress::Gzip { gzip } else { zstd };
    let to = with_ending(path, ending);
    let temporary = with_ending(&to, &format!(".tmp{number}"));
    let made = compress_to(&temporary, path, settings).and_then(|()| fs::rename(&temporary, &to));
    if let Err(error) = made {
        let _ = fs::remove_file(&temporary);
        // Another thread may have compressed it already.
        return if path.exists() { Err(error) } else { Ok(()) };
    }
    sync_folder(&to)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Compresses the file `path` to the new file `to`, with the same mode.
fn compress_to(to: &Path, path: &Path, settings: &FileSettings) -> io::Result<()> {
    let mut source = File::open(path)?;
    let permissions = source.metadata()?.permissions();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(permissions.mode());
    let file = options.open(to)?;
    // The umask does not apply.
    file.set_permissions(permissions)?;
    fchown(&file, settings.access.owner, settings.access.group)?;
    let file = match settings.compress {
        Compress::Zstd => {
            let mut encoder = zstd::Encoder::new(file, 0)?;
            io::copy(&mut source, &mut encoder)?;
            encoder.finish()?
        }
        Compress::Gzip | Compress::None => {
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
            io::copy(&mut source, &mut encoder)?;
            encoder.finish()?
        }
    };
    (&file).flush()?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    use super::*;
    use crate::output::file::Access;
    use crate::output::file::name::move_away;
    use crate::output::testing::file_settings;

    const MINUTE: i64 = 60_000;

    /// Cleans up four rotated files of 10 bytes, a minute apart, beside other files.
    fn check(settings: &FileSettings, expected: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        for minute in 0..4 {
            fs::write(&path, format!("line {minute:04}\n")).unwrap();
            move_away(&path, Millis::saturating(minute * MINUTE)).unwrap();
        }
        let others =
            ["a.log", "a-b.log", "a-19700101T000000.000Z.txt", "aa-19700101T000000.000Z.log"];
        for other in others {
            fs::write(folder.path().join(other), "other").unwrap();
        }
        clean_up(&path, settings, 7, Millis::saturating(4 * MINUTE));
        let names = fs::read_dir(folder.path()).unwrap();
        let names = names.map(|one| one.unwrap().file_name().into_string().unwrap());
        let (mut others_left, mut left): (Vec<_>, Vec<_>) =
            names.partition(|name| others.contains(&name.as_str()));
        others_left.sort();
        left.sort();
        assert_eq!(
            (others_left.len(), left),
            (4, expected.iter().map(|one| (*one).into()).collect())
        );
        folder
    }

    const FILES: [&str; 4] = [
        "a-19700101T000000.000Z.log",
        "a-19700101T000100.000Z.log",
        "a-19700101T000200.000Z.log",
        "a-19700101T000300.000Z.log",
    ];

    #[test]
    fn the_newest_are_kept() {
        check(&file_settings(), &FILES);
        check(&FileSettings { keep: Some(1), ..file_settings() }, &FILES[3..]);
        check(&FileSettings { keep: Some(0), ..file_settings() }, &[]);
        check(&FileSettings { keep_size: Some(20), ..file_settings() }, &FILES[2..]);
        let age = Some(Duration::from_secs(180));
        check(&FileSettings { keep_age: age, ..file_settings() }, &FILES[1..]);
    }

    #[test]
    fn a_compressed_file_has_the_same_contents() {
        let settings = FileSettings { compress: Compress::Gzip, keep: Some(2), ..file_settings() };
        let names = ["a-19700101T000200.000Z.log.gz", "a-19700101T000300.000Z.log.gz"];
        let folder = check(&settings, &names);
        let mut text = String::new();
        let file = File::open(folder.path().join(names[1])).unwrap();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "line 0003\n");
        let settings = FileSettings { compress: Compress::Zstd, ..settings };
        let names = ["a-19700101T000200.000Z.log.zst", "a-19700101T000300.000Z.log.zst"];
        let folder = check(&settings, &names);
        let file = File::open(folder.path().join(names[0])).unwrap();
        assert_eq!(zstd::decode_all(file).unwrap(), b"line 0002\n");
    }

    #[test]
    fn other_files_are_compressed_after_one_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        for minute in 0..4 {
            fs::write(&path, "line\n").unwrap();
            move_away(&path, Millis::saturating(minute * MINUTE)).unwrap();
        }
        // The name of the compressed file is taken by a folder.
        fs::create_dir(folder.path().join(format!("{}.gz", FILES[2]))).unwrap();
        // An earlier process left these. The second has no rotated file.
        let half = ["a-19700101T000300.000Z.log.gz.tmp7", "a-19700101T000900.000Z.log.gz.tmp3"];
        half.iter().for_each(|name| fs::write(folder.path().join(name), "half").unwrap());
        let settings = FileSettings { compress: Compress::Gzip, keep: Some(3), ..file_settings() };
        clean_up(&path, &settings, 7, Millis::saturating(4 * MINUTE));
        let names = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let expected = [
            "a-19700101T000100.000Z.log.gz",
            "a-19700101T000200.000Z.log",
            "a-19700101T000200.000Z.log.gz",
            "a-19700101T000300.000Z.log.gz",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn each_cleanup_has_a_number_and_there_is_no_thread_without_work() {
        assert_ne!(next_number(), next_number());
        assert!(Cleanup::start(file_settings()).unwrap().0.is_none());
        let busy = FileSettings { keep: Some(1), ..file_settings() };
        assert!(Cleanup::start(busy).unwrap().0.is_some());
    }

    #[test]
    fn a_compressed_file_has_the_configured_mode_and_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a-19700101T000000.000Z.log");
        fs::write(&path, "line\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let own = fs::metadata(&path).unwrap();
        // Only root can give the file to another user.
        let (owner, group) = match own.uid() {
            0 => (1, 2),
            _ => (own.uid(), own.gid()),
        };
        let compress = Compress::Gzip;
        let settings = FileSettings {
            compress,
            access: Access { owner: Some(owner), group: Some(group), mode: 0o600 },
            ..file_settings()
        };
        super::compress(&path, &settings, 0).unwrap();
        let made = fs::metadata(with_ending(&path, ".gz")).unwrap();
        let found = (made.uid(), made.gid(), made.mode() & 0o777);
        assert_eq!(found, (owner, group, 0o666));
    }
}
