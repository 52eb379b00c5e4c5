//! Who makes the series: one pass over their names counts by name, by the
//! name's first part, and by label, with the distinct values of each label.
//!
//! The memory is bounded whatever the series are: of names, first parts and
//! labels, the small ones are put together as "others" when there are too many.

use crate::model::label::{NAME, beginning};
use crate::model::{Labels, SeriesId, Sketch};
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Names, or first parts of names, that are counted apart at a time.
const NAMES_MAX: usize = 65_536;
/// Labels that are counted apart at a time; each may have a sketch of 4 KiB.
const LABELS_MAX: usize = 4_096;
/// Length of what is told, in bytes.
const TEXT_BYTES_MAX: usize = 200;

/// One maker of series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Maker {
    /// A name, a first part with its dot, or a label.
    pub name: String,
    pub series: u64,
    /// Those of them that are new since the hour began.
    pub new: u64,
    /// Of a label: distinct values, exact up to 128, then within 2 %.
    pub values: Option<f64>,
    /// Of a label: one of its values.
    pub example: Option<String>,
}

/// What there is in all, and the greatest makers, greatest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Top {
    pub series: u64,
    pub new: u64,
    pub names: Vec<Maker>,
    /// By the name up to its first dot.
    pub prefixes: Vec<Maker>,
    pub labels: Vec<Maker>,
    /// Whether small makers were put together on the way, so that counts may
    /// be too low by some.
    pub approximate: bool,
}

/// Counts series as they come, in any order.
#[derive(Debug)]
pub struct Tally {
    new_from: SeriesId,
    series: u64,
    new: u64,
    names: Counts<()>,
    prefixes: Counts<()>,
    labels: Counts<Values>,
}

#[derive(Debug, Default)]
struct Values {
    distinct: Sketch,
    example: Box<str>,
}

/// Counts by text, at most `max` texts at a time.
#[derive(Debug)]
struct Counts<T> {
    max: usize,
    of: HashMap<Box<str>, Count<T>, RandomState>,
    pruned: bool,
}

#[derive(Debug, Default)]
struct Count<T> {
    series: u64,
    new: u64,
    more: T,
}

impl Tally {
    /// Series with the number `new_from` or a greater one are new.
    pub fn new(new_from: SeriesId) -> Self {
        Tally {
            new_from,
            series: 0,
            new: 0,
            names: Counts::new(NAMES_MAX),
            prefixes: Counts::new(NAMES_MAX),
            labels: Counts::new(LABELS_MAX),
        }
    }

    pub fn add(&mut self, id: SeriesId, labels: &Labels) {
        let new = u64::from(id >= self.new_from);
        self.series += 1;
        self.new += new;
        let name = labels.name();
        self.names.add(name, new);
        self.prefixes.add(first_part(name), new);
        for (label, value) in labels.iter().filter(|(label, _)| *label != NAME) {
            let values = &mut self.labels.add(label, new).more;
            values.distinct.insert(value.as_bytes());
            if values.example.is_empty() {
                values.example = beginning(value, TEXT_BYTES_MAX).into();
            }
        }
    }

    /// The `limit` greatest of each kind.
    pub fn top(self, limit: usize) -> Top {
        Top {
            series: self.series,
            new: self.new,
            approximate: self.names.pruned || self.prefixes.pruned || self.labels.pruned,
            names: self.names.greatest(limit, |count| count.series as f64, |_, ()| {}),
            prefixes: self.prefixes.greatest(limit, |count| count.series as f64, |_, ()| {}),
            labels: self.labels.greatest(
                limit,
                |count| count.more.distinct.count(),
                |maker, values| {
                    maker.values = Some(values.distinct.count().round());
                    maker.example = Some(values.example.into());
                },
            ),
        }
    }
}

impl<T: Default> Counts<T> {
    fn new(max: usize) -> Self {
        Counts { max, of: HashMap::default(), pruned: false }
    }

