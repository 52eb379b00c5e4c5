//! Charts as SVG that needs no script and no style attribute.
//!
//! The outer SVG has no view box: texts keep their size at any width, places
//! are per cents. Only the plotted paths are stretched, and their strokes are
//! not (`vector-effect`, by the style sheet). Paths go in relative whole
//! steps, which is a third of the bytes of absolute decimals.

use super::axis::ValueAxis;
use super::calendar::Calendar;
use super::chart::{BarChart, LineChart};
use super::marker;
use super::markup::{Decimal, Markup, put};
use super::number;
use crate::model::Marker;

/// Units of a path to a pixel of height: half a pixel is seen on fine screens.
const UNITS_PER_PX: i64 = 2;
/// Room above the plot for the topmost label, and below for times.
const TOP_PX: i64 = 10;
const FOOT_PX: i64 = 20;

/// What a chart is called and how tall its plot is.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Unique on the page; letters, digits, `-`.
    pub id: &'a str,
    pub title: &'a str,
    pub height_px: u16,
    /// What happened, in the order of time; for charts of lines.
    pub markers: &'a [Marker],
}

/// A chart of lines.
pub fn line_chart(chart: &LineChart, calendar: &Calendar, frame: Frame<'_>) -> Markup {
    let height = i64::from(frame.height_px);
    let values = chart.lines.iter().flat_map(|line| line.values.iter().copied());
    let axis = ValueAxis::fit(values, &chart.unit, chart.from_zero, if height < 100 { 2 } else { 3 });
    let grid = chart.grid;
    let last = grid.points.saturating_sub(1).max(1) as u64;
    let mut svg = Markup::new();
    put!(
        svg,
        "<svg class=\"chart lines\" role=\"img\" height=\"",
        height + TOP_PX + FOOT_PX,
        "\" data-start=\"",
        grid.start_ms,
        "\" data-step=\"",
        grid.step_ms,
        "\" data-points=\"",
        grid.points,
        "\"",
    );
    put_names(&mut svg, frame, &chart.description());
    put_value_axis(&mut svg, &axis, height);
    put_time_axis(&mut svg, calendar, (grid.start_ms, grid.end_ms()), height);
    put!(
        svg,
        "<svg class=\"plot\" y=\"",
        TOP_PX,
        "\" width=\"100%\" height=\"",
        height,
        "\" viewBox=\"0 0 ",
        last,
        " ",
        height * UNITS_PER_PX,
        "\" preserveAspectRatio=\"none\">",
    );
    let units = height * UNITS_PER_PX;
    let y_of = |value: f64| units - (axis.position(value) * units as f64).round() as i64;
    if let ([line], true) = (chart.lines.as_slice(), chart.from_zero) {
        let base = y_of(0.0f64.clamp(axis.low, axis.high));
        put!(svg, "<path class=\"area s1\" d=\"", area_path(&line.values, y_of, base), "\"/>");
    }
    // Last drawn is on top: the first line is the most important one.
    for (at, line) in chart.lines.iter().enumerate().rev() {
        put!(svg, "<path class=\"line s", at + 1, "\" d=\"", line_path(&line.values, y_of), "\"/>");
        let dots = dots_path(&line.values, y_of);
        if !dots.is_empty() {
            put!(svg, "<path class=\"line dots s", at + 1, "\" d=\"", dots, "\"/>");
        }
    }
    put!(svg, "</svg>");
    let span = (grid.start_ms, grid.end_ms());
    marker::put_markers(&mut svg, frame.markers, span, (TOP_PX, height), calendar);
    put!(svg, "</svg>");
    svg
}

/// A chart of bars, one a local day; today's is hatched.
pub fn bar_chart(chart: &BarChart, calendar: &Calendar, frame: Frame<'_>) -> Markup {
    let height = i64::from(frame.height_px);
    let values = chart.bars.iter().filter_map(|bar| bar.value);
    let axis = ValueAxis::fit(values, &number::Unit::Count, true, if height < 100 { 2 } else { 3 });
    let count = chart.bars.len().max(1);
    let slot = 100.0 / count as f64;
    let mut svg = Markup::new();
    put!(
        svg,
        "<svg class=\"chart bars\" role=\"img\" height=\"",
        height + TOP_PX + FOOT_PX,
        "\" data-points=\"",
        count,
        "\"",
    );
    put_names(&mut svg, frame, &bars_in_words(chart, calendar));
    put_value_axis(&mut svg, &axis, height);
    let labels = bar_labels(chart, calendar);
    for (at, bar) in chart.bars.iter().enumerate() {
        let x = slot * at as f64;
        if let Some((label, is_minor)) = labels.get(at).and_then(Option::as_ref) {
            put!(svg, "<text class=\"t");
            if *is_minor {
                put!(svg, " minor");
            }
            let middle = Decimal(x + slot / 2.0);
            put!(svg, "\" x=\"", middle, "%\" y=\"", TOP_PX + height + 15, "\">", label, "</text>");
        }
        let Some(value) = bar.value else { continue };
        let zero = (axis.position(0.0) * height as f64).round() as i64;
        let end = (axis.position(value) * height as f64).round() as i64;
        // A day of none has a foot still, so that it differs from a day without data.
        let tall = (end - zero).abs().max(2);
        let top = TOP_PX + height - zero.max(end).max(zero + if value < 0.0 { 0 } else { 2 });
        put!(svg, "<rect class=\"bar");
        if bar.is_unfinished {
            put!(svg, " today");
        }
        put!(
            svg,
            "\" x=\"",
            Decimal(x + slot * 0.14),
            "%\" y=\"",
            top,
            "\" width=\"",
            Decimal(slot * 0.72),
            "%\" height=\"",
            tall,
            "\" rx=\"1\"><title>",
            bar_in_words(bar.start_ms, bar.value, bar.is_unfinished, calendar),
            "</title></rect>",
        );
    }
    put!(svg, "</svg>");
    svg
}

