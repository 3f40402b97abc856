//! How long keys verify after they left their set. An entry is always judged by the period that was
//! in force when it was received.

use std::time::Duration;

use super::Catalog;
use crate::entry::Millis;
use crate::store::error::StoreError;
use crate::store::schema::CATALOG_WITH_RETIREMENTS;

/// The default period: 400 days. Konnect may replay what is that old.
pub const RETIRE_AFTER: Duration = Duration::from_secs(400 * 86_400);

/// The default of earlier programs: eight days.
const EARLIER: Duration = Duration::from_secs(8 * 86_400);

/// The periods of retirement, by the time of receipt from which each is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retirements(Vec<(Millis, Duration)>);

impl Retirements {
    /// One period for all entries.
    pub fn always(retire_after: Duration) -> Retirements {
        Retirements(vec![(Millis::MIN, retire_after)])
    }

    /// How long a key verifies what is received at `received_at` after it was last seen.
    pub fn of(&self, received_at: Millis) -> Duration {
        let (before, after) = (self.0.iter().rev(), self.0.first());
        let in_force = before.into_iter().find(|(from, _)| *from <= received_at).or(after);
        in_force.map_or(RETIRE_AFTER, |(_, period)| *period)
    }

    /// The periods, each with the time of receipt from which it is in force.
    pub(in crate::store) fn each(&self) -> &[(Millis, Duration)] {
        &self.0
    }
}

/// The periods that are in force.
pub(in crate::store) fn all(catalog: &Catalog) -> Result<Retirements, StoreError> {
    if catalog.version() < CATALOG_WITH_RETIREMENTS {
        return Ok(Retirements::always(EARLIER));
    }
    let recorded = recorded(catalog)?;
    Ok(if recorded.0.is_empty() { Retirements::always(RETIRE_AFTER) } else { recorded })
}

fn recorded(catalog: &Catalog) -> Result<Retirements, StoreError> {
    let sql = "SELECT received_from, retire_after FROM retirements ORDER BY received_from";
    let rows: Vec<(i64, i64)> = catalog.read("read the periods of retirement", |database| {
        database.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    })?;
    let period = |millis: i64| Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    let periods = rows.into_iter().map(|(from, after)| (Millis::saturating(from), period(after)));
    Ok(Retirements(periods.collect()))
}

/// Records the period that is in force from `now` on. The first one is for everything before, too. If
/// an earlier program left nothing but its default, a period that somebody chose was in force before.
pub(in crate::store) fn enter(
    catalog: &Catalog,
    retire_after: Duration,
    now: Millis,
) -> Result<Retirements, StoreError> {
    let known = recorded(catalog)?;
    let from = match known.each() {
        [.., (_, last)] if *last == retire_after => return Ok(known),
        [] => Millis::MIN,
        [(Millis::MIN, EARLIER)] if retire_after != RETIRE_AFTER => Millis::MIN,
        _ => now,
    };
    let millis = i64::try_from(retire_after.as_millis()).unwrap_or(i64::MAX);
    catalog.write("enter the period of retirement", |transaction| {
        transaction.execute(
            "INSERT INTO retirements VALUES (?1, ?2)
             ON CONFLICT (received_from) DO UPDATE SET retire_after = ?2",
            (from.get(), millis),
        )
    })?;
    all(catalog)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::directory::Directory;

    const DAY: u64 = 86_400;

    fn at(day: i64) -> Millis {
        Millis::saturating(day * 86_400_000)
    }

    fn days(retirements: &Retirements, days: &[i64]) -> Vec<u64> {
        days.iter().map(|day| retirements.of(at(*day)).as_secs() / DAY).collect()
    }

    fn period(days: u64) -> Duration {
        Duration::from_secs(days * DAY)
    }

    #[test]
    fn entries_keep_the_period_under_which_they_came() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let catalog = Catalog::open(&directory).unwrap();
        assert_eq!(days(&all(&catalog).unwrap(), &[0, 9]), [400, 400]);
        // A new store.
        enter(&catalog, RETIRE_AFTER, at(10)).unwrap();
        enter(&catalog, RETIRE_AFTER, at(11)).unwrap();
        let chosen = enter(&catalog, period(30), at(20)).unwrap();
        assert_eq!(days(&chosen, &[0, 19, 20, 99]), [400, 400, 30, 30]);
        let later = enter(&catalog, period(60), at(40)).unwrap();
        assert_eq!(days(&later, &[0, 19, 39, 40]), [400, 400, 30, 60]);
        assert_eq!(enter(&catalog, period(60), at(50)).unwrap(), later);
    }

    #[test]
    fn a_store_of_an_earlier_program_had_eight_days_unless_it_was_told_otherwise() {
        let temporary = tempfile::tempdir().unwrap();
        let migrated = |name: &str| {
            let directory = Directory::create(&temporary.path().join(name)).unwrap();
            let catalog = Catalog::open(&directory).unwrap();
            let insert = "INSERT INTO retirements VALUES (0, 691200000)";
            catalog.write("test", |transaction| transaction.execute(insert, [])).unwrap();
            catalog
        };
        let usual = enter(&migrated("usual"), RETIRE_AFTER, at(20)).unwrap();
        assert_eq!(days(&usual, &[0, 19, 20]), [8, 8, 400]);
        let told = enter(&migrated("told"), period(30), at(20)).unwrap();
        assert_eq!(days(&told, &[0, 19, 20]), [30, 30, 30]);
    }
}
