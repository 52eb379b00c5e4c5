//! A KPI's tile: one number, what it means, how it changed; and the form that
//! chooses which tiles are shown.

use crate::dashboard::address::Address;
use crate::dashboard::catalogue::Metric;
use crate::dashboard::chart::LineChart;
use crate::dashboard::markup::{Markup, put, shortened};
use crate::dashboard::number::{self, Unit};
use crate::dashboard::reading::Reader;
use crate::dashboard::svg;
use crate::dashboard::view::{Better, Kpi, KpiSource, Show};
use crate::model::MetricType;
use crate::query::Error;

/// Points of the small line.
const SPARK_POINTS: usize = 80;

/// What a tile says.
struct Figures {
    value: Option<f64>,
    before: Option<f64>,
    detail: Option<String>,
    spark: Vec<f64>,
    from_zero: bool,
    unit: Unit,
}

impl Figures {
    fn with_line(value: Option<f64>, before: Option<f64>, chart: LineChart, unit: Unit) -> Self {
        let from_zero = chart.from_zero;
        let spark = chart.lines.into_iter().next().map(|line| line.values).unwrap_or_default();
        Figures { value, before, detail: None, spark, from_zero, unit }
    }
}

/// The tile of `kpi`, read with `reader`.
pub fn tile(reader: &Reader, kpi: &Kpi) -> Markup {
    let mut out = Markup::new();
    put!(
        out,
        "<article class=\"tile\" data-panel=\"k-",
        kpi.id,
        "\"><h2>",
        shortened(&kpi.title, 80).as_ref(),
        "</h2>"
    );
    match figures(reader, kpi) {
        Ok(figures) => put_figures(&mut out, reader, kpi, &figures),
        Err(error) => {
            put!(out, "<p class=\"failed\">", error.to_string(), "</p>");
        }
    }
    put!(out, "</article>");
    out
}

fn figures(reader: &Reader, kpi: &Kpi) -> Result<Figures, Error> {
    let (span, small) = (reader.span, reader.coarser(SPARK_POINTS));
    match &kpi.source {
        KpiSource::Query(expr) => {
            let end_ms = span.end_ms.min(reader.newest_ms.max(span.start_ms));
            let value = reader.query_number(expr, end_ms)?;
            let before = reader.query_number(expr, end_ms - span.len_ms())?;
            let chart = small.query_lines(expr, &kpi.unit, &kpi.title)?;
            Ok(Figures::with_line(value, before, chart, kpi.unit.clone()))
        }
        KpiSource::Ratio { ok, failed } => {
            let counts = |span| -> Result<(f64, f64), Error> {
                Ok((reader.total(ok, span)?.unwrap_or(0.0), reader.total(failed, span)?.unwrap_or(0.0)))
            };
            let share = |(ok, failed): (f64, f64)| (ok + failed > 0.0).then(|| ok / (ok + failed));
            let now = counts(span)?;
            let detail =
                share(now).map(|_| format!("{} of {}", number::exact(now.0), number::exact(now.0 + now.1)));
            let before = share(counts(span.before())?);
            Ok(Figures {
                value: share(now),
                before,
                detail,
                spark: Vec::new(),
                from_zero: true,
                unit: Unit::Ratio,
            })
        }
        KpiSource::Metric { selection, show } => {
            let metric_type = reader.type_of(&selection.matchers)?.unwrap_or(MetricType::Gauge);
            let value = reader.number(selection, metric_type, *show, span)?;
            let before = reader.number(selection, metric_type, *show, span.before())?;
            let chart = small.lines(selection, metric_type, &[*show], &kpi.unit)?;
            let unit = match (&kpi.unit, show) {
                (Unit::Plain, Show::Total) => Unit::Count,
                (Unit::Plain, Show::Rate) => Unit::PerSecond,
                // As its panel has it.
                (Unit::Plain, _) => Metric { name: selection.text.clone(), metric_type, series: 1 }.unit(),
                (unit, _) => unit.clone(),
            };
            Ok(Figures::with_line(value, before, chart, unit))
        }
    }
}

fn put_figures(out: &mut Markup, reader: &Reader, kpi: &Kpi, figures: &Figures) {
    let Some(value) = figures.value else {
        put!(out, "<p class=\"value none\">");
        put!(out, if kpi.empty.is_empty() { number::NO_DATA } else { kpi.empty.as_str() });
        put!(out, "</p>");
        return;
    };
    let split = number::split(value, &figures.unit);
    put!(out, "<p class=\"value\">", split.number);
    if !split.unit.is_empty() {
        put!(out, "<span class=\"unit\">\u{a0}", split.unit, "</span>");
    }
    if let Some(detail) = &figures.detail {
        put!(out, "<span class=\"detail\">", detail, "</span>");
    }
    put!(out, "</p>");
    put_change(out, reader, kpi, figures);
    let is_ratio = figures.unit == Unit::Ratio;
    if is_ratio {
        put!(out, svg::target_bar(value, kpi.target));
    } else if figures.spark.iter().filter(|v| !v.is_nan()).count() > 1 {
        put!(out, svg::sparkline(&figures.spark, figures.from_zero, 34));
    }
    if let Some(target) = kpi.target {
        let is_met = match kpi.better {
            Better::Lower => value <= target,
            _ => value >= target,
        };
        put!(out, "<p class=\"aim\">target ", number::format(target, &figures.unit), ", ");
        put!(out, if is_met { "met" } else { "missed" }, "</p>");
    }
}

fn put_change(out: &mut Markup, reader: &Reader, kpi: &Kpi, figures: &Figures) {
    put!(out, "<p class=\"change\">");
    let Some(change) = number::change(figures.value, figures.before, &figures.unit) else {
        put!(out, "nothing earlier to compare</p>");
        return;
    };
    let news = match (kpi.better, change.direction) {
        (Better::Higher, 1) | (Better::Lower, -1) => "good",
        (Better::Higher, -1) | (Better::Lower, 1) => "bad",
        _ => "even",
    };
    let sign = match change.direction {
        1 => "▲ ",
        -1 => "▼ ",
        _ => "",
    };
    let span = number::duration_words(reader.span.len_ms());
    put!(out, "<b class=\"", news, "\">", sign, change.text, "</b> vs. ", span, " before</p>");
}

/// The list of all tiles to tick, kept in the URL.
pub fn choose_tiles(kpis: &[Kpi], address: &Address) -> Markup {
    let mut out = Markup::new();
    put!(
        out,
        "<details class=\"pop choose\"><summary>Choose KPIs</summary><form class=\"sheet\" action=\"/dashboard\">"
    );
    for (name, value) in address.hidden(&["kpis"]) {
        put!(out, "<input type=\"hidden\" name=\"", name, "\" value=\"", value, "\">");
    }
    // An empty one, so that "none" is told from "not asked".
    put!(out, "<input type=\"hidden\" name=\"kpis\" value=\"\">");
    for kpi in kpis {
        let is_shown = address.kpis.as_ref().is_none_or(|chosen| chosen.contains(&kpi.id));
        put!(out, "<label class=\"tick\"><input type=\"checkbox\" name=\"kpis\" value=\"", kpi.id, "\"");
        if is_shown {
            put!(out, " checked");
        }
        put!(out, "> ", kpi.title, "</label>");
    }
    let all = Address { kpis: None, ..address.clone() };
    put!(
        out,
        "<p><button>Show these</button> <a href=\"",
        all.href(),
        "\">Show all</a></p></form></details>"
    );
    out
}
