//! Following a job to its end.
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

use std::future::pending;
use std::time::{Duration, Instant};

use common::*;
use ims::{Error, ErrorKind, ImageId, JobId, JobStatus, WaitOptions};
use serde_json::{Value, json};
use testkit::http::{Reply, Server};

/// Image Management Service API Reference (2023-01-20), "Querying the Status of an Asynchronous
/// Job", example response.
const EXAMPLE: &str = r#"{
  "status": "SUCCESS",
  "entities": {
    "image_id": "e9e91bff-14b6-4a0b-8377-4ed0813e3360",
    "image_name": "asdfsdfasdfas",
    "process_percent": 0.20,
    "current_task": "CreateImageByInstanceTask",
    "results": [{
      "image_id": "49e9447f-7dff-41e0-8036-f66fe5488c8b",
      "project_id": "089b2f9a3d80d3062f24c00ca4ed5cbd",
      "status": "success"
    }]
  },
  "job_id": "ff8080814dbd65d7014dbe0d84db0013",
  "job_type": "createImageByInstance",
  "begin_time": "04-Jun-2015 18:11:06:586",
  "end_time": "",
  "error_code": null,
  "fail_reason": null
}"#;

fn job() -> JobId {
    JOB.parse().unwrap()
}

fn fast() -> WaitOptions {
    WaitOptions {
        first: Duration::from_millis(5),
        max: Duration::from_millis(20),
        timeout: Duration::from_secs(10),
        max_failures: 3,
    }
}

fn state(value: &Value) -> Reply {
    Reply::json(200, &value.to_string())
}

/// What waiting comes to with these answers, and the states that were reported.
async fn waited(replies: Vec<Reply>) -> (Result<ImageId, Error>, Vec<String>, usize) {
    let server = Server::start().await.unwrap();
    for reply in replies {
        server.push(reply);
    }
    let mut seen = Vec::new();
    let result = signing(&server)
        .wait(
            &job(),
            &fast(),
            |job| seen.push(job.status.as_str().to_owned()),
            pending(),
        )
        .await;
    assert_eq!(server.unused(), 0, "all answers were asked for");
    (result, seen, server.requests().len())
}

#[tokio::test]
async fn the_documented_answer_is_read_field_by_field() {
    let server = Server::start().await.unwrap();
    server.push(Reply::json(200, EXAMPLE));
    let job = signing(&server).job(&job()).await.unwrap();
    assert_eq!(job.status, JobStatus::Success);
    assert_eq!(
        job.job_id.as_deref(),
        Some("ff8080814dbd65d7014dbe0d84db0013")
    );
    assert_eq!(job.job_type.as_deref(), Some("createImageByInstance"));
    assert_eq!(job.begin_time.as_deref(), Some("04-Jun-2015 18:11:06:586"));
    assert_eq!(job.end_time, None);
    assert_eq!(job.error_code, None);
    assert_eq!(job.entities.image_name.as_deref(), Some("asdfsdfasdfas"));
    assert_eq!(
        job.entities.current_task.as_deref(),
        Some("CreateImageByInstanceTask")
    );
    assert_eq!(job.progress(), Some(0.2));
    assert_eq!(job.entities.results[0].status.as_deref(), Some("success"));
    assert_eq!(job.image_id().unwrap().as_str(), IMAGE);
    assert_eq!(job.failures(), Vec::<String>::new());
    let request = &server.requests()[0];
    assert_eq!(request.target, format!("/v1/{PROJECT}/jobs/{JOB}"));
}

#[tokio::test]
async fn a_job_is_followed_through_unknown_states_to_its_image() {
    let (result, seen, _) = waited(vec![
        state(&json!({"status": "INIT"})),
        state(&json!({"status": "RUNNING", "entities": {"process_percent": "0.5"}})),
        state(&json!({"status": "PONDERING"})),
        state(&json!({})),
        state(&json!({"status": "success", "entities": {"image_id": IMAGE}})),
    ])
    .await;
    assert_eq!(result.unwrap().as_str(), IMAGE);
    assert_eq!(seen, ["INIT", "RUNNING", "PONDERING", "SUCCESS"]);
}

#[tokio::test]
async fn progress_is_a_share_in_every_spelling() {
    for (percent, expected) in [
        (json!(0.25), Some(0.25)),
        (json!("0.25"), Some(0.25)),
        (json!("25%"), Some(0.25)),
        (json!(25), Some(0.25)),
        (json!(1), Some(1.0)),
        (json!(100), Some(1.0)),
        (json!(1e300), Some(1.0)),
        (json!(-3), Some(0.0)),
        (json!("NaN"), None),
        (json!(null), None),
        (json!([1]), None),
    ] {
        let server = Server::start().await.unwrap();
        server.push(state(&json!({"entities": {"process_percent": percent}})));
        let job = signing(&server).job(&job()).await.unwrap();
        assert_eq!(job.progress(), expected, "{percent}");
    }
}

