//! Words of people about a span of a session. Part of what a link shares.
//!
//! All of a session are one entry of the catalogue, changed whole, so that of two changes at once none is lost. A
//! change names the revision that its author saw; another one is refused with the words that stand there now.

use crate::access::Caller;
use crate::catalog::{CatalogError, Change, Entry};
use crate::clock::unix_ns;
use heaptide_protocol::SessionId;
use heaptide_protocol::report::Window;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) const MAX_TEXT_BYTES: usize = 2_000;
const MAX_OF_A_SESSION: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Annotation {
    /// Unlike any other's of this session.
    pub(crate) id: u32,
    /// On the session's clock. The two are the same for a moment.
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    pub(crate) text: String,
    pub(crate) author: String,
    pub(crate) created_unix_ns: u64,
    /// Grows with each change, from 1.
    pub(crate) revision: u32,
    /// Who changed it last, and when; like author and created if nobody did.
    pub(crate) edited_by: String,
    pub(crate) edited_unix_ns: u64,
}

/// What a person says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Words {
    /// On the session's clock.
    pub(crate) from_ns: u64,
    /// Not before `from_ns`; the same for a moment.
    pub(crate) to_ns: u64,
    /// At most 2000 bytes.
    pub(crate) text: String,
}

/// Those of one session, by its id.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Annotations {
    next_id: u32,
    list: Vec<Annotation>,
}

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("an annotation from {from_ns} to {to_ns} ends before it begins: swap the two")]
    Backwards { from_ns: u64, to_ns: u64 },
    #[error("an annotation has 1 to {MAX_TEXT_BYTES} bytes of text, got {got}")]
    Text { got: usize },
    #[error("this session has {MAX_OF_A_SESSION} annotations, which is the limit: delete one first")]
    Full,
    #[error("there is no annotation {id} of this session: it may have been deleted")]
    Unknown { id: u32 },
    #[error(
        "this change starts from revision {seen}, but {by} has changed it since to revision {now}: look at that one, \
         then change it"
    )]
    Changed { seen: u32, now: u32, by: String },
}

impl Entry for Annotations {
    const TABLE: &'static str = "annotations";
}

impl Words {
    fn check(&self) -> Result<(), Refused> {
        if self.from_ns > self.to_ns {
            return Err(Refused::Backwards {
                from_ns: self.from_ns,
                to_ns: self.to_ns,
            });
        }
        let got = self.text.len();
        if self.text.trim().is_empty() || got > MAX_TEXT_BYTES {
            return Err(Refused::Text { got });
        }
        Ok(())
    }
}

impl Annotations {
    /// By time.
    pub(crate) fn into_list(self) -> Vec<Annotation> {
        let mut list = self.list;
        list.sort_by_key(|annotation| (annotation.from_ns, annotation.id));
        list
    }

    /// Those that touch a part of the session.
    pub(crate) fn within(self, window: Window) -> Vec<Annotation> {
        let mut list = self.into_list();
        list.retain(|annotation| annotation.to_ns >= window.from_ns && annotation.from_ns < window.to_ns);
        list
    }
}

/// What a change does; made in one transaction with its line in the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Edit {
    Add(Words),
    Replace { id: u32, revision: u32, words: Words },
    Delete { id: u32, revision: u32 },
}

pub(crate) fn edit(
    change: &mut Change,
    caller: &Caller,
    session: SessionId,
    edit: Edit,
) -> Result<Result<Annotation, Refused>, CatalogError> {
    let key = session.to_string();
    let mut all: Annotations = change.get(&key)?.unwrap_or_default();
    let what = match edit {
        Edit::Add(_) => "annotation added",
        Edit::Replace { .. } => "annotation changed",
        Edit::Delete { .. } => "annotation deleted",
    };
    let annotation = match all.apply(&caller.name, edit) {
        Ok(annotation) => annotation,
        Err(refused) => return Ok(Err(refused)),
    };
    change.put(&key, &all)?;
    change.audit(caller, what, &format!("{key} {}", annotation.id), "")?;
    Ok(Ok(annotation))
}

impl Annotations {
    fn apply(&mut self, author: &str, edit: Edit) -> Result<Annotation, Refused> {
        let now = unix_ns();
        match edit {
            Edit::Add(words) => {
                words.check()?;
                if self.list.len() >= MAX_OF_A_SESSION {
                    return Err(Refused::Full);
                }
                self.next_id = self.next_id.saturating_add(1);
                let annotation = Annotation {
                    id: self.next_id,
                    from_ns: words.from_ns,
                    to_ns: words.to_ns,
                    text: words.text,
                    author: author.to_owned(),
                    created_unix_ns: now,
                    revision: 1,
                    edited_by: author.to_owned(),
                    edited_unix_ns: now,
                };
                self.list.push(annotation.clone());
                Ok(annotation)
            }
            Edit::Replace { id, revision, words } => {
                words.check()?;
                let at = self.find(id, revision)?;
                let annotation = &mut self.list[at];
                (annotation.from_ns, annotation.to_ns) = (words.from_ns, words.to_ns);
                annotation.text = words.text;
                annotation.revision += 1;
                author.clone_into(&mut annotation.edited_by);
                annotation.edited_unix_ns = now;
                Ok(annotation.clone())
            }
            Edit::Delete { id, revision } => {
                let at = self.find(id, revision)?;
                Ok(self.list.remove(at))
            }
        }
    }

