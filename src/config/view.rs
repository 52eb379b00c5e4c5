//! `[[view]]`: as they are written, and the views they mean. All problems of
//! all views are found in one go, each with its place and a way out.

use super::error::Problem;
use super::view_text::{Problems, hint};
use crate::dashboard::calendar::{Calendar, MAX_DAYS};
use crate::dashboard::number::Unit;
use crate::dashboard::range::Range;
use crate::dashboard::view::{Better, Kpi, KpiSource, Panel, PanelKind, Show, View};
use crate::model::duration;
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::collections::BTreeSet;
use toml::Spanned;

/// Most views, and most tiles and panels of one view.
pub const VIEWS_MAX: usize = 100;
pub const KPIS_MAX: usize = 24;
pub const PANELS_MAX: usize = 48;
/// Most lines that one panel can be told to show.
const SHOW_MAX: usize = 6;

const KINDS: [&str; 3] = ["line", "bars_per_day", "alerts"];

/// `[[view]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSection {
    pub id: Spanned<String>,
    pub title: Option<String>,
    pub range: Option<Spanned<String>>,
    pub timezone: Option<Spanned<String>>,
    #[serde(default)]
    pub kpi: Vec<KpiSection>,
    #[serde(default)]
    pub panel: Vec<PanelSection>,
}

/// `[[view.kpi]]`: one of `query`, `metric`, or `ok` with `failed`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KpiSection {
    pub id: Spanned<String>,
    pub title: Option<String>,
    pub unit: Option<String>,
    pub query: Option<Spanned<String>>,
    pub metric: Option<Spanned<String>>,
    pub show: Option<Spanned<String>>,
    pub ok: Option<Spanned<String>>,
    pub failed: Option<Spanned<String>>,
    pub target: Option<Spanned<f64>>,
    pub empty: Option<String>,
    pub better: Option<Spanned<String>>,
}

/// `[[view.panel]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PanelSection {
    pub kind: Spanned<String>,
    pub title: Option<String>,
    pub unit: Option<String>,
    pub metric: Option<Spanned<String>>,
    pub query: Option<Spanned<String>>,
    pub show: Option<Vec<Spanned<String>>>,
    pub days: Option<Spanned<u64>>,
    pub rules: Option<Vec<Spanned<String>>>,
}

/// The views that `sections` mean, in their order. A view without a time zone
/// of its own gets `calendar`; `rules` are the names of all alert rules.
pub fn views(
    sections: &[ViewSection],
    calendar: &Calendar,
    rules: &[&str],
) -> Result<Vec<View>, Vec<Problem>> {
    let mut problems = Problems::default();
    if sections.len() > VIEWS_MAX {
        problems.add(None, "view", format!("{} views are more than {VIEWS_MAX}", sections.len()));
    }
    let mut seen = BTreeSet::new();
    let views = sections
        .iter()
        .take(VIEWS_MAX)
        .enumerate()
        .map(|(at, section)| {
            let key = format!("view[{at}]");
            problems.check_id(&section.id, &format!("{key}.id"), &mut seen);
            view(section, &key, calendar, rules, &mut problems)
        })
        .collect();
    problems.or(views)
}

fn view(
    section: &ViewSection,
    key: &str,
    calendar: &Calendar,
    rules: &[&str],
    problems: &mut Problems,
) -> View {
    let calendar = match &section.timezone {
        None => calendar.clone(),
        Some(name) => match TimeZone::get(name.get_ref()) {
            Ok(zone) => Calendar::new(zone),
            Err(_) => {
                let message = format!(
                    "{:?} is no known time zone; write one such as \"Europe/Berlin\"",
                    name.get_ref()
                );
                problems.add(name.span(), format!("{key}.timezone"), message);
                calendar.clone()
            }
        },
    };
    let mut range = Range::last(86_400_000);
    if let Some(text) = &section.range {
        match duration::parse_ms(text.get_ref()) {
            Ok(0) => problems.add(text.span(), format!("{key}.range"), "must be 1m at least"),
            Ok(span) => range = Range::last(i64::try_from(span).unwrap_or(i64::MAX)),
            Err(error) => problems.add(text.span(), format!("{key}.range"), error),
        }
    }
    for (what, count, most) in
        [("kpi", section.kpi.len(), KPIS_MAX), ("panel", section.panel.len(), PANELS_MAX)]
    {
        if count > most {
            problems.add(section.id.span(), format!("{key}.{what}"), format!("{count} are more than {most}"));
        }
    }
    let mut seen = BTreeSet::new();
    let kpis = section.kpi.iter().take(KPIS_MAX).enumerate().filter_map(|(at, kpi_section)| {
        let key = format!("{key}.kpi[{at}]");
        problems.check_id(&kpi_section.id, &format!("{key}.id"), &mut seen);
        kpi(kpi_section, &key, problems)
    });
    let kpis = kpis.collect();
    let panels = section.panel.iter().take(PANELS_MAX).enumerate();
    let panels =
        panels.filter_map(|(at, section)| panel(section, &format!("{key}.panel[{at}]"), rules, problems));
    let panels = panels.collect();
    let id = section.id.get_ref().clone();
    View { title: section.title.clone().unwrap_or_else(|| id.clone()), id, range, calendar, kpis, panels }
}

