//! Share links: whoever has one sees one session, or a part of it, and nothing else.
//!
//! A link is 128 random bits; the hub keeps their hash. A *live* one follows the session and ends with it; a
//! *frozen* one has a copy of its own ([`frozen`]), which survives the session and is deleted with the link. What
//! a link gives goes through [`crate::excerpt`], which cuts the range out and, unless told otherwise, takes names
//! away. Every way in asks [`Links::open`], so whoever counts wrong guesses counts there.

mod create;
mod door;
mod frozen;
mod link;
mod openings;
mod registry;
mod shown;
mod socket;

pub(crate) use create::{CreateError, Wish, create, revoke};
pub(crate) use door::{enter, routes};
pub(crate) use frozen::{FreezeError, Frozen, sweep};
pub(crate) use link::{Link, Revoked};
pub(crate) use openings::Openings;
pub(crate) use registry::Links;
pub(crate) use shown::Shown;

/// The one answer to every link that opens nothing, whatever the reason.
pub(crate) const NO_LINK: &str =
    "There is no such link. It may have expired or been revoked: ask whoever shared it for a new one.";
