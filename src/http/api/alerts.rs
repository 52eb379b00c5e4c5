//! `/api/v1/rules` and `/api/v1/alerts` in Prometheus' JSON, and
//! `/api/v1/status/receivers`, our own: how the receivers are doing. Reads what
//! was published last; evaluates nothing, waits for nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answer::Failure;
use super::params::{Params, invalid};
use crate::alert::{Alert, Board, RuleView, Snapshot, Transition, number};
use crate::notify::{ReceiverView, Status};
use arc_swap::ArcSwap;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Serialize;

/// Most entries of the history in one answer.
const HISTORY_MAX: usize = 1_000;

/// Shared by the handlers.
#[derive(Debug, Default)]
pub struct AlertsState {
    pub board: Arc<Board>,
    /// Of the running notifier; swapped when receivers are reloaded.
    pub receivers: ArcSwap<Vec<Arc<Status>>>,
}

/// The routes, below `/api/v1`.
pub fn router() -> Router<Arc<AlertsState>> {
    Router::new()
        .route("/api/v1/rules", get(rules))
        .route("/api/v1/alerts", get(alerts))
        .route("/api/v1/alerts/history", get(history))
        .route("/api/v1/status/receivers", get(receivers))
}

#[derive(Serialize)]
struct Success<T> {
    status: &'static str,
    data: T,
}

