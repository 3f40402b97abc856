//! Power loss. `strace` records the writes and syncs of the server, and the test replays every
//! prefix of them as a crash. All, none, the names alone or some of the unsynced writes reach the
//! disk. The store always opens, and each acknowledged entry is there once.
//!
//! A killed process does not show this, because the system keeps all of its writes.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use fastrand::Rng;
use ring::digest;
use vidimus::store::{Directory, Options, Reader, Store};
use vidimus::tlog::leaf::Leaf;
use vidimus::tlog::tree::{self, leaf_hash, root_of};

use crate::harness::{Setup, stored, tool, wait_until};

/// An action of the server.
#[derive(Debug)]
enum Event {
    Open {
        path: PathBuf,
        truncate: bool,
    },
    Write {
        path: PathBuf,
        /// `None`: at the end.
        at: Option<usize>,
        bytes: Vec<u8>,
    },
    Truncate {
        path: PathBuf,
        length: usize,
    },
    Sync(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink(PathBuf),
    /// A delivery was answered with 200.
    Acknowledged,
}

/// Parses the output of `strace -f -xx -y`. An interrupted call takes effect where it ended. An
/// answer takes effect where it began, because the client may have seen it from then on.
fn events(trace: &str, home: &Path) -> Vec<Event> {
    let mut unfinished: BTreeMap<&str, String> = BTreeMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        let call = if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
            if begun.starts_with("writev") {
                events.extend(event(begun, home));
            } else {
                unfinished.insert(thread, begun.to_owned());
            }
            continue;
        } else if call.starts_with("<... ") {
            let Some(begun) = unfinished.remove(thread) else { continue };
            let (_, end) = call.split_once(" resumed>").unwrap();
            begun + end
        } else {
            call.to_owned()
        };
        if !call.contains(" = -1 ") {
            events.extend(event(&call, home));
        }
    }
    events
}

fn event(call: &str, home: &Path) -> Option<Event> {
    let (name, arguments) = call.split_once('(')?;
    let strings: Vec<Vec<u8>> = arguments.split('"').skip(1).step_by(2).map(unescape).collect();
    let path = |at: usize| {
        let text = String::from_utf8(strings.get(at)?.clone()).ok()?;
        Some(home.join(text))
    };
    // `-y` prints the path of the descriptor.
    let file = || {
        let (path, _) = arguments.split_once('<')?.1.split_once('>')?;
        String::from_utf8(unescape(path)).ok().map(PathBuf::from)
    };
    let numbers: Vec<usize> = arguments
        .rsplit_once(')')
        .map_or(arguments, |(arguments, _)| arguments)
        .rsplit(", ")
        .map_while(|number| number.parse().ok())
        .collect();
    let event = match name {
        "openat" if arguments.contains("O_CREAT") => {
            Event::Open { path: path(0)?, truncate: arguments.contains("O_TRUNC") }
        }
        "pwrite64" => {
            let at = Some(*numbers.first()?);
            Event::Write { path: file()?, at, bytes: strings.first()?.clone() }
        }
        "ftruncate" => Event::Truncate { path: file()?, length: *numbers.first()? },
        "fsync" | "fdatasync" => Event::Sync(file()?),
        "rename" => Event::Rename { from: path(0)?, to: path(1)? },
        "unlink" => Event::Unlink(path(0)?),
        "writev" | "write" if strings.iter().any(|text| text.starts_with(b"HTTP/1.1 200")) => {
            Event::Acknowledged
        }
        "write" => Event::Write { path: file()?, at: None, bytes: strings.first()?.clone() },
        _ => return None,
    };
    Some(event)
}

/// Decodes escapes such as `\x41`.
fn unescape(text: &str) -> Vec<u8> {
    match text.starts_with("\\x") {
        true => {
            text.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
        }
        false => text.as_bytes().to_vec(),
    }
}

/// A file: its current contents, its synced contents, and the changes between them.
#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<(usize, Option<Vec<u8>>)>,
}

