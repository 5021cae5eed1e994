//! Alerts: what they stand at, their rules, and the webhook that is told.

use super::Problem;
use crate::access::{Caller, Role};
use crate::alerts::{
    Changed, DeliveryState, Figure, FigureUnit, RuleBook, Rules, State, Webhook, When, told, webhook_problem,
};
use crate::hub::Hub;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State as Shared};
use axum::{Extension, Json};
use heaptide_protocol::SessionId;
use heaptide_protocol::control::SessionSummary;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const WHY_LETTERS: usize = 1_000;
/// Alerts that are listed; what more there are is counted.
const LISTED: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(rules, change_rules))
        .routes(routes!(webhook, set_webhook, remove_webhook))
}

#[derive(Debug, Serialize, ToSchema)]
struct AlertsBody {
    /// What fires comes first, then what nothing is known of.
    alerts: Vec<AlertBody>,
    /// How many are in each state.
    #[schema(value_type = Object)]
    counts: BTreeMap<State, usize>,
    /// Alerts that are not listed here.
    not_listed: usize,
    /// Rules at sessions that are not looked at because there are too many.
    left_out: usize,
    webhook: DeliveryState,
}

#[derive(Debug, Serialize, ToSchema)]
struct AlertBody {
    rule: String,
    session: String,
    service: String,
    host_name: String,
    state: State,
    since_unix_ns: u64,
    /// The last figure that was known, and half its 99 % interval.
    value: Option<f64>,
    error: Option<f64>,
    /// Why there is no figure now.
    no_data: Option<String>,
    /// What the rule says; none where it is gone.
    figure: Option<Figure>,
    unit: Option<FigureUnit>,
    when: Option<When>,
    threshold: Option<f64>,
    /// Value and threshold as a person reads them.
    value_words: String,
    threshold_words: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ListParameters {
    /// Only those in this state: firing, no_data, pending, resolved or ok.
    #[param(value_type = Option<String>)]
    state: Option<State>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RulesBody {
    /// 0 before anybody wrote one.
    revision: u64,
    unix_ns: u64,
    who: String,
    why: String,
    document: Rules,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    /// The revision that this change was made from; 0 for the first.
    from_revision: u64,
    document: Rules,
    /// For the audit log.
    #[serde(default)]
    why: String,
}

/// The webhook without what is secret about it.
#[derive(Debug, Serialize, ToSchema)]
struct WebhookBody {
    /// 0 where none is set.
    revision: u64,
    url: Option<String>,
    has_secret: bool,
    has_bearer: bool,
    who: Option<String>,
    unix_ns: Option<u64>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WebhookChange {
    /// The revision that this change was made from; 0 where none is set.
    from_revision: u64,
    /// http or https.
    url: String,
    /// Signs what is sent: `Heaptide-Signature`.
    secret: Option<String>,
    /// Is sent as `Authorization: Bearer`.
    bearer: Option<String>,
    #[serde(default)]
    why: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct RemoveParameters {
    from_revision: u64,
    /// For the audit log.
    #[serde(default)]
    why: String,
}

/// What each rule stands at for each session that it is about.
#[utoipa::path(
    get,
    path = "/api/v1/alerts",
    params(ListParameters),
    responses((status = 200, body = AlertsBody), (status = 400))
)]
async fn list(
    Shared(hub): Shared<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    parameters: Result<Query<ListParameters>, QueryRejection>,
) -> Result<Json<AlertsBody>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    let Query(ListParameters { state }) = parameters?;
    let book = hub.alerts.rules();
    let mut board: Vec<_> = hub.alerts.board().into_iter().collect();
    board.retain(|(_, posted)| state.is_none_or(|state| posted.alert.state == state));
    board.sort_by_key(|(_, posted)| (posted.alert.state, std::cmp::Reverse(posted.alert.since_unix_ns)));
    let not_listed = board.len().saturating_sub(LISTED);
    board.truncate(LISTED);
    let summaries = hub.fleet.summaries().into_iter();
    let sessions: HashMap<SessionId, SessionSummary> = summaries.map(|one| (one.session, one)).collect();
    let alerts = board.into_iter().map(|((name, id), posted)| {
        let alert = posted.alert;
        let rule = book.document.rules.iter().find(|rule| rule.name == name);
        let session = sessions.get(&id);
        let words = |value: Option<f64>, error| match (value, rule) {
            (Some(value), Some(rule)) => told(value, error, rule.figure.unit()),
            _ => String::new(),
        };
        let side = match rule.map(|rule| rule.when) {
            Some(When::Above) => "above ",
            Some(When::Below) => "below ",
            None => "",
        };
        let threshold = rule.map(|rule| rule.threshold);
        AlertBody {
            session: id.to_string(),
            service: session
                .and_then(|one| one.labels.get("service"))
                .unwrap_or_default()
                .to_owned(),
            host_name: session.map_or_else(String::new, |one| one.signature.host_name.clone()),
            state: alert.state,
            since_unix_ns: alert.since_unix_ns,
            value_words: words(alert.value, alert.error),
            threshold_words: format!("{side}{}", words(threshold, None)),
            value: alert.value,
            error: alert.error,
            no_data: alert.no_data,
            figure: rule.map(|rule| rule.figure.clone()),
            unit: rule.map(|rule| rule.figure.unit()),
            when: rule.map(|rule| rule.when),
            threshold,
            rule: name,
        }
    });
    Ok(Json(AlertsBody {
        alerts: alerts.collect(),
        counts: hub.alerts.counts(),
        not_listed,
        left_out: hub.alerts.left_out(),
        webhook: hub.alerts.delivery().state(),
    }))
}

/// The rules, and their revision.
#[utoipa::path(get, path = "/api/v1/alerts/rules", responses((status = 200, body = RulesBody)))]
async fn rules(
    Shared(hub): Shared<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<RulesBody>, Problem> {
    caller.may(Role::Viewer).map_err(Problem::forbidden)?;
    Ok(Json(RulesBody::new(&hub.alerts.rules())))
}

/// Makes a document the newest. 409 with the newest one if somebody else was faster.
#[utoipa::path(
    post,
    path = "/api/v1/alerts/rules",
    request_body = ChangeBody,
    responses((status = 200, body = RulesBody), (status = 400), (status = 409))
)]
async fn change_rules(
    Shared(hub): Shared<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<ChangeBody>, JsonRejection>,
) -> Result<Json<RulesBody>, Problem> {
    caller.may(Role::Tuner).map_err(Problem::forbidden)?;
    let Json(body) = body?;
    check_why(&body.why)?;
    let problems = body.document.problems();
    if !problems.is_empty() {
        return Err(Problem::bad_request(problems.join("; ")).with("problems", &problems));
    }
    let submitted = hub
        .alerts
        .submit(&hub.catalog, &caller, body.from_revision, body.document, body.why)
        .await?;
    match submitted {
        Changed::Done(book) => Ok(Json(RulesBody::new(&book))),
        Changed::Overtaken(newest) => Err(Problem::conflict(format!(
            "this change starts from revision {} of the alert rules, but {} (by {}) is the newest: look at that one, \
             then make yours from there",
            body.from_revision, newest.revision, newest.who
        ))
        .with("newest", &RulesBody::new(&newest))),
    }
}

