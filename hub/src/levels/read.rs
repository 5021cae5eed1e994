//! Reads the rows of a level's files up to a moment.

use super::file::{GAUGE_SCHEMA, site_schema};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};
use parquet::file::statistics::Statistics;
use parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::path::Path;

/// An estimate of bytes, and its variance.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Estimate {
    pub(super) bytes: f64,
    pub(super) variance: f64,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GaugeLine {
    pub(super) tick_start_ns: u64,
    pub(super) gauge: u16,
    pub(super) min: u64,
    pub(super) max: u64,
    pub(super) last: u64,
}

/// In the order of time; ticks that begin at `until_ns` or later are left out.
pub(super) fn sites(path: &Path, until_ns: u64, take: &mut dyn FnMut(SiteLine<'_>)) -> Result<()> {
    let file = open(path, &site_schema())?;
    each_group(&file, until_ns, &mut |group| {
        let starts = longs(group, 0)?;
        let hashes = longs(group, 3)?;
        let [functions, stacks, tags] = [texts(group, 4)?, texts(group, 5)?, texts(group, 6)?];
        // Bytes and variance stand behind the samples of each.
        let mut amounts = Vec::new();
        for first in [7, 12, 17] {
            amounts.push((doubles(group, first + 1)?, doubles(group, first + 2)?));
        }
        for row in 0..starts.len() {
            let tick_start_ns = starts[row] as u64;
            if tick_start_ns >= until_ns {
                return Ok(());
            }
            let estimate = |of: usize| Estimate {
                bytes: amounts[of].0[row],
                variance: amounts[of].1[row],
            };
            take(SiteLine {
                tick_start_ns,
                stack_trace_hash: hashes[row] as u64,
                function: functions[row].as_utf8()?,
                stack: stacks[row].as_utf8()?,
                heap_tag: tags[row].as_utf8()?,
                allocated: estimate(0),
                freed: estimate(1),
                live: estimate(2),
            });
        }
        Ok(())
    })
}

pub(super) fn gauges(path: &Path, until_ns: u64, take: &mut dyn FnMut(GaugeLine)) -> Result<()> {
    let file = open(path, GAUGE_SCHEMA)?;
    each_group(&file, until_ns, &mut |group| {
        let starts = longs(group, 0)?;
        let numbers = values::<Int32Type>(group, 3)?;
        let (min, max, last) = (longs(group, 5)?, longs(group, 6)?, longs(group, 7)?);
        for row in 0..starts.len() {
            if starts[row] as u64 >= until_ns {
                return Ok(());
            }
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

fn each_group(
    file: &SerializedFileReader<File>,
    until_ns: u64,
    take: &mut dyn FnMut(&dyn RowGroupReader) -> Result<()>,
) -> Result<()> {
    for at in 0..file.num_row_groups() {
        let group = file.get_row_group(at)?;
        let begins_later = match group.metadata().column(0).statistics() {
            Some(Statistics::Int64(times)) => times.min_opt().is_some_and(|min| *min as u64 >= until_ns),
            _ => false,
        };
        if begins_later {
            break;
        }
        take(group.as_ref())?;
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
