//! `/-/healthy`, `/-/ready` and `/-/reload`, as in Prometheus.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot, watch};

/// Asks for a reload; the answer is an error's text or none.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// What the handlers need.
#[derive(Debug)]
pub struct HealthState {
    /// Whether everything is up and the stop has not begun.
    pub ready: watch::Receiver<bool>,
    /// Follows the flushes; closed when the thread that flushes is gone.
    pub flushed: watch::Receiver<i64>,
    pub reload: mpsc::Sender<ReloadRequest>,
    /// Set while somebody says that the daemon is down.
    pub down: Arc<AtomicBool>,
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
    if state.down.load(Ordering::Relaxed) {
        let message = "statsdeck was set down by the management port; \"health up\" there ends it.\n";
        (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
    } else if *state.ready.borrow() {
        "statsdeck is ready.\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "statsdeck is not ready.\n").into_response()
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

    #[tokio::test]
    async fn without_flushes_nothing_is_healthy() {
        let ((flushed, follows), (up, ready)) = (watch::channel(0), watch::channel(true));
        let state = Arc::new(HealthState {
            ready,
            flushed: follows,
            reload: mpsc::channel(1).0,
            down: Arc::default(),
        });
        assert_eq!(healthy(State(state.clone())).await.status(), StatusCode::OK);
        drop(flushed);
        assert_eq!(healthy(State(state.clone())).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        // While it stops that is as it should be.
        up.send_replace(false);
        assert_eq!(healthy(State(state)).await.status(), StatusCode::OK);
    }
}
