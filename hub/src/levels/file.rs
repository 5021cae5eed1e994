//! The Parquet files of a level: one of call sites, one of gauges. `docs/store.md` describes the columns.

use heaptide_analysis::levels::{Amount, GaugeRow, LEVEL_NAMES, LEVELS_NS, SiteRow};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows held in memory before they are written; a reader skips whole groups by their times.
const GROUP_ROWS: usize = 32 << 10;

const AMOUNTS: [&str; 3] = ["allocated", "freed", "live"];

/// `sites-1min-<first sequence number>.parquet`.
pub(super) fn name(what: &str, level: usize, from_seq: u64) -> String {
    format!("{what}-{}-{from_seq:020}.parquet", LEVEL_NAMES[level])
}

pub(super) fn site_schema() -> String {
    let mut text = "message sites {
        REQUIRED INT64 tick_start_ns (INTEGER(64, false));
        REQUIRED INT64 tick_ns (INTEGER(64, false));
        REQUIRED INT64 unix_ns (INTEGER(64, false));
        REQUIRED INT64 stack_trace_hash (INTEGER(64, false));
        REQUIRED BYTE_ARRAY function (UTF8);
        REQUIRED BYTE_ARRAY stack (UTF8);
        REQUIRED BYTE_ARRAY heap_tag (UTF8);"
        .to_owned();
    for amount in AMOUNTS {
        text += &format!(
            "REQUIRED INT64 {amount}_samples;
             REQUIRED DOUBLE {amount}_bytes;
             REQUIRED DOUBLE {amount}_bytes_variance;
             REQUIRED DOUBLE {amount}_objects;
             REQUIRED DOUBLE {amount}_objects_variance;"
        );
    }
    text + "}"
}

pub(super) const GAUGE_SCHEMA: &str = "message gauges {
    REQUIRED INT64 tick_start_ns (INTEGER(64, false));
    REQUIRED INT64 tick_ns (INTEGER(64, false));
    REQUIRED INT64 unix_ns (INTEGER(64, false));
    REQUIRED INT32 gauge;
    REQUIRED BYTE_ARRAY name (UTF8);
    REQUIRED INT64 min_value (INTEGER(64, false));
    REQUIRED INT64 max_value (INTEGER(64, false));
    REQUIRED INT64 last_value (INTEGER(64, false));
}";

/// The two files of one level, under temporary names until they are complete.
pub(super) struct LevelWriter {
    level: usize,
    sites: Table<SiteRow>,
    gauges: Table<GaugeRow>,
    texts: HashMap<*const u8, ByteArray>,
}

struct Table<R> {
    path: PathBuf,
    writer: SerializedFileWriter<File>,
    rows: Vec<R>,
    written: u64,
}

impl<R> Table<R> {
    fn create(path: PathBuf, schema: &str) -> io::Result<Self> {
        let schema = Arc::new(parse_message_type(schema).map_err(io::Error::other)?);
        let file = File::create(temporary(&path))?;
        let writer = SerializedFileWriter::new(file, schema, properties()).map_err(io::Error::other)?;
        Ok(Self {
            path,
            writer,
            rows: Vec::new(),
            written: 0,
        })
    }

    /// Durable under its name when this returns; the folder is synced by the caller. Rows and bytes.
    fn finish(self) -> io::Result<(u64, u64)> {
        let file = self.writer.into_inner().map_err(io::Error::other)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        std::fs::rename(temporary(&self.path), &self.path)?;
        Ok((self.written, bytes))
    }
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

fn properties() -> WriterPropertiesPtr {
    let properties = WriterProperties::builder()
        .set_compression(Compression::LZ4_RAW)
        .set_created_by(concat!("heaptide ", env!("CARGO_PKG_VERSION")).to_owned());
    Arc::new(properties.build())
}

impl LevelWriter {
    pub(super) fn create(folder: &Path, level: usize, from_seq: u64) -> io::Result<Self> {
        Ok(Self {
            level,
            sites: Table::create(folder.join(name("sites", level, from_seq)), &site_schema())?,
            gauges: Table::create(folder.join(name("gauges", level, from_seq)), GAUGE_SCHEMA)?,
            texts: HashMap::new(),
        })
    }

    pub(super) fn site(&mut self, row: SiteRow) -> io::Result<()> {
        self.sites.rows.push(row);
        if self.sites.rows.len() >= GROUP_ROWS {
            self.write_sites().map_err(io::Error::other)?;
        }
        Ok(())
    }

