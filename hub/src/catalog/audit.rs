//! Who did what, when and why. Lines are only ever added; each is written with the change that it is about.

use super::{Catalog, CatalogError, Change, Entry};
use crate::access::Caller;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditLine {
    pub(crate) unix_ns: u64,
    pub(crate) who: String,
    /// A verb and its object: `policy proposed`, `token revoked`.
    pub(crate) what: String,
    /// Which one: a session, a link, a token's name.
    pub(crate) subject: String,
    /// In the person's own words; empty if they gave none.
    #[serde(default)]
    pub(crate) why: String,
}

impl Entry for AuditLine {
    const TABLE: &'static str = "audit";
}

impl Change {
    /// Adds a line about what this change does.
    pub(crate) fn audit(
        &mut self,
        caller: &Caller,
        what: &str,
        subject: &str,
        why: &str,
    ) -> Result<(), CatalogError> {
        let unix_ns = crate::clock::unix_ns();
        let line = AuditLine {
            unix_ns,
            who: caller.name.clone(),
            what: what.to_owned(),
            subject: subject.to_owned(),
            why: why.to_owned(),
        };
        // By time; two at the same nanosecond, or a clock that was set back onto one, still get a key each.
        let mut nth = 0_u32;
        while self.get::<AuditLine>(&key(unix_ns, nth))?.is_some() {
            nth += 1;
        }
        self.put(&key(unix_ns, nth), &line)
    }
}

impl Catalog {
    /// The newest first.
    pub(crate) fn audit_lines(&self, limit: usize) -> Result<Vec<AuditLine>, CatalogError> {
        let lines = self.list::<AuditLine>()?;
        Ok(lines
            .into_iter()
            .rev()
            .take(limit)
            .map(|(_, line)| line)
            .collect())
    }
}

fn key(unix_ns: u64, nth: u32) -> String {
    format!("{unix_ns:020}-{nth:04}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_newest_first_and_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        for number in 0..5 {
            let subject = number.to_string();
            catalog
                .change_now(|change| {
                    change.audit(&Caller::local(), "test", &subject, "")?;
                    change.audit(&Caller::local(), "test again", &subject, "because")
                })
                .unwrap();
        }
        let lines = catalog.audit_lines(3).unwrap();
        let told: Vec<_> = lines
            .iter()
            .map(|line| (line.what.as_str(), line.subject.as_str()))
            .collect();
        assert_eq!(told, [("test again", "4"), ("test", "4"), ("test again", "3")]);
        assert_eq!(catalog.audit_lines(100).unwrap().len(), 10);
    }
}