/// Where notices go. Secrets are not told.
#[utoipa::path(get, path = "/api/v1/alerts/webhook", responses((status = 200, body = WebhookBody), (status = 403)))]
async fn webhook(
    Shared(hub): Shared<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<WebhookBody>, Problem> {
    caller.may(Role::Admin).map_err(Problem::forbidden)?;
    Ok(Json(told_webhook(&hub)))
}

/// Sets where notices go, with its secrets: what is left out is none.
#[utoipa::path(
    put,
    path = "/api/v1/alerts/webhook",
    request_body = WebhookChange,
    responses((status = 200, body = WebhookBody), (status = 400), (status = 409))
)]
async fn set_webhook(
    Shared(hub): Shared<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<WebhookChange>, JsonRejection>,
) -> Result<Json<WebhookBody>, Problem> {
    caller.may(Role::Admin).map_err(Problem::forbidden)?;
    let Json(body) = body?;
    check_why(&body.why)?;
    if let Some(why) = webhook_problem(&body.url, body.secret.as_deref(), body.bearer.as_deref()) {
        return Err(Problem::bad_request(why));
    }
    let next = Webhook {
        revision: body.from_revision + 1,
        who: caller.name.clone(),
        unix_ns: crate::clock::unix_ns(),
        url: body.url,
        secret: body.secret,
        bearer: body.bearer,
    };
    put(&hub, &caller, body.from_revision, Some(next), body.why).await
}

/// Tells nobody from now on. What waits to be told is given up.
#[utoipa::path(
    delete,
    path = "/api/v1/alerts/webhook",
    params(RemoveParameters),
    responses((status = 200, body = WebhookBody), (status = 404), (status = 409))
)]
async fn remove_webhook(
    Shared(hub): Shared<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    parameters: Result<Query<RemoveParameters>, QueryRejection>,
) -> Result<Json<WebhookBody>, Problem> {
    caller.may(Role::Admin).map_err(Problem::forbidden)?;
    let Query(RemoveParameters { from_revision, why }) = parameters?;
    check_why(&why)?;
    if hub.alerts.delivery().webhook().is_none() {
        return Err(Problem::not_found("no webhook is set"));
    }
    put(&hub, &caller, from_revision, None, why).await
}

