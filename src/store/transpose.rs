//! From windows to series: the points of some series out of all frames of a
//! span, each frame read once, with what came late for them.

use super::backend::Backend;
use super::block_writer::Stop;
use super::correction::{self, Corrections, Starts};
use super::error::Error;
use super::frame::FrameReader;
use super::gathering::in_order;
use super::head::Complete;
use super::late;
use super::point::Class;
use super::sample::{Kind, Value};
use super::section::Wanted;
use super::stream::Stream;
use crate::model::sample::stale_nan;
use crate::model::{Points, Sample};
use std::collections::BTreeMap;

/// The points of the series in `ids`, which ascend, in the order of `ids`.
///
/// # Errors
/// [`Error::Io`]
pub(super) fn gather(
    backend: &dyn Backend,
    complete: &Complete,
    ids: &[u32],
    stop: Stop<'_>,
) -> Result<Vec<Stream>, Error> {
    let (mut streams, starts) = of_windows(backend, complete, ids, stop)?;
    let end_ms = complete.span.end_ms;
    let mut samples: Vec<Vec<Sample>> = ids.iter().map(|_| Vec::new()).collect();
    let sample = |id: u32, sample: Sample| {
        let is_here = complete.sealed_ms < sample.timestamp_ms && sample.timestamp_ms <= end_ms;
        let place = ids.binary_search(&id).ok().filter(|_| is_here);
        if let Some(samples) = place.and_then(|place| samples.get_mut(place)) {
            samples.push(sample);
        }
    };
    let corrections =
        correction::read(backend, complete.files(), &complete.late_frames(), ids, end_ms, true, sample)?;
    for (stream, mut samples) in streams.iter_mut().zip(samples) {
        in_order(&mut samples, |sample| sample.timestamp_ms);
        for sample in samples {
            stream.push_float(sample.timestamp_ms, sample.value);
        }
    }
    if let Some(corrections) = corrections.filter(|corrections| !corrections.is_empty()) {
        correct(backend, complete, ids, &mut streams, &starts, &corrections)?;
    }
    Ok(streams)
}

fn of_windows(
    backend: &dyn Backend,
    complete: &Complete,
    ids: &[u32],
    stop: Stop<'_>,
) -> Result<(Vec<Stream>, Starts), Error> {
    let (mut starts, has_late) = (Starts::default(), !complete.late_frames().is_empty());
    let mut streams: Vec<Stream> = ids.iter().map(|_| Stream::default()).collect();
    let (mut files, mut reader) = (complete.files(), FrameReader::default());
    for frame in &complete.span.frames {
        stop.check()?;
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
                    if let Value::Counter(_, start) = &value
                        && has_late
                    {
                        starts.note(id, frame, start.is_some());
                    }
                }
            });
            read.map_err(Error::io("read", frame.segment().path()))?;
        }
    }
    Ok((streams, starts))
}

fn correct(
    backend: &dyn Backend,
    complete: &Complete,
    ids: &[u32],
    streams: &mut [Stream],
    starts: &Starts,
    corrections: &Corrections,
) -> Result<(), Error> {
    let (mut read, mut unknown) = (BTreeMap::new(), Vec::new());
    for (id, late) in corrections {
        let stream = ids.binary_search(id).ok().and_then(|at| streams.get(at));
        let class = late.first().map(|correction| class(&correction.value));
        // A stream in memory reads back; if not, its points are found lost when
        // they are written.
        let points = stream.zip(class).and_then(|(stream, class)| stream.read(class));
        let Some(points) = points else { continue };
        if correction::needs_ahead(&points, late) {
            unknown.push(*id);
        }
        read.insert(*id, points);
    }
    let ahead = correction::read_ahead(backend, complete.files(), &complete.later, unknown, true)?
        .unwrap_or_default();
    for (id, mut points) in read {
        let late = corrections.get(&id).map(Vec::as_slice).unwrap_or_default();
        let is_start = |at_ms| starts.has(id, at_ms);
        let keep = |window_ms, _| complete.sealed_ms < window_ms && window_ms <= complete.span.end_ms;
        correction::apply(&mut points, late, ahead.get(&id).copied(), is_start, keep);
        if let Some(stream) = ids.binary_search(&id).ok().and_then(|at| streams.get_mut(at)) {
            *stream = stream_of(&points);
        }
    }
    Ok(())
}

fn class(value: &late::Value) -> Class {
    match value {
        late::Value::Counter(_) | late::Value::Gauge(..) | late::Value::Sample(_) => Class::Floats,
        late::Value::Distribution(_) => Class::Histograms,
        late::Value::Set(_) => Class::Sketches,
    }
}

fn stream_of(points: &Points) -> Stream {
    let mut stream = Stream::default();
    match points {
        Points::Floats(samples) => samples.iter().for_each(|sample| {
            stream.push_float(sample.timestamp_ms, sample.value);
        }),
        Points::Histograms(windows) => windows.iter().for_each(|(at, histogram)| {
            stream.push_histogram(*at, histogram);
        }),
        Points::Sketches(windows) => windows.iter().for_each(|(at, sketch)| {
            stream.push_sketch(*at, sketch);
        }),
        // Native histograms are not what the store is given.
        Points::Natives(_) => {}
    }
    stream
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
