//! The dashboard's routes and pages. Each panel is read apart: one that fails
//! or is slow says so in its own box, and the others stand.

use super::asset;
use super::live;
use super::makers::{LIMIT, Report};
use super::page_file;
use super::page_response::html;
pub use super::page_state::{
    AlertFeed, Dropped, Intake, IntakeFeed, MarkerFeed, NoticeFeed, PageParts, PageState,
};
use crate::dashboard::address::{Address, PageKind};
use crate::dashboard::alerts::AlertRow;
use crate::dashboard::calendar::Calendar;
use crate::dashboard::catalogue::{self, Metric, PAGE_SIZE};
use crate::dashboard::markup::{Markup, put, shortened};
use crate::dashboard::number;
use crate::dashboard::page::{self, Assets, FirstRun, Frame, Placed, SeriesFacts};
use crate::dashboard::range::Range;
use crate::dashboard::reading::Reader;
use crate::dashboard::source::PanelSource;
use crate::dashboard::view::View;
use crate::model::{Marker, TimeRange};
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::Redirect;
use axum::routing::get;
use std::sync::Arc;
use tokio::task::JoinSet;

const HOUR_MS: i64 = 3_600_000;
/// How far back a metric may be for the dashboard not to be new.
const EVER_MS: i64 = 366 * 24 * HOUR_MS;
/// Ranges for who has just begun.
const BEGINNINGS_MS: [i64; 2] = [15 * 60_000, HOUR_MS];
/// Points of a line in a grid of many, in a view, and alone.
const GRID_POINTS: usize = 364;
const VIEW_POINTS: usize = 480;
const ALONE_POINTS: usize = 720;
/// Markers of one page; the newest are shown.
const MARKERS_MAX: usize = 500;

/// Parameters of a URL as they stand there.
pub type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The dashboard's routes.
pub fn router() -> Router<Arc<PageState>> {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/dashboard") }))
        .route("/dashboard", get(home))
        .route("/dashboard/metrics", get(metrics))
        .route("/dashboard/series", get(series))
        .route("/dashboard/panel.csv", get(page_file::csv))
        .route("/dashboard/panel.txt", get(page_file::text))
        .route("/dashboard/live", get(live::live))
        .route("/dashboard/assets/{name}", get(asset::asset))
}

async fn home(State(state): State<Arc<PageState>>, pairs: Pairs, headers: HeaderMap) -> Response<Body> {
    answer(state, PageKind::Home, pairs, headers).await
}

async fn metrics(State(state): State<Arc<PageState>>, pairs: Pairs, headers: HeaderMap) -> Response<Body> {
    answer(state, PageKind::Metrics, pairs, headers).await
}

async fn series(State(state): State<Arc<PageState>>, pairs: Pairs, headers: HeaderMap) -> Response<Body> {
    answer(state, PageKind::Series, pairs, headers).await
}

async fn answer(state: Arc<PageState>, kind: PageKind, pairs: Pairs, headers: HeaderMap) -> Response<Body> {
    let pairs = pairs.map(|Query(pairs)| pairs).unwrap_or_default();
    let views = state.views.load_full();
    let asked = pairs.iter().rev().find(|(name, _)| name == "view").map(|(_, id)| id.as_str());
    let view = match (&kind, asked) {
        (PageKind::Home, Some(id)) => views.iter().find(|view| view.id == id),
        (PageKind::Home, None) => views.first(),
        _ => None,
    };
    let calendar = view.map_or(&state.parts.calendar, |view| &view.calendar).clone();
    let (address, range_error) = Address::read(kind, &pairs, &calendar);
    let now_ms = state.parts.clock.now_ms();
    let anchor_ms = state.anchor_ms();
    let range = match (address.range, view) {
        (Some(range), _) => range,
        (None, Some(view)) => view.range,
        (None, None) => default_range(&state, &calendar, anchor_ms).await,
    };
    let mut page = Page {
        alerts: (state.parts.alerts)().into(),
        markers: Arc::new([]),
        notices: range_error
            .map(|error| error.to_string())
            .into_iter()
            .chain((state.parts.notices)())
            .collect(),
        state,
        address,
        calendar,
        range,
        now_ms,
        anchor_ms,
    };
    page.read_markers().await;
    page.answer(view, &views, &headers).await
}

