//! Times as people of one time zone see them: local days, labels, ticks.
//!
//! A local day lasts from midnight to midnight and has 23 or 25 hours when the
//! clocks change. Nothing here reads the clock.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// Most local days that are ever listed.
pub const MAX_DAYS: usize = 366;

/// A time zone and the words for times in it.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
}

/// A local day, `[start_ms, end_ms)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    pub start_ms: i64,
    pub end_ms: i64,
}

/// A mark on a time axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeTick {
    pub at_ms: i64,
    pub label: String,
}

impl Calendar {
    pub fn new(zone: TimeZone) -> Self {
        Calendar { zone }
    }

    /// The zone's name, such as `Europe/Berlin`.
    pub fn zone_name(&self) -> &str {
        match self.zone.iana_name() {
            None | Some("Etc/UTC") => "UTC",
            Some(name) => name,
        }
    }

    /// `count` local days (at most [`MAX_DAYS`]), the last of them the one
    /// that holds `now_ms`.
    pub fn days(&self, now_ms: i64, count: usize) -> Vec<Day> {
        let today = self.zoned(now_ms).date();
        let count = count.clamp(1, MAX_DAYS);
        let first = today.checked_sub((count as i64 - 1).days()).unwrap_or(today);
        let mut days = Vec::with_capacity(count);
        let mut date = first;
        while days.len() < count {
            let Some((day, next)) = self.day(date) else { break };
            days.push(day);
            date = next;
        }
        days
    }

    fn day(&self, date: Date) -> Option<(Day, Date)> {
        let next = date.tomorrow().ok()?;
        let start = date.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond();
        let end = next.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond();
        Some((Day { start_ms: start, end_ms: end }, next))
    }

    /// `14:02`, with seconds where the minute is not full.
    pub fn clock(&self, at_ms: i64) -> String {
        let format = if at_ms.rem_euclid(60_000) == 0 { "%H:%M" } else { "%H:%M:%S" };
        self.zoned(at_ms).strftime(format).to_string()
    }

    /// `Tue 24 Nov`.
    pub fn date(&self, at_ms: i64) -> String {
        self.zoned(at_ms).strftime("%a %-d %b").to_string()
    }

    /// `2026-11-24`.
    pub fn iso_date(&self, at_ms: i64) -> String {
        self.zoned(at_ms).strftime("%Y-%m-%d").to_string()
    }

    /// `Tue 24 Nov 14:02`.
    pub fn moment(&self, at_ms: i64) -> String {
        format!("{} {}", self.date(at_ms), self.clock(at_ms))
    }

    /// As [`Calendar::moment`], with seconds when times are `step_ms` apart and
    /// that is no whole minute, so that a column of them aligns.
    pub fn moment_of_step(&self, at_ms: i64, step_ms: i64) -> String {
        let format = if step_ms % 60_000 == 0 { "%a %-d %b %H:%M" } else { "%a %-d %b %H:%M:%S" };
        self.zoned(at_ms).strftime(format).to_string()
    }

    /// `14:02:00`.
    pub fn clock_seconds(&self, at_ms: i64) -> String {
        self.zoned(at_ms).strftime("%H:%M:%S").to_string()
    }

