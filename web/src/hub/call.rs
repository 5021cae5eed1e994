//! One call of the HTTP API: the browser's `fetch`, and the answer as its own JSON.

use js_sys::{Array, JSON, Reflect};
use leptos::task::spawn_local;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Request, RequestInit, Response};

/// A value of an answer.
#[derive(Debug, Clone)]
pub(super) struct Json(JsValue);

impl Json {
    /// `labels.service` is a key in what `labels` is, unless there is one of that whole name.
    pub(super) fn get(&self, key: &str) -> Self {
        let value = Self(Reflect::get(&self.0, &key.into()).unwrap_or(JsValue::UNDEFINED));
        match key.split_once('.') {
            Some((first, rest)) if value.0.is_undefined() => self.get(first).get(rest),
            _ => value,
        }
    }

    /// Words and numbers alike; nothing for what is not there.
    pub(super) fn text(&self, key: &str) -> String {
        let value = self.get(key).0;
        value
            .as_string()
            // The browser's way with numbers: the standard library's is 20 KB.
            .or_else(|| {
                value
                    .as_f64()
                    .and_then(|_| JSON::stringify(&value).ok())
                    .map(String::from)
            })
            .or_else(|| value.as_bool().map(|is| if is { "yes" } else { "no" }.to_owned()))
            .unwrap_or_default()
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.get(key).0.as_f64()
    }

    pub(super) fn items(&self) -> Vec<Self> {
        let list: Option<&Array> = self.0.dyn_ref();
        list.map_or_else(Vec::new, |list| list.iter().map(Self).collect())
    }

    /// For a person to edit.
    pub(super) fn pretty(&self) -> String {
        JSON::stringify_with_replacer_and_space(&self.0, &JsValue::NULL, &JsValue::from_f64(2.0))
            .map(String::from)
            .unwrap_or_default()
    }
}

/// What went wrong, as a sentence, and the status (0 without an answer).
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) status: u16,
    pub(super) sentence: String,
}

/// An object of words for a request; `raw` values are JSON already.
pub(super) fn object(words: &[(&str, &str)], raw: &[(&str, &str)]) -> String {
    let quoted = words.iter().map(|(key, value)| {
        (
            key,
            JSON::stringify(&(*value).into())
                .map(String::from)
                .unwrap_or_default(),
        )
    });
    let raw = raw.iter().map(|(key, value)| (key, (*value).to_owned()));
    let parts: Vec<String> = quoted
        .chain(raw)
        .map(|(key, value)| format!("\"{key}\":{value}"))
        .collect();
    format!("{{{}}}", parts.join(","))
}

/// Calls, and hands the answer on when it is there.
pub(super) fn call(
    method: &'static str,
    path: String,
    body: Option<String>,
    then: Box<dyn FnOnce(Result<Json, Failure>)>,
) {
    spawn_local(async move {
        then(answer(method, &path, body).await);
    });
}

async fn answer(method: &str, path: &str, body: Option<String>) -> Result<Json, Failure> {
    let broken = |_: JsValue| Failure {
        status: 0,
        sentence: "The hub does not answer: is it running?".to_owned(),
    };
    let init = RequestInit::new();
    init.set_method(method);
    if let Some(body) = &body {
        init.set_body(&body.as_str().into());
    }
    let request = Request::new_with_str_and_init(path, &init).map_err(broken)?;
    if body.is_some() {
        request
            .headers()
            .set("content-type", "application/json")
            .map_err(broken)?;
    }
    let window = leptos::prelude::window();
    let response = JsFuture::from(window.fetch_with_request(&request))
        .await
        .map_err(broken)?;
    let response: Response = response.dyn_into().map_err(broken)?;
    let text = JsFuture::from(response.text().map_err(broken)?)
        .await
        .map_err(broken)?
        .as_string()
        .unwrap_or_default();
    let json = Json(JSON::parse(&text).unwrap_or(JsValue::UNDEFINED));
    if response.ok() {
        Ok(json)
    } else {
        let sentence = match json.text("error") {
            told if told.is_empty() => format!("The hub answered with status {}.", response.status()),
            told => told,
        };
        Err(Failure {
            status: response.status(),
            sentence,
        })
    }
}