    fn add(&mut self, text: &str, new: u64) -> &mut Count<T> {
        let text = beginning(text, TEXT_BYTES_MAX);
        if !self.of.contains_key(text) && self.of.len() >= self.max {
            self.prune();
        }
        // The text is copied for each series: short, and the pass is rare.
        let count = self.of.entry(text.into()).or_default();
        count.series += 1;
        count.new += new;
        count
    }

    /// Lets the smaller half go.
    fn prune(&mut self) {
        let mut sizes: Vec<u64> = self.of.values().map(|count| count.series).collect();
        let middle = sizes.len() / 2;
        let (_, median, _) = sizes.select_nth_unstable(middle);
        let (median, mut spared) = (*median, self.max / 4);
        self.of.retain(|_, count| {
            // Of those that are all alike some stay, or none would ever grow.
            let alike = count.series == median && spared > 0;
            spared -= usize::from(alike);
            count.series > median || alike
        });
        self.pruned = true;
    }

    fn greatest(
        self,
        limit: usize,
        size: impl Fn(&Count<T>) -> f64,
        mut fill: impl FnMut(&mut Maker, T),
    ) -> Vec<Maker> {
        let mut sized: Vec<(f64, Box<str>, Count<T>)> =
            self.of.into_iter().map(|(name, count)| (size(&count), name, count)).collect();
        sized.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        sized.truncate(limit);
        let makers = sized.into_iter().map(|(_, name, count)| {
            let mut maker =
                Maker { name: name.into(), series: count.series, new: count.new, ..Maker::default() };
            fill(&mut maker, count.more);
            maker
        });
        makers.collect()
    }
}

/// The name up to its first dot or slash, with it; the whole name if it has none.
fn first_part(name: &str) -> &str {
    match name.find(['.', '/']) {
        Some(at) if at > 0 => &name[..=at],
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str, pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied().chain([(NAME, name)]))
    }

    fn told(makers: &[Maker]) -> Vec<(String, u64, u64)> {
        makers.iter().map(|maker| (maker.name.clone(), maker.series, maker.new)).collect()
    }

    #[test]
    fn series_are_counted_by_name_prefix_and_label() {
        let mut tally = Tally::new(SeriesId(90));
        for at in 0..100 {
            tally.add(SeriesId(at), &labels("shop.cart", &[("user", &format!("u{at}")), ("env", "prod")]));
        }
        tally.add(SeriesId(100), &labels("shop.ok", &[("env", "test")]));
        tally.add(SeriesId(5), &labels("up", &[]));
        let top = tally.top(10);
        assert_eq!((top.series, top.new, top.approximate), (102, 11, false));
        assert_eq!(
            told(&top.names),
            [("shop.cart".into(), 100, 10), ("shop.ok".into(), 1, 1), ("up".into(), 1, 0)]
        );
        assert_eq!(told(&top.prefixes), [("shop.".into(), 101, 11), ("up".into(), 1, 0)]);
        assert_eq!(told(&top.labels), [("user".into(), 100, 10), ("env".into(), 101, 11)]);
        assert_eq!((top.labels[0].values, top.labels[1].values), (Some(100.0), Some(2.0)));
        assert_eq!(top.labels[0].example.as_deref(), Some("u0"));
    }

    #[test]
    fn endless_names_and_labels_are_bounded_and_the_great_ones_are_found() {
        let mut tally = Tally::new(SeriesId(0));
        for at in 0..300_000_u32 {
            let other = format!("n{at}");
            let (name, label) = if at % 3 == 0 { ("big.one", "user") } else { (&*other, &*other) };
            tally.add(SeriesId(at), &labels(name, &[(label, &other)]));
            assert!(tally.names.of.len() <= NAMES_MAX && tally.labels.of.len() <= LABELS_MAX);
        }
        let top = tally.top(1);
        assert!(top.approximate);
        assert_eq!(told(&top.names), [("big.one".into(), 100_000, 100_000)]);
        assert_eq!(told(&top.prefixes), [("big.".into(), 100_000, 100_000)]);
        let values = top.labels[0].values.unwrap();
        assert_eq!(top.labels[0].name, "user");
        assert!((values - 100_000.0).abs() < 6_000.0, "{values}");
    }
}