    pub(super) fn gauge(&mut self, row: GaugeRow) -> io::Result<()> {
        self.gauges.rows.push(row);
        if self.gauges.rows.len() >= GROUP_ROWS {
            self.write_gauges().map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Rows and bytes of both.
    pub(super) fn finish(mut self) -> io::Result<(u64, u64)> {
        self.write_sites()
            .and_then(|()| self.write_gauges())
            .map_err(io::Error::other)?;
        let (sites, site_bytes) = self.sites.finish()?;
        let (gauges, gauge_bytes) = self.gauges.finish()?;
        Ok((sites + gauges, site_bytes + gauge_bytes))
    }

    fn write_sites(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.sites.rows);
        if rows.is_empty() {
            return Ok(());
        }
        self.sites.written += rows.len() as u64;
        // One buffer for each text of the group, however many rows name it.
        self.texts.clear();
        let mut shared = |text: &str| {
            let known = self.texts.entry(text.as_ptr());
            known.or_insert_with(|| text.as_bytes().to_vec().into()).clone()
        };
        let functions: Vec<ByteArray> = rows.iter().map(|row| shared(&row.text.function)).collect();
        let stacks: Vec<ByteArray> = rows.iter().map(|row| shared(&row.text.stack)).collect();
        let tags: Vec<ByteArray> = rows.iter().map(|row| shared(&row.heap_tag)).collect();
        let width_ns = LEVELS_NS[self.level] as i64;
        let mut group = self.sites.writer.next_row_group()?;
        longs(&mut group, rows.iter().map(|row| row.tick_start_ns as i64))?;
        longs(&mut group, rows.iter().map(|_| width_ns))?;
        longs(&mut group, rows.iter().map(|row| row.unix_ns as i64))?;
        longs(
            &mut group,
            rows.iter().map(|row| row.text.stack_trace_hash as i64),
        )?;
        for texts in [functions, stacks, tags] {
            column::<ByteArrayType>(&mut group, &texts)?;
        }
        let of: [fn(&SiteRow) -> &Amount; 3] = [|row| &row.allocated, |row| &row.freed, |row| &row.live];
        for of in of {
            longs(&mut group, rows.iter().map(|row| of(row).samples))?;
            let values: [fn(&Amount) -> f64; 4] = [
                |amount| amount.bytes,
                |amount| amount.bytes_variance,
                |amount| amount.objects,
                |amount| amount.objects_variance,
            ];
            for value in values {
                let all: Vec<f64> = rows.iter().map(|row| value(of(row))).collect();
                column::<DoubleType>(&mut group, &all)?;
            }
        }
        group.close().map(drop)
    }

    fn write_gauges(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.gauges.rows);
        if rows.is_empty() {
            return Ok(());
        }
        self.gauges.written += rows.len() as u64;
        let width_ns = LEVELS_NS[self.level] as i64;
        let mut group = self.gauges.writer.next_row_group()?;
        longs(&mut group, rows.iter().map(|row| row.tick_start_ns as i64))?;
        longs(&mut group, rows.iter().map(|_| width_ns))?;
        longs(&mut group, rows.iter().map(|row| row.unix_ns as i64))?;
        let numbers: Vec<i32> = rows.iter().map(|row| i32::from(row.gauge.0)).collect();
        column::<Int32Type>(&mut group, &numbers)?;
        let names: Vec<ByteArray> = rows.iter().map(|row| row.gauge.label().into()).collect();
        column::<ByteArrayType>(&mut group, &names)?;
        longs(&mut group, rows.iter().map(|row| row.min as i64))?;
        longs(&mut group, rows.iter().map(|row| row.max as i64))?;
        longs(&mut group, rows.iter().map(|row| row.last as i64))?;
        group.close().map(drop)
    }
}

fn longs(group: &mut SerializedRowGroupWriter<'_, File>, values: impl Iterator<Item = i64>) -> Result<()> {
    column::<Int64Type>(group, &values.collect::<Vec<_>>())
}

/// The next column, of required values.
fn column<T: DataType>(group: &mut SerializedRowGroupWriter<'_, File>, values: &[T::T]) -> Result<()> {
    let Some(mut writer) = group.next_column()? else {
        return Err(ParquetError::General(
            "the schema has fewer columns than are written".to_owned(),
        ));
    };
    writer.typed::<T>().write_batch(values, None, None)?;
    writer.close()
}
