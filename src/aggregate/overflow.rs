//! Where values go whose series is one too many: into the overflow series of
//! their name, or of their prefix or type when the name itself is new.
//!
//! An overflow series has the label `statsdeck_overflow="true"` and no other,
//! so that nothing is lost of counts, distributions and members; whose they
//! were is not known any more. There are at most as many as there are names,
//! prefixes with a limit and types. A receiver remembers for one window where it
//! put spellings that it has no room for, so that each costs little and is tried
//! anew when there may be room.

pub use crate::catalogue::catalogue::OVERFLOW_LABEL;
use crate::model::label::{NAME, beginning};
use crate::model::{Labels, MetricType, SeriesKey};
use crate::telemetry::{Offenders, Overflowed};
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Folded spellings that a receiver remembers within a window; further ones
/// are folded as well, but cost more.
const SPELLINGS_MAX: usize = 65_536;
/// Names whose lines a receiver counts apart within a window.
const NAMES_MAX: usize = 256;
/// Length of a name that is told of, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// The overflow series for values of `series`. `known` is the type of the
/// series that have its name, `prefix` the one whose limit is reached.
pub fn overflow_series(series: &SeriesKey, known: Option<MetricType>, prefix: Option<&str>) -> SeriesKey {
    let metric_type = series.metric_type;
    let by_type = format!("{OVERFLOW_LABEL}_{metric_type}");
    let name = match (known, prefix) {
        (Some(first), _) if first == metric_type => series.labels.name(),
        (_, Some(prefix)) => match prefix.trim_end_matches(|c: char| !c.is_alphanumeric()) {
            "" => &by_type,
            stem => stem,
        },
        (_, None) => &by_type,
    };
    SeriesKey { labels: Labels::from_pairs([(NAME, name), (OVERFLOW_LABEL, "true")]), metric_type }
}

/// Whether it is one.
pub fn is_overflow(series: &SeriesKey) -> bool {
    series.labels.get(OVERFLOW_LABEL).is_some()
}

/// What one receiver folded in the open window.
#[derive(Debug, Default)]
pub struct Folds {
    spellings: HashMap<u64, Fold, RandomState>,
    /// Lines by name, and the place of each name.
    lines: Vec<(Box<str>, u64)>,
    places: HashMap<Box<str>, u32, RandomState>,
    others: u64,
    last_ms: i64,
    /// What became of the line at hand.
    current: Option<Fold>,
}

/// Where the values of a spelling go.
#[derive(Clone, Copy, Debug)]
pub struct Fold {
    cell: u32,
    /// What a mapping does to the values.
    effect: u8,
    /// Why they are in an overflow series, if they are, and the place of the
    /// offender; beyond the end: among the others.
    over: Option<(Overflowed, u32)>,
}

impl Fold {
    /// The values go into their own series: the spelling alone is too many.
    pub fn into_itself(cell: u32, effect: u8) -> Self {
        Fold { cell, effect, over: None }
    }
}

impl Folds {
    /// A line begins.
    pub fn begin(&mut self) {
        self.current = None;
    }

    /// Where the values of the spelling with this hash were put before.
    pub fn find(&mut self, hash: u64) -> Option<(u32, u8)> {
        let fold = *self.spellings.get(&hash)?;
        self.current = Some(fold);
        Some((fold.cell, fold.effect))
    }

    /// Values of `offender` that go into the `cell` of an overflow series, after
    /// an effect.
    pub fn over(&mut self, cell: u32, effect: u8, reason: Overflowed, offender: &str) -> Fold {
        Fold { cell, effect, over: Some((reason, self.place(offender))) }
    }

    /// The values of the spelling with this hash go there, in this window.
    pub fn note(&mut self, hash: u64, fold: Fold) {
        if self.spellings.len() < SPELLINGS_MAX {
            self.spellings.insert(hash, fold);
        }
        self.current = Some(fold);
    }

