//! Who makes the series: tables by name, first part of the name, label and
//! listener, and what is over a limit.

use crate::aggregate::quota::PrefixUse;
use crate::aggregate::top::{Maker, Top};
use crate::dashboard::address::{Address, PageKind};
use crate::dashboard::calendar::Calendar;
use crate::dashboard::markup::{Markup, put, shortened};
use crate::dashboard::number;
use crate::telemetry::Offence;

/// Characters of a name in a table.
const NAME_CHARS: usize = 80;
/// Names over a limit that are listed one by one.
const OFFENDERS_MAX: usize = 20;

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub struct SeriesFacts<'a> {
    pub top: &'a Top,
    /// Since when series count as new, in ms since the epoch.
    pub new_since_ms: i64,
    pub series_max: usize,
    pub prefixes: &'a [PrefixUse],
    /// Listeners, and the series that each takes.
    pub sources: &'a [(String, usize)],
    pub offence: Option<&'a Offence>,
}

/// The page's content.
pub fn series_list(facts: SeriesFacts<'_>, address: &Address, calendar: &Calendar, now_ms: i64) -> Markup {
    let mut out = Markup::new();
    let since = calendar.relative(facts.new_since_ms, now_ms);
    put!(
        out,
        "<div class=\"head\"><h1>",
        count(facts.top.series),
        " series</h1><p>at most ",
        count(facts.series_max as u64),
        " beside our own; ",
        count(facts.top.new),
        " are new since ",
        since,
        "</p></div><section class=\"panels two\" aria-label=\"Who makes the series\">"
    );
    if let Some(offence) = facts.offence {
        let title = format!("Over a limit since {}", calendar.relative(offence.since_ms, now_ms));
        let (shown, rest) = offence.names.split_at(offence.names.len().min(OFFENDERS_MAX));
        let others = offence.others + rest.iter().map(|(_, lines)| lines).sum::<u64>();
        let others = (others > 0).then(|| ("others".to_owned(), others));
        let rows = shown.iter().cloned().chain(others);
        begin(&mut out, "over", &title, &["Name", "Lines"]);
        for (name, lines) in rows {
            row(&mut out, &name, None, &[count(lines)]);
        }
        end(&mut out);
    }
    if !facts.prefixes.is_empty() {
        begin(&mut out, "limits", "Limits of prefixes", &["Prefix", "Series", "At most"]);
        for of in facts.prefixes {
            row(&mut out, &of.prefix, None, &[count(of.series as u64), count(of.series_max as u64)]);
        }
        end(&mut out);
    }
    begin(&mut out, "names", "By name", &["Name", "Series", "New"]);
    for maker in &facts.top.names {
        let link = address.beside(PageKind::Metric(maker.name.clone())).href();
        row(&mut out, &maker.name, Some(&link), &numbers(maker));
    }
    end(&mut out);
    begin(&mut out, "labels", "By label", &["Label", "Values", "Series", "New", "For example"]);
    for maker in &facts.top.labels {
        let values = count(maker.values.unwrap_or_default() as u64);
        let example = maker.example.as_deref().unwrap_or_default();
        let [series, new] = numbers(maker);
        row(&mut out, &maker.name, None, &[values, series, new, shortened(example, 40).into_owned()]);
    }
    end(&mut out);
    begin(&mut out, "prefixes", "By the name’s first part", &["First part", "Series", "New"]);
    for maker in &facts.top.prefixes {
        row(&mut out, &maker.name, None, &numbers(maker));
    }
    end(&mut out);
    begin(&mut out, "sources", "By listener", &["Listener", "Series"]);
    for (name, series) in facts.sources {
        row(&mut out, name, None, &[count(*series as u64)]);
    }
    end(&mut out);
    put!(out, "</section>");
    if facts.top.approximate {
        put!(out, "<p class=\"nothing\">There are so many names that counts may be too low by some.</p>");
    }
    out
}

fn begin(out: &mut Markup, id: &'static str, title: &str, columns: &[&'static str]) {
    put!(out, "<article class=\"panel\" data-panel=\"", id, "\"><header><h2>", title);
    put!(out, "</h2></header><table><thead><tr>");
    for column in columns {
        put!(out, "<th scope=\"col\">", *column, "</th>");
    }
    put!(out, "</tr></thead><tbody>");
}

fn row(out: &mut Markup, name: &str, link: Option<&str>, cells: &[String]) {
    put!(out, "<tr><th scope=\"row\">");
    let shown = shortened(name, NAME_CHARS);
    match link {
        Some(link) => put!(out, "<a href=\"", link, "\">", shown.as_ref(), "</a>"),
        None => put!(out, shown.as_ref()),
    };
    put!(out, "</th>");
    for cell in cells {
        put!(out, "<td>", cell.as_str(), "</td>");
    }
    put!(out, "</tr>");
}

fn end(out: &mut Markup) {
    put!(out, "</tbody></table></article>");
}

fn numbers(maker: &Maker) -> [String; 2] {
    [count(maker.series), count(maker.new)]
}

fn count(number: u64) -> String {
    number::exact(number as f64)
}
