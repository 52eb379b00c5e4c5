//! Markers on a chart of lines: a vertical line with a small flag each, whose
//! title says what happened. Those that would lie on one another share a line.

use super::calendar::Calendar;
use super::markup::{Decimal, Markup, put, shortened};
use crate::model::{Marker, MarkerKind};

/// Lines that one chart has at most; the newest are drawn.
const LINES_MAX: usize = 40;
/// Markers that one line names.
const NAMED_MAX: usize = 4;
/// Parts of a chart's width; what is in the same part shares a line.
const PARTS: i64 = 100;

/// Draws those of `markers` (in the order of time) that lie between `start_ms`
/// and `end_ms`, `top_px` from above and `height_px` tall.
pub fn put_markers(
    svg: &mut Markup,
    markers: &[Marker],
    (start_ms, end_ms): (i64, i64),
    (top_px, height_px): (i64, i64),
    calendar: &Calendar,
) {
    let span_ms = (end_ms - start_ms).max(1);
    let part = |marker: &Marker| (marker.at_ms - start_ms) * PARTS / span_ms;
    let inside: Vec<&Marker> =
        markers.iter().filter(|marker| (start_ms..=end_ms).contains(&marker.at_ms)).collect();
    let groups: Vec<&[&Marker]> = inside.chunk_by(|a, b| part(a) == part(b)).collect();
    for group in groups.iter().skip(groups.len().saturating_sub(LINES_MAX)) {
        let Some(newest) = group.last() else { continue };
        let x = (newest.at_ms - start_ms) as f64 / span_ms as f64 * 100.0;
        put!(svg, "<svg class=\"mark ", worst(group).as_str(), "\" x=\"", Decimal(x), "%\" y=\"", top_px);
        put!(svg, "\"><title>", in_words(group, calendar), "</title>");
        put!(svg, "<rect class=\"hit\" x=\"-5\" width=\"10\" height=\"", height_px, "\"/>");
        put!(svg, "<path d=\"M0 0v", height_px, "\"/><path class=\"flag\" d=\"M-.5 0l8 3.5-8 3.5z\"/></svg>");
    }
}

/// What a line's title says.
fn in_words(group: &[&Marker], calendar: &Calendar) -> String {
    let one = |marker: &&Marker| {
        let mut words = format!("{} {}", calendar.clock_seconds(marker.at_ms), shortened(&marker.title, 120));
        if !marker.text.is_empty() {
            words += &format!(": {}", shortened(&marker.text, 240));
        }
        words
    };
    // The newest first, as in the list below the charts.
    let mut words: Vec<String> = group.iter().rev().take(NAMED_MAX).map(one).collect();
    if group.len() > NAMED_MAX {
        words.push(format!("and {} more", group.len() - NAMED_MAX));
    }
    words.join(" · ")
}

fn worst(group: &[&Marker]) -> MarkerKind {
    let rank = |kind: &MarkerKind| MarkerKind::ALL.iter().position(|known| known == kind);
    group.iter().map(|marker| marker.kind).max_by_key(rank).unwrap_or_default()
}
