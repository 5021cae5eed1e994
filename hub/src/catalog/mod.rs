//! The catalogue: what people have decided, as opposed to what was measured. Tokens, links, notes, rules,
//! dashboards, roll-outs, and who did what.
//!
//! One embedded database ([`redb`]), a table per kind of thing, values as JSON so that they can grow. A change is
//! durable when [`Catalog::change`] returns, together with its line in the audit log, or not made at all.

pub(crate) mod audit;

use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition, TableHandle as _,
    TransactionError, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

/// A kind of thing that the catalogue keeps, by a key that sorts as text.
pub(crate) trait Entry: Serialize + DeserializeOwned {
    const TABLE: &'static str;
}

pub(crate) struct Catalog {
    place: Arc<Place>,
}

/// Where the database is. After an error of its file it refuses everything, also when the disk works again, so then it
/// is opened anew.
struct Place {
    /// None if it is in memory alone.
    file: Option<PathBuf>,
    /// None if it could not be opened again yet.
    database: RwLock<Option<Database>>,
    has_failed: AtomicBool,
}

/// Why the catalogue can't be read or changed, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the hub's catalogue: {0}")]
pub(crate) struct CatalogError(String);

/// One change, of as many things as belong together.
pub(crate) struct Change {
    transaction: WriteTransaction,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Catalog")
    }
}

/// The database has many kinds of errors, and a person does the same about each.
fn failed(error: impl fmt::Display) -> CatalogError {
    CatalogError(format!("{error}; check the disk of the data folder"))
}

fn has_no_room(error: &redb::DatabaseError) -> bool {
    matches!(
        error,
        redb::DatabaseError::Storage(redb::StorageError::Io(error)) if error.kind() == std::io::ErrorKind::StorageFull
    )
}

impl Place {
    fn new(file: Option<PathBuf>, database: Database) -> Arc<Self> {
        Arc::new(Self {
            file,
            database: RwLock::new(Some(database)),
            has_failed: AtomicBool::new(false),
        })
    }

    fn open_again(&self) -> Result<(), CatalogError> {
        let Some(file) = self.file.as_ref().filter(|_| self.has_failed.load(Relaxed)) else {
            return Ok(());
        };
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have done it meanwhile.
        if self.has_failed.load(Relaxed) {
            // Its lock on the file has to go first.
            *database = None;
            *database = Some(Database::create(file).map_err(failed)?);
            self.has_failed.store(false, Relaxed);
        }
        Ok(())
    }
}

/// Whether its file has failed it.
fn refuses_everything(database: &Database) -> bool {
    matches!(
        database.begin_write(),
        Err(TransactionError::Storage(StorageError::PreviousIo))
    )
}

fn table<E: Entry>() -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(E::TABLE)
}

impl Catalog {
    pub(crate) const FILE: &'static str = "catalog.redb";

