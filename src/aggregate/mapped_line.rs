//! A line's series as a mapping has it: labels, treatment, what is done to the
//! values. Made once for each new spelling; without a mapping, or when nothing
//! matches, the series is that of the name and tags as sent.
//!
//! Tags that are part of the name are taken out of it first: a mapping sees the
//! name alone, and they are tags to it like all others. A service check has a
//! name of ours, which no tag style and no mapping is asked about.

use super::effect::Effect;
use crate::mapping::{Mapper, Resolution, Treatment};
use crate::model::{Labels, MetricType};
use crate::protocol::{Line, Reject, TagStyles, check, tag};
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
        tag_styles: TagStyles,
        mapper: Option<&Mapper>,
        labels_max: usize,
    ) -> Result<Option<Self>, Reject> {
        let is_check = check::is_check(line);
        let named = if is_check { TagStyles::NONE } else { tag_styles }.named(line.name);
        let labels_as = |name: &[u8]| {
            tag::labels_of(name, named.tags.iter().copied().chain(line.tags.iter()), labels_max)
        };
        let as_sent = || labels_as(&named.name);
        let Some(mapper) = mapper.filter(|_| !is_check) else {
            return Ok(Some(MappedLine { labels: as_sent()?, treatment: None, effect: Effect::default() }));
        };
        let name = String::from_utf8_lossy(&named.name);
        let (labels, treatment, scale) = match mapper.resolve(&name, metric_type) {
            Resolution::Dropped(_) => return Ok(None),
            Resolution::Unmapped(treatment) => (as_sent()?, treatment.cloned(), None),
            Resolution::Mapped(mapped) if mapped.name.is_empty() => return Err(Reject::EmptyName),
            Resolution::Mapped(mapped) => {
                let labels = mapped.labels(&labels_as(mapped.name.as_bytes())?);
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
