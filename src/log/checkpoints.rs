//! The files with checkpoints, in the folder of the log.
//!
//! `checkpoints/YYYY-MM-DD` has the checkpoints of that day (UTC), and is only appended to. A record is
//! a line with the time in milliseconds since the epoch and the length of the note in bytes, and then
//! the note. A checkpoint that got cosignatures is appended again, whole: of the records with one size
//! the last counts, and their texts are the same. `checkpoint` has the newest one, and is what is given
//! out. It is written when the record is on the disk. So whatever was given out is there after a crash,
//! and `checkpoint` may be behind.
//!
//! A record that ends short at the end of the newest file was interrupted. It was not given out, and is
//! cut off before the next one is written.
//!
//! After 30 days one an hour is kept, and those that have cosignatures or a time stamp or are in
//! evidence bundles. Then the file is written anew.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::LogError;
use super::error::{Contradiction, FileContext};
use crate::clock::now;
use crate::entry::Millis;
use crate::entry::time::DAY;
use crate::private_file::{self, sync_folder};
use crate::store::Tiles;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::{MAX_BYTES, Note, Signature, VerifierKey};
use crate::tlog::tree;

/// How long all checkpoints are kept, in milliseconds.
const KEPT: i64 = 30 * DAY;
const HOUR: i64 = 3_600_000;

/// The longest first line of a record: two numbers, a space and the newline.
const MOST_HEADER: u64 = 42;

/// The checkpoints of a log. Clones write in turn. Only one process may write.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    folder: PathBuf,
    newest: PathBuf,
    days: PathBuf,
    writing: Arc<Mutex<Writing>>,
}

/// What is known of the files while they are written.
#[derive(Debug, Default)]
struct Writing {
    /// Where the next record is written. `None`: it is not known yet, or a write failed.
    end: Option<End>,
    /// The last day whose file has only what is kept for ever.
    thinned: String,
}

/// The end of the newest file.
#[derive(Clone, Debug, Default)]
struct End {
    /// The day in its name. Empty: there is no file yet.
    day: String,
    /// The size of the newest checkpoint.
    size: u64,
}

/// A checkpoint that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The file.
    pub(crate) path: Arc<Path>,
    /// When the record was written.
    pub(crate) at: Millis,
    /// The number of leaves.
    pub(crate) size: u64,
    /// The signed note.
    pub(crate) note: Vec<u8>,
}

impl Checkpoints {
    /// Those in the folder of a log, which need not be there.
    pub(crate) fn new(folder: &Path) -> Checkpoints {
        Checkpoints {
            folder: folder.to_owned(),
            newest: folder.join("checkpoint"),
            days: folder.join("checkpoints"),
            writing: Arc::default(),
        }
    }

    /// The newest one as it is given out: a signed note. `None` if there is none yet.
    pub(crate) fn given_out(&self) -> Result<Option<Vec<u8>>, LogError> {
        read_if_there(&self.newest, "read the checkpoint")
    }

    /// Where the newest one is.
    pub(crate) fn path(&self) -> &Path {
        &self.newest
    }

    /// All that are kept, in the order in which they were written. One is in memory at a time. After an
    /// error the next file follows.
    pub(crate) fn each(
        &self,
    ) -> Result<impl Iterator<Item = Result<Kept, LogError>> + Send + use<>, LogError> {
        let (days, files) = (self.days()?, self.days.clone());
        let last = days.len().saturating_sub(1);
        let records = move |(at, day)| Records::of(files.join::<String>(day), at == last);
        Ok(days.into_iter().enumerate().flat_map(records))
    }

