//! The dashboard as a browser sees it: requests in, pages and files out.

mod dashboard_fixture;

use dashboard_fixture::{Fixture, NOW_MS, Page, berlin, gunzipped_len, hostile_names, selection};
use statsdeck::dashboard::alerts::{AlertRow, AlertState};
use statsdeck::dashboard::number::Unit;
use statsdeck::dashboard::range::Range;
use statsdeck::dashboard::view::{Better, Kpi, KpiSource, Panel, PanelKind, Selection, Show, View};
use statsdeck::model::label::NAME;
use statsdeck::model::{Histogram, Labels, Marker, MarkerKind, Matcher, MetricType};

const HOUR_MS: i64 = 3_600_000;

fn ratio_kpi(id: &str, ok: &str, failed: &str) -> Kpi {
    Kpi {
        id: id.into(),
        title: format!("Share of {ok}"),
        unit: Unit::Ratio,
        source: KpiSource::Ratio { ok: selection(ok), failed: selection(failed) },
        target: Some(0.9),
        empty: "no merges yet".into(),
        better: Better::Higher,
    }
}

fn team_view() -> View {
    let metric = |id: &str, name: &str, show| Kpi {
        id: id.into(),
        title: format!("{name} {}", Show::label(show)),
        unit: Unit::Plain,
        source: KpiSource::Metric { selection: selection(name), show },
        target: None,
        empty: String::new(),
        better: Better::Lower,
    };
    let panel = |title: &str, kind| Panel { title: title.into(), unit: None, kind };
    View {
        id: "team".into(),
        title: "Team pipeline".into(),
        range: Range::last(HOUR_MS),
        calendar: berlin(),
        kpis: vec![
            ratio_kpi("merges", "merge.ok", "merge.failed"),
            ratio_kpi("deploys", "deploy.ok", "deploy.failed"),
            metric("rows", "etl.rows", Show::Total),
            metric("slow", "import.duration", Show::Quantile(0.95)),
        ],
        panels: vec![
            panel(
                "Import duration",
                PanelKind::Line { selection: selection("import.duration"), show: vec![] },
            ),
            panel("Rows per day", PanelKind::BarsPerDay { selection: selection("etl.rows"), days: 7 }),
            panel("Broken", PanelKind::Query { expr: "rate(etl_rows)".into() }),
            panel("Alerts", PanelKind::Alerts { rules: vec![] }),
        ],
    }
}

fn firing() -> AlertRow {
    AlertRow {
        rule: "EtlErrors".into(),
        state: AlertState::Firing,
        since_ms: NOW_MS - 720_000,
        value: Some(3.0),
        summary: "3 errors in the last hour".into(),
        labels: vec![("job".into(), "import".into())],
    }
}

/// Counters, a timer with a gap, gauges and a set over the last hour.
fn filled() -> Fixture {
    let fixture = Fixture::new(vec![team_view()]);
    fixture.counter("etl.rows", &[("job", "a")], |window| (window % 7) as f64);
    fixture.counter("etl.rows", &[("job", "b")], |window| (window % 2) as f64);
    fixture.counter("merge.ok", &[], |window| if window % 10 == 0 { 1.0 } else { 0.0 });
    fixture.counter("merge.failed", &[], |window| if window % 120 == 60 { 1.0 } else { 0.0 });
    for window in (0..360).filter(|window| !(100..130).contains(window)) {
        let values = (0..5).map(|i| (0.05 + f64::from((window * 37 + i * 11) % 90) / 1000.0, 1.0));
        fixture.timer("import.duration", window, Histogram::from_values(values));
    }
    for host in ["web-1", "web-2"] {
        let offset = if host == "web-1" { 1e8 } else { 2e8 };
        fixture.gauge("heap_bytes", &[("host", host)], |window| offset + 1e5 * window as f64);
    }
    fixture.set("visitors", |window| 3 + window as u64 % 5);
    fixture
}

#[tokio::test]
async fn a_view_page_reads_as_before() {
    let fixture = filled();
    fixture.alert(firing());
    let page = fixture.get("/dashboard?range=1h").await;
    assert_eq!(page.status, 200);
    page.assert_sound();
    golden("view", &page.for_golden());
}