    /// `2026-11-24T14:02:00+01:00`, for files and fields.
    pub fn rfc3339(&self, at_ms: i64) -> String {
        self.zoned(at_ms).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// `2026-11-24 14:02:00`, as a person types it.
    pub fn typed(&self, at_ms: i64) -> String {
        self.zoned(at_ms).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// `14:02` when `at_ms` is on the same local day as `now_ms`, else with the date.
    pub fn relative(&self, at_ms: i64, now_ms: i64) -> String {
        if self.zoned(at_ms).date() == self.zoned(now_ms).date() {
            self.clock(at_ms)
        } else {
            self.moment(at_ms)
        }
    }

    /// Reads a time of day as typed: `2026-11-24`, `2026-11-24 14:02[:10]`.
    pub fn read(&self, text: &str) -> Option<i64> {
        let text = text.trim();
        let civil: jiff::civil::DateTime = match text.parse() {
            Ok(civil) => civil,
            Err(_) => text.parse::<Date>().ok()?.at(0, 0, 0, 0),
        };
        Some(civil.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond())
    }

    /// At most `most` marks between `start_ms` and `end_ms` at round local times.
    pub fn ticks(&self, start_ms: i64, end_ms: i64, most: usize) -> Vec<TimeTick> {
        let span = end_ms.saturating_sub(start_ms).max(1);
        let most = most.max(1) as i64;
        let ticks = match SECOND_STEPS.iter().find(|step| span / (**step * 1000) <= most) {
            Some(step) => self.ticks_within_days(start_ms, end_ms, *step),
            None => self.ticks_of_days(start_ms, end_ms, most),
        };
        ticks.into_iter().take(64).collect()
    }

    fn ticks_within_days(&self, start_ms: i64, end_ms: i64, step_s: i64) -> Vec<TimeTick> {
        let mut ticks: Vec<TimeTick> = Vec::new();
        let mut date = self.zoned(start_ms).date();
        // A bound on the loop; the steps leave at most a few days.
        for _ in 0..32 {
            let Some((day, next)) = self.day(date) else { break };
            if day.start_ms > end_ms {
                break;
            }
            for second in (0..86_400).step_by(step_s as usize) {
                // Far outside, even when the clocks change on this day.
                let roughly_ms = day.start_ms + second * 1000;
                if roughly_ms < start_ms - SLACK_MS || roughly_ms > end_ms + SLACK_MS {
                    continue;
                }
                let time = date.at((second / 3600) as i8, (second / 60 % 60) as i8, (second % 60) as i8, 0);
                let Ok(zoned) = time.to_zoned(self.zone.clone()) else { continue };
                let at_ms = zoned.timestamp().as_millisecond();
                let is_later = ticks.last().is_none_or(|last| at_ms > last.at_ms);
                if at_ms < start_ms || at_ms > end_ms || !is_later {
                    continue;
                }
                let label = if second == 0 {
                    zoned.strftime("%-d %b").to_string()
                } else {
                    zoned.strftime(if step_s % 60 == 0 { "%H:%M" } else { "%H:%M:%S" }).to_string()
                };
                ticks.push(TimeTick { at_ms, label });
            }
            date = next;
        }
        ticks
    }

    fn ticks_of_days(&self, start_ms: i64, end_ms: i64, most: i64) -> Vec<TimeTick> {
        let days = (end_ms - start_ms) / 86_400_000 + 1;
        let mut ticks = Vec::new();
        let mut date = self.zoned(start_ms).date();
        for _ in 0..=days.min(4_000) {
            let Some((day, next)) = self.day(date) else { break };
            let months = date.year() as i64 * 12 + date.month() as i64 - 1;
            let (wanted, format) = if days <= most {
                (true, "%a %-d")
            } else if days <= 2 * most {
                (date.day() % 2 == 1 && date.day() < 31, "%-d %b")
            } else if days <= 7 * most {
                (date.weekday() == jiff::civil::Weekday::Monday, "%-d %b")
            } else {
                let every = [1, 2, 3, 6, 12].into_iter().find(|m| days / 30 / m < most).unwrap_or(12);
                (date.day() == 1 && months % every == 0, "%b %Y")
            };
            if wanted && day.start_ms >= start_ms && day.start_ms <= end_ms {
                let label = self.zoned(day.start_ms).strftime(format).to_string();
                ticks.push(TimeTick { at_ms: day.start_ms, label });
            }
            date = next;
        }
        ticks
    }

    fn zoned(&self, at_ms: i64) -> Zoned {
        let within = at_ms.clamp(MIN_MS, MAX_MS);
        Timestamp::from_millisecond(within).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(self.zone.clone())
    }
}

/// Years 1 to 9900: what the calendar can add a day to.
const MIN_MS: i64 = -62_000_000_000_000;
const MAX_MS: i64 = 250_000_000_000_000;

/// More than any change of the clocks.
const SLACK_MS: i64 = 4 * 3_600_000;

const SECOND_STEPS: [i64; 14] =
    [10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200];

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> Calendar {
        Calendar::new(TimeZone::get("Europe/Berlin").unwrap())
    }

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn days_are_local_and_know_when_clocks_change() {
        let cases = [
            ("2026-03-29T12:00:00Z", 23), // forward
            ("2026-10-25T12:00:00Z", 25), // back
            ("2026-11-24T23:30:00Z", 24), // already the 25th in Berlin
        ];
        for (now, hours) in cases {
            let days = berlin().days(ms(now), 3);
            let day = days[2];
            assert_eq!((day.end_ms - day.start_ms) / 3_600_000, hours, "{now}");
            assert!(day.start_ms <= ms(now) && ms(now) < day.end_ms);
            assert!(days.windows(2).all(|pair| pair[0].end_ms == pair[1].start_ms));
        }
        assert_eq!(berlin().iso_date(berlin().days(ms("2026-11-24T23:30:00Z"), 1)[0].start_ms), "2026-11-25");
    }

    #[test]
    fn a_half_hour_zone_has_its_own_midnight() {
        let kolkata = Calendar::new(TimeZone::get("Asia/Kolkata").unwrap());
        let day = kolkata.days(ms("2026-11-24T12:00:00Z"), 1)[0];
        assert_eq!(day.start_ms, ms("2026-11-23T18:30:00Z"));
    }

    #[test]
    fn ticks_stand_at_round_local_times_and_never_repeat() {
        let spans_ms =
            [60_000, 3_600_000, 21_600_000, 86_400_000, 604_800_000, 2_592_000_000, 63_072_000_000];
        for end in ["2026-03-29T12:34:56Z", "2026-10-25T12:34:56Z", "2026-11-24T06:00:00Z"] {
            for span in spans_ms {
                let end = ms(end);
                let ticks = berlin().ticks(end - span, end, 8);
                assert!((2..=9).contains(&ticks.len()), "{span}: {ticks:?}");
                assert!(
                    ticks.windows(2).all(|t| t[0].at_ms < t[1].at_ms && t[0].label != t[1].label),
                    "{ticks:?}"
                );
            }
        }
        let end = ms("2026-11-24T12:00:00Z");
        let labels: Vec<String> =
            berlin().ticks(end - 86_400_000, end, 8).into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["15:00", "18:00", "21:00", "24 Nov", "03:00", "06:00", "09:00", "12:00"]);
    }

    #[test]
    fn absurd_times_do_no_harm() {
        for at in [i64::MIN, i64::MAX, 0] {
            assert!(!berlin().moment(at).is_empty());
            assert!(berlin().days(at, 5).len() <= 5);
        }
    }
}
