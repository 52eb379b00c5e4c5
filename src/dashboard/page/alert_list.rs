//! Alerts on a page: a banner while something fires, and the list of states.

use crate::dashboard::alerts::{self, AlertRow, AlertState, MAX_ROWS};
use crate::dashboard::calendar::Calendar;
use crate::dashboard::markup::{Markup, put, shortened};
use crate::dashboard::number::{self, Unit};

/// Firing alerts that the banner names one by one.
const IN_BANNER: usize = 5;

/// What fires, on top of the page; empty when nothing does.
pub fn banner(rows: &[AlertRow], calendar: &Calendar, now_ms: i64) -> Markup {
    let mut out = Markup::new();
    let firing: Vec<&AlertRow> =
        alerts::sorted(rows, &[]).into_iter().filter(|row| row.state == AlertState::Firing).collect();
    if firing.is_empty() {
        return out;
    }
    put!(out, "<section class=\"banner\" role=\"alert\" aria-label=\"Firing alerts\"><ul>");
    for row in firing.iter().take(IN_BANNER) {
        put!(out, "<li><b class=\"state\">▲ FIRING</b> <b>", shortened(&row.rule, 120).as_ref(), "</b>");
        put_labels(&mut out, row);
        if !row.summary.is_empty() {
            put!(out, " <span>", shortened(&row.summary, 300).as_ref(), "</span>");
        }
        put!(out, " <span class=\"when\">");
        if let Some(value) = row.value {
            put!(out, "value ", number::format(value, &Unit::Plain), " · ");
        }
        put!(out, "since ", calendar.relative(row.since_ms / 1000 * 1000, now_ms));
        put!(out, " · for ", number::coarse_duration_words(now_ms - row.since_ms), "</span></li>");
    }
    if firing.len() > IN_BANNER {
        put!(out, "<li>and ", firing.len() - IN_BANNER, " more</li>");
    }
    put!(out, "</ul></section>");
    out
}

/// All states of `rules` (of every rule when empty), a line each.
pub fn list(rows: &[AlertRow], rules: &[String], calendar: &Calendar, now_ms: i64) -> Markup {
    let mut out = Markup::new();
    let rows = alerts::sorted(rows, rules);
    if rows.is_empty() {
        put!(out, "<p class=\"nothing\">no alert rules</p>");
        return out;
    }
    put!(
        out,
        "<div class=\"rows\"><table class=\"alerts\"><thead><tr><th scope=\"col\">State</th><th \
         scope=\"col\">Rule</th><th scope=\"col\">Value</th><th scope=\"col\">Since</th></tr></thead><tbody>",
    );
    for row in rows.iter().take(MAX_ROWS) {
        put!(
            out,
            "<tr class=\"",
            class_of(row.state),
            "\"><td class=\"state\">",
            sign_of(row.state),
            "\u{a0}"
        );
        put!(out, row.state.as_str(), "</td><td><b>", shortened(&row.rule, 120).as_ref(), "</b>");
        put_labels(&mut out, row);
        if !row.summary.is_empty() {
            put!(out, "<br><span>", shortened(&row.summary, 300).as_ref(), "</span>");
        }
        put!(out, "</td><td class=\"number\">");
        match row.value {
            Some(value) => put!(out, number::format(value, &Unit::Plain)),
            None => put!(out, "–"),
        };
        put!(out, "</td><td class=\"number\">");
        let since = calendar.relative(row.since_ms / 1000 * 1000, now_ms);
        match row.state {
            AlertState::NoData | AlertState::Inactive if row.since_ms <= 0 => {
                put!(out, "not looked at yet");
            }
            AlertState::NoData | AlertState::Inactive => {
                put!(out, since, "<br><span>looked at</span>");
            }
            _ => {
                let lasted = number::coarse_duration_words(now_ms - row.since_ms);
                put!(out, since, "<br><span>for ", lasted, "</span>");
            }
        }
        put!(out, "</td></tr>");
    }
    put!(out, "</tbody></table></div>");
    if rows.len() > MAX_ROWS {
        put!(out, "<p class=\"nothing\">and ", rows.len() - MAX_ROWS, " more</p>");
    }
    out
}

fn put_labels(out: &mut Markup, row: &AlertRow) {
    for (name, value) in row.labels.iter().take(8) {
        put!(
            out,
            " <span class=\"label\">",
            shortened(name, 40).as_ref(),
            "=",
            shortened(value, 60).as_ref(),
            "</span>"
        );
    }
}

/// Shape and word tell the state; colour only helps.
fn sign_of(state: AlertState) -> &'static str {
    match state {
        AlertState::Firing => "▲",
        AlertState::Pending => "◔",
        AlertState::NoData => "○",
        AlertState::Resolved => "✔",
        AlertState::Inactive => "·",
    }
}

fn class_of(state: AlertState) -> &'static str {
    match state {
        AlertState::Firing => "firing",
        AlertState::Pending => "pending",
        AlertState::NoData => "unknown",
        AlertState::Resolved => "resolved",
        AlertState::Inactive => "inactive",
    }
}
