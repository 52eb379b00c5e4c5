//! For looking only.
use axum::Router;
use statsdeck::clock::{Clock, SystemClock};
use statsdeck::dashboard::alerts::{AlertRow, AlertState};
use statsdeck::dashboard::calendar::Calendar;
use statsdeck::dashboard::number::Unit;
use statsdeck::dashboard::range::Range;
use statsdeck::dashboard::view::*;
use statsdeck::http::page::*;
use statsdeck::model::*;
use statsdeck::query::{Engine, MemorySource, Options};
use std::sync::Arc;

struct Rng(u64);
impl Rng {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[tokio::main]
async fn main() {
    let empty = std::env::args().nth(1).as_deref() == Some("empty");
    let port = if empty { 8128 } else { 8127 };
    let now = SystemClock.now_ms() / 10_000 * 10_000;
    let source = Arc::new(MemorySource::new());
    if !empty {
        fill(&source, now);
    }
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    let calendar = Calendar::new(zone);
    let (sender, flushed) = tokio::sync::watch::channel(now);
    let src = source.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(std::time::Duration::from_secs(10));
        tick.tick().await;
        let mut total = 5e6;
        let mut rng = Rng(777);
        loop {
            tick.tick().await;
            let at = SystemClock.now_ms() / 10_000 * 10_000;
            if !empty {
                total += 1800.0 * rng.next();
                src.push(&Labels::of_name("live.count"), Some(MetricType::Counter), at, total);
                let h = Histogram::from_values((0..40).map(|_| (0.1 + 0.2 * rng.next(), 1.0)));
                src.push_histogram(&Labels::of_name("import.duration"), Some(MetricType::Timer), at, h);
            }
            sender.send(at).ok();
        }
    });
    let parts = PageParts {
        engine: Engine::new(source, Options::default()),
        clock: Arc::new(SystemClock),
        calendar: calendar.clone(),
        window_ms: 10_000,
        alerts: Arc::new(move || {
            if empty {
                vec![]
            } else {
                vec![
                    AlertRow {
                        rule: "EtlErrors".into(),
                        state: AlertState::Firing,
                        since_ms: now - 754_000,
                        value: Some(3.0),
                        summary: "3 ETL errors in the last hour".into(),
                        labels: vec![("job".into(), "import".into())],
                    },
                    AlertRow {
                        rule: "ImportSlow".into(),
                        state: AlertState::Pending,
                        since_ms: now - 64_000,
                        value: Some(0.812),
                        summary: "p95 of the import is above 800 ms".into(),
                        labels: vec![],
                    },
                    AlertRow {
                        rule: "QueueDepth".into(),
                        state: AlertState::Resolved,
                        since_ms: now - 5_400_000,
                        value: None,
                        summary: "".into(),
                        labels: vec![("host".into(), "worker-3".into())],
                    },
                    AlertRow {
                        rule: "NoHeartbeat".into(),
                        state: AlertState::NoData,
                        since_ms: now - 86_400_000 * 2,
                        value: None,
                        summary: "the rule selects nothing".into(),
                        labels: vec![],
                    },
                ]
            }
        }),
        intake: Arc::new(move || {
            let n = (SystemClock.now_ms() / 4000 % 4) as u64;
            Intake {
                received: n,
                rejected: if n > 1 { vec![("bad type".into(), 1)] } else { vec![] },
                udp: vec!["127.0.0.1:8125".into()],
            }
        }),
        flushed,
    };
    let sel = Selection::of_metric;
    let view = View {
        id: "team".into(),
        title: "Team pipeline".into(),
        range: Range::last(86_400_000),
        calendar,
        kpis: vec![
            Kpi {
                id: "throughput".into(),
                title: "Throughput".into(),
                unit: Unit::PerSecond,
                source: KpiSource::Metric { selection: sel("records.processed"), show: Show::Rate },
                target: None,
                empty: "".into(),
                better: Better::Higher,
            },
            Kpi {
                id: "satisfaction".into(),
                title: "Satisfaction".into(),
                unit: Unit::Other("/ 5".into()),
                source: KpiSource::Metric { selection: sel("csat"), show: Show::Last },
                target: None,
                empty: "".into(),
                better: Better::Higher,
            },
            Kpi {
                id: "conflicts".into(),
                title: "Conflicts resolved".into(),
                unit: Unit::Ratio,
                source: KpiSource::Ratio { ok: sel("merge.ok"), failed: sel("merge.failed") },
                target: Some(0.9),
                empty: "no merges yet".into(),
                better: Better::Higher,
            },
            Kpi {
                id: "nothing".into(),
                title: "Deploys that held".into(),
                unit: Unit::Ratio,
                source: KpiSource::Ratio { ok: sel("d.ok"), failed: sel("d.failed") },
                target: Some(0.9),
                empty: "no deploys yet".into(),
                better: Better::Higher,
            },
            Kpi {
                id: "p95".into(),
                title: "Import, p95".into(),
                unit: Unit::Seconds,
                source: KpiSource::Metric { selection: sel("import.duration"), show: Show::Quantile(0.95) },
                target: Some(0.5),
                empty: "".into(),
                better: Better::Lower,
            },
        ],
        panels: vec![
            Panel {
                title: "Import duration".into(),
                unit: None,
                kind: PanelKind::Line { selection: sel("import.duration"), show: vec![] },
            },
            Panel {
                title: "Records per day".into(),
                unit: None,
                kind: PanelKind::BarsPerDay { selection: sel("records.processed"), days: 30 },
            },
            Panel { title: "Alerts".into(), unit: None, kind: PanelKind::Alerts { rules: vec![] } },
            Panel {
                title: "Records a second, by query".into(),
                unit: Some(Unit::PerSecond),
                kind: PanelKind::Query { expr: "sum(rate(records_processed[10m]))".into() },
            },
            Panel {
                title: "Broken".into(),
                unit: None,
                kind: PanelKind::Query { expr: "sum(rate(records_processed))".into() },
            },
        ],
    };
    let state = Arc::new(PageState::new(parts, if empty { vec![] } else { vec![view] }));
    let app: Router = router().with_state(state);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    axum::serve(listener, app).await.unwrap();
}

