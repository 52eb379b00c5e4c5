//! A dashboard over a store in memory, on a clock that stands still.

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, header};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use statsdeck::clock::ManualClock;
use statsdeck::dashboard::alerts::AlertRow;
use statsdeck::dashboard::calendar::Calendar;
use statsdeck::dashboard::view::{Selection, View};
use statsdeck::http::page::{Intake, PageParts, PageState, router};
use statsdeck::model::{
    Histogram, Labels, Marker, Matcher, MetricType, Select, Series, SeriesKey, Sketch, TimeRange,
    label::NAME, sample,
};
use statsdeck::query::{Engine, MemorySource, Options, Source, SourceError};
use std::io::Read;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::sync::watch;
use tokio_stream::StreamExt;

/// Tue 24 Nov 2026, 12:00 in Berlin.
pub const NOW_MS: i64 = 1_795_518_000_000;
const WINDOW_MS: i64 = 10_000;
/// Windows that the series of a fixture have: an hour.
const WINDOWS: i64 = 360;

pub struct Fixture {
    pub source: Arc<MemorySource>,
    held: Arc<Mutex<Option<Held>>>,
    state: Arc<PageState>,
    alerts: Arc<Mutex<Vec<AlertRow>>>,
    pub markers: Arc<Mutex<Vec<Marker>>>,
    intake: Arc<Mutex<Intake>>,
    pub notices: Arc<Mutex<Vec<String>>>,
    flushed: watch::Sender<i64>,
    clock: Arc<ManualClock>,
    now_ms: i64,
}

/// Reads of this name wait until the channel's other end is dropped.
struct Held {
    name: String,
    until: Arc<Mutex<mpsc::Receiver<()>>>,
}

struct HoldingSource {
    inner: Arc<MemorySource>,
    held: Arc<Mutex<Option<Held>>>,
}

impl Source for HoldingSource {
    fn select(&self, request: &Select<'_>) -> Result<Vec<Series>, SourceError> {
        let wait = self.held.lock().unwrap().as_ref().and_then(|held| {
            let is_asked = request.matchers.iter().any(|m| m.name == NAME && m.value == held.name);
            is_asked.then(|| held.until.clone())
        });
        if let Some(wait) = wait {
            let _ = wait.lock().unwrap().recv();
        }
        self.inner.select(request)
    }

    fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        max_series: usize,
    ) -> Result<Vec<SeriesKey>, SourceError> {
        // As strict as the store: too many are an error, not a shorter list.
        let found = self.inner.series(matchers, range, usize::MAX)?;
        match found.len() > max_series {
            true => Err(SourceError::Limit { what: "series", limit: max_series }),
            false => Ok(found),
        }
    }
}

impl Fixture {
    pub fn new(views: Vec<View>) -> Self {
        Fixture::at(NOW_MS, views)
    }

    pub fn at(now_ms: i64, views: Vec<View>) -> Self {
        let source = Arc::new(MemorySource::new());
        let held: Arc<Mutex<Option<Held>>> = Arc::default();
        let alerts: Arc<Mutex<Vec<AlertRow>>> = Arc::default();
        let intake = Arc::new(Mutex::new(Intake { udp: vec!["0.0.0.0:8125".into()], ..Intake::default() }));
        let (flushed, receiver) = watch::channel(now_ms);
        let notices: Arc<Mutex<Vec<String>>> = Arc::default();
        let shown = notices.clone();
        let markers: Arc<Mutex<Vec<Marker>>> = Arc::default();
        let (feed, facts, told) = (alerts.clone(), intake.clone(), markers.clone());
        let holding = HoldingSource { inner: source.clone(), held: held.clone() };
        let clock = Arc::new(ManualClock::at(now_ms));
        let parts = PageParts {
            engine: Engine::new(Arc::new(holding), Options::default()),
            clock: clock.clone(),
            calendar: berlin(),
            window_ms: WINDOW_MS,
            alerts: Arc::new(move || feed.lock().unwrap().clone()),
            markers: Arc::new(move |start_ms, end_ms, _| {
                let all = told.lock().unwrap().clone();
                Ok(all.into_iter().filter(|m| (start_ms..=end_ms).contains(&m.at_ms)).collect())
            }),
            intake: Arc::new(move || facts.lock().unwrap().clone()),
            notices: Arc::new(move || shown.lock().unwrap().clone()),
            makers: None,
            flushed: receiver,
        };
        let mut state = PageState::new(parts, views);
        state.panel_limit = Duration::from_millis(1_500);
        Fixture {
            source,
            held,
            state: Arc::new(state),
            alerts,
            markers,
            intake,
            notices,
            flushed,
            clock,
            now_ms,
        }
    }

    fn time_ms(&self, window: i64) -> i64 {
        self.now_ms - (WINDOWS - 1 - window) * WINDOW_MS
    }

