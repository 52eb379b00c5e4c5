//! The distributions of a series as columns.
//!
//! Which buckets a series uses at all is told once; a bucket is then its rank
//! among those. Of what follows from the buckets nearly, only the rest is told:
//! least and greatest value beside the edges of their buckets, the sum beside
//! that of the buckets' middles. All comes back bit for bit: a guess that is
//! far off costs bytes, not truth. It is plain arithmetic on doubles, the same on
//! every machine.

use super::chunk::{MAX_POINTS, put_times, read_times};
use super::coding::{Reader, power_of, put_signed, put_varint};
use super::column::{put_doubles, put_integers, read_doubles, read_integers, scaled_all};
use crate::model::Histogram;
use crate::model::histogram::BucketKey;

/// Stands where the scale would, for numbers that are no decimals.
pub(super) const NO_SCALE: u8 = 7;
/// Counts are the sums of the weights.
pub(super) const COUNTS_FOLLOW: u8 = 1;
pub(super) const COUNTS_TOLD: u8 = 0;
/// There are no more buckets than these.
pub(super) const MAX_KEYS: usize = 2 * BucketKey::MAX as usize + 1;
/// Integers below it are exact in a double.
const EXACT: f64 = (1u64 << 53) as f64;

pub(super) fn put_ranks(out: &mut Vec<u8>, points: &[(i64, Histogram)]) {
    put_times(out, &points.iter().map(|(at, _)| *at).collect::<Vec<_>>());
    let of = |number: fn(&Histogram) -> f64| points.iter().map(|(_, h)| number(h)).collect::<Vec<f64>>();
    put_buckets(out, points);
    let counts = of(|h| h.count);
    if points.iter().all(|(_, h)| weights_of(h.buckets()).to_bits() == h.count.to_bits()) {
        out.push(COUNTS_FOLLOW);
    } else {
        out.push(COUNTS_TOLD);
        put_doubles(out, &counts);
    }
    let (sums, least, most) = (of(|h| h.sum), of(|h| h.min), of(|h| h.max));
    let rests = Rests::new(points, &sums, &least, &most);
    match rests {
        Some(rests) => {
            out.push(rests.scale);
            [rests.least, rests.most, rests.sums, rests.roundings]
                .iter()
                .for_each(|column| put_integers(out, column));
        }
        None => {
            out.push(NO_SCALE);
            [sums, least, most].iter().for_each(|column| put_doubles(out, column));
        }
    }
}

/// Reads `count` distributions; `None` when the bytes are not that.
pub(super) fn read_ranks(reader: &mut Reader<'_>, count: usize) -> Option<Vec<(i64, Histogram)>> {
    let times = read_times(reader, count)?;
    let Buckets { keys, ranks, each: buckets } = read_buckets(reader, count)?;
    let counts = match reader.byte()? {
        COUNTS_FOLLOW => buckets.iter().map(|buckets| weights_of(buckets)).collect(),
        COUNTS_TOLD => read_doubles(reader, count)?,
        _ => return None,
    };
    let mut points = Vec::with_capacity(count);
    let scale = reader.byte()?;
    if scale == NO_SCALE {
        let mut columns = (0..3).map(|_| read_doubles(reader, count)).collect::<Option<Vec<_>>>()?;
        let (most, least, sums) = (columns.pop()?, columns.pop()?, columns.pop()?);
        let numbers = counts.into_iter().zip(sums).zip(least).zip(most);
        for ((at, buckets), (((count, sum), min), max)) in times.into_iter().zip(buckets).zip(numbers) {
            points.push((at, Histogram::from_parts((count, sum, min, max), buckets)?));
        }
        return Some(points);
    }
    let power = power_of(scale)?;
    let mut columns = (0..4).map(|_| read_integers(reader, count)).collect::<Option<Vec<_>>>()?;
    let (roundings, sums) = (columns.pop()?.into_iter(), columns.pop()?.into_iter());
    let (most, least) = (columns.pop()?.into_iter(), columns.pop()?.into_iter());
    let numbers = counts.into_iter().zip(least.zip(most)).zip(sums.zip(roundings));
    // A bucket is in many distributions.
    let middles: Vec<f64> = keys.iter().map(|key| middle(BucketKey(*key), power)).collect();
    let mut ranks = &*ranks;
    for ((at, buckets), ((count, (least, most)), (sum, rounding))) in
        times.into_iter().zip(buckets).zip(numbers)
    {
        let least = least.wrapping_add(edge_of(buckets.first(), power));
        let most = most.wrapping_add(edge_of(buckets.last(), power));
        let (own, others) = ranks.split_at_checked(buckets.len())?;
        ranks = others;
        let middle =
            |place: usize| own.get(place).and_then(|rank| middles.get(*rank as usize)).map_or(0.0, |m| *m);
        let sum = sum.wrapping_add(guessed_sum(&buckets, middle, least, most)) as f64 / power;
        let sum = f64::from_bits((sum.to_bits() as i64).wrapping_add(rounding) as u64);
        let numbers = (count, sum, least as f64 / power, most as f64 / power);
        points.push((at, Histogram::from_parts(numbers, buckets)?));
    }
    Some(points)
}

