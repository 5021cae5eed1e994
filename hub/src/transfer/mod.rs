//! Sessions as files: out of the hub as one, and into it from one.

mod import;
pub(crate) mod records;

pub(crate) use import::{ImportError, take_in};