fn apply(bytes: &mut Vec<u8>, at: usize, written: Option<&[u8]>) {
    let Some(written) = written else { return bytes.resize(at, 0) };
    bytes.resize(bytes.len().max(at + written.len()), 0);
    bytes[at..at + written.len()].copy_from_slice(written);
}

impl Content {
    fn change(&mut self, at: usize, written: Option<Vec<u8>>) {
        apply(&mut self.now, at, written.as_deref());
        self.pending.push((at, written));
    }
}

/// The data directory on a disk that loses unsynced writes.
#[derive(Default)]
struct Disk {
    contents: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
}

/// The unsynced changes that survive a crash.
#[derive(Clone, Copy, Debug)]
enum SurvivingWrites {
    All,
    Nothing,
    Names,
    Some(u64),
}

impl Disk {
    fn load(data: &Path) -> Disk {
        let mut disk = Disk::default();
        let mut folders = vec![data.to_owned()];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                // Shared memory is not on the disk.
                } else if path.is_file() && !path.to_string_lossy().ends_with("-shm") {
                    let bytes = fs::read(&path).unwrap();
                    disk.names.insert(path, disk.contents.len());
                    disk.contents.push(Content {
                        now: bytes.clone(),
                        synced: bytes,
                        pending: vec![],
                    });
                }
            }
        }
        disk.synced_names.clone_from(&disk.names);
        disk
    }

    fn content(&mut self, path: &Path) -> Option<&mut Content> {
        self.names.get(path).and_then(|at| self.contents.get_mut(*at))
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Open { path, truncate } => {
                if !self.names.contains_key(path) {
                    self.names.insert(path.clone(), self.contents.len());
                    self.contents.push(Content::default());
                } else if *truncate {
                    self.content(path).unwrap().change(0, None);
                }
            }
            Event::Write { path, at, bytes } => {
                if let Some(content) = self.content(path) {
                    let at = at.unwrap_or(content.now.len());
                    content.change(at, Some(bytes.clone()));
                }
            }
            Event::Truncate { path, length } => {
                if let Some(content) = self.content(path) {
                    content.change(*length, None);
                }
            }
            Event::Sync(path) => match self.content(path) {
                Some(content) => {
                    content.synced.clone_from(&content.now);
                    content.pending.clear();
                    let at = self.names[path];
                    self.synced_names.insert(path.clone(), at);
                }
                None => {
                    let is_in = |one: &Path| one.parent() == Some(path.as_path());
                    self.synced_names.retain(|one, _| !is_in(one));
                    let names = self.names.iter().filter(|(one, _)| is_in(one));
                    self.synced_names.extend(names.map(|(one, at)| (one.clone(), *at)));
                }
            },
            Event::Rename { from, to } => {
                if let Some(at) = self.names.remove(from) {
                    self.names.insert(to.clone(), at);
                }
            }
            Event::Unlink(path) => drop(self.names.remove(path)),
            Event::Acknowledged => {}
        }
    }

    /// The files and their contents after a crash at this point.
    fn after_crash(&self, surviving: SurvivingWrites) -> BTreeMap<&Path, Vec<u8>> {
        let names = match surviving {
            SurvivingWrites::Nothing => &self.synced_names,
            _ => &self.names,
        };
        let mut random = Rng::with_seed(match surviving {
            SurvivingWrites::Some(seed) => seed,
            _ => 0,
        });
        let bytes = |at: &usize, random: &mut Rng| {
            let content = &self.contents[*at];
            match surviving {
                SurvivingWrites::All => content.now.clone(),
                SurvivingWrites::Nothing | SurvivingWrites::Names => content.synced.clone(),
                SurvivingWrites::Some(_) => {
                    let mut bytes = content.synced.clone();
                    for (at, written) in &content.pending {
                        if random.f64() < 0.5 {
                            apply(&mut bytes, *at, written.as_deref());
                        }
                    }
                    bytes
                }
            }
        };
        names.iter().map(|(path, at)| (path.as_path(), bytes(at, &mut random))).collect()
    }
}