    /// The one over `size` leaves, with the signatures that it got last. `None` if it is not kept.
    pub(crate) fn find(&self, size: u64) -> Result<Option<Kept>, LogError> {
        let days = self.days()?;
        for (at, day) in days.iter().enumerate().rev() {
            let mut found = None;
            for kept in Records::of(self.days.join(day), at + 1 == days.len()) {
                found = Some(kept?).filter(|kept| kept.size == size).or(found);
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The newest one. What was signed and not given out counts too. `None` if the log has signed
    /// nothing.
    pub(super) fn newest(&self) -> Result<Option<Kept>, LogError> {
        let mut newest = self.shown()?;
        let mut days = self.days()?;
        let last = days.pop();
        // What was not given out is in the last file. The others are read only if `checkpoint` is lost.
        let others = if newest.is_none() { days } else { Vec::new() };
        let files = others.into_iter().map(|day| (day, false)).chain(last.map(|day| (day, true)));
        for kept in files.flat_map(|(day, is_last)| Records::of(self.days.join(day), is_last)) {
            let kept = kept?;
            if newest.as_ref().is_none_or(|newest| newest.size <= kept.size) {
                newest = Some(kept);
            }
        }
        Ok(newest)
    }

    /// Gives the newest one out again if that was interrupted. Returns it.
    ///
    /// # Errors
    /// [`Contradiction::SignedTwice`] if what is given out is another one over as many leaves.
    pub(super) fn take_up(&self) -> Result<Option<Kept>, LogError> {
        let _writing = self.writing()?;
        let Some(newest) = self.newest()? else { return Ok(None) };
        if let Some(shown) = self.shown()?.filter(|shown| shown.size == newest.size)
            && text(&shown.note) != text(&newest.note)
        {
            let (path, size) = (self.newest.clone(), newest.size);
            return Err(Contradiction::SignedTwice { path, size }.into());
        }
        self.give_out(&newest.note)?;
        Ok(Some(newest))
    }

    /// Keeps a signed note over `size` leaves, and then gives it out. Both are on the disk when this
    /// returns.
    ///
    /// # Errors
    /// A [`Contradiction`] if there is one over more leaves, or another one over as many.
    pub(super) fn put(&self, size: u64, note: &[u8]) -> Result<(), LogError> {
        let mut writing = self.writing()?;
        let newest = writing.end.as_ref().map_or(0, |end| end.size);
        if size > newest {
            self.append(&mut writing, size, note)?;
            return self.give_out(note);
        }
        match self.find(size)? {
            Some(kept) if size == newest && text(&kept.note) == text(note) => {
                self.give_out(&kept.note)
            }
            Some(kept) => {
                Err(Contradiction::SignedTwice { path: kept.path.to_path_buf(), size }.into())
            }
            None => Err(Contradiction::Shrunk { size, signed: newest }.into()),
        }
    }

    /// Adds cosignatures to the checkpoint over `size` leaves. They are on the disk when this returns,
    /// and are given out if it is the newest one.
    ///
    /// # Errors
    /// [`LogError::NotKept`] if there is no such checkpoint.
    pub(crate) fn add_signatures(
        &self,
        size: u64,
        signatures: &[Signature],
    ) -> Result<(), LogError> {
        let mut writing = self.writing()?;
        let newest = self.shown()?.filter(|newest| newest.size == size);
        let is_newest = newest.is_some();
        // Witnesses cosign the newest one as a rule.
        let kept = newest.map_or_else(|| self.find(size), |newest| Ok(Some(newest)))?;
        let kept = kept.ok_or(LogError::NotKept(size))?;
        let format = |source| LogError::Format { path: kept.path.to_path_buf(), source };
        let mut note = Note::parse(&kept.note).map_err(format)?;
        for signature in signatures {
            if !note.signatures().contains(signature) {
                note.add(signature.clone()).map_err(format)?;
            }
        }
        let note = note.to_string();
        if note.as_bytes() == kept.note {
            return Ok(());
        }
        self.append(&mut writing, size, note.as_bytes())?;
        if is_newest { self.give_out(note.as_bytes()) } else { Ok(()) }
    }

    /// Writes the files of the days that ended 30 days ago anew, with what is kept for ever.
    pub(super) fn thin(&self, now: Millis) -> Result<(), LogError> {
        let mut writing = self.writing()?;
        let before = day(Millis::saturating(now.get() - KEPT));
        let mut days = self.days()?;
        // The newest file is appended to.
        days.pop();
        days.retain(|day| *day < before && *day > writing.thinned);
        if days.is_empty() {
            return Ok(());
        }
        let bundled = self.bundled()?;
        for day in days {
            self.thin_one(&day, &bundled)?;
            writing.thinned = day;
        }
        Ok(())
    }

    fn thin_one(&self, day: &str, bundled: &BTreeSet<u64>) -> Result<(), LogError> {
        let path = self.days.join(day);
        // The folder has checkpoints alone.
        let temporary = self.days.with_extension("tmp");
        let mut new = BufWriter::new(create(&temporary)?);
        let mut is_shorter = false;
        let mut records = Records::of(path.clone(), false).peekable();
        while let Some(kept) = records.next() {
            let kept = kept?;
            let hour = |kept: &Kept| kept.at.get() / HOUR;
            let is_last_of_hour = match records.peek() {
                Some(Ok(next)) => hour(next) != hour(&kept),
                _ => true,
            };
            let stamp = self.folder.join(format!("timestamps/{}.tsr", kept.size));
            if is_last_of_hour
                || kept.is_cosigned()
                || bundled.contains(&kept.size)
                || stamp.exists()
            {
                new.write_all(&kept.record()).doing("write", &temporary)?;
            } else {
                is_shorter = true;
            }
        }
        let new = new.into_inner().map_err(io::IntoInnerError::into_error);
        new.and_then(|new| new.sync_all()).doing("write", &temporary)?;
        if !is_shorter {
            return fs::remove_file(&temporary).doing("remove", &temporary);
        }
        fs::rename(&temporary, &path).doing("rename", &temporary)?;
        sync_folder(&path).doing("sync the folder of", &path)
    }

    /// The sizes of checkpoints that are in evidence bundles.
    fn bundled(&self) -> Result<BTreeSet<u64>, LogError> {
        let path = self.folder.join("bundled");
        let list = read_if_there(&path, "read")?.unwrap_or_default();
        // The last line may have been interrupted.
        let lines = String::from_utf8_lossy(&list);
        let whole = lines.rsplit_once('\n').map_or("", |(whole, _)| whole);
        Ok(whole.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// The right to write. If the end is not known, a record that was interrupted is cut off.
    fn writing(&self) -> Result<MutexGuard<'_, Writing>, LogError> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.end.is_none() {
            let size = self.newest()?.map_or(0, |newest| newest.size);
            let day = self.days()?.pop().unwrap_or_default();
            if !day.is_empty() {
                cut(&self.days.join(&day))?;
            }
            writing.end = Some(End { day, size });
        }
        Ok(writing)
    }

    /// Appends a record. If it fails, the end of the file is not known any more.
    fn append(&self, writing: &mut Writing, size: u64, note: &[u8]) -> Result<(), LogError> {
        let end = writing.end.take().unwrap_or_default();
        let at = now();
        // A clock that goes back does not change the order of the files.
        let day = day(at).max(end.day.clone());
        let path = self.days.join(&day);
        let is_new = day != end.day;
        if is_new {
            match DirBuilder::new().mode(0o700).create(&self.days) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => made
                    .and_then(|()| sync_folder(&self.days))
                    .doing("make the folder", &self.days)?,
            }
        }
        let record = Kept { path: Arc::from(path.as_path()), at, size, note: note.to_vec() };
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(&path);
        let mut file = file.doing("open", &path)?;
        file.write_all(&record.record()).doing("write the checkpoint", &path)?;
        file.sync_all().doing("sync", &path)?;
        if is_new {
            sync_folder(&path).doing("sync the folder of", &path)?;
        }
        writing.end = Some(End { day, size: size.max(end.size) });
        Ok(())
    }

    /// What is given out.
    fn shown(&self) -> Result<Option<Kept>, LogError> {
        let path = Arc::from(self.newest.as_path());
        self.given_out()?.map(|note| Kept::new(path, now(), note)).transpose()
    }

    fn give_out(&self, note: &[u8]) -> Result<(), LogError> {
        if self.given_out()?.as_deref() == Some(note) {
            return Ok(());
        }
        private_file::write(&self.newest, note).doing("write the checkpoint", &self.newest)
    }

    /// The days that have files, in order.
    fn days(&self) -> Result<Vec<String>, LogError> {
        let folder = match fs::read_dir(&self.days) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.doing("list", &self.days)?,
        };
        let mut days = Vec::new();
        for file in folder {
            let name = file.doing("list", &self.days)?.file_name();
            days.extend(name.into_string().ok().filter(|name| is_day(name)));
        }
        days.sort_unstable();
        Ok(days)
    }
}

impl Kept {
    fn new(path: Arc<Path>, at: Millis, note: Vec<u8>) -> Result<Kept, LogError> {
        let size = Note::parse(&note).and_then(|note| Checkpoint::parse(note.text()));
        match size {
            Ok(checkpoint) => Ok(Kept { path, at, size: checkpoint.size(), note }),
            Err(source) => Err(LogError::Format { path: path.to_path_buf(), source }),
        }
    }

