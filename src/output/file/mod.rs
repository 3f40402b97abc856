//! Files of lines. They are appended to, rotated by renaming, and restored after a crash.
//!
//! - `settings`: the keys of the type. `open`: one open file. `checkpoint`: the length of each
//!   file, saved with the cursor. `name`: the names of rotated files. `cleanup`: compresses and
//!   deletes rotated files.
//!
//! No line is written to a file before the saved state has a checkpoint for that file. After a
//! crash the files are cut back to their checkpoints, so they agree with the cursor. A rotation
//! happens between two saved states, so a rotated file has no line past the cursor.
//!
//! A file that somebody else renamed has another inode than its checkpoint, and is left alone. So
//! is a file that the output no longer writes to: another output may write to it now.

mod checkpoint;
mod cleanup;
mod name;
mod open;
mod settings;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hashlink::LinkedHashMap;

use self::checkpoint::Checkpoint;
use self::cleanup::Cleanup;
pub(super) use self::name::{ENDINGS, STAMP_LENGTH, is_stamp};
pub(super) use self::open::OpenFile;
pub(super) use self::settings::{Access, Compress, FileSettings, Fsync};
use super::error::{IoContext, OutputError};
use super::sink::Sink;
use crate::entry::{Millis, Record};

/// The maximum number of open files. Beyond it the least recently used file is closed.
const MOST_OPEN: usize = 64;

/// The sink of an output of the type `file`.
struct FileSink {
    settings: FileSettings,
    /// By path, the most recently used last.
    open: LinkedHashMap<PathBuf, OpenFile>,
    /// The checkpoint of each file that may be written to before the next saved state, including
    /// files that were closed since the last one.
    checkpoints: BTreeMap<PathBuf, Checkpoint>,
    /// The values in paths that senders chose so far, at most `max_values`. Each has files of its
    /// own.
    chosen: HashSet<String>,
    cleanup: Cleanup,
    /// The time in the name of the last rotated file.
    rotated_at: Millis,
}

impl FileSink {
    fn new(settings: FileSettings, cleanup: Cleanup) -> FileSink {
        FileSink {
            settings,
            open: LinkedHashMap::new(),
            checkpoints: BTreeMap::new(),
            chosen: HashSet::new(),
            cleanup,
            rotated_at: Millis::MIN,
        }
    }

    fn paths(&self, records: &[&Record]) -> BTreeSet<PathBuf> {
        records.iter().map(|record| self.path(record)).collect()
    }

    /// The file that a record goes to. Once there are `max_values` values, a new value has no file
    /// of its own unless the file exists already.
    fn path(&self, record: &Record) -> PathBuf {
        let template = &self.settings.path;
        let path = template.path(record);
        let is_own = self.chosen.len() < self.settings.max_values
            || template.chosen(record).is_none_or(|chosen| self.chosen.contains(&chosen))
            || template.of_chosen(&path).exists();
        if is_own { path } else { template.other_path(record) }
    }

    /// Remembers the values that the senders of these records chose.
    fn choose(&mut self, records: &[&Record]) {
        for chosen in records.iter().filter_map(|record| self.settings.path.chosen(record)) {
            let most = self.settings.max_values;
            if self.chosen.len() < most && self.chosen.insert(chosen) && self.chosen.len() == most {
                tracing::warn!(
                    path = %self.settings.path,
                    max_values = most,
                    "entries with other values go where the value is \"other\""
                );
            }
        }
    }

    /// Whether the file belongs to another time span than `now`, or is too large.
    fn is_over(&self, open: &OpenFile, now: Millis) -> bool {
        let span = |time: Millis| {
            let every = self.settings.rotate_every?.as_millis();
            u128::try_from(time.get()).ok()?.checked_div(every)
        };
        let is_large = self.settings.rotate_size.is_some_and(|size| open.length() >= size);
        open.length() > 0 && (is_large || span(open.written_at) != span(now))
    }

    fn rotate_file(&mut self, path: &Path, now: Millis) -> Result<(), OutputError> {
        let Some(mut open) = self.open.remove(path) else { return Ok(()) };
        open.flush(path)?;
        self.checkpoints.remove(path);
        // Names sort in the order of rotation, so the time of a file that was deleted since is not
        // used again.
        let later = Millis::saturating(self.rotated_at.get().saturating_add(1));
        self.rotated_at = name::move_away(path, now.max(later))?;
        if self.settings.fsync != Fsync::Never {
            open::sync_folder(path).doing("sync its folder", path)?;
        }
        self.cleanup.request(path);
        Ok(())
    }

    /// The open file at `path`. It is opened if it is not open.
    fn file(&mut self, path: &Path) -> Result<&mut OpenFile, OutputError> {
        if self.open.to_back(path).is_none() {
            let open = OpenFile::new(path, &self.settings.access, self.settings.fsync)?;
            self.checkpoints.insert(path.to_owned(), open.checkpoint());
            self.open.insert(path.to_owned(), open);
            self.make_room()?;
        }
        self.open.get_mut(path).ok_or_else(|| OutputError::NoFile(path.to_owned()))
    }

