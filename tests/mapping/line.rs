//! A mapping file and lines in; series and values out, through a table and the
//! windows.

use statsdeck::aggregate::treated::{Buckets, Treated};
use statsdeck::aggregate::window::{Live, LiveValue};
use statsdeck::aggregate::{Options, Registry, Table, Windows, table};
use statsdeck::catalogue::Catalogue;
use statsdeck::config::Mapping;
use statsdeck::mapping::mapper::EFFECTS_MAX;
use statsdeck::model::Labels;
use statsdeck::protocol::{Dialect, TagStyles};
use statsdeck::telemetry::{Limited, Telemetry, Transport};
use std::sync::Arc;

const OPTIONS: Options = Options {
    interval_ms: 10_000,
    counter_expire_ms: 300_000,
    gauge_expire_ms: 300_000,
    timer_expire_ms: 300_000,
    set_expire_ms: 300_000,
};

const TABLE: table::Options = table::Options {
    line_bytes_max: 8192,
    labels_max: 8,
    label_bytes_max: 200,
    idle_windows_max: 30,
    spellings_max: 1_000_000,
};

struct Fixture {
    table: Table,
    registry: Arc<Registry>,
    telemetry: Arc<Telemetry>,
    windows: Windows,
}

fn mapping(yaml: &str) -> Mapping {
    Mapping::parse(&[("mapping.yml".into(), yaml.into())]).unwrap_or_else(|error| panic!("{error}"))
}

impl Fixture {
    fn new(yaml: &str) -> Self {
        Fixture::limited(yaml, 1000)
    }

    fn limited(yaml: &str, series_max: usize) -> Self {
        let registry = Arc::new(Registry::new(Arc::new(Catalogue::new(series_max))));
        let telemetry = Arc::new(Telemetry::default());
        let table = Table::new(TABLE, registry.clone(), telemetry.clone(), Transport::Udp);
        let mut table = table.with_tag_styles(TagStyles::ALL);
        table.set_mapper(Some(mapping(yaml).mapper));
        let windows = Windows::new(OPTIONS, telemetry.clone(), vec![], 0);
        Fixture { table, registry, telemetry, windows }
    }

    fn send(&mut self, packet: &str) {
        self.table.packet(0, packet.as_bytes(), Dialect::Statsd, |_, _| {});
    }

    fn flush(&mut self, end_ms: i64) {
        let partial = self.table.take();
        self.windows.flush(end_ms, self.registry.take_new(), vec![partial]);
        assert_eq!(self.telemetry.lines_unaccounted(), 0, "the ledger balances");
    }

    fn live(&self) -> Vec<(Labels, Live)> {
        let mut live = Vec::new();
        self.registry.each_named(self.windows.live(), |key, value| live.push((key.labels, value)));
        live.sort_by(|a, b| a.0.cmp(&b.0));
        live
    }

    /// What a mapping says of the first series alive.
    fn treated(&self) -> Treated {
        self.windows.treated().get(self.live()[0].1.id).unwrap().clone()
    }

    fn told(&self) -> Vec<String> {
        let value = |live: &Live| match live.value {
            LiveValue::Counter(value) | LiveValue::Gauge(value) | LiveValue::Set(value) => value.to_string(),
            LiveValue::Distribution { count, sum } => format!("n={count} sum={sum}"),
        };
        self.live().iter().map(|(labels, live)| format!("{labels} {}", value(live))).collect()
    }
}

fn check(yaml: &str, packet: &str, expected: &[&str]) {
    let mut f = Fixture::new(yaml);
    f.send(packet);
    f.flush(10_000);
    assert_eq!(f.told(), expected, "{yaml}\n{packet}");
}

