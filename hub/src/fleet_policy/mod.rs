//! The fleet's policy: its revisions, the way of the newest, and who changes them.
//!
//! Changes are made one after the other, each durable with its line in the audit log before anybody sees it.
//! Taking a revision back makes a new one with the document before it, so that the newest is always what holds.

pub(crate) mod diff;
pub(crate) mod engine;
pub(crate) mod revisions;

use crate::access::Caller;
use crate::catalog::{Catalog, CatalogError};
use heaptide_policy::{FleetPolicy, Rollout, RolloutEvent, Stage};
use revisions::{Fate, Revision, WAY, Way};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Policies {
    book: Mutex<Arc<Book>>,
    /// Held while a change is made.
    turn: tokio::sync::Mutex<()>,
    changed: Notify,
}

/// What holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Book {
    pub(crate) newest: Revision,
    /// What sessions that the newest has not reached are on.
    pub(crate) before: FleetPolicy,
    pub(crate) rollout: Rollout,
}

/// What a person wants to be the newest.
#[derive(Debug)]
pub(crate) struct Draft {
    /// The revision that they had before their eyes.
    pub(crate) from_revision: u64,
    pub(crate) document: FleetPolicy,
    pub(crate) reverts_to: Option<u64>,
    pub(crate) why: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Submitted {
    Accepted(Arc<Book>),
    /// The document is the newest one's already.
    Unchanged(Arc<Book>),
    /// Somebody else was faster.
    Overtaken(Arc<Book>),
}

impl Policies {
    /// Reads what was left. Blocks.
    pub(crate) fn open(catalog: &Catalog, now_unix_ns: u64) -> Result<Self, CatalogError> {
        let newest = Revision::history(catalog, None, 1)?
            .pop()
            .unwrap_or_else(Revision::none);
        let way = catalog.get::<Way>(WAY)?;
        let rollout = way
            .map(|way| way.rollout)
            .filter(|rollout| rollout.revision == newest.revision)
            .unwrap_or_else(|| Rollout::settled(newest.revision, newest.document.rollout, now_unix_ns))
            .resumed(now_unix_ns);
        let before = Revision::load(catalog, rollout.from_revision)?.unwrap_or_else(Revision::none);
        Ok(Self {
            book: Mutex::new(Arc::new(Book {
                newest,
                before: before.document,
                rollout,
            })),
            turn: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
        })
    }

    pub(crate) fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sessions may have to be told something.
    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }

    /// A draft becomes the newest revision and goes out, unless somebody else was faster.
    pub(crate) async fn submit(
        &self,
        catalog: &Catalog,
        caller: &Caller,
        draft: Draft,
    ) -> Result<Submitted, CatalogError> {
        let _turn = self.turn.lock().await;
        let book = self.book();
        if draft.from_revision != book.newest.revision {
            return Ok(Submitted::Overtaken(book));
        }
        if draft.document == book.newest.document {
            return Ok(Submitted::Unchanged(book));
        }
        let now_unix_ns = crate::clock::unix_ns();
        let from_revision = book.rollout.base_for_next();
        let before = if from_revision == book.newest.revision {
            book.newest.document.clone()
        } else {
            book.before.clone()
        };
        let newest = Revision {
            revision: book.newest.revision + 1,
            unix_ns: now_unix_ns,
            who: caller.name.clone(),
            why: draft.why,
            document: draft.document,
            reverts_to: draft.reverts_to,
            fate: Fate::GoingOut,
        };
        let rollout = Rollout::new(
            newest.revision,
            from_revision,
            newest.document.rollout,
            now_unix_ns,
        );
        let mut replaced = book.newest.clone();
        let is_replaced = replaced.fate == Fate::GoingOut;
        replaced.fate = Fate::Replaced {
            by_revision: newest.revision,
        };
        let (what, who) = (
            if newest.reverts_to.is_some() {
                "policy reverted"
            } else {
                "policy changed"
            },
            caller.clone(),
        );
        let next = Arc::new(Book {
            newest,
            before,
            rollout,
        });
        let put = Arc::clone(&next);
        catalog
            .change(move |change| {
                if is_replaced {
                    change.put(&Revision::key(replaced.revision), &replaced)?;
                }
                change.put(&Revision::key(put.newest.revision), &put.newest)?;
                let rollout = put.rollout.clone();
                change.put(WAY, &Way { rollout })?;
                let subject = format!("revision {}", put.newest.revision);
                change.audit(&who, what, &subject, &put.newest.why)
            })
            .await?;
        self.set(&next);
        Ok(Submitted::Accepted(next))
    }

