//! Checks whether an object store keeps what the journal relies on: each call is allowed, an object is
//! created once however many try, and everyone reads what the winner wrote.
//!
//! It writes under a prefix of its own and deletes what it wrote. It reads no object of the journal.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Barrier;

use super::{Bucket, Created, ObjectError, Objects};

/// The keys that are raced for, and how many creates race for each.
pub(crate) const KEYS: usize = 100;
pub(crate) const RACERS: usize = 32;

/// The most problems that are kept of one check. More of them say nothing new.
const MOST: usize = 5;

/// What a check found.
#[derive(Debug)]
pub(crate) struct Finding {
    /// What was checked.
    pub what: String,
    /// What is wrong. Empty: nothing.
    pub problems: Vec<String>,
}

impl Finding {
    fn new(what: impl Into<String>) -> Finding {
        Finding { what: what.into(), problems: Vec::new() }
    }

    fn problem(&mut self, problem: impl fmt::Display) {
        if self.problems.len() < MOST {
            self.problems.push(problem.to_string());
        }
    }

    /// Takes the result of a call, and notes its error.
    fn note<T>(&mut self, result: Result<T, ObjectError>) -> Option<T> {
        result.map_err(|error| self.problem(error)).ok()
    }
}

/// Checks that each call that the journal makes is allowed, under the folder `folder`.
///
/// # Errors
/// When the object store cannot be reached.
pub(crate) async fn permissions(
    bucket: &Bucket,
    folder: &str,
) -> Result<Vec<Finding>, ObjectError> {
    let key = format!("{folder}/permissions");
    let mut absent = Finding::new("an object that does not exist is reported as missing");
    match bucket.get(&key).await {
        Ok(None) => {}
        Ok(Some(_)) => absent.problem(format_args!("{key:?} is there before it was created")),
        Err(error @ ObjectError::Denied { .. }) => absent.problem(format_args!(
            "{error}; S3 answers so for a free key if the credentials may not list the bucket"
        )),
        Err(error) => return Err(error),
    }
    if absent.note(bucket.exists(&key).await) == Some(true) {
        absent.problem(format_args!("{key:?} is said to be there before it was created"));
    }
    let mut create = Finding::new("an object can be created");
    create.note(bucket.create(&key, "one".into()).await);
    let mut read = Finding::new("an object can be read");
    match read.note(bucket.get(&key).await) {
        Some(Some(body)) if body == "one" => {}
        Some(found) => read.problem(format_args!("found {found:?}, expected \"one\"")),
        None => {}
    }
    if read.note(bucket.exists(&key).await) == Some(false) {
        read.problem(format_args!("{key:?} is said not to be there"));
    }
    let mut again = Finding::new("a second create is refused and changes nothing");
    match again.note(bucket.create(&key, "two".into()).await) {
        Some(Created::Now) => again.problem("an object was created where one was"),
        Some(Created::Exists) | None => {}
    }
    if again.note(bucket.get(&key).await).flatten().is_some_and(|body| body == "two") {
        again.problem("the second create replaced the object");
    }
    let mut list = Finding::new("an object can be listed");
    if let Some(listed) = list.note(bucket.list(folder).await)
        && !listed.iter().any(|meta| meta.location.as_ref() == key)
    {
        list.problem(format_args!("the list of {folder:?} lacks {key:?}"));
    }
    let mut delete = Finding::new("an object can be deleted");
    delete.note(bucket.delete(&key).await);
    if delete.note(bucket.get(&key).await).flatten().is_some() {
        delete.problem(format_args!("{key:?} is there after it was deleted"));
    }
    Ok(vec![absent, create, read, again, list, delete])
}

/// Races `racers` creates for each of `keys` keys, spread over the endpoints. Exactly one may win each.
/// All endpoints must then read what the winner wrote, and refuse another create.
pub(crate) async fn race<O: Objects>(
    endpoints: &[Arc<O>],
    folder: &str,
    keys: usize,
    racers: usize,
) -> Finding {
    let through = match endpoints.len() {
        1 => String::new(),
        number => format!(" through {number} endpoints"),
    };
    let mut finding = Finding::new(format!(
        "{racers} writers try to create one object, {keys} times{through}: one succeeds"
    ));
    for number in 0..keys {
        let key = format!("{folder}/race-{number}");
        race_for(endpoints, &key, racers, &mut finding).await;
        if let Some(first) = endpoints.first() {
            finding.note(first.delete(&key).await);
        }
    }
    finding
}