/// A day, or less for who has just begun, so that the first points are seen.
async fn default_range(state: &Arc<PageState>, calendar: &Calendar, now_ms: i64) -> Range {
    let reader = state.reader(calendar, Range::last(HOUR_MS).span(now_ms), GRID_POINTS);
    let start_ms = now_ms - 24 * HOUR_MS;
    let read = state.read(reader, state.deadline(), move |reader| {
        // The shortest beyond which there is nothing; what cannot be read may be there.
        BEGINNINGS_MS.into_iter().find(|span_ms| {
            let before = TimeRange { start_ms, end_ms: now_ms - span_ms };
            reader.engine.source().series(&[], before, 1).is_ok_and(|series| series.is_empty())
        })
    });
    Range::last(read.await.ok().flatten().unwrap_or(24 * HOUR_MS))
}

/// A page that is being made.
struct Page {
    state: Arc<PageState>,
    address: Address,
    calendar: Calendar,
    range: Range,
    now_ms: i64,
    /// What "now" is in a range.
    anchor_ms: i64,
    alerts: Arc<[AlertRow]>,
    markers: Arc<[Marker]>,
    notices: Vec<String>,
}

/// What stands in it.
struct Content {
    status: StatusCode,
    title: String,
    kind: &'static str,
    markup: Markup,
}

impl Page {
    async fn answer(mut self, view: Option<&View>, views: &[View], headers: &HeaderMap) -> Response<Body> {
        let content = match (&self.address.page, view) {
            (PageKind::Home | PageKind::View(_), Some(view)) => self.view(view).await,
            (PageKind::View(id), None) => {
                self.notices.push(format!("There is no view {:?}.", shortened(id, 60)));
                let markup = Markup::new();
                Content { status: StatusCode::NOT_FOUND, title: "No such view".into(), kind: "view", markup }
            }
            (PageKind::Series, _) => self.series().await,
            (PageKind::Metric(name), _) => self.metric(&name.clone()).await,
            _ => self.metrics(headers).await,
        };
        if matches!(self.address.page, PageKind::Home | PageKind::View(_)) {
            // After the content, as losses do not keep a new dashboard from being new.
            self.notices.extend((self.state.parts.intake)().dropped.iter().map(Dropped::words));
        }
        let titles: Vec<(String, String)> =
            views.iter().map(|view| (view.id.clone(), view.title.clone())).collect();
        let span = self.range.span(self.anchor_ms);
        let step_ms = self.reader(GRID_POINTS).grid().step_ms;
        let frame = Frame {
            title: &content.title,
            kind: content.kind,
            address: &self.address,
            views: &titles,
            calendar: &self.calendar,
            range: self.range,
            span,
            now_ms: self.anchor_ms,
            newest_ms: self.state.newest_ms(),
            window_ms: self.state.parts.window_ms,
            every_ms: step_ms.min(60_000),
            assets: Assets {
                style: &asset::STYLE.href,
                script: &asset::SCRIPT.href,
                icon: &asset::ICON.href,
            },
            notices: &self.notices,
        };
        let banner = page::banner(&self.alerts, &self.calendar, self.now_ms);
        html(content.status, frame.render(&banner, &content.markup).into_string(), headers)
    }

    fn reader(&self, points: usize) -> Reader {
        let reader = self.state.reader(&self.calendar, self.range.span(self.anchor_ms), points);
        Reader { markers: self.markers.clone(), ..reader }
    }