#[tokio::test]
async fn the_image_may_stand_in_results_or_sub_jobs() {
    for entities in [
        json!({"results": [{"status": "success"}, {"image_id": IMAGE}]}),
        json!({"image_id": "", "sub_jobs_result": [{"entities": {}}, {"status": "SUCCESS", "entities": {"image_id": IMAGE}}]}),
    ] {
        let (result, ..) = waited(vec![state(
            &json!({"status": "SUCCESS", "entities": entities}),
        )])
        .await;
        assert_eq!(result.unwrap().as_str(), IMAGE);
    }
    let (result, ..) = waited(vec![state(&json!({"status": "SUCCESS"}))]).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::BadAnswer);
    let (result, ..) = waited(vec![state(
        &json!({"status": "SUCCESS", "entities": {"image_id": "../../etc"}}),
    )])
    .await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::BadAnswer);
}

#[tokio::test]
async fn a_failed_job_tells_everything_that_it_and_its_sub_jobs_say() {
    let (result, seen, _) = waited(vec![
        state(&json!({"status": "RUNNING"})),
        state(&json!({
            "status": "FAIL",
            "error_code": "IMG.00 57",
            "fail_reason": "The image file is empty.",
            "entities": {
                "addition_error_code": "X.1",
                "addition_error_msg": "bad header\nin file",
                "error": {"message": "inner text"},
                "alarm_code": 17,
                "sub_jobs_result": [
                    {"status": "SUCCESS", "job_id": "s0"},
                    {"status": "FAIL", "job_id": "s1", "error_code": "IMG.0055", "fail_reason": "too small"},
                ],
            },
        })),
    ])
    .await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::JobFailed);
    assert_eq!(seen, ["RUNNING", "FAIL"]);
    assert_eq!(
        error.to_string(),
        format!(
            "job {JOB} failed: IMG.0057: The image file is empty; addition_error_code: X.1; \
             addition_error_msg: bad header in file; error: inner text; alarm_code: 17; sub-job \
             s1: IMG.0055: too small"
        )
    );
    assert_eq!(error.code(), Some("IMG.0057"));
    assert!(
        error.hint().unwrap().contains("storage class Standard"),
        "{:?}",
        error.hint()
    );
}

#[tokio::test]
async fn a_failure_known_to_a_sub_job_only_is_found_there() {
    let (result, ..) = waited(vec![state(&json!({
        "status": "FAIL", "error_code": null, "fail_reason": null,
        "entities": {"sub_jobs_result": [{"job_id": "s1", "status": "FAIL", "error_code": "IMG.0009", "fail_reason": "taken"}]},
    }))])
    .await;
    let error = result.unwrap_err();
    assert_eq!(error.code(), Some("IMG.0009"));
    assert_eq!(error.hint().as_deref(), Some("choose another image name"));
    let (result, ..) = waited(vec![state(&json!({"status": "FAIL"}))]).await;
    let text = result.unwrap_err().to_string();
    assert!(text.ends_with("no reason is given"), "{text}");
}

#[tokio::test]
async fn a_failed_sub_job_does_not_end_a_running_job() {
    let sub = json!([{"status": "FAIL", "job_id": "s1", "error_code": "IMG.0055"}]);
    let (result, ..) = waited(vec![
        state(&json!({"status": "RUNNING", "entities": {"sub_jobs_result": sub}})),
        Reply::json(200, EXAMPLE),
    ])
    .await;
    assert!(result.is_ok());
}

#[tokio::test]
async fn troubles_on_the_way_are_no_failure_of_the_job() {
    let (result, seen, requests) = waited(vec![
        Reply::status(500),
        Reply::Reset,
        Reply::text(502, "<html>"),
        state(&json!({"status": "RUNNING"})),
        Reply::text(200, "<html>please log in</html>"),
        Reply::Stall,
        Reply::status(429),
        Reply::json(200, EXAMPLE),
    ])
    .await;
    assert_eq!(result.unwrap().as_str(), IMAGE);
    assert_eq!(seen, ["RUNNING", "SUCCESS"]);
    assert_eq!(requests, 8, "each question is asked once");
}

#[tokio::test]
async fn a_long_run_of_troubles_ends_the_wait_and_says_that_the_job_goes_on() {
    let (result, _, requests) = waited((0..4).map(|_| Reply::status(503)).collect()).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind(), requests), (ErrorKind::Unavailable, 4));
    assert!(error.hint().unwrap().contains(JOB), "{:?}", error.hint());
}