    /// Whether it has signatures of others than the log. Those of the log have its origin as their name.
    fn is_cosigned(&self) -> bool {
        let text = text(&self.note);
        let origin = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let own = [b"\xe2\x80\x94 ", origin, b" "].concat();
        let signatures = self.note.get(text.len() + 2..).unwrap_or_default();
        let mut lines = signatures.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.any(|line| !line.starts_with(&own))
    }

    /// It as it is in a file.
    fn record(&self) -> Vec<u8> {
        let header = format!("{} {}\n", self.at.get(), self.note.len());
        [header.as_bytes(), &self.note].concat()
    }
}

/// The text of a note, without its last newline: what comes before the signatures.
fn text(note: &[u8]) -> &[u8] {
    let end = note.windows(2).rposition(|two| two == b"\n\n").unwrap_or(note.len());
    note.get(..end).unwrap_or_default()
}

/// Reads the records of a file. It ends after an error.
struct Records {
    path: Arc<Path>,
    /// `None`: not open yet.
    file: Option<BufReader<File>>,
    /// Whether the last record may end short.
    is_newest: bool,
    /// Where the record that is read next begins.
    at: u64,
    is_over: bool,
}

impl Records {
    fn of(path: PathBuf, is_newest: bool) -> Records {
        Records { path: path.into(), file: None, is_newest, at: 0, is_over: false }
    }

