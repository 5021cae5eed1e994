//! The sampling policy: what is observed, how finely, and what that may cost.
//!
//! Everything here is a pure function of `(state, event, now)`: no clock is read, nothing is written.
//! The document travels inside the wire protocol, is edited in the console, and is obeyed by the
//! collector, which also holds the last word (`Grants`): a hub can ask for less harm, never for more
//! than the person who started the collector allowed.
//!
//! A [`Policy`] is one session's. A [`FleetPolicy`] is rules by label, of which the hub makes one for each session;
//! [`Rollout`] says which session gets a new revision when.

mod budget;
mod decide;
mod document;
mod fields;
mod fleet;
mod guards;
mod labels;
mod pairs;
mod rollout;

pub use budget::{BudgetAction, BudgetGuard, CostSample};
pub use decide::{Decision, Grants, RejectReason, decide};
pub use document::{Budget, ExactRequest, Policy, PolicyError, Sources, Tier, Tiers};
pub use fields::{BudgetFields, PolicyFields, SourceFields, TierFields};
pub use fleet::{Evaluated, FleetPolicy, FleetProblem, MemoryPressure, RolloutPlan, Rule, Subject};
pub use guards::{HealthGuard, HealthSample, PressureGuard};
pub use labels::{LabelError, Labels, MAX_LABELS, Selector};
pub use rollout::{Rollout, RolloutEvent, Stage, Standing};