fn line(n: usize) -> String {
    match n % 5 {
        0 => format!("no entry: {n}"),
        _ => format!("{{\"name\":\"Ingress\",\"rt\":{},\"trace_id\":{n}}}", 1_000_000 + n),
    }
}

#[test]
fn no_acknowledged_entry_is_lost_with_any_unsynced_writes() {
    let Some(mut strace) = tool("strace") else { return };
    let mut serve =
        Setup::new().config("[store]\nsegment_entries = 20\n").arguments("--no-tls").start();
    let mut acknowledged: Vec<Vec<String>> = Vec::new();
    let batch = |first: usize| (first..first + 8).map(line).collect::<Vec<_>>();
    serve.deliver(batch(0).join("\n"));
    serve.deliver(batch(0).join("\n"));

    // The recording starts here.
    let mut disk = Disk::load(&serve.data());
    let trace = serve.home().join("trace");
    let calls = "trace=openat,pwrite64,write,writev,fsync,fdatasync,ftruncate,rename,unlink";
    strace.args(["-f", "-xx", "-y", "-s", "1000000", "-e", calls, "-o"]).arg(&trace);
    strace.arg("-p").arg(serve.pid().to_string()).stderr(Stdio::null());
    let mut strace = strace.spawn().unwrap();
    let traced = || {
        let status = fs::read_to_string(format!("/proc/{}/status", serve.pid())).unwrap();
        !status.contains("TracerPid:\t0")
    };
    wait_until("strace", traced);
    for first in (8..72).step_by(8) {
        let lines = batch(first);
        serve.deliver(lines.join("\n"));
        acknowledged.push(lines);
        match first % 24 {
            0 => {
                // A duplicate is only counted.
                serve.deliver(batch(0).join("\n"));
                acknowledged.push(Vec::new());
            }
            8 => {
                let gzip = ("content-encoding", "gzip");
                let headers = [("authorization", serve.authorization.as_str()), gzip];
                assert_eq!(serve.post("/audit-logs", &headers, b"\x1f\x8bno").status, 400);
            }
            _ => {
                let headers = [("authorization", "wrong")];
                assert_eq!(serve.post("/audit-logs", &headers, b"").status, 401);
            }
        }
    }
    wait_until("refused requests on the disk", || !stored::refused(&serve.data()).is_empty());
    let closed = "SELECT count(*) FROM segments WHERE state = 'closed'";
    wait_until("sealed segments", || {
        stored::catalog(&serve.data(), closed, |row| row.get::<_, u64>(0)) == [0]
    });
    serve.stop();
    strace.wait().unwrap();

    let events = events(&fs::read_to_string(&trace).unwrap(), serve.home());
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|one| wanted(one)).count();
    assert_eq!(count(|one| matches!(one, Event::Acknowledged)), acknowledged.len());
    assert!(count(|one| matches!(one, Event::Rename { .. })) >= 2, "nothing was sealed");
    let (mut seen, mut states, mut answers) = (HashSet::new(), 0, 0);
    let mut expected: Vec<String> = batch(0);
    for (at, event) in events.iter().enumerate() {
        disk.apply(event);
        if matches!(event, Event::Acknowledged) {
            expected.extend(acknowledged[answers].iter().cloned());
            answers += 1;
        }
        let survivors = [
            SurvivingWrites::All,
            SurvivingWrites::Nothing,
            SurvivingWrites::Names,
            SurvivingWrites::Some(at as u64),
        ];
        for surviving in survivors {
            let files = disk.after_crash(surviving);
            // Equal states are checked once.
            if seen.insert((hash(&files), answers)) {
                states += 1;
                let story = format!("{surviving:?} after {at} of {} calls", events.len());
                check(&files, &serve.data(), &expected, &story);
            }
        }
    }
    println!("{states} states of {} calls", events.len());
    assert!(states > 300, "{states}");
}

fn hash(files: &BTreeMap<&Path, Vec<u8>>) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA256);
    for (path, bytes) in files {
        context.update(path.as_os_str().as_encoded_bytes());
        context.update(&bytes.len().to_le_bytes());
        context.update(bytes);
    }
    context.finish().as_ref().to_vec()
}

