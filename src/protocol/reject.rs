//! How nom makes a `Reject`. The reasons themselves are in `model`, below
//! telemetry, which counts by them.

use crate::model::Reject;

/// nom asks for this; the parsers name their reason themselves, so that what
/// is built here is never seen outside.
impl nom::error::ParseError<&[u8]> for Reject {
    fn from_error_kind(_: &[u8], _: nom::error::ErrorKind) -> Self {
        Reject::NoValue
    }

    fn append(_: &[u8], _: nom::error::ErrorKind, other: Self) -> Self {
        other
    }
}