    fn find(&self, id: u32, revision: u32) -> Result<usize, Refused> {
        let at = self.list.iter().position(|annotation| annotation.id == id);
        let at = at.ok_or(Refused::Unknown { id })?;
        let found = &self.list[at];
        if found.revision == revision {
            Ok(at)
        } else {
            Err(Refused::Changed {
                seen: revision,
                now: found.revision,
                by: found.edited_by.clone(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(from_ns: u64, to_ns: u64, text: &str) -> Words {
        Words {
            from_ns,
            to_ns,
            text: text.to_owned(),
        }
    }

    #[test]
    fn words_are_bounded() {
        let long = "x".repeat(MAX_TEXT_BYTES);
        let longer = "x".repeat(MAX_TEXT_BYTES + 1);
        let cases = [
            (words(1, 2, "slow here"), Ok(())),
            (words(2, 2, "a moment"), Ok(())),
            (words(2, 1, "x"), Err(Refused::Backwards { from_ns: 2, to_ns: 1 })),
            (words(1, 2, ""), Err(Refused::Text { got: 0 })),
            (words(1, 2, " \n"), Err(Refused::Text { got: 2 })),
            (words(1, 2, &long), Ok(())),
            (words(1, 2, &longer), Err(Refused::Text { got: longer.len() })),
        ];
        for (words, expected) in cases {
            assert_eq!(words.check(), expected, "{words:?}");
        }
        let mut all = Annotations::default();
        for _ in 0..MAX_OF_A_SESSION {
            all.apply("a", Edit::Add(words(0, 1, "x"))).unwrap();
        }
        assert_eq!(all.apply("a", Edit::Add(words(0, 1, "x"))), Err(Refused::Full));
    }

    #[test]
    fn of_two_who_change_the_same_words_the_second_sees_the_firsts() {
        let mut all = Annotations::default();
        let first = all.apply("ann", Edit::Add(words(5, 6, "one"))).unwrap();
        let replace = |revision, text| Edit::Replace {
            id: first.id,
            revision,
            words: words(5, 6, text),
        };
        let second = all.apply("ben", replace(1, "two")).unwrap();
        assert_eq!((second.revision, second.author.as_str()), (2, "ann"));
        let refused = Refused::Changed {
            seen: 1,
            now: 2,
            by: "ben".to_owned(),
        };
        assert_eq!(all.apply("cat", replace(1, "three")), Err(refused.clone()));
        let delete = |revision| Edit::Delete {
            id: first.id,
            revision,
        };
        assert_eq!(all.apply("cat", delete(1)), Err(refused));
        assert!(all.apply("cat", delete(2)).is_ok());
        assert_eq!(
            all.apply("cat", delete(2)),
            Err(Refused::Unknown { id: first.id })
        );
        // An id is not given out twice.
        let other = all.apply("ann", Edit::Add(words(0, 1, "four"))).unwrap();
        assert_ne!(other.id, first.id);
    }

    #[test]
    fn a_part_of_a_session_has_what_touches_it() {
        let mut all = Annotations::default();
        for (from_ns, to_ns) in [(0, 5), (0, 10), (12, 13), (12, 12), (20, 20), (25, 30)] {
            all.apply("a", Edit::Add(words(from_ns, to_ns, "x"))).unwrap();
        }
        let within = all.within(Window {
            from_ns: 10,
            to_ns: 20,
        });
        let got: Vec<_> = within.iter().map(|one| (one.from_ns, one.to_ns)).collect();
        assert_eq!(got, [(0, 10), (12, 13), (12, 12)]);
    }

    #[test]
    fn hostile_words_are_survived_and_bounded() {
        let seeds: [&[u8]; 2] = [
            r#"{"from_ns":5,"to_ns":1000000000,"text":"slow since the deployment – see \u00fc"}"#.as_bytes(),
            br#"{"from_ns":0,"to_ns":18446744073709551615,"text":"x"}"#,
        ];
        let mut all = Annotations::default();
        let mut taken = 0_u32;
        crate::hostile::attack(&seeds, false, 1, |bytes| {
            let Ok(words) = serde_json::from_slice::<Words>(bytes) else {
                return;
            };
            let (id, revision) = (words.from_ns as u32, words.to_ns as u32);
            let edit = match bytes.len() % 3 {
                0 => Edit::Add(words),
                1 => Edit::Replace { id, revision, words },
                _ => Edit::Delete { id, revision },
            };
            taken += u32::from(all.apply("somebody", edit).is_ok());
            assert!(all.list.len() <= MAX_OF_A_SESSION);
            if let Some(newest) = all.list.last() {
                assert!(newest.text.len() <= MAX_TEXT_BYTES && newest.from_ns <= newest.to_ns);
            }
            if all.list.len() == MAX_OF_A_SESSION {
                all = Annotations::default();
            }
        });
        assert!(
            taken > 0,
            "none got through, so nothing behind the parser was reached"
        );
    }
}
