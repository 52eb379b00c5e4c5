//! Names and labels of series.
