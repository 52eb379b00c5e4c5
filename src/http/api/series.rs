//! `/api/v1/series`, `labels`, `label/<name>/values` and `metadata`: what there
//! is to ask about.

use super::ApiState;
use super::answer::{Failure, push_labels, push_list, push_text, success};
use super::evaluation::evaluated;
use super::params::{Params, invalid};
use crate::model::label::NAME;
use crate::model::{Matcher, MetricType, SeriesKey, TimeRange};
use crate::query::{Engine, Error, parse_selector};
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most selectors in one call.
const MAX_SELECTORS: usize = 64;
/// Bounds of time when a call names none.
const ALL_TIME_MS: i64 = i64::MAX / 1024;

/// The routes about series.
pub(super) fn router() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/api/v1/series", get(series).post(series))
        .route("/api/v1/labels", get(label_names).post(label_names))
        .route("/api/v1/label/{name}/values", get(label_values))
        .route("/api/v1/metadata", get(metadata))
}

async fn series(State(state): State<Arc<ApiState>>, params: Params) -> Result<Response, Failure> {
    let request = Request::read(&params)?;
    if request.selectors.is_empty() {
        return Err(invalid("match[]", "it is missing"));
    }
    evaluated(&state, &params, move |engine| {
        let labels: BTreeSet<_> = request.keys(&engine)?.into_iter().map(|key| key.labels).collect();
        Ok(request.answer(labels, |out, labels| push_labels(out, &labels)))
    })
    .await
}

async fn label_names(State(state): State<Arc<ApiState>>, params: Params) -> Result<Response, Failure> {
    let request = Request::read(&params)?;
    evaluated(&state, &params, move |engine| {
        let mut names = BTreeSet::new();
        request.visit(&engine, |key| {
            for (name, _) in key.labels.iter() {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
        })?;
        Ok(request.answer(names, |out, name| push_text(out, &name)))
    })
    .await
}

async fn label_values(
    State(state): State<Arc<ApiState>>,
    name: Result<Path<String>, PathRejection>,
    params: Params,
) -> Result<Response, Failure> {
    let Path(name) = name.map_err(|_| invalid("name", "it is not UTF-8"))?;
    let name = unescaped(&name);
    if name.is_empty() {
        return Err(invalid("name", "it is empty"));
    }
    let request = Request::read(&params)?;
    evaluated(&state, &params, move |engine| {
        let mut values = BTreeSet::new();
        request.visit(&engine, |key| {
            if let Some(value) = key.labels.get(&name).filter(|value| !values.contains(*value)) {
                values.insert(value.to_owned());
            }
        })?;
        Ok(request.answer(values, |out, value| push_text(out, &value)))
    })
    .await
}

async fn metadata(State(state): State<Arc<ApiState>>, params: Params) -> Result<Response, Failure> {
    let request = Request::read(&params)?;
    evaluated(&state, &params, move |engine| {
        let mut types: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
        request.visit(&engine, |key| {
            let name = key.labels.name();
            let of = prometheus_type(name, key.metric_type);
            match types.get_mut(name) {
                Some(types) => types.insert(of),
                None => types.insert(name.to_owned(), BTreeSet::from([of])).is_none(),
            };
        })?;
        let mut data = String::from("{");
        for (at, (name, types)) in types.iter().take(request.limit.unwrap_or(usize::MAX)).enumerate() {
            if at > 0 {
                data.push(',');
            }
            push_text(&mut data, name);
            data.push(':');
            push_list(&mut data, types, |out, name| {
                out.push_str(&format!("{{\"type\":\"{name}\",\"unit\":\"\",\"help\":\"\"}}"));
            });
        }
        data.push('}');
        Ok(success(&data, &[]))
    })
    .await
}

/// A label's name as it stands in a path: those that are not of letters, digits
/// and underscores alone begin with `U__` there, with `_2e_` for a dot and `__` for
/// an underscore.
fn unescaped(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::with_capacity(rest.len());
    while let Some((before, after)) = rest.split_once('_') {
        out.push_str(before);
        rest = match after.strip_prefix('_') {
            Some(after) => {
                out.push('_');
                after
            }
            None => {
                let escaped = after.split_once('_').and_then(|(code, after)| {
                    Some((u32::from_str_radix(code, 16).ok().and_then(char::from_u32)?, after))
                });
                // As Prometheus does: what is no such name is taken as it is.
                let Some((c, after)) = escaped else { return name.to_owned() };
                out.push(c);
                after
            }
        };
    }
    out.push_str(rest);
    out
}

/// What Prometheus calls a series of this type.
fn prometheus_type(name: &str, metric_type: MetricType) -> &'static str {
    match metric_type.seen_as(name) {
        MetricType::Counter => "counter",
        MetricType::Gauge | MetricType::Set | MetricType::Sampled => "gauge",
        MetricType::Timer | MetricType::Histogram => "histogram",
    }
}

