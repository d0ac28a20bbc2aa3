//! Rule of a recurrence: the local times at which occurrences begin. Time zones are unknown here.
//!
//! The parts of RFC 5545 section 3.3.10 either limit days or list times. Whether a day belongs to a rule follows from the
//! day alone, or from its period where positions are counted. So a walk may begin at any day: a rule that is twenty years
//! old costs no more than one of today.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time, Weekday};

/// Rule: every `interval`-th unit, and in it the days and times that are in all lists. An empty list limits nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    pub(super) unit: Unit,
    /// Interval, at least 1.
    pub(super) interval: i32,
    /// First day of a week.
    pub(super) week_start: Weekday,
    /// Local time from which intervals are counted.
    pub(super) anchor: DateTime,
    pub(super) months: Vec<i8>,
    /// Days of the year, counted from 1, or backwards from -1.
    pub(super) year_days: Vec<i16>,
    /// Days of the month, counted from 1, or backwards from -1.
    pub(super) month_days: Vec<i8>,
    pub(super) weekdays: Vec<Nth>,
    pub(super) hours: Vec<i8>,
    pub(super) minutes: Vec<i8>,
    pub(super) seconds: Vec<i8>,
    /// Positions among the occurrences of a unit, counted from 1, or backwards from -1.
    pub(super) positions: Vec<i16>,
}

/// Unit of a rule's interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// Weekday: the nth of the month or year, backwards if negative, or every one of them if 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nth(pub(super) i8, pub(super) Weekday);

/// Direction of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Ahead,
    Back,
}

/// Walk over the days of a rule: each day on which an occurrence begins, with the times of day in order.
pub(super) struct Walk<'r> {
    rule: &'r Rule,
    way: Way,
    /// Next day to look at.
    day: Option<Date>,
    /// Last day to look at.
    end: Date,
    /// Looks that are left. Each costs some ten nanoseconds.
    looks: usize,
    /// Days of one period, before positions are counted.
    period: Option<(i32, Vec<Date>)>,
}

impl Rule {
    /// Returns a rule that comes each `unit` at a time of day.
    pub(super) fn at(unit: Unit, time: Time) -> Self {
        Self {
            unit,
            interval: 1,
            week_start: Weekday::Monday,
            anchor: EPOCH.to_datetime(time),
            months: Vec::new(),
            year_days: Vec::new(),
            month_days: Vec::new(),
            weekdays: Vec::new(),
            hours: vec![time.hour()],
            minutes: vec![time.minute()],
            seconds: vec![time.second()],
            positions: Vec::new(),
        }
    }

    /// Walks from one day to another.
    pub(super) fn walk(&self, from: Date, way: Way, to: Date) -> Walk<'_> {
        Walk { rule: self, way, day: Some(from), end: to, looks: MOST_LOOKS, period: None }
    }

    /// Returns the times at which occurrences begin on a day.
    pub(super) fn on(&self, day: Date) -> Vec<Time> {
        self.walk(day, Way::Ahead, day).next().map(|(_, times)| times).unwrap_or_default()
    }

    /// Returns the most times at which occurrences begin on one day.
    pub(super) fn most_times(&self) -> usize {
        let hours = if self.hours.is_empty() { 24 } else { self.hours.len() };
        hours * self.minutes.len() * self.seconds.len()
    }

    /// Returns true if all lists have a day. Its period is not looked at.
    fn has(&self, day: Date) -> bool {
        has(&self.months, &day.month())
            && (self.year_days.is_empty()
                || self.year_days.iter().any(|own| is_counted(*own, day.day_of_year(), day.days_in_year())))
            && (self.month_days.is_empty()
                || self
                    .month_days
                    .iter()
                    .any(|own| is_counted((*own).into(), day.day().into(), day.days_in_month().into())))
            && (self.weekdays.is_empty() || self.weekdays.iter().any(|own| self.is_nth(*own, day)))
    }

    /// Returns true if a day is the nth weekday of its month; of its year for rules that limit no months.
    fn is_nth(&self, Nth(nth, weekday): Nth, day: Date) -> bool {
        let of_year = self.unit == Unit::Year && self.months.is_empty();
        let (number, days) = if of_year {
            (day.day_of_year(), day.days_in_year())
        } else {
            (day.day().into(), day.days_in_month().into())
        };
        let from_end = days - number;
        day.weekday() == weekday
            && match nth {
                0 => true,
                1.. => (number - 1) / 7 + 1 == i16::from(nth),
                ..0 => -(from_end / 7 + 1) == i16::from(nth),
            }
    }

    /// Returns all times of a day that is in a period of the rule.
    fn times(&self, day: Date) -> Vec<Time> {
        let mut times = Vec::new();
        for hour in (0..24).filter(|hour| has(&self.hours, hour) && self.is_hour(day, *hour)) {
            for minute in &self.minutes {
                times.extend(self.seconds.iter().filter_map(|second| Time::new(hour, *minute, *second, 0).ok()));
            }
        }
        times
    }

    fn is_hour(&self, day: Date, hour: i8) -> bool {
        match self.unit {
            Unit::Hour => {
                let of = |day, hour: i8| i64::from(number(day)) * 24 + i64::from(hour);
                let hours = of(day, hour) - of(self.anchor.date(), self.anchor.hour());
                hours.rem_euclid(self.interval.into()) == 0
            }
            Unit::Day | Unit::Week | Unit::Month | Unit::Year => true,
        }
    }

    /// Returns the period of a day: its number among all days, weeks, months or years.
    fn period(&self, day: Date) -> i32 {
        match self.unit {
            Unit::Hour | Unit::Day => number(day),
            Unit::Week => (number(day) + self.days_to_monday()).div_euclid(7),
            Unit::Month => i32::from(day.year()) * 12 + i32::from(day.month()) - 1,
            Unit::Year => day.year().into(),
        }
    }

    /// Returns the first day of a period; `None` beyond the calendar.
    fn first_of(&self, period: i32) -> Option<Date> {
        match self.unit {
            Unit::Hour | Unit::Day => date(period),
            Unit::Week => date(period.checked_mul(7)?.checked_sub(self.days_to_monday())?),
            Unit::Month => {
                let year = period.div_euclid(12).try_into().ok()?;
                Date::new(year, i8::try_from(period.rem_euclid(12)).ok()? + 1, 1).ok()
            }
            Unit::Year => Date::new(period.try_into().ok()?, 1, 1).ok(),
        }
    }

    /// Returns the number that makes the first days of weeks multiples of seven. 1 January 1970 was a Thursday.
    fn days_to_monday(&self) -> i32 {
        3 - i32::from(self.week_start.to_monday_zero_offset())
    }

    /// Returns where a walk goes on from a day that is in no period or month of the rule, without a look at each day.
    fn skip(&self, day: Date, way: Way) -> Skip {
        let interval = match self.unit {
            Unit::Hour => 1,
            Unit::Day | Unit::Week | Unit::Month | Unit::Year => self.interval,
        };
        let period = self.period(day);
        let past = (period - self.period(self.anchor.date())).rem_euclid(interval);
        if past != 0 {
            return Skip::To(match way {
                Way::Ahead => self.first_of(period.saturating_add(interval - past)),
                Way::Back => self.first_of(period - past + 1).and_then(|next| step(next, Way::Back)),
            });
        }
        if has(&self.months, &day.month()) {
            return Skip::No;
        }
        Skip::To(match way {
            Way::Ahead => step(day.last_of_month(), way),
            Way::Back => step(day.first_of_month(), way),
        })
    }
}

