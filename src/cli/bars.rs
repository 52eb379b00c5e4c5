//! A histogram as bars. Few buckets are drawn as they are; many are put into rows
//! whose bounds are round numbers and grow evenly, so that the shape is that of
//! the values. Rows in between in which nothing is are drawn, too.
//!
//! A bucket goes as a whole into the row of its middle: the bounds of rows are as
//! sharp as buckets are narrow.

use crate::query::number::format_value;

/// Rows on one side of zero, and buckets that are drawn as they are.
const ROWS: usize = 20;
/// Characters of the longest bar.
const BAR: usize = 40;

/// From one bound to the other, and what is in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub low: f64,
    pub high: f64,
    pub count: f64,
}

/// One line a row, each indented by two.
pub fn drawn(buckets: &[Bucket]) -> String {
    let rows = if buckets.len() <= ROWS { buckets.to_vec() } else { rows(buckets) };
    let texts: Vec<[String; 3]> = rows.iter().map(|row| [row.low, row.high, row.count].map(short)).collect();
    let width = |at: usize| texts.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let (low_width, high_width, count_width) = (width(0), width(1), width(2));
    let most = rows.iter().map(|row| row.count.abs()).fold(0.0, f64::max);
    let mut out = String::new();
    for ([low, high, count], row) in texts.iter().zip(&rows) {
        let share = if most > 0.0 { row.count.abs() / most } else { 0.0 };
        // What there is can be seen, as little as it may be.
        let length = (share * BAR as f64).ceil().clamp(0.0, BAR as f64) as usize;
        let bar = "█".repeat(length);
        let line = format!("  {low:>low_width$} … {high:>high_width$}  {count:>count_width$}  {bar}");
        out += line.trim_end();
        out.push('\n');
    }
    out
}

fn rows(buckets: &[Bucket]) -> Vec<Bucket> {
    let is_open = |bucket: &&Bucket| bucket.low.is_infinite() || bucket.high.is_infinite();
    let is_around_zero = |bucket: &&Bucket| bucket.low <= 0.0 && bucket.high >= 0.0;
    let alone = |bucket: &&Bucket| is_open(bucket) || is_around_zero(bucket);
    let side = |sign: f64| -> Vec<Bucket> {
        let buckets = buckets.iter().filter(|bucket| !alone(bucket) && bucket.high * sign > 0.0);
        let sizes = buckets.map(|bucket| {
            let (a, b) = (bucket.low * sign, bucket.high * sign);
            Bucket { low: a.min(b), high: a.max(b), count: bucket.count }
        });
        spread(&sizes.collect::<Vec<_>>())
    };
    let below = side(-1.0).into_iter().rev();
    let mut rows: Vec<Bucket> =
        below.map(|row| Bucket { low: -row.high, high: -row.low, count: row.count }).collect();
    rows.extend(buckets.iter().filter(alone));
    rows.extend(side(1.0));
    rows.sort_by(|a, b| (a.low + a.high).total_cmp(&(b.low + b.high)));
    rows
}

/// The same in rows between round bounds; all of it is above 0.
fn spread(buckets: &[Bucket]) -> Vec<Bucket> {
    let least = buckets.iter().map(|bucket| bucket.low).fold(f64::INFINITY, f64::min);
    let most = buckets.iter().map(|bucket| bucket.high).fold(0.0, f64::max);
    if !(least > 0.0 && most.is_finite() && least < most) {
        return Vec::new();
    }
    let bounds = round_bounds(least, most);
    let pairs = bounds.iter().zip(bounds.iter().skip(1));
    let mut rows: Vec<Bucket> =
        pairs.map(|(low, high)| Bucket { low: *low, high: *high, count: 0.0 }).collect();
    for bucket in buckets {
        let middle = bucket.low / 2.0 + bucket.high / 2.0;
        let at = rows.partition_point(|row| row.high <= middle).min(rows.len().saturating_sub(1));
        if let Some(row) = rows.get_mut(at) {
            row.count += bucket.count;
        }
    }
    rows
}

