//! Whoever is behind a request: a name for the audit log, and a role.

use serde::{Deserialize, Serialize};
use std::str::FromStr;
use utoipa::ToSchema;

/// What somebody may do. Each of the first three may also do what those before it may; a collector only sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sends sessions, and sees none.
    Collector,
    /// Looks at everything.
    Viewer,
    /// Changes what is sampled; shares and annotates.
    Tuner,
    /// Grants and takes away access, and changes the hub itself.
    Admin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// For the audit log.
    pub(crate) name: String,
    pub(crate) role: Role,
}

impl Caller {
    /// The one person at a hub on a loopback address.
    pub(crate) fn local() -> Self {
        Self {
            name: "local".to_owned(),
            role: Role::Admin,
        }
    }

    /// The hub itself, for what it decides without a person.
    pub(crate) fn hub() -> Self {
        Self {
            name: "hub".to_owned(),
            role: Role::Admin,
        }
    }

    /// Or a sentence on what is lacking.
    pub(crate) fn may(&self, needed: Role) -> Result<(), String> {
        let allowed = match needed {
            Role::Collector => matches!(self.role, Role::Collector | Role::Admin),
            needed => self.role >= needed,
        };
        if allowed {
            Ok(())
        } else {
            Err(format!(
                "{} is {}, and this needs {}: ask an admin of this hub",
                self.name,
                self.role.words(),
                needed.words()
            ))
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "collector" => Ok(Self::Collector),
            "viewer" => Ok(Self::Viewer),
            "tuner" => Ok(Self::Tuner),
            "admin" => Ok(Self::Admin),
            other => Err(format!(
                "{other:?} is no role: expected viewer, tuner, admin or collector"
            )),
        }
    }
}

impl Role {
    /// As in the API and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Collector => "collector",
            Self::Viewer => "viewer",
            Self::Tuner => "tuner",
            Self::Admin => "admin",
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Collector => "a collector",
            Self::Viewer => "a viewer",
            Self::Tuner => "a tuner",
            Self::Admin => "an admin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_as_a_table() {
        use Role::{Admin, Collector, Tuner, Viewer};
        for (role, may) in [
            (Collector, &[Collector][..]),
            (Viewer, &[Viewer]),
            (Tuner, &[Viewer, Tuner]),
            (Admin, &[Collector, Viewer, Tuner, Admin]),
        ] {
            let caller = Caller {
                name: "somebody".to_owned(),
                role,
            };
            for needed in [Collector, Viewer, Tuner, Admin] {
                assert_eq!(
                    caller.may(needed).is_ok(),
                    may.contains(&needed),
                    "{role:?} and what needs {needed:?}"
                );
            }
        }
    }
}
