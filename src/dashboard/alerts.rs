//! What pages show of alerts: one plain row an alert, filled by whoever runs
//! the rules.

/// The state of one rule for one set of labels.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRow {
    pub rule: String,
    pub state: AlertState,
    /// Since when it is in this state, in ms since the Unix epoch; for
    /// `NoData` and `Inactive` when the rule was last evaluated (0: never).
    pub since_ms: i64,
    /// The expression's last value; `None` when there was none.
    pub value: Option<f64>,
    pub summary: String,
    /// Sorted, without the rule's name.
    pub labels: Vec<(String, String)>,
}

/// What an alert is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    Firing,
    Pending,
    /// The rule selects nothing, or could not be evaluated.
    NoData,
    Resolved,
    Inactive,
}

impl AlertState {
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Firing => "firing",
            AlertState::Pending => "pending",
            AlertState::NoData => "no data",
            AlertState::Resolved => "resolved",
            AlertState::Inactive => "inactive",
        }
    }
}

/// Most rows that a page lists.
pub const MAX_ROWS: usize = 50;

/// Rows of `rules` (all when empty), worst first, newest first among equals.
pub fn sorted<'a>(rows: &'a [AlertRow], rules: &[String]) -> Vec<&'a AlertRow> {
    let mut rows: Vec<&AlertRow> =
        rows.iter().filter(|row| rules.is_empty() || rules.contains(&row.rule)).collect();
    rows.sort_by(|a, b| (a.state, -a.since_ms, &a.rule).cmp(&(b.state, -b.since_ms, &b.rule)));
    rows
}