    /// The line at hand is taken; why it is counted apart, if it is.
    #[inline]
    pub fn end(&mut self, now_ms: i64) -> Option<Overflowed> {
        let (reason, name) = self.current?.over?;
        self.last_ms = now_ms;
        match self.lines.get_mut(name as usize) {
            Some((_, lines)) => *lines += 1,
            None => self.others += 1,
        }
        Some(reason)
    }

    /// Whether the values of the last line went into an overflow series.
    pub fn is_over(&self) -> bool {
        self.current.is_some_and(|fold| fold.over.is_some())
    }

    /// The window closes: tells who was over a limit, and forgets.
    pub fn close(&mut self, offenders: &Offenders) {
        let closed = std::mem::take(self);
        if closed.lines.iter().any(|(_, lines)| *lines > 0) || closed.others > 0 {
            offenders.note(closed.last_ms, closed.lines, closed.others);
        }
    }

    fn place(&mut self, name: &str) -> u32 {
        let name = beginning(name, NAME_BYTES_MAX);
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        if self.lines.len() >= NAMES_MAX {
            return u32::MAX;
        }
        let place = self.lines.len() as u32;
        self.lines.push((name.into(), 0));
        self.places.insert(name.into(), place);
        place
    }
}

/// What to call the offender: the name when it is known, else what it begins
/// with, as names that are all different tell nobody anything.
pub fn offender(name: &str, known: bool) -> String {
    match name.find(['.', '/', ':']) {
        Some(at) if !known && at > 0 => format!("{}.*", &name[..at]),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_into_the_nearest_series_that_is_bounded() {
        use MetricType::{Counter, Gauge};
        let cases = [
            ("a.b", Counter, Some(Counter), None, r#"{"a.b", statsdeck_overflow="true"}"#),
            ("a.b", Counter, Some(Counter), Some("a."), r#"{"a.b", statsdeck_overflow="true"}"#),
            ("a.b", Counter, None, Some("a."), r#"a{statsdeck_overflow="true"}"#),
            ("a.b", Counter, Some(Gauge), None, r#"statsdeck_overflow_counter{statsdeck_overflow="true"}"#),
            ("..b", Gauge, None, Some(".."), r#"statsdeck_overflow_gauge{statsdeck_overflow="true"}"#),
            ("a.b", Gauge, None, None, r#"statsdeck_overflow_gauge{statsdeck_overflow="true"}"#),
        ];
        for (name, metric_type, known, prefix, expected) in cases {
            let labels = Labels::from_pairs([(NAME, name), ("user", "7")]);
            let series = overflow_series(&SeriesKey { labels, metric_type }, known, prefix);
            assert_eq!(series.labels.to_string(), expected, "{name}");
            assert!(is_overflow(&series));
        }
    }

    #[test]
    fn offenders_are_told_by_what_they_have_in_common() {
        for (name, known, expected) in
            [("a.b", true, "a.b"), ("a.1234", false, "a.*"), ("x1234", false, "x1234"), (".b", false, ".b")]
        {
            assert_eq!(offender(name, known), expected);
        }
    }

    #[test]
    fn a_flood_of_spellings_and_names_is_bounded_and_all_lines_are_counted() {
        let mut folds = Folds::default();
        let offenders = Offenders::default();
        for at in 0..100_000_u64 {
            folds.begin();
            let fold = folds.over(0, 0, Overflowed::Series, &format!("n{at}"));
            folds.note(at, fold);
            assert_eq!(folds.end(5), Some(Overflowed::Series));
        }
        assert_eq!((folds.spellings.len(), folds.lines.len()), (SPELLINGS_MAX, NAMES_MAX));
        folds.close(&offenders);
        let worst = offenders.worst(5).unwrap();
        assert_eq!(worst.names.iter().map(|(_, lines)| lines).sum::<u64>() + worst.others, 100_000);
        assert!(folds.find(0).is_none());
    }
}