/// Jump of a walk.
enum Skip {
    No,
    /// To a day; `None` beyond the calendar.
    To(Option<Date>),
}

impl Walk<'_> {
    /// Allows for more looks than an evaluation may cost.
    pub(super) fn with_looks(self, looks: usize) -> Self {
        Self { looks, ..self }
    }

    /// Ends the walk a day after one that it has passed.
    pub(super) fn end_after(&mut self, day: Date) {
        let next = step(day, self.way).unwrap_or(day);
        if !self.is_past(next) {
            self.end = next;
        }
    }

    fn is_past(&self, day: Date) -> bool {
        match self.way {
            Way::Ahead => day > self.end,
            Way::Back => day < self.end,
        }
    }

    /// Returns the times of a day at the rule's positions.
    fn times(&mut self, day: Date) -> Vec<Time> {
        let times = self.rule.times(day);
        if self.rule.positions.is_empty() {
            return times;
        }
        let period = self.rule.period(day);
        if self.period.as_ref().is_none_or(|(known, _)| *known != period) {
            let first = self.rule.first_of(period);
            let days = std::iter::successors(first, |day| step(*day, Way::Ahead));
            let days = days.take_while(|day| self.rule.period(*day) == period);
            let (all, mut own) = (days.clone().count(), days.filter(|day| self.rule.has(*day)).collect::<Vec<_>>());
            own.shrink_to_fit();
            self.looks = self.looks.saturating_sub(all);
            self.period = Some((period, own));
        }
        let Some((_, days)) = &self.period else { return Vec::new() };
        let (before, each) = (days.partition_point(|own| *own < day), times.len());
        let all = days.len() * each;
        let is_at = |index: usize| {
            self.rule.positions.iter().any(|own| match usize::from(own.unsigned_abs()) {
                number if *own > 0 => index + 1 == number,
                number => index + number == all,
            })
        };
        times.into_iter().enumerate().filter(|(index, _)| is_at(before * each + index)).map(|(_, time)| time).collect()
    }
}

impl Iterator for Walk<'_> {
    type Item = (Date, Vec<Time>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.looks = self.looks.checked_sub(1)?;
            let day = self.day.filter(|day| !self.is_past(*day))?;
            if let Skip::To(next) = self.rule.skip(day, self.way) {
                self.day = next;
                continue;
            }
            self.day = step(day, self.way);
            if self.rule.has(day) {
                let times = self.times(day);
                if !times.is_empty() {
                    return Some((day, times));
                }
            }
        }
    }
}

fn has<T: PartialEq>(list: &[T], value: &T) -> bool {
    list.is_empty() || list.contains(value)
}

/// Returns true if a number counts to a place, from the first or backwards from the last.
fn is_counted(own: i16, place: i16, last: i16) -> bool {
    place == if own > 0 { own } else { last + 1 + own }
}

/// Returns the next day of a walk; `None` beyond the calendar.
pub(super) fn step(day: Date, way: Way) -> Option<Date> {
    match way {
        Way::Ahead => day.tomorrow().ok(),
        Way::Back => day.yesterday().ok(),
    }
}

/// Returns a day's number, counted from 1 January 1970.
fn number(day: Date) -> i32 {
    i32::try_from(EPOCH.duration_until(day).as_hours() / 24).unwrap_or(0)
}

/// Returns the day of a number; `None` beyond the calendar.
fn date(number: i32) -> Option<Date> {
    EPOCH.checked_add(SignedDuration::from_hours(i64::from(number) * 24)).ok()
}

const EPOCH: Date = Date::constant(1970, 1, 1);
/// Most looks of one walk: 29 February may be eight years away, the 366th day of a year that is a Sunday forty.
const MOST_LOOKS: usize = 16_000;
