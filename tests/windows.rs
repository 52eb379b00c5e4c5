//! Lines in, batches out: what a window makes of what came in it.

use proptest::prelude::*;
use statsdeck::aggregate::window::{Known, LiveValue};
use statsdeck::aggregate::{Options, Prefix, Quotas, Registry, Table, Windows, table};
use statsdeck::catalogue::Catalogue;
use statsdeck::model::{FlushBatch, Labels, MetricType, SeriesId, SeriesKey};
use statsdeck::protocol::Dialect;
use statsdeck::telemetry::{Telemetry, Transport};
use std::collections::BTreeMap;
use std::sync::Arc;

const OPTIONS: Options = Options {
    interval_ms: 10_000,
    counter_expire_ms: 30_000,
    gauge_expire_ms: 30_000,
    timer_expire_ms: 30_000,
    set_expire_ms: 30_000,
};

const TABLE: table::Options = table::Options {
    line_bytes_max: 8192,
    labels_max: 32,
    label_bytes_max: 200,
    idle_windows_max: 3,
    spellings_max: 100,
};

struct Fixture {
    registry: Arc<Registry>,
    telemetry: Arc<Telemetry>,
    tables: Vec<Table>,
    windows: Windows,
    names: BTreeMap<SeriesId, String>,
}

impl Fixture {
    fn new(tables: usize) -> Self {
        Fixture::resumed(tables, vec![], 0)
    }

    fn resumed(tables: usize, known: Vec<(SeriesKey, Known)>, now_ms: i64) -> Self {
        let catalogue = Arc::new(Catalogue::new(1000));
        let names = known.iter().map(|(key, known)| (known.id, key.labels.to_string())).collect();
        catalogue.restore(known.iter().map(|(key, known)| (known.id, key.clone())), 0);
        let registry = Arc::new(Registry::new(catalogue));
        let telemetry = Arc::new(Telemetry::default());
        let known = known.into_iter().map(|(_, known)| known).collect();
        let table = || Table::new(TABLE, registry.clone(), telemetry.clone(), Transport::Udp);
        Fixture {
            tables: (0..tables).map(|_| table()).collect(),
            windows: Windows::new(OPTIONS, telemetry.clone(), known, now_ms),
            registry,
            telemetry,
            names,
        }
    }

    fn packet(&mut self, table: usize, now_ms: i64, packet: &str) {
        self.tables[table].packet(now_ms, packet.as_bytes(), Dialect::Statsd, |_, _| {});
    }

    fn flush(&mut self, end_ms: i64) -> FlushBatch {
        let partials = self.tables.iter_mut().map(Table::take).collect();
        let batch = self.windows.flush(end_ms, self.registry.take_new(), partials);
        let new = batch.new_series.iter();
        let key = |id: &SeriesId| self.registry.catalogue().series(*id).unwrap();
        self.names.extend(new.map(|id| (*id, key(id).labels.to_string())));
        batch
    }

    /// What the house-keeper does every minute.
    fn forget(&mut self, silent_since_ms: i64) {
        self.windows.forget(silent_since_ms, |_| false, &self.registry);
    }

    /// The batch in words: one for each sample.
    fn told(&mut self, end_ms: i64) -> Vec<String> {
        let batch = self.flush(end_ms);
        let name = |id: &SeriesId| self.names[id].clone();
        let mut told: Vec<String> = Vec::new();
        told.extend(batch.counters.iter().map(|c| match c.start_total {
            Some(start) => format!("{} {start}→{}", name(&c.id), c.total),
            None => format!("{} {}", name(&c.id), c.total),
        }));
        told.extend(
            batch.gauges.iter().map(|g| format!("{} {} ({}..{})", name(&g.id), g.last, g.min, g.max)),
        );
        told.extend(batch.timers.iter().map(|(id, h)| format!("{} n={} sum={}", name(id), h.count, h.sum)));
        told.extend(batch.sets.iter().map(|(id, s)| format!("{} {} members", name(id), s.count())));
        told.extend(batch.stale.iter().map(|id| format!("{} ended", name(id))));
        told
    }
}

