//! From windows to series: the points of some series out of all frames of a
//! span, each frame read once.

use super::backend::Backend;
use super::error::Error;
use super::frame::FrameReader;
use super::head::Span;
use super::sample::{Kind, Value};
use super::section::Wanted;
use super::segment::Files;
use super::stream::Stream;
use crate::model::sample::stale_nan;

/// The points of the series in `ids`, which ascend, in the order of `ids`.
///
/// # Errors
/// [`Error::Io`]
pub(super) fn gather(backend: &dyn Backend, span: &Span, ids: &[u32]) -> Result<Vec<Stream>, Error> {
    let mut streams: Vec<Stream> = ids.iter().map(|_| Stream::default()).collect();
    let (mut files, mut reader) = (Files::default(), FrameReader::default());
    for frame in &span.frames {
        let Some(file) = files.of(backend, frame.segment())? else {
            frame.report_damaged();
            continue;
        };
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Gone) {
            let mut at = 0;
            let read = frame.read(&*file, kind, Wanted::Ids(ids), &mut reader, |id, value| {
                // Both ascend.
                while ids.get(at).is_some_and(|other| *other < id) {
                    at += 1;
                }
                if let Some(stream) = streams.get_mut(at) {
                    push(stream, frame.start_ms, frame.end_ms, &value);
                }
            });
            read.map_err(Error::io("read", frame.segment().path()))?;
        }
    }
    Ok(streams)
}

fn push(stream: &mut Stream, start_ms: i64, end_ms: i64, value: &Value) {
    match value {
        Value::Counter(total, start) => {
            if let Some(start) = start {
                stream.push_float(start_ms, *start);
            }
            stream.push_float(end_ms, *total);
        }
        Value::Gauge(last) => drop(stream.push_float(end_ms, *last)),
        Value::Distribution(histogram) => drop(stream.push_histogram(end_ms, histogram)),
        Value::Set(sketch) => drop(stream.push_sketch(end_ms, sketch)),
        Value::End(_) => drop(stream.push_float(end_ms, stale_nan())),
    }
}
