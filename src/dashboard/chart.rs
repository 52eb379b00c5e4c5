//! What a chart shows, as plain data: lines on a grid of times, bars per local
//! day. Where there is no data there is no number (`NaN`, `None`), never 0.

use super::number::{self, Unit};

/// Most points of one line.
pub const MAX_POINTS: usize = 720;
/// Most lines of one chart.
pub const MAX_LINES: usize = 6;

/// Evenly spaced times, `points` of them, the first at `start_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub start_ms: i64,
    pub step_ms: i64,
    pub points: usize,
}

impl Grid {
    /// The grid that covers `start_ms..=end_ms` in at most `most` points with
    /// a round step that is a multiple of `base_ms`; aligned to the step, so
    /// that it stays the same while time goes on within it.
    pub fn covering(start_ms: i64, end_ms: i64, base_ms: i64, most: usize) -> Self {
        let base_ms = base_ms.max(1);
        let most = most.clamp(3, MAX_POINTS) as i64;
        let span = (end_ms - start_ms).max(base_ms);
        let round = STEPS_S.iter().map(|s| s * 1000).filter(|s| s % base_ms == 0);
        let step_ms = std::iter::once(base_ms)
            .chain(round)
            .find(|step| span / step <= most - 3)
            .unwrap_or_else(|| (span / (most - 3)).div_euclid(base_ms).saturating_add(1) * base_ms);
        let start = start_ms.div_euclid(step_ms) * step_ms;
        let end = -(-end_ms).div_euclid(step_ms) * step_ms;
        Grid { start_ms: start, step_ms, points: ((end - start) / step_ms) as usize + 1 }
    }

    /// The grid of the next round step that this one's divides, over the same
    /// span; `None` when there is none.
    pub fn wider(&self) -> Option<Self> {
        let next = STEPS_S.iter().map(|s| s * 1000).find(|s| *s > self.step_ms && s % self.step_ms == 0)?;
        let start_ms = self.start_ms.div_euclid(next) * next;
        let end_ms = -(-self.end_ms()).div_euclid(next) * next;
        Some(Grid { start_ms, step_ms: next, points: ((end_ms - start_ms) / next) as usize + 1 })
    }

    pub fn time_ms(&self, point: usize) -> i64 {
        self.start_ms + self.step_ms * point as i64
    }

    pub fn end_ms(&self) -> i64 {
        self.time_ms(self.points.saturating_sub(1))
    }

    /// The times one after another.
    pub fn times_ms(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.points).map(|point| self.time_ms(point))
    }
}

const STEPS_S: [i64; 21] = [
    1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400,
    172_800, 604_800,
];

/// A line: one value a grid point, `NaN` where there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub label: String,
    pub values: Vec<f64>,
    /// What the legend says of it, such as its last value, and what that is.
    pub summary: Option<f64>,
}

impl Line {
    /// The newest value, if there is any.
    pub fn last(&self) -> Option<f64> {
        self.values.iter().rev().copied().find(|v| !v.is_nan())
    }
}

/// Lines over a common grid.
#[derive(Clone, Debug, PartialEq)]
pub struct LineChart {
    pub grid: Grid,
    pub unit: Unit,
    /// At most [`MAX_LINES`]; that some are left out is told in `note`.
    pub lines: Vec<Line>,
    /// Whether the axis has to start at zero.
    pub from_zero: bool,
    /// What the reader should know besides, such as "by host, first 6 of 20".
    pub note: Option<String>,
}

impl LineChart {
    pub fn has_data(&self) -> bool {
        self.lines.iter().any(|line| line.last().is_some())
    }

    /// What the chart shows, in words.
    pub fn description(&self) -> String {
        let parts: Vec<String> = self.lines.iter().map(|line| self.describe(line)).collect();
        parts.join("; ")
    }

    fn describe(&self, line: &Line) -> String {
        let present = || line.values.iter().copied().filter(|v| !v.is_nan());
        let Some(last) = line.last() else { return format!("{}: {}", line.label, number::NO_DATA) };
        let low = present().fold(f64::INFINITY, f64::min);
        let high = present().fold(f64::NEG_INFINITY, f64::max);
        let show = |value| number::format(value, &self.unit);
        format!("{}: last {}, lowest {}, highest {}", line.label, show(last), show(low), show(high))
    }
}

/// A local day's total.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    pub start_ms: i64,
    pub end_ms: i64,
    pub value: Option<f64>,
    /// The day is not over.
    pub is_unfinished: bool,
}

/// A bar a day.
#[derive(Clone, Debug, PartialEq)]
pub struct BarChart {
    pub bars: Vec<Bar>,
}

impl BarChart {
    pub fn has_data(&self) -> bool {
        self.bars.iter().any(|bar| bar.value.is_some())
    }

    /// Sum of all bars; `None` when no day has data.
    pub fn total(&self) -> Option<f64> {
        self.has_data().then(|| self.bars.iter().filter_map(|bar| bar.value).sum())
    }

    /// Without the days before the first that has data, but never fewer than
    /// `least` days.
    pub fn trimmed(mut self, least: usize) -> Self {
        let empty = self.bars.iter().take_while(|bar| bar.value.is_none()).count();
        let surplus = empty.min(self.bars.len().saturating_sub(least));
        self.bars.drain(..surplus);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_round_aligned_and_bounded() {
        let hour = 3_600_000;
        let end = 1_795_500_123_000;
        let cases = [
            (hour, 400, 10_000),
            (6 * hour, 300, 120_000),
            (24 * hour, 300, 300_000),
            (7 * 24 * hour, 300, 3_600_000),
            (30 * 24 * hour, 720, 7_200_000),
        ];
        for (span, most, step_ms) in cases {
            let grid = Grid::covering(end - span, end, 10_000, most);
            assert_eq!(grid.step_ms, step_ms, "{span}");
            assert!(grid.points <= most);
            assert_eq!(grid.start_ms % step_ms, 0);
            assert!(grid.start_ms <= end - span && end <= grid.end_ms());
        }
        // A window that no round step is a multiple of.
        let odd = Grid::covering(end - 24 * hour, end, 7_000, 300);
        assert!(odd.step_ms % 7_000 == 0 && odd.points <= 300);
        let narrow = Grid::covering(end - hour, end, 10_000, 400);
        let wide = narrow.wider().unwrap();
        assert_eq!(wide.step_ms, 20_000);
        assert!(wide.start_ms <= narrow.start_ms && narrow.end_ms() <= wide.end_ms());
        assert!(Grid::covering(end - 800 * 24 * hour, end, 1_000, 100).points <= 100);
    }

    #[test]
    fn days_before_the_first_are_left_out() {
        let bar = |value| Bar { start_ms: 0, end_ms: 1, value, is_unfinished: false };
        let chart = BarChart { bars: [None, None, Some(0.0), None, Some(2.0)].map(bar).to_vec() };
        assert_eq!(chart.total(), Some(2.0));
        assert_eq!(chart.clone().trimmed(1).bars.len(), 3);
        assert_eq!(chart.trimmed(4).bars.len(), 4);
        assert_eq!(BarChart { bars: vec![bar(None)] }.total(), None);
    }
}