    /// Opens the one in a data folder, or makes it; in memory where there is no room for it. Blocks.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, CatalogError> {
        let file = data_dir.join(Self::FILE);
        let is_new = !file.exists();
        let database = match Database::create(&file) {
            Ok(database) => database,
            Err(error) if is_new && has_no_room(&error) => {
                // A hub on a full disk still says what is wrong. There is nothing in the catalogue yet to be lost.
                let _ = std::fs::remove_file(&file);
                let memory = redb::backends::InMemoryBackend::new();
                let database = Database::builder().create_with_backend(memory).map_err(failed)?;
                return Ok(Self {
                    place: Place::new(None, database),
                });
            }
            Err(error) => return Err(failed(error)),
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let only_ours = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&file, only_ours).map_err(failed)?;
        }
        Ok(Self {
            place: Place::new(Some(file), database),
        })
    }

    fn with<T>(&self, act: impl FnOnce(&Database) -> Result<T, CatalogError>) -> Result<T, CatalogError> {
        self.place.open_again()?;
        let database = self.place.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else {
            return Err(failed("it can't be opened"));
        };
        let result = act(database);
        if result.is_err() && refuses_everything(database) {
            self.place.has_failed.store(true, Relaxed);
        }
        result
    }

    /// Whether the one in a data folder, if there is one, is whole. Looks at a copy, since opening may repair.
    pub(crate) fn check(data_dir: &Path) -> Result<(), CatalogError> {
        let file = data_dir.join(Self::FILE);
        if !file.exists() {
            return Ok(());
        }
        let copy = data_dir.join("catalog.check");
        std::fs::copy(&file, &copy).map_err(failed)?;
        let checked = Database::open(&copy)
            .map_err(redb::Error::from)
            .and_then(|mut database| Ok(database.check_integrity()?));
        let _ = std::fs::remove_file(&copy);
        match checked {
            Ok(true) => Ok(()),
            Ok(false) => Err(CatalogError(
                "its pages don't agree with their checksums".to_owned(),
            )),
            Err(error) => Err(CatalogError(error.to_string())),
        }
    }

    /// Writes all of it, as it is at one moment, to a new one in another folder.
    pub(crate) fn copy_to(&self, data_dir: &Path) -> Result<(), CatalogError> {
        let copy = Self::open(data_dir)?;
        self.with(|database| copy.with(|target| copy_all(database, target)))
    }

    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "what is kept in memory as well is listed once")
    )]
    pub(crate) fn get<E: Entry>(&self, key: &str) -> Result<Option<E>, CatalogError> {
        self.with(|database| {
            let Some(table) = read::<E>(database)? else {
                return Ok(None);
            };
            let value = table.get(key).map_err(failed)?;
            value.map(|value| decode(value.value())).transpose()
        })
    }

    /// All of a kind, in the order of their keys.
    pub(crate) fn list<E: Entry>(&self) -> Result<Vec<(String, E)>, CatalogError> {
        self.with(|database| {
            let Some(table) = read::<E>(database)? else {
                return Ok(Vec::new());
            };
            let mut all = Vec::new();
            for row in table.iter().map_err(failed)? {
                let (key, value) = row.map_err(failed)?;
                all.push((key.value().to_owned(), decode(value.value())?));
            }
            Ok(all)
        })
    }

    /// The last ones of a kind by their keys, before `before` if that is given; the last of all first.
    pub(crate) fn last<E: Entry>(
        &self,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, E)>, CatalogError> {
        self.with(|database| {
            let Some(table) = read::<E>(database)? else {
                return Ok(Vec::new());
            };
            let range = match before {
                Some(before) => table.range::<&str>(..before),
                None => table.range::<&str>(..),
            };
            let mut last = Vec::new();
            for row in range.map_err(failed)?.rev().take(limit) {
                let (key, value) = row.map_err(failed)?;
                last.push((key.value().to_owned(), decode(value.value())?));
            }
            Ok(last)
        })
    }

    /// Those whose keys are at or after `from` and before `until`.
    pub(crate) fn between<E: Entry>(
        &self,
        from: &str,
        until: &str,
    ) -> Result<Vec<(String, E)>, CatalogError> {
        self.with(|database| {
            let Some(table) = read::<E>(database)? else {
                return Ok(Vec::new());
            };
            let mut all = Vec::new();
            for row in table.range(from..until).map_err(failed)? {
                let (key, value) = row.map_err(failed)?;
                all.push((key.value().to_owned(), decode(value.value())?));
            }
            Ok(all)
        })
    }

    /// Makes a change whole or not at all. On a thread that may block, since the disk is waited for.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        make: impl FnOnce(&mut Change) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let catalog = Self {
            place: Arc::clone(&self.place),
        };
        tokio::task::spawn_blocking(move || catalog.change_now(make))
            .await
            .map_err(failed)?
    }

    /// The same, on this thread.
    pub(crate) fn change_now<T>(
        &self,
        make: impl FnOnce(&mut Change) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        self.with(|database| {
            let mut change = Change {
                transaction: database.begin_write().map_err(failed)?,
            };
            let made = make(&mut change)?;
            change.transaction.commit().map_err(failed)?;
            Ok(made)
        })
    }
}

