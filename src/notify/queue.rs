//! A worker a receiver: takes what its outbox says, sends it, and notes in the
//! sent log what was taken. Evaluation never waits for it: only the newest
//! snapshot is handed over.
//!
//! A notice is told once, across restarts too. The exception is a message that
//! was taken whose answer was lost (time-out, crash before the commit): it is
//! sent again, since a notice too many is better than one too few.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::client::{Client, ClientOptions};
use super::outbox::{Outbox, Settled, Step};
use super::pacing::Pacing;
use super::receiver::{Link, Receiver, Target, Verdict};
use super::status::{ReceiverView, Status};
use crate::alert::Snapshot;
use crate::clock::Clock;
use crate::store::state::{Error as StoreError, SentRecord, StateStore};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How notices are sent.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where our pages are reached, for links; with or without a slash at its end.
    pub public_url: Option<String>,
    pub client: ClientOptions,
    /// Its `gap_ms` is a lower bound for what the receiver asks for.
    pub pacing: Pacing,
}

/// Why notices can not be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("cannot read the sent log: {0}")]
    Store(#[from] StoreError),
}

/// The running workers. Dropping it stops them at once.
#[derive(Debug)]
pub struct Notifier {
    updates: watch::Sender<Arc<Snapshot>>,
    statuses: Vec<Arc<Status>>,
    workers: JoinSet<()>,
    /// Set when no further message may be begun.
    hurry: Arc<AtomicBool>,
    /// How long a message that is on its way may take.
    message_wait: Duration,
}

impl Notifier {
    /// Starts a worker for each of `targets`, whose names must differ. Must be
    /// called within a tokio runtime. What receivers that are not among them
    /// were told is forgotten.
    pub fn start(
        targets: Vec<Target>,
        options: &Options,
        store: &Arc<StateStore>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let (updates, _) = watch::channel(Arc::default());
        let mut notifier = Notifier {
            updates,
            statuses: Vec::new(),
            workers: JoinSet::new(),
            hurry: Arc::default(),
            message_wait: options.client.timeout + Duration::from_secs(1),
        };
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        if targets.is_empty() {
            store.retain_receivers(&names)?;
            return Ok(notifier);
        }
        // What can fail comes first: nothing is forgotten for a start that fails.
        let client = Client::new(options.client)?;
        let mut logs = Vec::new();
        for name in &names {
            logs.push(store.sent(name)?);
        }
        store.retain_receivers(&names)?;
        for (target, sent) in targets.into_iter().zip(logs) {
            let endpoint = target.receiver.endpoint();
            let status =
                Arc::new(Status::new(target.name.clone(), target.receiver.kind(), endpoint.to_string()));
            let gap_ms = options.pacing.gap_ms.max(target.receiver.gap_ms());
            let worker = Worker {
                outbox: Outbox::new(Pacing { gap_ms, ..options.pacing }, sent),
                target,
                public_url: options.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned()),
                client: client.clone(),
                store: Arc::clone(store),
                clock: Arc::clone(clock),
                status: Arc::clone(&status),
                unsaved: BTreeMap::new(),
                hurry: Arc::clone(&notifier.hurry),
                started: Instant::now(),
                random: RandomState::new(),
            };
            notifier.statuses.push(status);
            notifier.workers.spawn(worker.run(notifier.updates.subscribe()));
        }
        Ok(notifier)
    }

    /// Hands over the state after an evaluation. Never waits.
    pub fn update(&self, snapshot: Arc<Snapshot>) {
        self.updates.send_replace(snapshot);
    }

    /// How the receivers are doing; they outlive the notifier.
    pub fn statuses(&self) -> Vec<Arc<Status>> {
        self.statuses.clone()
    }

    pub fn views(&self) -> Vec<ReceiverView> {
        self.statuses.iter().map(|status| status.view()).collect()
    }

    /// Tells what can be told within `wait`, then stops. A message on its way is
    /// waited for: cut off, it would be sent again. What was not told is told
    /// after the next start. Whether all was told in time.
    pub async fn stop(mut self, wait: Duration) -> bool {
        drop(self.updates);
        let mut ended = async |wait| {
            let all = async { while self.workers.join_next().await.is_some() {} };
            tokio::time::timeout(wait, all).await.is_ok()
        };
        if ended(wait).await {
            return true;
        }
        self.hurry.store(true, Relaxed);
        ended(self.message_wait).await;
        false
    }
}

struct Worker {
    target: Target,
    outbox: Outbox,
    public_url: Option<String>,
    client: Client,
    store: Arc<StateStore>,
    clock: Arc<dyn Clock>,
    status: Arc<Status>,
    /// Changes to the sent log that could not be written; `None` removes.
    /// Bounded as the outbox is.
    unsaved: BTreeMap<u64, Option<SentRecord>>,
    hurry: Arc<AtomicBool>,
    /// Waits are measured with a clock that nobody sets.
    started: Instant,
    random: RandomState,
}

