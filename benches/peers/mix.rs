//! The samples that are given to every store alike: what 10,000 series of a
//! few dozen services look like over a day, the same in every run.
//!
//! A unit is one service on one host, and has ten series:
//!
//! | | what | how it goes |
//! |---|---|---|
//! | 4 counters | requests | a few to some hundred a second, by service; a wave over the day, noise as of arrivals |
//! | | failed requests | rare, in one unit of twenty bursts of some minutes |
//! | | response bytes | grow with the requests, each of another size |
//! | | cache misses, jobs in batches, or one that hardly moves | by unit |
//! | 3 gauges | memory in bytes | grows in pages, falls when it is collected |
//! | | CPU in percent, two decimals | follows the requests, with noise |
//! | | queue depth, pool size, free disk, a ratio of full precision, a temperature, a constant | by unit |
//! | 3 quantiles | p50, p90, p99 of the unit's durations in the window | of up to 40 values drawn; half of the services tell whole milliseconds, half microseconds |
//!
//! So about a tenth of the series hardly move, a third move by small integers, and
//! the ratios are noise in every bit. The timers ([`durations`]) are drawn like the quantiles'.

/// Width of a window.
pub const WINDOW_MS: i64 = 10_000;
pub const SERIES_OF_UNIT: usize = 10;
/// Values of a timer in a window.
pub const VALUES: usize = 20;
const WINDOWS_OF_DAY: f64 = 8_640.0;
const SERVICES: usize = 40;
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
const MIB: f64 = 1_048_576.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

/// All series, and how far they have come.
pub struct Mix {
    units: Vec<Unit>,
    window: u64,
}

struct Unit {
    number: usize,
    noise: Noise,
    /// Requests a window, and the median duration in seconds.
    requests: f64,
    median: f64,
    failing: u32,
    /// Values of its series as of the last window.
    values: [f64; SERIES_OF_UNIT],
    backlog: f64,
    drawn: Vec<f64>,
}

impl Mix {
    /// `series` is rounded down to whole units.
    pub fn new(series: usize) -> Self {
        Mix { units: (0..series / SERIES_OF_UNIT).map(Unit::new).collect(), window: 0 }
    }

    pub fn len(&self) -> usize {
        self.units.len() * SERIES_OF_UNIT
    }

    pub fn kind(series: usize) -> Kind {
        if series % SERIES_OF_UNIT < 4 { Kind::Counter } else { Kind::Gauge }
    }

    /// Name and labels of a series, the name first.
    pub fn labels(series: usize) -> Vec<(&'static str, String)> {
        let (unit, place) = (series / SERIES_OF_UNIT, series % SERIES_OF_UNIT);
        let name = match place {
            0 | 1 => "http_requests",
            2 => "http_response_bytes",
            3 => ["cache_misses", "jobs_done", "config_reloads"][unit % 3],
            4 => "memory_bytes",
            5 => "cpu_percent",
            6 => ["queue_depth", "pool_size", "disk_free_bytes", "hit_ratio", "temperature", "build_number"]
                [unit % 6],
            _ => "http_request_seconds",
        };
        let mut labels = vec![("__name__", name.to_owned()), ("env", "prod".to_owned())];
        labels.extend(of_unit(unit));
        match place {
            0 => labels.push(("status", "200".to_owned())),
            1 => labels.push(("status", "500".to_owned())),
            7.. => labels.push(("quantile", QUANTILES[place - 7].to_string())),
            _ => {}
        }
        labels
    }

    /// The values of all series in the next window, in the order of their numbers.
    pub fn next(&mut self, out: &mut Vec<f64>) {
        out.clear();
        let day = (self.window as f64 / WINDOWS_OF_DAY * std::f64::consts::TAU).sin();
        for unit in &mut self.units {
            unit.advance(self.window, day);
            out.extend_from_slice(&unit.values);
        }
        self.window += 1;
    }
}

