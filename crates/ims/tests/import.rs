//! Registering: what is repeated, what is not, and what the user reads.
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

use std::time::Duration;

use common::*;
use ims::{Client, Credentials, ErrorKind, ImageId, ImageStatus};
use net::retry::{Retryable, Verdict};
use serde_json::json;
use testkit::http::{Reply, Server};

/// The number of requests and the result of one import with these answers.
async fn answered(replies: Vec<Reply>) -> (usize, Result<ims::JobId, ims::Error>) {
    let server = Server::start().await.unwrap();
    for reply in replies {
        server.push(reply);
    }
    let result = signing(&server).quick_import(&import()).await;
    (server.requests().len(), result)
}

fn flow_control() -> Reply {
    Reply::json(
        400,
        r#"{"error":{"message":"The number of tasks exceeds the flow control limit.","code":"IMG.0060"}}"#,
    )
}

#[tokio::test]
async fn an_import_that_surely_did_not_begin_is_tried_again() {
    for first in [Reply::status(429), Reply::status(503), flow_control()] {
        let (requests, result) = answered(vec![first, started()]).await;
        assert_eq!(result.unwrap().as_str(), JOB);
        assert_eq!(requests, 2);
    }
}

#[tokio::test]
async fn an_import_is_tried_again_when_there_was_no_connection() {
    let server = Server::start().await.unwrap();
    let client = signing(&server);
    drop(server);
    let error = client.quick_import(&import()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert_eq!(error.verdict(), Verdict::Retry);
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn an_import_that_may_have_begun_is_never_repeated() {
    for reply in [
        Reply::Reset,
        Reply::Stall,
        started().truncated(),
        Reply::status(500),
        Reply::text(502, "<html><title>502 Bad Gateway</title></html>"),
        Reply::status(504),
        Reply::status(408),
        Reply::json(200, r#"{"job":"none"}"#),
        Reply::json(200, r#"{"job_id":"../x"}"#),
        Reply::text(200, "ok"),
    ] {
        let shown = format!("{reply:?}");
        let (requests, result) = answered(vec![reply, started()]).await;
        let error = result.unwrap_err();
        assert_eq!(requests, 1, "{shown}");
        assert_eq!(error.kind(), ErrorKind::Ambiguous, "{shown}: {error}");
        assert_eq!(error.verdict(), Verdict::Fatal);
        assert!(
            error
                .to_string()
                .contains("may have been carried out or not"),
            "{error}"
        );
        let hint = error.hint().unwrap();
        assert!(hint.contains("\"ims_test_file\""), "{hint}");
    }
}

#[tokio::test]
async fn an_error_that_the_service_itself_names_is_no_riddle() {
    let body = r#"{"error_code":"IMG.0061","error_msg":"Unknown system error."}"#;
    let (requests, result) = answered(vec![Reply::json(500, body)]).await;
    let error = result.unwrap_err();
    assert_eq!((requests, error.kind()), (1, ErrorKind::Unavailable));
}

#[tokio::test]
async fn a_refusal_is_reported_with_code_reason_request_and_hint() {
    let reply = Reply::json(
        400,
        r#"{"error":{"message":"The image name already exists.","code":"IMG.0009"},"extra":[1,{}]}"#,
    )
    .header("X-Request-Id", "req-77");
    let (requests, result) = answered(vec![reply]).await;
    let error = result.unwrap_err();
    assert_eq!(requests, 1);
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.status(), Some(400));
    assert_eq!(error.code(), Some("IMG.0009"));
    assert_eq!(
        error.to_string(),
        "registering the image was refused: IMG.0009: The image name already exists (HTTP 400, \
         request id req-77)"
    );
    assert_eq!(error.hint().as_deref(), Some("choose another image name"));
}

#[tokio::test]
async fn a_name_that_an_earlier_attempt_may_have_taken_is_told_so() {
    let taken = || {
        let body = r#"{"error":{"code":"IMG.0009","message":"The image name already exists."}}"#;
        Reply::json(400, body)
    };
    let (_, result) = answered(vec![Reply::status(503), taken()]).await;
    let error = result.unwrap_err();
    assert_eq!(error.code(), Some("IMG.0009"));
    assert!(
        error.hint().unwrap().contains("earlier attempt"),
        "{error:?}"
    );
    let (_, result) = answered(vec![taken()]).await;
    assert!(!result.unwrap_err().hint().unwrap().contains("earlier"));
}

#[tokio::test]
async fn a_refusal_in_a_good_answer_is_shown_and_not_repeated() {
    let said = r#"{"error":{"code":"IMG.0015","message":"The quota is used up."}}"#;
    let (requests, result) = answered(vec![Reply::json(200, said)]).await;
    let error = result.unwrap_err();
    assert_eq!((requests, error.kind()), (1, ErrorKind::Ambiguous));
    assert!(error.to_string().contains("IMG.0015: The quota"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_says_what_to_do() {
    let moved = Reply::text(302, "<html><title>Moved</title></html>")
        .header("Location", "https://login.example.com/");
    let (requests, result) = answered(vec![moved]).await;
    let error = result.unwrap_err();
    // It is not the service's answer, so what became of the request is not known.
    assert_eq!((requests, error.kind()), (1, ErrorKind::Ambiguous));
    assert!(error.is_foreign());
    assert!(error.hints().contains(&ims::Hint::NotIms), "{error:?}");
}

#[tokio::test]
async fn attempts_end_and_the_last_reason_is_reported() {
    let (requests, result) = answered(vec![flow_control(), flow_control(), flow_control()]).await;
    let error = result.unwrap_err();
    assert_eq!((requests, error.kind()), (3, ErrorKind::Unavailable));
    assert_eq!(error.code(), Some("IMG.0060"));
    assert!(
        error
            .to_string()
            .starts_with("registering the image failed: IMG.0060"),
        "{error}"
    );
}

#[tokio::test]
async fn a_pause_that_the_server_asks_for_is_kept() {
    let start = std::time::Instant::now();
    let first = Reply::status(429).header("Retry-After", "1");
    let (requests, result) = answered(vec![first, started()]).await;
    assert!(result.is_ok());
    assert_eq!(requests, 2);
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn reading_is_tried_again_after_every_passing_failure() {
    for first in [
        Reply::Reset,
        Reply::Stall,
        no_images().truncated(),
        Reply::status(500),
        Reply::status(502),
        Reply::status(408),
    ] {
        let server = Server::start().await.unwrap();
        server.push(first);
        server.push(no_images());
        let id: ImageId = IMAGE.parse().unwrap();
        assert_eq!(signing(&server).image(&id).await.unwrap(), None);
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn credentials_do_not_travel_without_tls() {
    let server = Server::start().await.unwrap();
    let mut options = options(&server, Credentials::AccessKey(access_key()));
    options.project_id = Some(PROJECT.into());
    options.endpoints.ims = "http://ims.example.com".parse().unwrap();
    let error = Client::new(options)
        .unwrap()
        .quick_import(&import())
        .await
        .unwrap_err();
    assert!(
        error.hint().unwrap().contains("https"),
        "{:?}",
        error.hint()
    );
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("without TLS"), "{source}");
}

#[tokio::test]
async fn images_are_read_with_every_type_that_regions_use() {
    let server = Server::start().await.unwrap();
    let other = json!({"id": "other", "status": "killed"});
    let image = json!({
        "id": IMAGE, "name": "web", "status": "active", "min_disk": "40",
        "__image_size": "1614", "__os_version": "CentOS 7.3 64bit", "__os_type": "Linux",
        "virtual_env_type": "FusionCompute", "hw_firmware_type": "bios", "__lazyloading": "True",
        "virtual_size": null, "active_at": "2018-09-06T15:17:33Z", "future": {"x": []}, "__extra": 7,
    });
    server.push(Reply::json(
        200,
        &json!({"images": [other, 5, image]}).to_string(),
    ));
    let client = signing(&server);
    let id: ImageId = IMAGE.parse().unwrap();
    let image = client.image(&id).await.unwrap().unwrap();
    assert_eq!(image.status, ImageStatus::Active);
    assert_eq!((image.min_disk, image.size), (Some(40), Some(1614)));
    assert_eq!(image.lazy_loading, Some(true));
    assert_eq!(image.firmware.as_deref(), Some("bios"));
    assert_eq!(image.field("__extra").as_deref(), Some("7"));
    assert_eq!(image.field("virtual_size"), None);

    server.push(Reply::json(
        200,
        &json!({"images": [
        {"id": IMAGE, "status": "dreaming", "min_disk": -1, "__image_size": "many"}]})
        .to_string(),
    ));
    let image = client.image(&id).await.unwrap().unwrap();
    assert_eq!(image.status, ImageStatus::Other("dreaming".into()));
    assert_eq!((image.min_disk, image.size), (None, None));

    for (body, kind) in [
        ("{}", ErrorKind::BadAnswer),
        ("[]", ErrorKind::BadAnswer),
        ("null", ErrorKind::BadAnswer),
        (r#"{"images":null}"#, ErrorKind::BadAnswer),
        ("<html>login</html>", ErrorKind::Foreign),
    ] {
        server.push(Reply::text(200, body));
        let error = client.image(&id).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{body}");
    }
}
