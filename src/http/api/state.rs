//! What the API's handlers share.

use crate::clock::Clock;
use crate::query::Engine;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Queries that run at the same time; more wait for their turn.
pub const MAX_CONCURRENT: usize = 8;

/// Shared by the handlers of the query API.
pub struct ApiState {
    pub engine: Engine,
    pub clock: Arc<dyn Clock>,
    /// One permit for each query that may run at the same time.
    pub permits: Arc<Semaphore>,
}

impl ApiState {
    pub fn new(engine: Engine, clock: Arc<dyn Clock>) -> Self {
        ApiState { engine, clock, permits: Arc::new(Semaphore::new(MAX_CONCURRENT)) }
    }
}