impl Change {
    pub(crate) fn get<E: Entry>(&self, key: &str) -> Result<Option<E>, CatalogError> {
        let table = self.transaction.open_table(table::<E>()).map_err(failed)?;
        let value = table.get(key).map_err(failed)?;
        value.map(|value| decode(value.value())).transpose()
    }

    pub(crate) fn put<E: Entry>(&mut self, key: &str, value: &E) -> Result<(), CatalogError> {
        let bytes = serde_json::to_vec(value).map_err(failed)?;
        let mut table = self.transaction.open_table(table::<E>()).map_err(failed)?;
        table.insert(key, bytes.as_slice()).map_err(failed)?;
        Ok(())
    }

    /// Whether it was there.
    pub(crate) fn remove<E: Entry>(&mut self, key: &str) -> Result<bool, CatalogError> {
        let mut table = self.transaction.open_table(table::<E>()).map_err(failed)?;
        let removed = table.remove(key).map_err(failed)?;
        Ok(removed.is_some())
    }
}

/// The table of a kind; none if there never was one of it.
fn read<E: Entry>(
    database: &Database,
) -> Result<Option<redb::ReadOnlyTable<&'static str, &'static [u8]>>, CatalogError> {
    let transaction = database.begin_read().map_err(failed)?;
    match transaction.open_table(table::<E>()) {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn copy_all(from: &Database, to: &Database) -> Result<(), CatalogError> {
    let from = from.begin_read().map_err(failed)?;
    let to = to.begin_write().map_err(failed)?;
    for name in from.list_tables().map_err(failed)? {
        let any: TableDefinition<'_, &str, &[u8]> = TableDefinition::new(name.name());
        let rows = from.open_table(any).map_err(failed)?;
        let mut copied = to.open_table(any).map_err(failed)?;
        for row in rows.iter().map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            copied.insert(key.value(), value.value()).map_err(failed)?;
        }
    }
    to.commit().map_err(failed)
}

fn decode<E: Entry>(bytes: &[u8]) -> Result<E, CatalogError> {
    serde_json::from_slice(bytes).map_err(|error| {
        CatalogError(format!(
            "an entry of {} can't be read ({error}); was it written by a newer hub?",
            E::TABLE
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Thing {
        size: u32,
    }

    impl Entry for Thing {
        const TABLE: &'static str = "things";
    }

    #[test]
    fn what_was_put_is_there_after_opening_again_in_order_of_keys() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        assert_eq!(catalog.get::<Thing>("b"), Ok(None));
        assert_eq!(catalog.list::<Thing>(), Ok(Vec::new()));
        catalog
            .change_now(|change| {
                change.put("b", &Thing { size: 2 })?;
                change.put("a", &Thing { size: 1 })
            })
            .unwrap();
        drop(catalog);
        let catalog = Catalog::open(folder.path()).unwrap();
        let all = catalog.list::<Thing>().unwrap();
        assert_eq!(
            all,
            [
                ("a".to_owned(), Thing { size: 1 }),
                ("b".to_owned(), Thing { size: 2 })
            ]
        );
        let last = |before, limit| catalog.last::<Thing>(before, limit).unwrap();
        assert_eq!(last(None, 9), [all[1].clone(), all[0].clone()]);
        assert_eq!(last(None, 1), [all[1].clone()]);
        assert_eq!(last(Some("b"), 9), [all[0].clone()]);
        assert_eq!(catalog.change_now(|change| change.remove::<Thing>("a")), Ok(true));
        assert_eq!(
            catalog.change_now(|change| change.remove::<Thing>("a")),
            Ok(false)
        );
    }

    #[test]
    fn a_change_that_fails_half_way_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        let result = catalog.change_now(|change| {
            change.put("a", &Thing { size: 1 })?;
            Err::<(), _>(failed("no"))
        });
        assert!(result.is_err());
        assert_eq!(catalog.get::<Thing>("a"), Ok(None));
    }
}