#[tokio::test]
async fn answers_of_an_unknown_shape_end_the_wait_after_some_tries() {
    for body in ["[]", "{}", "null", r#"{"jobs": []}"#] {
        let (result, seen, requests) =
            waited((0..4).map(|_| Reply::json(200, body)).collect()).await;
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), requests),
            (ErrorKind::BadAnswer, 4),
            "{body}"
        );
        assert!(error.to_string().contains("shows no job"), "{error}");
        assert!(error.hint().unwrap().contains(JOB), "{:?}", error.hint());
        assert!(seen.is_empty());
    }
}

#[tokio::test]
async fn a_refusal_ends_the_wait_at_once() {
    let body = r#"{"error_code":"APIGW.0302","error_msg":"no right"}"#;
    let (result, _, requests) = waited(vec![Reply::json(403, body)]).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn the_other_address_of_jobs_is_asked_where_the_first_is_unknown() {
    let server = Server::start().await.unwrap();
    server.push(Reply::json(
        404,
        r#"{"error_code":"APIGW.0101","error_msg":"API not exist"}"#,
    ));
    server.push(Reply::json(200, EXAMPLE));
    let image = signing(&server)
        .wait(&job(), &fast(), |_| {}, pending())
        .await
        .unwrap();
    assert_eq!(image.as_str(), IMAGE);
    assert_eq!(
        server.requests()[1].target,
        format!("/v1/cloudimages/job/{JOB}")
    );

    server.push(Reply::status(404));
    server.push(Reply::status(404));
    let error = signing(&server).job(&job()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_left_to_itself() {
    let server = Server::start().await.unwrap();
    server.route(|_| Some(state(&json!({"status": "RUNNING"}))));
    let options = WaitOptions {
        timeout: Duration::from_millis(500),
        ..fast()
    };
    let error = signing(&server)
        .wait(&job(), &options, |_| {}, pending())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::JobTimeout);
    assert!(error.to_string().contains(JOB), "{error}");
    assert!(
        error.hint().unwrap().contains("continues in the cloud"),
        "{:?}",
        error.hint()
    );
    assert!(server.requests().len() >= 2);
}

#[tokio::test]
async fn a_job_that_ended_while_we_slept_is_seen_at_the_deadline() {
    let server = Server::start().await.unwrap();
    server.push(Reply::json(200, EXAMPLE));
    let options = WaitOptions {
        first: Duration::from_secs(60),
        max: Duration::from_secs(60),
        timeout: Duration::from_millis(50),
        max_failures: 0,
    };
    let image = signing(&server)
        .wait(&job(), &options, |_| {}, pending())
        .await
        .unwrap();
    assert_eq!(image.as_str(), IMAGE);
}

#[tokio::test]
async fn cancelling_ends_the_wait_in_the_middle_of_a_pause_and_of_a_question() {
    for first in [Duration::from_secs(60), Duration::ZERO] {
        let server = Server::start().await.unwrap();
        server.route(|_| Some(Reply::Stall));
        let options = WaitOptions { first, ..fast() };
        let start = Instant::now();
        let error = signing(&server)
            .wait(
                &job(),
                &options,
                |_| {},
                tokio::time::sleep(Duration::from_millis(100)),
            )
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(start.elapsed() < testkit::measure::HANG);
        assert!(error.hint().unwrap().contains(JOB), "{:?}", error.hint());
    }
}

#[test]
fn by_default_questions_come_every_10_to_30_seconds_for_an_hour() {
    let options = WaitOptions::default();
    assert_eq!(options.first, Duration::from_secs(10));
    assert_eq!(options.max, Duration::from_secs(30));
    assert_eq!(options.timeout, Duration::from_secs(3600));
}

#[tokio::test]
async fn hostile_answers_are_read_to_an_end() {
    let mut nested = json!({"status": "FAIL", "fail_reason": "deep"});
    for _ in 0..40 {
        nested = json!({"status": "FAIL", "entities": {"sub_jobs_result": [nested]}});
    }
    let many: Vec<Value> = (0..10_000)
        .map(|n| json!({"job_id": n, "fail_reason": "x".repeat(20)}))
        .collect();
    let wide = json!({"status": "FAIL", "entities": {"sub_jobs_result": many}});
    let long = json!({"status": "FAIL", "fail_reason": "y".repeat(500_000)});
    for value in [nested, wide, long] {
        let (result, ..) = waited(vec![state(&value)]).await;
        let text = result.unwrap_err().to_string();
        assert!(text.len() < 10_000, "{} characters", text.len());
    }
}