impl Worker {
    async fn run(mut self, mut updates: watch::Receiver<Arc<Snapshot>>) {
        // `changed` marks the value as seen: what it saw must be taken over here.
        let mut fresh = true;
        let mut stopping = false;
        while !self.hurry.load(Relaxed) {
            if fresh || updates.has_changed().unwrap_or(false) {
                fresh = false;
                let snapshot = Arc::clone(&updates.borrow_and_update());
                self.update(&snapshot);
            }
            let step = self.outbox.next(self.elapsed_ms());
            self.status.waiting.store(self.outbox.waiting() as u64, Relaxed);
            match step {
                Step::Send(message) => self.send(message).await,
                Step::Idle | Step::WaitUntil(_) if stopping => break,
                Step::Idle => {
                    fresh = updates.changed().await.is_ok();
                    stopping = !fresh;
                }
                Step::WaitUntil(at_ms) => {
                    let until = self.started + Duration::from_millis(at_ms.unsigned_abs());
                    tokio::select! {
                        changed = updates.changed() => {
                            fresh = changed.is_ok();
                            stopping = !fresh;
                        }
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
            }
        }
        self.save(Settled::default()).await;
    }

    fn update(&mut self, snapshot: &Snapshot) {
        let (held_back, folded) = (self.outbox.held_back(), self.outbox.folded());
        self.outbox.update(snapshot);
        let dropped = self.outbox.held_back().saturating_sub(held_back);
        if dropped > 0 {
            tracing::error!(
                receiver = self.target.name,
                alerts = dropped,
                "too many alerts fire: these are told once others are over"
            );
        }
        self.status.dropped.fetch_add(dropped, Relaxed);
        self.status.folded.fetch_add(self.outbox.folded() - folded, Relaxed);
    }

    async fn send(&mut self, message: super::Message) {
        let link = Link { receiver: &self.target.name, public_url: self.public_url.as_deref() };
        let body = self.target.receiver.body(&message, link);
        let verdict = match self.client.post(self.target.receiver.endpoint(), body).await {
            Ok(reply) => self.target.receiver.judge(&reply),
            Err(verdict) => verdict,
        };
        let now_ms = self.clock.now_ms();
        let (rule, firing, resolved) =
            (Arc::clone(&message.rule), message.firing.len(), message.resolved.len());
        let chance = self.chance();
        let settled = self.outbox.settle(self.elapsed_ms(), now_ms, message, &verdict, chance);
        let receiver = self.target.name.as_str();
        let endpoint = self.status.endpoint.as_str();
        match &verdict {
            Verdict::Delivered => {
                self.status.delivered(now_ms);
                tracing::info!(receiver, %rule, firing, resolved, "notice sent");
            }
            Verdict::Retry { reason, .. } => {
                self.status.retrying(now_ms, reason);
                let retry_in_ms = settled.retry_in_ms.unwrap_or_default();
                tracing::warn!(receiver, endpoint, %rule, reason, retry_in_ms, "notice not taken, will be tried again");
            }
            Verdict::GiveUp { reason, broken } => {
                self.status.gave_up(now_ms, reason, *broken);
                tracing::error!(receiver, endpoint, %rule, reason, broken, firing, resolved, "notice given up");
            }
        }
        self.save(settled).await;
    }

    /// Notes what was told; what can not be written now is written with the next.
    async fn save(&mut self, settled: Settled) {
        self.unsaved.extend(settled.put.into_iter().map(|(alert, record)| (alert, Some(record))));
        self.unsaved.extend(settled.remove.into_iter().map(|alert| (alert, None)));
        if self.unsaved.is_empty() {
            return;
        }
        let (store, receiver) = (Arc::clone(&self.store), self.target.name.clone());
        let changes = std::mem::take(&mut self.unsaved);
        let saved = tokio::task::spawn_blocking(move || {
            let remove: Vec<u64> =
                changes.iter().filter(|(_, record)| record.is_none()).map(|(alert, _)| *alert).collect();
            let put: Vec<(u64, SentRecord)> =
                changes.iter().filter_map(|(alert, record)| Some((*alert, record.clone()?))).collect();
            store.save_sent(&receiver, &put, &remove).map_err(|error| (error, changes))
        });
        match saved.await {
            Ok(Ok(())) => {}
            Ok(Err((error, changes))) => {
                self.unsaved = changes;
                self.status.save_failures.fetch_add(1, Relaxed);
                let receiver = self.target.name.as_str();
                tracing::error!(
                    receiver, %error,
                    "what was sent could not be noted; after a restart it would be sent again"
                );
            }
            // The runtime is going down; the log says what is known.
            Err(error) => tracing::error!(%error, "what was sent could not be noted"),
        }
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Within 0..1, different for each attempt.
    fn chance(&self) -> f64 {
        self.random.hash_one(self.started.elapsed()) as f64 / u64::MAX as f64
    }
}
