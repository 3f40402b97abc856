//! Faults that an operator injects, to see how a sender reacts to them.
//!
//! A fault is for the next deliveries to an input. It is injected after the `Authorization` was checked
//! and the body was read. Nothing is stored of a delivery that gets another answer than 2xx, and a
//! delivery whose answer is delayed is stored as usual. So 2xx still means that the batch is committed.
//! Faults are in memory only: a restart clears them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::response::Problem;
use crate::settings::units::{self, show_duration};

/// The longest delay of an answer.
const MAX_DELAY: Duration = Duration::from_secs(5 * 60);

/// The most deliveries that get a fault.
const MAX_COUNT: u32 = 1_000_000;

/// What happens to a delivery instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Fault {
    /// It is answered 500 and not stored.
    InternalServerError,
    /// It is answered 429 and not stored.
    TooManyRequests,
    /// It is stored, and the answer waits.
    Delay(Duration),
    /// It is not stored, and the connection is closed without an answer.
    Reset,
}

/// The text of a fault is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a fault is {0:?}, expected 500, 429, reset, or delay= and a duration up to 5m, as in delay=5s"
)]
pub(crate) struct UnknownFault(String);

/// How many deliveries get a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub(crate) struct FaultCount(u32);

/// The number of deliveries is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the number of deliveries is {0:?}, expected a whole number from 1 to {MAX_COUNT}")]
pub(crate) struct WrongCount(String);

/// The faults of all inputs.
#[derive(Debug)]
pub(crate) struct Faults {
    is_allowed: bool,
    /// The names of the inputs.
    inputs: Vec<String>,
    /// By input.
    planned: Mutex<BTreeMap<String, PlannedFault>>,
}

/// A fault that the next deliveries to an input get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlannedFault {
    pub(crate) input: String,
    pub(crate) fault: Fault,
    /// How many deliveries are still to get it.
    pub(crate) left: u32,
    /// How many have got it.
    pub(crate) injected: u32,
}

/// Why a fault cannot be set or cleared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FaultError {
    #[error(
        "this serve injects no faults: they need actions = true under [console] in its \
         configuration, and a restart"
    )]
    NotAllowed,
    #[error("there is no input {name:?}, expected {}", .known.join(" or "))]
    UnknownInput { name: String, known: Vec<String> },
    #[error("there are several inputs: name one of them, {}", .known.join(" or "))]
    SeveralInputs { known: Vec<String> },
}

impl Faults {
    /// No faults yet. `is_allowed` is whether they may be set.
    pub(crate) fn new(is_allowed: bool, inputs: Vec<String>) -> Faults {
        Faults { is_allowed, inputs, planned: Mutex::default() }
    }

    /// Checks that faults may be set.
    pub(crate) fn check_allowed(&self) -> Result<(), FaultError> {
        if self.is_allowed { Ok(()) } else { Err(FaultError::NotAllowed) }
    }

    /// Gives the next `count` deliveries to an input this fault, instead of one that was set before. The
    /// input can be left out if there is one only.
    pub(crate) fn set(
        &self,
        input: Option<&str>,
        fault: Fault,
        count: FaultCount,
    ) -> Result<PlannedFault, FaultError> {
        self.check_allowed()?;
        let input = match (input, self.inputs.as_slice()) {
            (Some(name), _) => self.known(name)?,
            (None, [one]) => one,
            (None, _) => return Err(FaultError::SeveralInputs { known: self.inputs.clone() }),
        };
        let planned = PlannedFault { input: input.to_owned(), fault, left: count.0, injected: 0 };
        self.planned().insert(input.to_owned(), planned.clone());
        Ok(planned)
    }

    /// The faults that are still to be injected, by input.
    pub(crate) fn list(&self) -> Vec<PlannedFault> {
        self.planned().values().cloned().collect()
    }

