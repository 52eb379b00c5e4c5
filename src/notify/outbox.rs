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
use super::pacing::{Pace, Pacing};
use super::receiver::Verdict;
use super::refusals::{Kind, Refusals};
use crate::alert::{Snapshot, State};
use crate::model::Labels;
use crate::store::state::SentRecord;

/// Most alerts that one receiver is told of or waits to be told of. Further
/// ones are held back until others are over.
pub const NOTICES_MAX: usize = 10_000;

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
    pace: Pace,
    /// Alerts whose firing notice was taken and whose end was not yet.
    told: BTreeMap<u64, Told>,
    /// Alerts that fire as of the last update.
    firing: BTreeMap<u64, Firing>,
    refusals: Refusals,
    /// Rules with something to tell, longest waiting first.
    queue: VecDeque<Arc<str>>,
    held_back: u64,
    folded: u64,
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
        Outbox { pace: Pace::new(pacing), told: told.collect(), ..Default::default() }
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
        self.forget_refusals();
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
            if now_ms < self.pace.not_before_ms() {
                return Step::WaitUntil(self.pace.not_before_ms());
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
                if self.refusals.forgive() {
                    self.enqueue();
                }
                self.pace.settled(now_ms);
            }
            Verdict::GiveUp { broken, .. } => {
                self.refusals.add(&message, *broken);
                self.pace.settled(now_ms);
            }
            Verdict::Retry { after_ms, .. } => {
                // Behind the others: a message that alone fails must not hold them up.
                self.queue.push_back(message.rule);
                settled.retry_in_ms = Some(self.pace.failed(now_ms, *after_ms, chance));
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
        let (firing, refusals, folded) = (&self.firing, &self.refusals, &mut self.folded);
        self.told.retain(|fingerprint, told| {
            if let Some(firing) = firing.get(fingerprint) {
                *folded += u64::from(told.notice.resolved_at_ms.take().is_some());
                // Its end could not be delivered: then the new beginning is news.
                let end_given_up = refusals.contains(Kind::Resolved, &told.notice);
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

    fn forget_refusals(&mut self) {
        let (firing, told) = (&self.firing, &self.told);
        self.refusals.retain(|fingerprint, kind, fired_at_ms| match kind {
            Kind::Firing => firing.get(&fingerprint).is_some_and(|f| f.notice.fired_at_ms == fired_at_ms),
            Kind::Resolved => told.contains_key(&fingerprint),
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
        let notice = &firing.notice;
        !self.told.contains_key(&notice.fingerprint) && !self.refusals.contains(Kind::Firing, notice)
    }

    fn is_over(&self, told: &Told) -> bool {
        told.notice.resolved_at_ms.is_some() && !self.refusals.contains(Kind::Resolved, &told.notice)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Answer, Definition, Rule, Ruler};
    use crate::store::state::StateStore;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const RETRY: Verdict = Verdict::Retry { after_ms: None, reason: String::new() };
    const BROKEN: Verdict = Verdict::GiveUp { reason: String::new(), broken: true };

    /// A ruler whose results are set by hand, an outbox that sees what it
    /// publishes, and the sent log as it would be on disk.
    struct World {
        ruler: Ruler,
        outbox: Outbox,
        log: HashMap<u64, SentRecord>,
        now_ms: i64,
    }

    impl World {
        fn new() -> Self {
            let store = Arc::new(StateStore::in_memory().unwrap());
            let rules = ["A", "B"].map(|name| {
                let definition =
                    Definition { name: name.into(), expr: format!("x{name} > 0"), ..Default::default() };
                Rule::new(&definition).unwrap()
            });
            let ruler = Ruler::open(rules.into(), store, 0).unwrap();
            World { ruler, outbox: Outbox::new(Pacing::default(), vec![]), log: HashMap::new(), now_ms: 0 }
        }

        /// An evaluation 10 s later at which `firing` ("A1 B2": rule and host) hold.
        fn evaluate(&mut self, firing: &str) {
            self.now_ms += 10_000;
            self.ruler.evaluate_with(self.now_ms, |rule, _| {
                let hosts = firing.split(' ').filter_map(|alert| alert.strip_prefix(&*rule.name));
                let vector = hosts.map(|host| (Labels::from_pairs([("host", host)]), 1.0)).collect();
                Ok(Answer { vector, selects_nothing: None })
            });
            self.outbox.update(&self.ruler.board().snapshot());
        }

        /// Sends one message, answered with `verdict`: `A +1 -2` when host 1
        /// fires and 2 is over; empty when nothing is to be sent now.
        fn send(&mut self, verdict: &Verdict) -> String {
            let Step::Send(message) = self.outbox.next(self.now_ms) else { return String::new() };
            let hosts = |notices: &[Notice], sign: &str| -> Vec<String> {
                notices.iter().map(|n| format!("{sign}{}", n.labels.get("host").unwrap())).collect()
            };
            let mut told = hosts(&message.firing, "+");
            told.extend(hosts(&message.resolved, "-"));
            told.sort();
            told.insert(0, message.rule.to_string());
            let settled = self.outbox.settle(self.now_ms, self.now_ms, message, verdict, 1.0);
            self.log.extend(settled.put);
            self.log.retain(|fingerprint, _| !settled.remove.contains(fingerprint));
            told.join(" ")
        }

        fn deliver(&mut self) -> String {
            self.send(&Verdict::Delivered)
        }

        fn restart(&mut self) {
            let sent = self.log.iter().map(|(fingerprint, record)| (*fingerprint, record.clone()));
            self.outbox = Outbox::new(Pacing::default(), sent.collect());
        }
    }

    #[test]
    fn each_notice_is_told_once() {
        let mut world = World::new();
        world.evaluate("");
        assert_eq!(world.deliver(), "");
        world.evaluate("A1");
        assert_eq!(world.deliver(), "A +1");
        assert_eq!(world.deliver(), "");
        world.evaluate("A1");
        assert_eq!(world.deliver(), "");
        world.evaluate("");
        assert_eq!(world.deliver(), "A -1");
        world.evaluate("");
        assert_eq!(world.deliver(), "");
        assert!(world.log.is_empty());
        world.evaluate("A1");
        assert_eq!(world.deliver(), "A +1");
    }

    #[test]
    fn the_alerts_of_a_rule_go_in_one_message() {
        let mut world = World::new();
        world.evaluate("A1 A2 B1");
        assert_eq!(world.deliver(), "A +1 +2");
        assert_eq!(world.deliver(), "B +1");
        world.evaluate("A1 A3 B1");
        assert_eq!(world.deliver(), "A +3 -2");
        assert_eq!(world.deliver(), "");
    }

    #[test]
    fn what_is_over_before_it_was_told_is_never_told() {
        let mut world = World::new();
        world.evaluate("A1 A2");
        assert_eq!(world.send(&RETRY), "A +1 +2");
        world.evaluate("A2");
        assert_eq!(world.deliver(), "A +2");
        world.evaluate("A2 B1");
        assert_eq!(world.send(&RETRY), "B +1");
        world.evaluate("A2");
        assert_eq!(world.deliver(), "");
        assert_eq!(world.outbox.folded(), 2);
    }

    #[test]
    fn an_end_that_was_not_told_before_it_fires_again_is_no_news() {
        let mut world = World::new();
        world.evaluate("A1");
        assert_eq!(world.deliver(), "A +1");
        world.evaluate("");
        assert_eq!(world.send(&RETRY), "A -1");
        world.evaluate("A1");
        assert_eq!(world.deliver(), "");
        world.evaluate("");
        assert_eq!(world.deliver(), "A -1");
    }

    #[test]
    fn a_restart_neither_repeats_nor_forgets() {
        let mut world = World::new();
        world.evaluate("A1 A2 B1");
        assert_eq!(world.deliver(), "A +1 +2");
        // Before the first evaluation nothing is known, so nothing is told.
        world.restart();
        assert_eq!(world.deliver(), "");
        world.evaluate("A1 B1");
        assert_eq!(world.deliver(), "A -2");
        assert_eq!(world.deliver(), "B +1");
        world.restart();
        world.evaluate("A1 B1");
        assert_eq!(world.deliver(), "");
        // The rules are gone as well: what was told still gets its end.
        world.restart();
        world.ruler.replace_rules(vec![]);
        world.evaluate("");
        assert_eq!(world.deliver(), "A -1");
        assert_eq!(world.deliver(), "B -1");
        assert!(world.log.is_empty());
    }

    #[test]
    fn a_failure_is_tried_again_after_its_wait() {
        let mut world = World::new();
        world.evaluate("A1");
        let begun_ms = world.now_ms;
        assert_eq!(world.send(&RETRY), "A +1");
        assert_eq!(world.outbox.next(begun_ms + 999), Step::WaitUntil(begun_ms + 1_000));
        world.now_ms += 1_000;
        let verdict = Verdict::Retry { after_ms: Some(70_000), reason: String::new() };
        assert_eq!(world.send(&verdict), "A +1");
        world.now_ms += 60_000;
        assert_eq!(world.deliver(), "");
        world.evaluate("A1");
        assert_eq!(world.deliver(), "A +1");
    }

    #[test]
    fn a_message_that_alone_fails_does_not_hold_up_the_others() {
        let mut world = World::new();
        world.evaluate("A1 B1");
        assert_eq!(world.send(&RETRY), "A +1");
        world.now_ms += 1_000;
        assert_eq!(world.deliver(), "B +1");
        assert_eq!(world.deliver(), "A +1");
    }

    #[test]
    fn what_is_given_up_is_not_tried_again_by_itself() {
        let mut world = World::new();
        world.evaluate("A1");
        assert_eq!(world.send(&BROKEN), "A +1");
        world.evaluate("A1");
        assert_eq!(world.deliver(), "");
        // Its end is no news either, its next beginning is.
        world.evaluate("");
        assert_eq!(world.deliver(), "");
        world.evaluate("A1");
        assert_eq!(world.send(&BROKEN), "A +1");
        world.restart();
        world.evaluate("A1");
        assert_eq!(world.deliver(), "A +1");
        // The end can not be told: the next beginning is, and then its end.
        world.evaluate("");
        assert_eq!(world.send(&BROKEN), "A -1");
        world.evaluate("");
        assert_eq!(world.deliver(), "");
        world.evaluate("A1");
        assert_eq!(world.deliver(), "A +1");
        world.evaluate("");
        assert_eq!(world.deliver(), "A -1");
        assert!(world.log.is_empty());
    }

    #[test]
    fn what_a_broken_receiver_did_not_take_is_told_once_it_takes_messages_again() {
        let refused = Verdict::GiveUp { reason: String::new(), broken: false };
        let mut world = World::new();
        world.evaluate("A1 A2");
        assert_eq!(world.deliver(), "A +1 +2");
        world.evaluate("A1 A3");
        assert_eq!(world.send(&BROKEN), "A +3 -2");
        world.evaluate("A1 A3");
        assert_eq!(world.deliver(), "", "not before it takes another");
        world.evaluate("A1 A3 B1");
        assert_eq!(world.deliver(), "B +1");
        assert_eq!(world.deliver(), "A +3 -2");
        // A message that it alone refuses is not tried again.
        world.evaluate("A1 A3 A4 B1");
        assert_eq!(world.send(&refused), "A +4");
        world.evaluate("A1 A3 A4 B1 B2");
        assert_eq!(world.deliver(), "B +2");
        assert_eq!(world.deliver(), "");
    }

    #[test]
    fn between_two_messages_is_a_gap() {
        let mut world = World::new();
        world.outbox = Outbox::new(Pacing { gap_ms: 1_000, ..Pacing::default() }, vec![]);
        world.evaluate("A1 B1");
        assert_eq!(world.deliver(), "A +1");
        assert_eq!(world.deliver(), "");
        world.now_ms += 1_000;
        assert_eq!(world.deliver(), "B +1");
    }

    #[test]
    fn over_the_bound_alerts_are_held_back_not_lost() {
        let record = |n: u64| SentRecord {
            rule: "old".into(),
            labels: [("host".to_owned(), n.to_string())].into(),
            annotations: Default::default(),
            value: 0.0,
            fired_at_ms: 0,
            sent_at_ms: 0,
        };
        let mut world = World::new();
        world.outbox =
            Outbox::new(Pacing::default(), (0..NOTICES_MAX as u64 - 1).map(|n| (n, record(n))).collect());
        world.evaluate("A1 A2");
        assert_eq!(world.outbox.held_back(), 1);
        let first = world.deliver();
        assert!(first == "A +1" || first == "A +2", "{first}");
        assert!(world.deliver().starts_with("old -0 -1"));
        world.evaluate("A1 A2");
        assert_eq!(world.outbox.held_back(), 0);
        assert!(world.deliver().starts_with("A +"));
    }

    #[derive(Clone, Debug)]
    enum Event {
        Evaluate(String),
        Send(bool),
        Restart,
    }

    fn event() -> impl Strategy<Value = Event> {
        let alerts = ["A1", "A2", "B1"].map(|alert| prop::bool::ANY.prop_map(move |on| on.then_some(alert)));
        prop_oneof![
            4 => alerts.prop_map(|on| Event::Evaluate(on.into_iter().flatten().collect::<Vec<_>>().join(" "))),
            4 => prop::bool::ANY.prop_map(Event::Send),
            1 => Just(Event::Restart),
        ]
    }

    proptest! {
        /// Whatever fails and restarts: for each alert beginning and end take
        /// turns, and in the end the receiver believes what is.
        #[test]
        fn what_is_told_is_never_wrong(events in prop::collection::vec(event(), 0..60)) {
            let mut world = World::new();
            let mut believed: BTreeSet<String> = BTreeSet::new();
            let mut take = |told: String, delivered: bool| -> Result<(), TestCaseError> {
                let mut words = told.split(' ');
                let rule = words.next().unwrap_or_default();
                for word in words.filter(|_| delivered) {
                    let (sign, host) = word.split_at(1);
                    let changed = match sign {
                        "+" => believed.insert(format!("{rule}{host}")),
                        _ => believed.remove(&format!("{rule}{host}")),
                    };
                    prop_assert!(changed, "told twice: {rule} {word}");
                }
                Ok(())
            };
            for event in events {
                match event {
                    Event::Evaluate(firing) => world.evaluate(&firing),
                    Event::Send(true) => take(world.deliver(), true)?,
                    Event::Send(false) => take(world.send(&RETRY), false)?,
                    Event::Restart => world.restart(),
                }
            }
            world.now_ms += 1_000_000;
            world.evaluate("A1 B1");
            for _ in 0..3 {
                take(world.deliver(), true)?;
            }
            prop_assert_eq!(believed, BTreeSet::from(["A1".to_owned(), "B1".to_owned()]));
        }
    }
}