    async fn read_markers(&mut self) {
        let feed = self.state.parts.markers.clone();
        let span = self.range.span(self.anchor_ms);
        let reader = self.reader(GRID_POINTS);
        let read = self
            .state
            .read(reader, self.state.deadline(), move |_| feed(span.start_ms, span.end_ms, MARKERS_MAX));
        match read.await.and_then(|read| read) {
            Ok(markers) => self.markers = markers.into(),
            Err(reason) => self.notices.push(format!("The markers could not be read: {reason}")),
        }
    }

    fn put_markers(&self, markup: &mut Markup) {
        markup.put(page::marker_panel(&self.markers, &self.calendar));
    }

    async fn view(&mut self, view: &View) -> Content {
        let kpis: Vec<_> = match &self.address.kpis {
            None => view.kpis.iter().collect(),
            Some(ids) => {
                let ids = ids.iter().enumerate().filter(|(at, id)| !ids[..*at].contains(id));
                ids.filter_map(|(_, id)| view.kpis.iter().find(|kpi| kpi.id == *id)).collect()
            }
        };
        let mut jobs = Jobs::new(self, VIEW_POINTS);
        for kpi in &kpis {
            let owned = (*kpi).clone();
            jobs.add(format!("k-{}", kpi.id), kpi.title.clone(), move |reader| page::tile(reader, &owned));
        }
        let tiles = kpis.len();
        let (shared, now_ms) = (Arc::new(view.clone()), self.now_ms);
        for (at, panel) in view.panels.iter().enumerate() {
            let (view, alerts) = (shared.clone(), self.alerts.clone());
            jobs.add(format!("v-{at}"), panel.title.clone(), move |reader| match view.panels.get(at) {
                Some(panel) => page::view_panel(reader, &view, at, panel, (&alerts, now_ms)),
                None => Markup::new(),
            });
        }
        let made = jobs.done().await;
        let mut markup = Markup::new();
        put!(markup, "<div class=\"head\"><h1>", view.title, "</h1>");
        if !view.kpis.is_empty() {
            put!(markup, page::choose_tiles(&view.kpis, &self.address));
        }
        put!(markup, "</div>");
        if tiles > 0 {
            put!(markup, "<section class=\"tiles\" aria-label=\"Key figures\">");
            made.iter().take(tiles).for_each(|tile| {
                markup.put(tile);
            });
            put!(markup, "</section>");
        }
        put!(markup, "<section class=\"panels two");
        // An odd one out gets the whole width: the first, as the most important.
        if view.panels.len() % 2 == 1 {
            put!(markup, " odd");
        }
        put!(markup, "\" aria-label=\"Charts\">");
        made.iter().skip(tiles).for_each(|panel| {
            markup.put(panel);
        });
        put!(markup, "</section>");
        self.put_markers(&mut markup);
        Content { status: StatusCode::OK, title: view.title.clone(), kind: "view", markup }
    }

    async fn metric(&mut self, name: &str) -> Content {
        let found = self.catalogue().await;
        let of_name: Vec<Metric> = found.into_iter().filter(|metric| metric.name == name).take(5).collect();
        let mut markup = Markup::new();
        if of_name.is_empty() {
            put!(markup, "<p class=\"nothing\">No metric of this name has data in this range.</p>");
        }
        put!(markup, "<section class=\"panels\" aria-label=\"Charts\">");
        for panel in self.metric_panels(of_name, Placed::Alone).await {
            markup.put(panel);
        }
        put!(markup, "</section>");
        self.put_markers(&mut markup);
        Content { status: StatusCode::OK, title: name.to_owned(), kind: "metric", markup }
    }

    async fn series(&mut self) -> Content {
        let makers = self.state.parts.makers.clone();
        let report = match makers {
            Some(makers) => makers.report(LIMIT).await.unwrap_or_default(),
            None => Report::default(),
        };
        let sources: Vec<(String, usize)> =
            report.sources.iter().map(|source| (source.name.clone(), source.series)).collect();
        let facts = SeriesFacts {
            top: &report.top,
            new_since_ms: report.new_since_ms,
            series_max: report.series_max,
            prefixes: &report.prefixes,
            sources: &sources,
            offence: report.offence.as_ref(),
        };
        let markup = page::series_list(facts, &self.address, &self.calendar, self.now_ms);
        Content { status: StatusCode::OK, title: "Who makes the series".into(), kind: "series", markup }
    }

