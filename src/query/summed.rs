//! `sum(rate(x[5m]))` of timers: the windows of a group's series are summed
//! first, and ranges then slide over the sums, not over each series.
//!
//! Counts add up in any order, so that the rate of the sum is the sum of the
//! rates. Windows that no range can tell apart become one, however fine they
//! are: there are no more sums than edges of ranges. Whatever is no timer goes
//! its own way, as a row.

use super::column::{Grid, Row};
use super::distribution::Distribution;
use super::error::Error;
use super::eval::{Evaluator, Ranged, histogram_weight};
use super::expr::{Call, Edges, Expr};
use super::function::{Args, range_row};
use super::log_linear;
use super::rate::Kind;
use super::sliding::{self, Sliding, is_windowed, kind_of};
use super::track::Track;
use crate::model::Labels;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Sums of parts of a group's series that are kept apart.
const MOST_APART: usize = 4;

/// Windows in ascending order of time.
pub(super) type Windows = Vec<(i64, Distribution)>;

/// What comes of some series of a group.
pub(super) enum Part {
    Row(Row),
    /// Of the first of them the labels, and the sums.
    Windows(Labels, Windows),
}

/// The windows of a group, and how they are asked for.
#[derive(Default)]
pub(super) struct Sums(Vec<Windows>);

impl Sums {
    /// `held` is how many values take the memory of all of them.
    pub fn add(&mut self, windows: Windows, ends: &Ends, held: &mut usize) {
        *held += weight(&windows);
        self.0.push(windows);
        if self.0.len() >= MOST_APART {
            let before: usize = self.0.iter().map(weight).sum();
            let one = std::mem::take(self).into_one(ends);
            *held = (*held + weight(&one)).saturating_sub(before);
            self.0 = vec![one];
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn into_one(mut self, ends: &Ends) -> Windows {
        match self.0.len() {
            0 | 1 => self.0.pop().unwrap_or_default(),
            _ => ends.summed(self.0.iter().map(Vec::as_slice)),
        }
    }
}

fn weight(windows: &Windows) -> usize {
    windows.iter().map(|(_, histogram)| histogram.weight()).sum()
}

/// The ranges of a call.
pub(super) struct Ends {
    ends_ms: Vec<i64>,
    range_ms: i64,
    kind: Kind,
    /// Where any of them begins or ends, ascending.
    edges_ms: Vec<i64>,
}

impl Ends {
    fn new(ends_ms: Vec<i64>, range_ms: i64, kind: Kind) -> Self {
        let starts_ms = ends_ms.iter().map(|end_ms| end_ms.saturating_sub(range_ms));
        let mut edges_ms: Vec<i64> = starts_ms.chain(ends_ms.iter().copied()).collect();
        edges_ms.sort_unstable();
        edges_ms.dedup();
        Ends { ends_ms, range_ms, kind, edges_ms }
    }

    pub fn ends_ms(&self) -> &[i64] {
        &self.ends_ms
    }

    pub fn range_ms(&self) -> i64 {
        self.range_ms
    }

    pub fn edges_ms(&self) -> &[i64] {
        &self.edges_ms
    }

    /// What a sum over a range is multiplied by.
    pub fn factor(&self) -> f64 {
        sliding::factor(self.kind, self.range_ms)
    }

    /// What they come to over `windows`, one after the other.
    pub fn over<'a>(
        &'a self,
        windows: &'a [(i64, Distribution)],
    ) -> impl Iterator<Item = Option<Distribution>> {
        let mut sliding = Sliding::new(windows, self.range_ms, &self.ends_ms, self.kind);
        self.ends_ms.iter().map(move |end_ms| sliding.at(*end_ms))
    }

    /// The windows of all of them, those between two edges as one at the later.
    pub fn summed<'a>(&self, all: impl Iterator<Item = &'a [(i64, Distribution)]>) -> Windows {
        let mut placed: Vec<(i64, &Distribution)> = Vec::new();
        for windows in all {
            let mut edges_ms = self.edges_ms.iter().copied().peekable();
            for (at_ms, histogram) in windows {
                while edges_ms.next_if(|edge_ms| edge_ms < at_ms).is_some() {}
                // Behind the last edge nobody looks.
                let Some(edge_ms) = edges_ms.peek() else { break };
                placed.push((*edge_ms, histogram));
            }
        }
        // Stable, so that the sums of the values come out the same each time.
        placed.sort_by_key(|(edge_ms, _)| *edge_ms);
        let sum = |some: &[(i64, &Distribution)]| match some {
            [(_, only)] => (*only).clone(),
            _ => log_linear::merge_all(some.iter().filter_map(|(_, h)| h.as_log_linear())).into(),
        };
        let same = placed.chunk_by(|(a, _), (b, _)| a == b);
        same.filter_map(|some| Some((some.first()?.0, sum(some)))).collect()
    }
}

