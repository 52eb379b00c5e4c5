//! What a store answers, as text that can be compared: point by point, and step
//! by step where only coarse steps are left.

use statsdeck::model::sample::is_stale;
use statsdeck::model::{
    GaugePart, Grains, Histogram, MetricType, Points, Sample, Select, Series, Sketch, TimeRange,
};
use statsdeck::store::{Error, Store};

use crate::world::WINDOW_MS;

/// Steps of the tiers; the coarsest is what all of them can be asked at.
pub const STEP_MS: i64 = 10 * WINDOW_MS;

pub fn read(store: &Store, range: TimeRange) -> Vec<Series> {
    let request = Select { matchers: &[], range, step_ms: 0, max_series: usize::MAX, max_points: usize::MAX };
    store.select(&request).expect("the store can be read")
}

/// All points as text, one a line, bit for bit.
pub fn dump(series: &[Series]) -> String {
    let mut text = String::new();
    for series in series {
        text.push_str(&format!("{} {:?}\n", series.labels, series.metric_type));
        match &series.points {
            Points::Floats(points) => points.iter().for_each(|sample| {
                let bits = sample.value.to_bits();
                text.push_str(&format!("  {} {} {bits:016x}\n", sample.timestamp_ms, sample.value));
            }),
            Points::Histograms(points) => {
                points.iter().for_each(|(at, h)| {
                    let buckets = h.buckets().iter().flat_map(|(key, weight)| {
                        key.0.to_le_bytes().into_iter().chain(weight.to_bits().to_le_bytes())
                    });
                    let crc = crc32fast::hash(&buckets.collect::<Vec<u8>>());
                    text.push_str(&format!("  {at} {} {} {} {} {crc:08x}\n", h.count, h.sum, h.min, h.max));
                });
            }
            Points::Natives(_) => unreachable!("the store holds none"),
            Points::Sketches(points) => points.iter().for_each(|(at, sketch)| {
                text.push_str(&format!("  {at} {} {:08x}\n", sketch.count(), checksum(sketch)));
            }),
        }
    }
    text
}

fn checksum(sketch: &Sketch) -> u32 {
    let bytes: Vec<u8> = match sketch {
        Sketch::Exact(hashes) => hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect(),
        Sketch::Registers(registers) => registers.to_vec(),
    };
    crc32fast::hash(&bytes)
}

/// All series of a range, at a step.
pub fn select(store: &Store, range: TimeRange, step_ms: i64, part: GaugePart) -> Result<Vec<Series>, Error> {
    let request = Select { matchers: &[], range, step_ms, max_series: usize::MAX, max_points: usize::MAX };
    store.select_at(&request, &Grains { gauge: part, ..Grains::all(step_ms) })
}

fn in_step<T>(points: &[(i64, T)], end_ms: i64) -> impl Iterator<Item = &T> {
    let within = move |at_ms: i64| end_ms - STEP_MS < at_ms && at_ms <= end_ms;
    points.iter().filter(move |(at_ms, _)| within(*at_ms)).map(|(_, point)| point)
}

/// What is no end.
pub fn values(samples: &[Sample]) -> Vec<(i64, f64)> {
    let values = samples.iter().filter(|sample| !is_stale(sample.value));
    values.map(|sample| (sample.timestamp_ms, sample.value)).collect()
}

/// What each series answers for each step that ends in `ends`, as text.
pub fn answers(series: &[Series], ends: &[i64], part: GaugePart) -> String {
    let mut text = String::new();
    for series in series {
        text.push_str(&format!("{} {:?}\n", series.labels, series.metric_type));
        for end_ms in ends {
            let answer = match &series.points {
                Points::Natives(_) => panic!("a store has none"),
                Points::Floats(samples) if part == GaugePart::Last => {
                    // With its time: a value, or an end.
                    let up_to = samples.iter().rfind(|sample| sample.timestamp_ms <= *end_ms);
                    format!("{:?}", up_to.map(|sample| (sample.timestamp_ms, sample.value.to_bits())))
                }
                Points::Floats(samples) => {
                    let values = values(samples);
                    let of_step = in_step(&values, *end_ms).copied();
                    match part {
                        GaugePart::Min => format!("{:?}", of_step.reduce(f64::min)),
                        _ => format!("{:?}", of_step.reduce(f64::max)),
                    }
                }
                Points::Histograms(points) => {
                    let mut all = Histogram::default();
                    in_step(points, *end_ms).for_each(|histogram| all.merge(histogram));
                    let quantiles = [0.0, 0.5, 0.9, 0.99, 1.0].map(|q| all.quantile(q));
                    format!("{:.3} {:.6} {:.6?} {:?}", all.count, all.sum, quantiles, keys(&all))
                }
                Points::Sketches(points) => {
                    let mut all = Sketch::default();
                    in_step(points, *end_ms).for_each(|sketch| all.merge(sketch));
                    format!("{}", all.count())
                }
            };
            text.push_str(&format!("  {end_ms} {answer}\n"));
        }
    }
    text
}

fn keys(histogram: &Histogram) -> Vec<(i32, i64)> {
    let weight = |weight: f64| (weight * 1e6).round() as i64;
    histogram.buckets().iter().map(|(key, w)| (key.0, weight(*w))).collect()
}

/// Where counters begin, and what they had counted at the end.
pub fn extents(series: &[Series]) -> Vec<String> {
    let of_counter = |series: &Series| {
        let Points::Floats(samples) = &series.points else { return None };
        let values = values(samples);
        let (first, last) = (values.first()?, values.last()?);
        Some(format!("{} from {first:?} to {last:?}", series.labels))
    };
    let counters = series.iter().filter(|series| series.metric_type == Some(MetricType::Counter));
    counters.filter_map(of_counter).collect()
}