    /// Something happened to a revision on its way. Whether that changed anything; a revision that is no longer
    /// the newest is past all changes.
    pub(crate) async fn step(
        &self,
        catalog: &Catalog,
        caller: &Caller,
        revision: u64,
        event: &RolloutEvent<'_>,
        why: &str,
    ) -> Result<bool, CatalogError> {
        let _turn = self.turn.lock().await;
        let book = self.book();
        let now_unix_ns = crate::clock::unix_ns();
        let rollout = book.rollout.step(event, now_unix_ns);
        if rollout == book.rollout || book.newest.revision != revision {
            return Ok(false);
        }
        let has_moved = std::mem::discriminant(&rollout.stage) != std::mem::discriminant(&book.rollout.stage);
        let mut next = Book {
            rollout,
            ..(*book).clone()
        };
        let mut rolled_back = None;
        let what = match &next.rollout.stage {
            _ if !has_moved => None,
            Stage::First { .. } => None,
            Stage::Everywhere { .. } => Some("policy went to all"),
            Stage::Settled { since_unix_ns } => {
                next.newest.fate = Fate::Settled {
                    since_unix_ns: *since_unix_ns,
                };
                Some("policy settled")
            }
            Stage::RolledBack {
                at_unix_ns,
                why,
                session,
            } => {
                next.newest.fate = Fate::RolledBack {
                    at_unix_ns: *at_unix_ns,
                    why: why.clone(),
                    session: session.clone(),
                };
                rolled_back = Some(next.newest.clone());
                next = back(&next, caller, why, now_unix_ns);
                Some("policy rolled back")
            }
        };
        let subject = format!("revision {}", book.newest.revision);
        let (put, caller, why) = (
            next.clone(),
            caller.clone(),
            told(&next, why, rolled_back.is_some()),
        );
        catalog
            .change(move |change| {
                if let Some(old) = rolled_back {
                    change.put(&Revision::key(old.revision), &old)?;
                }
                if put.newest.revision != 0 {
                    change.put(&Revision::key(put.newest.revision), &put.newest)?;
                }
                change.put(WAY, &Way { rollout: put.rollout })?;
                match what {
                    Some(what) => change.audit(&caller, what, &subject, &why),
                    None => Ok(()),
                }
            })
            .await?;
        self.set(&Arc::new(next));
        Ok(true)
    }

    fn set(&self, next: &Arc<Book>) {
        *self.book.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(next);
        self.changed();
    }
}

/// The revision after one that was taken back: the document before it, in force at once.
fn back(book: &Book, caller: &Caller, why: &str, now_unix_ns: u64) -> Book {
    let newest = Revision {
        revision: book.newest.revision + 1,
        unix_ns: now_unix_ns,
        who: caller.name.clone(),
        why: format!("revision {} was rolled back: {why}", book.newest.revision),
        document: book.before.clone(),
        reverts_to: Some(book.rollout.from_revision),
        fate: Fate::Settled {
            since_unix_ns: now_unix_ns,
        },
    };
    Book {
        before: newest.document.clone(),
        rollout: Rollout::settled(newest.revision, newest.document.rollout, now_unix_ns),
        newest,
    }
}

