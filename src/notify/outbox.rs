//! What one receiver is still to be told. Pure: times and answers are passed in.
//!
//! There is no list of events that could overflow or go stale: what is to be
//! told is the difference between what fires now and what the receiver was
//! told. So an alert that is over before it could be told is never told, one
//! that stays unsent is told whenever the receiver is back, and each notice is
//! told once. Bound: [`NOTICES_MAX`] alerts a receiver.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::message::{Message, Notice};
use super::receiver::Verdict;
use crate::alert::{Snapshot, State};
use crate::model::Labels;
use crate::store::state::SentRecord;

/// Most alerts that one receiver is told of or waits to be told of. Further
/// ones are held back until others are over.
pub const NOTICES_MAX: usize = 10_000;

/// How long to wait between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Wait after the first failure; doubles with each further one.
    pub backoff_first_ms: i64,
    pub backoff_max_ms: i64,
    /// A longer `Retry-After` is taken for this.
    pub retry_after_max_ms: i64,
    /// Shortest time between two messages.
    pub gap_ms: i64,
}

impl Default for Pacing {
    fn default() -> Self {
        Pacing { backoff_first_ms: 1_000, backoff_max_ms: 300_000, retry_after_max_ms: 3_600_000, gap_ms: 0 }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Send(Message),
    /// Ask again at this time, or after an update.
    WaitUntil(i64),
    /// Nothing is to be told.
    Idle,
}

/// What came of one message, to be noted in the sent log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled {
    pub put: Vec<(u64, SentRecord)>,
    pub remove: Vec<u64>,
    /// Set when the message is tried again: after so many ms.
    pub retry_in_ms: Option<i64>,
}

/// One receiver's difference between what is and what it was told.
#[derive(Debug, Default)]
pub struct Outbox {
    pacing: Pacing,
    /// Alerts whose firing notice was taken and whose end was not yet.
    told: BTreeMap<u64, Told>,
    /// Alerts that fire as of the last update.
    firing: BTreeMap<u64, Firing>,
    /// Notices that can not be delivered: not tried again in this run.
    given_up: BTreeSet<(u64, Kind, i64)>,
    /// Rules with something to tell, longest waiting first.
    queue: VecDeque<Arc<str>>,
    failures: u32,
    not_before_ms: i64,
    held_back: u64,
    folded: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Firing,
    Resolved,
}

#[derive(Clone, Debug)]
struct Told {
    rule: Arc<str>,
    /// With the time of its end once it is over.
    notice: Notice,
}

#[derive(Clone, Debug)]
struct Firing {
    rule: Arc<str>,
    expr: Arc<str>,
    notice: Notice,
}

impl Outbox {
    /// Takes up what the receiver was told in earlier runs.
    pub fn new(pacing: Pacing, sent: Vec<(u64, SentRecord)>) -> Self {
        let told = sent.into_iter().map(|(fingerprint, record)| {
            let notice = Notice {
                fingerprint,
                labels: Labels::from_pairs(record.labels),
                annotations: Labels::from_pairs(record.annotations),
                value: record.value,
                fired_at_ms: record.fired_at_ms,
                resolved_at_ms: None,
            };
            (fingerprint, Told { rule: record.rule.into(), notice })
        });
        Outbox { pacing, told: told.collect(), ..Default::default() }
    }

    /// Takes over what fires now. A snapshot from before the first evaluation
    /// says nothing and changes nothing.
    pub fn update(&mut self, snapshot: &Snapshot) {
        let Some(evaluated_at_ms) = snapshot.evaluated_at_ms else { return };
        let before = std::mem::take(&mut self.firing);
        self.held_back = 0;
        let mut room = NOTICES_MAX.saturating_sub(self.told.len());
        for (view, alert) in snapshot.firing() {
            let fingerprint = alert.fingerprint.0;
            if !self.told.contains_key(&fingerprint) {
                if room == 0 {
                    self.held_back += 1;
                    continue;
                }
                room -= 1;
            }
            let known = before.get(&fingerprint);
            let firing = Firing {
                rule: known.map_or_else(|| (*view.rule.name).into(), |firing| Arc::clone(&firing.rule)),
                expr: known.map_or_else(|| view.rule.expr.text().into(), |firing| Arc::clone(&firing.expr)),
                notice: notice(alert),
            };
            self.firing.insert(fingerprint, firing);
        }
        let over = |fingerprint: &&u64| !self.firing.contains_key(fingerprint);
        let untold = |fingerprint: &&u64| !self.told.contains_key(fingerprint);
        self.folded += before.keys().filter(over).filter(untold).count() as u64;
        self.end_told(snapshot, evaluated_at_ms);
        self.forget_given_up();
        self.enqueue();
    }

