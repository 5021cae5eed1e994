//! The ways in: a share link, or a token where the hub wants one.

use super::call::{Failure, Json, call, object};
use super::island::{island, say, value};
use crate::app::history;
use crate::net::LinkState;
use crate::store::Store;
use crate::ui::{nothing, part};
use crate::worker::ToWorker;
use leptos::prelude::*;
use web_sys::Element;

/// Its parts are closed by the browser, behind whatever else comes.
const MARKUP: &str = "<div class=\"sign-in\" data-testid=\"sign-in\"><div class=\"panel\">\
    <div class=\"panel-head\"><h1 class=\"panel-title\">Sign in to this hub</h1></div>\
    <div class=\"panel-body\"><div class=\"field\"><label class=\"field\"><span class=\"field-label\">Token</span>\
    <input class=\"input\" type=\"password\" autocomplete=\"current-password\" data-part=\"token\"></label>\
    <p class=\"field-hint\">Who runs the hub makes one with heaptide hub token create.</p>\
    <p role=\"alert\" data-part=\"said\"></p>\
    <button class=\"btn btn-primary\" type=\"button\" data-act=\"sign-in\">Sign in</button>";
/// Where the hub has an identity provider.
const PROVIDER: &str = " <a class=\"btn\" href=\"/api/v1/oidc/start\">Sign in with your organization</a>";

/// Covers the page as long as the hub turns this browser away for want of a token.
pub(crate) fn sign_in(store: Store) -> AnyView {
    if let Some(secret) = history::secret() {
        open_link(store, secret);
        return nothing();
    }
    Effect::new(move || {
        if store
            .link
            .with(|(state, _)| matches!(state, LinkState::Live { .. }))
        {
            store.signing_in.set(false);
            return;
        }
        // A refusal may have other reasons; the API knows this one.
        let then = move |ways: Result<Json, Failure>| {
            if let Ok(ways) = ways
                && ways.text("known") == "no"
            {
                store.has_provider.set(ways.text("oidc") == "yes");
                store.signing_in.set(true);
            }
        };
        call("GET", "/api/v1/sign-in".to_owned(), None, Box::new(then));
    });
    part(move || {
        if store.signing_in.get() {
            form(store)
        } else {
            nothing()
        }
    })
    .into_any()
}

/// Asks what the link shows, and goes there.
fn open_link(store: Store, secret: String) {
    let path = format!("/api/v1/shared/{secret}");
    let then = move |answer: Result<Json, Failure>| match answer {
        Ok(shared) => {
            let place = history::shared_as(secret, shared.text("session"), &shared.text("view"));
            store.place.set(place);
        }
        Err(failure) => store.notice(failure.sentence),
    };
    call("GET", path, None, Box::new(then));
}

fn form(store: Store) -> AnyView {
    let hear = move |root: &Element, _: &str, _: &Element| {
        let body = object(&[("token", value(root, "token").trim())], &[]);
        let root = root.clone();
        let then = move |answer: Result<Json, Failure>| match answer {
            Ok(_) => {
                store.signing_in.set(false);
                store.send(&ToWorker::RetryNow);
            }
            Err(failure) => say(&root, "said", &failure.sentence),
        };
        call("POST", "/api/v1/sign-in".to_owned(), Some(body), Box::new(then));
    };
    let mut markup = MARKUP.to_owned();
    if store.has_provider.get() {
        markup += PROVIDER;
    }
    island(markup, Box::new(|_| ()), Box::new(hear))
}
