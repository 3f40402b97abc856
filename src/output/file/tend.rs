//! Rotated files: their names, and a thread that compresses them and deletes what is too much.
//!
//! `audit.jsonl` is renamed to `audit-20250516T200954.123Z.jsonl`, in the same folder, so that who
//! follows the file goes on with it; the time is a millisecond later where another has it. Compressed
//! it ends in `.gz` or `.zst` besides. Only names of exactly this form are touched. What is interrupted is done
//! the next time: a file is compressed under a temporary name, and the original is removed last.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};

use super::open::{folder, sync_folder};
use crate::clock::now;
use crate::config::{Compress, OutputFile};
use crate::entry::Millis;
use crate::output::error::{IoContext, OutputError};

/// Has rotated files compressed and deleted, by a thread of its own.
#[derive(Clone)]
pub(in crate::output) struct Tender(Sender<PathBuf>);

impl Tender {
    /// Starts the thread; it ends with the last of its tenders.
    pub(in crate::output) fn start(settings: OutputFile) -> io::Result<Tender> {
        let (sender, paths) = channel::<PathBuf>();
        std::thread::Builder::new().name("output-tender".to_owned()).spawn(move || {
            for path in paths {
                if let Err(error) = tend(&path, &settings, now()) {
                    let file = path.display();
                    tracing::warn!(%file, %error, "rotated files are left as they are");
                }
            }
        })?;
        Ok(Tender(sender))
    }

    /// Has what was rotated away from `path` looked after.
    pub(super) fn tend(&self, path: &Path) {
        // It ends only with the process.
        let _ = self.0.send(path.to_owned());
    }
}

/// Renames the file `path` to a name that no other has, and returns the time that stands in it: `time`
/// or a later one.
pub(super) fn move_away(path: &Path, mut time: Millis) -> Result<Millis, OutputError> {
    let name = Name::of(path);
    loop {
        let to = folder(path).join(format!("{}-{}{}", name.stem, stamp(time), name.extension));
        let taken = [".gz", ".zst"].map(|ending| with_ending(&to, ending).exists());
        if !to.exists() && !taken.contains(&true) {
            return fs::rename(path, to).map(|()| time).doing("rotate", path);
        }
        time = Millis::saturating(time.get().saturating_add(1));
    }
}

/// The form of a time as it stands in a name; a `0` is any digit.
pub(in crate::output) const STAMP: &str = "00000000T000000.000Z";

/// A time as it stands in a name: they sort as the times do.
fn stamp(time: Millis) -> String {
    time.to_string().replace(['-', ':'], "")
}

/// The name of a file, in two.
struct Name {
    stem: String,
    /// With its dot, if it has one.
    extension: String,
}

impl Name {
    fn of(path: &Path) -> Name {
        let text =
            |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let extension = text(path.extension()).map_or_else(String::new, |one| format!(".{one}"));
        Name { stem: text(path.file_stem()).unwrap_or_default(), extension }
    }