/// Opens the store that the crash left, and checks that the acknowledged entries are there.
fn check(files: &BTreeMap<&Path, Vec<u8>>, data: &Path, expected: &[String], story: &str) {
    // This copy of the store need not be on a disk.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let temporary = tempfile::tempdir_in(folder).unwrap();
    let home = temporary.path().join("data");
    let directory = Directory::create(&home).unwrap();
    for (path, bytes) in files {
        let path = home.join(path.strip_prefix(data).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let store = Store::open(&directory, Options::default());
    let store = store.unwrap_or_else(|error| {
        let sizes: Vec<_> = files.iter().map(|(path, bytes)| (path, bytes.len())).collect();
        panic!("{story}: {error}; {sizes:#?}")
    });
    let size = store.write_tiles().unwrap_or_else(|error| panic!("{story}: {error}"));
    drop(store);
    check_log(&directory, size, story);
    let mut found: Vec<String> = stored::entries(&home)
        .into_iter()
        .map(|entry| String::from_utf8(entry.line).unwrap())
        .collect();
    let all = found.len();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), all, "{story}: an entry is stored twice");
    let lost = expected.iter().find(|line| found.binary_search(line).is_err());
    assert_eq!(lost, None, "{story}: an acknowledged entry is missing");
    let gaps = stored::catalog(&home, "SELECT count(*) FROM gaps", |row| row.get::<_, u64>(0));
    assert_eq!(gaps, [0], "{story}: a crash is no loss");
}

/// Checks that the log has a leaf for each entry, in order, and that no leaf says that something was lost.
fn check_log(directory: &Directory, size: u64, story: &str) {
    let reader = Reader::open(directory).unwrap();
    let tiles = reader.tiles().unwrap();
    let records: Vec<_> = (0..size).map(|leaf| tiles.record(leaf).unwrap()).collect();
    let root = root_of(records.iter().map(|record| leaf_hash(record)));
    assert_eq!(tree::root(&tiles, size).unwrap(), root, "{story}");
    let mut leaves = records.iter().map(|record| Leaf::parse(record).unwrap().0);
    assert!(matches!(leaves.next(), Some(Leaf::Start { .. })), "{story}");
    let mut id = 0;
    for (leaf, found) in (1..size).zip(leaves) {
        let Leaf::Entry(entry) = found else {
            assert!(matches!(found, Leaf::Seal { .. }), "{story}: leaf {leaf}: {found}");
            continue;
        };
        id += 1;
        let of_entry = reader.leaf_of(id).unwrap().map(|(leaf, _)| leaf);
        assert_eq!((entry.id, of_entry), (id, Some(leaf)), "{story}");
    }
    assert_eq!(reader.leaf_of(id + 1).unwrap(), None, "{story}");
}

#[test]
fn system_calls_are_parsed_from_the_output_of_strace() {
    let home = Path::new("/h");
    let call = r#"pwrite64(3<\x2f\x61>, "\x41\x42", 2, 10) = 2"#;
    let Some(Event::Write { path, at, bytes }) = event(call, home) else { panic!("{call}") };
    assert_eq!((path.to_str().unwrap(), at, bytes.as_slice()), ("/a", Some(10), b"AB".as_slice()));
    let trace = "1 pwrite64(3<\\x2f\\x61>, \"\\x41\", 1, 4 <unfinished ...>\n\
                 1 <... pwrite64 resumed>)        = 1\n";
    let found = format!("{:?}", events(trace, home));
    assert_eq!(found, r#"[Write { path: "/a", at: Some(4), bytes: [65] }]"#);
    let trace = "1 fsync(3<\\x2f\\x61> <unfinished ...>\n2 unlink(\"\\x62\") = 0\n\
                 1 <... fsync resumed>)              = 0\n2 unlink(\"\\x63\") = -1 ENOENT (x)\n";
    let found = format!("{:?}", events(trace, home));
    assert_eq!(found, r#"[Unlink("/h/b"), Sync("/a")]"#);
}
