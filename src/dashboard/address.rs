//! The address of a page: path and parameters, read leniently and written
//! back. All that a page shows follows from it, so that a link is a view.

use super::calendar::Calendar;
use super::range::{Range, RangeError};

/// Longest parameter that is looked at, in bytes; a metric's name fits.
const MAX_VALUE_BYTES: usize = 16_384;
/// Most tiles that can be chosen.
const MAX_KPIS: usize = 64;

/// What a page is asked to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    pub page: PageKind,
    pub range: Option<Range>,
    /// The text searched for in names.
    pub search: String,
    /// Number of the list's page, from 1.
    pub number: usize,
    /// Tiles to show, in this order; all when `None`.
    pub kpis: Option<Vec<String>>,
    pub theme: Option<Theme>,
}

/// Which page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PageKind {
    /// The first view, or all metrics when there is none.
    #[default]
    Home,
    View(String),
    Metrics,
    /// One metric alone.
    Metric(String),
    /// Who makes the series.
    Series,
}

/// Forced colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    Light,
    Dark,
}

impl Theme {
    pub fn as_str(self) -> &'static str {
        match self {
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }
}

impl Address {
    /// Reads the parameters of a URL; what is unknown is left out. The range
    /// comes apart, since it can be wrong in a way that must be said.
    pub fn read(
        page: PageKind,
        pairs: &[(String, String)],
        calendar: &Calendar,
    ) -> (Self, Option<RangeError>) {
        let all = |name: &'static str| {
            pairs.iter().filter(move |(key, value)| key == name && value.len() <= MAX_VALUE_BYTES)
        };
        let one = |name| all(name).next_back().map(|(_, value)| value.as_str());
        let page = match (page, one("view"), one("name")) {
            (PageKind::Home, Some(view), _) => PageKind::View(view.to_owned()),
            (PageKind::Metrics, _, Some(name)) => PageKind::Metric(name.to_owned()),
            (page, ..) => page,
        };
        let (range, error) = match Range::parse(one("range"), one("from"), one("to"), calendar) {
            Ok(range) => (range, None),
            Err(error) => (None, Some(error)),
        };
        let chosen: Vec<String> = all("kpis")
            .flat_map(|(_, value)| value.split(','))
            .filter(|id| !id.is_empty())
            .take(MAX_KPIS)
            .map(str::to_owned)
            .collect();
        let address = Address {
            page,
            range,
            search: one("q").unwrap_or_default().trim().to_owned(),
            number: one("page").and_then(|n| n.parse().ok()).unwrap_or(1).clamp(1, 1_000_000),
            kpis: all("kpis").next().is_some().then_some(chosen),
            theme: match one("theme") {
                Some("light") => Some(Theme::Light),
                Some("dark") => Some(Theme::Dark),
                _ => None,
            },
        };
        (address, error)
    }

    /// The address as a URL from the root.
    pub fn href(&self) -> String {
        let path = match self.page {
            PageKind::Home | PageKind::View(_) => "/dashboard",
            PageKind::Metrics | PageKind::Metric(_) => "/dashboard/metrics",
            PageKind::Series => "/dashboard/series",
        };
        let parameters = self.parameters();
        if parameters.is_empty() { path.to_owned() } else { format!("{path}?{parameters}") }
    }

    fn parameters(&self) -> String {
        let mut parts = Vec::new();
        let mut add = |name: &str, value: &str| parts.push(format!("{name}={}", encoded(value)));
        match &self.page {
            PageKind::View(id) => add("view", id),
            PageKind::Metric(name) => add("name", name),
            PageKind::Home | PageKind::Metrics | PageKind::Series => {}
        }
        if !self.search.is_empty() {
            add("q", &self.search);
        }
        if self.number > 1 {
            add("page", &self.number.to_string());
        }
        if let Some(kpis) = &self.kpis {
            parts.push(format!("kpis={}", kpis.iter().map(|id| encoded(id)).collect::<Vec<_>>().join(",")));
        }
        if let Some(range) = self.range {
            parts.push(range.query());
        }
        if let Some(theme) = self.theme {
            parts.push(format!("theme={}", theme.as_str()));
        }
        parts.join("&")
    }

    /// The same page over another range.
    pub fn over(&self, range: Range) -> Self {
        Address { range: Some(range), ..self.clone() }
    }

    /// Another page over the same range, in the same colours.
    pub fn beside(&self, page: PageKind) -> Self {
        Address { page, range: self.range, theme: self.theme, ..Address::default() }
    }

    /// Pairs that a form must carry to keep the rest of the address, without
    /// those that it sets itself.
    pub fn hidden(&self, own: &[&str]) -> Vec<(String, String)> {
        self.parameters()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, _)| !own.contains(name))
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect()
    }
}

/// `text` as a value in a query string.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                out.push(byte as char);
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Undoes [`encoded`].
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn read(page: PageKind, pairs: &[(&str, &str)]) -> (Address, Option<RangeError>) {
        let pairs: Vec<_> = pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        Address::read(page, &pairs, &Calendar::new(TimeZone::UTC))
    }

    #[test]
    fn an_address_survives_its_own_link() {
        type Case<'a> = (PageKind, &'a [(&'a str, &'a str)], &'a str);
        let cases: [Case<'_>; 6] = [
            (PageKind::Home, &[], "/dashboard"),
            (PageKind::Home, &[("view", "team"), ("range", "6h")], "/dashboard?view=team&range=6h"),
            (
                PageKind::Home,
                &[("kpis", "a"), ("kpis", "b,c"), ("theme", "dark")],
                "/dashboard?kpis=a,b,c&theme=dark",
            ),
            (PageKind::Metrics, &[("q", "a&b=c"), ("page", "3")], "/dashboard/metrics?q=a%26b%3Dc&page=3"),
            (PageKind::Series, &[("theme", "dark")], "/dashboard/series?theme=dark"),
            (PageKind::Metrics, &[("name", "<é>")], "/dashboard/metrics?name=%3C%C3%A9%3E"),
        ];
        for (page, pairs, href) in cases {
            let (address, error) = read(page.clone(), pairs);
            assert_eq!((address.href().as_str(), error), (href, None));
            let again = address.hidden(&[]);
            let again: Vec<(&str, &str)> = again.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            assert_eq!(read(page, &again).0, address);
        }
    }

    #[test]
    fn nonsense_is_left_out_and_a_wrong_range_is_told() {
        let (address, error) = read(PageKind::Home, &[("page", "-1"), ("theme", "pink"), ("range", "soon")]);
        assert_eq!(address, Address { number: 1, ..Address::default() });
        assert_eq!(error, Some(RangeError("soon".into())));
        let (address, _) = read(PageKind::Home, &[("kpis", "")]);
        assert_eq!(address.kpis, Some(vec![]));
    }
}
