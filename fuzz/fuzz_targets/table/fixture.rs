//! Tables, registry and windows as the daemon has them, fed by steps, with the
//! model beside them.

use crate::model::Model;
use statsdeck::aggregate::table::Refusal;
use statsdeck::aggregate::{Options, Prefix, Quotas, Registry, Table, Windows, table};
use statsdeck::catalogue::Catalogue;
use statsdeck::config::Mapping;
use statsdeck::mapping::Mapper;
use statsdeck::protocol::{Dialect, TagStyles, packet};
use statsdeck::telemetry::{Telemetry, Transport};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, LazyLock};

const OPTIONS: Options = Options {
    interval_ms: 10_000,
    counter_expire_ms: 30_000,
    gauge_expire_ms: 20_000,
    timer_expire_ms: 10_000,
    set_expire_ms: 0,
};

const MARKERS_MAX: usize = 2;

/// What the mappings differ in: the same names are dropped, scaled or renamed.
static MAPPERS: LazyLock<[Option<Arc<Mapper>>; 3]> = LazyLock::new(|| {
    let mapper =
        |text: &str| Mapping::parse(&[("fuzz.yml".into(), text.into())]).expect("the mapping is good").mapper;
    [None, Some(mapper(FIRST)), Some(mapper(SECOND))]
});

const FIRST: &str = r#"
defaults: {ttl: 20s}
mappings:
- {match: "d.*", name: dropped, action: drop}
- {match: "s.*", name: scaled, scale: 2, labels: {which: "$1"}}
- {match: "q.*", name: half, match_metric_type: counter, action: drop}
- {match: "h.*", name: "hist_$1", observer_type: histogram, histogram_options: {buckets: [1, 10, 100]}, scale: 4}
- {match: "e.*", name: "$2"}
- {match: "w.*", name: wide, labels: {first: a, second: b, third: c, fourth: d, fifth: e}}
- {match: "(.*)x$", match_type: regex, name: "all_x", ttl: 1m}
"#;

const SECOND: &str = r#"
mappings:
- {match: "s.*", name: scaled, scale: 3, labels: {which: "$1"}, ttl: 10s}
- {match: "d.*", name: "s_$1"}
- {match: "h.*", name: "hist_$1", observer_type: histogram, histogram_options: {buckets: [5]}}
- {match: "q.*", name: half, match_metric_type: gauge, action: drop}
- {match: "e.*", name: scaled, scale: -1, labels: {which: "$1"}}
"#;

/// The first byte of an input.
#[derive(Clone, Copy)]
pub struct Switches(pub u8);

impl Switches {
    /// Limits that bite; without them a series is what its lines say.
    pub fn tiny(self) -> bool {
        self.0 & 1 != 0
    }

    fn tables(self) -> usize {
        if self.0 & 2 != 0 { 2 } else { 1 }
    }

    fn tag_styles(self) -> TagStyles {
        if self.0 & 4 != 0 { TagStyles::ALL } else { TagStyles::NONE }
    }

    fn dialect(self) -> Dialect {
        if self.0 & 8 != 0 { Dialect::Dogstatsd } else { Dialect::Statsd }
    }

    fn table_options(self) -> table::Options {
        let (line_bytes_max, labels_max, label_bytes_max, spellings_max) =
            if self.tiny() { (64, 4, 8, 4) } else { (1 << 16, 64, 1 << 16, 1 << 16) };
        table::Options { line_bytes_max, labels_max, label_bytes_max, idle_windows_max: 2, spellings_max }
    }
}

pub struct Fixture {
    switches: Switches,
    registry: Arc<Registry>,
    telemetry: Arc<Telemetry>,
    tables: Vec<Table>,
    windows: Windows,
    markers: Receiver<statsdeck::model::Marker>,
    /// The mapper in force, and the one that follows, by table.
    mappers: Vec<(usize, Option<usize>)>,
    model: Model,
    now_ms: i64,
    received: u64,
}

