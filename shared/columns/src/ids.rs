//! Identifiers of dictionaries: dense, from 0, private to a session.

use serde::{Deserialize, Serialize};

macro_rules! dense_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub u32);
    )*};
}

dense_id! {
    StringId,
    /// A source position inside a function, possibly inlined.
    FrameId,
    StackId,
    /// A heap tag: who owns this memory, in words that hold across platforms.
    TagId,
    /// Grows when symbols arrive late or change; an earlier sample keeps the meaning it had.
    SymbolGen,
}