    /// The next record. `None`: there is no other, or it ends short.
    fn read(&mut self) -> Result<Option<Kept>, LogError> {
        let Records { path, file, at, .. } = self;
        let file = match file {
            Some(file) => file,
            none => none.insert(BufReader::new(File::open(&**path).doing("open", path)?)),
        };
        let damaged = |found: &[u8], expected| LogError::Damaged {
            path: path.to_path_buf(),
            at: *at,
            found: String::from_utf8_lossy(found).trim_end().to_owned(),
            expected,
        };
        let mut header = Vec::new();
        let mut limited = file.by_ref().take(MOST_HEADER);
        limited.read_until(b'\n', &mut header).doing("read", path)?;
        let short = || match self.is_newest {
            true => Ok(None),
            false => Err(damaged(&header, "a whole record")),
        };
        if header.is_empty() {
            return Ok(None);
        }
        if header.last() != Some(&b'\n') {
            return match (header.len() as u64) < MOST_HEADER {
                true => short(),
                false => Err(damaged(&header, "a time and a length")),
            };
        }
        let numbers = std::str::from_utf8(&header).ok().and_then(|line| {
            let (millis, length) = line.trim_end().split_once(' ')?;
            Some((millis.parse().ok()?, length.parse().ok()?))
        });
        let most = MAX_BYTES as u64;
        let numbers: Option<(i64, u64)> = numbers.filter(|(_, length)| *length <= most);
        let Some((millis, length)) = numbers else {
            return Err(damaged(&header, "a time and a length of at most 1 MiB"));
        };
        let mut note = Vec::new();
        file.by_ref().take(length).read_to_end(&mut note).doing("read", path)?;
        if note.len() as u64 != length {
            return short();
        }
        let kept = Kept::new(Arc::clone(path), Millis::saturating(millis), note)?;
        self.at += header.len() as u64 + length;
        Ok(Some(kept))
    }
}

impl Iterator for Records {
    type Item = Result<Kept, LogError>;

