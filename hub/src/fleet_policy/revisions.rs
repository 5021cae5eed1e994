//! Revisions of the fleet's policy in the catalogue, and what became of each.

use crate::catalog::{Catalog, CatalogError, Entry};
use heaptide_policy::{FleetPolicy, Rollout};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Revision {
    pub(crate) revision: u64,
    pub(crate) unix_ns: u64,
    pub(crate) who: String,
    pub(crate) why: String,
    pub(crate) document: FleetPolicy,
    /// Whose document it has again, if it goes back.
    pub(crate) reverts_to: Option<u64>,
    pub(crate) fate: Fate,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "name", rename_all = "snake_case")]
pub(crate) enum Fate {
    /// On its way, or watched.
    GoingOut,
    /// All sessions that it is for follow it.
    Settled { since_unix_ns: u64 },
    RolledBack {
        at_unix_ns: u64,
        why: String,
        /// The session that it was taken back for; none if a person did it.
        session: Option<String>,
    },
    /// A later one came before it had settled.
    Replaced { by_revision: u64 },
}

/// Where the newest revision is on its way. There is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Way {
    pub(crate) rollout: Rollout,
}

impl Entry for Revision {
    const TABLE: &'static str = "policy_revisions";
}

impl Entry for Way {
    const TABLE: &'static str = "policy_way";
}

pub(crate) const WAY: &str = "newest";

impl Revision {
    /// Before anybody wrote one: no rule.
    pub(crate) fn none() -> Self {
        Self {
            revision: 0,
            unix_ns: 0,
            who: String::new(),
            why: String::new(),
            document: FleetPolicy::default(),
            reverts_to: None,
            fate: Fate::Settled { since_unix_ns: 0 },
        }
    }

    pub(crate) fn key(revision: u64) -> String {
        format!("{revision:020}")
    }

    pub(crate) fn load(catalog: &Catalog, revision: u64) -> Result<Option<Self>, CatalogError> {
        if revision == 0 {
            return Ok(Some(Self::none()));
        }
        catalog.get(&Self::key(revision))
    }

    /// Those before `before`, or the newest; the newest first.
    pub(crate) fn history(
        catalog: &Catalog,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Self>, CatalogError> {
        let before = before.map(Self::key);
        let rows = catalog.last(before.as_deref(), limit)?;
        Ok(rows.into_iter().map(|(_, revision)| revision).collect())
    }
}