/// Whether the call's windows may be summed before their ranges are: it rates or
/// increases plain ranges of a selector.
pub(super) fn is_summed(eval: &Evaluator<'_>, call: &Call) -> bool {
    let range = call.args.first().filter(|arg| matches!(arg.bare(), Expr::Matrix(_)));
    kind_of(call.function).is_some()
        && range.and_then(|arg| eval.as_selector(arg)).is_some_and(|of| of.edges == Edges::Plain)
}

/// The ranges of such a call, and when they end.
pub(super) fn ranged<'a>(
    eval: &Evaluator<'a>,
    call: &Call,
    grid: &Grid,
) -> Result<Option<(Ranged<'a>, Ends)>, Error> {
    let (Some(arg), Some(kind)) = (call.args.first(), kind_of(call.function)) else { return Ok(None) };
    let ranged = eval.ranged(arg, grid)?;
    let ends = Ends::new(ranged.ends_ms.clone(), ranged.range_ms, kind);
    Ok(Some((ranged, ends)))
}

/// Hands what comes of such a call to `take`, with the labels of the group that
/// `group_of` gives, in the order of series and some at a time.
pub(super) fn each(
    eval: &Evaluator<'_>,
    call: &Call,
    grid: &Grid,
    (ranged, ends): (&Ranged<'_>, &Ends),
    group_of: impl Fn(&Labels) -> Labels + Sync,
    mut take: impl FnMut(Labels, Part) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    let args = Args { eval, call, grid };
    let rows_made = AtomicUsize::new(0);
    let work = |tracks: &[Track]| {
        let mut parts: Vec<(Labels, Result<Row, Vec<&Track>>)> = Vec::new();
        let mut places: HashMap<Labels, usize> = HashMap::new();
        for track in tracks {
            let labels = group_of(&track.labels);
            if !is_windowed(track) {
                let row = range_row(&args, ranged, track, args.start(0), &[], &rows_made)?;
                parts.extend(row.map(|row| (labels, Ok(row))));
                continue;
            }
            let place = *places.entry(labels.clone()).or_insert(parts.len());
            match parts.get_mut(place) {
                Some((_, Err(together))) => together.push(track),
                _ => parts.push((labels, Err(vec![track]))),
            }
        }
        let mut made = Vec::with_capacity(parts.len());
        for (labels, part) in parts {
            eval.check()?;
            made.push(match part {
                Ok(row) => (labels, Part::Row(row)),
                Err(together) => {
                    let first = together.first().map(|track| track.labels.clone()).unwrap_or_default();
                    let windows = ends.summed(together.iter().map(|track| track.histograms.as_slice()));
                    (labels, Part::Windows(first, windows))
                }
            });
        }
        Ok(made)
    };
    eval.parts_each(&ranged.series, work, |made| {
        for (labels, part) in made {
            let weight = match &part {
                Part::Row(row) => row.cells.iter().map(histogram_weight).sum(),
                Part::Windows(..) => 0,
            };
            take(labels, part)?;
            // What was taken is counted by whoever keeps it.
            rows_made.fetch_sub(weight, Ordering::Relaxed);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use crate::model::{Histogram, Labels, MetricType};
    use crate::query::{Engine, MemorySource, Number, Options, Value};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Windows of a series: the seconds to the next, and sixty-fourths of a second,
    /// whose sums are exact; of none a series was ended.
    type Drawn = Vec<(i64, Vec<u16>)>;

    fn engine(series: Vec<(u8, Drawn)>, floats: Option<u8>) -> Engine {
        let source = MemorySource::new();
        let labels = |group: u8, number: usize| {
            let (group, number) = (group.to_string(), number.to_string());
            Labels::from_pairs([("__name__", "took"), ("group", group.as_str()), ("number", number.as_str())])
        };
        for (number, (group, windows)) in series.into_iter().enumerate() {
            let (labels, mut at_ms) = (labels(group, number), 0);
            for (gap_s, values) in windows {
                at_ms += gap_s * 1000;
                match values.is_empty() {
                    true => source.push_stale(&labels, Some(MetricType::Timer), at_ms),
                    false => {
                        let values = values.into_iter().map(|value| (f64::from(value) / 64.0, 1.0));
                        source.push_histogram(
                            &labels,
                            Some(MetricType::Timer),
                            at_ms,
                            Histogram::from_values(values),
                        );
                    }
                }
            }
        }
        if let Some(group) = floats {
            (1..50).for_each(|at| {
                source.push(&labels(group, 99), Some(MetricType::Counter), at * 20_000, at as f64)
            });
        }
        Engine::new(Arc::new(source), Options::default())
    }

    /// Asserts that both are the same, but for rounding where counts are divided.
    fn check(engine: &Engine, [one, other]: [&str; 2], start_s: i64, step_s: i64) {
        let ask = |text: &str| {
            let result =
                engine.range(text, start_s * 1000, (start_s + 30 * step_s) * 1000, step_s * 1000).unwrap();
            let Value::Matrix(series) = result.value else { panic!("a range query gives a matrix") };
            (series, result.warnings)
        };
        let ((found, warnings), (expected, expected_warnings)) = (ask(one), ask(other));
        assert_eq!(warnings.len(), expected_warnings.len(), "{one}: {warnings:?} {expected_warnings:?}");
        assert_eq!(found.len(), expected.len(), "{one}");
        let close = |a: f64, b: f64| assert!(a == b || (a - b).abs() <= 1e-12 * b.abs(), "{one}: {a} {b}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.labels, expected.labels, "{one}");
            assert_eq!(found.points.len(), expected.points.len(), "{one}");
            for ((at, found), (expected_at, expected)) in found.points.iter().zip(expected.points.iter()) {
                assert_eq!(at, expected_at);
                match (&found, &expected) {
                    (Number::Float(found), Number::Float(expected)) => close(*found, *expected),
                    (Number::Histogram(found), Number::Histogram(expected)) if one.contains("rate") => {
                        close(found.count(), expected.count());
                        close(found.sum(), expected.sum());
                        let (found, expected) = (found.buckets(), expected.buckets());
                        assert_eq!(found.len(), expected.len(), "{one}");
                        found.iter().zip(&expected).for_each(|(a, b)| {
                            assert_eq!((a.lower, a.upper), (b.lower, b.upper));
                            close(a.count, b.count);
                        });
                    }
                    (found, expected) => assert_eq!(found, expected, "{one}"),
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_sum_of_rates_is_the_same_as_rates_that_are_summed(
            series in prop::collection::vec(
                (0u8..3, prop::collection::vec((1i64..60, prop::collection::vec(0u16..2000, 0..6)), 1..40)),
                0..12,
            ),
            floats in prop::option::weighted(0.2, 0u8..3),
            (range_s, step_s, start_s) in (1i64..300, 1i64..200, 0i64..300),
        ) {
            let engine = engine(series, floats);
            for function in ["increase", "rate"] {
                for by in ["", "by (group)", "without (number)", "by (number)"] {
                    let call = format!("{function}(took[{range_s}s])");
                    // What is part of a union is not summed before.
                    let sums = [format!("sum {by} ({call})"), format!("sum {by} ({call} or none)")];
                    check(&engine, [&sums[0], &sums[1]], start_s, step_s);
                    let quantile = |of: &str| format!("histogram_quantile(0.5, {of})");
                    let quantiles = [quantile(&sums[0]), quantile(&format!("({} or none)", sums[1]))];
                    check(&engine, [&quantiles[0], &quantiles[1]], start_s, step_s);
                }
            }
        }
    }
}