    /// When a file of this name was rotated, and whether it is compressed. `None` if it is not a
    /// rotated file of ours.
    fn rotated(&self, name: &str) -> Option<(String, bool)> {
        let rest = name.strip_prefix(&self.stem)?.strip_prefix('-')?;
        let plain = rest.strip_suffix(".gz").or_else(|| rest.strip_suffix(".zst"));
        let stamp = plain.unwrap_or(rest).strip_suffix(&self.extension)?;
        let form: String =
            stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        (form == STAMP).then(|| (stamp.to_owned(), plain.is_some()))
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// Compresses what was rotated away from `path`, and deletes what is too much of it.
fn tend(path: &Path, settings: &OutputFile, now: Millis) -> io::Result<()> {
    let name = Name::of(path);
    // Oldest first.
    let mut rotated = BTreeMap::new();
    for found in fs::read_dir(folder(path))? {
        let found = found?;
        let Ok(file_name) = found.file_name().into_string() else { continue };
        if let Some((stamp, is_compressed)) = name.rotated(&file_name) {
            let is_file = found.file_type()?.is_file();
            if is_file {
                rotated.insert((stamp, is_compressed), found.path());
            }
        }
    }
    for ((_, is_compressed), path) in &mut rotated {
        if !*is_compressed && settings.compress != Compress::None {
            *path = compress(path, settings)?;
        }
    }
    let oldest = settings.keep_age.map(|age| {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        stamp(Millis::saturating(now.get().saturating_sub(age)))
    });
    let (mut count, mut size) = (0, 0_u64);
    for ((stamp, _), path) in rotated.iter().rev() {
        count += 1;
        size = size.saturating_add(fs::metadata(path)?.len());
        let is_too_much = settings.keep.is_some_and(|keep| count > keep)
            || settings.keep_size.is_some_and(|keep| size > keep)
            || oldest.as_ref().is_some_and(|oldest| stamp < oldest);
        if is_too_much {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Compresses a file, and returns what it is called now.
fn compress(path: &Path, settings: &OutputFile) -> io::Result<PathBuf> {
    let ending = if settings.compress == Compress::Gzip { ".gz" } else { ".zst" };
    let to = with_ending(path, ending);
    let temporary = with_ending(&to, ".tmp");
    let permissions = fs::metadata(path)?.permissions();
    let mut source = File::open(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(permissions.mode());
    let file = options.open(&temporary)?;
    // Whatever the umask says.
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
    file.sync_all()?;
    fs::rename(&temporary, &to)?;
    sync_folder(&to)?;
    fs::remove_file(path)?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    use super::*;
    use crate::config::Access;
    use crate::output::testing::settings;

    const MINUTE: i64 = 60_000;

    /// Four rotated files of 10 bytes each, a minute apart, and files that are none.
    fn check(settings: &OutputFile, expected: &[&str]) -> tempfile::TempDir {
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
        tend(&path, settings, Millis::saturating(4 * MINUTE)).unwrap();
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
        check(&settings(), &FILES);
        check(&OutputFile { keep: Some(1), ..settings() }, &FILES[3..]);
        check(&OutputFile { keep: Some(0), ..settings() }, &[]);
        check(&OutputFile { keep_size: Some(20), ..settings() }, &FILES[2..]);
        let age = Some(Duration::from_secs(180));
        check(&OutputFile { keep_age: age, ..settings() }, &FILES[1..]);
    }

    #[test]
    fn what_is_compressed_holds_the_same() {
        let settings = OutputFile { compress: Compress::Gzip, keep: Some(2), ..settings() };
        let names = ["a-19700101T000200.000Z.log.gz", "a-19700101T000300.000Z.log.gz"];
        let folder = check(&settings, &names);
        let mut text = String::new();
        let file = File::open(folder.path().join(names[1])).unwrap();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "line 0003\n");
        let settings = OutputFile { compress: Compress::Zstd, ..settings };
        let names = ["a-19700101T000200.000Z.log.zst", "a-19700101T000300.000Z.log.zst"];
        let folder = check(&settings, &names);
        let file = File::open(folder.path().join(names[0])).unwrap();
        assert_eq!(zstd::decode_all(file).unwrap(), b"line 0002\n");
    }

    #[test]
    fn what_is_compressed_has_the_mode_and_the_group_that_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a-19700101T000000.000Z.log");
        fs::write(&path, "line\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let own = fs::metadata(&path).unwrap();
        // Only the privileged can give it to another.
        let (owner, group) = match own.uid() {
            0 => (1, 2),
            _ => (own.uid(), own.gid()),
        };
        let compress = Compress::Gzip;
        let settings = OutputFile {
            compress,
            access: Access { owner: Some(owner), group: Some(group), mode: 0o600 },
            ..settings()
        };
        let made = fs::metadata(super::compress(&path, &settings).unwrap()).unwrap();
        let found = (made.uid(), made.gid(), made.mode() & 0o777);
        assert_eq!(found, (owner, group, 0o666));
    }

    #[test]
    fn no_file_takes_the_name_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        for n in 0..3 {
            fs::write(&path, n.to_string()).unwrap();
            move_away(&path, Millis::MIN).unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("a-19700101T000000.000Z.log"), "0");
        assert_eq!(read("a-19700101T000000.002Z.log"), "2");
    }
}