/// A line without axes, for a tile. Decoration: the tile says it in numbers.
pub fn sparkline(values: &[f64], from_zero: bool, height_px: u16) -> Markup {
    // From its first value on: empty space would say nothing here.
    let begun = values.iter().position(|v| !v.is_nan()).unwrap_or(0);
    let values = values.get(begun..).unwrap_or_default();
    let height = i64::from(height_px);
    let units = height * UNITS_PER_PX;
    let axis = ValueAxis::fit(values.iter().copied(), &number::Unit::Plain, from_zero, 1);
    // Some air, so that the stroke is not cut at the ends.
    let y_of = |value: f64| units - 3 - (axis.position(value) * (units - 6) as f64).round() as i64;
    let mut svg = Markup::new();
    put!(
        svg,
        "<svg class=\"spark plot\" aria-hidden=\"true\" height=\"",
        height,
        "\" viewBox=\"0 0 ",
        values.len().saturating_sub(1).max(1),
        " ",
        units,
        "\" preserveAspectRatio=\"none\">",
    );
    if from_zero {
        put!(svg, "<path class=\"area s1\" d=\"", area_path(values, y_of, units), "\"/>");
    }
    put!(svg, "<path class=\"line s1\" d=\"", line_path(values, y_of), "\"/></svg>");
    svg
}

/// How much of a whole, with a mark where it should be.
pub fn target_bar(share: f64, target: Option<f64>) -> Markup {
    let mut svg = Markup::new();
    let percent = |value: f64| Decimal(value.clamp(0.0, 1.0) * 100.0);
    put!(
        svg,
        "<svg class=\"target\" aria-hidden=\"true\" height=\"14\"><rect class=\"track\" y=\"4\" width=\"100%\" \
         height=\"6\" rx=\"3\"/><rect class=\"fill\" y=\"4\" width=\"",
        percent(share),
        "%\" height=\"6\" rx=\"3\"/>",
    );
    if let Some(target) = target {
        let x = percent(target);
        put!(svg, "<line class=\"goal\" x1=\"", x, "%\" x2=\"", x, "%\" y1=\"0\" y2=\"14\"/>");
    }
    put!(svg, "</svg>");
    svg
}

/// The sample of a line's colour and dash in a legend.
pub fn line_key(number: usize) -> Markup {
    let mut svg = Markup::new();
    put!(
        svg,
        "<svg class=\"key\" aria-hidden=\"true\" width=\"22\" height=\"8\"><path class=\"line s",
        number + 1,
        "\" d=\"M1 4h20\"/></svg>",
    );
    svg
}

/// A day's bar in words, as tooltips and tables say it.
pub fn bar_in_words(start_ms: i64, value: Option<f64>, is_unfinished: bool, calendar: &Calendar) -> String {
    let value = value.map_or(number::NO_DATA.to_owned(), number::exact);
    let so_far = if is_unfinished { " so far" } else { "" };
    format!("{}: {value}{so_far}", calendar.date(start_ms))
}

fn bars_in_words(chart: &BarChart, calendar: &Calendar) -> String {
    let Some(total) = chart.total() else { return number::NO_DATA.into() };
    let highest = chart.bars.iter().filter(|bar| bar.value.is_some()).max_by(|a, b| {
        let (a, b) = (a.value.unwrap_or_default(), b.value.unwrap_or_default());
        a.total_cmp(&b)
    });
    let highest = highest
        .map(|bar| bar_in_words(bar.start_ms, bar.value, bar.is_unfinished, calendar))
        .unwrap_or_default();
    format!("{} in {} days; highest on {highest}", number::exact(total), chart.bars.len())
}