/// Bounds from `least` to `most`, as many as there is room for.
fn round_bounds(least: f64, most: f64) -> Vec<f64> {
    let decades = (least.log10().floor() as i32, most.log10().ceil() as i32);
    let finest_first: [&[f64]; 4] = [
        &[1., 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2],
        &[1., 1.5, 2., 3., 5., 7.],
        &[1., 2., 5.],
        &[1.],
    ];
    for within in finest_first {
        let bounds = between(least, most, decades, 1, within);
        if bounds.len() <= ROWS + 1 {
            return bounds;
        }
    }
    let apart = usize::try_from(decades.1 - decades.0).unwrap_or(1).div_ceil(ROWS);
    between(least, most, decades, apart, &[1.])
}

/// The bounds `within` each of the decades that are `apart`, from the last that is
/// not above `least` to the first that is not below `most`.
fn between(least: f64, most: f64, decades: (i32, i32), apart: usize, within: &[f64]) -> Vec<f64> {
    let decades = (decades.0..=decades.1 + apart as i32).step_by(apart);
    let all: Vec<f64> = decades
        .flat_map(|decade| {
            within.iter().map(move |digit| format!("{digit}e{decade}").parse().unwrap_or(f64::MAX))
        })
        .map(|bound: f64| bound.min(f64::MAX))
        .collect();
    let first = all.partition_point(|bound| *bound <= least).saturating_sub(1);
    let end = (all.partition_point(|bound| *bound < most) + 1).min(all.len());
    all.get(first..end).unwrap_or_default().to_vec()
}

/// Four digits that matter.
fn short(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return format_value(value);
    }
    let scale = 10f64.powi(3 - (value.abs().log10().floor() as i32));
    let rounded = (value * scale).round() / scale;
    let is_plain = rounded.is_finite() && (1e-4..1e15).contains(&value.abs());
    format_value(if is_plain { rounded } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Buckets of 1 % from `from` on, each with one value.
    fn fine(from: f64, number: i32) -> Vec<Bucket> {
        let bucket =
            |at| Bucket { low: from * 1.01f64.powi(at), high: from * 1.01f64.powi(at + 1), count: 1.0 };
        (0..number).map(bucket).collect()
    }

    #[test]
    fn many_buckets_are_in_rows_with_round_bounds() {
        let buckets = fine(0.5, 230);
        let expected = "  0.47 … 0.56  11  ████████████████████\n";
        let text = drawn(&buckets);
        assert!(text.starts_with(expected), "{text}");
        assert!(text.lines().count() <= ROWS && text.contains("  0.82 …    1  20  "), "{text}");
    }

    #[test]
    fn both_sides_zero_and_open_ends_have_their_place() {
        let mut buckets: Vec<Bucket> =
            fine(1.0, 30).iter().rev().map(|b| Bucket { low: -b.high, high: -b.low, count: 2.0 }).collect();
        buckets.push(Bucket { low: -0.001, high: 0.001, count: 5.0 });
        buckets.extend(fine(1.0, 30));
        buckets.push(Bucket { low: 9.0, high: f64::INFINITY, count: 1.0 });
        let lines: Vec<String> = drawn(&buckets).lines().map(str::to_owned).collect();
        assert!(lines.first().is_some_and(|line| line.contains("-1.5 …")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("-0.001 … 0.001   5")), "{lines:?}");
        assert!(lines.last().is_some_and(|line| line.contains("9 …  +Inf   1")), "{lines:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_value_is_lost_whatever_the_bounds(
            parts in prop::collection::vec((any::<f64>(), any::<f64>(), 0.0..1e6), 0..60)
        ) {
            let buckets: Vec<Bucket> = parts
                .into_iter()
                .filter(|(a, b, _)| a.is_finite() && b.is_finite() && a != b)
                .map(|(a, b, count)| Bucket { low: f64::min(a, b), high: f64::max(a, b), count })
                .collect();
            let _ = drawn(&buckets);
            let sum = |buckets: &[Bucket]| buckets.iter().map(|bucket| bucket.count).sum::<f64>();
            let rows = rows(&buckets);
            prop_assert!((sum(&rows) - sum(&buckets)).abs() <= 1e-6 * sum(&buckets).max(1.0));
            prop_assert!(rows.len() <= 2 * ROWS + 3 + buckets.len());
        }
    }
}
