//! An expression in the layout that `promtool promql format` gives it.

use super::error::Error;
use super::parse::parse;

/// The text laid out anew.
pub fn format(text: &str) -> Result<String, Error> {
    parse(text)?;
    // What it does not know is left as it was written.
    Ok(promql_parser::parser::parse(text).map_or_else(|_| text.trim().to_owned(), |tree| tree.prettify()))
}
