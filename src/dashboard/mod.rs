//! The dashboard's core: what a view holds, how its numbers are read from the
//! engine, and the HTML and SVG made of them. No I/O, no clock.

pub mod address;
pub mod alerts;
pub mod axis;
pub mod calendar;
pub mod catalogue;
pub mod chart;
pub mod day_totals;
pub mod export;
pub mod marker;
pub mod markup;
pub mod number;
pub mod page;
pub mod range;
pub mod reading;
pub mod source;
mod steps;
pub mod svg;
mod telling;
pub mod view;
