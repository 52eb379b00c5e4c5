//! Where a panel's values come from, and the URL that names them: the page
//! and the files of its values read the same source the same way.

use super::address::encoded;
use super::catalogue::Metric;
use super::chart::{BarChart, LineChart};
use super::number::Unit;
use super::reading::Reader;
use super::view::{Panel, PanelKind, Selection, Show, View};
use crate::model::MetricType;
use crate::query::Error;
use xxhash_rust::xxh3::xxh3_64;

/// Days of a counter's bars when nothing else is said, and the fewest shown.
const DAYS: usize = 30;
const LEAST_DAYS: usize = 7;

/// What a panel reads.
#[derive(Clone, Debug)]
pub struct PanelSource {
    /// Unique on its page; letters, digits, `-`.
    id: String,
    title: String,
    /// The parameters that name it in a URL.
    parameters: String,
    unit: Option<Unit>,
    kind: SourceKind,
}

#[derive(Clone, Debug)]
enum SourceKind {
    Metric { selection: Selection, metric_type: Option<MetricType>, show: Vec<Show>, days: usize },
    Bars { selection: Selection, days: usize },
    Query { expr: String },
    Nothing,
}

/// Which chart of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChartKind {
    Lines,
    Bars,
}

impl ChartKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ChartKind::Lines => "lines",
            ChartKind::Bars => "bars",
        }
    }
}

impl PanelSource {
    /// A metric that was found.
    pub fn of_metric(metric: &Metric) -> Self {
        let type_name = metric.metric_type.as_str();
        let parameters = format!("metric={}&type={type_name}", encoded(&metric.name));
        PanelSource {
            // A name of any length and any characters becomes a short word.
            id: format!("m-{:016x}", xxh3_64(parameters.as_bytes())),
            title: metric.name.clone(),
            parameters,
            unit: Some(metric.unit()),
            kind: SourceKind::Metric {
                selection: Selection::of_metric(&metric.name),
                metric_type: Some(metric.metric_type),
                show: Vec::new(),
                days: DAYS,
            },
        }
    }

    /// Panel number `at` of a view.
    pub fn of_view(view: &View, at: usize, panel: &Panel) -> Self {
        let kind = match &panel.kind {
            PanelKind::Line { selection, show } => SourceKind::Metric {
                selection: selection.clone(),
                metric_type: None,
                show: show.clone(),
                days: DAYS,
            },
            PanelKind::Query { expr } => SourceKind::Query { expr: expr.clone() },
            PanelKind::BarsPerDay { selection, days } => {
                SourceKind::Bars { selection: selection.clone(), days: *days }
            }
            PanelKind::Alerts { .. } => SourceKind::Nothing,
        };
        PanelSource {
            id: format!("v-{at}"),
            title: panel.title.clone(),
            parameters: format!("view={}&panel={at}", encoded(&view.id)),
            unit: panel.unit.clone(),
            kind,
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn title(&self) -> &str {
        &self.title
    }

    /// Whether it has a chart of lines beside its bars.
    pub fn has_lines(&self) -> bool {
        matches!(self.kind, SourceKind::Metric { .. })
    }

    /// Address of the values of one chart, exactly as `reader` reads it.
    pub fn href(&self, extension: &str, chart: ChartKind, reader: &Reader) -> String {
        format!(
            "/dashboard/panel.{extension}?{}&chart={}&from={}&to={}&points={}",
            self.parameters,
            chart.as_str(),
            seconds(reader.span.start_ms),
            seconds(reader.span.end_ms),
            reader.points,
        )
    }

    /// Its lines.
    pub fn line_chart(&self, reader: &Reader) -> Result<LineChart, Error> {
        match &self.kind {
            SourceKind::Metric { selection, metric_type, show, .. } => {
                let metric_type = match metric_type {
                    Some(known) => Some(*known),
                    None => reader.type_of(&selection.matchers)?,
                };
                // A metric that was never received is drawn as what it would show.
                let metric_type = metric_type.unwrap_or(match show.first() {
                    Some(Show::Quantile(_) | Show::Mean) => MetricType::Timer,
                    Some(Show::Rate | Show::Total) => MetricType::Counter,
                    _ => MetricType::Gauge,
                });
                let guessed = Metric { name: selection.text.clone(), metric_type, series: 1 }.unit();
                reader.lines(selection, metric_type, show, self.unit.as_ref().unwrap_or(&guessed))
            }
            SourceKind::Query { expr } => {
                reader.query_lines(expr, self.unit.as_ref().unwrap_or(&Unit::Plain), &self.title)
            }
            SourceKind::Bars { .. } | SourceKind::Nothing => {
                Err(Error::Range("this panel has no lines".into()))
            }
        }
    }

    /// `bars` as its page shows them: those of a metric that was found begin
    /// with its first day, those of a view are as many as it says.
    pub fn trimmed(&self, bars: BarChart) -> BarChart {
        if self.has_lines() { bars.trimmed(LEAST_DAYS) } else { bars }
    }

    /// Its bars per local day.
    pub fn bar_chart(&self, reader: &Reader) -> Result<BarChart, Error> {
        match &self.kind {
            SourceKind::Metric { selection, days, .. } | SourceKind::Bars { selection, days } => {
                reader.bars_per_day(selection, *days)
            }
            _ => Err(Error::Range("this panel has no bars".into())),
        }
    }
}

fn seconds(at_ms: i64) -> String {
    if at_ms % 1000 == 0 { (at_ms / 1000).to_string() } else { format!("{:.3}", at_ms as f64 / 1000.0) }
}