/// Labels of the place where a unit runs.
fn of_unit(unit: usize) -> [(&'static str, String); 2] {
    let host = format!("web-{:03}.eu.example.net", unit / SERVICES);
    [("host", host), ("service", format!("service-{:02}", unit % SERVICES))]
}

impl Unit {
    fn new(number: usize) -> Self {
        let service = number % SERVICES;
        let mut noise = Noise(0x5157_a75d_0000_0000 | number as u64);
        let mut values = [0.0; SERIES_OF_UNIT];
        for total in &mut values[..4] {
            *total = (noise.uniform() * 1e6).floor();
        }
        values[4] = (200.0 * MIB / 4096.0).floor() * 4096.0;
        values[6] = match number % 6 {
            1 => 10.0,
            2 => (noise.uniform() * 400.0 * 1024.0).floor() * MIB,
            4 => 45.0,
            5 => 20_261_124.0,
            _ => 0.0,
        };
        let requests = 3_000.0 / (1.0 + service as f64);
        let median = 0.004 * (1.0 + service as f64 / 4.0);
        Unit { number, noise, requests, median, failing: 0, values, backlog: 0.0, drawn: Vec::new() }
    }

    fn advance(&mut self, window: u64, day: f64) {
        let noise = &mut self.noise;
        let [requests, failed, bytes, other, memory, cpu, gauge, ..] = &mut self.values;
        let came = noise.arrivals(self.requests * (1.0 + 0.6 * day));
        *requests += came;
        if self.number % 20 == 3 && noise.uniform() < 0.001 {
            self.failing = 30;
        }
        let failing = if self.failing > 0 { 0.2 } else { 0.0004 };
        self.failing = self.failing.saturating_sub(1);
        *failed += noise.arrivals(came * failing);
        *bytes += (came * 2_900.0 + noise.normal() * 1_100.0 * came.sqrt()).max(0.0).floor();
        match self.number % 3 {
            0 => *other += noise.arrivals(came * 0.05),
            1 => {
                self.backlog += came * 0.1;
                if window % 30 == (self.number % 30) as u64 {
                    *other += self.backlog.floor();
                    self.backlog -= self.backlog.floor();
                }
            }
            _ if noise.uniform() < 0.0002 => *other += 1.0,
            _ => {}
        }
        *memory += 4_096.0 * noise.arrivals(came / 20.0);
        if *memory > 600.0 * MIB {
            *memory = ((220.0 + 40.0 * noise.uniform()) * MIB / 4_096.0).floor() * 4_096.0;
        }
        let busy = 100.0 * came / (self.requests * 2.0 + 1.0) + 2.0 * noise.normal();
        *cpu = (busy.clamp(0.1, 100.0) * 100.0).round() / 100.0;
        match self.number % 6 {
            0 => *gauge = (*gauge * 0.8 + 4.0 * noise.normal().max(-1.0)).max(0.0).round(),
            1 if noise.uniform() < 0.01 => *gauge = (8.0 + 12.0 * noise.uniform()).floor(),
            2 => *gauge = if *gauge < 16.0 * MIB { 4e11 } else { *gauge - 4_096.0 * (came / 8.0).floor() },
            3 => *gauge = 1.0 - noise.arrivals(came * 0.05) / came.max(1.0),
            4 => *gauge = ((*gauge + 0.2 * noise.normal()).clamp(20.0, 90.0) * 10.0).round() / 10.0,
            _ => {}
        }
        self.drawn.clear();
        let drawn = (came as usize).min(40);
        self.drawn.extend((0..drawn).map(|_| duration(noise, self.median, self.number.is_multiple_of(2))));
        self.drawn.sort_unstable_by(f64::total_cmp);
        for (quantile, value) in QUANTILES.iter().zip(&mut self.values[7..]) {
            // Without requests the last one stays, as a gauge's value does.
            let rank = (quantile * drawn as f64).ceil() as usize;
            *value = self.drawn.get(rank.max(1) - 1).copied().unwrap_or(*value);
        }
    }
}

/// Name and labels of a timer.
pub fn timer_labels(timer: usize) -> Vec<(&'static str, String)> {
    let mut labels = vec![("__name__", "request_seconds".to_owned()), ("env", "prod".to_owned())];
    labels.extend(of_unit(timer));
    labels
}

/// What a timer took in a window: `count` durations, in seconds.
pub fn durations(timer: usize, window: u64, count: usize) -> impl Iterator<Item = f64> {
    let mut noise = Noise((timer as u64) << 40 | window << 8 | 1);
    let median = 0.004 * (1.0 + (timer % SERVICES) as f64 / 4.0);
    (0..count).map(move |_| duration(&mut noise, median, timer.is_multiple_of(2)))
}

/// Around the median, skewed; one of fifty takes twenty times as long.
fn duration(noise: &mut Noise, median: f64, whole_ms: bool) -> f64 {
    let slow = if noise.uniform() < 0.02 { 20.0 } else { 1.0 };
    let seconds = median * slow * (0.5 * noise.normal()).exp();
    let grain = if whole_ms { 1e3 } else { 1e6 };
    (seconds * grain).round() / grain
}

/// Numbers from a seed (splitmix64).
struct Noise(u64);

impl Noise {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Mean 0, deviation 1; nothing beyond 3, which does for this.
    fn normal(&mut self) -> f64 {
        let bits = self.bits();
        let part = |at: u32| (bits >> (21 * at) & 0x1f_ffff) as f64 / f64::from(1 << 21);
        2.0 * (part(0) + part(1) + part(2) - 1.5)
    }

    /// How many came, of `mean` on average.
    fn arrivals(&mut self, mean: f64) -> f64 {
        if mean > 30.0 {
            return (mean + mean.sqrt() * self.normal()).max(0.0).round();
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.uniform(), 0.0);
        while product > limit {
            product *= self.uniform();
            count += 1.0;
        }
        count
    }
}