#[tokio::test]
async fn each_metric_found_gets_the_chart_of_its_type() {
    let fixture = filled();
    let page = fixture.get("/dashboard/metrics?range=1h").await;
    page.assert_sound();
    for title in ["etl.rows", "heap_bytes", "import.duration", "merge.ok", "visitors"] {
        assert!(page.body.contains(&format!(">{title}</a></h2>")), "{title}");
    }
    assert_eq!(page.body.matches("<article").count(), 6);
    // A bar a day for each of the three counters.
    assert_eq!(page.body.matches("chart bars").count(), 3);
    assert!(page.body.contains("by host") && page.body.contains("web-2"));
    golden("metrics", &page.for_golden());
}

#[tokio::test]
async fn a_ratio_tile_counts_exactly_and_never_divides_by_nothing() {
    let page = filled().get("/dashboard").await;
    // 36 windows of the last hour merged, 3 failed.
    assert!(page.text().contains("92.3 % 36 of 39"), "{}", page.text());
    assert!(page.text().contains("no merges yet"));
    assert!(!page.body.contains("NaN"));
}

#[tokio::test]
async fn tiles_are_chosen_and_ordered_by_the_url() {
    let fixture = filled();
    let tiles = |page: &Page| {
        let ids = page.body.split("data-panel=\"k-").skip(1);
        ids.map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let cases: [(&str, &[&str]); 5] = [
        ("", &["merges", "deploys", "rows", "slow"]),
        ("?kpis=slow,merges", &["slow", "merges"]),
        ("?kpis=&kpis=rows&kpis=nonsense", &["rows"]),
        ("?kpis=", &[]),
        ("?kpis=rows,rows&kpis=rows", &["rows"]),
    ];
    for (query, expected) in cases {
        assert_eq!(tiles(&fixture.get(&format!("/dashboard{query}")).await), expected, "{query}");
    }
}

#[tokio::test]
async fn a_failing_panel_keeps_to_its_box() {
    let page = filled().get("/dashboard").await;
    assert_eq!(page.body.matches("This panel could not be read").count(), 1);
    assert_eq!(page.body.matches("svg class=\"chart").count(), 2);
}

#[tokio::test]
async fn a_slow_store_does_not_hold_the_page() {
    let fixture = filled();
    let held = fixture.hold_reads_of("import.duration");
    let page = fixture.get("/dashboard").await;
    drop(held);
    assert_eq!(page.status, 200);
    assert!(page.body.contains("The reading took too long"), "{}", page.text());
    assert!(page.text().contains("36 of 39"));
}

#[tokio::test]
async fn nothing_that_was_sent_gets_out_raw() {
    for name in hostile_names() {
        let mut view = team_view();
        view.title = name.clone();
        view.kpis[0].title = name.clone();
        view.kpis[1].empty = name.clone();
        view.panels[0].title = name.clone();
        let fixture = Fixture::new(vec![view]);
        fixture.counter(&name, &[("label", &name)], |window| window as f64);
        fixture.gauge(&name, &[("label", &name), ("job", "a")], |window| window as f64);
        fixture.gauge(&name, &[("label", "b"), (&name, "a")], |window| window as f64);
        fixture.alert(AlertRow {
            rule: name.clone(),
            summary: name.clone(),
            labels: vec![(name.clone(), name.clone())],
            ..firing()
        });
        fixture.markers.lock().unwrap().push(Marker {
            at_ms: NOW_MS - 60_000,
            title: name.clone(),
            text: name.clone(),
            host: name.clone(),
            source: name.clone(),
            tags: vec![(name.clone(), name.clone())],
            ..Marker::default()
        });
        let encoded = statsdeck::dashboard::address::encoded(&name);
        for url in [
            "/dashboard".to_owned(),
            "/dashboard/metrics".to_owned(),
            format!("/dashboard/metrics?name={encoded}&theme={encoded}"),
            format!("/dashboard/metrics?q={encoded}&from={encoded}&kpis={encoded}"),
            format!("/dashboard?view={encoded}"),
        ] {
            // Longer ones do not reach a server.
            if url.len() > 65_000 {
                continue;
            }
            let page = fixture.get_with_host(&url, "evil\"><script>:80").await;
            page.assert_sound();
        }
    }
}

#[tokio::test]
async fn pages_of_a_full_house_stay_light() {
    let fixture = filled();
    for n in 0..30 {
        let mut state = 88_172_645_463_325_252u64 + n;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        fixture.gauge(&format!("walk.{n}"), &[], |_| random() * 1000.0);
        let name = format!("timer.{n}");
        for window in 0..360 {
            let values = [(random(), 1.0), (random(), 1.0), (random() * 3.0, 1.0)];
            fixture.timer(&name, window, Histogram::from_values(values));
        }
    }
    let page = fixture.get("/dashboard/metrics?range=1h").await;
    assert_eq!(page.body.matches("<article").count(), 24, "capped");
    assert!(page.body.contains("page=2"));
    assert!(page.sent_bytes <= 100_000, "{} bytes", page.sent_bytes);
    assert_eq!(gunzipped_len(&page), page.body.len());
    let second = fixture.get("/dashboard/metrics?range=1h&page=3").await;
    assert!(second.body.contains("3 of 3"));
    let found = fixture.get("/dashboard/metrics?q=WALK+2&range=1h").await;
    assert!(found.text().contains("12 found for “WALK 2”"), "{}", found.text());
}

#[tokio::test]
async fn bars_are_the_sums_of_local_days_also_when_clocks_change() {
    // Two days around the night in which Berlin's clocks go back.
    let end_ms = "2026-10-26T12:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let fixture = Fixture::at(end_ms, vec![]);
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    let mut by_day = std::collections::BTreeMap::<String, f64>::new();
    let (labels, mut total) = (Labels::of_name("rows"), 0.0);
    let mut at_ms = end_ms - 60 * HOUR_MS;
    while at_ms < end_ms {
        at_ms += 60_000;
        let counted = ((at_ms / 60_000) % 11) as f64;
        total += counted;
        fixture.source.push(&labels, Some(MetricType::Counter), at_ms, total);
        // The window that ends at midnight belongs to the day before.
        let inside = jiff::Timestamp::from_millisecond(at_ms - 1).unwrap().to_zoned(zone.clone());
        *by_day.entry(inside.date().to_string()).or_default() += counted;
    }
    let csv = fixture.get("/dashboard/panel.csv?metric=rows&type=counter&chart=bars&range=1h").await.body;
    let rows: Vec<&str> = csv.lines().skip(1).filter(|line| !line.contains(",,")).collect();
    // The first sample is where the counting starts.
    let first = by_day.keys().next().cloned().unwrap();
    *by_day.get_mut(&first).unwrap() -= ((end_ms / 60_000 - 60 * 60 + 1) % 11) as f64;
    let expected: Vec<String> =
        by_day.iter().map(|(day, sum)| format!("{day},{sum},{}", day == "2026-10-26")).collect();
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn percentiles_are_those_of_the_values_themselves() {
    let fixture = Fixture::new(vec![]);
    let mut values = Vec::new();
    for window in 0..360 {
        let here: Vec<f64> = (0..20).map(|i| f64::from((window * 7919 + i * 104_729) % 1000 + 1)).collect();
        fixture.timer("t", window, Histogram::from_values(here.iter().map(|v| (*v, 1.0))));
        values.extend(here);
    }
    values.sort_by(f64::total_cmp);
    let page = fixture.get("/dashboard/metrics?name=t&range=1h").await;
    let text = page.text();
    let shown = |label: &str| -> f64 {
        let rest = text.split(&format!(" {label} ")).nth(1).unwrap_or_else(|| panic!("{label} in {text}"));
        let (number, unit) =
            rest.split_once(' ').map(|(n, r)| (n, r.split(' ').next().unwrap_or(""))).unwrap();
        number.parse::<f64>().unwrap() * if unit == "min" { 60.0 } else { 1.0 }
    };
    for (label, q) in [("p50", 0.5), ("p95", 0.95), ("max", 1.0)] {
        let exact = values[((q * values.len() as f64).ceil() as usize).max(1) - 1];
        let error = (shown(label) - exact).abs() / exact;
        assert!(error < 0.013, "{label}: {} against {exact}", shown(label));
    }
}

#[tokio::test]
async fn a_sparse_timer_is_a_line_and_a_pause_a_gap() {
    let fixture = Fixture::new(vec![]);
    let mut sent = 0.0;
    for window in (0..360).filter(|window| window % 2 == 0 && !(120..240).contains(window)) {
        fixture.timer("sparse", window, Histogram::from_values([(1.0, 1.0)]));
        sent += 1.0;
    }
    let page = fixture.get("/dashboard/metrics?name=sparse&range=1h").await;
    assert!(page.text().contains(&format!("timer · {sent} values")), "{}", page.text());
    let line = page.body.split("<path class=\"line s1\" d=\"m").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(line.matches('m').count(), 1, "two stretches, one gap: {line}");
    assert!(!page.body.contains("line dots"));
}

#[tokio::test]
async fn a_fresh_start_shows_what_to_send_and_ticks_off_what_came() {
    let fixture = Fixture::new(vec![]);
    let page = fixture.get_with_host("/dashboard", "stats.example:8127").await;
    page.assert_sound();
    assert!(page.text().contains("nothing received yet"));
    assert!(page.body.contains("| nc -u -w1 stats.example 8125"), "0.0.0.0 is reached by the page's host");
    assert!(page.body.contains("http://stats.example:8127/metrics"));
    golden("first_run", &page.for_golden());
    fixture.intake(3, &[("bad type", 1)]);
    let page = fixture.get("/dashboard").await;
    assert!(page.text().contains("received 3 lines, 1 rejected: bad type"));
    // Our own series alone are no reason to show charts.
    fixture.counter("statsdeck_lines_received_total", &[], |window| window as f64);
    assert!(fixture.get("/dashboard").await.text().contains("Send a first metric"));
    fixture.counter("hello.visits", &[], |window| window as f64);
    let page = fixture.get("/dashboard").await;
    assert!(page.body.contains("hello.visits") && page.body.contains("data-kind=\"metrics\""));
}

#[tokio::test]
async fn what_is_wrong_is_said_on_every_page_and_the_page_of_the_makers_stands_without_any() {
    let fixture = Fixture::new(vec![team_view()]);
    fixture.notices.lock().unwrap().push("over a limit: <b>".into());
    for path in ["/dashboard", "/dashboard/metrics", "/dashboard/series"] {
        let page = fixture.get(path).await;
        page.assert_sound();
        assert!(page.body.contains("<p class=\"notice\">over a limit: &lt;b&gt;</p>"), "{path}");
    }
    assert!(fixture.get("/dashboard/series").await.text().contains("0 series"));
}

#[tokio::test]
async fn what_is_missing_is_said_and_never_zero() {
    let fixture = Fixture::new(vec![]);
    fixture.gauge("g", &[], |window| if window < 180 { 5.0 } else { f64::NAN });
    let csv = fixture.get("/dashboard/panel.csv?metric=g&type=gauge&range=1h&points=720").await.body;
    let values: Vec<&str> = csv.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    assert!(values.ends_with(&[""]), "{csv}");
    assert!(values.contains(&"5") && !values.contains(&"0"));
    let page = fixture.get("/dashboard/panel.txt?metric=g&type=gauge&range=1h").await.body;
    assert!(page.lines().last().unwrap().ends_with("\tno data"));
}

/// A view of one tile and one panel.
fn small_view(tile: Option<(&str, Show)>, panel: PanelKind) -> View {
    let mut view = team_view();
    view.kpis.retain(|kpi| kpi.id == "rows");
    match tile {
        Some((name, show)) => view.kpis[0].source = KpiSource::Metric { selection: selection(name), show },
        None => view.kpis.clear(),
    }
    view.panels = vec![Panel { title: "Panel".into(), unit: None, kind: panel }];
    view
}

/// The values of the first panel's lines, in order.
async fn values(fixture: &Fixture, parameters: &str) -> Vec<f64> {
    let csv = fixture.get(&format!("/dashboard/panel.csv?view=team&panel=0&{parameters}")).await.body;
    let rows = csv.lines().skip(1).filter_map(|line| line.split(',').nth(1)?.parse().ok());
    rows.collect()
}

#[tokio::test]
async fn a_set_is_counted_over_the_windows_of_its_range_alone() {
    let tile = Some(("visitors", Show::Last));
    let view = small_view(tile, PanelKind::Line { selection: selection("visitors"), show: vec![Show::Last] });
    let fixture = Fixture::new(vec![view]);
    // The window that ends where the range begins, and the one after its end.
    fixture.set("visitors", |window| if matches!(window, 179 | 270) { 1_000 } else { 3 });
    let from = NOW_MS / 1000 - 1_800;
    for points in [30, 700] {
        let shown = values(&fixture, &format!("from={from}&to={}&points={points}", from + 900)).await;
        assert!(shown.iter().all(|count| *count == 3.0), "{points}: {shown:?}");
    }
    let page = fixture.get(&format!("/dashboard?from={from}&to={}", from + 900)).await;
    assert!(page.text().contains("etl.rows total 3 "), "{}", page.text());
}

#[tokio::test]
async fn the_rate_of_a_timer_counts_the_time_that_went_by() {
    let lines = PanelKind::Line { selection: selection("took"), show: vec![Show::Rate] };
    // The last step of two minutes has only just begun, or is half over.
    for past_s in [10, 80] {
        let now_ms = NOW_MS + 120_000 + past_s * 1_000;
        let fixture = Fixture::at(now_ms, vec![small_view(None, lines.clone())]);
        for window in 0..360 {
            fixture.timer("took", window, Histogram::from_values([(1.0, 1.0), (2.0, 1.0)]));
        }
        let shown = values(&fixture, "range=1h&points=40").await;
        assert!(shown.len() >= 29, "{shown:?}");
        assert!(shown.iter().all(|rate| (rate - 0.2).abs() < 1e-9), "{past_s}: {shown:?}");
        let page = fixture.get("/dashboard?range=1h").await;
        assert!(page.text().contains("720 values"), "{}", page.text());
    }
}

#[tokio::test]
async fn a_chart_of_a_past_range_counts_nothing_outside_it() {
    let lines = PanelKind::Line { selection: selection("took"), show: vec![Show::Total] };
    let fixture = Fixture::new(vec![small_view(Some(("took", Show::Total)), lines)]);
    for window in 0..360 {
        fixture.timer("took", window, Histogram::from_values([(1.0, 1.0)]));
    }
    let from = NOW_MS / 1000 - 1_810;
    let page = fixture.get(&format!("/dashboard?from={from}&to={}", from + 900)).await;
    assert!(page.text().contains("90 values") && page.text().contains("total 90 "), "{}", page.text());
    let shown = values(&fixture, &format!("from={from}&to={}&points=20", from + 900)).await;
    assert_eq!(shown.iter().sum::<f64>(), 90.0, "{shown:?}");
}

#[tokio::test]
async fn what_a_metric_does_not_have_is_said_instead_of_something_else_shown() {
    let cases = [
        ("heap_bytes", Show::Quantile(0.95), "a gauge has no p95"),
        ("heap_bytes", Show::Rate, "a gauge has no rate"),
        ("etl.rows", Show::Quantile(1.0), "a counter has no max"),
        ("visitors", Show::Rate, "a set has no rate"),
    ];
    for (name, show, expected) in cases {
        let lines = PanelKind::Line { selection: selection(name), show: vec![show] };
        let mut fixture_view = small_view(Some((name, show)), lines);
        fixture_view.range = Range::last(HOUR_MS);
        let fixture = Fixture::new(vec![fixture_view]);
        fixture.gauge("heap_bytes", &[], |window| window as f64);
        fixture.counter("etl.rows", &[], |window| window as f64);
        fixture.set("visitors", |_| 3);
        let text = fixture.get("/dashboard").await.text();
        assert_eq!(text.matches(expected).count(), 2, "tile and panel of {name}: {text}");
    }
}

#[tokio::test]
async fn a_tile_has_the_unit_of_its_panel() {
    let cases = [
        ("heap_bytes", Show::Last, "3 MiB"),
        ("wait_seconds", Show::Mean, "250 ms"),
        ("wait_seconds", Show::Total, "1"),
        ("took", Show::Last, "250 ms"),
        ("etl.rows", Show::Last, "36 000"),
    ];
    for (name, show, expected) in cases {
        let lines = PanelKind::Line { selection: selection(name), show: vec![show] };
        let fixture = Fixture::new(vec![small_view(Some((name, show)), lines)]);
        let of_one = || Histogram::from_values([(0.25, 1.0)]);
        fixture.gauge("heap_bytes", &[], |_| 3.0 * 1_048_576.0);
        fixture.timer("took", 200, of_one());
        fixture.counter("etl.rows", &[], |_| 100.0);
        let wait = Labels::of_name("wait_seconds");
        fixture.source.push_histogram(&wait, Some(MetricType::Histogram), NOW_MS - 60_000, of_one());
        let text = fixture.get("/dashboard").await.text();
        assert!(text.contains(&format!("etl.rows total {expected} ")), "{name}: {text}");
    }
}

#[tokio::test]
async fn a_metric_counts_nothing_of_another_that_is_spelled_alike() {
    let fixture = Fixture::new(vec![]);
    for (name, each) in [("etl.errors", 1.0), ("etl_errors", 10.0), ("1st", 2.0), ("_1st", 20.0)] {
        fixture.counter(name, &[], |_| each);
    }
    for (name, total) in [("etl.errors", "360"), ("etl_errors", "3 600"), ("1st", "720"), ("_1st", "7 200")] {
        let text = fixture.get(&format!("/dashboard/metrics?name={name}&range=1h")).await.text();
        assert!(text.contains(&format!("counter · {total} in all")), "{name}: {text}");
    }
}

#[tokio::test]
async fn a_name_that_looks_like_a_selector_is_not_taken_for_it() {
    let bars = PanelKind::BarsPerDay {
        selection: Selection {
            text: "rows{job=\"a\"}".into(),
            matchers: vec![Matcher::equal(NAME, "rows"), Matcher::equal("job", "a")],
        },
        days: 3,
    };
    // On the day after, so that the day that was counted is over.
    let fixture = Fixture::new(vec![small_view(None, bars)]);
    let later_ms = NOW_MS + 24 * HOUR_MS;
    fixture.counter("rows", &[("job", "a")], |_| 1.0);
    fixture.counter("rows{job=\"a\"}", &[], |_| 100.0);
    fixture.turn_to(later_ms);
    let name = statsdeck::dashboard::address::encoded("rows{job=\"a\"}");
    let total =
        |body: String| body.lines().find_map(|line| Some(line.strip_prefix("2026-11-24,")?.to_owned()));
    let own = fixture.get(&format!("/dashboard/panel.csv?metric={name}&type=counter&chart=bars")).await.body;
    assert_eq!(total(own).as_deref(), Some("36000,false"));
    let of_view = fixture.get("/dashboard/panel.csv?view=team&panel=0&chart=bars").await.body;
    assert_eq!(total(of_view).as_deref(), Some("360,false"));
}

#[tokio::test]
async fn alerts_are_those_of_now_whatever_the_range() {
    let fixture = Fixture::new(vec![small_view(None, PanelKind::Alerts { rules: vec![] })]);
    fixture.alert(firing());
    let page = fixture.get("/dashboard?from=2026-11-20&to=2026-11-21").await;
    assert_eq!(page.text().matches("for 12 min").count(), 2, "banner and list: {}", page.text());
}

#[tokio::test]
async fn addresses_that_lead_nowhere_say_so() {
    let fixture = filled();
    let cases = [
        ("/", 307),
        ("/dashboard?view=nonsense", 404),
        ("/dashboard?range=soon", 200),
        ("/dashboard?%zz=%ff&x=%00", 200),
        ("/dashboard/metrics?page=999999&range=1h", 200),
        ("/dashboard/metrics?name=unknown", 200),
        ("/dashboard/assets/../secret", 404),
        ("/dashboard/assets/nothing.js", 404),
        ("/dashboard/panel.csv", 404),
        ("/dashboard/panel.csv?view=team&panel=99", 404),
        ("/dashboard/panel.csv?view=team&panel=2", 422),
        ("/dashboard/panel.csv?metric=a&type=gauge&from=soon", 400),
        ("/dashboard/panel.csv?metric=a&type=gauge&from=-1e11&to=1e11&points=99999999", 200),
    ];
    for (url, status) in cases {
        assert_eq!(fixture.get(url).await.status, status, "{url}");
    }
    let page = fixture.get("/dashboard?range=soon").await;
    assert!(page.text().contains("\"soon\" is no time"), "{}", page.text());
}

#[tokio::test]
async fn links_step_through_time() {
    let page = filled().get("/dashboard?from=now-6h&to=now-3h").await;
    let href = |key: &str| page.link(&format!("data-key=\"{key}\""));
    let seconds = NOW_MS / 1000;
    let range = |from: i64, to: i64| format!("/dashboard?from={}&amp;to={}", seconds - from, seconds - to);
    assert_eq!(href("["), range(6 * 3600 + 5400, 3 * 3600 + 5400));
    assert_eq!(href("]"), range(6 * 3600 - 5400, 3 * 3600 - 5400));
    assert_eq!(href("-"), range(6 * 3600 + 5400, 3 * 3600 - 5400));
    assert_eq!(href("r"), "/dashboard?range=3h", "live again");
    assert!(!page.body.contains("data-live"));
    assert!(filled().get("/dashboard?range=6h").await.body.contains("data-live"));
}

#[tokio::test]
async fn an_event_comes_with_each_flush_and_listeners_are_capped() {
    let fixture = filled();
    let mut first = fixture.listen().await.expect("one may listen");
    fixture.flush(NOW_MS + 10_000);
    let event = first.next().await;
    assert_eq!(event, format!("event: flush\ndata: {}\n\n", NOW_MS + 10_000));
    let mut held = Vec::new();
    while let Ok(listener) = fixture.listen().await {
        held.push(listener);
        assert!(held.len() < 1_000, "no cap");
    }
    assert!(held.len() > 50);
}

fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(format!("dashboard_{name}"), text));
}

