//! A panel: head, legend, chart, table, links to its values.
//!
//! A panel that cannot be read says why in its own box.

use super::alert_list;
use super::table;
use crate::dashboard::address::{Address, PageKind};
use crate::dashboard::alerts::AlertRow;
use crate::dashboard::catalogue::Metric;
use crate::dashboard::chart::{BarChart, LineChart};
use crate::dashboard::markup::{Markup, put, shortened};
use crate::dashboard::number;
use crate::dashboard::reading::Reader;
use crate::dashboard::source::{ChartKind, PanelSource};
use crate::dashboard::svg::{self, Frame};
use crate::dashboard::view::{Panel, PanelKind, View};
use crate::model::MetricType;
use crate::query::Error;

/// Where a panel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// One of many in the grid.
    InGrid,
    /// Alone on its page.
    Alone,
}

impl Placed {
    fn height_px(self) -> u16 {
        match self {
            Placed::InGrid => 168,
            Placed::Alone => 300,
        }
    }
}

/// A metric's panel.
pub fn metric_panel(reader: &Reader, metric: &Metric, address: &Address, placed: Placed) -> Markup {
    let source = PanelSource::of_metric(metric);
    let link = address.beside(PageKind::Metric(metric.name.clone())).href();
    let mut body = Body { remarks: vec![metric.metric_type.to_string()], ..Body::default() };
    if metric.series > 1 {
        body.remarks.push(format!("{} series", metric.series));
    }
    let read = match metric.metric_type {
        MetricType::Counter => counter_body(reader, &source, &mut body, placed),
        _ => lines_body(reader, &source, &mut body, placed.height_px()),
    };
    panel(PanelHead { source: &source, title: &metric.name, link: Some(&link) }, body, read, placed)
}

/// A panel of a configured view. `alerts` are those of `now_ms`, whatever the range.
pub fn view_panel(
    reader: &Reader,
    view: &View,
    at: usize,
    panel_of: &Panel,
    (alerts, now_ms): (&[AlertRow], i64),
) -> Markup {
    let source = PanelSource::of_view(view, at, panel_of);
    let mut body = Body::default();
    let read = match &panel_of.kind {
        PanelKind::Line { .. } | PanelKind::Query { .. } => lines_body(reader, &source, &mut body, 208),
        PanelKind::BarsPerDay { .. } => bars_body(reader, &source, &mut body, 208),
        PanelKind::Alerts { rules } => {
            body.charts.put(alert_list::list(alerts, rules, &reader.calendar, now_ms));
            Ok(())
        }
    };
    panel(PanelHead { source: &source, title: &panel_of.title, link: None }, body, read, Placed::InGrid)
}

