//! The dashboard's core: what a view holds, how its numbers are read from the
//! engine, and the HTML and SVG made of them. No I/O, no clock.

pub mod alerts;
pub mod axis;
pub mod calendar;
pub mod chart;
pub(crate) mod markup;
pub mod number;
pub mod range;
pub mod svg;
pub mod view;
