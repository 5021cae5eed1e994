//! Reads the rows of a level's files between two moments.

use super::file::{GAUGE_SCHEMA, site_schema, tag_schema};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};
use parquet::file::statistics::Statistics;
use parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// An estimate of bytes, and its variance.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Estimate {
    pub(super) bytes: f64,
    pub(super) variance: f64,
}

impl Estimate {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            variance: self.variance + other.variance,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SiteLine<'a> {
    pub(super) tick_start_ns: u64,
    pub(super) stack_trace_hash: u64,
    pub(super) function: &'a str,
    pub(super) stack: &'a str,
    pub(super) heap_tag: &'a str,
    pub(super) allocated: Estimate,
    pub(super) freed: Estimate,
    pub(super) live: Estimate,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TagLine<'a> {
    pub(super) tick_start_ns: u64,
    pub(super) heap_tag: &'a str,
    pub(super) allocated: Estimate,
    pub(super) freed: Estimate,
    pub(super) live: Estimate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GaugeLine {
    pub(super) tick_start_ns: u64,
    pub(super) gauge: u16,
    pub(super) min: u64,
    pub(super) max: u64,
    pub(super) last: u64,
}

/// In the order of time, of ticks that begin in `wanted`.
pub(super) fn sites(path: &Path, wanted: &Range<u64>, take: &mut dyn FnMut(SiteLine<'_>)) -> Result<()> {
    let file = open(path, &site_schema())?;
    each_group(&file, wanted, &mut |group, starts| {
        let hashes = longs(group, 3)?;
        let [functions, stacks, tags] = [texts(group, 4)?, texts(group, 5)?, texts(group, 6)?];
        let amounts = Amounts::of(group, 7)?;
        for row in rows(starts, wanted) {
            take(SiteLine {
                tick_start_ns: starts[row] as u64,
                stack_trace_hash: hashes[row] as u64,
                function: functions[row].as_utf8()?,
                stack: stacks[row].as_utf8()?,
                heap_tag: tags[row].as_utf8()?,
                allocated: amounts.at(0, row),
                freed: amounts.at(1, row),
                live: amounts.at(2, row),
            });
        }
        Ok(())
    })
}

pub(super) fn tags(path: &Path, wanted: &Range<u64>, take: &mut dyn FnMut(TagLine<'_>)) -> Result<()> {
    let file = open(path, &tag_schema())?;
    each_group(&file, wanted, &mut |group, starts| {
        let tags = texts(group, 3)?;
        let amounts = Amounts::of(group, 4)?;
        for row in rows(starts, wanted) {
            take(TagLine {
                tick_start_ns: starts[row] as u64,
                heap_tag: tags[row].as_utf8()?,
                allocated: amounts.at(0, row),
                freed: amounts.at(1, row),
                live: amounts.at(2, row),
            });
        }
        Ok(())
    })
}

pub(super) fn gauges(path: &Path, wanted: &Range<u64>, take: &mut dyn FnMut(GaugeLine)) -> Result<()> {
    let file = open(path, GAUGE_SCHEMA)?;
    each_group(&file, wanted, &mut |group, starts| {
        let numbers = values::<Int32Type>(group, 3)?;
        let (min, max, last) = (longs(group, 5)?, longs(group, 6)?, longs(group, 7)?);
        for row in rows(starts, wanted) {
            take(GaugeLine {
                tick_start_ns: starts[row] as u64,
                gauge: numbers[row] as u16,
                min: min[row] as u64,
                max: max[row] as u64,
                last: last[row] as u64,
            });
        }
        Ok(())
    })
}

/// Bytes and variance of what was allocated, freed and live.
struct Amounts(Vec<(Vec<f64>, Vec<f64>)>);

impl Amounts {
    /// Five columns each; samples come first, objects last.
    fn of(group: &dyn RowGroupReader, first_column: usize) -> Result<Self> {
        let columns = (0..3).map(|nth| first_column + 5 * nth);
        let amounts = columns.map(|first| Ok((doubles(group, first + 1)?, doubles(group, first + 2)?)));
        Ok(Self(amounts.collect::<Result<_>>()?))
    }

    fn at(&self, of: usize, row: usize) -> Estimate {
        let (bytes, variance) = &self.0[of];
        Estimate {
            bytes: bytes[row],
            variance: variance[row],
        }
    }
}

/// Of a group whose times go up.
fn rows(starts: &[i64], wanted: &Range<u64>) -> Range<usize> {
    let before = |end_ns: u64| starts.partition_point(|start| (*start as u64) < end_ns);
    before(wanted.start)..before(wanted.end)
}

fn open(path: &Path, schema: &str) -> Result<SerializedFileReader<File>> {
    let file = SerializedFileReader::new(File::open(path)?)?;
    let expected = parse_message_type(schema)?;
    if *file.metadata().file_metadata().schema() == expected {
        return Ok(file);
    }
    Err(ParquetError::General(format!(
        "{} has other columns than this version writes: delete the session's folder `levels`, and the hub makes \
         them anew",
        path.display()
    )))
}

/// What is done with a group and the begins of its ticks.
type TakeGroup<'a> = dyn FnMut(&dyn RowGroupReader, &[i64]) -> Result<()> + 'a;

/// The groups that may have rows of the ticks wanted, with the begins of their ticks.
fn each_group(
    file: &SerializedFileReader<File>,
    wanted: &Range<u64>,
    take: &mut TakeGroup<'_>,
) -> Result<()> {
    for at in 0..file.num_row_groups() {
        let group = file.get_row_group(at)?;
        if let Some(Statistics::Int64(times)) = group.metadata().column(0).statistics() {
            if times.max_opt().is_some_and(|max| (*max as u64) < wanted.start) {
                continue;
            }
            if times.min_opt().is_some_and(|min| *min as u64 >= wanted.end) {
                break;
            }
        }
        let starts = longs(group.as_ref(), 0)?;
        take(group.as_ref(), &starts)?;
    }
    Ok(())
}

fn values<T: DataType>(group: &dyn RowGroupReader, column: usize) -> Result<Vec<T::T>> {
    let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
    let mut values = Vec::new();
    let mut reader = get_typed_column_reader::<T>(group.get_column_reader(column)?);
    while values.len() < rows {
        let (records, ..) = reader.read_records(rows - values.len(), None, None, &mut values)?;
        if records == 0 {
            return Err(ParquetError::General(
                "a column is shorter than its group".to_owned(),
            ));
        }
    }
    Ok(values)
}

fn longs(group: &dyn RowGroupReader, column: usize) -> Result<Vec<i64>> {
    values::<Int64Type>(group, column)
}

fn doubles(group: &dyn RowGroupReader, column: usize) -> Result<Vec<f64>> {
    values::<DoubleType>(group, column)
}

fn texts(group: &dyn RowGroupReader, column: usize) -> Result<Vec<ByteArray>> {
    values::<ByteArrayType>(group, column)
}
