//! Who asks, and what they may do.

mod caller;
mod gate;
mod guard;
mod lockout;
mod offline;
mod rate;
mod sign_ins;
mod token;
mod tokens;

pub use caller::Role;
pub use offline::{TokenFile, TokenFileError};
pub use token::{NewToken, TokenInfo};

pub(crate) use caller::Caller;
pub(crate) use gate::{
    Access, ClientCertificate, Denied, Grant, Identity, NO_LONGER, NO_TOKEN, Visitor, WRONG_TOKEN,
};
pub(crate) use guard::{cookie, cookie_name, guard, refuse, write_down};
pub(crate) use lockout::Origin;
pub(crate) use token::{Digest, NoRandom, random_hex};
pub(crate) use tokens::{TokenError, Wanted};
