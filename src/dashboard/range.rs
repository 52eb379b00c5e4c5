//! The span of time that a page shows, as it stands in the URL: `range=24h`,
//! or `from` and `to` as unix seconds, RFC 3339, a local time or `now-6h`.
//!
//! A range that ends now is live; any other stands still.

use super::calendar::Calendar;
use crate::model::duration;

/// The ranges offered in one click, with their spelling.
pub const PRESETS: [&str; 5] = ["1h", "6h", "24h", "7d", "30d"];

/// Shortest and longest span that is shown.
const MIN_SPAN_MS: i64 = 60_000;
const MAX_SPAN_MS: i64 = 2 * 366 * 86_400_000;

/// A span of time, still free of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    from: Edge,
    to: Edge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    /// So many ms before now.
    Ago(i64),
    /// Ms since the Unix epoch.
    At(i64),
}

/// A text in the URL that is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time: write \"24h\", \"now-6h\", \"2026-11-24 14:00\" or unix seconds")]
pub struct RangeError(pub String);

/// A span of time, in ms since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start_ms: i64,
    pub end_ms: i64,
}

impl Span {
    pub fn len_ms(&self) -> i64 {
        self.end_ms - self.start_ms
    }

    /// The span of the same length that ends where this one starts.
    pub fn before(&self) -> Span {
        Span { start_ms: self.start_ms - self.len_ms(), end_ms: self.start_ms }
    }
}

impl Range {
    /// The last `span_ms` milliseconds.
    pub fn last(span_ms: i64) -> Self {
        Range { from: Edge::Ago(span_ms.clamp(MIN_SPAN_MS, MAX_SPAN_MS)), to: Edge::Ago(0) }
    }

    /// A span that stands still; ends are put in order.
    pub fn between(a_ms: i64, b_ms: i64) -> Self {
        Range { from: Edge::At(a_ms.min(b_ms)), to: Edge::At(a_ms.max(b_ms)) }
    }

    /// Reads the parameters `range`, `from` and `to`; `None` when none is given.
    pub fn parse(
        range: Option<&str>,
        from: Option<&str>,
        to: Option<&str>,
        calendar: &Calendar,
    ) -> Result<Option<Self>, RangeError> {
        let given = |text: Option<&str>| text.map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
        match (given(range), given(from), given(to)) {
            (Some(range), None, None) => {
                let span = duration::parse_ms(&range).map_err(|_| RangeError(brief(&range)))?;
                Ok(Some(Range::last(i64::try_from(span).unwrap_or(MAX_SPAN_MS))))
            }
            (_, None, None) => Ok(None),
            (_, from, to) => {
                let to = to.map_or(Ok(Edge::Ago(0)), |text| edge(&text, calendar))?;
                let from = match (from, to) {
                    (Some(text), _) => edge(&text, calendar)?,
                    (None, Edge::Ago(ago)) => Edge::Ago(ago + DEFAULT_SPAN_MS),
                    (None, Edge::At(at)) => Edge::At(at - DEFAULT_SPAN_MS),
                };
                Ok(Some(Range { from, to }))
            }
        }
    }

    /// The span at the time `now_ms`.
    pub fn span(&self, now_ms: i64) -> Span {
        let resolve = |edge| match edge {
            Edge::Ago(ago) => now_ms.saturating_sub(ago),
            Edge::At(at) => at,
        };
        let (from, to) = (resolve(self.from), resolve(self.to));
        let (from, to) = (from.min(to), from.max(to));
        let length = (to.saturating_sub(from)).clamp(MIN_SPAN_MS, MAX_SPAN_MS);
        Span { start_ms: to.saturating_sub(length), end_ms: to }
    }

    /// Whether it moves on with the clock.
    pub fn is_live(&self) -> bool {
        self.to == Edge::Ago(0)
    }

    /// The parameters that read back to this range.
    pub fn query(&self) -> String {
        match (self.from, self.to) {
            (Edge::Ago(span), Edge::Ago(0)) => format!("range={}", spelled(span)),
            (from, to) => format!("from={}&to={}", edge_text(from), edge_text(to)),
        }
    }

    /// The preset that this range is, in its spelling.
    pub fn preset(&self) -> Option<&'static str> {
        PRESETS.into_iter().find(|preset| self.query() == format!("range={preset}"))
    }

    /// Half a span earlier.
    pub fn back(&self, now_ms: i64) -> Range {
        let span = self.span(now_ms);
        let half = span.len_ms() / 2;
        Range::between(span.start_ms - half, span.end_ms - half)
    }

    /// Half a span later; live again when that reaches the present. `None`
    /// when it is there already.
    pub fn forward(&self, now_ms: i64) -> Option<Range> {
        if self.is_live() {
            return None;
        }
        let span = self.span(now_ms);
        let half = span.len_ms() / 2;
        if span.end_ms + half >= now_ms {
            return Some(Range::last(span.len_ms()));
        }
        Some(Range::between(span.start_ms + half, span.end_ms + half))
    }

    /// Twice as long around the same middle, as far as the present allows.
    pub fn zoom_out(&self, now_ms: i64) -> Range {
        let span = self.span(now_ms);
        let length = (span.len_ms() * 2).min(MAX_SPAN_MS);
        if self.is_live() {
            return Range::last(length);
        }
        let end = (span.end_ms + span.len_ms() / 2).min(now_ms.max(span.end_ms));
        Range::between(end - length, end)
    }
}

const DEFAULT_SPAN_MS: i64 = 86_400_000;

