//! The sampling policy: what is observed, how finely, and what that may cost.
//!
//! Everything here is a pure function of `(state, event, now)`: no clock is read, nothing is written.
//! The document travels inside the wire protocol, is edited in the console, and is obeyed by the
//! collector, which also holds the last word (`Grants`): a hub can ask for less harm, never for more
//! than the person who started the collector allowed.
//!
//! Left out on purpose: roll-out to part of a fleet and host-pressure rules, which belong to the hub.

mod budget;
mod decide;
mod document;
mod labels;

pub use budget::{BudgetAction, BudgetGuard, CostSample};
pub use decide::{Decision, Grants, RejectReason, decide};
pub use document::{Budget, ExactRequest, Policy, PolicyError, Sources, Tier, Tiers};
pub use labels::{LabelError, Labels, MAX_LABELS, Selector};