#[test]
fn a_counter_is_a_running_total_that_begins_at_the_windows_start() {
    let mut f = Fixture::new(1);
    f.packet(0, 1_000, "a:3|c\na:2|c|@0.5");
    assert_eq!(f.told(10_000), ["a 0→7"]);
    assert_eq!(f.told(20_000), ["a 7"]);
    f.packet(0, 21_000, "a:-2|c");
    assert_eq!(f.told(30_000), ["a 5"]);
    assert_eq!(f.told(40_000), ["a 5"]);
    assert_eq!(f.told(50_000), ["a 5"]);
    assert_eq!(f.told(60_000), ["a 5"]);
    assert_eq!(f.told(70_000), ["a ended"]);
    assert_eq!(f.told(80_000), [""; 0]);
    f.packet(0, 81_000, "a:1|c");
    assert_eq!(f.told(90_000), ["a 5→6"]);
}

#[test]
fn an_idle_gauge_repeats_until_it_expires_and_is_known_when_it_returns() {
    let mut f = Fixture::new(1);
    f.packet(0, 1_000, "g:5|g\ng:+3|g\ng:2|g");
    assert_eq!(f.told(10_000), ["g 2 (2..8)"]);
    for end_ms in [20_000, 30_000, 40_000] {
        assert_eq!(f.told(end_ms), ["g 2 (2..2)"]);
    }
    assert_eq!(f.told(50_000), ["g ended"]);
    f.packet(0, 51_000, "g:-1|g");
    assert_eq!(f.told(60_000), ["g 1 (1..1)"]);
}