/// What does not follow from the buckets, in integers at a scale.
struct Rests {
    scale: u8,
    least: Vec<i64>,
    most: Vec<i64>,
    sums: Vec<i64>,
    /// How far the sum is, in units of its last bit, from the decimal next to it:
    /// it was added up in doubles.
    roundings: Vec<i64>,
}

impl Rests {
    /// `None` when the extremes are no decimals, or a sum is too large for one.
    fn new(points: &[(i64, Histogram)], sums: &[f64], least: &[f64], most: &[f64]) -> Option<Rests> {
        let extremes: Vec<f64> = least.iter().chain(most).copied().collect();
        let (scale, extremes) = scaled_all(&extremes)?;
        let power = power_of(scale)?;
        let (least, most) = extremes.split_at_checked(points.len())?;
        let (mut least, mut most) = (least.to_vec(), most.to_vec());
        let (mut rests, mut roundings) = (Vec::with_capacity(sums.len()), Vec::with_capacity(sums.len()));
        for (((_, histogram), sum), (least, most)) in
            points.iter().zip(sums).zip(least.iter_mut().zip(&mut most))
        {
            let whole = (sum * power).round();
            if whole.is_nan() || whole.abs() >= EXACT {
                return None;
            }
            let whole = whole as i64;
            let buckets = histogram.buckets();
            roundings.push((sum.to_bits() as i64).wrapping_sub((whole as f64 / power).to_bits() as i64));
            let middle = |place: usize| buckets.get(place).map_or(0.0, |(key, _)| middle(*key, power));
            rests.push(whole.wrapping_sub(guessed_sum(buckets, middle, *least, *most)));
            *least = least.wrapping_sub(edge_of(buckets.first(), power));
            *most = most.wrapping_sub(edge_of(buckets.last(), power));
        }
        Some(Rests { scale, least, most, sums: rests, roundings })
    }
}

/// The lower edge of a bucket; 0 without one.
fn edge_of(bucket: Option<&(BucketKey, f64)>, power: f64) -> i64 {
    bucket.map_or(0, |(key, _)| edge(*key, power))
}

pub(super) fn edge(key: BucketKey, power: f64) -> i64 {
    (key.bounds().0 * power).round() as i64
}

/// The sum if each value were the decimal next to the middle of its bucket, which it
/// is where buckets are narrow; of the outer ones a value is known. `middle` gives
/// that of the bucket at a place.
fn guessed_sum(buckets: &[(BucketKey, f64)], middle: impl Fn(usize) -> f64, least: i64, most: i64) -> i64 {
    let mut sum: f64 = buckets.iter().enumerate().map(|(place, (_, weight))| middle(place) * weight).sum();
    if let [_, .., _] = buckets {
        sum += (least as f64 - middle(0)) + (most as f64 - middle(buckets.len() - 1));
    } else if let [(_, weight)] = buckets {
        sum = (least as f64 + most as f64) / 2.0 * weight;
    }
    sum.round() as i64
}

/// The decimal next to the middle of a bucket.
pub(super) fn middle(key: BucketKey, power: f64) -> f64 {
    let (low, high) = key.bounds();
    ((low + high) / 2.0 * power).round()
}

fn weights_of(buckets: &[(BucketKey, f64)]) -> f64 {
    buckets.iter().map(|(_, weight)| weight).sum()
}

/// The keys that are there, how many each has, the ranks of the first ones, the
/// gaps between ranks, the weights.
fn put_buckets(out: &mut Vec<u8>, points: &[(i64, Histogram)]) {
    let all = || points.iter().flat_map(|(_, histogram)| histogram.buckets());
    let mut keys: Vec<i32> = all().map(|(key, _)| key.0).collect();
    keys.sort_unstable();
    keys.dedup();
    put_varint(out, keys.len() as u64);
    if let Some(first) = keys.first() {
        put_signed(out, i64::from(*first));
        let gaps: Vec<i64> = keys.windows(2).map(|pair| i64::from(pair[1]) - i64::from(pair[0])).collect();
        put_integers(out, &gaps);
    }
    let rank = |key: &BucketKey| keys.binary_search(&key.0).unwrap_or_default() as i64;
    let (mut firsts, mut gaps) = (Vec::with_capacity(points.len()), Vec::new());
    for (_, histogram) in points {
        let mut before = None;
        for (key, _) in histogram.buckets() {
            let rank = rank(key);
            match before {
                None => firsts.push(rank),
                Some(before) => gaps.push(rank - before - 1),
            }
            before = Some(rank);
        }
    }
    put_integers(out, &points.iter().map(|(_, h)| h.buckets().len() as i64).collect::<Vec<_>>());
    put_integers(out, &firsts);
    put_integers(out, &gaps);
    put_doubles(out, &all().map(|(_, weight)| *weight).collect::<Vec<_>>());
}