/// Which series a call asks about.
struct Request {
    /// Selectors as written; all series when there is none. They are parsed
    /// where the query runs: regular expressions take their time.
    selectors: Vec<String>,
    /// The only metric that is asked about, in metadata.
    metric: Option<String>,
    range: TimeRange,
    limit: Option<usize>,
}

impl Request {
    fn read(params: &Params) -> Result<Self, Failure> {
        let selectors: Vec<String> = params.all("match[]").map(String::from).collect();
        if selectors.len() > MAX_SELECTORS {
            return Err(invalid("match[]", format!("there are more than {MAX_SELECTORS}")));
        }
        let start_ms = params.time_ms("start")?.unwrap_or(-ALL_TIME_MS);
        let end_ms = params.time_ms("end")?.unwrap_or(ALL_TIME_MS);
        let metric = params.text("metric").map(String::from);
        Ok(Request { selectors, metric, range: TimeRange { start_ms, end_ms }, limit: params.limit()? })
    }

    /// At most as many as a selector may find.
    fn keys(&self, engine: &Engine) -> Result<Vec<SeriesKey>, Error> {
        let mut keys = Vec::new();
        for matchers in self.alternatives(engine)? {
            keys.extend(engine.source().series(&matchers, self.range, engine.options().max_series)?);
        }
        Ok(keys)
    }

    /// Calls `visit` with each series, some of them maybe more than once: however
    /// many they are, as none is kept.
    fn visit(&self, engine: &Engine, mut visit: impl FnMut(&SeriesKey)) -> Result<(), Error> {
        for matchers in self.alternatives(engine)? {
            let mut goes_on = Ok(());
            engine.source().each_series(&matchers, self.range, &mut |key| {
                visit(&key);
                goes_on = engine.check_cancelled();
                goes_on.is_ok()
            })?;
            goes_on?;
        }
        Ok(())
    }

    fn alternatives(&self, engine: &Engine) -> Result<Vec<Vec<Matcher>>, Error> {
        if self.selectors.is_empty() {
            return Ok(vec![self.metric.iter().map(|name| Matcher::equal(NAME, name)).collect()]);
        }
        let mut all = Vec::new();
        for text in &self.selectors {
            engine.check_cancelled()?;
            let alternatives = parse_selector(text)
                .map_err(|error| Error::Range(format!("invalid parameter \"match[]\": {error}")))?;
            all.extend(alternatives);
        }
        Ok(all)
    }

    /// The items as a list, no more of them than were asked for.
    fn answer<T>(&self, items: BTreeSet<T>, push: impl Fn(&mut String, T)) -> Response {
        let limit = self.limit.unwrap_or(usize::MAX);
        let truncated = items.len() > limit;
        let mut data = String::new();
        push_list(&mut data, items.into_iter().take(limit), push);
        let warnings = truncated.then(|| "results truncated due to limit".to_owned());
        success(&data, &warnings.into_iter().collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_letters_stand_in_a_path() {
        let cases = [
            ("job", "job"),
            ("http.status", "http.status"),
            ("U__http_2e_status", "http.status"),
            ("U__a__b_e9_", "a_bé"),
            ("U__", ""),
            ("U__a_zz_b", "U__a_zz_b"),
            ("U__a_", "U__a_"),
            ("U__a_110000_", "U__a_110000_"),
        ];
        for (escaped, expected) in cases {
            assert_eq!(unescaped(escaped), expected, "{escaped}");
        }
    }
}
