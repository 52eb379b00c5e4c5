//! What a function over ranges has to tell of the series that it works on, in
//! Prometheus' words.

use super::annotation::Annotations;
use super::distribution::Notes;
use crate::model::label::is_counter_name;
use crate::model::{Labels, MetricType};

/// Where to tell it, and of what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub annotations: &'a Annotations,
    /// The first byte of the argument in question.
    pub at: usize,
    pub labels: &'a Labels,
}

impl Told<'_> {
    fn name(&self) -> String {
        of_name(self.labels)
    }

    pub fn mixed_floats_and_histograms(&self) {
        let message = format!("encountered a mix of histograms and floats{}", self.name());
        self.annotations.warn(self.at, &message);
    }

    pub fn mixed_schemas(&self) {
        self.annotations.warn(self.at, &mixed_schemas(self.labels));
    }

    pub fn ignored_histograms(&self) {
        let message =
            format!("ignored histograms in a range containing both floats and histograms{}", self.name());
        self.annotations.info(self.at, &message);
    }

    /// A gauge that is taken for a counter, or the other way round.
    pub fn wrong_flavor(&self, wants_counter: bool) {
        let wanted = if wants_counter { "counter" } else { "gauge" };
        let message = format!("this native histogram metric is not a {wanted}: {:?}", self.labels.name());
        self.annotations.warn(self.at, &message);
    }

    pub fn notes(&self, notes: Notes, place: &str) {
        tell(self.annotations, self.at, notes, place);
    }

    /// Of floats that are rated: nothing where we know that they are a counter.
    pub fn may_be_no_counter(&self, metric_type: Option<MetricType>) {
        let name = self.labels.name();
        if metric_type == Some(MetricType::Counter) || name.is_empty() {
            return;
        }
        match self.labels.get("__type__") {
            Some("counter" | "histogram") => {}
            Some(found) => {
                let message = format!(
                    "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", \
                     got {found:?}: {name:?}"
                );
                self.annotations.info(self.at, &message);
            }
            None if is_counter_name(name) => {}
            None => {
                let message = format!(
                    "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?}"
                );
                self.annotations.info(self.at, &message);
            }
        }
    }
}

/// ` for metric name "…"`; nothing where there is none.
pub(crate) fn of_name(labels: &Labels) -> String {
    match labels.name() {
        "" => String::new(),
        name => format!(" for metric name {name:?}"),
    }
}

pub(crate) fn mixed_schemas(labels: &Labels) -> String {
    format!(
        "vector contains a mix of histograms with exponential and custom buckets schemas{}",
        of_name(labels)
    )
}

/// What happened on the way of a sum that is an `"aggregation"`, an
/// `"addition"` or a `"subtraction"`.
pub(crate) fn tell(annotations: &Annotations, at: usize, notes: Notes, place: &str) {
    if notes.resets_collide {
        annotations.warn(at, &format!("conflicting counter resets during histogram {place}"));
    }
    if notes.bounds_differ {
        annotations.info(at, &format!("mismatched custom buckets were reconciled during {place}"));
    }
}