async fn race_for<O: Objects>(
    endpoints: &[Arc<O>],
    key: &str,
    racers: usize,
    finding: &mut Finding,
) {
    let start = Arc::new(Barrier::new(racers));
    let racer = |(number, objects): (usize, &Arc<O>)| {
        let (objects, start, key) = (Arc::clone(objects), Arc::clone(&start), key.to_owned());
        tokio::spawn(async move {
            start.wait().await;
            objects.create(&key, body_of(number)).await
        })
    };
    let racing: Vec<_> = endpoints.iter().cycle().take(racers).enumerate().map(racer).collect();
    let (mut winners, mut unknown) = (Vec::new(), Vec::new());
    for (number, racing) in racing.into_iter().enumerate() {
        match racing.await {
            Ok(Ok(Created::Now)) => winners.push(number),
            Ok(Ok(Created::Exists)) => {}
            Ok(Err(error)) => {
                // Such a create may have won.
                unknown.push(number);
                if unknown.len() == racers {
                    finding.problem(error);
                }
            }
            Err(error) => finding.problem(error),
        }
    }
    if winners.len() > 1 {
        finding.problem(format_args!("{} creates of {key:?} won", winners.len()));
    }
    for objects in endpoints {
        let Some(found) = finding.note(objects.get(key).await) else { continue };
        let may_have_won = if winners.is_empty() { &unknown } else { &winners };
        let is_right = found
            .as_ref()
            .is_some_and(|body| may_have_won.iter().any(|one| *body == body_of(*one)));
        if !is_right {
            let found = if found.is_some() { "another's bytes" } else { "nothing" };
            finding.problem(format_args!("{key:?} has {found} instead of the winner's"));
        }
        if finding.note(objects.exists(key).await) == Some(false) {
            finding.problem(format_args!("{key:?} is said not to be there"));
        }
        // A late create must find the object, whichever endpoint made it.
        if let Some(Created::Now) = finding.note(objects.create(key, "late".into()).await) {
            finding.problem(format_args!("a late create of {key:?} won too"));
        }
    }
}

fn body_of(racer: usize) -> Bytes {
    format!("racer {racer}").into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;

    /// What is wrong with an object store.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Fault {
        None,
        /// Creates overwrite.
        Overwrites,
        /// Creates of an existing object succeed and change nothing.
        SaysCreated,
        /// Creates succeed and keep nothing.
        Forgets,
    }

    struct Memory(Fault, Mutex<BTreeMap<String, Bytes>>);

    impl Memory {
        fn endpoints(fault: Fault) -> Vec<Arc<Memory>> {
            let one = Arc::new(Memory(fault, Mutex::default()));
            vec![Arc::clone(&one), one]
        }
    }

    impl Objects for Memory {
        async fn create(&self, key: &str, body: Bytes) -> Result<Created, ObjectError> {
            let mut objects = self.1.lock().unwrap();
            let there = objects.contains_key(key);
            if self.0 != Fault::Forgets && (!there || self.0 == Fault::Overwrites) {
                objects.insert(key.to_owned(), body);
            }
            match there && self.0 == Fault::None {
                true => Ok(Created::Exists),
                false => Ok(Created::Now),
            }
        }

        async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
            Ok(self.1.lock().unwrap().get(key).cloned())
        }

        async fn delete(&self, key: &str) -> Result<(), ObjectError> {
            self.1.lock().unwrap().remove(key);
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_race_has_one_winner() {
        let endpoints = Memory::endpoints(Fault::None);
        let finding = race(&endpoints, "f", 10, 8).await;
        assert!(finding.problems.is_empty(), "{finding:?}");
        assert_eq!(
            finding.what,
            "8 writers try to create one object, 10 times through 2 endpoints: one succeeds"
        );
        assert!(endpoints[0].1.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn each_broken_store_is_seen() {
        let check = async |fault, expected: &str| {
            let finding = race(&Memory::endpoints(fault), "f", 3, 4).await;
            let all = finding.problems.join("\n");
            assert!(all.contains(expected), "{all}");
        };
        check(Fault::Overwrites, "a late create of \"f/race-0\" won too").await;
        check(Fault::SaysCreated, "4 creates of \"f/race-0\" won").await;
        check(Fault::Forgets, "\"f/race-0\" has nothing instead of the winner's").await;
    }

    #[tokio::test]
    async fn a_folder_allows_everything() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display()).parse().unwrap();
        let bucket = Bucket::open(&url).unwrap();
        let findings = permissions(&bucket, "check/x").await.unwrap();
        assert_eq!(findings.len(), 6);
        assert!(findings.iter().all(|one| one.problems.is_empty()), "{findings:?}");
        bucket.create("check/x/permissions", "old".into()).await.unwrap();
        let findings = permissions(&bucket, "check/x").await.unwrap();
        let wrong: Vec<_> = findings.iter().filter(|one| !one.problems.is_empty()).collect();
        assert_eq!(wrong.len(), 2, "{wrong:?}");
    }
}