#[test]
fn globs_give_names_and_labels() {
    let yaml = r#"
mappings:
- match: "test.dispatcher.*.*.*"
  name: "dispatcher_events_total"
  labels:
    processor: "$1"
    action: "$2"
    outcome: "$3"
    job: "test_dispatcher"
- match: "*.signup.*.*"
  name: "signup_events_total"
  labels:
    provider: "$2"
    outcome: "$3"
    job: "${1}_server"
- match: "api.*.*.counter"
  name: "${2}_total"
  labels: {provider: "$1", code: 200}
"#;
    check(
        yaml,
        "test.dispatcher.FooProcessor.send.success:3|c\ntest.dispatcher.FooProcessor.send.success:2|c",
        &[
            r#"dispatcher_events_total{action="send", job="test_dispatcher", outcome="success", processor="FooProcessor"} 5"#,
        ],
    );
    check(
        yaml,
        "foo_product.signup.facebook.failure:1|c|#zone:eu",
        &[
            r#"signup_events_total{job="foo_product_server", outcome="failure", provider="facebook", zone="eu"} 1"#,
        ],
    );
    check(yaml, "api.x.logins.counter:1|c", &[r#"logins_total{code="200", provider="x"} 1"#]);
    // Names that nothing matches stay as they were sent.
    check(yaml, "test.web-server.foo.bar:1|c", &[r#"{"test.web-server.foo.bar"} 1"#]);
}

#[test]
fn several_names_may_meet_in_one_series() {
    let yaml = "mappings:\n- match: \"user.*.login\"\n  name: logins\n";
    check(yaml, "user.ann.login:1|c\nuser.joe.login:2|c\nlogins:4|c", &["logins 7"]);
}

#[test]
fn regexes_come_after_globs_and_take_parts() {
    let yaml = r#"
mappings:
- match: '(.*)\.(.*)--(.*)\.status\.(\d+)\.count'
  match_type: regex
  name: "request_total"
  labels:
    hostname: "$1"
    exec: "$2"
    protocol: "$3"
    code: "$4"
- match: '.+'
  match_type: regex
  name: "$0"
  labels:
    statsd_metric_name: "$0"
- match: host.*
  name: host
"#;
    check(
        yaml,
        "web1.app--http.status.200.count:1|c",
        &[r#"request_total{code="200", exec="app", hostname="web1", protocol="http"} 1"#],
    );
    check(yaml, "my.statsd-counter:1|c", &[r#"my_statsd_counter{statsd_metric_name="my.statsd-counter"} 1"#]);
    check(yaml, "host.a:1|g", &["host 1"]);
}

#[test]
fn defaults_hold_for_mappings_that_say_nothing() {
    let yaml = r#"
defaults:
  match_type: regex
  glob_disable_ordering: true
mappings:
- match: "^a\\.(.*)$"
  name: "by_regex"
  labels: {rest: "$1"}
- match: "b.*"
  match_type: glob
  name: "wide"
- match: "b.c"
  match_type: glob
  name: "narrow"
"#;
    check(yaml, "a.x:1|c\nb.c:1|c\nb.d:1|c", &[r#"by_regex{rest="x"} 1"#, "narrow 1", "wide 1"]);
}

/// A mapping that honours labels or does not.
fn honouring(honor: bool) -> String {
    format!(
        "mappings:\n- match: a.*\n  name: x\n  honor_labels: {honor}\n  labels: {{env: mapped, part: $1}}\n"
    )
}

#[test]
fn labels_win_over_tags_unless_tags_are_honoured() {
    check(&honouring(false), "a.b:1|c|#env:sent", &[r#"x{env="mapped", part="b"} 1"#]);
    check(&honouring(true), "a.b:1|c|#env:sent", &[r#"x{env="sent", part="b"} 1"#]);
    check(&honouring(true), "a.b:1|c", &[r#"x{env="mapped", part="b"} 1"#]);
}

#[test]
fn tags_in_a_name_are_tags_to_a_mapping() {
    for name in ["a.b,env=sent,host=h", "a.b#env=sent,host=h", "a.b;env=sent;host=h", "a.[env=sent,host=h]b"]
    {
        let line = format!("{name}:1|c|#zone:eu");
        check(&honouring(false), &line, &[r#"x{env="mapped", host="h", part="b", zone="eu"} 1"#]);
        check(&honouring(true), &line, &[r#"x{env="sent", host="h", part="b", zone="eu"} 1"#]);
    }
    check(&honouring(true), "other,k=v:1|c", &[r#"other{k="v"} 1"#]);
    check("mappings:\n- {match: a.b, name: x, action: drop}\n", "a.b,k=v:1|c", &[]);
}

#[test]
fn service_checks_are_no_business_of_a_mapping() {
    let yaml = "mappings:\n- {match: ., match_type: regex, name: x, action: drop}\n";
    check(yaml, "_sc|db,x=y|2|#env:prod", &[r#"service_check{check="db,x=y", env="prod"} 2"#]);
    check(yaml, "service_check:2|g|#check:db", &[]);
}

#[test]
fn values_are_scaled() {
    let yaml = r#"
mappings:
- match: foo.latency_ms
  name: foo_latency_seconds
  scale: 0.001
- match: bar.processed_kb
  name: bar_processed_bytes
  scale: 1024
- match: baz.*
  name: baz
  scale: 1e-6
"#;
    check(yaml, "foo.latency_ms:250|g\nfoo.latency_ms:+50|g", &["foo_latency_seconds 0.3"]);
    check(yaml, "bar.processed_kb:2|c\nbar.processed_kb:1|c|@0.5", &["bar_processed_bytes 4096"]);
    check(yaml, "baz.x:2000000|h", &["baz n=1 sum=2"]);
    // A timer is in seconds before it is scaled.
    check(yaml, "foo.latency_ms:2000|ms", &["foo_latency_seconds n=1 sum=0.002"]);
}

#[test]
fn a_type_may_have_mappings_of_its_own() {
    let yaml = r#"
mappings:
- match: "test.*"
  name: "counted"
  match_metric_type: counter
- match: "test.*"
  name: "observed"
  match_metric_type: observer
- match: "test.*"
  name: "rest"
"#;
    let packet = "test.a:1|c\ntest.b:1|ms\ntest.c:1|h\ntest.d:1|d\ntest.e:1|g\n";
    let expected = [
        "counted 1",
        "observed n=1 sum=0.001",
        r#"observed{statsdeck_type="histogram"} n=2 sum=2"#,
        "rest 1",
    ];
    check(yaml, packet, &expected);
    check(yaml, "test.f:joe|s", &["rest 1"]);
}

#[test]
fn what_is_dropped_is_counted_line_by_line() {
    let yaml = r#"
mappings:
- match: web.*
  name: web
  labels: {site: $1}
- match: .
  match_type: regex
  action: drop
  name: dropped
"#;
    let mut f = Fixture::new(yaml);
    f.send("web.localhost:1|c\ntest.a:1|c\ntest.a:1|c\nabc:1:2:3|ms");
    f.flush(10_000);
    assert_eq!(f.told(), [r#"web{site="localhost"} 1"#]);
    assert_eq!(f.telemetry.lines_limited[Limited::MappingDrop as usize].value(), 3);
    assert_eq!(f.registry.catalogue().len(), 1, "a dropped name is no series");
    f.send("test.a:1|c");
    f.flush(20_000);
    assert_eq!(f.telemetry.lines_limited[Limited::MappingDrop as usize].value(), 4);
}

#[test]
fn a_line_of_several_types_loses_only_what_is_dropped() {
    let yaml = "mappings:\n- {match: a.b, match_metric_type: observer, action: drop, name: x}\n";
    let mut f = Fixture::new(yaml);
    f.send("a.b:1|c:20|ms");
    f.flush(10_000);
    assert_eq!(f.told(), [r#"{"a.b"} 1"#]);
    assert_eq!(f.telemetry.lines_accepted.value(), 1);
}

#[test]
fn a_series_ends_by_its_ttl() {
    let yaml = r#"
defaults: {ttl: 1m}
mappings:
- {match: "short.*", name: short, ttl: 20s}
- {match: "plain.*", name: plain}
"#;
    let mut f = Fixture::new(yaml);
    f.send("short.a:1|c\nplain.a:1|g\nother.a:1|c");
    let mut ends = Vec::new();
    for end_ms in (1..=10).map(|window| window * 10_000) {
        f.flush(end_ms);
        ends.push((end_ms / 1000, f.told().len()));
    }
    let first = |series| ends.iter().find(|(_, alive)| *alive == series).unwrap().0;
    assert_eq!((first(3), first(2), first(0)), (10, 40, 80), "{ends:?}");
    // 0 is never.
    let mut f = Fixture::new("mappings:\n- {match: a.b, name: ab, ttl: 0s}\n");
    f.send("a.b:1|c\nc.d:1|c");
    f.flush(10_000);
    f.flush(10_000_000);
    assert_eq!(f.told(), ["ab 1"]);
}

#[test]
fn buckets_count_exactly() {
    let yaml = r#"
mappings:
- match: t.*
  name: took_seconds
  observer_type: histogram
  histogram_options: {buckets: [0.1, 0.25, 1]}
"#;
    let mut f = Fixture::new(yaml);
    // On the bound is within; a plain model counts beside it.
    let values = [5, 99, 100, 101, 250, 251, 1000, 1001, 99_999];
    for ms in values {
        f.send(&format!("t.a:{ms}|ms\nt.b:{ms}|ms|@0.5"));
    }
    f.flush(10_000);
    let Buckets { counts, sum } = *f.treated().buckets.unwrap();
    let model =
        |low: i32, high: i32| 3.0 * values.iter().filter(|ms| low < **ms && **ms <= high).count() as f64;
    assert_eq!(counts.counts, [model(0, 100), model(100, 250), model(250, 1000), model(1000, i32::MAX)]);
    assert!((sum - 3.0 * f64::from(values.iter().sum::<i32>()) / 1000.0).abs() < 1e-9);
    f.send("t.a:100|ms");
    f.flush(20_000);
    let again = f.treated().buckets.unwrap().counts;
    assert_eq!(again.counts[0], counts.counts[0] + 1.0);
}

#[test]
fn a_scale_holds_for_values_beyond_the_limit_of_series_too() {
    let yaml = "mappings:\n- {match: s.*, name: sum, scale: 10, labels: {of: $1}}\n\
                - {match: r.*, name: sum, scale: -1, labels: {of: $1}}\n\
                - {match: t.*, name: took, scale: 2, observer_type: histogram}\n";
    let mut f = Fixture::limited(yaml, 1);
    for end_ms in [10_000, 20_000] {
        f.send("s.a:1|c\ns.b:2|c\ns.c:3|c\nr.b:5|c\nt.a:1|h:4|h\nplain:7|c");
        f.flush(end_ms);
    }
    assert_eq!(
        f.told(),
        [
            r#"statsdeck_overflow_counter{statsdeck_overflow="true"} 14"#,
            r#"statsdeck_overflow_histogram{statsdeck_overflow="true"} n=4 sum=20"#,
            r#"sum{of="a"} 20"#,
            r#"sum{statsdeck_overflow="true"} 90"#,
        ]
    );
}

#[test]
fn new_mappings_hold_from_the_next_window_on() {
    let mut f =
        Fixture::new("mappings:\n- {match: a.*, name: before}\n- {match: d.*, name: x, action: drop}\n");
    f.send("a.b:1|c\nd.e:1|c\nt.u:1|ms");
    f.flush(10_000);
    assert_eq!(f.told(), ["before 1", r#"{"t.u"} n=1 sum=0.001"#]);
    f.send("a.b:1|c");
    let after = "defaults: {ttl: 10s}\nmappings:\n- {match: a.*, name: after, scale: 10}\n";
    f.table.set_mapper(Some(mapping(after).mapper));
    f.send("a.b:1|c");
    f.flush(20_000);
    assert_eq!(f.told(), ["before 3", r#"{"t.u"} n=1 sum=0.001"#]);
    f.send("a.b:1|c\nd.e:1|c\nt.u:1|ms");
    f.flush(30_000);
    assert_eq!(f.told(), ["after 10", "before 3", r#"{"d.e"} 1"#, r#"{"t.u"} n=2 sum=0.002"#]);
    // What is said of a series that goes on is taken over as well.
    f.flush(50_000);
    assert_eq!(f.told(), ["before 3"]);
    f.table.set_mapper(None);
    f.flush(60_000);
    f.send("a.b:1|c");
    f.flush(70_000);
    assert_eq!(f.told(), [r#"{"a.b"} 1"#, "before 3"]);
}

#[test]
fn mappings_may_come_and_go_without_end() {
    let mut f = Fixture::new("mappings: []\n");
    let mut end_ms = 0;
    for scale in 1..=300 {
        let yaml = format!("mappings:\n- {{match: a.*, name: sum, scale: {scale}}}\n");
        f.table.set_mapper(Some(mapping(&yaml).mapper));
        f.send("a.b:1|c");
        // Long enough that nothing is known any more.
        for _ in 0..32 {
            end_ms += 10_000;
            f.flush(end_ms);
        }
        assert!(f.table.is_empty());
    }
    f.send("a.b:0|c");
    f.flush(end_ms + 10_000);
    assert_eq!(f.told(), [format!("sum {}", (1..=300).sum::<i32>())]);
}

#[test]
fn as_many_scales_as_are_taken_are_applied() {
    let yaml = |scales| {
        let rules = (2..2 + scales).map(|at| format!("- {{match: a{at}.*, name: sum{at}, scale: {at}}}\n"));
        format!("mappings:\n{}- {{match: b.*, name: bb}}\n", rules.collect::<String>())
    };
    let mut f = Fixture::new(&yaml(EFFECTS_MAX));
    for at in 2..2 + EFFECTS_MAX {
        f.send(&format!("a{at}.x:1|c"));
    }
    f.flush(10_000);
    assert_eq!(f.told().len(), EFFECTS_MAX);
    let error = Mapping::parse(&[("mapping.yml".into(), yaml(EFFECTS_MAX + 1))]).unwrap_err();
    assert!(error.to_string().contains("more than 254 different pairs"), "{error}");
}

#[test]
fn lines_in_endless_spellings_take_bounded_memory() {
    let mut f = Fixture::new("defaults: {ttl: 10s}\nmappings: []\n");
    let options = table::Options { spellings_max: 1, ..TABLE };
    f.table = Table::new(options, f.registry.clone(), f.telemetry.clone(), Transport::Udp);
    f.table.set_mapper(Some(mapping("defaults: {ttl: 10s}\nmappings: []\n").mapper));
    for at in 0..100_000 {
        // Another spelling of the same tag each time.
        f.send(&format!("a:1|c|#{}x:1", " ,".repeat(at % 400) + &"  ,".repeat(at / 400)));
    }
    let partial = f.table.take();
    assert_eq!(f.telemetry.lines_accepted.value(), 100_000);
    assert_eq!(partial.counters.iter().map(|(_, sum)| sum).sum::<f64>(), 100_000.0);
    assert!(partial.treatments.len() <= 2, "{}", partial.treatments.len());
}

#[test]
fn a_mapping_cannot_break_the_rules_of_series() {
    // Our own name space, an empty name, too many labels.
    let many: String = (0..9).map(|at| format!("label{at}: x, ")).collect();
    let yaml = format!(
        "mappings:\n- {{match: own.*, name: statsdeck_x}}\n- {{match: 'e(x?)\\.', match_type: regex, name: $1}}\n\
         - {{match: many.*, name: many, labels: {{{many}}}}}\n"
    );
    let mut f = Fixture::new(&yaml);
    f.send("own.a:1|c\ne.a:1|c\nex.a:1|c\nmany.a:1|c");
    f.flush(10_000);
    assert_eq!(f.told(), ["exported_statsdeck_x 1", "x 1"]);
    let rejected: u64 = f.telemetry.lines_rejected.iter().map(|counter| counter.value()).sum();
    assert_eq!(rejected, 2);
}

#[test]
fn dropped_spellings_are_bounded() {
    let mut f = Fixture::new("mappings:\n- {match: ., match_type: regex, action: drop, name: x}\n");
    let lines = 120_000;
    for at in 0..lines {
        f.send(&format!("name.{at}:1|c"));
    }
    assert!(f.table.len() <= 100_000);
    f.flush(10_000);
    assert_eq!(f.telemetry.lines_limited[Limited::MappingDrop as usize].value(), lines);
    assert!(f.live().iter().all(|(labels, _)| *labels == Labels::default()));
}
