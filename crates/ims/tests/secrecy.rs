//! No secret in anything that a person or a log file may see.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::error::Error as StdError;
use std::future::pending;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use ims::{Client, Credentials, ImageId, WaitOptions};
use testkit::http::{Reply, Server};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

const ISSUED: &str = "issued-token-MIIEvQIBADANBgkq";

/// All that can be printed of an error.
fn shown(error: &ims::Error) -> String {
    let mut text = format!(
        "{error} {error:?} {error:#?} {:?} {:?}",
        error.hint(),
        error.code()
    );
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    text
}

/// Everything goes wrong, and each answer repeats what it was sent.
async fn everything(credentials: Credentials) -> String {
    let server = Server::start().await.unwrap();
    let mut refused = false;
    server.route(move |request| {
        if is_sign_in(request) && !refused {
            refused = true;
            return Some(fresh_token(ISSUED));
        }
        let mut echo = request.text();
        for (name, value) in &request.headers {
            if !name.eq_ignore_ascii_case("authorization") {
                echo.push_str(&format!("|{}:{value}", name.to_lowercase()));
            }
        }
        let body = serde_json::json!({
            "error_code": "APIGW.0301",
            "error_msg": format!("{echo} verify aksk signature fail,canonicalRequest:GET|{echo}"),
            "status": "FAIL", "fail_reason": echo,
        });
        let status = if request.path().contains("/jobs/") {
            200
        } else {
            401
        };
        Some(Reply::json(status, &body.to_string()).header("X-Request-Id", &echo.replace('\n', "")))
    });
    let mut options = options(&server, credentials);
    options.project_id = Some(PROJECT.into());
    let mut text = format!("{options:?}");
    let client = Client::new(options).unwrap();
    text.push_str(&format!("{client:?}"));
    let id: ImageId = IMAGE.parse().unwrap();
    let wait = WaitOptions {
        first: Duration::ZERO,
        ..WaitOptions::default()
    };
    // The job first: while the token still holds.
    let failed = client
        .wait(&JOB.parse().unwrap(), &wait, |_| {}, pending())
        .await
        .unwrap_err();
    text.push_str(&shown(&failed));
    text.push_str(&format!("{client:?}"));
    text.push_str(&shown(&client.image(&id).await.unwrap_err()));
    text.push_str(&shown(&client.quick_import(&import()).await.unwrap_err()));
    text
}

#[tokio::test]
async fn no_secret_is_in_debug_output_errors_or_logs_even_when_the_server_repeats_it() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let mut key = access_key();
    key.session_token = Some(SESSION_TOKEN.into());
    let mut text = everything(Credentials::AccessKey(key)).await;
    text.push_str(&everything(password()).await);
    text.push_str(&everything(Credentials::Token("given-token-XYZ".into())).await);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();

    assert!(text.contains("AKIDEXAMPLE"), "the key's id is no secret");
    assert!(text.contains("***"), "the server did repeat secrets");
    assert!(
        log.contains("/v2/cloudimages"),
        "requests are logged: {log}"
    );
    assert!(log.contains("HTTP 401"), "{log}");
    for secret in [
        PASSWORD,
        SECRET_KEY,
        SESSION_TOKEN,
        ISSUED,
        "given-token-XYZ",
    ] {
        for text in [&text, &log] {
            let leak = text.find(secret).map(|at| &text[at.saturating_sub(80)..at]);
            assert_eq!(leak, None, "a secret stands after this text");
        }
    }
}
