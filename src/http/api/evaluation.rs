//! How a call that reads series is run: on a thread of its own that gives way to
//! those that serve connections and those that receive; so many at a time as
//! there are permits, so many waiting as there are places.
//!
//! It is stopped when its time is up and when the client goes away (its handler
//! is dropped then), and it is counted once, by what became of it.

use super::ApiState;
use super::answer::Failure;
use super::params::Params;
use super::state::Outcomes;
use crate::query::{Cancel, Engine, Error};
use crate::workers;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Runs `work` within the limits of number and time: with its share of the
/// points first, and again, alone of its kind, where it needs more of them.
pub(super) async fn evaluated<T: Send + 'static>(
    state: &ApiState,
    params: &Params,
    work: impl Fn(Engine) -> Result<T, Error> + Send + Sync + 'static,
) -> Result<T, Failure> {
    let options = state.engine.options();
    let asked = params.span_ms("timeout")?.map(|ms| Duration::from_millis(ms.unsigned_abs()));
    let deadline = Instant::now() + asked.map_or(options.timeout, |asked| asked.min(options.timeout));
    let Ok(_place) = state.places.try_acquire() else {
        state.outcomes.refused.add(1);
        return Err(Failure::unavailable("too many queries wait for their turn; try again later"));
    };
    let call = Call { outcomes: &state.outcomes, is_over: false };
    let work = Arc::new(work);
    let share = options.max_points / state.bounds.running.max(1);
    let first = turn(&state.permits, deadline, state.engine.clone().with_max_points(share), &work).await;
    let result = match first {
        Ok(Err(error)) if error.is_of_points() => {
            turn(&state.heavy, deadline, state.engine.clone(), &work).await
        }
        result => result,
    };
    let result = result.and_then(|result| Ok(result?));
    call.ended(&result);
    result
}

/// Runs `work` once there is a permit.
async fn turn<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    deadline: Instant,
    engine: Engine,
    work: &Arc<impl Fn(Engine) -> Result<T, Error> + Send + Sync + 'static>,
) -> Result<Result<T, Error>, Failure> {
    let permit = tokio::time::timeout_at(deadline, Arc::clone(permits).acquire_owned())
        .await
        .map_err(|_| Failure::timeout("too many queries are running; try again later"))?
        .map_err(|_| Failure::internal("the server is stopping"))?;
    let cancel = Cancel::new();
    let engine = engine.with_cancel(cancel.clone());
    // Dropped with this future, be it done or given up by the client.
    let _given_up = CancelOnDrop(cancel.clone());
    let work = Arc::clone(work);
    let task = workers::in_background(move || {
        // Held until the work has really stopped.
        let _permit = permit;
        work(engine)
    });
    match tokio::time::timeout_at(deadline, task).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) => Err(Failure::internal("the evaluation failed unexpectedly")),
        Err(_) => {
            cancel.time_out();
            Err(Error::TimedOut.into())
        }
    }
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A call that is counted when it ends, or when nobody waits for it any more.
struct Call<'a> {
    outcomes: &'a Outcomes,
    is_over: bool,
}

impl Call<'_> {
    fn ended<T>(mut self, result: &Result<T, Failure>) {
        self.is_over = true;
        match result {
            Ok(_) => self.outcomes.answered.add(1),
            Err(failure) if failure.is_timeout() => self.outcomes.timed_out.add(1),
            Err(_) => self.outcomes.failed.add(1),
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.outcomes.given_up.add(1);
        }
    }
}