#[test]
fn the_last_value_of_a_gauge_counts_in_whatever_order_its_tags_came() {
    let mut f = Fixture::new(1);
    let (one, other) = ("#a:1,b:1", "#b:1,a:1");
    f.packet(0, 1_000, &format!("g:1|g|{one}\ng:2|g|{other}\ng:3|g|{one}"));
    assert_eq!(f.told(10_000), [r#"g{a="1", b="1"} 3 (1..3)"#]);
    f.packet(0, 11_000, &format!("g:+5|g|{other}\ng:10|g|{one}\ng:+2|g|{other}"));
    assert_eq!(f.told(20_000), [r#"g{a="1", b="1"} 12 (10..12)"#]);
    // A spelling that falls silent takes nothing with it.
    for end_ms in [30_000, 40_000, 50_000, 60_000] {
        f.packet(0, end_ms - 1, &format!("g:-1|g|{other}"));
        f.told(end_ms);
    }
    f.packet(0, 61_000, &format!("g:+1|g|{one}\ng:+1|g|{other}\ng:-3|g|{one},"));
    assert_eq!(f.told(70_000), [r#"g{a="1", b="1"} 7 (7..8)"#]);
}

#[test]
fn timers_and_sets_without_values_leave_a_gap() {
    let mut f = Fixture::new(1);
    f.packet(0, 1_000, "t:10|ms\nt:30|ms|@0.5\nu:joe|s\nu:ann|s");
    assert_eq!(f.told(10_000), ["t n=3 sum=0.07", "u 2 members"]);
    assert_eq!(f.told(20_000), [""; 0]);
    f.packet(0, 21_000, "u:joe|s");
    assert_eq!(f.told(30_000), ["u 1 members"]);
}

#[test]
fn the_tables_of_several_receivers_meet_at_the_flush() {
    let mut f = Fixture::new(3);
    f.packet(1, 2_000, "a:2|c|#y:2,x:1\nt:20|ms\nu:joe|s\ng:7|g");
    f.packet(0, 1_000, "a:1|c|#x:1,y:2\nt:10|ms\nu:joe|s\ng:1|g");
    f.packet(2, 3_000, "g:+2|g");
    let told = f.told(10_000);
    assert_eq!(told, [r#"a{x="1", y="2"} 0→3"#, "g 9 (1..9)", "t n=2 sum=0.03", "u 1 members"]);
}

#[test]
fn a_restart_goes_on_where_the_store_left_off() {
    let known = |id, name: &str, metric_type, last_ms, last| {
        let key = SeriesKey { labels: Labels::of_name(name), metric_type };
        (key, Known { id: SeriesId(id), metric_type, last_ms, last: Some(last), ended: false })
    };
    let series = vec![
        known(0, "fresh", MetricType::Counter, 95_000, 10.0),
        known(1, "old", MetricType::Counter, 10_000, 20.0),
        known(2, "g", MetricType::Gauge, 95_000, 3.0),
    ];
    let mut f = Fixture::resumed(1, series, 100_000);
    assert_eq!(f.told(110_000), ["fresh 10", "g 3 (3..3)"]);
    f.packet(0, 111_000, "old:1|c\nfresh:1|c\ng:-1|g");
    assert_eq!(f.told(120_000), ["fresh 11", "old 20→21", "g 2 (2..3)"]);
}

#[test]
fn a_total_never_becomes_infinite() {
    let mut f = Fixture::new(1);
    f.packet(0, 1_000, "a:1e308|c\na:1e308|c\ng:1e308|g\ng:+1e308|g\nt:1e308|h");
    assert_eq!(f.windows.live().len(), 0);
    let batch = f.flush(10_000);
    assert_eq!(batch.counters[0].total, 1e308);
    assert_eq!((batch.gauges[0].last, batch.gauges[0].max), (1e308, 1e308));
    assert_eq!(f.telemetry.overflows.value(), 2);
    // Once within the window; once more each of g, a and t against earlier ones.
    f.packet(0, 11_000, "a:1e308|c\ng:-1e308|g\ng:+1e308|g\ng:+1e308|g\ng:+1e308|g\nt:1e308|h");
    let batch = f.flush(20_000);
    assert_eq!(batch.counters[0].total, 1e308);
    assert_eq!(batch.gauges[0].last, 1e308);
    assert_eq!(f.telemetry.overflows.value(), 2 + 1 + 3);
    assert!(f.windows.live().iter().all(|live| match live.value {
        LiveValue::Counter(value) | LiveValue::Gauge(value) | LiveValue::Set(value) => value.is_finite(),
        LiveValue::Distribution { sum, .. } => sum.is_finite(),
    }));
}

#[test]
fn windows_are_aligned_and_never_go_back() {
    let windows = Windows::new(OPTIONS, Arc::new(Telemetry::default()), vec![], 123_456);
    assert_eq!(windows.next_end_ms(123_456), 130_000);
    assert_eq!(windows.next_end_ms(130_000), 140_000);
    // The clock was set back by a minute.
    assert_eq!(windows.next_end_ms(63_456), 130_000);
    // It was set forward by an hour.
    assert_eq!(windows.next_end_ms(3_723_456), 3_730_000);
}

#[test]
fn a_series_that_the_store_has_nothing_of_is_named_anew_also_when_it_never_expires() {
    let mut f = Fixture::new(1);
    let never = Options {
        counter_expire_ms: 0,
        gauge_expire_ms: 0,
        timer_expire_ms: 0,
        set_expire_ms: 0,
        interval_ms: 10_000,
    };
    f.windows = Windows::new(never, f.telemetry.clone(), vec![], 0);
    f.packet(0, 1_000, "c:1|c\ng:1|g\nt:1|ms\ns:1|s");
    assert_eq!(f.flush(10_000).new_series.len(), 4);
    for window in 2..=10 {
        f.flush(window * 10_000);
    }
    // All points up to 50 s are gone; those of counters and gauges repeat.
    f.windows.forget(50_000, |_| false, &f.registry);
    f.packet(0, 101_000, "c:1|c\ng:1|g\nt:1|ms\ns:1|s");
    let batch = f.flush(110_000);
    let named: Vec<MetricType> =
        batch.new_series.iter().map(|id| f.registry.catalogue().metric_type(*id).unwrap()).collect();
    assert_eq!(named, [MetricType::Timer, MetricType::Set]);
    assert_eq!((batch.counters[0].total, batch.timers.len(), batch.sets.len()), (2.0, 1, 1));
}

#[test]
fn a_silent_spelling_is_forgotten_by_the_table_and_its_total_is_not() {
    let mut f = Fixture::new(1);
    f.packet(0, 1_000, "a:1|c\nb:1|c");
    for window in 1..8 {
        f.packet(0, window * 10_000 + 1, "b:1|c");
        f.flush(window * 10_000);
    }
    assert_eq!(f.tables[0].len(), 1);
    f.packet(0, 81_000, "a:1|c");
    assert!(f.told(90_000).contains(&"a 1→2".to_owned()));
}

#[test]
fn one_series_in_endless_spellings_takes_bounded_memory() {
    let mut f = Fixture::new(1);
    f.packet(0, 1_000, "known:1|c");
    for commas in 0..500 {
        f.packet(0, 1_000, &format!("a:1|c|#x:1{}", ",".repeat(commas)));
    }
    f.packet(0, 1_000, "known:1|c");
    // One more, which all those share that are too many.
    assert_eq!(f.tables[0].len(), 101);
    assert_eq!(f.telemetry.lines_unaccounted(), 0);
    assert_eq!(f.telemetry.lines_accepted.value(), 502);
    assert_eq!(f.told(10_000), ["known 0→2", r#"a{x="1"} 0→500"#]);
    // Silent spellings make room after a window; the series go on.
    assert_eq!(f.told(20_000).len(), 2);
    assert_eq!(f.tables[0].len(), 0);
    f.packet(0, 21_000, "a:1|c|#x:1,\nknown:1|c");
    assert_eq!(f.told(30_000), ["known 3", r#"a{x="1"} 501"#]);
}

/// Two series at most, of `shop.` one.
fn limited() -> Fixture {
    let mut f = Fixture::new(1);
    let prefix = Prefix { prefix: "shop.".into(), series_max: 1 };
    f.registry = Arc::new(Registry::new(Arc::new(Catalogue::new(2))).with_quotas(Quotas::new(&[prefix])));
    let options = table::Options { spellings_max: 1000, ..TABLE };
    f.tables = vec![Table::new(options, f.registry.clone(), f.telemetry.clone(), Transport::Udp)];
    f
}

#[test]
fn values_beyond_a_limit_go_into_the_overflow_series_and_none_is_lost() {
    let mut f = limited();
    f.packet(0, 1_000, "shop.a:1|c|#u:1\nshop.a:2|c|#u:2\nshop.b:4|c\nx:1|ms\nx:3|ms|#u:3\nx:5|ms|#u:4");
    f.packet(0, 1_000, "new.1:1|c\nnew.2:2|c\nnew.3:7|g\nnew.4:a|s\nnew.5:b|s\nnew.6:a|s");
    assert_eq!(
        f.told(10_000),
        [
            r#"{"shop.a", u="1"} 0→1"#,
            r#"{"shop.a", statsdeck_overflow="true"} 0→2"#,
            r#"shop{statsdeck_overflow="true"} 0→4"#,
            r#"statsdeck_overflow_counter{statsdeck_overflow="true"} 0→3"#,
            r#"statsdeck_overflow_gauge{statsdeck_overflow="true"} 7 (7..7)"#,
            "x n=1 sum=0.001",
            r#"x{statsdeck_overflow="true"} n=2 sum=0.008"#,
            r#"statsdeck_overflow_set{statsdeck_overflow="true"} 2 members"#,
        ]
    );
    let overflowed: Vec<u64> = f.telemetry.lines_overflowed.iter().map(|c| c.value()).collect();
    assert_eq!((overflowed, f.telemetry.lines_accepted.value()), (vec![8, 2], 12));
    assert_eq!(f.telemetry.lines_unaccounted(), 0);
    let worst = f.telemetry.offenders.worst(1_000).unwrap();
    let named: Vec<(&str, u64)> = worst.names.iter().map(|(name, lines)| (name.as_str(), *lines)).collect();
    assert_eq!(named, [("new.*", 6), ("x", 2), ("shop.*", 1), ("shop.a", 1)]);
}

#[test]
fn a_line_of_several_types_is_counted_once_and_no_client_can_name_an_overflow_series() {
    let mut f = limited();
    f.packet(0, 1_000, "a:1|c\nb:1|c\nc:1|c:2|ms:3|c\na:9|c|#statsdeck_overflow:true");
    assert_eq!(f.telemetry.lines_overflowed[0].value(), 2);
    let told = f.told(10_000);
    assert!(
        told.contains(&r#"statsdeck_overflow_counter{statsdeck_overflow="true"} 0→4"#.to_owned()),
        "{told:?}"
    );
    assert!(told.contains(&r#"a{statsdeck_overflow="true"} 0→9"#.to_owned()), "{told:?}");
}

#[test]
fn a_series_gets_its_own_place_once_there_is_room() {
    let mut f = limited();
    f.packet(0, 1_000, "a:1|c\nb:1|c\nc:1|c");
    f.told(10_000);
    let mut seen = Vec::new();
    for window in 1..8 {
        f.packet(0, window * 10_000 + 1, "a:1|c\nc:1|c\nc:1|c");
        seen.push(f.told((window + 1) * 10_000).contains(&"c 0→2".to_owned()));
        let ended = f.windows.ended();
        f.registry.note_ended(&ended);
    }
    // b ended after its expiry, 30 s of silence.
    assert_eq!(seen, [false, false, false, false, true, false, false]);
}

#[test]
fn series_that_are_told_to_end_do_so_unless_they_are_heard() {
    let mut f = Fixture::new(1);
    f.packet(0, 1_000, "a:5|c\nb:5|c\ng:7|g");
    f.told(10_000);
    let ids: Vec<SeriesId> = f.names.keys().copied().collect();
    f.windows.end(&ids);
    assert_eq!(f.windows.live().len(), 0);
    f.packet(0, 11_000, "b:1|c");
    assert_eq!(f.told(20_000), ["b 6", "a ended", "g ended"]);
    // A total goes on, a gauge does not.
    f.packet(0, 21_000, "a:1|c\ng:+2|g");
    assert_eq!(f.told(30_000), ["a 5→6", "b 6", "g 2 (2..2)"]);
}

#[test]
fn a_series_that_a_receiver_knows_is_not_forgotten() {
    // Named, and no value yet: the first one was too large.
    let mut f = Fixture::new(1);
    f.packet(0, 1_000, "t:1e308|ms|@0.001");
    assert_eq!(f.told(10_000), [""; 0]);
    f.forget(0);
    f.packet(0, 11_000, "t:5|ms");
    assert_eq!(f.told(20_000), ["t n=1 sum=0.005"]);

    // Registered between the taking of its table and that of the names.
    f.windows.flush(30_000, vec![], vec![]);
    f.packet(0, 31_000, "a:1|c");
    let named = f.registry.take_new();
    let catalogue = f.registry.catalogue();
    f.names.extend(named.iter().map(|(id, _)| (*id, catalogue.series(*id).unwrap().labels.to_string())));
    f.windows.flush(40_000, named, vec![]);
    f.forget(39_000);
    assert_eq!(f.told(50_000), ["a 0→1"]);
}

#[test]
fn a_series_that_returns_after_a_long_silence_is_named_again() {
    let mut f = Fixture::new(1);
    f.packet(0, 1_000, "a:1|c\nt:5|ms");
    assert_eq!(f.flush(10_000).new_series.len(), 2);
    f.packet(0, 11_000, "a:1|c\nt:5|ms");
    assert_eq!(f.flush(20_000).new_series.len(), 0);
    // The store may have forgotten them meanwhile, at the shortest retention.
    f.packet(0, 3_700_000, "a:1|c\nt:5|ms");
    let batch = f.flush(3_710_000);
    assert_eq!((batch.new_series.len(), batch.counters[0].total), (2, 3.0));
}

#[test]
fn a_series_whose_data_is_gone_begins_anew() {
    let mut f = Fixture::new(1);
    f.packet(0, 1_000, "a:1|c");
    for window in 1..9 {
        f.flush(window * 10_000);
    }
    assert_eq!(f.tables[0].len(), 0);
    f.forget(80_000);
    assert!(f.registry.catalogue().is_empty());
    f.packet(0, 91_000, "a:1|c");
    assert_eq!(f.told(100_000), ["a 0→1"]);
}

#[derive(Clone, Debug)]
struct Sent {
    table: usize,
    name: usize,
    value: i32,
    window: usize,
}

proptest! {
    #[test]
    fn totals_are_those_of_a_plain_model(
        sent in prop::collection::vec(
            (0usize..3, 0usize..20, -1000i32..1000, 0usize..12)
                .prop_map(|(table, name, value, window)| Sent { table, name, value, window }),
            0..400,
        ),
    ) {
        let mut f = Fixture::new(3);
        let mut totals: BTreeMap<usize, f64> = BTreeMap::new();
        for window in 0..12 {
            for one in sent.iter().filter(|one| one.window == window) {
                f.packet(one.table, 0, &format!("s{}:{}|c", one.name, one.value));
                *totals.entry(one.name).or_default() += f64::from(one.value);
            }
            let batch = f.flush((window as i64 + 1) * 10_000);
            for counter in &batch.counters {
                let name: usize = f.names[&counter.id][1..].parse().unwrap();
                prop_assert_eq!(counter.total, totals[&name]);
            }
            let ids: Vec<_> = batch.counters.iter().map(|counter| counter.id).collect();
            prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "one entry a series");
        }
    }
}
