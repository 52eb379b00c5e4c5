//! `info`: adds to series the labels of info series (`target_info`) that share
//! their `instance` and `job`.
//!
//! Which info series, and which of their labels, the selector in the second
//! place tells; the parser puts it there where it is left out.

use super::column::{Cell, Column, Grid, Row, is_identity, join_equal};
use super::error::Error;
use super::eval::Evaluator;
use super::expr::{Call, Expr};
use crate::model::label::NAME;
use crate::model::{Labels, Matcher};
use std::collections::HashMap;

/// Labels by which an info series finds its others.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Value of the call on `grid`.
pub(crate) fn eval(eval: &Evaluator<'_>, call: &Call, grid: &Grid) -> Result<Column, Error> {
    let [base, Expr::Vector(selector)] = &call.args[..] else {
        return Err(Error::execution("info needs a vector and a selector"));
    };
    let matchers: Vec<Matcher> = eval
        .as_selector(&Expr::Vector(*selector))
        .and_then(|selector| selector.alternatives.first().cloned())
        .unwrap_or_default();
    let (of_name, of_data): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(|m| m.name == NAME);
    let rows = eval.vector(base, grid)?;
    eval.within(|| {
        eval.hold(rows.len().saturating_mul(grid.steps));
        let infos = eval.instant(*selector, grid, false)?;
        if infos.iter().flat_map(|row| &row.cells).any(|cell| matches!(cell, Cell::Histogram(_))) {
            return Err(Error::execution("info series must hold floats, not histograms"));
        }
        let times = eval.instant(*selector, grid, true)?;
        let mut by_identity: HashMap<Labels, Vec<(&Labels, &Row)>> = HashMap::new();
        for row in &times {
            by_identity.entry(identity(&row.labels)).or_default().push((&row.labels, row));
        }
        let needs_match = of_data.iter().any(|matcher| !matcher.matches_value(""));
        let wanted = |label: &str| of_data.is_empty() || of_data.iter().any(|matcher| matcher.name == label);
        let mut answers: Vec<Row> = Vec::new();
        for row in rows {
            eval.check()?;
            let is_info = of_name.iter().all(|matcher| matcher.matches(&row.labels));
            let identity = identity(&row.labels);
            if is_info || identity.is_empty() {
                if is_info || !needs_match {
                    answers.push(row);
                }
                continue;
            }
            let candidates = by_identity.get(&identity).map(Vec::as_slice).unwrap_or_default();
            let mut places: HashMap<Labels, usize> = HashMap::new();
            let first = answers.len();
            for (step, cell) in row.cells.iter().enumerate().filter(|(_, cell)| cell.is_some()) {
                let Some(labels) = enriched(&row.labels, candidates, step, &wanted, needs_match)? else {
                    continue;
                };
                let place = match places.get(&labels) {
                    Some(place) => *place,
                    None => {
                        eval.check_size(answers.len() + 1, grid.steps)?;
                        let cells = vec![Cell::None; grid.steps];
                        answers.push(Row { labels: labels.clone(), drops_name: row.drops_name, cells });
                        places.insert(labels, answers.len() - 1);
                        answers.len() - 1
                    }
                };
                if let Some(slot) = answers.get_mut(place).and_then(|row| row.cells.get_mut(step)) {
                    *slot = cell.clone();
                }
            }
            debug_assert!(answers.len() >= first);
        }
        Ok(Column::Vector(join_equal(answers)?))
    })
}

fn identity(labels: &Labels) -> Labels {
    labels.filtered(|name| IDENTIFYING.contains(&name))
}

/// The labels with those of the latest info series of each name at `step`;
/// `None` when there must be one and is not.
fn enriched(
    labels: &Labels,
    candidates: &[(&Labels, &Row)],
    step: usize,
    wanted: &impl Fn(&str) -> bool,
    needs_match: bool,
) -> Result<Option<Labels>, Error> {
    let mut latest: Vec<(f64, &Labels)> = Vec::new();
    for (info, times) in candidates {
        let Some(Cell::Float(at)) = times.cells.get(step) else { continue };
        match latest.iter_mut().find(|(_, other)| other.name() == info.name()) {
            Some(known) if known.0 < *at => *known = (*at, info),
            Some(_) => {}
            None => latest.push((*at, info)),
        }
    }
    if latest.is_empty() && needs_match {
        return Ok(None);
    }
    let mut added: Vec<(&str, &str)> = Vec::new();
    for (_, info) in &latest {
        for (name, value) in info.iter() {
            if is_identity(name) || IDENTIFYING.contains(&name) || !wanted(name) || labels.get(name).is_some()
            {
                continue;
            }
            match added.iter().find(|(known, _)| *known == name) {
                Some((_, other)) if *other != value => {
                    return Err(Error::Execution(format!(
                        "conflicting label {name:?} of several info series"
                    )));
                }
                Some(_) => {}
                None => added.push((name, value)),
            }
        }
    }
    Ok(Some(Labels::from_pairs(labels.iter().chain(added))))
}