    async fn metrics(&mut self, headers: &HeaderMap) -> Content {
        let found = catalogue::matching(self.catalogue().await, &self.address.search);
        if found.is_empty()
            && self.address.search.is_empty()
            && self.notices.is_empty()
            && self.is_new().await
        {
            return self.first_run(headers);
        }
        let pages = found.len().div_ceil(PAGE_SIZE).max(1);
        let number = self.address.number.clamp(1, pages);
        let shown: Vec<Metric> =
            found.iter().skip((number - 1) * PAGE_SIZE).take(PAGE_SIZE).cloned().collect();
        let mut markup = Markup::new();
        put!(markup, "<div class=\"head\"><h1>");
        match (found.len(), self.address.search.as_str()) {
            (1, "") => put!(markup, "1 metric"),
            (n, "") => put!(markup, n, " metrics"),
            (n, search) => {
                put!(markup, n, " found for “", shortened(search, 60).as_ref(), "”");
            }
        }
        put!(markup, "</h1>");
        if !self.address.search.is_empty() {
            let all = Address { search: String::new(), number: 1, ..self.address.clone() };
            put!(markup, "<p><a href=\"", all.href(), "\">Show all metrics</a></p>");
        }
        put!(markup, self.pager(number, pages), "</div>");
        if shown.is_empty() {
            put!(markup, "<p class=\"nothing\">Nothing was received under such a name in this range.</p>");
        }
        if number == 1 && self.address.search.is_empty() && !self.alerts.is_empty() {
            put!(
                markup,
                "<section class=\"panels\"><article class=\"panel wide\" data-panel=\"alerts\"><header>"
            );
            put!(markup, "<h2>Alerts</h2></header>");
            put!(markup, page::list(&self.alerts, &[], &self.calendar, self.now_ms), "</article></section>");
        }
        put!(markup, "<section class=\"panels\" aria-label=\"Charts\">");
        for panel in self.metric_panels(shown, Placed::InGrid).await {
            markup.put(panel);
        }
        put!(markup, "</section>");
        self.put_markers(&mut markup);
        let pager = self.pager(number, pages);
        if !pager.is_empty() {
            put!(markup, "<div class=\"head\"><span></span>", pager, "</div>");
        }
        Content { status: StatusCode::OK, title: "All metrics".into(), kind: "metrics", markup }
    }

    async fn metric_panels(&self, metrics: Vec<Metric>, placed: Placed) -> Vec<Markup> {
        let points = if placed == Placed::Alone { ALONE_POINTS } else { GRID_POINTS };
        let mut jobs = Jobs::new(self, points);
        for metric in metrics {
            let address = self.address.clone();
            let id = PanelSource::of_metric(&metric).id().to_owned();
            jobs.add(id, metric.name.clone(), move |reader| {
                page::metric_panel(reader, &metric, &address, placed)
            });
        }
        jobs.done().await
    }

    fn pager(&self, number: usize, pages: usize) -> Markup {
        let mut out = Markup::new();
        if pages < 2 {
            return out;
        }
        let to = |number| Address { number, ..self.address.clone() }.href();
        put!(out, "<nav class=\"pager\" aria-label=\"Pages\">");
        if number > 1 {
            put!(out, "<a rel=\"prev\" href=\"", to(number - 1), "\">‹ Previous</a>");
        }
        put!(out, "<span>", number, " of ", pages, "</span>");
        if number < pages {
            put!(out, "<a rel=\"next\" href=\"", to(number + 1), "\">Next ›</a>");
        }
        put!(out, "</nav>");
        out
    }

