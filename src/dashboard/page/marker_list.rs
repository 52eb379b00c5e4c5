//! The markers of a page's range as a table, for who cannot see or hover them.

use crate::dashboard::calendar::Calendar;
use crate::dashboard::markup::{Markup, put, shortened};
use crate::model::Marker;

/// Rows of the table; the API has all of them.
const MAX_ROWS: usize = 50;

/// A panel of `markers` (in the order of time), newest first; empty when there
/// are none.
pub fn marker_panel(markers: &[Marker], calendar: &Calendar) -> Markup {
    let mut out = Markup::new();
    if markers.is_empty() {
        return out;
    }
    put!(out, "<article class=\"panel wide\" data-panel=\"markers\"><header><h2>Markers</h2>");
    put!(out, "<span class=\"kind\">", markers.len());
    if markers.len() > MAX_ROWS {
        put!(out, ", the newest ", MAX_ROWS, " below");
    }
    put!(out, "</span></header><div class=\"rows\"><table class=\"alerts markers\"><thead><tr>");
    put!(
        out,
        "<th scope=\"col\">Time</th><th scope=\"col\">What</th><th scope=\"col\">Where</th></tr></thead>"
    );
    put!(out, "<tbody>");
    for marker in markers.iter().rev().take(MAX_ROWS) {
        put!(
            out,
            "<tr class=\"",
            marker.kind.as_str(),
            "\"><th scope=\"row\"><span class=\"flagged\"></span>"
        );
        put!(
            out,
            calendar.moment(marker.at_ms),
            "</th><td><b>",
            shortened(&marker.title, 200).as_ref(),
            "</b>"
        );
        if marker.kind.as_str() != "info" {
            put!(out, " <span class=\"state\">", marker.kind.as_str(), "</span>");
        }
        if !marker.text.is_empty() {
            put!(out, "<br><span>", shortened(&marker.text, 600).as_ref(), "</span>");
        }
        put!(out, "</td><td>");
        for place in [&marker.host, &marker.source].into_iter().filter(|place| !place.is_empty()) {
            put!(out, "<span class=\"label\">", shortened(place, 60).as_ref(), "</span> ");
        }
        for (key, value) in &marker.tags {
            put!(out, "<span class=\"label\">", shortened(key, 60).as_ref());
            if !value.is_empty() {
                put!(out, "=", shortened(value, 60).as_ref());
            }
            put!(out, "</span> ");
        }
        put!(out, "</td></tr>");
    }
    put!(out, "</tbody></table></div></article>");
    out
}