    fn next(&mut self) -> Option<Result<Kept, LogError>> {
        if self.is_over {
            return None;
        }
        let next = self.read().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Cuts off the record at the end of the newest file that was interrupted, if there is one.
fn cut(path: &Path) -> Result<(), LogError> {
    let mut records = Records::of(path.to_owned(), true);
    records.by_ref().try_for_each(|kept| kept.map(drop))?;
    let mut file = OpenOptions::new().write(true).open(path).doing("open", path)?;
    let length = file.seek(io::SeekFrom::End(0)).doing("look at", path)?;
    if length == records.at {
        return Ok(());
    }
    let bytes = length - records.at;
    tracing::warn!(path = %path.display(), bytes, "a checkpoint that was interrupted is removed");
    file.set_len(records.at).and_then(|()| file.sync_all()).doing("shorten", path)
}

/// The day of a time, as it is in names.
fn day(at: Millis) -> String {
    at.to_string().split('T').next().unwrap_or_default().to_owned()
}

/// Whether a name is `YYYY-MM-DD`.
fn is_day(name: &str) -> bool {
    let shape = name.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    shape.eq(*b"0000-00-00")
}

fn create(path: &Path) -> Result<File, LogError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600).open(path).doing("make", path)
}

/// The contents of a file. `None` if there is none.
pub(super) fn read_if_there(path: &Path, doing: &'static str) -> Result<Option<Vec<u8>>, LogError> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.doing(doing, path).map(Some),
    }
}

/// The checkpoint in a note, if it is signed with one of these keys of the log.
pub(super) fn verified(
    note: &[u8],
    keys: &[VerifierKey],
    path: &Path,
) -> Result<Checkpoint, LogError> {
    let verify = || Checkpoint::verify(&Note::parse(note)?, keys);
    verify().map_err(|source| LogError::Checkpoint { path: path.to_owned(), source })
}