/// What stands below a panel's head.
#[derive(Default)]
struct Body {
    /// Beside the title: what the metric is, what more there is to know.
    remarks: Vec<String>,
    legend: Markup,
    charts: Markup,
    tables: Markup,
    files: Vec<(&'static str, String)>,
}

fn lines_body(reader: &Reader, source: &PanelSource, body: &mut Body, height_px: u16) -> Result<(), Error> {
    let chart = source.line_chart(reader)?;
    put_legend(body, &chart);
    put_lines(body, reader, source, &chart, height_px);
    Ok(())
}

fn counter_body(reader: &Reader, source: &PanelSource, body: &mut Body, placed: Placed) -> Result<(), Error> {
    let chart = source.line_chart(reader)?;
    put_legend(body, &chart);
    let (lines_px, bars_px) = if placed == Placed::Alone { (220, 160) } else { (76, 56) };
    put_lines(body, reader, source, &chart, lines_px);
    let bars = source.trimmed(source.bar_chart(reader)?);
    put_bars(body, reader, source, &bars, bars_px);
    Ok(())
}

fn bars_body(reader: &Reader, source: &PanelSource, body: &mut Body, height_px: u16) -> Result<(), Error> {
    let bars = source.bar_chart(reader)?;
    put!(body.legend, "<li><b>");
    put!(body.legend, number::format_option(bars.total(), &number::Unit::Count));
    put!(body.legend, "</b> in ", bars.bars.len(), " days</li>");
    put_bars(body, reader, source, &bars, height_px);
    Ok(())
}

fn put_lines(body: &mut Body, reader: &Reader, source: &PanelSource, chart: &LineChart, height_px: u16) {
    let id = format!("{}-l", source.id());
    let markers = &reader.markers;
    let frame = Frame { id: &id, title: &shortened(source.title(), 200), height_px, markers };
    put_chart(body, reader, source, ChartKind::Lines, svg::line_chart(chart, &reader.calendar, frame));
    if !chart.has_data() {
        put!(body.charts, "<p class=\"nothing\">no data in this range</p>");
    }
    put!(body.charts, "</div>");
    put!(body.tables, table::of_lines(chart, &reader.calendar));
    body.files.push(("csv", source.href("csv", ChartKind::Lines, reader)));
}

fn put_bars(body: &mut Body, reader: &Reader, source: &PanelSource, bars: &BarChart, height_px: u16) {
    let id = format!("{}-b", source.id());
    let title = format!("{} per day", shortened(source.title(), 200));
    let frame = Frame { id: &id, title: &title, height_px, markers: &[] };
    put_chart(body, reader, source, ChartKind::Bars, svg::bar_chart(bars, &reader.calendar, frame));
    if !bars.has_data() {
        put!(body.charts, "<p class=\"nothing\">no data in these days</p>");
    }
    put!(body.charts, "</div>");
    put!(body.tables, table::of_bars(bars, &reader.calendar));
    body.files.push(("days csv", source.href("csv", ChartKind::Bars, reader)));
}

fn put_chart(body: &mut Body, reader: &Reader, source: &PanelSource, kind: ChartKind, chart: Markup) {
    put!(body.charts, "<div class=\"plotted\" tabindex=\"0\" data-values=\"");
    put!(body.charts, source.href("txt", kind, reader), "\">");
    if kind == ChartKind::Bars && source.has_lines() {
        put!(body.charts, "<p class=\"caption\">per day</p>");
    }
    put!(body.charts, chart);
}

fn put_legend(body: &mut Body, chart: &LineChart) {
    body.remarks.extend(chart.note.clone());
    let out = &mut body.legend;
    for (at, line) in chart.lines.iter().enumerate() {
        let value = number::format_option(line.summary, &chart.unit);
        put!(
            out,
            "<li>",
            svg::line_key(at),
            " ",
            shortened(&line.label, 48).as_ref(),
            " <b>",
            value,
            "</b></li>"
        );
    }
}

/// The box of a panel that was not read at all.
pub fn failed_panel(id: &str, title: &str, reason: &str) -> Markup {
    let mut out = Markup::new();
    put!(
        out,
        "<article class=\"panel\" data-panel=\"",
        id,
        "\"><header><h2>",
        shortened(title, 120).as_ref()
    );
    put!(out, "</h2></header>");
    put_failure(&mut out, reason);
    put!(out, "</article>");
    out
}

fn put_failure(out: &mut Markup, reason: &str) {
    put!(
        out,
        "<p class=\"failed\"><b>This panel could not be read.</b> ",
        shortened(reason, 600).as_ref(),
        "</p>"
    );
}

struct PanelHead<'a> {
    source: &'a PanelSource,
    title: &'a str,
    link: Option<&'a str>,
}

fn panel(head: PanelHead<'_>, body: Body, read: Result<(), Error>, placed: Placed) -> Markup {
    let mut out = Markup::new();
    put!(out, "<article class=\"panel");
    if placed == Placed::Alone {
        put!(out, " alone");
    }
    put!(out, "\" data-panel=\"", head.source.id(), "\"><header><h2>");
    let title = shortened(head.title, 120);
    match head.link {
        Some(link) if placed == Placed::InGrid => {
            put!(
                out,
                "<a href=\"",
                link,
                "\" title=\"",
                shortened(head.title, 400).as_ref(),
                "\">",
                title.as_ref(),
                "</a>"
            );
        }
        _ => {
            put!(out, title.as_ref());
        }
    }
    put!(out, "</h2><span class=\"kind\">", body.remarks.join(" · "), "</span></header>");
    if !body.legend.is_empty() {
        put!(out, "<ul class=\"legend\">", body.legend, "</ul>");
    }
    put!(out, body.charts);
    if let Err(error) = read {
        put_failure(&mut out, &error.to_string());
    }
    if !body.tables.is_empty() {
        put!(out, "<div class=\"more\"><details><summary>table</summary><div class=\"scroll\">", body.tables);
        put!(out, "</div></details>");
        for (label, href) in &body.files {
            put!(out, "<a href=\"", href, "\" download>", *label, "</a>");
        }
        put!(out, "</div>");
    }
    put!(out, "</article>");
    out
}