    /// A counter that begins at 0 an hour ago and counts `counted(window)`.
    pub fn counter(&self, name: &str, labels: &[(&str, &str)], counted: impl Fn(i64) -> f64) {
        let labels = with_name(name, labels);
        let mut total = 0.0;
        self.source.push(&labels, Some(MetricType::Counter), self.time_ms(-1), total);
        for window in 0..WINDOWS {
            total += counted(window);
            self.source.push(&labels, Some(MetricType::Counter), self.time_ms(window), total);
        }
    }

    /// A gauge; `NaN` ends it.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)], mut value: impl FnMut(i64) -> f64) {
        let labels = with_name(name, labels);
        for window in 0..WINDOWS {
            let value = value(window);
            let value = if value.is_nan() { sample::stale_nan() } else { value };
            self.source.push(&labels, Some(MetricType::Gauge), self.time_ms(window), value);
        }
    }

    pub fn timer(&self, name: &str, window: i32, values: Histogram) {
        let at_ms = self.time_ms(i64::from(window));
        self.source.push_histogram(&Labels::of_name(name), Some(MetricType::Timer), at_ms, values);
    }

    /// A set that sees members 0 to `members(window)` in each window.
    pub fn set(&self, name: &str, members: impl Fn(i64) -> u64) {
        for window in 0..WINDOWS {
            let mut sketch = Sketch::default();
            (0..members(window)).for_each(|member| sketch.insert(&member.to_le_bytes()));
            self.source.push_sketch(&Labels::of_name(name), self.time_ms(window), sketch);
        }
    }

    pub fn alert(&self, row: AlertRow) {
        self.alerts.lock().unwrap().push(row);
    }

    pub fn intake(&self, received: u64, rejected: &[(&str, u64)]) {
        let mut intake = self.intake.lock().unwrap();
        intake.received = received;
        intake.rejected = rejected.iter().map(|(reason, n)| (reason.to_string(), *n)).collect();
    }

    /// The clock goes on, and a window ends.
    pub fn turn_to(&self, at_ms: i64) {
        self.clock.set(at_ms);
        self.flush(at_ms);
    }

    pub fn flush(&self, end_ms: i64) {
        self.flushed.send(end_ms).unwrap();
    }

    /// Reads of the metric called `name` wait until the answer is dropped.
    pub fn hold_reads_of(&self, name: &str) -> mpsc::Sender<()> {
        let (sender, receiver) = mpsc::channel();
        let until = Arc::new(Mutex::new(receiver));
        *self.held.lock().unwrap() = Some(Held { name: name.into(), until });
        sender
    }

    pub async fn get(&self, url: &str) -> Page {
        self.get_with_host(url, "127.0.0.1:8127").await
    }

    pub async fn get_with_host(&self, url: &str, host: &str) -> Page {
        let response = self.send(url, host).await;
        let status = response.status().as_u16();
        let head = response.headers().clone();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let is_gzip = head.get(header::CONTENT_ENCODING).is_some_and(|v| v == "gzip");
        let mut body = String::new();
        if is_gzip {
            flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut body).unwrap();
        } else {
            body = String::from_utf8(bytes.to_vec()).unwrap();
        }
        let policy = head.get(header::CONTENT_SECURITY_POLICY).map(|v| v.to_str().unwrap().to_owned());
        Page { status, policy, sent_bytes: bytes.len(), sent: bytes.to_vec(), body }
    }

    /// Follows the flushes; the status when that is refused.
    pub async fn listen(&self) -> Result<Listener, u16> {
        let response = self.send("/dashboard/live", "127.0.0.1:8127").await;
        match response.status().as_u16() {
            200 => Ok(Listener(response.into_body().into_data_stream())),
            refused => Err(refused),
        }
    }

    async fn send(&self, url: &str, host: &str) -> axum::http::Response<Body> {
        let request = Request::builder()
            .uri(url)
            .header(header::HOST, host)
            .header(header::ACCEPT_ENCODING, "gzip, br")
            .body(Body::empty())
            .unwrap();
        TowerToHyperService::new(router().with_state(self.state.clone())).call(request).await.unwrap()
    }
}

pub struct Listener(BodyDataStream);

impl Listener {
    pub async fn next(&mut self) -> String {
        let chunk = tokio::time::timeout(Duration::from_secs(10), self.0.next()).await;
        String::from_utf8(chunk.unwrap().unwrap().unwrap().to_vec()).unwrap()
    }
}

pub struct Page {
    pub status: u16,
    pub policy: Option<String>,
    pub sent_bytes: usize,
    sent: Vec<u8>,
    pub body: String,
}

