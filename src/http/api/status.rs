//! `/api/v1/status/buildinfo` and `status/tsdb`, and what a Prometheus has that we
//! do not: targets and Alertmanagers, of which there are none.

use super::ApiState;
use super::answer::{Failure, push_list, push_text, success};
use super::evaluation::evaluated;
use super::params::{Params, invalid};
use crate::model::{SeriesKey, TimeRange};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
        let keys = engine.source().series(&[], range, engine.options().max_series)?;
        Ok(success(&cardinality(&keys, range, listed), &[]))
    })
    .await
}

fn cardinality(keys: &[SeriesKey], range: TimeRange, listed: usize) -> String {
    let (mut names, mut pairs) = (HashMap::<&str, usize>::new(), HashMap::<(&str, &str), usize>::new());
    let mut values = BTreeMap::<&str, BTreeSet<&str>>::new();
    for key in keys {
        *names.entry(key.labels.name()).or_default() += 1;
        for (name, value) in key.labels.iter() {
            *pairs.entry((name, value)).or_default() += 1;
            values.entry(name).or_default().insert(value);
        }
    }
    let bytes =
        values.iter().map(|(name, values)| ((*name).to_owned(), values.iter().map(|v| v.len()).sum()));
    let lists = [
        ("seriesCountByMetricName", names.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()),
        (
            "labelValueCountByLabelName",
            values.iter().map(|(name, values)| ((*name).to_owned(), values.len())).collect(),
        ),
        ("memoryInBytesByLabelName", bytes.collect()),
        (
            "seriesCountByLabelValuePair",
            pairs.iter().map(|((name, value), count)| (format!("{name}={value}"), *count)).collect(),
        ),
    ];
    let mut data = format!(
        "{{\"headStats\":{{\"numSeries\":{},\"numLabelPairs\":{},\"chunkCount\":0,\"minTime\":{},\"maxTime\":{}}}",
        keys.len(),
        pairs.len(),
        range.start_ms,
        range.end_ms
    );
    for (what, list) in lists {
        data.push_str(&format!(",\"{what}\":"));
        push_list(&mut data, most(list, listed), |out, (name, count)| {
            out.push_str("{\"name\":");
            push_text(out, &name);
            out.push_str(&format!(",\"value\":{count}}}"));
        });
    }
    data.push('}');
    data
}

/// The greatest first, of equal ones in the order of their names.
fn most(mut list: Vec<(String, usize)>, listed: usize) -> Vec<(String, usize)> {
    list.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
    list.truncate(listed);
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::label::NAME;
    use crate::model::{Labels, MetricType};

    #[test]
    fn the_names_and_labels_of_most_series_come_first() {
        let key = |labels: &[(&str, &str)]| SeriesKey {
            labels: Labels::from_pairs(labels.iter().copied()),
            metric_type: MetricType::Gauge,
        };
        let keys = [
            key(&[(NAME, "a"), ("job", "x")]),
            key(&[(NAME, "b"), ("job", "x")]),
            key(&[(NAME, "b"), ("job", "yy")]),
        ];
        let data = cardinality(&keys, TimeRange { start_ms: 1, end_ms: 2 }, 1);
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