    /// All metrics in the page's range; a notice when they cannot be read.
    async fn catalogue(&mut self) -> Vec<Metric> {
        let span = self.range.span(self.anchor_ms);
        let range = TimeRange { start_ms: span.start_ms, end_ms: span.end_ms };
        let reader = self.reader(GRID_POINTS);
        let read = self.state.read(reader, self.state.deadline(), move |reader| {
            catalogue::metrics(reader.engine.source(), range)
        });
        match read.await {
            Ok(Ok(metrics)) => metrics,
            Ok(Err(error)) => {
                self.notices.push(format!("The list of metrics could not be read: {error}"));
                Vec::new()
            }
            Err(reason) => {
                self.notices.push(reason);
                Vec::new()
            }
        }
    }

    /// Whether nothing was ever received but our own series.
    async fn is_new(&self) -> bool {
        let range = TimeRange { start_ms: self.now_ms - EVER_MS, end_ms: self.now_ms + HOUR_MS };
        let read = self.state.read(self.reader(GRID_POINTS), self.state.deadline(), move |reader| {
            catalogue::metrics(reader.engine.source(), range)
        });
        match read.await {
            Ok(Ok(metrics)) => catalogue::matching(metrics, "").is_empty(),
            _ => false,
        }
    }

    fn first_run(&self, headers: &HeaderMap) -> Content {
        let intake = (self.state.parts.intake)();
        let http = host_of(headers);
        let facts = FirstRun {
            received: intake.received,
            rejected: intake.rejected,
            udp: intake.udp.iter().map(|address| reachable(address, &http)).collect(),
            http,
        };
        let window = number::duration_words(self.state.parts.window_ms);
        let mut markup = Markup::new();
        put!(markup, "<div data-panel=\"first\">", page::first_run(&facts, &window), "</div>");
        Content { status: StatusCode::OK, title: "Send a first metric".into(), kind: "first-run", markup }
    }
}

/// Panels of one page, read side by side and put together in order.
struct Jobs {
    state: Arc<PageState>,
    reader: Reader,
    deadline: tokio::time::Instant,
    running: JoinSet<(usize, Markup)>,
    /// Id and title of each, for those that do not come back.
    names: Vec<(String, String)>,
}

impl Jobs {
    fn new(page: &Page, points: usize) -> Self {
        Jobs {
            state: page.state.clone(),
            reader: page.reader(points),
            deadline: page.state.deadline(),
            running: JoinSet::new(),
            names: Vec::new(),
        }
    }

    fn add(&mut self, id: String, title: String, make: impl FnOnce(&Reader) -> Markup + Send + 'static) {
        let at = self.names.len();
        self.names.push((id.clone(), title.clone()));
        let (state, reader, deadline) = (self.state.clone(), self.reader.clone(), self.deadline);
        self.running.spawn(async move {
            let made = state.read(reader, deadline, make).await;
            (at, made.unwrap_or_else(|reason| page::failed_panel(&id, &title, &reason)))
        });
    }

    async fn done(mut self) -> Vec<Markup> {
        let mut made: Vec<Option<Markup>> = vec![None; self.names.len()];
        while let Some(finished) = self.running.join_next().await {
            if let Ok((at, markup)) = finished
                && let Some(slot) = made.get_mut(at)
            {
                *slot = Some(markup);
            }
        }
        let names = self.names.iter();
        made.into_iter()
            .zip(names)
            .map(|(made, (id, title))| {
                made.unwrap_or_else(|| page::failed_panel(id, title, "The reading failed."))
            })
            .collect()
    }
}

/// This server as the browser reached it.
fn host_of(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port || host.is_empty() { host.to_owned() } else { format!("{host}:80") }
}

/// A listener's address as the browser's machine may reach it: one that
/// listens everywhere is reached where the browser came in.
fn reachable(address: &str, http: &str) -> String {
    let Some((host, port)) = address.rsplit_once(':') else { return address.to_owned() };
    let is_everywhere = matches!(host, "0.0.0.0" | "[::]" | "::" | "*");
    match http.rsplit_once(':') {
        Some((http_host, _)) if is_everywhere && !http_host.is_empty() => format!("{http_host}:{port}"),
        _ => address.to_owned(),
    }
}
