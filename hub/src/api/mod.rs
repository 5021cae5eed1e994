//! The HTTP API: routes with their description, from which `/api/v1/openapi.json` is made.
//!
//! A file per kind of thing, each with its `routes()`. Every handler takes the [`Caller`] and asks whether it may.

mod alerts;
mod annotations;
mod audit;
mod backup;
mod dashboards;
mod fleet;
mod links;
mod oidc;
mod overlaps;
mod policy;
mod problem;
mod range;
mod rollout;
mod sessions;
mod sign_in;
mod tokens;
mod transfer;

pub(crate) use problem::Problem;

use crate::access::Caller;
use crate::hub::Hub;
use axum::Json;
use axum::Router;
use axum::routing::get;
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

#[derive(OpenApi)]
#[openapi(info(
    title = "Heaptide hub",
    description = "Sessions of watched programs, their reports, and what a hub keeps beside them. Times are \
                   nanoseconds: `unix_ns` since 1970, `from_ns` and `to_ns` on the session's own clock.",
    license(name = "MIT OR Apache-2.0")
))]
struct Api;

/// All of it, with its own description.
pub(crate) fn router() -> Router<Arc<Hub>> {
    let (router, description) = described();
    router.route(
        "/api/v1/openapi.json",
        get(move |_: axum::Extension<Caller>| {
            let description = description.clone();
            async move { Json(description) }
        }),
    )
}

/// The end of a range that has none.
fn ever() -> u64 {
    u64::MAX
}

fn described() -> (Router<Arc<Hub>>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Api::openapi())
        .merge(sessions::routes())
        .merge(transfer::routes())
        .merge(annotations::routes())
        .merge(links::routes())
        .merge(policy::routes())
        .merge(rollout::routes())
        .merge(fleet::routes())
        .merge(dashboards::routes())
        .merge(audit::routes())
        .merge(alerts::routes())
        .merge(sign_in::routes())
        .merge(oidc::routes())
        .merge(tokens::routes())
        .merge(backup::routes())
        .merge(range::routes())
        .merge(overlaps::routes())
        .split_for_parts()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_described_with_an_answer_and_a_sentence() {
        let (_, description) = described();
        assert!(!description.paths.paths.is_empty());
        let json = serde_json::to_value(&description).unwrap();
        for (path, methods) in json["paths"].as_object().unwrap() {
            assert!(path.starts_with("/api/v1/"), "{path}");
            for (method, operation) in methods.as_object().unwrap() {
                let told = operation["summary"]
                    .as_str()
                    .or(operation["description"].as_str());
                assert!(told.is_some_and(|told| !told.is_empty()), "{method} {path}");
                assert!(
                    operation["responses"]
                        .as_object()
                        .is_some_and(|all| !all.is_empty()),
                    "{method} {path}"
                );
            }
        }
    }
}
