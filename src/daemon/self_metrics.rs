//! Our own figures as series: each flush carries them, so that rules and
//! charts can use them like any other.

use crate::aggregate::Registry;
use crate::aggregate::gauge::Gauge;
use crate::aggregate::table::Partial;
use crate::model::label::NAME;
use crate::model::{Labels, MetricType, SeriesId, SeriesKey};
use crate::telemetry::{FamilyKind, Telemetry};
use std::collections::HashMap;

/// Remembers what was told last, as counters are told by their increase.
#[derive(Debug, Default)]
pub struct SelfMetrics {
    told: HashMap<Labels, (SeriesId, f64)>,
}

impl SelfMetrics {
    /// The figures since the last call.
    pub fn partial(&mut self, telemetry: &Telemetry, registry: &Registry, now_ms: i64) -> Partial {
        let mut partial = Partial::default();
        for family in telemetry.families() {
            let metric_type = match family.kind {
                FamilyKind::Counter => MetricType::Counter,
                FamilyKind::Gauge => MetricType::Gauge,
            };
            for (labels, value) in family.samples {
                let labels = labels.iter().map(|(name, value)| (*name, value.as_str()));
                let labels = Labels::from_pairs(labels.chain([(NAME, family.name)]));
                let (id, before) = match self.told.get(&labels) {
                    Some(told) => *told,
                    None => {
                        let key = SeriesKey { labels: labels.clone(), metric_type };
                        let Ok(id) = registry.register(key) else { continue };
                        (id, 0.0)
                    }
                };
                match family.kind {
                    FamilyKind::Counter => {
                        // One that fell began anew: receivers do at a reload.
                        let increase = if value < before { value } else { value - before };
                        partial.counters.push((id, increase));
                    }
                    FamilyKind::Gauge => {
                        let set = Gauge { set: Some((value, now_ms)), ..Gauge::default() };
                        partial.gauges.push((id, set));
                    }
                }
                self.told.insert(labels, (id, value));
            }
        }
        partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::telemetry::Family;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_counter_that_begins_anew_goes_on() {
        let (telemetry, registry) = (Telemetry::default(), Registry::new(Arc::new(Catalogue::new(0))));
        let sent = Arc::new(AtomicU64::new(0));
        let source = sent.clone();
        telemetry.add_figures(move || {
            let samples = vec![(vec![], source.load(Ordering::Relaxed) as f64)];
            vec![Family { name: "statsdeck_x_total", kind: FamilyKind::Counter, help: "", samples }]
        });
        let mut own = SelfMetrics::default();
        let mut total = 0.0;
        for (now, expected) in [(3, 3.0), (5, 5.0), (1, 6.0), (1, 6.0)] {
            sent.store(now, Ordering::Relaxed);
            // Figures of upper floors come last.
            total += own.partial(&telemetry, &registry, 0).counters.pop().unwrap().1;
            assert_eq!(total, expected);
        }
    }
}
