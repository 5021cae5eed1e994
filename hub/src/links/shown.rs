//! What a link shows: one session as its bearer may see it, from the live session or from the copy.

use super::{Frozen, Link};
use crate::annotations::{Annotation, Annotations};
use crate::catalog::CatalogError;
use crate::excerpt::{Feed, Redactor, Rewriter};
use crate::hub::Hub;
use crate::session::Session;
use heaptide_protocol::control::{Overview, PolicyState, SessionSummary};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) link: Arc<Link>,
    from: From,
}

#[derive(Debug)]
enum From {
    Live {
        session: Arc<Session>,
        redactor: Option<Redactor>,
    },
    Copy {
        path: PathBuf,
        frozen: Box<Frozen>,
    },
}

impl Shown {
    /// `None` if what the link showed is no longer there, which to its bearer is the same as no link.
    pub(crate) fn find(hub: &Hub, link: Arc<Link>) -> Result<Option<Self>, CatalogError> {
        let from = if link.frozen {
            let frozen: Option<Frozen> = hub.catalog.get(&link.id)?;
            frozen.map(|frozen| From::Copy {
                path: hub.links.copy(&link.id),
                frozen: Box::new(frozen),
            })
        } else {
            hub.fleet.get(link.session).map(|session| From::Live {
                redactor: link.redactor(&session.summary().signature),
                session,
            })
        };
        Ok(from.map(|from| Self { link, from }))
    }

    /// The live session, if it is one.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        match &self.from {
            From::Live { session, .. } => Some(session),
            From::Copy { .. } => None,
        }
    }

    /// The frames, from the first one.
    pub(crate) fn feed(&self, hub: &Hub) -> Result<Feed, String> {
        match &self.from {
            From::Live { session, redactor } => {
                let rewriter = Rewriter::new(session.id, self.link.window(), redactor.clone());
                Ok(Feed::live(hub, session, rewriter))
            }
            From::Copy { path, .. } => Feed::file(path, self.link.session)
                .map_err(|error| format!("the copy that this link shows can't be read: {error}")),
        }
    }

    /// The same, with the past of a long session in steps.
    pub(crate) fn overview(&self, hub: &Hub, ask: &Overview) -> Result<Feed, String> {
        match &self.from {
            From::Live { session, redactor } => {
                let rewriter = Rewriter::new(session.id, self.link.window(), redactor.clone());
                Ok(Feed::overview(hub, session, rewriter, ask))
            }
            // A copy is never long.
            From::Copy { .. } => self.feed(hub),
        }
    }

    pub(crate) fn summary(&self) -> SessionSummary {
        match &self.from {
            From::Live { session, redactor } => shown(session.summary(), &self.link, redactor.as_ref()),
            From::Copy { frozen, .. } => frozen.summary.clone(),
        }
    }

    pub(crate) fn annotations(&self, hub: &Hub) -> Result<Vec<Annotation>, CatalogError> {
        match &self.from {
            From::Live { redactor, .. } => annotations(hub, &self.link, redactor.as_ref()),
            From::Copy { frozen, .. } => Ok(frozen.annotations.clone()),
        }
    }

    /// The view state that the link opens, which may hold a name as a filter.
    pub(crate) fn view(&self) -> String {
        match &self.from {
            From::Live {
                redactor: Some(redactor),
                ..
            } => redactor.text(&self.link.view),
            From::Live { .. } => self.link.view.clone(),
            From::Copy { frozen, .. } => frozen.view.clone(),
        }
    }
}

/// A session's entry in the list, as a link shows it.
pub(super) fn shown(mut summary: SessionSummary, link: &Link, redactor: Option<&Redactor>) -> SessionSummary {
    if let Some(redactor) = redactor {
        redactor.summary(&mut summary);
    }
    if link.from_ns > summary.first_ns {
        let clock = &mut summary.signature.clock;
        clock.unix_ns = clock
            .unix_ns
            .saturating_add(link.from_ns)
            .saturating_sub(clock.session_ns);
        clock.session_ns = link.from_ns;
        summary.first_ns = link.from_ns.min(summary.last_ns);
        // Of the whole session, which is not shown.
        (summary.frames, summary.stored_bytes) = (0, 0);
    }
    summary.last_ns = summary.last_ns.min(link.to_ns);
    summary.pulse = summary.pulse.filter(|pulse| pulse.timestamp_ns < link.to_ns);
    // Nothing can be proposed through a link.
    summary.rate_write_granted = false;
    summary.policy = PolicyState {
        applied: summary.policy.applied,
        ..PolicyState::default()
    };
    summary
}

/// Those of the range; without names, also those of their authors.
pub(super) fn annotations(
    hub: &Hub,
    link: &Link,
    redactor: Option<&Redactor>,
) -> Result<Vec<Annotation>, CatalogError> {
    let all: Option<Annotations> = hub.catalog.get(&link.session.to_string())?;
    let mut within = all.unwrap_or_default().within(link.window());
    if let Some(redactor) = redactor {
        for annotation in &mut within {
            annotation.text = redactor.text(&annotation.text);
            annotation.author = redactor.person(&annotation.author);
            annotation.edited_by = redactor.person(&annotation.edited_by);
        }
    }
    Ok(within)
}
