//! What stands around every page: head, names of the views, range, search,
//! colours, list of keys, foot.

use crate::dashboard::address::{Address, PageKind, Theme};
use crate::dashboard::calendar::Calendar;
use crate::dashboard::markup::{Markup, put, shortened};
use crate::dashboard::number;
use crate::dashboard::range::{PRESETS, Range, Span};
use crate::model::duration;

/// Where script and style are served from.
#[derive(Clone, Copy, Debug)]
pub struct Assets<'a> {
    pub style: &'a str,
    pub script: &'a str,
    pub icon: &'a str,
}

/// A page but for its content.
#[derive(Debug)]
pub struct Frame<'a> {
    pub title: &'a str,
    /// What the page is, for the script: it reloads when this changes.
    pub kind: &'static str,
    pub address: &'a Address,
    /// Id and title of each view, in order.
    pub views: &'a [(String, String)],
    pub calendar: &'a Calendar,
    pub range: Range,
    pub span: Span,
    pub now_ms: i64,
    pub newest_ms: i64,
    pub window_ms: i64,
    /// How often a live page is worth reading again.
    pub every_ms: i64,
    pub assets: Assets<'a>,
    /// What was wrong with the URL, or with the reading of the page as a whole.
    pub notices: &'a [String],
}

impl Frame<'_> {
    /// The page around `content`, with `banner` above it.
    pub fn render(&self, banner: &Markup, content: &Markup) -> Markup {
        let mut out = Markup::new();
        self.put_head(&mut out);
        put!(out, "<a class=\"skip\" href=\"#main\">Skip to charts</a>");
        // Not displayed: none, which would take the pattern away in some browsers.
        put!(
            out,
            "<svg class=\"defs\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs><pattern id=\"hatch\" \
             width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
             <rect class=\"hatch-ground\" width=\"5\" height=\"5\"/><line class=\"hatch-line\" x1=\"1\" \
             x2=\"1\" y2=\"5\"/></pattern></defs></svg>",
        );
        self.put_top(&mut out);
        if self.address.page != PageKind::Series {
            self.put_range_bar(&mut out);
        }
        put!(out, "<main id=\"main\"><div data-panel=\"banner\">", banner, "</div>");
        for notice in self.notices {
            put!(out, "<p class=\"notice\">", notice, "</p>");
        }
        put!(out, content, "</main>");
        self.put_foot(&mut out);
        put!(out, "</body></html>\n");
        out
    }

    fn put_head(&self, out: &mut Markup) {
        put!(out, "<!doctype html><html lang=\"en\"");
        if let Some(theme) = self.address.theme {
            put!(out, " data-theme=\"", theme.as_str(), "\" data-fixed");
        }
        put!(
            out,
            "><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, \
             initial-scale=1\"><meta name=\"robots\" content=\"noindex\"><title>",
            shortened(self.title, 80).as_ref(),
            " · statsdeck</title><link rel=\"icon\" href=\"",
            self.assets.icon,
            "\"><link rel=\"stylesheet\" href=\"",
            self.assets.style,
            "\"><script src=\"",
            self.assets.script,
            "\"></script>",
        );
        if self.kind == "first-run" {
            put!(out, "<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>");
        }
        put!(out, "</head><body data-kind=\"", self.kind, "\" data-from=\"", self.span.start_ms / 1000);
        put!(out, "\" data-to=\"", self.span.end_ms / 1000, "\" data-every=\"", self.every_ms);
        put!(out, "\" data-window=\"", self.window_ms, "\" data-newest=\"", self.newest_ms, "\"");
        if self.range.is_live() {
            put!(out, " data-live");
        }
        put!(out, ">");
    }

    fn put_top(&self, out: &mut Markup) {
        let home = self.address.beside(PageKind::Home);
        put!(
            out,
            "<header class=\"top\"><a class=\"brand\" href=\"",
            home.href(),
            "\"><svg aria-hidden=\"true\" width=\"18\" height=\"18\" viewBox=\"0 0 18 18\"><rect x=\"1\" y=\"9\" \
             width=\"4\" height=\"8\" rx=\"1\"/><rect x=\"7\" y=\"5\" width=\"4\" height=\"12\" rx=\"1\"/><rect \
             x=\"13\" y=\"1\" width=\"4\" height=\"16\" rx=\"1\"/></svg>statsdeck</a><nav class=\"views\" \
             aria-label=\"Views\">",
        );
        for (at, (id, title)) in self.views.iter().enumerate() {
            let is_here = match &self.address.page {
                PageKind::View(here) => here == id,
                PageKind::Home => at == 0,
                _ => false,
            };
            let page = self.address.beside(PageKind::View(id.clone()));
            put_tab(out, &page.href(), title, is_here);
        }
        let is_metrics = match self.address.page {
            PageKind::Metrics | PageKind::Metric(_) => true,
            PageKind::Home => self.views.is_empty(),
            PageKind::View(_) | PageKind::Series => false,
        };
        put_tab(out, &self.address.beside(PageKind::Metrics).href(), "All metrics", is_metrics);
        put!(
            out,
            "</nav><form class=\"search\" role=\"search\" action=\"/dashboard/metrics\"><input type=\"search\" \
             name=\"q\" value=\"",
            self.address.search,
            "\" placeholder=\"Search metrics\" aria-label=\"Search metrics\" data-key=\"/\">",
        );
        for (name, value) in self.address.hidden(&["q", "page", "name", "view", "kpis"]) {
            put!(out, "<input type=\"hidden\" name=\"", name, "\" value=\"", value, "\">");
        }
        let other = match self.address.theme {
            Some(Theme::Dark) => Theme::Light,
            _ => Theme::Dark,
        };
        let turned = Address { theme: Some(other), ..self.address.clone() };
        put!(
            out,
            "</form><a class=\"icon theme\" href=\"",
            turned.href(),
            "\" data-key=\".\" title=\"Light or dark (.)\" aria-label=\"Light or dark\"><svg aria-hidden=\"true\" \
             width=\"16\" height=\"16\" viewBox=\"0 0 16 16\"><circle cx=\"8\" cy=\"8\" r=\"6.5\" fill=\"none\" \
             stroke=\"currentColor\" stroke-width=\"1.5\"/><path d=\"M8 1.5a6.5 6.5 0 0 1 0 13z\" \
             fill=\"currentColor\"/></svg></a><button class=\"icon scripted\" type=\"button\" data-opens=\"keys\" \
             data-key=\"?\" title=\"Keys (?)\" aria-label=\"Keys\">?</button></header>",
        );
    }

    fn put_range_bar(&self, out: &mut Markup) {
        put!(
            out,
            "<div class=\"times\"><nav class=\"range\" data-panel=\"range\" aria-label=\"Time range\">\
             <span class=\"presets\">",
        );
        for preset in PRESETS {
            let span = duration::parse_ms(preset).unwrap_or_default();
            let range = Range::last(i64::try_from(span).unwrap_or(i64::MAX));
            let label = number::duration_words(range.span(0).len_ms());
            put!(out, "<a href=\"", self.address.over(range).href(), "\"");
            if self.range.preset() == Some(preset) {
                put!(out, " aria-current=\"true\"");
            }
            put!(out, ">", label, "</a>");
        }
        put!(out, "</span>");
        self.put_steps(out);
        self.put_custom_range(out);
        // What stands still goes live again over a span of the same length.
        let (again, title) = match self.range.is_live() {
            true => (self.address.clone(), "Read again (r)"),
            false => (self.address.over(Range::last(self.span.len_ms())), "Live again (r)"),
        };
        put!(
            out,
            "</nav><p class=\"status\" role=\"status\"><a class=\"now\" data-key=\"r\" title=\"",
            title
        );
        put!(out, "\" href=\"", again.href(), "\"><span class=\"dot\"></span><span class=\"words\">");
        if self.range.is_live() {
            put!(out, "as of ", self.calendar.clock_seconds(self.newest_ms));
        } else {
            put!(out, "fixed range");
        }
        put!(out, "</span></a></p></div>");
    }

    fn put_steps(&self, out: &mut Markup) {
        let step = |out: &mut Markup, key: &str, sign: &str, name: &str, range: Option<Range>| match range {
            Some(range) => {
                put!(
                    out,
                    "<a class=\"icon\" href=\"",
                    self.address.over(range).href(),
                    "\" data-key=\"",
                    key
                );
                put!(out, "\" title=\"", name, " (", key, ")\" aria-label=\"", name, "\">", sign, "</a>");
            }
            None => {
                put!(out, "<span class=\"icon off\" aria-hidden=\"true\">", sign, "</span>");
            }
        };
        put!(out, "<span class=\"steps\">");
        step(out, "[", "‹", "Earlier", Some(self.range.back(self.now_ms)));
        step(out, "-", "−", "Zoom out", Some(self.range.zoom_out(self.now_ms)));
        step(out, "]", "›", "Later", self.range.forward(self.now_ms));
        put!(out, "</span>");
    }

    fn put_custom_range(&self, out: &mut Markup) {
        let (start, end) = (self.span.start_ms, self.span.end_ms);
        let words = match (self.range.is_live(), self.range.preset()) {
            (true, Some(_)) => "Any time".to_owned(),
            (true, None) => {
                format!("Last {}", number::duration_words(self.span.len_ms()))
            }
            (false, _) => {
                format!("{} – {}", self.calendar.moment(start), self.calendar.relative(end, start))
            }
        };
        put!(out, "<details class=\"pop\"><summary");
        if self.range.preset().is_none() {
            put!(out, " class=\"chosen\"");
        }
        put!(out, ">", words, "</summary><form class=\"sheet\" action=\"");
        let action = match self.address.page {
            PageKind::Metrics | PageKind::Metric(_) => "/dashboard/metrics",
            _ => "/dashboard",
        };
        put!(out, action, "\">");
        for (name, value) in self.address.hidden(&["from", "to", "range"]) {
            put!(out, "<input type=\"hidden\" name=\"", name, "\" value=\"", value, "\">");
        }
        put!(
            out,
            "<label>From <input name=\"from\" required autocomplete=\"off\" value=\"",
            self.calendar.typed(start),
            "\"></label><label>To <input name=\"to\" autocomplete=\"off\" value=\"",
        );
        if self.range.is_live() {
            put!(out, "now");
        } else {
            put!(out, self.calendar.typed(end));
        }
        put!(
            out,
            "\"></label><p>A local time, unix seconds, RFC 3339, or <code>now-6h</code>.</p><button>Show</button>\
             </form></details>",
        );
    }

    fn put_foot(&self, out: &mut Markup) {
        put!(
            out,
            "<footer class=\"foot\"><p>Times in ",
            self.calendar.zone_name(),
            " · windows of ",
            number::duration_words(self.window_ms),
            " · statsdeck ",
            env!("CARGO_PKG_VERSION"),
            " · <a href=\"",
            self.address.beside(PageKind::Series).href(),
            "\">who makes the series</a></p></footer><dialog id=\"keys\"><h2>Keys</h2><dl><dt>/</dt>\
            <dd>search metrics</dd><dt>[ ]</dt>\
             <dd>earlier, later</dd><dt>-</dt><dd>zoom out</dd><dt>r</dt><dd>read again, live again</dd>\
             <dt>.</dt><dd>light or dark</dd><dt>← →</dt><dd>walk along a chart that has the focus</dd><dt>?</dt>\
             <dd>this list</dd></dl><p>Drag over a chart to zoom in.</p><form method=\"dialog\">\
             <button>Close</button></form></dialog>",
        );
    }
}

fn put_tab(out: &mut Markup, href: &str, title: &str, is_here: bool) {
    put!(out, "<a href=\"", href, "\"");
    if is_here {
        put!(out, " aria-current=\"page\"");
    }
    put!(out, ">", shortened(title, 40).as_ref(), "</a>");
}