fn kpi(section: &KpiSection, key: &str, problems: &mut Problems) -> Option<Kpi> {
    let mut unit = section.unit.as_deref().map(Unit::parse).unwrap_or_default();
    let source = match (&section.query, &section.metric, &section.ok, &section.failed) {
        (Some(query), None, None, None) => KpiSource::Query(problems.expr(query, &format!("{key}.query"))?),
        (None, Some(metric), None, None) => {
            let selection = problems.selection(metric, &format!("{key}.metric"));
            let show = match &section.show {
                None => Some(Show::Last),
                Some(text) => problems.show(text, &format!("{key}.show")),
            };
            KpiSource::Metric { selection: selection?, show: show? }
        }
        (None, None, Some(ok), Some(failed)) => {
            unit = Unit::Ratio;
            let ok = problems.selection(ok, &format!("{key}.ok"));
            let failed = problems.selection(failed, &format!("{key}.failed"));
            KpiSource::Ratio { ok: ok?, failed: failed? }
        }
        _ => {
            let message = "a tile needs exactly one of: query, metric, or ok together with failed";
            problems.add(section.id.span(), key, message);
            return None;
        }
    };
    if let (Some(show), KpiSource::Query(_) | KpiSource::Ratio { .. }) = (&section.show, &source) {
        problems.add(show.span(), format!("{key}.show"), "goes with metric only; leave it out");
    }
    let better = match section.better.as_ref().map(|text| (text, text.get_ref().as_str())) {
        None => Better::default(),
        Some((_, "higher")) => Better::Higher,
        Some((_, "lower")) => Better::Lower,
        Some((text, wrong)) => {
            let hint = hint(wrong, &["higher", "lower"]);
            problems.add(
                text.span(),
                format!("{key}.better"),
                format!("{wrong:?} is neither higher nor lower{hint}"),
            );
            Better::default()
        }
    };
    let target = section.target.as_ref().map(|target| *target.get_ref());
    if let (Some(written), Some(value)) = (&section.target, target) {
        let mut wrong = |message: String| problems.add(written.span(), format!("{key}.target"), message);
        if !value.is_finite() {
            wrong(format!("{value} is no number to reach"));
        } else if unit == Unit::Ratio && !(0.0..=1.0).contains(&value) {
            wrong(format!("{value} is not between 0 and 1; 90 % is written 0.9"));
        }
    }
    let id = section.id.get_ref().clone();
    Some(Kpi {
        title: section.title.clone().unwrap_or_else(|| id.clone()),
        id,
        unit,
        source,
        target,
        empty: section.empty.clone().unwrap_or_default(),
        better,
    })
}

