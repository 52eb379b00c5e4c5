//! What the API's handlers share.

use crate::clock::Clock;
use crate::query::Engine;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Queries that run at the same time, and share the points that one query may
/// hold; more wait for their turn.
pub const MAX_CONCURRENT: usize = 8;

/// Shared by the handlers of the query API.
pub struct ApiState {
    pub engine: Engine,
    pub clock: Arc<dyn Clock>,
    /// One permit for each query that may run at the same time.
    pub permits: Arc<Semaphore>,
    /// The permit of a query that needs more than its share: it has all of the
    /// points for itself, once more.
    pub heavy: Arc<Semaphore>,
}

impl ApiState {
    pub fn new(engine: Engine, clock: Arc<dyn Clock>) -> Self {
        let (permits, heavy) = (Semaphore::new(MAX_CONCURRENT), Semaphore::new(1));
        ApiState { engine, clock, permits: Arc::new(permits), heavy: Arc::new(heavy) }
    }
}