/// The buckets of several distributions.
struct Buckets {
    /// Those that any of them uses.
    keys: Vec<i32>,
    /// Of each bucket the place of its key, distribution by distribution.
    ranks: Vec<u32>,
    each: Vec<Vec<(BucketKey, f64)>>,
}

fn read_buckets(reader: &mut Reader<'_>, count: usize) -> Option<Buckets> {
    let distinct = usize::try_from(reader.varint()?).ok().filter(|distinct| *distinct <= MAX_KEYS)?;
    let mut keys: Vec<i32> = Vec::new();
    if distinct > 0 {
        let mut key = reader.signed()?;
        keys.push(i32::try_from(key).ok()?);
        for gap in read_integers(reader, distinct - 1)? {
            key = key.checked_add(gap)?;
            keys.push(i32::try_from(key).ok()?);
        }
    }
    let lengths = read_integers(reader, count)?;
    let mut filled = 0;
    let total = lengths.iter().try_fold(0usize, |sum, length| {
        filled += usize::from(*length > 0);
        sum.checked_add(usize::try_from(*length).ok()?).filter(|sum| *sum <= MAX_POINTS)
    })?;
    let mut firsts = read_integers(reader, filled)?.into_iter();
    let mut gaps = read_integers(reader, total - filled)?.into_iter();
    let mut weights = read_doubles(reader, total)?.into_iter();
    let mut each = Vec::with_capacity(count);
    let mut ranks: Vec<u32> = Vec::with_capacity(total);
    for length in lengths {
        let length = usize::try_from(length).ok()?;
        let mut buckets = Vec::with_capacity(length);
        let mut rank = 0usize;
        for at in 0..length {
            rank = match at {
                0 => usize::try_from(firsts.next()?).ok()?,
                _ => rank.checked_add(1)?.checked_add(usize::try_from(gaps.next()?).ok()?)?,
            };
            buckets.push((BucketKey(*keys.get(rank)?), weights.next()?));
            // There are fewer than `MAX_KEYS`.
            ranks.push(rank as u32);
        }
        each.push(buckets);
    }
    Some(Buckets { keys, ranks, each })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(histograms: &[Histogram]) -> usize {
        let points: Vec<(i64, Histogram)> =
            histograms.iter().enumerate().map(|(at, h)| (at as i64 * 10_000, h.clone())).collect();
        let mut out = Vec::new();
        put_ranks(&mut out, &points);
        let mut reader = Reader::new(&out);
        let back = read_ranks(&mut reader, points.len()).unwrap();
        assert!(reader.is_empty());
        let bits = |(at, h): &(i64, Histogram)| {
            let buckets: Vec<_> = h.buckets().iter().map(|(key, weight)| (key.0, weight.to_bits())).collect();
            (*at, [h.count, h.sum, h.min, h.max].map(f64::to_bits), buckets)
        };
        assert!(back.iter().map(bits).eq(points.iter().map(bits)));
        out.len()
    }

    #[test]
    fn odd_distributions_come_back() {
        let one = |value, weight| Histogram::from_values([(value, weight)]);
        check(&[]);
        check(&[Histogram::default()]);
        check(&[Histogram::default(), one(0.25, 1.0), Histogram::default()]);
        check(&[one(0.0, 1.0), one(-0.0, 0.1), one(-2.5, 3.0)]);
        check(&[one(f64::MAX, 1.0), one(-f64::MAX, 1.0), one(5e-324, 1e300)]);
        check(&[one(std::f64::consts::PI, 1.0), one(0.001, 1.0)]);
        let of = |numbers| Histogram::from_parts(numbers, vec![(BucketKey(7), 0.0)]).unwrap();
        check(&[of((3.0, 1.0, 2.0, 1.0)), of((0.0, f64::INFINITY, 0.5, 0.5)), of((0.0, -1e300, 0.5, 0.5))]);
    }

    proptest! {
        #[test]
        fn any_distributions_come_back(
            windows in prop::collection::vec(
                prop::collection::vec((prop_oneof![-1e9f64..1e9, any::<f64>()], 0.01f64..9.0), 0..30), 0..80),
            decimals in 0i32..8,
        ) {
            let power = 10f64.powi(decimals);
            let of = |values: Vec<(f64, f64)>| {
                let finite = values.into_iter().filter(|(value, _)| value.is_finite() && value.abs() < 1e300);
                Histogram::from_values(finite.map(|(value, weight)| match decimals {
                    7 => (value, weight),
                    _ => ((value * power).round() / power, weight.ceil()),
                }))
            };
            check(&windows.into_iter().map(of).filter(|h| h.sum.is_finite()).collect::<Vec<_>>());
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>, count in 0usize..100) {
            let _ = read_ranks(&mut Reader::new(&bytes), count);
        }
    }
}