async fn put(
    hub: &Hub,
    caller: &Caller,
    from_revision: u64,
    next: Option<Webhook>,
    why: String,
) -> Result<Json<WebhookBody>, Problem> {
    let set = hub
        .alerts
        .set_webhook(&hub.catalog, &hub.stats, caller, from_revision, next, why)
        .await?;
    match set {
        Ok(()) => Ok(Json(told_webhook(hub))),
        Err(newest) => Err(Problem::conflict(format!(
            "this change starts from revision {from_revision} of the webhook, but {newest} is the newest"
        ))
        .with("newest", &told_webhook(hub))),
    }
}

fn told_webhook(hub: &Hub) -> WebhookBody {
    let webhook = hub.alerts.delivery().webhook();
    WebhookBody {
        revision: webhook.as_ref().map_or(0, |webhook| webhook.revision),
        url: webhook.as_ref().map(|webhook| webhook.url.clone()),
        has_secret: webhook.as_ref().is_some_and(|webhook| webhook.secret.is_some()),
        has_bearer: webhook.as_ref().is_some_and(|webhook| webhook.bearer.is_some()),
        who: webhook.as_ref().map(|webhook| webhook.who.clone()),
        unix_ns: webhook.as_ref().map(|webhook| webhook.unix_ns),
    }
}

fn check_why(why: &str) -> Result<(), Problem> {
    match why.chars().count() {
        letters if letters > WHY_LETTERS => Err(Problem::bad_request(format!(
            "why: expected at most {WHY_LETTERS} letters, got {letters}"
        ))),
        _ => Ok(()),
    }
}

impl RulesBody {
    fn new(book: &RuleBook) -> Self {
        Self {
            revision: book.revision,
            unix_ns: book.unix_ns,
            who: book.who.clone(),
            why: book.why.clone(),
            document: book.document.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::MAX_RULES;
    use crate::hostile::attack;

    #[test]
    fn hostile_rules_are_survived_and_what_is_taken_can_be_read_again() {
        let seeds: [&[u8]; 2] = [
            br#"{"from_revision":7,"why":"x","document":{"rules":[{"name":"a","labels":{"service":"shop"},"figure":{"name":"live_slope","window_seconds":120},"when":"above","threshold":1048576,"for_seconds":300,"keep_seconds":60,"beyond_error":true,"note":"n"}]}}"#,
            br#"{"from_revision":0,"document":{"rules":[{"name":"b","figure":{"name":"goroutines","creator":"main.leak"},"when":"below","threshold":-1.5e3},{"name":"c","figure":{"name":"rss_bytes"},"when":"above","threshold":0}]}}"#,
        ];
        let mut taken = 0_u64;
        attack(&seeds, false, 1, |bytes| {
            let Ok(body) = serde_json::from_slice::<ChangeBody>(bytes) else {
                return;
            };
            if check_why(&body.why).is_err() || !body.document.problems().is_empty() {
                return;
            }
            taken += 1;
            assert!(body.document.rules.len() <= MAX_RULES);
            let kept = serde_json::to_vec(&body.document).unwrap();
            assert_eq!(serde_json::from_slice::<Rules>(&kept).unwrap(), body.document);
        });
        assert!(
            taken > 0,
            "none got through, so nothing behind the parser was reached"
        );
    }

    #[test]
    fn hostile_webhooks_are_survived_and_none_splits_a_request() {
        let seeds: [&[u8]; 3] = [
            br#"{"from_revision":0,"url":"https://hooks.example:8443/a/b?c=d","secret":"sesame","bearer":"word","why":"x"}"#,
            br#"{"from_revision":1,"url":"http://[::1]:9/x","secret":null,"bearer":null}"#,
            br#"{"from_revision":1,"url":"http://a@b\r\nX: y/\u0000","secret":"\n","bearer":"\r\n"}"#,
        ];
        let mut taken = 0_u64;
        attack(&seeds, false, 1, |bytes| {
            let Ok(body) = serde_json::from_slice::<WebhookChange>(bytes) else {
                return;
            };
            if webhook_problem(&body.url, body.secret.as_deref(), body.bearer.as_deref()).is_some() {
                return;
            }
            taken += 1;
            assert!(body.url.len() <= crate::outgoing::URL_BYTES);
            let bearer = body.bearer.unwrap_or_default();
            for text in [&body.url, &bearer] {
                assert!(!text.chars().any(|c| c.is_control() || c == ' '), "{text:?}");
            }
        });
        assert!(
            taken > 0,
            "none got through, so nothing behind the parser was reached"
        );
    }
}
