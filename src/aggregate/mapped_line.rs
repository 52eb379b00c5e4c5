//! A line's series as a mapping has it: labels, treatment, what is done to the
//! values. Made once for each new spelling; without a mapping, or when nothing
//! matches, the series is that of the name and tags as sent.

use super::effect::Effect;
use crate::mapping::{Mapper, Resolution, Treatment};
use crate::model::{Labels, MetricType};
use crate::protocol::{Line, Reject, tag};
use std::sync::Arc;

/// See the module's head.
#[derive(Debug)]
pub struct MappedLine {
    pub labels: Labels,
    pub treatment: Option<Arc<Treatment>>,
    pub effect: Effect,
}

impl MappedLine {
    /// `None` when the mapping drops it. It has at most `labels_max` labels
    /// beside its name, the mapping's included.
    pub fn new(
        line: &Line<'_>,
        metric_type: MetricType,
        mapper: Option<&Mapper>,
        labels_max: usize,
    ) -> Result<Option<Self>, Reject> {
        let as_sent = || tag::labels(line.name, &line.tags, labels_max);
        let Some(mapper) = mapper else {
            return Ok(Some(MappedLine { labels: as_sent()?, treatment: None, effect: Effect::default() }));
        };
        let name = String::from_utf8_lossy(line.name);
        let (labels, treatment, scale) = match mapper.resolve(&name, metric_type) {
            Resolution::Dropped(_) => return Ok(None),
            Resolution::Unmapped(treatment) => (as_sent()?, treatment.cloned(), None),
            Resolution::Mapped(mapped) if mapped.name.is_empty() => return Err(Reject::EmptyName),
            Resolution::Mapped(mapped) => {
                let labels = mapped.labels(&tag::labels(mapped.name.as_bytes(), &line.tags, labels_max)?);
                if labels.len() > labels_max + 1 {
                    return Err(Reject::TooManyLabels);
                }
                (labels, mapped.rule.treatment.clone(), mapped.rule.definition.scale)
            }
        };
        let effect = Effect::of(scale, metric_type, treatment.as_deref());
        Ok(Some(MappedLine { labels, treatment, effect }))
    }
}
