//! Gives the same samples to a statsdeck directory and to peers: `scripts/peers`
//! starts those, calls this, measures and asks.
//!
//! `cargo bench --bench peers -- store --dir DIR --end-ms E [--series N --hours H]`
//! writes a data directory the way the daemon does: a window at a time, with
//! upkeep every minute, and time passed in. `-- write --port P …` sends them to a
//! peer by remote write. `--timers N` instead of `--series`: distributions, which
//! for a peer are the classic buckets of the same values, as Prometheus' client
//! libraries have them.

mod mix;
mod remote_write;

use mix::{Kind, Mix, VALUES, WINDOW_MS};
use remote_write::{Peer, Request};
use statsdeck::catalogue::Catalogue;
use statsdeck::model::batch::{CounterValue, GaugeValue};
use statsdeck::model::{FlushBatch, Histogram, Labels, MetricType, SeriesId, SeriesKey};
use statsdeck::store::backend::{Backend, File};
use statsdeck::store::{FsBackend, Options, Store, Tier};
use std::any::Any;
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const DAY_MS: i64 = 86_400_000;
/// Upkeep every so many windows: each minute, as in the daemon.
const UPKEEP_WINDOWS: i64 = 6;
/// A request has so many windows of a series, and no more than so many bytes.
const REQUEST_WINDOWS: usize = 30;
const REQUEST_BYTES: usize = 2 << 20;
/// Upper bounds of a classic histogram, in seconds: those of Prometheus' clients.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

struct Plan {
    series: usize,
    timers: usize,
    values: usize,
    windows: i64,
    end_ms: i64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let Some(what) = words.next() else {
        println!("nothing to do; see scripts/peers");
        return Ok(());
    };
    let mut given: HashMap<String, String> = HashMap::new();
    while let Some(key) = words.next() {
        given.insert(key.trim_start_matches('-').to_owned(), words.next().unwrap_or_default());
    }
    let number = |key: &str, default: i64| given.get(key).map_or(Ok(default), |text| text.parse());
    let timers = number("timers", 0)? as usize;
    let plan = Plan {
        series: if timers > 0 { 0 } else { number("series", 10_000)? as usize },
        timers,
        values: number("values", VALUES as i64)? as usize,
        windows: number("hours", 24)? * 3_600_000 / WINDOW_MS,
        end_ms: number("end-ms", 1_700_006_400_000)?,
    };
    match what.as_str() {
        "store" => store(&plan, Path::new(given.get("dir").ok_or("--dir is missing")?)),
        "write" => write(&plan, number("port", 9090)? as u16),
        _ => Err(format!("{what}: store or write?").into()),
    }
}

impl Plan {
    fn window_end(&self, window: i64) -> i64 {
        self.end_ms - (self.windows - 1 - window) * WINDOW_MS
    }
}

