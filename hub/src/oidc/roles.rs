//! Who of an identity provider's people has which role here: rules of the settings. Without one that fits, none.

use crate::access::Role;
use serde_json::{Map, Value};
use std::fmt;
use std::str::FromStr;

/// `groups=sre:admin`: whoever has the value in the claim has the role. `email=*@example.com:viewer` is for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRule {
    claim: String,
    value: String,
    role: Role,
}

/// The highest role that any rule gives.
pub(super) fn role_of(rules: &[RoleRule], claims: &Map<String, Value>) -> Option<Role> {
    let fitting = rules.iter().filter(|rule| rule.fits(claims));
    fitting.map(|rule| rule.role).max()
}

/// An address that the provider vouches for; without that, anybody may have typed it.
pub(super) fn verified_email(claims: &Map<String, Value>) -> Option<&str> {
    let is_verified = claims.get("email_verified") == Some(&Value::Bool(true));
    claims
        .get("email")
        .filter(|_| is_verified)
        .and_then(Value::as_str)
}

impl RoleRule {
    fn fits(&self, claims: &Map<String, Value>) -> bool {
        if self.claim == "email" {
            return verified_email(claims).is_some_and(|email| self.fits_email(email));
        }
        match look(claims, &self.claim) {
            Some(Value::String(text)) => *text == self.value,
            Some(Value::Array(items)) => items.iter().any(|item| item.as_str() == Some(&self.value)),
            _ => false,
        }
    }

    fn fits_email(&self, email: &str) -> bool {
        match self.value.strip_prefix("*@") {
            None => self.value.eq_ignore_ascii_case(email),
            Some(domain) => email
                .rsplit_once('@')
                .is_some_and(|(name, got)| !name.is_empty() && got.eq_ignore_ascii_case(domain)),
        }
    }
}

/// A claim by its name, or by a path as `realm_access.roles`. Some providers' names have points in them.
fn look<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    rest.split('.')
        .try_fold(claims.get(first)?, |value, part| value.get(part))
}

impl FromStr for RoleRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: &str| format!("{text:?}: {why}; expected CLAIM=VALUE:ROLE, as groups=sre:admin");
        let (claim, rest) = text.split_once('=').ok_or_else(|| wrong("has no '='"))?;
        // Names of groups may have colons in them.
        let (value, role) = rest.rsplit_once(':').ok_or_else(|| wrong("has no ':'"))?;
        if claim.is_empty() || value.is_empty() {
            return Err(wrong("has an empty part"));
        }
        let role = match role.parse().map_err(|error: String| wrong(&error))? {
            Role::Collector => return Err(wrong("a person can't be a collector")),
            role => role,
        };
        let star = value.strip_prefix("*@").unwrap_or(value);
        if claim == "email" && (star.contains('*') || star.is_empty()) {
            return Err(wrong(
                "a '*' stands for all before the '@' of an address, as *@example.com",
            ));
        }
        Ok(Self {
            claim: claim.to_owned(),
            value: value.to_owned(),
            role,
        })
    }
}

impl fmt::Display for RoleRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.claim, self.value, self.role.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_are_read_and_said_again() {
        for (text, expected) in [
            ("groups=sre:admin", None),
            ("groups=urn:example:sre:tuner", None),
            ("email=ana@example.com:viewer", None),
            ("email=*@example.com:viewer", None),
            ("https://example.com/roles=a=b:viewer", None),
            ("groups=sre", Some("has no ':'")),
            ("sre:admin", Some("has no '='")),
            ("=sre:admin", Some("an empty part")),
            ("groups=:admin", Some("an empty part")),
            ("groups=sre:root", Some("is no role")),
            ("groups=sre:collector", Some("can't be a collector")),
            ("email=*:viewer", Some("before the '@'")),
            ("email=a*@example.com:viewer", Some("before the '@'")),
            ("email=*@:viewer", Some("before the '@'")),
            ("email=*@*.com:viewer", Some("before the '@'")),
        ] {
            match (text.parse::<RoleRule>(), expected) {
                (Ok(rule), None) => assert_eq!(rule.to_string(), text),
                (Err(error), Some(expected)) => assert!(error.contains(expected), "{text}: {error}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

    #[test]
    fn nobody_has_a_role_without_a_rule_and_the_highest_of_several_holds() {
        let rules: Vec<RoleRule> = [
            "groups=sre:admin",
            "groups=dev:viewer",
            "realm_access.roles=tune:tuner",
            "https://example.com/team=memory:tuner",
            "email=ana@example.com:tuner",
            "email=*@example.org:viewer",
        ]
        .iter()
        .map(|rule| rule.parse().unwrap())
        .collect();
        let verified = |email: &str| json!({ "email": email, "email_verified": true });
        for (claims, expected) in [
            (json!({}), None),
            (json!({ "groups": ["dev"] }), Some(Role::Viewer)),
            (json!({ "groups": "sre" }), Some(Role::Admin)),
            (json!({ "groups": ["dev", "sre", 7] }), Some(Role::Admin)),
            (json!({ "groups": ["SRE", "sre ", "srex", "*"] }), None),
            (json!({ "groups": { "sre": true } }), None),
            (
                json!({ "realm_access": { "roles": ["tune"] } }),
                Some(Role::Tuner),
            ),
            (json!({ "realm_access": ["tune"] }), None),
            (json!({ "https://example.com/team": "memory" }), Some(Role::Tuner)),
            (verified("Ana@Example.com"), Some(Role::Tuner)),
            (verified("bo@example.org"), Some(Role::Viewer)),
            (verified("bo@evil.example.org"), None),
            (verified("bo@example.org@evil.example"), None),
            (verified("@example.org"), None),
            (json!({ "email": "ana@example.com" }), None),
            (
                json!({ "email": "ana@example.com", "email_verified": "true" }),
                None,
            ),
            (
                json!({ "email": "ana@example.com", "email_verified": false }),
                None,
            ),
        ] {
            let got = role_of(&rules, claims.as_object().unwrap());
            assert_eq!(got, expected, "{claims}");
        }
    }
}
