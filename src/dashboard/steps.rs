//! Steps of a chart: which of them tell a rate, and when wider ones show more.

use super::chart::Grid;
use crate::model::Histogram;

/// From the first edge to the last, in ms.
pub(super) fn width_of(edges_ms: &[i64]) -> i64 {
    match edges_ms {
        [first, .., last] => last - first,
        _ => 0,
    }
}

/// In which steps a rate is told: not where no time went by, and not where a
/// step has only just begun or just been cut, unless there are no others.
pub(super) fn told_rates(edges_ms: &[i64], step_ms: i64, has_data: impl Fn(usize) -> bool) -> Vec<bool> {
    let widths: Vec<i64> = edges_ms.windows(2).map(width_of).collect();
    let is_young = |width: i64| width * 2 < step_ms;
    let has_others = widths.iter().enumerate().any(|(at, width)| has_data(at) && !is_young(*width));
    widths.iter().map(|width| *width > 0 && !(is_young(*width) && has_others)).collect()
}

/// Empty steps between two values that are taken for sparseness, not a pause.
const SHORT_GAP: usize = 4;

/// The same distributions in coarser steps, as long as the line would fall
/// into dots because fewer values come than there are steps. Exact, since
/// distributions merge; a longer pause stays a gap.
pub(super) fn coarsened(mut grid: Grid, mut parts: Vec<Histogram>) -> (Grid, Vec<Histogram>) {
    // Each round at least doubles the step.
    for _ in 0..4 {
        let filled = parts.iter().filter(|part| !part.is_empty()).count();
        let short_gaps: usize = parts
            .chunk_by(|a, b| a.is_empty() == b.is_empty())
            .filter(|run| run.iter().all(Histogram::is_empty) && run.len() <= SHORT_GAP)
            .map(<[Histogram]>::len)
            .sum();
        if short_gaps * 6 < filled || filled < 12 {
            break;
        }
        let Some(wider) = grid.wider() else { break };
        let mut merged = vec![Histogram::default(); wider.points.saturating_sub(1)];
        for (at, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            // A part ends at its point; the wider step that ends there or later holds it.
            let since = grid.time_ms(at + 1) - wider.start_ms;
            let step = usize::try_from((since + wider.step_ms - 1) / wider.step_ms).unwrap_or(0);
            if let Some(slot) = merged.get_mut(step.saturating_sub(1)) {
                slot.merge(part);
            }
        }
        (grid, parts) = (wider, merged);
    }
    (grid, parts)
}
