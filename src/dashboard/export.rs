//! A chart's values as files: CSV for people's tools, and texts as tooltips
//! show them, so that numbers are formatted in one place only.

use super::calendar::Calendar;
use super::chart::{BarChart, LineChart};
use super::number;
use super::svg;

/// CSV of lines: a row a point, RFC 3339 times, empty where there is no value.
pub fn lines_csv(chart: &LineChart, calendar: &Calendar) -> String {
    let mut out = String::from("time");
    for line in &chart.lines {
        out.push(',');
        out.push_str(&csv_field(&line.label));
    }
    out.push_str("\r\n");
    for (at, time_ms) in chart.grid.times_ms().enumerate() {
        out.push_str(&calendar.rfc3339(time_ms));
        for line in &chart.lines {
            out.push(',');
            out.push_str(&csv_number(line.values.get(at).copied()));
        }
        out.push_str("\r\n");
    }
    out
}

/// CSV of bars: a row a local day.
pub fn bars_csv(chart: &BarChart, calendar: &Calendar) -> String {
    let mut out = String::from("day,total,unfinished\r\n");
    for bar in &chart.bars {
        let day = calendar.iso_date(bar.start_ms);
        out.push_str(&format!("{day},{},{}\r\n", csv_number(bar.value), bar.is_unfinished));
    }
    out
}

/// What a tooltip says at each point: a line a point, parts parted by tabs;
/// first the lines' names.
pub fn lines_text(chart: &LineChart, calendar: &Calendar) -> String {
    let mut out = String::new();
    for line in &chart.lines {
        out.push('\t');
        out.push_str(&text_field(&line.label));
    }
    for (at, time_ms) in chart.grid.times_ms().enumerate() {
        out.push('\n');
        out.push_str(&calendar.moment_of_step(time_ms, chart.grid.step_ms));
        for line in &chart.lines {
            let value = line.values.get(at).copied().unwrap_or(f64::NAN);
            out.push('\t');
            out.push_str(&number::format(value, &chart.unit));
        }
    }
    out
}

/// As [`lines_text`], of bars.
pub fn bars_text(chart: &BarChart, calendar: &Calendar) -> String {
    let mut out = String::from("\t");
    for bar in &chart.bars {
        let words = svg::bar_in_words(bar.start_ms, bar.value, bar.is_unfinished, calendar);
        out.push('\n');
        out.push_str(&words.replacen(": ", "\t", 1));
    }
    out
}

fn csv_number(value: Option<f64>) -> String {
    value.filter(|v| !v.is_nan()).map_or(String::new(), |v| v.to_string())
}

/// A quoted field. A spreadsheet must not take it for a formula.
fn csv_field(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

fn text_field(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::chart::{Bar, Grid, Line};
    use crate::dashboard::number::Unit;
    use jiff::tz::TimeZone;

    fn chart(label: &str) -> LineChart {
        LineChart {
            grid: Grid { start_ms: 1_795_500_000_000, step_ms: 10_000, points: 2 },
            unit: Unit::Seconds,
            lines: vec![Line { label: label.into(), values: vec![f64::NAN, 0.25], summary: None }],
            from_zero: true,
            note: None,
        }
    }

    #[test]
    fn files_hold_exact_values_and_no_formulas() {
        let calendar = Calendar::new(TimeZone::get("Europe/Berlin").unwrap());
        let csv = lines_csv(&chart("=cmd\"x"), &calendar);
        assert_eq!(
            csv,
            "time,\"'=cmd\"\"x\"\r\n2026-11-24T07:00:00+01:00,\r\n2026-11-24T07:00:10+01:00,0.25\r\n"
        );
        let text = lines_text(&chart("a\tb"), &calendar);
        assert_eq!(text, "\ta b\nTue 24 Nov 07:00:00\tno data\nTue 24 Nov 07:00:10\t250\u{a0}ms");
        let bar = Bar { start_ms: 1_795_500_000_000, end_ms: 0, value: Some(1234.0), is_unfinished: true };
        let bars = BarChart { bars: vec![bar] };
        assert_eq!(bars_csv(&bars, &calendar), "day,total,unfinished\r\n2026-11-24,1234,true\r\n");
        assert_eq!(bars_text(&bars, &calendar), "\t\nTue 24 Nov\t1\u{202f}234 so far");
    }
}