#[derive(Serialize)]
struct RulesData {
    groups: Vec<Group>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: &'static str,
    file: &'static str,
    /// Seconds between evaluations: between flushes.
    interval: f64,
    limit: u64,
    rules: Vec<RuleJson>,
    evaluation_time: f64,
    last_evaluation: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleJson {
    state: &'static str,
    name: String,
    query: String,
    /// Seconds, as `for` and `keep_firing_for`.
    duration: f64,
    keep_firing_for: f64,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    alerts: Vec<AlertJson>,
    health: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    evaluation_time: f64,
    last_evaluation: String,
    r#type: &'static str,
    /// What Prometheus has no words for, as a text for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertJson {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    state: &'static str,
    active_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_firing_since: Option<String>,
    value: String,
}

#[derive(Serialize)]
struct AlertsData {
    alerts: Vec<AlertJson>,
}

#[derive(Serialize)]
struct TransitionJson {
    at: String,
    rule: String,
    labels: BTreeMap<String, String>,
    from: &'static str,
    to: &'static str,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceiverJson {
    name: String,
    kind: &'static str,
    /// Host or file; the URL is a secret.
    endpoint: String,
    health: &'static str,
    sent: u64,
    failed: u64,
    retried: u64,
    dropped: u64,
    folded: u64,
    waiting: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_sent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error_at: Option<String>,
}

async fn rules(State(state): State<Arc<AlertsState>>, params: Params) -> Result<Response, Failure> {
    let mut groups = match params.text("type") {
        None | Some("alert") => groups(&state.board.snapshot()),
        // There are no recording rules.
        Some("record") => Vec::new(),
        Some(other) => return Err(invalid("type", format!("{other:?} is not known; write alert or record"))),
    };
    // What is not named is all.
    let is_wanted = |key: &str, name: &str| {
        let mut names = params.all(key).peekable();
        names.peek().is_none() || names.any(|wanted| wanted == name)
    };
    let excludes_alerts =
        matches!(params.text("exclude_alerts"), Some("true" | "1" | "t" | "T" | "TRUE" | "True"));
    groups.retain(|group| is_wanted("rule_group[]", group.name) && is_wanted("file[]", group.file));
    for group in &mut groups {
        group.rules.retain(|rule| is_wanted("rule_name[]", &rule.name));
        if excludes_alerts {
            group.rules.iter_mut().for_each(|rule| rule.alerts.clear());
        }
    }
    groups.retain(|group| !group.rules.is_empty());
    Ok(success(RulesData { groups }))
}

async fn alerts(State(state): State<Arc<AlertsState>>) -> Response {
    let snapshot = state.board.snapshot();
    let alerts = snapshot.rules.iter().flat_map(active).collect();
    success(AlertsData { alerts })
}

async fn history(State(state): State<Arc<AlertsState>>, params: Params) -> Result<Response, Failure> {
    let limit = params.limit()?.unwrap_or(HISTORY_MAX).min(HISTORY_MAX);
    let entries: Vec<_> = state.board.history(i64::MIN, limit).into_iter().map(transition_json).collect();
    Ok(success(entries))
}

async fn receivers(State(state): State<Arc<AlertsState>>) -> Response {
    let receivers: Vec<_> =
        state.receivers.load().iter().map(|status| receiver_json(status.view())).collect();
    success(receivers)
}

fn success<T: Serialize>(data: T) -> Response {
    Json(Success { status: "success", data }).into_response()
}

/// All rules of the config are one group: they are evaluated together.
fn groups(snapshot: &Snapshot) -> Vec<Group> {
    if snapshot.rules.is_empty() {
        return Vec::new();
    }
    vec![Group {
        name: "config",
        file: "config",
        interval: snapshot.interval_ms as f64 / 1_000.0,
        limit: 0,
        rules: snapshot.rules.iter().map(rule_json).collect(),
        evaluation_time: snapshot.took_ms / 1_000.0,
        last_evaluation: time(snapshot.evaluated_at_ms),
    }]
}

fn rule_json(view: &RuleView) -> RuleJson {
    let texts = |templates: &[(Box<str>, crate::alert::Template)]| {
        templates.iter().map(|(name, text)| (name.to_string(), text.source().to_owned())).collect()
    };
    let rule = &view.rule;
    let mut notes = Vec::new();
    if view.selects_nothing {
        notes.push("selects no series of the last 30 days; is a name misspelt?".to_owned());
    }
    if view.over_limit > 0 {
        notes.push(format!(
            "{} label sets are over the limit of {} alerts and not tracked",
            view.over_limit, rule.alerts_max
        ));
    }
    RuleJson {
        state: view.state().as_str(),
        name: rule.name.to_string(),
        query: rule.expr.text().to_owned(),
        duration: rule.for_ms as f64 / 1_000.0,
        keep_firing_for: rule.keep_firing_for_ms as f64 / 1_000.0,
        labels: texts(&rule.labels),
        annotations: texts(&rule.annotations),
        alerts: active(view).collect(),
        health: match (view.evaluated_at_ms, &view.last_error) {
            (None, _) => "unknown",
            (_, None) => "ok",
            (_, Some(_)) => "err",
        },
        last_error: view.last_error.clone(),
        evaluation_time: view.took_ms / 1_000.0,
        last_evaluation: time(view.evaluated_at_ms),
        r#type: "alerting",
        notes,
    }
}

/// Prometheus lists pending and firing alerts only.
fn active(view: &RuleView) -> impl Iterator<Item = AlertJson> {
    view.alerts.iter().filter(|alert| alert.is_active()).map(alert_json)
}

fn alert_json(alert: &Alert) -> AlertJson {
    AlertJson {
        labels: pairs(&alert.labels),
        annotations: pairs(&alert.annotations),
        state: alert.state.as_str(),
        active_at: time(Some(alert.active_at_ms)),
        keep_firing_since: alert.keep_firing_since_ms.map(|at_ms| time(Some(at_ms))),
        value: number::scientific(alert.value),
    }
}

fn transition_json(transition: Transition) -> TransitionJson {
    TransitionJson {
        at: time(Some(transition.at_ms)),
        rule: transition.rule.to_string(),
        labels: pairs(&transition.labels),
        from: transition.from.as_str(),
        to: transition.to.as_str(),
        value: number::plain(transition.value),
    }
}

fn receiver_json(view: ReceiverView) -> ReceiverJson {
    let (last_error_at, last_error) = view.last_error.unzip();
    ReceiverJson {
        name: view.name,
        kind: view.kind,
        endpoint: view.endpoint,
        health: match (view.broken, &last_error) {
            (true, _) => "broken",
            (false, Some(_)) => "failing",
            (false, None) => "ok",
        },
        sent: view.sent,
        failed: view.failed,
        retried: view.retried,
        dropped: view.dropped,
        folded: view.folded,
        waiting: view.waiting,
        last_sent: view.last_sent_at_ms.map(|at_ms| time(Some(at_ms))),
        last_error,
        last_error_at: last_error_at.map(|at_ms| time(Some(at_ms))),
    }
}

fn pairs(labels: &crate::model::Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// RFC 3339; the year 1 for what has not happened, as in Prometheus.
fn time(at_ms: Option<i64>) -> String {
    at_ms
        .and_then(|at_ms| Timestamp::from_millisecond(at_ms).ok())
        .map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Answer, Definition, Rule, Ruler};
    use crate::model::Labels;
    use crate::store::state::StateStore;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    fn call(state: &Arc<AlertsState>, path: &str) -> (u16, Value) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let service = hyper_util::service::TowerToHyperService::new(router().with_state(state.clone()));
            let answer = hyper::service::Service::call(&service, request).await.unwrap();
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, serde_json::from_slice(&body).unwrap())
        })
    }

    fn ruler() -> Ruler {
        let definition = Definition {
            name: "EtlErrors".into(),
            expr: "increase(etl_errors[1h]) > 0".into(),
            for_ms: 10_000,
            labels: vec![("severity".into(), "page".into())],
            annotations: vec![("summary".into(), "{{ $value }} errors".into())],
            ..Default::default()
        };
        let rule = Rule::new(&definition).unwrap();
        Ruler::open(vec![rule], Arc::new(StateStore::in_memory().unwrap()), 0).unwrap()
    }

    #[test]
    fn rules_and_alerts_are_prometheus_json() {
        let mut ruler = ruler();
        let state = Arc::new(AlertsState { board: ruler.board(), ..Default::default() });
        let (_, before) = call(&state, "/api/v1/rules");
        assert_eq!(before["data"]["groups"][0]["rules"][0]["health"], "unknown");
        assert_eq!(before["data"]["groups"][0]["lastEvaluation"], "0001-01-01T00:00:00Z");

        let vector = vec![(Labels::from_pairs([("job", "daily")]), 3.0)];
        for at_ms in [1_700_000_000_000, 1_700_000_010_000] {
            ruler.evaluate_with(at_ms, |_, _| Ok(Answer { vector: vector.clone(), selects_nothing: None }));
        }
        let alert = json!({
            "labels": {"alertname": "EtlErrors", "job": "daily", "severity": "page"},
            "annotations": {"summary": "3 errors"},
            "state": "firing",
            "activeAt": "2023-11-14T22:13:20Z",
            "value": "3e+00",
        });
        let (status, rules) = call(&state, "/api/v1/rules?type=alert");
        assert_eq!((status, &rules["status"]), (200, &json!("success")));
        let group = &rules["data"]["groups"][0];
        assert_eq!(group["interval"], 10.0);
        let mut rule = group["rules"][0].clone();
        assert!(rule["evaluationTime"].take().is_number());
        assert_eq!(
            rule,
            json!({
                "state": "firing", "name": "EtlErrors", "query": "increase(etl_errors[1h]) > 0",
                "duration": 10.0, "keepFiringFor": 0.0,
                "labels": {"severity": "page"}, "annotations": {"summary": "{{ $value }} errors"},
                "alerts": [alert], "health": "ok", "evaluationTime": null,
                "lastEvaluation": "2023-11-14T22:13:30Z", "type": "alerting",
            })
        );
        let (_, alerts) = call(&state, "/api/v1/alerts");
        assert_eq!(alerts, json!({"status": "success", "data": {"alerts": [alert]}}));

        ruler.evaluate_with(1_700_000_020_000, |_, _| Err("too many series".into()));
        let (_, rules) = call(&state, "/api/v1/rules");
        let rule = &rules["data"]["groups"][0]["rules"][0];
        assert_eq!((&rule["health"], &rule["lastError"]), (&json!("err"), &json!("too many series")));

        let (_, history) = call(&state, "/api/v1/alerts/history?limit=1");
        assert_eq!(history["data"].as_array().unwrap().len(), 1);
        assert_eq!(history["data"][0]["to"], "firing");
        let (status, refused) = call(&state, "/api/v1/alerts/history?limit=x");
        assert_eq!((status, &refused["errorType"]), (400, &json!("bad_data")));
    }

    #[test]
    fn rules_are_given_by_name_group_and_file() {
        let state = Arc::new(AlertsState { board: ruler().board(), ..Default::default() });
        let cases = [
            ("", 1),
            ("rule_name[]=EtlErrors&rule_name[]=Other", 1),
            ("rule_name[]=Other", 0),
            ("rule_group[]=config&file[]=config&exclude_alerts=true", 1),
            ("rule_group[]=another", 0),
            ("file[]=another", 0),
        ];
        for (query, expected) in cases {
            let (_, answer) = call(&state, &format!("/api/v1/rules?{query}"));
            assert_eq!(answer["data"]["groups"].as_array().unwrap().len(), expected, "{query}");
        }
    }

    #[test]
    fn other_types_are_empty_or_an_error() {
        let state = Arc::new(AlertsState { board: ruler().board(), ..Default::default() });
        assert_eq!(call(&state, "/api/v1/rules?type=record").1["data"]["groups"], json!([]));
        let (status, body) = call(&state, "/api/v1/rules?type=x");
        assert_eq!((status, &body["errorType"]), (400, &json!("bad_data")));
    }
}
