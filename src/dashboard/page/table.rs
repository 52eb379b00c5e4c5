//! A chart's values as a table, for who cannot see the chart or wants numbers.

use crate::dashboard::calendar::Calendar;
use crate::dashboard::chart::{BarChart, LineChart};
use crate::dashboard::markup::{Markup, put, shortened};
use crate::dashboard::number;

/// Rows of a table; the rest is in the file of all values.
const MAX_ROWS: usize = 24;

/// The newest values of a chart of lines.
pub fn of_lines(chart: &LineChart, calendar: &Calendar) -> Markup {
    let mut out = Markup::new();
    put!(out, "<table><thead><tr><th scope=\"col\">Time</th>");
    for line in &chart.lines {
        put!(out, "<th scope=\"col\">", shortened(&line.label, 60).as_ref(), "</th>");
    }
    put!(out, "</tr></thead><tbody>");
    let value_at =
        |line: &crate::dashboard::chart::Line, at: usize| line.values.get(at).copied().unwrap_or(f64::NAN);
    let with_data =
        (0..chart.grid.points).rev().filter(|at| chart.lines.iter().any(|l| !value_at(l, *at).is_nan()));
    let mut rows = 0;
    for at in with_data.take(MAX_ROWS) {
        rows += 1;
        put!(
            out,
            "<tr><th scope=\"row\">",
            calendar.moment_of_step(chart.grid.time_ms(at), chart.grid.step_ms),
            "</th>"
        );
        for line in &chart.lines {
            put!(out, "<td>", number::format(value_at(line, at), &chart.unit), "</td>");
        }
        put!(out, "</tr>");
    }
    if rows == 0 {
        put!(out, "<tr><td>", number::NO_DATA, "</td></tr>");
    }
    put!(out, "</tbody></table>");
    out
}

/// All days of a chart of bars, newest first.
pub fn of_bars(chart: &BarChart, calendar: &Calendar) -> Markup {
    let mut out = Markup::new();
    put!(out, "<table><thead><tr><th scope=\"col\">Day</th><th scope=\"col\">Total</th></tr></thead><tbody>");
    for bar in chart.bars.iter().rev() {
        let value = bar.value.map_or(number::NO_DATA.to_owned(), number::exact);
        put!(out, "<tr><th scope=\"row\">", calendar.date(bar.start_ms), "</th><td>", value);
        if bar.is_unfinished {
            put!(out, " so far");
        }
        put!(out, "</td></tr>");
    }
    put!(out, "</tbody></table>");
    out
}