fn fill(source: &MemorySource, now: i64) {
    let mut rng = Rng(42);
    let day = 86_400_000i64;
    let wave = |at: i64| 1.0 + 0.6 * ((at % day) as f64 / day as f64 * std::f64::consts::TAU - 2.0).sin();
    let weekend = |at: i64| if (at / day + 4) % 7 >= 5 { 0.35 } else { 1.0 };
    // Coarser in the past to stay small in memory.
    let mut times: Vec<i64> = (1..=27 * 24 * 6)
        .rev()
        .map(|i| (now - i * 600_000) / 600_000 * 600_000)
        .filter(|t| *t < now - day)
        .collect();
    times.extend((0..8640).rev().map(|i| now - i * 10_000));
    let (mut records, mut errors, mut ok, mut bad, mut neg) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let c = Some(MetricType::Counter);
    let mut last = times[0] - 600_000;
    let mut heap = 4e8;
    for &at in &times {
        let dt = (at - last) as f64 / 1000.0;
        last = at;
        records += (1.9 * dt * wave(at) * weekend(at) * (0.8 + 0.4 * rng.next())).floor();
        source.push(&Labels::of_name("records.processed"), c, at, records);
        if rng.next() < 0.0005 * dt / 10.0 {
            errors += 1.0
        }
        for (job, share) in [("import", 1.0), ("export", 0.0)] {
            source.push(
                &Labels::from_pairs([("__name__", "etl.errors"), ("job", job)]),
                c,
                at,
                errors * share,
            );
        }
        if at > now - 3 * 3_600_000 {
            if rng.next() < 0.034 {
                ok += 1.0
            }
            if rng.next() < 0.003 {
                bad += 1.0
            }
        }
        source.push(&Labels::of_name("merge.ok"), c, at, ok);
        source.push(&Labels::of_name("merge.failed"), c, at, bad);
        if at > now - day {
            neg += rng.next() - 0.5;
            source.push(
                &Labels::of_name("temperature.outside"),
                Some(MetricType::Gauge),
                at,
                -2.0 + neg * 0.05,
            );
            source.push(
                &Labels::of_name("csat"),
                Some(MetricType::Gauge),
                at,
                4.6 + 0.1 * (at as f64 / 1e7).sin(),
            );
            heap = (heap + (rng.next() - 0.47) * 4e6).min(9e8);
            if rng.next() < 0.001 {
                heap = 4e8
            }
            for host in ["web-1", "web-2", "web-3"] {
                let f = 1.0 + (host.as_bytes()[4] - b'0') as f64 * 0.12;
                source.push(
                    &Labels::from_pairs([("__name__", "jvm.heap_bytes"), ("host", host)]),
                    Some(MetricType::Gauge),
                    at,
                    heap * f + rng.next() * 1e7,
                );
            }
            for i in 0..9 {
                if at % 60_000 == 0 {
                    source.push(
                        &Labels::from_pairs([
                            ("__name__".to_string(), "queue.depth".to_string()),
                            ("queue".to_string(), format!("q{i}")),
                        ]),
                        Some(MetricType::Gauge),
                        at,
                        (i as f64 * 5.0 + 20.0 * rng.next()).floor(),
                    );
                }
            }
            let night = (at % day) > 2 * 3_600_000 && (at % day) < 3_700_000 * 2;
            if !night && rng.next() < 0.5 {
                let spike = if rng.next() < 0.01 { 6.0 } else { 1.0 };
                let h =
                    Histogram::from_values((0..12).map(|_| {
                        (0.08 * wave(at) + 0.05 * rng.next() + 0.1 * spike * rng.next().powi(6), 1.0)
                    }));
                source.push_histogram(
                    &Labels::of_name("import.duration"),
                    Some(MetricType::Timer),
                    at,
                    h.clone(),
                );
                for v in ["GET", "POST"] {
                    let h = Histogram::from_values((0..12).map(|_| (0.01 + 0.05 * rng.next().powi(4), 1.0)));
                    source.push_histogram(
                        &Labels::from_pairs([("__name__", "http.request"), ("method", v)]),
                        Some(MetricType::Timer),
                        at,
                        h,
                    );
                }
                let h = Histogram::from_values((0..5).map(|_| ((rng.next() * 14.0).exp().floor(), 1.0)));
                source.push_histogram(
                    &Labels::of_name("response.size_bytes"),
                    Some(MetricType::Histogram),
                    at,
                    h,
                );
            }
            let mut s = Sketch::default();
            for _ in 0..(20.0 * wave(at)) as usize {
                s.insert(&((rng.next() * 900.0) as u64).to_le_bytes())
            }
            source.push_sketch(&Labels::of_name("users.active"), at, s);
        }
    }
    source.push(&Labels::of_name("evil<script>alert(1)</script>\"'&"), Some(MetricType::Gauge), now, 1.0);
    source.push(&Labels::of_name("just.begun"), c, now - 10_000, 0.0);
    source.push(&Labels::of_name("just.begun"), c, now, 3.0);
    source.push(&Labels::of_name(&"very.long.name.".repeat(20)), Some(MetricType::Gauge), now, 1.0);
}