/// Checks that a tree begins with the one that was signed.
///
/// # Errors
/// A [`Contradiction`] if it does not, and others if it cannot be read.
pub(super) fn check_tree(checkpoint: &Checkpoint, tiles: &Tiles) -> Result<(), LogError> {
    let (size, signed) = (checkpoint.size(), *checkpoint.root());
    if size > tiles.size() {
        return Err(Contradiction::Shrunk { size: tiles.size(), signed: size }.into());
    }
    let found = tree::root(tiles, size)?;
    if found != signed {
        return Err(Contradiction::Root { size, found, signed }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::tlog::cosignature::CosigningKey;
    use crate::tlog::note::SigningKey;
    use crate::tlog::tree::Hash;

    fn of_root(key: &SigningKey, size: u64, root: u8) -> Vec<u8> {
        let checkpoint = Checkpoint::new(key.verifier().name(), size, Hash([root; 32])).unwrap();
        checkpoint.sign(key).unwrap().to_string().into_bytes()
    }

    fn note(key: &SigningKey, size: u64) -> Vec<u8> {
        of_root(key, size, 7)
    }

    fn start() -> (tempfile::TempDir, Checkpoints, SigningKey) {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path());
        (folder, checkpoints, SigningKey::from_seed("example.com/log", &[1; 32]).unwrap())
    }

    fn sizes(checkpoints: &Checkpoints) -> Vec<u64> {
        checkpoints.each().unwrap().map(|kept| kept.unwrap().size).collect()
    }

    /// The newest file.
    fn file(checkpoints: &Checkpoints) -> PathBuf {
        checkpoints.days.join(checkpoints.days().unwrap().last().unwrap())
    }

    fn cosignature(note: &[u8], seed: u8) -> Signature {
        let witness = CosigningKey::from_seed(&format!("witness.example/{seed}"), &[seed; 32]);
        witness.unwrap().cosign(&Note::parse(note).unwrap(), 1_700_000_000).unwrap()
    }

    #[test]
    fn the_newest_is_what_was_signed_last() {
        let (folder, checkpoints, key) = start();
        let newest = || checkpoints.newest().unwrap().map(|kept| kept.size);
        assert_eq!((newest(), checkpoints.given_out().unwrap()), (None, None));
        assert_eq!((sizes(&checkpoints), checkpoints.take_up().unwrap()), (vec![], None));
        checkpoints.put(9, &note(&key, 9)).unwrap();
        checkpoints.put(10, &note(&key, 10)).unwrap();
        assert_eq!((newest(), sizes(&checkpoints)), (Some(10), vec![9, 10]));
        assert_eq!(checkpoints.given_out().unwrap(), Some(note(&key, 10)));
        assert_eq!(checkpoints.find(9).unwrap().unwrap().note, note(&key, 9));
        assert_eq!(checkpoints.find(8).unwrap(), None);
        // A crash came between the two files. What is no day is no file with checkpoints.
        fs::write(checkpoints.path(), note(&key, 9)).unwrap();
        fs::write(checkpoints.days.join("2026-01-01.part"), "other").unwrap();
        assert_eq!(newest(), Some(10));
        let again = Checkpoints::new(folder.path());
        assert_eq!(again.take_up().unwrap().unwrap().note, note(&key, 10));
        assert_eq!(again.given_out().unwrap(), Some(note(&key, 10)));
        // Either of the two is lost.
        fs::remove_file(checkpoints.path()).unwrap();
        assert_eq!(newest(), Some(10));
        fs::write(checkpoints.path(), note(&key, 10)).unwrap();
        fs::remove_dir_all(&checkpoints.days).unwrap();
        assert_eq!(newest(), Some(10));
    }

    #[test]
    fn a_size_is_signed_once() {
        let (folder, checkpoints, key) = start();
        checkpoints.put(9, &note(&key, 9)).unwrap();
        // It was interrupted before it was given out.
        fs::remove_file(checkpoints.path()).unwrap();
        checkpoints.put(9, &note(&key, 9)).unwrap();
        assert_eq!(checkpoints.given_out().unwrap(), Some(note(&key, 9)));
        assert_eq!(sizes(&checkpoints), [9]);
        let check = |size, root, expected: &str| {
            for checkpoints in [&checkpoints, &Checkpoints::new(folder.path())] {
                let error = checkpoints.put(size, &of_root(&key, size, root)).unwrap_err();
                assert!(matches!(error, LogError::Contradiction(_)), "{error}");
                assert!(error.to_string().contains(expected), "{error}");
            }
        };
        check(9, 8, "another checkpoint of 9 leaves");
        check(5, 7, "has 5 leaves, and a checkpoint of 9 leaves is signed");
        assert_eq!(checkpoints.given_out().unwrap(), Some(note(&key, 9)));
        assert_eq!(sizes(&checkpoints), [9]);
    }

    #[test]
    fn a_record_that_was_interrupted_is_cut_off() {
        let (folder, checkpoints, key) = start();
        checkpoints.put(9, &note(&key, 9)).unwrap();
        let path = file(&checkpoints);
        let whole = fs::read(&path).unwrap();
        let next = Kept { path: path.as_path().into(), at: now(), size: 10, note: note(&key, 10) };
        for end in 0..next.record().len() {
            let torn = [&whole, &next.record()[..end]].concat();
            fs::write(&path, torn).unwrap();
            // Whoever reads changes nothing.
            assert_eq!(sizes(&checkpoints), [9], "{end}");
            let again = Checkpoints::new(folder.path());
            assert_eq!(again.take_up().unwrap().unwrap().size, 9);
            assert_eq!(fs::read(&path).unwrap(), whole, "{end}");
        }
        // Only the newest file may end short.
        fs::write(&path, [&whole, &next.record()[..20]].concat()).unwrap();
        fs::write(checkpoints.days.join("9999-01-01"), next.record()).unwrap();
        let all: Vec<_> = checkpoints.each().unwrap().collect();
        let error = all[1].as_ref().unwrap_err().to_string();
        assert!(error.contains("expected a whole record"), "{error}");
        // The next file is read all the same.
        assert_eq!((all[0].as_ref().unwrap().size, all[2].as_ref().unwrap().size), (9, 10));
    }

    #[test]
    fn damaged_files_are_named() {
        let (folder, checkpoints, key) = start();
        checkpoints.put(9, &note(&key, 9)).unwrap();
        let path = file(&checkpoints);
        let whole = fs::read(&path).unwrap();
        let check = |added: &[u8], expected: &str| {
            fs::write(&path, [&whole, added].concat()).unwrap();
            let again = Checkpoints::new(folder.path());
            let error = again.put(10, &note(&key, 10)).unwrap_err().to_string();
            assert!(error.contains(&*path.to_string_lossy()), "{error}");
            assert!(error.contains(expected), "{error}");
            assert_eq!(fs::read(&path).unwrap(), [&whole, added].concat());
        };
        check(&[0; 100], "expected a time and a length");
        check(b"17 x\n", "found \"17 x\", expected a time and a length");
        check(b"17 99999999\n", "a length of at most 1 MiB");
        check(b"17 5\nabcd\n", "expected text, an empty line, and signatures");
        check(format!("17 4\nabcd\n{}", "x".repeat(99)).as_bytes(), "expected text");
    }

    #[test]
    fn cosignatures_are_added() {
        let (folder, checkpoints, key) = start();
        for size in [9, 10] {
            checkpoints.put(size, &note(&key, size)).unwrap();
        }
        let cosigned = |size, seeds: &[u8]| {
            let mut signed = Note::parse(&note(&key, size)).unwrap();
            for seed in seeds {
                signed.add(cosignature(&note(&key, size), *seed)).unwrap();
            }
            signed.to_string().into_bytes()
        };
        let add =
            |size, seed| checkpoints.add_signatures(size, &[cosignature(&note(&key, size), seed)]);
        add(9, 2).unwrap();
        assert_eq!(checkpoints.given_out().unwrap(), Some(note(&key, 10)));
        add(10, 2).unwrap();
        assert_eq!(checkpoints.given_out().unwrap(), Some(cosigned(10, &[2])));
        add(9, 3).unwrap();
        // Nothing is new.
        add(9, 2).unwrap();
        add(10, 2).unwrap();
        assert_eq!(sizes(&checkpoints), [9, 10, 9, 10, 9]);
        assert_eq!(checkpoints.find(9).unwrap().unwrap().note, cosigned(9, &[2, 3]));
        assert_eq!(checkpoints.find(10).unwrap().unwrap().note, cosigned(10, &[2]));
        let error = add(8, 2).unwrap_err().to_string();
        assert!(error.contains("no checkpoint of 8 leaves"), "{error}");
        // A crash came before the cosigned one was given out.
        fs::write(checkpoints.path(), note(&key, 10)).unwrap();
        let again = Checkpoints::new(folder.path());
        assert_eq!(again.take_up().unwrap().unwrap().note, cosigned(10, &[2]));
        assert_eq!(again.given_out().unwrap(), Some(cosigned(10, &[2])));
    }

    #[test]
    fn one_an_hour_is_kept_after_30_days() {
        let (folder, checkpoints, key) = start();
        checkpoints.put(100, &note(&key, 100)).unwrap();
        let minute = 60_000;
        let noon = now().get() / DAY * DAY + DAY / 2;
        let write = |days_ago: i64, records: &[(i64, u64, Vec<u8>)]| {
            let at = |minutes: i64| Millis::saturating(noon - days_ago * DAY + minutes * minute);
            let path = checkpoints.days.join(day(at(0)));
            let mut file = File::create(&path).unwrap();
            for (minutes, size, note) in records {
                let (at, note) = (at(*minutes), note.clone());
                let kept = Kept { path: path.as_path().into(), at, size: *size, note };
                file.write_all(&kept.record()).unwrap();
            }
        };
        let plain = |minutes, size| (minutes, size, note(&key, size));
        let mut cosigned = Note::parse(&note(&key, 4)).unwrap();
        cosigned.add(cosignature(&note(&key, 4), 2)).unwrap();
        let cosigned = (3, 4, cosigned.to_string().into_bytes());
        let old = [1, 2, 3].map(|n| plain(n.try_into().unwrap(), n));
        let later = [plain(4, 5), plain(5, 6), plain(59, 7), plain(60, 8), plain(61, 9)];
        write(31, &[&old[..], &[cosigned], &later].concat());
        write(30, &[plain(0, 20), plain(1, 21)]);
        fs::write(folder.path().join("bundled"), "2\n77\n6\n5").unwrap();
        fs::create_dir(folder.path().join("timestamps")).unwrap();
        fs::write(folder.path().join("timestamps/3.tsr"), "").unwrap();
        checkpoints.thin(now()).unwrap();
        // 2 and 6 are in bundles, 3 has a time stamp, 4 a cosignature, 7 and 9 are the last of an hour.
        assert_eq!(sizes(&checkpoints), [2, 3, 4, 6, 7, 9, 20, 21, 100]);
        let files = || fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files(), 4, "a temporary file is left");
        // It was interrupted, and comes to the same.
        fs::write(folder.path().join("checkpoints.tmp"), "half").unwrap();
        let again = Checkpoints::new(folder.path());
        again.thin(now()).unwrap();
        assert_eq!((sizes(&again), files()), (vec![2, 3, 4, 6, 7, 9, 20, 21, 100], 4));
    }
}