impl Fixture {
    pub fn new(switches: Switches) -> Self {
        let series_max = if switches.tiny() { 3 } else { 1 << 16 };
        let quota = Prefix { prefix: "p.".into(), series_max: 1 };
        let quotas = Quotas::new(if switches.tiny() { std::slice::from_ref(&quota) } else { &[] });
        let registry = Arc::new(Registry::new(Arc::new(Catalogue::new(series_max))).with_quotas(quotas));
        let telemetry = Arc::new(Telemetry::default());
        let (sender, markers) = sync_channel(MARKERS_MAX);
        let table = |transport| {
            Table::new(switches.table_options(), registry.clone(), telemetry.clone(), transport)
                .with_tag_styles(switches.tag_styles())
                .with_markers(sender.clone())
                .with_window(OPTIONS.interval_ms, 0)
        };
        let tables: Vec<Table> =
            [Transport::Udp, Transport::Tcp].into_iter().take(switches.tables()).map(table).collect();
        let now_ms = 1_800_000_000_000;
        Fixture {
            mappers: vec![(0, None); tables.len()],
            windows: Windows::new(OPTIONS, telemetry.clone(), Vec::new(), now_ms),
            model: Model::new(!switches.tiny(), tables.len() == 1),
            switches,
            registry,
            telemetry,
            tables,
            markers,
            now_ms,
            received: 0,
        }
    }

    pub fn packet(&mut self, at: usize, packet: &[u8]) {
        let at = at % self.tables.len();
        self.now_ms += 1;
        let mut refused: Vec<(*const u8, Refusal)> = Vec::new();
        self.tables[at].packet(self.now_ms, packet, self.switches.dialect(), |line, refusal| {
            refused.push((line.as_ptr(), refusal));
        });
        let mut refused = refused.into_iter().peekable();
        let (options, styles) = (self.switches.table_options(), self.switches.tag_styles());
        let mapper = MAPPERS[self.mappers[at].0].as_deref();
        for line in packet::lines(packet) {
            self.received += 1;
            let refusal = refused.next_if(|(start, _)| *start == line.as_ptr()).map(|(_, why)| why);
            self.model.line(line, refusal, self.switches.dialect(), &options, styles, mapper);
        }
        assert_eq!(refused.next(), None, "a line was refused that is none");
        self.balance();
    }

    pub fn flush(&mut self) {
        self.now_ms = self.windows.next_end_ms(self.now_ms);
        let partials = self.tables.iter_mut().map(Table::take).collect();
        for (mapper, next) in &mut self.mappers {
            *mapper = next.take().unwrap_or(*mapper);
        }
        let batch = self.windows.flush(self.now_ms, self.registry.take_new(), partials);
        self.registry.note_ended(&self.windows.ended());
        self.registry.note_time(self.now_ms);
        let overflows = self.telemetry.overflows.value();
        self.model.flushed(&batch, &self.registry, &self.windows, overflows);
        assert!(self.markers.try_iter().count() <= MARKERS_MAX);
        self.balance();
    }

    pub fn set_mapper(&mut self, which: usize) {
        let which = which % MAPPERS.len();
        for (table, (mapper, next)) in self.tables.iter_mut().zip(&mut self.mappers) {
            // What is known is asked about anew when the window has closed.
            if table.is_empty() {
                *mapper = which;
            } else {
                *next = Some(which);
            }
            table.set_mapper(MAPPERS[which].clone());
        }
    }

    /// Series that were silent for two windows are not in the store any more.
    pub fn forget(&mut self) {
        let since_ms = self.windows.last_end_ms() - 2 * OPTIONS.interval_ms;
        self.windows.forget(since_ms, |_| false, &self.registry);
    }

    /// Ends every series there was.
    pub fn end(&mut self) {
        self.windows.end(&self.model.end());
    }

    pub fn set_clock_back(&mut self) {
        self.now_ms -= 25_000;
    }

    fn balance(&self) {
        let total = |counters: &[statsdeck::telemetry::Counter]| {
            counters.iter().map(statsdeck::telemetry::Counter::value).sum::<u64>()
        };
        let telemetry = &self.telemetry;
        assert_eq!(total(&telemetry.lines_received), self.received);
        let refused = total(&telemetry.lines_rejected) + total(&telemetry.lines_limited);
        assert_eq!(telemetry.lines_accepted.value() + refused, self.received);
        let series = self.registry.catalogue().len();
        for table in &self.tables {
            // One spelling more for each series, once there is no room.
            assert!(table.len() <= self.switches.table_options().spellings_max + series);
        }
    }
}
