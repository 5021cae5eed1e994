//! What an API call answers when it can't do what was asked: a status, and `{"error": "a sentence"}`.

use crate::catalog::CatalogError;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    sentence: String,
    retry_after: Option<Duration>,
    /// What a program can go by, beside the sentence.
    details: Map<String, Value>,
}

impl Problem {
    fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self {
            status,
            sentence: sentence.into(),
            retry_after: None,
            details: Map::new(),
        }
    }

    pub(crate) fn unauthorized(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, sentence)
    }

    /// Too often; after so long again.
    pub(crate) fn wait(left: Duration) -> Self {
        let seconds = whole_seconds(left);
        Self {
            retry_after: Some(left),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("too many requests or wrong tokens came from your address: wait {seconds} s"),
            )
        }
    }

    pub(crate) fn bad_request(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    pub(crate) fn forbidden(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, sentence)
    }

    pub(crate) fn not_found(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, sentence)
    }

    pub(crate) fn too_large(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
    }

    /// Somebody else was faster.
    pub(crate) fn conflict(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, sentence)
    }

    pub(crate) fn unavailable(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
    }

    pub(crate) fn with<T: Serialize>(mut self, name: &str, value: &T) -> Self {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.details.insert(name.to_owned(), value);
        self
    }
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<JsonRejection> for Problem {
    fn from(wrong: JsonRejection) -> Self {
        Self::new(wrong.status(), wrong.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(wrong: QueryRejection) -> Self {
        Self::bad_request(wrong.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut body = self.details;
        body.insert("error".to_owned(), self.sentence.into());
        let mut response = (self.status, Json(Value::Object(body))).into_response();
        let headers = response.headers_mut();
        if let Some(left) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(left)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"heaptide\""),
            );
        }
        response
    }
}

/// At least one, and never too early.
fn whole_seconds(left: Duration) -> u64 {
    left.as_millis()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u64::MAX)
        .max(1)
}