    /// What to do at `now_ms` (of a clock that only goes forward).
    pub fn next(&mut self, now_ms: i64) -> Step {
        while let Some(rule) = self.queue.front() {
            let message = self.message(rule);
            if message.is_empty() {
                self.queue.pop_front();
                continue;
            }
            if now_ms < self.not_before_ms {
                return Step::WaitUntil(self.not_before_ms);
            }
            self.queue.pop_front();
            return Step::Send(message);
        }
        Step::Idle
    }

    /// Takes over what came of `message`. `now_ms` as in [`Outbox::next`],
    /// `sent_at_ms` since the epoch, `chance` within 0..1 spreads retries.
    pub fn settle(
        &mut self,
        now_ms: i64,
        sent_at_ms: i64,
        message: Message,
        verdict: &Verdict,
        chance: f64,
    ) -> Settled {
        let mut settled = Settled::default();
        match verdict {
            Verdict::Delivered => {
                for notice in message.firing {
                    let rule = Arc::clone(&message.rule);
                    settled.put.push((notice.fingerprint, record(&rule, &notice, sent_at_ms)));
                    self.told.insert(notice.fingerprint, Told { rule, notice });
                }
                for notice in message.resolved {
                    self.told.remove(&notice.fingerprint);
                    settled.remove.push(notice.fingerprint);
                }
                self.pause(now_ms);
            }
            Verdict::GiveUp { .. } => {
                let kinds = [(Kind::Firing, &message.firing), (Kind::Resolved, &message.resolved)];
                for (kind, notices) in kinds {
                    self.given_up
                        .extend(notices.iter().map(|notice| (notice.fingerprint, kind, notice.fired_at_ms)));
                }
                self.pause(now_ms);
            }
            Verdict::Retry { after_ms, .. } => {
                self.failures = self.failures.saturating_add(1);
                let wait_ms = match after_ms {
                    Some(after_ms) => (*after_ms).clamp(0, self.pacing.retry_after_max_ms),
                    None => self.backoff_ms(chance),
                };
                self.not_before_ms = now_ms.saturating_add(wait_ms.max(self.pacing.gap_ms));
                // Behind the others: a message that alone fails must not hold them up.
                self.queue.push_back(message.rule);
                settled.retry_in_ms = Some(self.not_before_ms - now_ms);
            }
        }
        settled
    }

    /// Rules that have something to tell.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Firing alerts that found no room at the last update.
    pub fn held_back(&self) -> u64 {
        self.held_back
    }

    /// Changes that were never told because the opposite came first.
    pub fn folded(&self) -> u64 {
        self.folded
    }

    fn pause(&mut self, now_ms: i64) {
        self.failures = 0;
        self.not_before_ms = now_ms.saturating_add(self.pacing.gap_ms);
    }

    fn backoff_ms(&self, chance: f64) -> i64 {
        let doublings = self.failures.saturating_sub(1).min(30);
        let full =
            self.pacing.backoff_first_ms.saturating_mul(1 << doublings).min(self.pacing.backoff_max_ms);
        // Between half and all of it, so that many senders do not come back at once.
        (full as f64 * (0.5 + 0.5 * chance.clamp(0.0, 1.0))) as i64
    }

