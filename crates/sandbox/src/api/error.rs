//! The three shapes of refusals: of IAM, of IMS, and of the gateway before them.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// `{"error":{"code":401,"message":"...","title":"Unauthorized"}}`
    Iam { status: StatusCode, message: String },
    /// `{"error":{"code":"IMG.0001","message":"..."}}`
    Ims {
        status: StatusCode,
        code: &'static str,
        message: String,
    },
    /// `{"error_code":"APIGW.0301","error_msg":"...","request_id":"..."}`
    Gateway {
        status: StatusCode,
        code: &'static str,
        message: String,
        request_id: String,
    },
}

impl ApiError {
    pub(crate) fn iam(status: StatusCode, message: impl Into<String>) -> Self {
        Self::Iam {
            status,
            message: message.into(),
        }
    }

    /// The same, of the inventory.
    pub(crate) fn of((code, message): crate::inventory::Refusal) -> Self {
        Self::ims(code, message)
    }

    /// A refusal by IMS with status 400, which all but a few have.
    pub(crate) fn ims(code: &'static str, message: impl Into<String>) -> Self {
        Self::Ims {
            status: StatusCode::BAD_REQUEST,
            code,
            message: message.into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::Iam { status, message } => (
                status,
                json!({"error": {
                    "code": status.as_u16(),
                    "message": message,
                    "title": status.canonical_reason(),
                }}),
            ),
            Self::Ims {
                status,
                code,
                message,
            } => (status, json!({"error": {"code": code, "message": message}})),
            Self::Gateway {
                status,
                code,
                message,
                request_id,
            } => (
                status,
                json!({"error_code": code, "error_msg": message, "request_id": request_id}),
            ),
        };
        (status, Json(body)).into_response()
    }
}