    /// Closes the least recently used files beyond [`MOST_OPEN`].
    fn make_room(&mut self) -> Result<(), OutputError> {
        while self.open.len() > MOST_OPEN
            && let Some((path, mut open)) = self.open.pop_front()
        {
            open.sync(&path, self.settings.fsync)?;
            self.checkpoints.insert(path, open.checkpoint());
        }
        Ok(())
    }
}

impl Sink for FileSink {
    fn sync_every(&self) -> Duration {
        match self.settings.fsync {
            Fsync::Always => Duration::ZERO,
            Fsync::Second | Fsync::Never => Duration::from_secs(1),
        }
    }

    fn restore(&mut self, state: &str) -> Result<(), OutputError> {
        // The lines in their buffers are written again.
        self.open.clear();
        self.checkpoints.clear();
        for (path, checkpoint) in checkpoint::read(state) {
            if self.settings.path.may_produce(&path) {
                checkpoint.restore(&path)?;
            } else {
                tracing::warn!(
                    file = %path.display(),
                    "the output writes to this file no more, which it did when it failed: lines at its \
                     end may be torn, and are written again where it writes now"
                );
            }
        }
        Ok(())
    }

    fn is_due(&self, records: &[&Record], now: Millis) -> bool {
        if self.settings.rotate_size.is_none() && self.settings.rotate_every.is_none() {
            return false;
        }
        let is_over =
            |path: &PathBuf| self.open.get(path).is_some_and(|open| self.is_over(open, now));
        self.paths(records).iter().any(is_over)
    }

    fn rotate_due(&mut self, records: &[&Record], now: Millis) -> Result<(), OutputError> {
        for path in self.paths(records) {
            if self.open.get(&path).is_some_and(|open| self.is_over(open, now)) {
                self.rotate_file(&path, now)?;
            }
        }
        Ok(())
    }

    fn prepare(&mut self, records: &[&Record]) -> Result<bool, OutputError> {
        // Files that were closed earlier have no line past the next saved state.
        self.checkpoints.retain(|path, _| self.open.contains_key(path));
        self.choose(records);
        let mut is_changed = false;
        for path in self.paths(records) {
            let is_new = !self.open.contains_key(&path);
            self.file(&path)?;
            if is_new {
                self.cleanup.request(&path);
            }
            is_changed |= is_new;
        }
        Ok(is_changed)
    }

    fn is_full(&self, record: &Record, line: &[u8]) -> bool {
        let Some(size) = self.settings.rotate_size else { return false };
        let length = self.open.get(&self.path(record)).map_or(0, OpenFile::length);
        length > 0 && length.saturating_add(line.len() as u64) > size
    }

    fn rotate(&mut self, record: &Record, now: Millis) -> Result<(), OutputError> {
        let path = self.path(record);
        self.rotate_file(&path, now)?;
        self.file(&path).map(drop)
    }

    fn write(&mut self, record: &Record, line: &[u8], now: Millis) -> Result<(), OutputError> {
        let path = self.path(record);
        self.file(&path)?.write(&path, line, now)
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.open.iter_mut().try_for_each(|(path, open)| open.flush(path))
    }

    fn sync(&mut self) -> Result<String, OutputError> {
        for (path, open) in &mut self.open {
            open.sync(path, self.settings.fsync)?;
            self.checkpoints.insert(path.clone(), open.checkpoint());
        }
        Ok(checkpoint::write(&self.checkpoints))
    }

    fn reopen(&mut self) {
        self.open.clear();
        self.checkpoints.clear();
    }
}