    /// Clears the fault of an input, or those of all inputs. Returns what was cleared.
    pub(crate) fn clear(&self, input: Option<&str>) -> Result<Vec<PlannedFault>, FaultError> {
        self.check_allowed()?;
        match input {
            None => Ok(std::mem::take(&mut *self.planned()).into_values().collect()),
            Some(name) => {
                let name = self.known(name)?;
                Ok(self.planned().remove(name).into_iter().collect())
            }
        }
    }

    /// The fault for a delivery that was read, counted down and logged.
    pub(super) fn next(&self, input: &str) -> Option<Fault> {
        let mut planned = self.planned();
        let one = planned.get_mut(input)?;
        one.left -= 1;
        one.injected += 1;
        let PlannedFault { fault, left, .. } = *one;
        if left == 0 {
            planned.remove(input);
        }
        drop(planned);
        tracing::warn!(input, %fault, left, "a fault was injected");
        Some(fault)
    }

    fn known(&self, name: &str) -> Result<&str, FaultError> {
        let known = self.inputs.iter().find(|input| *input == name);
        known.map(String::as_str).ok_or_else(|| FaultError::UnknownInput {
            name: name.to_owned(),
            known: self.inputs.clone(),
        })
    }

    fn planned(&self) -> MutexGuard<'_, BTreeMap<String, PlannedFault>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    /// What is recorded of a delivery that gets it.
    pub(super) fn reason(self) -> String {
        format!("a fault was injected: {self}")
    }

