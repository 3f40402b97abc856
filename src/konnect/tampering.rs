//! Which lines are tampered with, unsigned or duplicates, by shares such as 1% and 0.5%.
//!
//! The shares are exact and evenly spread, so a test knows how many of each to expect.

use std::fmt;
use std::str::FromStr;

/// A share of a whole, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

const WHOLE: u32 = 1_000_000;

/// A text is not a share, or the shares are too large.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The text is not a number from 0 to 100%.
    #[error("{0:?} is no share, expected one such as 1% or 0.01, from 0 to 100%")]
    NotAShare(String),
    /// The sum of the shares is over 100%.
    #[error("the shares are more than 100% together")]
    TooMuch,
}

impl Share {
    fn percent(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE / 100)
    }
}

impl FromStr for Share {
    type Err = ShareError;

    /// Reads `1%` or `0.01`.
    fn from_str(text: &str) -> Result<Share, ShareError> {
        let bad = || ShareError::NotAShare(text.to_owned());
        let (number, whole) = match text.strip_suffix('%') {
            Some(percent) => (percent.trim_end(), WHOLE / 100),
            None => (text, WHOLE),
        };
        let millionths = number.parse::<f64>().map_err(|_| bad())? * f64::from(whole);
        if !(0.0..=f64::from(WHOLE)).contains(&millionths) {
            return Err(bad());
        }
        Ok(Share(millionths.round() as u32))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent())
    }
}

/// What is done to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// The line is signed.
    Genuine,
    /// The line is changed after it was signed.
    Tampered,
    /// The line has no signature.
    Unsigned,
    /// An earlier line is sent again instead.
    Duplicate,
}

/// An endless sequence with the given shares. In any `n` consecutive lines, the number of each kind
/// differs from its share by at most two.
#[derive(Clone, Debug)]
pub struct TamperingPlan {
    shares: [(Tampering, u32); 4],
    /// The share of each kind that is still due, in millionths of a line.
    owed: [i64; 4],
}

impl TamperingPlan {
    /// All lines are genuine.
    pub fn genuine() -> TamperingPlan {
        let shares = [
            (Tampering::Genuine, WHOLE),
            (Tampering::Tampered, 0),
            (Tampering::Unsigned, 0),
            (Tampering::Duplicate, 0),
        ];
        TamperingPlan { shares, owed: [0; 4] }
    }

    /// A plan with these shares. The rest is genuine.
    pub fn new(
        tampered: Share,
        unsigned: Share,
        duplicate: Share,
    ) -> Result<TamperingPlan, ShareError> {
        let genuine =
            WHOLE.checked_sub(tampered.0 + unsigned.0 + duplicate.0).ok_or(ShareError::TooMuch)?;
        let shares = [
            (Tampering::Genuine, genuine),
            (Tampering::Tampered, tampered.0),
            (Tampering::Unsigned, unsigned.0),
            (Tampering::Duplicate, duplicate.0),
        ];
        Ok(TamperingPlan { shares, owed: [0; 4] })
    }
}

impl Iterator for TamperingPlan {
    type Item = Tampering;

    /// Adds each share to what is due, and takes the kind with the most.
    fn next(&mut self) -> Option<Tampering> {
        for (owed, (_, share)) in self.owed.iter_mut().zip(self.shares) {
            *owed += i64::from(share);
        }
        // In a tie the first wins. `max_by_key` alone would take the last.
        let turns = self.owed.iter_mut().zip(self.shares).rev();
        let (owed, (tampering, _)) = turns.max_by_key(|(owed, _)| **owed)?;
        *owed -= i64::from(WHOLE);
        Some(tampering)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u32>) {
        assert_eq!(text.parse::<Share>().ok(), expected.map(Share), "{text:?}");
    }

    #[test]
    fn shares_are_read_as_people_write_them() {
        check("1%", Some(10_000));
        check("1 %", Some(10_000));
        check("0.01", Some(10_000));
        check("0.5%", Some(5_000));
        check("0", Some(0));
        check("100%", Some(WHOLE));
        check("1", Some(WHOLE));
        for bad in ["", "%", "x", "-1%", "101%", "1.5", "NaN", "inf", "1%%"] {
            check(bad, None);
        }
        assert_eq!("0.5%".parse::<Share>().unwrap().to_string(), "0.5%");
    }

    fn count(tampered: &str, unsigned: &str, duplicate: &str, of: usize) -> [usize; 4] {
        let [t, u, d] = [tampered, unsigned, duplicate].map(|share| share.parse().unwrap());
        let dealt: Vec<_> = TamperingPlan::new(t, u, d).unwrap().take(of).collect();
        [Tampering::Genuine, Tampering::Tampered, Tampering::Unsigned, Tampering::Duplicate]
            .map(|tampering| dealt.iter().filter(|dealt| **dealt == tampering).count())
    }

    #[test]
    fn fates_have_their_shares_exactly() {
        assert_eq!(count("0", "0", "0", 100), [100, 0, 0, 0]);
        assert_eq!(count("1%", "1%", "1%", 100), [97, 1, 1, 1]);
        assert_eq!(count("1%", "2%", "0.5%", 1000), [965, 10, 20, 5]);
        assert_eq!(count("100%", "0", "0", 7), [0, 7, 0, 0]);
        assert_eq!(count("50%", "50%", "0", 10), [0, 5, 5, 0]);
    }

    #[test]
    fn more_than_all_is_refused() {
        let [a, b] = ["60%", "50%"].map(|share| share.parse().unwrap());
        assert_eq!(TamperingPlan::new(a, b, Share::default()).unwrap_err(), ShareError::TooMuch);
    }
}