/// Labels under the bars, at most eight, counted from the last bar back; the
/// flag marks those that a narrow screen leaves out.
fn bar_labels(chart: &BarChart, calendar: &Calendar) -> Vec<Option<(String, bool)>> {
    let count = chart.bars.len();
    let every = count.div_ceil(8).max(1);
    let label = |at: usize, start_ms: i64| {
        let back = count - 1 - at;
        let date = calendar.date(start_ms);
        // "Tue 24 Nov" without its weekday.
        let short = date.split_once(' ').map_or(date.clone(), |(_, rest)| rest.to_owned());
        back.is_multiple_of(every).then(|| (short, !(back / every).is_multiple_of(2)))
    };
    chart.bars.iter().enumerate().map(|(at, bar)| label(at, bar.start_ms)).collect()
}

fn put_names(svg: &mut Markup, frame: Frame<'_>, description: &str) {
    put!(
        svg,
        " aria-labelledby=\"t-",
        frame.id,
        " d-",
        frame.id,
        "\"><title id=\"t-",
        frame.id,
        "\">",
        frame.title,
        "</title><desc id=\"d-",
        frame.id,
        "\">",
        description,
        "</desc>",
    );
}

fn put_value_axis(svg: &mut Markup, axis: &ValueAxis, height: i64) {
    for tick in &axis.ticks {
        let y = TOP_PX + height - (axis.position(tick.value) * height as f64).round() as i64;
        put!(svg, "<line class=\"");
        put!(svg, if tick.value == 0.0 { "zero" } else { "grid" });
        put!(svg, "\" x2=\"100%\" y1=\"", y, "\" y2=\"", y, "\"/><text class=\"v\" x=\"-8\" y=\"");
        put!(svg, y + 4, "\">", tick.label, "</text>");
    }
}

fn put_time_axis(svg: &mut Markup, calendar: &Calendar, (start_ms, end_ms): (i64, i64), height: i64) {
    let span = (end_ms - start_ms).max(1) as f64;
    // Labels with seconds are wider.
    let most = if end_ms - start_ms < 8 * 60_000 { 4 } else { 8 };
    let ticks = calendar.ticks(start_ms, end_ms, most);
    let count = ticks.len();
    for (at, tick) in ticks.into_iter().enumerate() {
        let x = (tick.at_ms - start_ms) as f64 / span * 100.0;
        put!(svg, "<line class=\"tick\" x1=\"", Decimal(x), "%\" x2=\"", Decimal(x), "%\" y1=\"");
        put!(svg, TOP_PX + height, "\" y2=\"", TOP_PX + height + 4, "\"/>");
        // A label at the very edge would be cut, or stand in the next panel.
        if !(3.0..=97.0).contains(&x) {
            continue;
        }
        put!(svg, "<text class=\"t");
        if (count - at).is_multiple_of(2) {
            put!(svg, " minor");
        }
        put!(svg, "\" x=\"", Decimal(x), "%\" y=\"", TOP_PX + height + 15, "\">", tick.label, "</text>");
    }
}

/// A line in relative whole steps; a new stretch after each gap.
fn line_path(values: &[f64], y_of: impl Fn(f64) -> i64) -> String {
    let mut path = PathText::default();
    for stretch in stretches(values) {
        if stretch.len() == 1 {
            continue;
        }
        path.move_to(stretch.start as i64, y_of(values[stretch.start]));
        for at in stretch.skip(1) {
            path.line_to(at as i64, y_of(values[at]));
        }
    }
    path.finish()
}

/// Points without neighbours, drawn as dots: a line of no length has round ends.
fn dots_path(values: &[f64], y_of: impl Fn(f64) -> i64) -> String {
    let mut path = PathText::default();
    for stretch in stretches(values).filter(|stretch| stretch.len() == 1) {
        path.move_to(stretch.start as i64, y_of(values[stretch.start]));
        path.across(0);
    }
    path.finish()
}

/// The same line, closed along `base`.
fn area_path(values: &[f64], y_of: impl Fn(f64) -> i64, base: i64) -> String {
    let mut path = PathText::default();
    for stretch in stretches(values).filter(|stretch| stretch.len() > 1) {
        path.move_to(stretch.start as i64, base);
        for at in stretch.clone() {
            path.line_to(at as i64, y_of(values[at]));
        }
        path.line_to(stretch.end as i64 - 1, base);
        path.close();
    }
    path.finish()
}

/// Ranges of points without a gap among them.
fn stretches(values: &[f64]) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
    let mut next = 0;
    std::iter::from_fn(move || {
        let start = next + values[next..].iter().position(|v| !v.is_nan())?;
        let end = values[start..].iter().position(|v| v.is_nan()).map_or(values.len(), |len| start + len);
        next = end;
        Some(start..end)
    })
}