/// Checks that a file can be written at `path`, without touching that file: writes a file beside
/// it, and removes that again.
fn try_path(path: &Path, settings: &FileSettings) -> Result<(), OutputError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(OutputError::NoFile(path.to_owned())),
        _ => {}
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".test-{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let mut open = OpenFile::new(&beside, &settings.access, settings.fsync)?;
    let written = open
        .write(&beside, b"test\n", Millis::MIN)
        .and_then(|()| open.sync(&beside, settings.fsync));
    std::fs::remove_file(&beside).doing("remove", &beside)?;
    written
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::output::testing::{file_settings, record};

    fn files(folder: &Path, change: impl FnOnce(&mut FileSettings)) -> FileSink {
        let path = folder.join("{kind}.log").to_str().unwrap().parse().unwrap();
        let mut settings = FileSettings { path, ..file_settings() };
        change(&mut settings);
        FileSink::new(settings.clone(), Cleanup::start(settings).unwrap())
    }

    fn contents(folder: &Path) -> Vec<String> {
        let mut paths: Vec<_> =
            fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    #[test]
    fn values_over_the_maximum_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path: crate::output::template::Template =
            folder.path().join("{org_id}/x.log").to_str().unwrap().parse().unwrap();
        let write = |values: &[&str]| {
            let mut files = files(folder.path(), |settings| {
                settings.path = path.clone();
                settings.max_values = 2;
            });
            for (id, value) in (1..).zip(values) {
                let mut record = record(id, 0);
                record.fields.restore("org_id", crate::entry::Value::Text((*value).into()));
                files.prepare(&[&record]).unwrap();
                files.write(&record, format!("{value}\n").as_bytes(), Millis::MIN).unwrap();
            }
            files.sync().unwrap();
        };
        let read = |name: &str| fs::read_to_string(folder.path().join(name).join("x.log"));
        write(&["a", "b", "c", "a", "d"]);
        assert_eq!((read("a").unwrap(), read("b").unwrap()), ("a\na\n".into(), "b\n".into()));
        assert_eq!(read("other").unwrap(), "c\nd\n");
        // A value with a file keeps it after a restart.
        write(&["e", "f", "b", "c"]);
        assert_eq!(read("b").unwrap(), "b\nb\n");
        assert_eq!(
            (read("e").unwrap(), read("other").unwrap()),
            ("e\n".into(), "c\nd\nc\n".into())
        );
        assert!(read("c").is_err());
    }

    #[test]
    fn a_file_is_due_for_rotation_after_its_time_span() {
        let folder = tempfile::tempdir().unwrap();
        let minute = Some(Duration::from_secs(60));
        let mut files = files(folder.path(), |settings| settings.rotate_every = minute);
        let record = &record(1, 0);
        let at = |second: i64| Millis::saturating(1_800_000_000_000 + second * 1000);
        for (second, is_due, line) in
            [(0, false, b"a\n"), (59, false, b"b\n"), (60, true, b"c\n"), (200, true, b"d\n")]
        {
            files.prepare(&[record]).unwrap();
            assert_eq!(files.is_due(&[record], at(second)), is_due, "{second}");
            files.sync().unwrap();
            files.rotate_due(&[record], at(second)).unwrap();
            assert_eq!(files.prepare(&[record]).unwrap(), is_due, "a new file is to be saved");
            files.write(record, line, at(second)).unwrap();
        }
        files.flush().unwrap();
        assert_eq!(contents(folder.path()), ["a\nb\n", "c\n", "d\n"]);
    }

    #[test]
    fn a_file_of_another_output_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut before = files(folder.path(), |_| ());
        let record = &record(1, 0);
        before.prepare(&[record]).unwrap();
        before.write(record, b"one\n", Millis::MIN).unwrap();
        let state = before.sync().unwrap();
        before.write(record, b"two\n", Millis::MIN).unwrap();
        before.flush().unwrap();
        let elsewhere = folder.path().join("elsewhere.log").to_str().unwrap().parse().unwrap();
        let mut after = files(folder.path(), |settings| settings.path = elsewhere);
        after.restore(&state).unwrap();
        assert_eq!(contents(folder.path()), ["one\ntwo\n"]);
        before.restore(&state).unwrap();
        assert_eq!(contents(folder.path()), ["one\n"]);
    }

    #[test]
    fn a_file_that_was_removed_is_created_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = files(folder.path(), |_| ());
        let record = &record(1, 0);
        files.prepare(&[record]).unwrap();
        files.write(record, b"one\n", Millis::MIN).unwrap();
        let state = files.sync().unwrap();
        fs::remove_file(folder.path().join("access.log")).unwrap();
        files.write(record, b"two\n", Millis::MIN).unwrap();
        assert!(matches!(files.sync(), Err(OutputError::Removed(_))));
        files.restore(&state).unwrap();
        assert!(files.prepare(&[record]).unwrap());
        files.write(record, b"two\n", Millis::MIN).unwrap();
        files.sync().unwrap();
        assert_eq!(contents(folder.path()), ["two\n"]);
    }

    #[test]
    fn lines_written_since_the_saved_state_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = files(folder.path(), |_| ());
        let (one, mut other) = (record(1, 0), record(2, 0));
        other.kind = None;
        let all = [&one, &other];
        assert!(files.prepare(&all).unwrap(), "new files are to be saved");
        assert!(!files.prepare(&all).unwrap());
        files.write(&one, b"saved\n", Millis::MIN).unwrap();
        let state = files.sync().unwrap();
        files.write(&one, b"not saved\n", Millis::MIN).unwrap();
        files.write(&other, b"not saved\n", Millis::MIN).unwrap();
        files.flush().unwrap();
        assert_eq!(contents(folder.path()), ["saved\nnot saved\n", "not saved\n"]);
        files.restore(&state).unwrap();
        assert_eq!(contents(folder.path()), ["saved\n", ""]);
        assert!(files.prepare(&all).unwrap());
    }
}
