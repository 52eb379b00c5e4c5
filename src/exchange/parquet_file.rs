//! A point a row of a Parquet file: the columns of the CSV, with labels as a
//! map, and times in UTC as such.
//!
//! Rows are gathered into groups, so that a file of any length takes the memory
//! of one group. Only built with the feature `parquet`.

use super::error::Error;
use super::export::Export;
use super::live_store::LiveStore;
use crate::model::label::NAME;
use crate::model::sample::is_stale;
use crate::model::{Histogram, Points, Series};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};
use std::io::Write;
use std::sync::Arc;

/// Rows of a group.
const GROUP_ROWS: usize = 1 << 18;

/// Writes what `export` selects, with percentiles (0 to 100) of distributions;
/// returns how many rows.
///
/// # Errors
/// As [`Export::slices`], [`Error::Parquet`].
pub fn write(
    export: &Export,
    store: &LiveStore<'_>,
    out: impl Write + Send,
    percentiles: &[f64],
    progress: impl FnMut(i64),
) -> Result<u64, Error> {
    let schema = schema(percentiles)?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
    let mut group = Group::new(percentiles);
    let mut rows = 0;
    export.slices(store, progress, |found| {
        for series in found {
            rows += group.add(&series, |group| group.put(&mut writer))?;
        }
        Ok(())
    })?;
    group.put(&mut writer)?;
    writer.close()?;
    Ok(rows)
}

fn schema(percentiles: &[f64]) -> Result<TypePtr, ParquetError> {
    let text = |name: &str| {
        let column = Type::primitive_type_builder(name, Physical::BYTE_ARRAY);
        column.with_repetition(Repetition::REQUIRED).with_logical_type(Some(LogicalType::String)).build()
    };
    let time = Type::primitive_type_builder("time", Physical::INT64)
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(Some(LogicalType::timestamp(true, TimeUnit::MILLIS)))
        .build()?;
    let pair = Type::group_type_builder("key_value")
        .with_repetition(Repetition::REPEATED)
        .with_fields(vec![Arc::new(text("key")?), Arc::new(text("value")?)])
        .build()?;
    let labels = Type::group_type_builder("labels")
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(Some(LogicalType::Map))
        .with_fields(vec![Arc::new(pair)])
        .build()?;
    let mut fields = vec![time, text("name")?, labels, text("type")?];
    let named = ["value", "count", "sum", "min", "max"].map(str::to_owned);
    for name in named.into_iter().chain(percentiles.iter().map(|percentile| format!("p{percentile}"))) {
        let column = Type::primitive_type_builder(&name, Physical::DOUBLE);
        fields.push(column.with_repetition(Repetition::OPTIONAL).build()?);
    }
    let fields = fields.into_iter().map(Arc::new).collect();
    Ok(Arc::new(Type::group_type_builder("points").with_fields(fields).build()?))
}

/// A column of numbers that not every row has.
#[derive(Default)]
struct Numbers {
    values: Vec<f64>,
    /// 1 where there is one.
    there: Vec<i16>,
}

impl Numbers {
    fn push(&mut self, value: Option<f64>) {
        self.there.push(i16::from(value.is_some()));
        self.values.extend(value);
    }
}

/// Rows on their way into the file.
struct Group {
    quantiles: Vec<f64>,
    times: Vec<i64>,
    names: Vec<ByteArray>,
    types: Vec<ByteArray>,
    keys: Vec<ByteArray>,
    values: Vec<ByteArray>,
    /// Of labels: 1 where there is one, and 0 where a row begins.
    there: Vec<i16>,
    repeats: Vec<i16>,
    numbers: Vec<Numbers>,
}

impl Group {
    fn new(percentiles: &[f64]) -> Self {
        Group {
            quantiles: percentiles.iter().map(|percentile| percentile / 100.0).collect(),
            times: Vec::new(),
            names: Vec::new(),
            types: Vec::new(),
            keys: Vec::new(),
            values: Vec::new(),
            there: Vec::new(),
            repeats: Vec::new(),
            numbers: (0..5 + percentiles.len()).map(|_| Numbers::default()).collect(),
        }
    }

