//! `/-/healthy`, `/-/ready` and `/-/reload`, as in Prometheus.

use crate::clock::Clock;
use crate::telemetry::Telemetry;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// Asks for a reload; the answer is an error's text or none.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// A store that has not taken samples for longer is no passing trouble.
const STORE_PATIENCE_MS: i64 = 60_000;

/// What the handlers need.
pub struct HealthState {
    /// Whether everything is up and the stop has not begun.
    pub ready: watch::Receiver<bool>,
    /// Follows the flushes; closed when the thread that flushes is gone.
    pub flushed: watch::Receiver<i64>,
    pub reload: mpsc::Sender<ReloadRequest>,
    pub telemetry: Arc<Telemetry>,
    pub clock: Arc<dyn Clock>,
}

/// `/-/healthy` and `/-/ready`.
pub fn router(state: Arc<HealthState>) -> Router {
    Router::new().route("/-/healthy", get(healthy)).route("/-/ready", get(ready)).with_state(state)
}

/// `POST /-/reload`, for those who may change settings.
pub fn reload_router(state: Arc<HealthState>) -> Router {
    Router::new().route("/-/reload", post(reload)).with_state(state)
}

async fn healthy(State(state): State<Arc<HealthState>>) -> Response {
    let stopping = !*state.ready.borrow();
    if stopping || state.flushed.has_changed().is_ok() {
        "statsdeck is healthy.\n".into_response()
    } else {
        let message = "statsdeck is not healthy: windows are not flushed any more; restart it.\n";
        (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
    }
}

async fn ready(State(state): State<Arc<HealthState>>) -> Response {
    let refused = |message| (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    if !*state.ready.borrow() {
        return refused("statsdeck is not ready.\n".into());
    }
    match state.telemetry.store_failing_since_ms.value() {
        0 => "statsdeck is ready.\n".into_response(),
        since_ms => match state.clock.now_ms() - since_ms {
            ..=STORE_PATIENCE_MS => "statsdeck is ready.\n".into_response(),
            failing_ms => refused(format!(
                "statsdeck is not ready: nothing could be stored for {} s; the log says why.\n",
                failing_ms / 1000
            )),
        },
    }
}

async fn reload(State(state): State<Arc<HealthState>>) -> Response {
    let (answer, answered) = oneshot::channel();
    let asked = state.reload.try_send(answer).is_ok();
    match answered.await {
        Ok(Ok(())) => "reloaded\n".into_response(),
        Ok(Err(error)) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        Err(_) if asked => (StatusCode::SERVICE_UNAVAILABLE, "statsdeck is stopping\n").into_response(),
        Err(_) => (StatusCode::TOO_MANY_REQUESTS, "a reload is under way\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn state(
        flushed: watch::Receiver<i64>,
        ready: watch::Receiver<bool>,
        clock: &Arc<ManualClock>,
    ) -> Arc<HealthState> {
        let (telemetry, clock) = (Arc::default(), clock.clone());
        Arc::new(HealthState { ready, flushed, reload: mpsc::channel(1).0, telemetry, clock })
    }

    #[tokio::test]
    async fn without_flushes_nothing_is_healthy() {
        let ((flushed, follows), (up, ready)) = (watch::channel(0), watch::channel(true));
        let state = state(follows, ready, &Arc::new(ManualClock::at(0)));
        assert_eq!(healthy(State(state.clone())).await.status(), StatusCode::OK);
        drop(flushed);
        assert_eq!(healthy(State(state.clone())).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        // While it stops that is as it should be.
        up.send_replace(false);
        assert_eq!(healthy(State(state)).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_store_that_takes_nothing_for_long_is_not_ready() {
        let ((_flushed, follows), (_up, ready_follows)) = (watch::channel(0), watch::channel(true));
        let clock = Arc::new(ManualClock::at(1_000_000));
        let state = state(follows, ready_follows, &clock);
        // When it began to fail, what time it is, and the answer.
        let cases = [
            (0, 2_000_000, 200),
            (1_950_000, 2_000_000, 200),
            (1_930_000, 2_000_000, 503),
            (0, 2_000_000, 200),
        ];
        for (since_ms, now_ms, expected) in cases {
            state.telemetry.store_failing_since_ms.set(since_ms);
            clock.set(now_ms);
            assert_eq!(ready(State(state.clone())).await.status(), expected, "{since_ms}");
            assert_eq!(healthy(State(state.clone())).await.status(), 200, "a restart would not help");
        }
    }
}
