//! The Parquet files of a level: one of call sites, one of heap tags, one of gauges. `docs/store.md` describes the columns.

use heaptide_analysis::levels::{Amount, GaugeRow, LEVEL_NAMES, LEVELS_NS, SiteRow, TagRow};
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

/// What there is a file of.
pub(super) const KINDS: [&str; 3] = ["sites", "tags", "gauges"];
const AMOUNTS: [&str; 3] = ["allocated", "freed", "live"];

/// `sites-1min-<first sequence number>.parquet`.
pub(super) fn name(what: &str, level: usize, from_seq: u64) -> String {
    format!("{what}-{}-{from_seq:020}.parquet", LEVEL_NAMES[level])
}

pub(super) fn site_schema() -> String {
    schema(
        "sites",
        "REQUIRED INT64 stack_trace_hash (INTEGER(64, false));
         REQUIRED BYTE_ARRAY function (UTF8);
         REQUIRED BYTE_ARRAY stack (UTF8);
         REQUIRED BYTE_ARRAY heap_tag (UTF8);",
    )
}

pub(super) fn tag_schema() -> String {
    schema("tags", "REQUIRED BYTE_ARRAY heap_tag (UTF8);")
}

/// Times, what is counted, and how much of it.
fn schema(what: &str, of: &str) -> String {
    let mut text = format!(
        "message {what} {{
        REQUIRED INT64 tick_start_ns (INTEGER(64, false));
        REQUIRED INT64 tick_ns (INTEGER(64, false));
        REQUIRED INT64 unix_ns (INTEGER(64, false));
        {of}"
    );
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

/// The files of one level, under temporary names until they are complete.
pub(super) struct LevelWriter {
    level: usize,
    sites: Table<SiteRow>,
    tags: Table<TagRow>,
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

    /// Under its name when this returns, and durable if that is asked for; the folder is synced by the caller.
    /// Rows and bytes.
    fn finish(self, durable: bool) -> io::Result<(u64, u64)> {
        let file = self.writer.into_inner().map_err(io::Error::other)?;
        if durable {
            file.sync_all()?;
        }
        let bytes = file.metadata()?.len();
        std::fs::rename(temporary(&self.path), &self.path)?;
        Ok((self.written, bytes))
    }
}

/// Its name until it is complete.
pub(super) fn temporary(path: &Path) -> PathBuf {
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
            tags: Table::create(folder.join(name("tags", level, from_seq)), &tag_schema())?,
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

    pub(super) fn tag(&mut self, row: TagRow) -> io::Result<()> {
        self.tags.rows.push(row);
        if self.tags.rows.len() >= GROUP_ROWS {
            self.write_tags().map_err(io::Error::other)?;
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

    /// Rows and bytes of all.
    pub(super) fn finish(mut self, durable: bool) -> io::Result<(u64, u64)> {
        self.write_sites()
            .and_then(|()| self.write_tags())
            .and_then(|()| self.write_gauges())
            .map_err(io::Error::other)?;
        let of_each = [
            self.sites.finish(durable)?,
            self.tags.finish(durable)?,
            self.gauges.finish(durable)?,
        ];
        let sum = |(all_rows, all_bytes), (rows, bytes)| (all_rows + rows, all_bytes + bytes);
        Ok(of_each.into_iter().fold((0, 0), sum))
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
        let mut group = self.sites.writer.next_row_group()?;
        let times = rows.iter().map(|row| (row.tick_start_ns, row.unix_ns));
        write_times(&mut group, self.level, times)?;
        longs(
            &mut group,
            rows.iter().map(|row| row.text.stack_trace_hash as i64),
        )?;
        for texts in [functions, stacks, tags] {
            column::<ByteArrayType>(&mut group, &texts)?;
        }
        let of = |row: &SiteRow| [row.allocated, row.freed, row.live];
        write_amounts(&mut group, &rows.iter().map(of).collect::<Vec<_>>())?;
        group.close().map(drop)
    }

    fn write_tags(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.tags.rows);
        if rows.is_empty() {
            return Ok(());
        }
        self.tags.written += rows.len() as u64;
        let mut group = self.tags.writer.next_row_group()?;
        let times = rows.iter().map(|row| (row.tick_start_ns, row.unix_ns));
        write_times(&mut group, self.level, times)?;
        let names: Vec<ByteArray> = rows.iter().map(|row| (&*row.heap_tag).into()).collect();
        column::<ByteArrayType>(&mut group, &names)?;
        let of = |row: &TagRow| [row.allocated, row.freed, row.live];
        write_amounts(&mut group, &rows.iter().map(of).collect::<Vec<_>>())?;
        group.close().map(drop)
    }

    fn write_gauges(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.gauges.rows);
        if rows.is_empty() {
            return Ok(());
        }
        self.gauges.written += rows.len() as u64;
        let mut group = self.gauges.writer.next_row_group()?;
        let times = rows.iter().map(|row| (row.tick_start_ns, row.unix_ns));
        write_times(&mut group, self.level, times)?;
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

/// The first three columns, from begins of ticks on the session's clock and since 1970.
fn write_times(
    group: &mut SerializedRowGroupWriter<'_, File>,
    level: usize,
    times: impl Iterator<Item = (u64, u64)> + Clone,
) -> Result<()> {
    let width_ns = LEVELS_NS[level] as i64;
    longs(group, times.clone().map(|(start_ns, _)| start_ns as i64))?;
    longs(group, times.clone().map(|_| width_ns))?;
    longs(group, times.map(|(_, unix_ns)| unix_ns as i64))
}

/// The columns of [`AMOUNTS`].
fn write_amounts(group: &mut SerializedRowGroupWriter<'_, File>, rows: &[[Amount; 3]]) -> Result<()> {
    let values: [fn(&Amount) -> f64; 4] = [
        |amount| amount.bytes,
        |amount| amount.bytes_variance,
        |amount| amount.objects,
        |amount| amount.objects_variance,
    ];
    for of in 0..AMOUNTS.len() {
        longs(group, rows.iter().map(|row| row[of].samples))?;
        for value in values {
            let all: Vec<f64> = rows.iter().map(|row| value(&row[of])).collect();
            column::<DoubleType>(group, &all)?;
        }
    }
    Ok(())
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