    /// Adds the points of a series, of which there are so many; `full` empties
    /// the group when it has become long.
    fn add(
        &mut self,
        series: &Series,
        mut full: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let name = ByteArray::from(series.labels.name());
        let kind = series.metric_type.map_or_else(|| "unknown".to_owned(), |kind| kind.to_string());
        let kind = ByteArray::from(&*kind);
        let labels = series.labels.iter().filter(|(name, _)| *name != NAME);
        let labels: Vec<_> =
            labels.map(|(name, value)| (ByteArray::from(name), ByteArray::from(value))).collect();
        let mut rows = 0;
        let mut row = |group: &mut Self, at_ms: i64, value: Option<f64>, window: Option<&Histogram>| {
            group.times.push(at_ms);
            group.names.push(name.clone());
            group.types.push(kind.clone());
            for (at, (name, value)) in labels.iter().enumerate() {
                group.keys.push(name.clone());
                group.values.push(value.clone());
                group.there.push(1);
                group.repeats.push(i16::from(at > 0));
            }
            if labels.is_empty() {
                group.there.push(0);
                group.repeats.push(0);
            }
            group.numbers(value, window);
            rows += 1;
            if group.times.len() >= GROUP_ROWS { full(group) } else { Ok(()) }
        };
        match &series.points {
            Points::Floats(points) => {
                for point in points.iter().filter(|point| !is_stale(point.value)) {
                    row(self, point.timestamp_ms, Some(point.value), None)?;
                }
            }
            Points::Histograms(points) => {
                points.iter().try_for_each(|(at_ms, window)| row(self, *at_ms, None, Some(window)))?;
            }
            Points::Sketches(points) => {
                points.iter().try_for_each(|(at_ms, set)| row(self, *at_ms, Some(set.count()), None))?;
            }
            // Only queries make them.
            Points::Natives(_) => {}
        }
        Ok(rows)
    }

    fn numbers(&mut self, value: Option<f64>, window: Option<&Histogram>) {
        let of = |number: fn(&Histogram) -> f64| window.map(number);
        let fixed = [value, of(|w| w.count), of(|w| w.sum), of(|w| w.min), of(|w| w.max)];
        let quantiles = self.quantiles.iter().map(|quantile| window.map(|window| window.quantile(*quantile)));
        for (column, number) in self.numbers.iter_mut().zip(fixed.into_iter().chain(quantiles)) {
            column.push(number);
        }
    }

    /// Writes the rows, and forgets them.
    fn put<W: Write + Send>(&mut self, writer: &mut SerializedFileWriter<W>) -> Result<(), Error> {
        if self.times.is_empty() {
            return Ok(());
        }
        let mut group = writer.next_row_group()?;
        let mut at = 0;
        while let Some(mut column) = group.next_column()? {
            let labels = (Some(&*self.there), Some(&*self.repeats));
            match at {
                0 => column.typed::<Int64Type>().write_batch(&self.times, None, None)?,
                1 => column.typed::<ByteArrayType>().write_batch(&self.names, None, None)?,
                2 => column.typed::<ByteArrayType>().write_batch(&self.keys, labels.0, labels.1)?,
                3 => column.typed::<ByteArrayType>().write_batch(&self.values, labels.0, labels.1)?,
                4 => column.typed::<ByteArrayType>().write_batch(&self.types, None, None)?,
                at => {
                    let numbers = self.numbers.get(at - 5);
                    let (values, there) = numbers.map_or((&[][..], &[][..]), |n| (&n.values, &n.there));
                    column.typed::<DoubleType>().write_batch(values, Some(there), None)?
                }
            };
            column.close()?;
            at += 1;
        }
        group.close()?;
        let percentiles: Vec<f64> = self.quantiles.iter().map(|quantile| quantile * 100.0).collect();
        *self = Group { quantiles: std::mem::take(&mut self.quantiles), ..Group::new(&percentiles) };
        Ok(())
    }
}
