//! What the commands read and change, and the replies.
//!
//! Values are as of the last flush: counters' running totals, gauges' values,
//! of timers count and sum since the start. A series that is deleted ends with
//! the open window, as after a long silence; what is stored of it stays.

use super::command::{Command, Health, Kind, names};
use super::dump;
use crate::aggregate::overflow::is_overflow;
use crate::aggregate::window::{Live, LiveValue};
use crate::aggregate::{Registry, Windows};
use crate::clock::Clock;
use crate::model::label::OWN_PREFIX;
use crate::model::{MetricType, SeriesId};
use crate::telemetry::{Counter, Family, FamilyKind, Telemetry};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const COMMANDS: &str = "Commands: stats, counters, timers, gauges, delcounters, deltimers, delgauges, health, \
                        config, quit\n";
const END: &str = "END\n\n";

/// See the module's head.
pub struct AdminState {
    pub windows: Arc<Mutex<Windows>>,
    pub registry: Arc<Registry>,
    pub telemetry: Arc<Telemetry>,
    pub clock: Arc<dyn Clock>,
    pub started_ms: i64,
    /// Set while the daemon is said to be down: `/-/ready` says so too.
    pub down: Arc<AtomicBool>,
    /// Settings to show, by key; no secrets.
    pub config: Vec<(String, String)>,
    pub counts: Arc<Counts>,
}

/// A series that is alive, and what it is called here.
struct Shown {
    key: String,
    metric_type: MetricType,
    live: Live,
}

/// How the port fares.
#[derive(Debug, Default)]
pub struct Counts {
    pub commands: Counter,
    /// Connections closed at once, as there were too many.
    pub refused: Counter,
    /// Connections closed for what came: a line too long, or HTTP.
    pub cut: Counter,
}

impl Counts {
    /// As our own series.
    pub fn families(&self) -> Vec<Family> {
        let family = |name, help, counter: &Counter| Family {
            name,
            kind: FamilyKind::Counter,
            help,
            samples: vec![(vec![], counter.value() as f64)],
        };
        vec![
            family("statsdeck_admin_commands_total", "Commands on the management port.", &self.commands),
            family(
                "statsdeck_admin_connections_refused_total",
                "Connections to the management port beyond admin.connections.",
                &self.refused,
            ),
            family(
                "statsdeck_admin_connections_cut_total",
                "Connections to the management port that sent too long a line, or HTTP.",
                &self.cut,
            ),
        ]
    }
}

impl AdminState {
    /// The reply to a command; none to those that close the connection.
    pub fn reply(&self, command: &Command) -> String {
        match command {
            Command::Help => format!("{COMMANDS}\n{END}"),
            Command::Config => {
                let lines = self.config.iter().map(|(key, value)| format!("{key}: {value}\n"));
                format!("\n{}{END}", lines.collect::<String>())
            }
            Command::Health(asked) => self.health(*asked),
            Command::Stats => self.stats(),
            Command::Show(kind) => format!("{}\n{END}", self.show(*kind)),
            Command::Delete(kind, wanted) => self.delete(*kind, wanted),
            Command::Unknown => "ERROR\n".into(),
            Command::Quit | Command::Http => String::new(),
        }
    }

    fn health(&self, asked: Option<Health>) -> String {
        if let Some(health) = asked {
            let down = health == Health::Down;
            if self.down.swap(down, Ordering::Relaxed) != down {
                tracing::warn!(down, "health was set by the management port");
            }
        }
        let health = if self.down.load(Ordering::Relaxed) { "down" } else { "up" };
        format!("health: {health}\n{END}")
    }

    fn stats(&self) -> String {
        let (now_ms, telemetry) = (self.clock.now_ms(), &self.telemetry);
        let since = |at_ms: i64| (now_ms - at_ms.max(self.started_ms)).max(0) / 1000;
        let sum = |counters: &[Counter]| counters.iter().map(Counter::value).sum::<u64>();
        let mut out = format!("uptime: {}\n", since(self.started_ms));
        let mut put = |name: &str, value: i64| {
            let _ = writeln!(out, "{name}: {value}");
        };
        put("messages.last_msg_seen", since(telemetry.last_line_ms.value()));
        put("messages.bad_lines_seen", sum(&telemetry.lines_rejected) as i64);
        put("store.last_flush", since(telemetry.flush_last_end_ms.value()));
        put("store.flush_time_ms", telemetry.flush_last_duration_us.value() / 1000);
        put("statsdeck.lines_received", sum(&telemetry.lines_received) as i64);
        put("statsdeck.lines_accepted", telemetry.lines_accepted.value() as i64);
        put("statsdeck.lines_limited", sum(&telemetry.lines_limited) as i64);
        put("statsdeck.lines_overflowed", sum(&telemetry.lines_overflowed) as i64);
        put("statsdeck.series", telemetry.series_active.value());
        out + END
    }

    fn show(&self, kind: Kind) -> String {
        let series = self.series(kind);
        let entries: Vec<(String, String)> = series
            .into_iter()
            .map(|Shown { key, metric_type, live }| {
                let value = match live.value {
                    LiveValue::Counter(value) | LiveValue::Gauge(value) | LiveValue::Set(value) => {
                        value.to_string()
                    }
                    LiveValue::Distribution { count, sum } => dump::distribution(metric_type, count, sum),
                };
                (key, value)
            })
            .collect();
        dump::object(&entries)
    }

    fn delete(&self, kind: Kind, wanted: &[String]) -> String {
        let series = self.series(kind);
        let (mut out, mut ids) = (String::new(), BTreeSet::<SeriesId>::new());
        for name in wanted {
            let found: Vec<_> = series.iter().filter(|shown| names(name, &shown.key)).collect();
            if found.is_empty() {
                let _ = writeln!(out, "metric {name} not found");
            }
            for Shown { key, live, .. } in found {
                if ids.insert(live.id) {
                    let _ = writeln!(out, "deleted: {key}");
                }
            }
        }
        let ids: Vec<SeriesId> = ids.into_iter().collect();
        if !ids.is_empty() {
            tracing::info!(series = ids.len(), "ended by the management port");
            lock(&self.windows).end(&ids);
        }
        out + END
    }

    /// The series of a kind that are alive, by what they are called here. Our
    /// own are left out.
    fn series(&self, kind: Kind) -> Vec<Shown> {
        let live = lock(&self.windows).live();
        let mut series = Vec::new();
        self.registry.each_named(live, |named, live| {
            let own = named.labels.name().starts_with(OWN_PREFIX) && !is_overflow(&named);
            if kind.has(named.metric_type) && !own {
                series.push(Shown { key: dump::key(&named.labels), metric_type: named.metric_type, live });
            }
        });
        series.sort_by(|a, b| a.key.cmp(&b.key));
        series
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