fn told(book: &Book, why: &str, is_back: bool) -> String {
    if is_back {
        book.newest.why.clone()
    } else {
        why.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_policy::{RolloutPlan, Standing};

    fn document(first_percent: u8) -> FleetPolicy {
        FleetPolicy {
            rollout: RolloutPlan {
                first_percent,
                ..RolloutPlan::default()
            },
            ..FleetPolicy::default()
        }
    }

    fn draft(from_revision: u64, first_percent: u8) -> Draft {
        Draft {
            from_revision,
            document: document(first_percent),
            reverts_to: None,
            why: format!("to {first_percent}"),
        }
    }

    fn anna() -> Caller {
        Caller {
            name: "anna".to_owned(),
            ..Caller::local()
        }
    }

    fn fates(catalog: &Catalog) -> Vec<(u64, Fate)> {
        let all = Revision::history(catalog, None, 99).unwrap();
        all.into_iter().map(|one| (one.revision, one.fate)).collect()
    }

    #[tokio::test]
    async fn of_two_at_once_one_is_told_what_the_other_did_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        let policies = Policies::open(&catalog, 0).unwrap();
        let anna = anna();
        let (first, second) = tokio::join!(
            policies.submit(&catalog, &anna, draft(0, 10)),
            policies.submit(&catalog, &anna, draft(0, 20))
        );
        let Ok(Submitted::Accepted(accepted)) = first else {
            panic!("{first:?}");
        };
        assert_eq!(accepted.newest.revision, 1);
        let Ok(Submitted::Overtaken(newest)) = second else {
            panic!("{second:?}");
        };
        assert_eq!(newest.newest, accepted.newest);
        let same = policies.submit(&catalog, &anna, draft(1, 10)).await;
        assert!(matches!(same, Ok(Submitted::Unchanged(_))), "{same:?}");
        let again = policies.submit(&catalog, &anna, draft(1, 20)).await;
        assert!(matches!(again, Ok(Submitted::Accepted(_))), "{again:?}");
        let by_revision = 2;
        assert_eq!(
            fates(&catalog),
            [(2, Fate::GoingOut), (1, Fate::Replaced { by_revision })]
        );
        let lines = catalog.audit_lines(9).unwrap();
        let told: Vec<_> = lines
            .iter()
            .map(|line| {
                (
                    line.who.as_str(),
                    line.what.as_str(),
                    line.subject.as_str(),
                    line.why.as_str(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("anna", "policy changed", "revision 2", "to 20"),
                ("anna", "policy changed", "revision 1", "to 10")
            ]
        );
    }

    #[tokio::test]
    async fn what_is_rolled_back_leaves_the_document_before_it_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        let policies = Policies::open(&catalog, 0).unwrap();
        let caller = anna();
        policies.submit(&catalog, &caller, draft(0, 10)).await.unwrap();
        for _ in 0..2 {
            policies
                .step(&catalog, &caller, 1, &RolloutEvent::Promote, "sure")
                .await
                .unwrap();
        }
        policies.submit(&catalog, &caller, draft(1, 20)).await.unwrap();
        let sessions = [
            ("a".to_owned(), Standing::Applied),
            ("b".to_owned(), Standing::Applied),
        ];
        let looked = RolloutEvent::Looked { sessions: &sessions };
        let hub = Caller::hub();
        assert_eq!(policies.step(&catalog, &hub, 2, &looked, "").await, Ok(true));
        let chosen = policies.book().rollout.chosen.clone();
        assert_eq!(chosen.len(), 1);
        drop(policies);

        let policies = Policies::open(&catalog, 5).unwrap();
        let book = policies.book();
        assert_eq!((book.newest.revision, &book.before), (2, &document(10)));
        assert_eq!(book.rollout.chosen, chosen);
        let session = chosen.first().unwrap().as_str();
        let harm = RolloutEvent::Harm {
            session,
            why: "dear".to_owned(),
        };
        assert_eq!(policies.step(&catalog, &hub, 1, &harm, "").await, Ok(false));
        assert_eq!(policies.step(&catalog, &hub, 2, &harm, "").await, Ok(true));
        assert_eq!(policies.step(&catalog, &hub, 2, &harm, "").await, Ok(false));
        let reopened = Policies::open(&catalog, 6).unwrap();
        for book in [policies.book(), reopened.book()] {
            assert_eq!((book.newest.revision, &book.newest.document), (3, &document(10)));
            assert_eq!(book.newest.reverts_to, Some(1));
            assert_eq!(book.rollout.revision_of("b"), 3);
        }
        let fates = fates(&catalog);
        assert!(
            matches!(&fates[1], (2, Fate::RolledBack { why, session: Some(by), .. }) if why == "dear" && by == session),
            "{fates:?}"
        );
        let line = catalog.audit_lines(1).unwrap().remove(0);
        assert_eq!(
            (line.who.as_str(), line.what.as_str(), line.why.as_str()),
            ("hub", "policy rolled back", "revision 2 was rolled back: dear")
        );
    }
}