/// Writes a path's text: relative, whole, with as few letters as can be.
#[derive(Default)]
struct PathText {
    text: String,
    at: (i64, i64),
    /// Where the current stretch began: `z` goes back there.
    begun: (i64, i64),
    command: char,
    /// A run to the right that is not written yet.
    pending: i64,
}

impl PathText {
    fn move_to(&mut self, x: i64, y: i64) {
        self.flush();
        self.write('m', &[x - self.at.0, y - self.at.1]);
        // Further pairs after `m` are lines.
        self.command = 'l';
        self.at = (x, y);
        self.begun = (x, y);
    }

    fn line_to(&mut self, x: i64, y: i64) {
        let (dx, dy) = (x - self.at.0, y - self.at.1);
        if dy == 0 {
            self.pending += dx;
        } else {
            self.flush();
            if dx == 0 { self.write('v', &[dy]) } else { self.write('l', &[dx, dy]) }
        }
        self.at = (x, y);
    }

    fn across(&mut self, dx: i64) {
        self.flush();
        self.write('h', &[dx]);
        self.at.0 += dx;
    }

    fn close(&mut self) {
        self.flush();
        self.text.push('z');
        self.command = 'z';
        self.at = self.begun;
    }

    fn flush(&mut self) {
        let run = std::mem::take(&mut self.pending);
        if run != 0 {
            self.write('h', &[run]);
        }
    }

    fn write(&mut self, command: char, numbers: &[i64]) {
        let mut needs_space = command == self.command;
        if !needs_space {
            self.text.push(command);
            self.command = command;
        }
        for number in numbers {
            if needs_space && *number >= 0 {
                self.text.push(' ');
            }
            self.text.push_str(&number.to_string());
            needs_space = true;
        }
    }

    fn finish(mut self) -> String {
        self.flush();
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: f64 = f64::NAN;

    #[test]
    fn a_path_is_relative_whole_and_short() {
        let y = |value: f64| 100 - value as i64;
        let cases: [(&[f64], &str); 6] = [
            (&[], ""),
            (&[NONE, NONE], ""),
            (&[0.0, 10.0, 5.0], "m0 100 1-10 1 5"),
            (&[5.0, 5.0, 5.0, 6.0], "m0 95h2l1-1"),
            // A gap starts anew; a point alone is a dot.
            (&[1.0, 2.0, NONE, 3.0, NONE, 4.0, 5.0], "m0 99 1-1m4-2 1-1"),
            (&[NONE, 2.0, 2.0], "m1 98h1"),
        ];
        for (values, expected) in cases {
            assert_eq!(line_path(values, y), expected, "{values:?}");
        }
        assert_eq!(dots_path(&[1.0, NONE, 3.0, NONE, 4.0, 5.0], y), "m0 99h0m2-2h0");
        assert_eq!(area_path(&[1.0, 2.0, NONE, 3.0], y, 100), "m0 100v-1l1-1v2z");
    }

    /// Reads a path back by another way than it was written.
    fn read_back(path: &str) -> Vec<(i64, i64)> {
        let (mut at, mut points, mut command) = ((0, 0), Vec::new(), ' ');
        let spaced: String = path
            .chars()
            .map(|c| match c {
                '-' => " -".into(),
                c if c.is_ascii_alphabetic() => format!(" {c} "),
                c => c.to_string(),
            })
            .collect();
        let mut tokens = spaced.split_whitespace().peekable();
        while let Some(token) = tokens.peek() {
            if let Ok(letter) = token
                .parse::<char>()
                .map_err(drop)
                .and_then(|c| if c.is_alphabetic() { Ok(c) } else { Err(()) })
            {
                command = letter;
                tokens.next();
            }
            let mut number = || tokens.next().unwrap().parse::<i64>().unwrap();
            match command {
                'm' | 'l' => at = (at.0 + number(), at.1 + number()),
                'h' => at.0 += number(),
                'v' => at.1 += number(),
                other => panic!("{other}"),
            }
            if command == 'm' {
                command = 'l';
            }
            points.push(at);
        }
        points
    }

    proptest::proptest! {
        #[test]
        fn every_corner_of_a_line_is_in_its_path(
            values in proptest::collection::vec(proptest::option::of(0u8..4), 0..40),
        ) {
            let values: Vec<f64> = values.iter().map(|v| v.map_or(NONE, f64::from)).collect();
            let mut points = read_back(&line_path(&values, |v| v as i64));
            points.extend(read_back(&dots_path(&values, |v| v as i64)));
            for (at, value) in values.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
                let here = (at as i64, *value as i64);
                let is_corner = points.contains(&here);
                // Or on the way along a level stretch.
                let is_passed = points.windows(2).any(|p| {
                    p[0].1 == here.1 && p[1].1 == here.1 && p[0].0 < here.0 && here.0 < p[1].0
                });
                proptest::prop_assert!(is_corner || is_passed, "{here:?} not in {points:?}");
            }
        }
    }
}