    /// Notes the end of what was told and no longer fires, and takes the end
    /// back from what fires again.
    fn end_told(&mut self, snapshot: &Snapshot, evaluated_at_ms: i64) {
        let resolved: BTreeMap<u64, Notice> = snapshot
            .rules
            .iter()
            .flat_map(|view| &view.alerts)
            .filter(|alert| alert.state == State::Resolved)
            .map(|alert| (alert.fingerprint.0, notice(alert)))
            .collect();
        let (firing, given_up, folded) = (&self.firing, &self.given_up, &mut self.folded);
        self.told.retain(|fingerprint, told| {
            if let Some(firing) = firing.get(fingerprint) {
                *folded += u64::from(told.notice.resolved_at_ms.take().is_some());
                // Its end could not be delivered: then the new beginning is news.
                let end_given_up =
                    given_up.contains(&(*fingerprint, Kind::Resolved, told.notice.fired_at_ms));
                return !(end_given_up && firing.notice.fired_at_ms != told.notice.fired_at_ms);
            }
            if told.notice.resolved_at_ms.is_none() {
                match resolved.get(fingerprint) {
                    Some(ended) => {
                        told.notice = Notice { fired_at_ms: told.notice.fired_at_ms, ..ended.clone() };
                    }
                    None => told.notice.resolved_at_ms = Some(evaluated_at_ms),
                }
            }
            true
        });
    }

    fn forget_given_up(&mut self) {
        let (firing, told) = (&self.firing, &self.told);
        self.given_up.retain(|(fingerprint, kind, fired_at_ms)| match kind {
            Kind::Firing => firing.get(fingerprint).is_some_and(|f| f.notice.fired_at_ms == *fired_at_ms),
            Kind::Resolved => told.contains_key(fingerprint),
        });
    }

    fn enqueue(&mut self) {
        let queued: BTreeSet<Arc<str>> = self.queue.iter().cloned().collect();
        let mut new = BTreeSet::new();
        for firing in self.firing.values().filter(|firing| self.is_news(firing)) {
            new.insert(Arc::clone(&firing.rule));
        }
        for told in self.told.values().filter(|told| self.is_over(told)) {
            new.insert(Arc::clone(&told.rule));
        }
        self.queue.extend(new.into_iter().filter(|rule| !queued.contains(rule)));
    }

    fn message(&self, rule: &Arc<str>) -> Message {
        let of_rule = self.firing.values().filter(|firing| firing.rule == *rule);
        let firing = of_rule.clone().filter(|firing| self.is_news(firing));
        let resolved = self.told.values().filter(|told| told.rule == *rule && self.is_over(told));
        Message {
            rule: Arc::clone(rule),
            expr: of_rule.clone().next().map(|firing| Arc::clone(&firing.expr)),
            firing: firing.map(|firing| firing.notice.clone()).collect(),
            resolved: resolved.map(|told| told.notice.clone()).collect(),
        }
    }

    fn is_news(&self, firing: &Firing) -> bool {
        let Notice { fingerprint, fired_at_ms, .. } = firing.notice;
        !self.told.contains_key(&fingerprint)
            && !self.given_up.contains(&(fingerprint, Kind::Firing, fired_at_ms))
    }

    fn is_over(&self, told: &Told) -> bool {
        let Notice { fingerprint, fired_at_ms, resolved_at_ms, .. } = told.notice;
        resolved_at_ms.is_some() && !self.given_up.contains(&(fingerprint, Kind::Resolved, fired_at_ms))
    }
}

fn notice(alert: &crate::alert::Alert) -> Notice {
    Notice {
        fingerprint: alert.fingerprint.0,
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        value: alert.value,
        fired_at_ms: alert.fired_at_ms.unwrap_or(alert.active_at_ms),
        resolved_at_ms: alert.resolved_at_ms,
    }
}

fn record(rule: &str, notice: &Notice, sent_at_ms: i64) -> SentRecord {
    let pairs = |labels: &Labels| labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    SentRecord {
        rule: rule.to_owned(),
        labels: pairs(&notice.labels),
        annotations: pairs(&notice.annotations),
        value: notice.value,
        fired_at_ms: notice.fired_at_ms,
        sent_at_ms,
    }
}
