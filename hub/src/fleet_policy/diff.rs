//! How two documents differ, field by field. Rules are told apart by their names, not by where they stand.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Of two documents that have little in common, the first so many differences say enough.
const MAX_CHANGES: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldChange {
    /// `rules['checkout'].set.tiers.hashed_percent`
    pub(crate) field: String,
    /// Null where it was not set.
    #[schema(value_type = Object)]
    pub(crate) before: Value,
    #[schema(value_type = Object)]
    pub(crate) after: Value,
}

/// The changes that lead from one document to the other.
pub(crate) fn changes<T: Serialize>(before: &T, after: &T) -> Vec<FieldChange> {
    let value = |document: &T| serde_json::to_value(document).unwrap_or(Value::Null);
    let mut found = Vec::new();
    compare("", &value(before), &value(after), &mut found);
    found.truncate(MAX_CHANGES);
    found
}

fn compare(field: &str, before: &Value, after: &Value, found: &mut Vec<FieldChange>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(old), Value::Object(new)) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let field = if field.is_empty() {
                    key.clone()
                } else {
                    format!("{field}.{key}")
                };
                compare(&field, part(old, key), part(new, key), found);
            }
        }
        (Value::Array(old), Value::Array(new)) if named(old) && named(new) => {
            compare_named(field, old, new, found);
        }
        _ => found.push(FieldChange {
            field: field.to_owned(),
            before: before.clone(),
            after: after.clone(),
        }),
    }
}

fn compare_named(field: &str, old: &[Value], new: &[Value], found: &mut Vec<FieldChange>) {
    let of = |list: &[Value], name: &str| {
        let found = list.iter().find(|item| name_of(item) == name);
        found.cloned().unwrap_or(Value::Null)
    };
    let is_in = |list: &[Value], name: &str| list.iter().any(|item| name_of(item) == name);
    let added = new.iter().filter(|item| !is_in(old, name_of(item)));
    for item in old.iter().chain(added) {
        let name = name_of(item);
        let field = format!("{field}['{name}']");
        compare(&field, &of(old, name), &of(new, name), found);
    }
    // Of those that stayed, the order decides which one wins.
    let order = |list: &[Value], other: &[Value]| -> Vec<Value> {
        let kept = list.iter().map(name_of).filter(|name| is_in(other, name));
        kept.map(Value::from).collect()
    };
    let (before, after) = (order(old, new), order(new, old));
    if before != after {
        found.push(FieldChange {
            field: format!("{field} (order)"),
            before: before.into(),
            after: after.into(),
        });
    }
}

fn part<'a>(object: &'a Map<String, Value>, key: &str) -> &'a Value {
    object.get(key).unwrap_or(&Value::Null)
}

fn named(list: &[Value]) -> bool {
    list.iter().all(|item| item["name"].is_string())
}

fn name_of(item: &Value) -> &str {
    item["name"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_told_by_field_and_rules_by_name() {
        let rule = |name: &str, percent: u8| json!({ "name": name, "set": { "percent": percent } });
        let document = |rules: &[Value]| json!({ "rules": rules, "rollout": { "first_percent": 5 } });
        let (a, b, c) = (rule("a", 1), rule("b", 2), rule("c", 3));
        let before = document(&[a.clone(), b.clone()]);
        for (after, expected) in [
            (before.clone(), json!([])),
            (
                document(&[a.clone(), rule("b", 9)]),
                json!([["rules['b'].set.percent", 2, 9]]),
            ),
            (
                document(&[c.clone(), a.clone(), b.clone()]),
                json!([["rules['c']", null, c]]),
            ),
            (
                document(std::slice::from_ref(&b)),
                json!([["rules['a']", a, null]]),
            ),
            (
                document(&[b.clone(), a.clone()]),
                json!([["rules (order)", ["a", "b"], ["b", "a"]]]),
            ),
            (
                json!({ "rules": [a, b], "rollout": { "healthy_seconds": 1 } }),
                json!([
                    ["rollout.first_percent", 5, null],
                    ["rollout.healthy_seconds", null, 1]
                ]),
            ),
        ] {
            let got: Vec<Value> = changes(&before, &after)
                .into_iter()
                .map(|change| json!([change.field, change.before, change.after]))
                .collect();
            assert_eq!(Value::from(got), expected);
        }
    }
}
