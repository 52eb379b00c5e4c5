//! What series cost in memory: every byte that is allocated is counted.

use statsdeck::catalogue::Catalogue;
use statsdeck::model::batch::CounterValue;
use statsdeck::model::{FlushBatch, Labels, MetricType, SeriesId, SeriesKey};
use statsdeck::store::{FsBackend, Options, Store};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A million where the build is fast enough for it.
const SERIES: u32 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
const WINDOW_MS: i64 = 10_000;
const SPAN_WINDOWS: i64 = 720;
const START_MS: i64 = 1_700_006_400_000 - 4 * WINDOW_MS;

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Of a million that are stored, so many are still sent.
const ACTIVE: u32 = SERIES / 100;

fn append(store: &Store, window: i64) {
    append_some(store, window, SERIES);
}

fn append_some(store: &Store, window: i64, series: u32) {
    let start_ms = START_MS + window * WINDOW_MS;
    let total = |id: u32| f64::from(id % 1000) + window as f64;
    let counters =
        (0..series).map(|id| CounterValue { id: SeriesId(id), total: total(id), start_total: None });
    let counters = counters.collect();
    let batch = FlushBatch { start_ms, end_ms: start_ms + WINDOW_MS, counters, ..FlushBatch::default() };
    store.append(&batch).unwrap();
}

/// Checks what is allocated now, a series, and that the accessors say so.
fn check(what: &str, before: usize, store: &Store, catalogue: &Catalogue) {
    let taken = (ALLOCATED.load(Ordering::Relaxed) - before) as f64 / f64::from(SERIES);
    let told = (store.memory() + catalogue.memory()) as f64 / f64::from(SERIES);
    assert!(taken <= 40.0, "{what}: {taken:.1} bytes a series, told {told:.1}");
    assert!((told - taken).abs() < 2.0, "{what}: {taken:.1} bytes a series, told {told:.1}");
}

#[test]
fn a_million_series_take_40_bytes_each_in_store_and_catalogue() {
    let dir = tempfile::tempdir().unwrap();
    let before = ALLOCATED.load(Ordering::Relaxed);
    let catalogue = Arc::new(Catalogue::new(2_000_000));
    let (store, _) = Store::open(Options::new(dir.path()), FsBackend, catalogue.clone(), START_MS).unwrap();
    for id in 0..SERIES {
        let name = format!("prod.checkout.web_07.http.requests.c{id:06}");
        assert_eq!(name.len(), 42);
        let series = SeriesKey { labels: Labels::of_name(&name), metric_type: MetricType::Counter };
        assert_eq!(catalogue.register(series), Ok(SeriesId(id)));
    }
    drop(catalogue.take_new());
    catalogue.settle();
    (0..4).for_each(|window| append(&store, window));
    check("in the log", before, &store, &catalogue);
    // Four windows are all of their span.
    assert_eq!(store.maintain(START_MS + 4 * WINDOW_MS).unwrap().blocks_written, 1);
    append(&store, 4);
    check("in a block and the log", before, &store, &catalogue);
    // The next spans have but few of them, and what is in a block costs no memory a series.
    for window in (5..4 + 3 * SPAN_WINDOWS).step_by(180) {
        append_some(&store, window, ACTIVE);
    }
    let done = store.maintain(START_MS + (4 + 3 * SPAN_WINDOWS) * WINDOW_MS).unwrap();
    assert_eq!(done.blocks_written, 2);
    check("a hundredth active", before, &store, &catalogue);
    drop((store, catalogue));

    let before = ALLOCATED.load(Ordering::Relaxed);
    let catalogue = Arc::new(Catalogue::new(2_000_000));
    let (store, recovered) =
        Store::open(Options::new(dir.path()), FsBackend, catalogue.clone(), START_MS).unwrap();
    assert_eq!(recovered.series.len(), SERIES as usize);
    assert_eq!(recovered.series.last().unwrap().last, Some(999.0 + 4.0));
    drop(recovered);
    check("after a restart", before, &store, &catalogue);
}
