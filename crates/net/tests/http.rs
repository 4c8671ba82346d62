//! The client against a real socket that misbehaves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

use std::time::{Duration, Instant};

use net::http::{Client, ClientOptions, HttpErrorKind, MAX_BODY_BYTES, Method, Request, Url};
use net::retry::Verdict;
use net::status::Repeat;
use testkit::http::{Reply, Server};

fn client() -> Client {
    Client::new(&ClientOptions {
        request_timeout: Duration::from_secs(1),
        ..ClientOptions::default()
    })
    .unwrap()
}

fn get(server: &Server, path: &str) -> Request {
    let url = Url::parse(&format!("{}{path}", server.url())).unwrap();
    Request::new(Method::GET, url)
}

#[tokio::test]
async fn request_and_answer_arrive_as_they_are() {
    let server = Server::start().await.unwrap();
    server.push(Reply::json(418, r#"{"a":"é"}"#).header("X-Request-Id", "r1"));
    let mut request = get(&server, "/v1/a%20b?x=%2F&y=").with_json(r#"{"b":1}"#);
    request.method = Method::POST;
    request.headers.insert("x-test", "1".parse().unwrap());
    let answer = client().send(request).await.unwrap();
    assert_eq!(answer.status, 418);
    assert_eq!(answer.headers["x-request-id"], "r1");
    assert_eq!(answer.body, r#"{"a":"é"}"#);
    let seen = &server.requests()[0];
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.target, "/v1/a%20b?x=%2F&y=");
    assert_eq!(seen.text(), r#"{"b":1}"#);
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("x-test"), Some("1"));
    let agent = seen.header("user-agent").unwrap();
    assert!(agent.starts_with("imgferry/"), "{agent}");
}

#[tokio::test]
async fn redirects_are_answers_and_are_not_followed() {
    let elsewhere = Server::start().await.unwrap();
    let server = Server::start().await.unwrap();
    server.push(Reply::status(302).header("Location", &elsewhere.url()));
    let answer = client().send(get(&server, "/")).await.unwrap();
    assert_eq!(answer.status, 302);
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused_before_anything_is_sent() {
    for url in [
        "http://ims.example.com/v2",
        "http://10.0.0.1/",
        "ftp://localhost/",
    ] {
        let request = Request::new(Method::GET, Url::parse(url).unwrap());
        let error = client().send(request).await.unwrap_err();
        assert_eq!(error.kind(), HttpErrorKind::Refused, "{url}");
        assert!(!error.may_have_been_sent());
        assert_eq!(error.verdict_for(Repeat::Safe), Verdict::Fatal);
    }
    for url in ["http://127.0.0.1/", "http://localhost:80/", "http://[::1]/"] {
        assert!(net::http::is_loopback(&Url::parse(url).unwrap()), "{url}");
    }
    for url in [
        "http://128.0.0.1/",
        "http://localhost.example.com/",
        "http://[::2]/",
    ] {
        assert!(!net::http::is_loopback(&Url::parse(url).unwrap()), "{url}");
    }
}

#[tokio::test]
async fn a_closed_port_is_a_request_that_was_not_sent() {
    let server = Server::start().await.unwrap();
    let request = get(&server, "/v1/secret?name=hidden");
    let port = server.address().port().to_string();
    drop(server);
    tokio::task::yield_now().await;
    let error = client().send(request).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::Connect);
    assert!(!error.may_have_been_sent());
    assert_eq!(error.verdict_for(Repeat::Unsafe), Verdict::Retry);
    let text = error.to_string();
    assert!(text.contains(&port), "{text}");
    assert!(!text.contains("hidden"), "a query is not shown: {text}");
    assert!(std::error::Error::source(&error).is_some());
    let reason = net::retry::Retryable::reason(&error);
    assert!(
        reason.starts_with(&text) && reason.contains("refused"),
        "{reason}"
    );
}

#[tokio::test]
async fn what_breaks_after_sending_is_repeated_only_when_that_is_safe() {
    for (reply, kind) in [
        (Reply::Reset, HttpErrorKind::Interrupted),
        (
            Reply::text(200, "cut in the middle").truncated(),
            HttpErrorKind::Interrupted,
        ),
        (Reply::Stall, HttpErrorKind::Timeout),
    ] {
        let server = Server::start().await.unwrap();
        server.push(reply);
        let start = Instant::now();
        let error = client().send(get(&server, "/x")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}: {error:?}");
        assert!(start.elapsed() < testkit::measure::HANG);
        assert!(error.may_have_been_sent());
        assert_eq!(error.verdict_for(Repeat::Safe), Verdict::Retry);
        assert_eq!(error.verdict_for(Repeat::Unsafe), Verdict::Fatal);
        assert_eq!(
            server.requests().len(),
            1,
            "the client itself never repeats"
        );
    }
}

#[tokio::test]
async fn a_body_beyond_the_cap_is_refused_while_it_arrives() {
    let server = Server::start().await.unwrap();
    server.push(Reply::text(200, &"x".repeat(MAX_BODY_BYTES)));
    let answer = client().send(get(&server, "/")).await.unwrap();
    assert_eq!(answer.body.len(), MAX_BODY_BYTES);
    server.push(Reply::text(200, &"x".repeat(MAX_BODY_BYTES + 1)));
    let error = client().send(get(&server, "/")).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::BadAnswer);
    assert!(error.to_string().contains("1048576"), "{error}");
}

#[tokio::test]
async fn headers_as_large_as_tokens_are_taken() {
    let server = Server::start().await.unwrap();
    let token = "t".repeat(32 << 10);
    server.push(Reply::status(201).header("X-Subject-Token", &token));
    let answer = client().send(get(&server, "/")).await.unwrap();
    assert_eq!(answer.headers["x-subject-token"], token.as_str());
}

#[test]
fn debug_shows_neither_headers_nor_bodies_nor_queries() {
    let url = Url::parse("https://iam.example.com/v3/auth/tokens?q=hunter0").unwrap();
    let mut request = Request::new(Method::POST, url).with_json("hunter1");
    request
        .headers
        .insert("x-auth-token", "hunter2".parse().unwrap());
    let answer = net::http::Response {
        status: net::http::StatusCode::CREATED,
        headers: request.headers.clone(),
        body: request.body.clone(),
    };
    let text = format!("{request:?} {answer:?}");
    assert!(text.contains("iam.example.com"), "{text}");
    assert!(!text.contains("hunter"), "{text}");
}