fn panel(section: &PanelSection, key: &str, rules: &[&str], problems: &mut Problems) -> Option<Panel> {
    let kind = section.kind.get_ref().as_str();
    refuse_strangers(section, kind, key, problems);
    let (kind, named) = match kind {
        "line" => match (&section.metric, &section.query) {
            (Some(metric), None) => {
                let shows = section.show.iter().flatten().take(SHOW_MAX).enumerate();
                let show: Vec<Show> = shows
                    .filter_map(|(at, text)| problems.show(text, &format!("{key}.show[{at}]")))
                    .collect();
                problems.one_unit(section.show.iter().flatten(), &format!("{key}.show"));
                let selection = problems.selection(metric, &format!("{key}.metric"))?;
                let named = selection.text.clone();
                (PanelKind::Line { selection, show }, named)
            }
            (None, Some(query)) => {
                let expr = problems.expr(query, &format!("{key}.query"))?;
                (PanelKind::Query { expr: expr.clone() }, expr)
            }
            _ => {
                problems.add(section.kind.span(), key, "a line panel needs exactly one of: metric, query");
                return None;
            }
        },
        "bars_per_day" => {
            let Some(metric) = &section.metric else {
                problems.add(section.kind.span(), key, "a bars_per_day panel needs a metric");
                return None;
            };
            let mut days = 30;
            if let Some(given) = &section.days {
                let most = MAX_DAYS as u64;
                match *given.get_ref() {
                    n if (1..=most).contains(&n) => days = n as usize,
                    n => problems.add(
                        given.span(),
                        format!("{key}.days"),
                        format!("{n} is not within 1 to {most}"),
                    ),
                }
            }
            let selection = problems.selection(metric, &format!("{key}.metric"))?;
            let named = format!("{} per day", selection.text);
            (PanelKind::BarsPerDay { selection, days }, named)
        }
        "alerts" => {
            let wanted = section.rules.as_deref().unwrap_or_default();
            for (at, rule) in wanted.iter().enumerate() {
                let name = rule.get_ref().as_str();
                if !rules.contains(&name) {
                    let message = format!("there is no alert rule {name:?}{}", hint(name, rules));
                    problems.add(rule.span(), format!("{key}.rules[{at}]"), message);
                }
            }
            let rules = wanted.iter().map(|rule| rule.get_ref().clone()).collect();
            (PanelKind::Alerts { rules }, "Alerts".to_owned())
        }
        wrong => {
            let message = format!(
                "{wrong:?} is no kind of panel; there are {}{}",
                KINDS.join(", "),
                hint(wrong, &KINDS)
            );
            problems.add(section.kind.span(), format!("{key}.kind"), message);
            return None;
        }
    };
    Some(Panel {
        title: section.title.clone().unwrap_or(named),
        unit: section.unit.as_deref().map(Unit::parse),
        kind,
    })
}