    /// The problem that the sender sees, if the fault is an answer. It is that of a receiver that fails
    /// by itself.
    pub(super) fn problem(self) -> Option<Problem> {
        match self {
            Fault::InternalServerError => Some(Problem::not_stored()),
            Fault::TooManyRequests => Some(Problem::overloaded()),
            Fault::Delay(_) | Fault::Reset => None,
        }
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Fault, UnknownFault> {
        let unknown = || UnknownFault(text.chars().take(100).collect());
        match text {
            "500" => Ok(Fault::InternalServerError),
            "429" => Ok(Fault::TooManyRequests),
            "reset" => Ok(Fault::Reset),
            text => {
                let delay = text.strip_prefix("delay=").ok_or_else(unknown)?;
                let delay = units::duration(delay).map_err(|_| unknown())?;
                let is_allowed = !delay.is_zero() && delay <= MAX_DELAY;
                is_allowed.then_some(Fault::Delay(delay)).ok_or_else(unknown)
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::InternalServerError => f.write_str("500"),
            Fault::TooManyRequests => f.write_str("429"),
            Fault::Delay(delay) => write!(f, "delay={}", show_duration(*delay)),
            Fault::Reset => f.write_str("reset"),
        }
    }
}

impl TryFrom<String> for Fault {
    type Error = UnknownFault;

    fn try_from(text: String) -> Result<Fault, UnknownFault> {
        text.parse()
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> String {
        fault.to_string()
    }
}

impl FromStr for FaultCount {
    type Err = WrongCount;

    fn from_str(text: &str) -> Result<FaultCount, WrongCount> {
        let count =
            text.parse::<u32>().map_err(|_| WrongCount(text.chars().take(100).collect()))?;
        FaultCount::try_from(count)
    }
}

impl TryFrom<u32> for FaultCount {
    type Error = WrongCount;

    fn try_from(count: u32) -> Result<FaultCount, WrongCount> {
        let is_allowed = (1..=MAX_COUNT).contains(&count);
        is_allowed.then_some(FaultCount(count)).ok_or_else(|| WrongCount(count.to_string()))
    }
}

impl From<FaultCount> for u32 {
    fn from(count: FaultCount) -> u32 {
        count.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(number: u32) -> FaultCount {
        number.try_into().unwrap()
    }

    fn faults(inputs: &[&str]) -> Faults {
        Faults::new(true, inputs.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn a_fault_is_read_as_it_is_shown() {
        let delay = |millis| Fault::Delay(Duration::from_millis(millis));
        for (text, expected) in [
            ("500", Fault::InternalServerError),
            ("429", Fault::TooManyRequests),
            ("reset", Fault::Reset),
            ("delay=5s", delay(5000)),
            ("delay=1ms", delay(1)),
            ("delay=5m", delay(300_000)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(expected.to_string(), text);
            let json = serde_json::to_string(&expected).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), expected);
        }
        for bad in
            ["", "200", "503", "Reset", "delay", "delay=", "delay=5", "delay=0s", "delay=6m", "5s"]
        {
            let error = bad.parse::<Fault>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("a fault is {bad:?}, expected 500, ")), "{error}");
            assert!(serde_json::from_str::<Fault>(&format!("{bad:?}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_number_of_deliveries_is_limited() {
        for (text, expected) in [("1", 1), ("1000000", MAX_COUNT)] {
            assert_eq!(text.parse(), Ok(FaultCount(expected)), "{text}");
            assert_eq!(serde_json::from_str::<FaultCount>(text).unwrap(), FaultCount(expected));
        }
        for bad in ["0", "1000001", "-1", "", "x", "4294967296"] {
            let error = bad.parse::<FaultCount>().unwrap_err().to_string();
            assert!(error.contains("expected a whole number from 1 to 1000000"), "{error}");
            assert!(serde_json::from_str::<FaultCount>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fault_is_counted_down() {
        let faults = faults(&["a", "b"]);
        assert_eq!(faults.next("a"), None);
        faults.set(Some("a"), Fault::Reset, count(2)).unwrap();
        faults.set(Some("b"), Fault::TooManyRequests, count(1)).unwrap();
        assert_eq!(faults.next("a"), Some(Fault::Reset));
        let listed: Vec<_> = faults.list().into_iter().map(|one| (one.input, one.left)).collect();
        assert_eq!(listed, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        assert_eq!(faults.list()[0].injected, 1);
        assert_eq!(faults.next("a"), Some(Fault::Reset));
        assert_eq!(faults.next("a"), None);
        assert_eq!(faults.next("b"), Some(Fault::TooManyRequests));
        assert_eq!(faults.list(), []);
    }

    #[test]
    fn a_fault_replaces_that_of_its_input_and_is_cleared() {
        let faults = faults(&["a", "b"]);
        for input in ["a", "b"] {
            faults.set(Some(input), Fault::Reset, count(2)).unwrap();
        }
        faults.set(Some("a"), Fault::InternalServerError, count(9)).unwrap();
        let cleared = faults.clear(Some("a")).unwrap();
        assert_eq!(cleared.len(), 1);
        assert_eq!((cleared[0].fault, cleared[0].left), (Fault::InternalServerError, 9));
        assert_eq!(faults.clear(Some("a")).unwrap(), []);
        assert_eq!(faults.next("a"), None);
        assert_eq!(faults.clear(None).unwrap()[0].input, "b");
        assert_eq!(faults.next("b"), None);
    }

    #[test]
    fn an_input_must_be_known_and_can_be_left_out_if_it_is_the_only_one() {
        let planned = faults(&["a"]).set(None, Fault::Reset, count(1)).unwrap();
        assert_eq!(planned.input, "a");
        let faults = faults(&["a", "b"]);
        let error = faults.set(None, Fault::Reset, count(1)).unwrap_err().to_string();
        assert_eq!(error, "there are several inputs: name one of them, a or b");
        let error = faults.set(Some("c"), Fault::Reset, count(1)).unwrap_err();
        assert_eq!(error.to_string(), "there is no input \"c\", expected a or b");
        assert_eq!(faults.clear(Some("c")).unwrap_err(), error);
        assert_eq!(faults.list(), []);
    }

    #[test]
    fn faults_must_be_allowed() {
        let faults = Faults::new(false, vec!["a".to_owned()]);
        let error = faults.set(None, Fault::Reset, count(1)).unwrap_err();
        assert_eq!(error, FaultError::NotAllowed);
        assert_eq!(faults.clear(None).unwrap_err(), error);
        assert_eq!(faults.check_allowed().unwrap_err(), error);
        assert!(error.to_string().contains("actions = true under [console]"), "{error}");
        assert_eq!(faults.next("a"), None);
    }
}
