//! A body of `POST /api/v1/write`, packed or not: nothing panics, what is made
//! of it is bounded, and what a series is made of goes through table, window
//! and store and is read back as it was sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use statsdeck::aggregate::window::{Options, Windows};
use statsdeck::aggregate::{Partial, Registry, SampleTable, sampled, table};
use statsdeck::catalogue::Catalogue;
use statsdeck::http::api::write;
use statsdeck::model::label::OWN_PREFIX;
use statsdeck::model::{Labels, Points, Select, TimeRange};
use statsdeck::protocol::remote_write::{self, MESSAGE_BYTES_MAX, SAMPLES_MAX, Series, Version};
use statsdeck::store::{self, MemoryBackend, Store};
use std::collections::BTreeMap;
use std::sync::Arc;

const LIMITS: table::Options = table::Options {
    line_bytes_max: 64,
    labels_max: 4,
    label_bytes_max: 32,
    idle_windows_max: 2,
    spellings_max: 8,
};
const SERIES_MAX: usize = 4;
const END_MS: i64 = 1_000_000;

fuzz_target!(|data: &[u8]| {
    let Some((mode, body)) = data.split_first() else { return };
    let version = if mode & 1 == 0 { Version::V1 } else { Version::V2 };
    let unpacked = if mode & 2 == 0 { remote_write::unpacked(body) } else { Ok(body.to_vec()) };
    let Ok(message) = unpacked else { return };
    assert!(message.len() <= MESSAGE_BYTES_MAX);
    let (mut all, mut samples) = (Vec::new(), 0);
    let read = remote_write::read(version, &message, |series| {
        samples += series.samples.len() + series.histograms;
        all.push(series.clone());
    });
    assert!(samples <= SAMPLES_MAX);
    if read.is_ok() && mode & 4 == 0 {
        kept(&all);
    }
});

fn kept(all: &[Series<'_>]) {
    let catalogue = Arc::new(Catalogue::new(SERIES_MAX));
    let registry = Arc::new(Registry::new(catalogue.clone()));
    let mut table = SampleTable::new(registry.clone());
    let mut expected: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
    for series in all {
        let Ok(labels) = write::labels(series, &LIMITS) else { continue };
        assert!(!labels.name().is_empty() && labels.iter().len() <= LIMITS.labels_max + 1);
        assert!(labels.iter().all(|(name, _)| !name.is_empty() && !name.starts_with(OWN_PREFIX)));
        assert!(!labels.name().starts_with(OWN_PREFIX));
        let in_time = series.samples.iter().filter(|sample| (1..END_MS).contains(&sample.timestamp_ms));
        let in_time: Vec<_> = in_time.copied().collect();
        if in_time.is_empty() {
            continue;
        }
        match table.push(sampled::key(labels.clone()), &in_time) {
            Ok(()) => {
                let points = expected.entry(labels).or_default();
                points.extend(in_time.iter().map(|s| (s.timestamp_ms, s.value.to_bits())));
            }
            Err(_) => assert_eq!(expected.len(), SERIES_MAX),
        }
    }
    let options = Options {
        interval_ms: 10_000,
        counter_expire_ms: 0,
        gauge_expire_ms: 0,
        timer_expire_ms: 0,
        set_expire_ms: 0,
    };
    let opened = Store::open(store::Options::new("/data"), MemoryBackend::new(), catalogue, END_MS);
    let (store, _) = opened.expect("an empty disk");
    let mut windows = Windows::new(options, Arc::default(), Vec::new(), END_MS - 10_000);
    let partial = Partial { samples: table.take(END_MS), ..Partial::default() };
    let batch = windows.flush(END_MS, registry.take_new(), vec![partial]);
    store.append(&batch).expect("a window");
    assert_eq!(store.stats().samples_refused, 0);
    let range = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
    let request =
        Select { matchers: &[], range, step_ms: 0, max_series: usize::MAX, max_points: usize::MAX };
    let found = store.select(&request).expect("what was written").into_iter().map(|series| {
        let Points::Floats(samples) = series.points else { panic!("floats") };
        let samples = samples.iter().map(|sample| (sample.timestamp_ms, sample.value.to_bits()));
        (series.labels, samples.collect())
    });
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
}
