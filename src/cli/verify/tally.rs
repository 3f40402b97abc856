//! What was found in the files, counted, and the summary of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::entry::{VerdictName, Warning};
use crate::signature::{Key, Verdict};

/// Counts of verdicts, reasons, keys and warnings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    verdicts: BTreeMap<VerdictName, u64>,
    reasons: BTreeMap<(VerdictName, &'static str), u64>,
    /// A list, because a key set has few keys.
    keys: Vec<(Arc<Key>, u64)>,
    warnings: BTreeMap<Warning, u64>,
    not_fine: u64,
}

impl Tally {
    /// Counts a line by its verdict. `fine` means that the verdict is acceptable.
    pub(super) fn count(&mut self, verdict: &Verdict, fine: bool) {
        *self.verdicts.entry(verdict.name()).or_default() += 1;
        if let Some(reason) = verdict.reason() {
            *self.reasons.entry((verdict.name(), reason)).or_default() += 1;
        }
        if let Some(proof) = verdict.proof() {
            self.count_key(proof.key(), 1);
        }
        self.not_fine += u64::from(!fine);
    }

    /// Counts a wrapper without a line to check.
    pub(super) fn count_malformed(&mut self, reason: &'static str) {
        *self.verdicts.entry(VerdictName::Malformed).or_default() += 1;
        *self.reasons.entry((VerdictName::Malformed, reason)).or_default() += 1;
        self.not_fine += 1;
    }

    pub(super) fn count_warning(&mut self, warning: Warning) {
        *self.warnings.entry(warning).or_default() += 1;
    }

    fn count_key(&mut self, key: &Arc<Key>, by: u64) {
        let same = |(one, _): &&mut (Arc<Key>, u64)| one.thumbprint() == key.thumbprint();
        match self.keys.iter_mut().find(same) {
            Some((_, count)) => *count += by,
            None => self.keys.push((Arc::clone(key), by)),
        }
    }

    pub(super) fn merge(&mut self, other: &Tally) {
        let add = |to: &mut u64, count: &u64| *to += count;
        other.verdicts.iter().for_each(|(k, n)| add(self.verdicts.entry(*k).or_default(), n));
        other.reasons.iter().for_each(|(k, n)| add(self.reasons.entry(*k).or_default(), n));
        other.warnings.iter().for_each(|(k, n)| add(self.warnings.entry(*k).or_default(), n));
        other.keys.iter().for_each(|(key, count)| self.count_key(key, *count));
        self.not_fine += other.not_fine;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.verdicts.is_empty()
    }

    /// Whether an entry is not valid, except for allowed unsigned entries.
    pub(super) fn is_negative(&self) -> bool {
        self.not_fine > 0
    }

    /// The summary as text, without a final line end. `took` is the total time.
    pub(super) fn summary(&self, took: Duration) -> String {
        let mut table = String::from("verdict        entries\n");
        // Writing to a string cannot fail.
        for name in VerdictName::ALL {
            let count = self.verdicts.get(name).copied().unwrap_or_default();
            let _ = write!(table, "{name:10} {count:11}");
            let mut details: Vec<_> = self.reasons_of(*name).collect();
            if *name == VerdictName::Valid {
                details.extend(self.keys.iter().map(|(k, n)| format!("key {} {n}", k.kid())));
            }
            if !details.is_empty() {
                let _ = write!(table, "  {}", details.join(", "));
            }
            table.push('\n');
        }
        let all: u64 = self.verdicts.values().sum();
        let seconds = took.as_secs_f64();
        let rate = all as f64 / seconds.max(1e-3);
        let _ = write!(table, "all        {all:11}  in {seconds:.1} s, {rate:.0} per second");
        for (warning, count) in &self.warnings {
            let _ = write!(table, "\nwarning    {count:11}  {warning}");
        }
        table
    }

    fn reasons_of(&self, name: VerdictName) -> impl Iterator<Item = String> {
        let those = self.reasons.iter().filter(move |((verdict, _), _)| *verdict == name);
        those.map(|((_, reason), count)| format!("{reason} {count}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Reason;

    #[test]
    fn the_summary_has_every_verdict_and_its_reasons() {
        let (mut tally, mut other) = (Tally::default(), Tally::default());
        assert!(tally.is_empty());
        tally.count(&Verdict::Invalid(Reason::NoMatchingKey), false);
        tally.count(&Verdict::Unsigned, true);
        other.count(&Verdict::Invalid(Reason::SignatureLength), false);
        other.count_malformed("field_not_found");
        other.count_warning(Warning::ForeignOrg);
        tally.merge(&other);
        assert_eq!(
            tally.summary(Duration::from_secs(2)),
            "verdict        entries\n\
             valid                0\n\
             invalid              2  no_matching_key 1, signature_length 1\n\
             unsigned             1\n\
             no_key               0\n\
             malformed            1  field_not_found 1\n\
             all                  4  in 2.0 s, 2 per second\n\
             warning              1  foreign_org"
        );
        assert!(tally.is_negative() && !tally.is_empty());
    }
}