fn marker(minutes_ago: i64, kind: MarkerKind, title: &str) -> Marker {
    Marker { at_ms: NOW_MS - minutes_ago * 60_000, kind, title: title.into(), ..Marker::default() }
}

#[tokio::test]
async fn markers_stand_on_every_chart_of_lines_and_in_a_list() {
    let fixture = filled();
    *fixture.markers.lock().unwrap() = vec![
        marker(500, MarkerKind::Info, "before the range"),
        marker(30, MarkerKind::Success, "Deployed 1.2"),
        Marker { text: "what\nhappened".into(), ..marker(10, MarkerKind::Info, "Flag on") },
        marker(10, MarkerKind::Error, "Outage"),
    ];
    let page = fixture.get("/dashboard").await;
    page.assert_sound();
    // One chart of lines, and the two of the same minute share a line.
    assert_eq!(page.body.matches("<svg class=\"mark ").count(), 2);
    let title = "<svg class=\"mark error\" x=\"83.33%\" y=\"10\"><title>11:50:00 Outage · 11:50:00 Flag on: what happened</title>";
    assert!(page.body.contains(title), "{}", page.body);
    let text = page.text();
    let list = &text[text.find("Markers 3").unwrap_or_else(|| panic!("{text}"))..];
    let places: Vec<_> = ["Outage error", "Flag on", "Deployed 1.2 success"].map(|row| list.find(row)).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} {list}");
    assert!(!text.contains("before the range"));
    let without = filled().get("/dashboard").await;
    assert!(!without.text().contains("Markers"));
}

#[tokio::test]
async fn a_flood_of_markers_leaves_the_chart_readable() {
    let fixture = filled();
    let flood = (0..3_000).rev().map(|second| Marker {
        at_ms: NOW_MS - second * 1_000,
        title: format!("event {second}"),
        ..Marker::default()
    });
    *fixture.markers.lock().unwrap() = flood.collect();
    let page = fixture.get("/dashboard").await;
    page.assert_sound();
    assert_eq!(page.body.matches("<svg class=\"mark ").count(), 40);
    assert!(page.text().contains("and 32 more"), "{}", page.text());
    assert!(gunzipped_len(&page) < 150_000, "{}", gunzipped_len(&page));
}