/// A key that the panel's kind has no use for is a mistake, not decoration.
fn refuse_strangers(section: &PanelSection, kind: &str, key: &str, problems: &mut Problems) {
    let list_span = |list: &Option<Vec<Spanned<String>>>| {
        list.as_ref().map(|list| list.first().map_or(section.kind.span(), Spanned::span))
    };
    let given = [
        ("metric", section.metric.as_ref().map(Spanned::span), &["line", "bars_per_day"][..]),
        ("query", section.query.as_ref().map(Spanned::span), &["line"][..]),
        ("show", list_span(&section.show), &["line"][..]),
        ("days", section.days.as_ref().map(Spanned::span), &["bars_per_day"][..]),
        ("rules", list_span(&section.rules), &["alerts"][..]),
    ];
    for (name, span, kinds) in given {
        if let Some(span) = span
            && KINDS.contains(&kind)
            && !kinds.contains(&kind)
        {
            let message = format!("has no meaning in a panel of kind {kind:?}; leave it out");
            problems.add(span, format!("{key}.{name}"), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        view: Vec<ViewSection>,
    }

    fn read(text: &str) -> Result<Vec<View>, Vec<Problem>> {
        let file: File = toml::from_str(text).unwrap();
        views(&file.view, &Calendar::new(TimeZone::UTC), &["errors-last-hour"])
    }

    const WHOLE: &str = r#"
[[view]]
id = "team"
title = "Team pipeline"
range = "24h"
timezone = "Europe/Berlin"
[[view.kpi]]
id = "throughput"
query = "sum(rate(records[5m]))"
unit = "/s"
[[view.kpi]]
id = "conflicts"
title = "Conflicts resolved"
ok = "merge.ok"
failed = 'merge.failed{team="a"}'
target = 0.9
empty = "no merges yet"
better = "higher"
[[view.kpi]]
id = "slowest"
metric = '{__name__="import_duration", job!=""}'
show = "p99.9"
[[view.panel]]
kind = "line"
title = "Import duration"
metric = "import_duration"
show = ["p50", "p95", "max"]
[[view.panel]]
kind = "bars_per_day"
metric = "records"
[[view.panel]]
kind = "line"
query = "sum(rate(records[5m]))"
[[view.panel]]
kind = "alerts"
rules = ["errors-last-hour"]
"#;

    #[test]
    fn a_whole_view_is_understood() {
        let views = read(WHOLE).unwrap();
        let view = &views[0];
        assert_eq!((view.title.as_str(), view.calendar.zone_name()), ("Team pipeline", "Europe/Berlin"));
        assert_eq!(view.range, Range::last(86_400_000));
        assert_eq!(view.kpis[0].title, "throughput");
        assert!(matches!(&view.kpis[1].source, KpiSource::Ratio { failed, .. }
            if failed.matchers.iter().map(ToString::to_string).collect::<Vec<_>>()
                == ["__name__=\"merge.failed\"", "team=\"a\""]));
        assert!(matches!(&view.kpis[2].source, KpiSource::Metric { selection, show: Show::Quantile(q) }
            if selection.matchers.len() == 2 && (q - 0.999).abs() < 1e-12));
        assert!(matches!(&view.panels[0].kind, PanelKind::Line { show, .. } if show.len() == 3));
        assert!(matches!(&view.panels[1].kind, PanelKind::BarsPerDay { days: 30, .. }));
        assert_eq!(view.panels[1].title, "records per day");
        assert!(matches!(&view.panels[3].kind, PanelKind::Alerts { rules } if rules.len() == 1));
    }

    /// Where `from` stands in the whole view, `to` is written; the one problem
    /// that this makes is at `place` and says `expected`.
    fn check(from: &str, to: &str, key: &str, place: &str, expected: &str) {
        assert!(WHOLE.contains(from), "{from}");
        let text = WHOLE.replacen(from, to, 1);
        let problems = read(&text).expect_err(to);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].key, key);
        assert!(problems[0].message.contains(expected), "{:?}", problems[0]);
        let span = problems[0].span.clone().unwrap();
        assert_eq!(&text[span], place);
    }

    #[test]
    fn a_mistake_is_named_with_its_place_and_a_way_out() {
        check("\"24h\"", "\"a day\"", "view[0].range", "\"a day\"", "is not a duration");
        check(
            "Europe/Berlin",
            "Europe/Berlln",
            "view[0].timezone",
            "\"Europe/Berlln\"",
            "no known time zone",
        );
        check("\"team\"", "\"my team\"", "view[0].id", "\"my team\"", "is no id");
        check("\"slowest\"", "\"throughput\"", "view[0].kpi[2].id", "\"throughput\"", "there already");
        check(
            "[\"p50\", \"p95\", \"max\"]",
            "[\"p50\", \"rate\"]",
            "view[0].panel[0].show[1]",
            "\"rate\"",
            "another unit than p50",
        );
        check("target = 0.9", "target = 90.0", "view[0].kpi[1].target", "90.0", "between 0 and 1");
        check("target = 0.9", "target = nan", "view[0].kpi[1].target", "nan", "is no number");
        check("\"p99.9\"", "\"p999\"", "view[0].kpi[2].show", "\"p999\"", "cannot be shown");
        check("\"higher\"", "\"highr\"", "view[0].kpi[1].better", "\"highr\"", "did you mean \"higher\"?");
        check("ok = ", "metric = ", "view[0].kpi[1]", "\"conflicts\"", "exactly one of");
        check(
            "\"bars_per_day\"",
            "\"bars_a_day\"",
            "view[0].panel[1].kind",
            "\"bars_a_day\"",
            "\"bars_per_day\"?",
        );
        check(
            "kind = \"bars_per_day\"",
            "kind = \"bars_per_day\"\ndays = 9999",
            "view[0].panel[1].days",
            "9999",
            "1 to 366",
        );
        check("metric = \"records\"", "metric = \" \"", "view[0].panel[1].metric", "\" \"", "is empty");
        check("metric = \"records\"", "metric = \"r{\"", "view[0].panel[1].metric", "\"r{\"", "");
        check(
            "[\"errors-last-hour\"]",
            "[\"errors-last-our\"]",
            "view[0].panel[3].rules[0]",
            "\"errors-last-our\"",
            "did you mean",
        );
        check(
            "query = \"sum(rate(records[5m]))\"\nunit",
            "query = \"sum(rate(\"\nunit",
            "view[0].kpi[0].query",
            "\"sum(rate(\"",
            "",
        );
        check(
            "rules = [\"errors-last-hour\"]",
            "query = \"up\"",
            "view[0].panel[3].query",
            "\"up\"",
            "no meaning",
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let wrong = WHOLE.replacen("target", "taget", 1);
        let error = toml::from_str::<File>(&wrong).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("unknown field `taget`") && error.contains("target"), "{error}");
    }
}
