//! `heaptide hub token`: on a data folder, or through a running hub's API.

use crate::api::{Api, escaped};
use crate::args::{CreateOptions, TokenCommand, TokenPlace};
use crate::{hub, sentences};
use anyhow::Context as _;
use heaptide_hub::{NewToken, TokenFile, TokenInfo};
use hyper::Method;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn run(command: &TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Create(options) => create(options),
        TokenCommand::List { json, place } => list(*json, place),
        TokenCommand::Revoke { id, why, place } => revoke(id, why, place),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn create(options: &CreateOptions) -> anyhow::Result<()> {
    let CreateOptions {
        name,
        role,
        expires,
        why,
        json,
        place,
    } = options;
    let made: NewToken = match api(place)? {
        Some(api) => {
            let mut wanted = json!({ "name": name, "role": role.name(), "why": why });
            if let Some(expires) = expires {
                wanted["lasts_s"] = expires.as_secs().into();
            }
            read(api.call(Method::POST, "/api/v1/tokens", Some(&wanted))?)?
        }
        None => file(place)?.create(name, *role, *expires, why)?,
    };
    if *json {
        sentences::data(&serde_json::to_string_pretty(&made)?);
    } else {
        sentences::note(&format!(
            "a token for {} with the role {}; it is shown only now, and `heaptide hub token revoke {}` ends it",
            made.info.name,
            made.info.role.name(),
            made.info.id
        ));
        sentences::data(&made.token);
    }
    Ok(())
}

fn list(json: bool, place: &TokenPlace) -> anyhow::Result<()> {
    let all: Vec<TokenInfo> = match api(place)? {
        Some(api) => read(api.call(Method::GET, "/api/v1/tokens", None)?)?,
        None => file(place)?.list(),
    };
    if json {
        sentences::data(&serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    if all.is_empty() {
        sentences::note(
            "there are no tokens, so a hub on a loopback address is open to everyone on its machine",
        );
        return Ok(());
    }
    let now = unix_ns();
    let width = all
        .iter()
        .map(|info| info.name.chars().count())
        .max()
        .unwrap_or(0)
        .max(4);
    sentences::data(&format!(
        "{:16}  {:9}  {:width$}  {:16}  state",
        "id", "role", "name", "last used"
    ));
    for info in &all {
        let used = info
            .last_used_unix_ns
            .map_or_else(|| "never".to_owned(), |used| format!("{} ago", ago(now, used)));
        sentences::data(&format!(
            "{}  {:9}  {:width$}  {used:16}  {}",
            info.id,
            info.role.name(),
            info.name,
            state(info, now)
        ));
    }
    Ok(())
}

fn revoke(id: &str, why: &str, place: &TokenPlace) -> anyhow::Result<()> {
    let gone: TokenInfo = match api(place)? {
        Some(api) => {
            let path = format!("/api/v1/tokens/{}?why={}", escaped(id), escaped(why));
            read(api.call(Method::DELETE, &path, None)?)?
        }
        None => file(place)?.revoke(id, why)?,
    };
    sentences::note(&format!("the token of {} is revoked", gone.name));
    Ok(())
}

fn api(place: &TokenPlace) -> anyhow::Result<Option<Api>> {
    let url = place.hub.as_deref();
    url.map(|url| Api::new(url, &place.access)).transpose()
}

fn file(place: &TokenPlace) -> anyhow::Result<TokenFile> {
    Ok(TokenFile::open(&hub::data_dir(place.data.clone())?)?)
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    serde_json::from_value(value)
        .context("the hub's answer is not what this version expects; use the same version")
}

fn state(info: &TokenInfo, now: u64) -> String {
    match (info.revoked_unix_ns, info.expires_unix_ns) {
        (Some(revoked), _) => format!("revoked {} ago", ago(now, revoked)),
        (None, Some(expires)) if expires <= now => format!("expired {} ago", ago(now, expires)),
        (None, Some(expires)) => format!("expires in {}", ago(expires, now)),
        (None, None) => "holds".to_owned(),
    }
}

/// The largest unit will do.
fn ago(later_ns: u64, earlier_ns: u64) -> String {
    let seconds = later_ns.saturating_sub(earlier_ns) / 1_000_000_000;
    for (unit_s, name) in [(86_400, "d"), (3_600, "h"), (60, "min")] {
        if seconds >= unit_s {
            return format!("{} {name}", seconds / unit_s);
        }
    }
    format!("{seconds} s")
}

fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_hub::Role;

    #[test]
    fn what_is_said_of_a_token() {
        let second = 1_000_000_000;
        let now = 1_000_000 * second;
        for (expires, revoked, expected) in [
            (None, None, "holds"),
            (Some(now + 90 * second), None, "expires in 1 min"),
            (Some(now + 3 * 86_400 * second), None, "expires in 3 d"),
            (Some(now - 2 * 3_600 * second), None, "expired 2 h ago"),
            (Some(now + second), Some(now - 5 * second), "revoked 5 s ago"),
        ] {
            let info = TokenInfo {
                id: "0123456789abcdef".to_owned(),
                name: "ci".to_owned(),
                role: Role::Viewer,
                created_unix_ns: 0,
                created_by: "local".to_owned(),
                expires_unix_ns: expires,
                last_used_unix_ns: None,
                revoked_unix_ns: revoked,
            };
            assert_eq!(state(&info, now), expected);
        }
    }
}