fn edge(text: &str, calendar: &Calendar) -> Result<Edge, RangeError> {
    let wrong = || RangeError(brief(text));
    if text == "now" {
        return Ok(Edge::Ago(0));
    }
    if let Some(ago) = text.strip_prefix("now-") {
        let ago = duration::parse_ms(ago).map_err(|_| wrong())?;
        return Ok(Edge::Ago(i64::try_from(ago).map_err(|_| wrong())?));
    }
    if let Ok(seconds) = text.parse::<f64>() {
        // Beyond that no calendar goes; NaN fails the comparison too.
        return if seconds.abs() < 2e11 { Ok(Edge::At((seconds * 1000.0) as i64)) } else { Err(wrong()) };
    }
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Ok(Edge::At(timestamp.as_millisecond()));
    }
    calendar.read(text).map(Edge::At).ok_or_else(wrong)
}

fn edge_text(edge: Edge) -> String {
    match edge {
        Edge::Ago(0) => "now".into(),
        Edge::Ago(ago) => format!("now-{}", spelled(ago)),
        Edge::At(at) if at % 1000 == 0 => (at / 1000).to_string(),
        Edge::At(at) => format!("{:.3}", at as f64 / 1000.0),
    }
}

/// As the presets spell it: `24h` and not `1d`, `7d` and not `1w`.
fn spelled(ms: i64) -> String {
    match ms {
        DEFAULT_SPAN_MS => "24h".into(),
        days if days > 0 && days % DEFAULT_SPAN_MS == 0 => format!("{}d", days / DEFAULT_SPAN_MS),
        other => duration::format_ms(other.unsigned_abs()),
    }
}

fn brief(text: &str) -> String {
    super::markup::shortened(text, 40).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    const NOW: i64 = 1_795_500_000_000;
    const HOUR: i64 = 3_600_000;

    fn read(range: &str, from: &str, to: &str) -> Result<Option<Range>, RangeError> {
        let calendar = Calendar::new(TimeZone::get("Europe/Berlin").unwrap());
        Range::parse(Some(range), Some(from), Some(to), &calendar)
    }

    #[test]
    fn urls_read_as_written() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let cases = [
            ("24h", "", "", NOW - 24 * HOUR, NOW),
            ("", "now-6h", "", NOW - 6 * HOUR, NOW),
            ("", "now-6h", "now-1h", NOW - 6 * HOUR, NOW - HOUR),
            ("", "1795400000", "1795410000.5", 1_795_400_000_000, 1_795_410_000_500),
            ("7d", "1795400000", "1795410000", 1_795_400_000_000, 1_795_410_000_000),
            (
                "",
                "2026-11-23T10:00:00Z",
                "2026-11-23T12:00:00+01:00",
                at("2026-11-23T10:00:00Z"),
                at("2026-11-23T11:00:00Z"),
            ),
            ("", "2026-11-23", "2026-11-23 12:00", at("2026-11-22T23:00:00Z"), at("2026-11-23T11:00:00Z")),
            // Ends the wrong way round, and spans too short or too long.
            ("", "now-1h", "now-6h", NOW - 6 * HOUR, NOW - HOUR),
            ("1s", "", "", NOW - MIN_SPAN_MS, NOW),
            ("", "0", "now", NOW - MAX_SPAN_MS, NOW),
        ];
        for (range, from, to, start_ms, end_ms) in cases {
            let read = read(range, from, to).unwrap().unwrap();
            assert_eq!(read.span(NOW), Span { start_ms, end_ms }, "{range} {from} {to}");
        }
        assert_eq!(read("", " ", "").unwrap(), None);
        for wrong in ["yesterday", "1e99", "NaN", "now-", "now+1h", "<b>"] {
            assert!(read("", wrong, "").is_err(), "{wrong}");
        }
        assert!(read("5", "", "").is_err());
    }

    #[test]
    fn a_range_survives_its_own_url() {
        let calendar = Calendar::new(TimeZone::UTC);
        for range in [
            Range::last(24 * HOUR),
            Range::last(90 * 60_000),
            Range::between(NOW - 5 * HOUR, NOW - HOUR),
            Range::between(NOW - 5, NOW - 200_001),
            Range { from: Edge::Ago(6 * HOUR), to: Edge::Ago(HOUR) },
        ] {
            let query = range.query();
            let part = |name: &str| {
                query
                    .split('&')
                    .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
                    .map(str::to_owned)
            };
            let (a, b, c) = (part("range"), part("from"), part("to"));
            let read = Range::parse(a.as_deref(), b.as_deref(), c.as_deref(), &calendar).unwrap();
            assert_eq!(read, Some(range), "{query}");
        }
        for preset in PRESETS {
            assert_eq!(read(preset, "", "").unwrap().unwrap().preset(), Some(preset));
        }
        assert_eq!(Range::last(5 * HOUR).preset(), None);
    }

    #[test]
    fn stepping_back_and_forth_returns_to_live() {
        let live = Range::last(6 * HOUR);
        assert_eq!(live.forward(NOW), None);
        let back = live.back(NOW);
        assert!(!back.is_live());
        assert_eq!(back.span(NOW).end_ms, NOW - 3 * HOUR);
        assert_eq!(back.forward(NOW), Some(live));
        let out = back.zoom_out(NOW);
        assert_eq!(out.span(NOW).len_ms(), 12 * HOUR);
        assert!(out.span(NOW).end_ms <= NOW);
        assert_eq!(live.zoom_out(NOW), Range::last(12 * HOUR));
    }
}