/// Writes a data directory.
fn store(plan: &Plan, dir: &Path) -> Result<(), Box<dyn Error>> {
    let catalogue = Arc::new(Catalogue::new(10_000_000));
    let (written, synced) = (Arc::<Written>::default(), Arc::<AtomicU64>::default());
    let backend = Counting { written: written.clone(), synced: synced.clone() };
    // The defaults of the config.
    let tiers = [(60_000, 30), (900_000, 730)]
        .map(|(resolution_ms, days)| Tier { resolution_ms, retention_ms: days * DAY_MS });
    let options = Options::new(dir).with_tiers(tiers.to_vec());
    let (store, _) = Store::open(options, backend, catalogue.clone(), plan.window_end(0))?;
    let key = |labels: Vec<(&str, String)>, metric_type| {
        let labels = Labels::from_pairs(labels);
        SeriesKey { labels, metric_type }
    };
    let mut mix = Mix::new(plan.series);
    let floats = (0..mix.len()).map(|series| {
        let metric_type = match Mix::kind(series) {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        key(Mix::labels(series), metric_type)
    });
    let timers = (0..plan.timers).map(|timer| key(mix::timer_labels(timer), MetricType::Timer));
    let ids: Vec<SeriesId> = floats
        .chain(timers)
        .map(|key| catalogue.register(key).map_err(|_| "refused"))
        .collect::<Result<_, _>>()?;

    let (mut values, mut flushes, mut upkeep, mut samples) = (Vec::new(), Vec::new(), Duration::ZERO, 0);
    for window in 0..plan.windows {
        let end_ms = plan.window_end(window);
        mix.next(&mut values);
        let mut batch = FlushBatch { start_ms: end_ms - WINDOW_MS, end_ms, ..FlushBatch::default() };
        for (series, (id, value)) in ids.iter().zip(&values).enumerate() {
            match Mix::kind(series) {
                Kind::Counter => {
                    batch.counters.push(CounterValue { id: *id, total: *value, start_total: None });
                }
                Kind::Gauge => {
                    batch.gauges.push(GaugeValue { id: *id, last: *value, min: *value, max: *value });
                }
            }
        }
        for (timer, id) in ids.iter().skip(values.len()).enumerate() {
            let drawn = mix::durations(timer, window as u64, plan.values);
            batch.timers.push((*id, Histogram::from_values(drawn.map(|value| (value, 1.0)))));
        }
        samples += batch.samples();
        let begun = Instant::now();
        store.append(&batch)?;
        flushes.push(begun.elapsed());
        if (window + 1) % UPKEEP_WINDOWS == 0 {
            let begun = Instant::now();
            store.maintain(end_ms)?;
            upkeep += begun.elapsed();
        }
    }
    let begun = Instant::now();
    while store.maintain(plan.end_ms)?.blocks_built > 0 {}
    upkeep += begun.elapsed();
    flushes.sort_unstable();
    let at = |share: f64| flushes[((flushes.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{{\"samples\": {samples}, \"bytes_written\": {}, \"of_log\": {}, \"of_blocks\": {}, \"of_steps\": {}, \"syncs\": {}, \"flush_p50_ms\": {:.2}, \
         \"flush_p99_ms\": {:.2}, \"flush_max_ms\": {:.2}, \"upkeep_s\": {:.2}}}",
        written.all(),
        written.log.load(Ordering::Relaxed),
        written.blocks.load(Ordering::Relaxed),
        written.steps.load(Ordering::Relaxed),
        synced.load(Ordering::Relaxed),
        at(0.5),
        at(0.99),
        at(1.0),
        upkeep.as_secs_f64()
    );
    Ok(())
}

/// Sends everything to a peer.
fn write(plan: &Plan, port: u16) -> Result<(), Box<dyn Error>> {
    let mut peer = Peer::connect(port)?;
    let mut request = Request::default();
    let mut mix = Mix::new(plan.series);
    let mut timers: Vec<Classic> = (0..plan.timers).map(|_| Classic::default()).collect();
    let labels: Vec<Vec<(&str, String)>> = if plan.timers > 0 {
        (0..plan.timers).flat_map(Classic::labels).collect()
    } else {
        (0..mix.len()).map(Mix::labels).collect()
    };
    let (mut samples, mut windows): (u64, Vec<(i64, Vec<f64>)>) = (0, Vec::new());
    for window in 0..plan.windows {
        let mut values = Vec::new();
        mix.next(&mut values);
        for (timer, classic) in timers.iter_mut().enumerate() {
            mix::durations(timer, window as u64, plan.values).for_each(|value| classic.observe(value));
            values.extend(classic.values());
        }
        windows.push((plan.window_end(window), values));
        if windows.len() < REQUEST_WINDOWS && window + 1 < plan.windows {
            continue;
        }
        for (series, labels) in labels.iter().enumerate() {
            request.put(labels, windows.iter().map(|(end_ms, values)| (*end_ms, values[series])));
            samples += windows.len() as u64;
            if request.len() >= REQUEST_BYTES {
                peer.send(&mut request)?;
            }
        }
        peer.send(&mut request)?;
        windows.clear();
    }
    println!("{{\"samples\": {samples}}}");
    Ok(())
}

/// A timer as a classic histogram: running totals of its buckets.
#[derive(Default)]
struct Classic {
    buckets: [f64; BOUNDS.len()],
    count: f64,
    sum: f64,
}

impl Classic {
    fn labels(timer: usize) -> impl Iterator<Item = Vec<(&'static str, String)>> {
        let named = move |suffix: &str, le: Option<String>| {
            let mut labels = mix::timer_labels(timer);
            labels[0].1.push_str(suffix);
            labels.extend(le.map(|le| ("le", le)));
            labels
        };
        let bounds = BOUNDS.iter().map(|bound| bound.to_string()).chain(["+Inf".to_owned()]);
        let buckets = bounds.map(move |bound| named("_bucket", Some(bound)));
        buckets.chain([named("_count", None), named("_sum", None)])
    }

    fn observe(&mut self, value: f64) {
        let above = BOUNDS.partition_point(|bound| *bound < value);
        self.buckets[above..].iter_mut().for_each(|count| *count += 1.0);
        self.count += 1.0;
        self.sum += value;
    }

    /// In the order of the labels.
    fn values(&self) -> impl Iterator<Item = f64> {
        self.buckets.into_iter().chain([self.count, self.count, self.sum])
    }
}

/// Bytes that were written, by what for.
#[derive(Default)]
struct Written {
    log: AtomicU64,
    blocks: AtomicU64,
    /// Blocks of coarser steps.
    steps: AtomicU64,
    others: AtomicU64,
}

impl Written {
    fn all(&self) -> u64 {
        [&self.log, &self.blocks, &self.steps, &self.others].map(|of| of.load(Ordering::Relaxed)).iter().sum()
    }

    fn of(&self, path: &Path) -> &AtomicU64 {
        match path.file_name().and_then(|name| name.to_str()).unwrap_or_default() {
            name if name.starts_with("wal-") => &self.log,
            name if name.starts_with("block-0-") => &self.blocks,
            name if name.starts_with("block-") => &self.steps,
            _ => &self.others,
        }
    }
}

/// The machine's file system; counts what is written to it.
struct Counting {
    written: Arc<Written>,
    synced: Arc<AtomicU64>,
}

struct CountingFile {
    file: Box<dyn File>,
    path: PathBuf,
    written: Arc<Written>,
    synced: Arc<AtomicU64>,
}

impl Counting {
    fn wrap(&self, path: &Path, file: Box<dyn File>) -> Box<dyn File> {
        let (written, synced) = (self.written.clone(), self.synced.clone());
        Box::new(CountingFile { file, path: path.into(), written, synced })
    }
}

impl Backend for Counting {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        FsBackend.create_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        FsBackend.lock(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        FsBackend.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(self.wrap(path, FsBackend.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(self.wrap(path, FsBackend.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FsBackend.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        FsBackend.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        FsBackend.sync_dir(dir)
    }
}

impl File for CountingFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.written.of(&self.path).fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.synced.fetch_add(1, Ordering::Relaxed);
        self.file.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
}