/// Elements and attributes that the pages use; anything else came from outside.
const ELEMENTS: &str = "!doctype html head meta title link script noscript body a svg defs pattern rect line header \
    nav form input button details summary label p code main div section article h1 h2 span b ul li table thead tbody \
    tr th td br path text desc circle footer dialog dl dt dd pre";
const ATTRIBUTES: &str = "html lang charset name content http-equiv rel href src class id width height aria-hidden \
    patternunits patterntransform x y x1 x2 y1 y2 rx viewbox fill stroke stroke-width d cx cy r aria-label \
    aria-current aria-labelledby role action type value placeholder title method required autocomplete checked \
    download tabindex scope preserveaspectratio data-from data-to data-every data-window data-live data-newest data-kind \
    data-theme data-fixed data-panel data-values data-key data-opens data-start data-step data-points";

impl Page {
    /// What an attack would need is not there: no element or attribute of
    /// others, no inline script or style, no mark that turns text around.
    pub fn assert_sound(&self) {
        let tag = regex::Regex::new(r#"<(/?)([!a-zA-Z0-9]*)((?:[^"<>]|"[^"<>]*")*)>"#).unwrap();
        let attribute = regex::Regex::new(r#"^\s+([a-zA-Z0-9-]+)(?:="[^"<>]*")?"#).unwrap();
        let elements: Vec<&str> = ELEMENTS.split_whitespace().collect();
        let attributes: Vec<&str> = ATTRIBUTES.split_whitespace().collect();
        let mut outside = 0;
        for found in tag.captures_iter(&self.body) {
            let name = found[2].to_ascii_lowercase();
            assert!(elements.contains(&name.as_str()), "element {name}: {}", &found[0]);
            let mut rest = found[3].trim_end_matches('/').to_owned();
            while !rest.trim().is_empty() {
                let one = attribute.captures(&rest).unwrap_or_else(|| panic!("attribute at {rest:?}"));
                let name = one[1].to_ascii_lowercase();
                assert!(attributes.contains(&name.as_str()), "attribute {name}: {}", &found[0]);
                rest = rest[one[0].len()..].to_owned();
            }
            outside += found[0].matches('<').count();
        }
        assert_eq!(outside, self.body.matches('<').count(), "a < that begins no tag");
        assert!(!self.body.contains("<script>"), "inline script");
        let strange = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!self.body.contains(strange), "a control or a mark that turns text around");
        let policy = self.policy.as_deref().unwrap_or_default();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }

    /// The page as a file that people can compare: a line an element, without
    /// what changes with each release.
    pub fn for_golden(&self) -> String {
        let hash = regex::Regex::new(r"\.[0-9a-f]{16}\.").unwrap();
        let version = concat!("statsdeck ", env!("CARGO_PKG_VERSION"));
        hash.replace_all(&self.body, ".HASH.").replace(version, "statsdeck VERSION").replace("><", ">\n<")
    }

    /// What is read, without the elements.
    pub fn text(&self) -> String {
        let without = regex::Regex::new("<[^>]*>").unwrap().replace_all(&self.body, " ").into_owned();
        let plain =
            without.replace("&quot;", "\"").replace("&amp;", "&").replace(['\u{a0}', '\u{202f}'], " ");
        plain.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Where the link with this attribute leads.
    pub fn link(&self, attribute: &str) -> String {
        let tag = regex::Regex::new(r"<a [^>]*>").unwrap();
        let found = tag.find_iter(&self.body).find(|tag| tag.as_str().contains(attribute));
        let found = found.unwrap_or_else(|| panic!("no link with {attribute}")).as_str();
        let href = found.split("href=\"").nth(1).unwrap_or_default();
        href.split('"').next().unwrap_or_default().to_owned()
    }
}

pub fn gunzipped_len(page: &Page) -> usize {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&page.sent[..]).read_to_end(&mut text).unwrap()
}

pub fn berlin() -> Calendar {
    Calendar::new(jiff::tz::TimeZone::get("Europe/Berlin").unwrap())
}

pub fn selection(name: &str) -> Selection {
    Selection::of_metric(name)
}

/// Names as only an open socket brings them.
pub fn hostile_names() -> Vec<String> {
    vec![
        "<script>alert(1)</script>".into(),
        "\"><img src=x onerror=alert(1)>".into(),
        "' onmouseover='alert(1)".into(),
        "</title></svg></style><b>".into(),
        "a\nb\r\nSet-Cookie: x=1\t\u{0}\u{1b}[31m".into(),
        "\u{202e}gnp.exe\u{2066}\u{200f}".into(),
        "javascript:alert(1)".into(),
        "{{constructor}}${7*7}&lt;&#60;".into(),
        "<".repeat(8_192),
        "é\"<".repeat(2_700),
    ]
}

fn with_name(name: &str, labels: &[(&str, &str)]) -> Labels {
    Labels::from_pairs([(NAME, name)].into_iter().chain(labels.iter().copied()))
}
