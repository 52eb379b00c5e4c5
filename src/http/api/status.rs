//! `/api/v1/status/buildinfo` and `status/tsdb`, and what a Prometheus has that we
//! do not: targets and Alertmanagers, of which there are none.

use super::ApiState;
use super::answer::{Failure, push_list, push_text, success};
use super::evaluation::evaluated;
use super::params::{Params, invalid};
use crate::model::label::NAME;
use crate::model::{Labels, TimeRange};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The Prometheus whose API this is: clients choose what they ask by it.
const COMPATIBLE_WITH: &str = "3.5.0";
/// Lengths of the lists of `status/tsdb`.
const LISTED: usize = 10;
const LISTED_MAX: usize = 10_000;
/// The series of the last hours are those of a Prometheus' head.
const HEAD_MS: i64 = 2 * 3_600_000;

/// The routes.
pub(super) fn router() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/api/v1/status/buildinfo", get(build_info))
        .route("/api/v1/status/tsdb", get(tsdb))
        .route("/api/v1/targets", get(targets))
        .route("/api/v1/alertmanagers", get(alertmanagers))
}

async fn build_info() -> Response {
    let data = format!(
        "{{\"version\":\"{COMPATIBLE_WITH}\",\"revision\":\"statsdeck-{}\",\"branch\":\"\",\"buildUser\":\"\",\
         \"buildDate\":\"\",\"goVersion\":\"\"}}",
        env!("CARGO_PKG_VERSION")
    );
    success(&data, &[])
}

async fn targets() -> Response {
    success(r#"{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}"#, &[])
}

async fn alertmanagers() -> Response {
    success(r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#, &[])
}

/// Which names and labels make the series of the last two hours.
async fn tsdb(State(state): State<Arc<ApiState>>, params: Params) -> Result<Response, Failure> {
    let listed = params.limit()?.unwrap_or(LISTED);
    if listed > LISTED_MAX {
        return Err(invalid("limit", format!("it may be {LISTED_MAX} at most")));
    }
    let end_ms = state.clock.now_ms();
    let range = TimeRange { start_ms: end_ms - HEAD_MS, end_ms };
    evaluated(&state, &params, move |engine| {
        let (mut heads, mut goes_on) = (Cardinality::default(), Ok(()));
        engine.source().each_series(&[], range, &mut |key| {
            heads.add(&key.labels);
            goes_on = engine.check_cancelled();
            goes_on.is_ok()
        })?;
        goes_on?;
        Ok(success(&heads.json(range, listed), &[]))
    })
    .await
}

/// How many series there are of each value of each label.
#[derive(Default)]
struct Cardinality {
    series: usize,
    labels: BTreeMap<String, HashMap<String, usize>>,
}

impl Cardinality {
    fn add(&mut self, labels: &Labels) {
        self.series += 1;
        for (name, value) in labels.iter() {
            if !self.labels.contains_key(name) {
                self.labels.insert(name.to_owned(), HashMap::new());
            }
            let Some(values) = self.labels.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(series) => *series += 1,
                None => drop(values.insert(value.to_owned(), 1)),
            }
        }
    }

    fn json(&self, range: TimeRange, listed: usize) -> String {
        let names =
            self.labels.get(NAME).into_iter().flatten().map(|(name, series)| (name.as_str(), *series));
        let by_label = |of: fn(&HashMap<String, usize>) -> usize| {
            most(self.labels.iter().map(|(name, values)| (name.as_str(), of(values))), listed)
        };
        let pairs = self.labels.iter().flat_map(|(name, values)| {
            values.iter().map(move |(value, series)| ((name.as_str(), value.as_str()), *series))
        });
        let pairs = most(pairs, listed)
            .into_iter()
            .map(|((name, value), series)| (format!("{name}={value}"), series));
        let lists = [
            ("seriesCountByMetricName", owned(most(names, listed))),
            ("labelValueCountByLabelName", owned(by_label(HashMap::len))),
            ("memoryInBytesByLabelName", owned(by_label(|values| values.keys().map(String::len).sum()))),
            ("seriesCountByLabelValuePair", pairs.collect()),
        ];
        let mut data = format!(
            "{{\"headStats\":{{\"numSeries\":{},\"numLabelPairs\":{},\"chunkCount\":0,\"minTime\":{},\"maxTime\":{}}}",
            self.series,
            self.labels.values().map(HashMap::len).sum::<usize>(),
            range.start_ms,
            range.end_ms
        );
        for (what, list) in lists {
            data.push_str(&format!(",\"{what}\":"));
            push_list(&mut data, list, |out, (name, count)| {
                out.push_str("{\"name\":");
                push_text(out, &name);
                out.push_str(&format!(",\"value\":{count}}}"));
            });
        }
        data.push('}');
        data
    }
}

fn owned(list: Vec<(&str, usize)>) -> Vec<(String, usize)> {
    list.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// The greatest first, of equal ones in the order of their names.
fn most<T: Ord>(list: impl Iterator<Item = (T, usize)>, listed: usize) -> Vec<(T, usize)> {
    let mut list: Vec<_> = list.collect();
    list.sort_unstable_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
    list.truncate(listed);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_and_labels_of_most_series_come_first() {
        let mut found = Cardinality::default();
        for (name, job) in [("a", "x"), ("b", "x"), ("b", "yy")] {
            found.add(&Labels::from_pairs([(NAME, name), ("job", job)]));
        }
        let data = found.json(TimeRange { start_ms: 1, end_ms: 2 }, 1);
        assert_eq!(
            data,
            "{\"headStats\":{\"numSeries\":3,\"numLabelPairs\":4,\"chunkCount\":0,\"minTime\":1,\"maxTime\":2},\
             \"seriesCountByMetricName\":[{\"name\":\"b\",\"value\":2}],\
             \"labelValueCountByLabelName\":[{\"name\":\"__name__\",\"value\":2}],\
             \"memoryInBytesByLabelName\":[{\"name\":\"job\",\"value\":3}],\
             \"seriesCountByLabelValuePair\":[{\"name\":\"__name__=b\",\"value\":2}]}"
        );
    }
}
