//! Signing in, signing, and finding the project.
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

use std::collections::HashSet;
use std::time::Duration;

use common::*;
use ims::{Client, Credentials, ErrorKind, ImageId};
use net::http::{HeaderMap, HeaderName};
use net::secret::ExposeSecret;
use net::sign::{Parts, verify};
use serde_json::{Value, json};
use testkit::http::{Recorded, Reply, Server};
use time::OffsetDateTime;

fn image() -> ImageId {
    IMAGE.parse().unwrap()
}

fn tokens_used(server: &Server) -> Vec<String> {
    server
        .requests()
        .iter()
        .filter_map(|request| request.header("x-auth-token").map(str::to_owned))
        .collect()
}

fn sign_ins(server: &Server) -> usize {
    server.requests().iter().filter(|r| is_sign_in(r)).count()
}

#[tokio::test]
async fn signing_in_sends_the_documented_request() {
    let server = Server::start().await.unwrap();
    server.push(fresh_token("t1"));
    server.push(no_images());
    let client = with_password(&server);
    assert_eq!(client.image(&image()).await.unwrap(), None);
    let requests = server.requests();
    assert_eq!(requests[0].target, "/v3/auth/tokens?nocatalog=true");
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(
        body,
        json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": "alice", "password": PASSWORD, "domain": {"name": "acme"}}}},
            "scope": {"project": {"name": "eu-west-0"}},
        }})
    );
    assert_eq!(requests[0].header("authorization"), None);
    assert_eq!(requests[1].header("x-auth-token"), Some("t1"));
    assert_eq!(requests[1].header("x-project-id"), None);
    assert_eq!(requests[1].target, format!("/v2/cloudimages?id={IMAGE}"));
}

#[tokio::test]
async fn a_given_project_is_the_scope_of_the_token() {
    let server = Server::start().await.unwrap();
    server.push(fresh_token("t1"));
    server.push(no_images());
    let mut options = options(&server, password());
    options.project_id = Some("p2".into());
    let client = Client::new(options).unwrap();
    client.image(&image()).await.unwrap();
    let body: Value = serde_json::from_slice(&server.requests()[0].body).unwrap();
    assert_eq!(body["auth"]["scope"], json!({"project": {"id": "p2"}}));
    assert_eq!(client.project_id().await.unwrap(), "p2");
}

#[tokio::test]
async fn a_token_is_fetched_once_and_its_project_is_used() {
    let server = Server::start().await.unwrap();
    server.route(|r| {
        Some(if is_sign_in(r) {
            fresh_token("t1")
        } else {
            no_images()
        })
    });
    let client = with_password(&server);
    for _ in 0..3 {
        client.image(&image()).await.unwrap();
    }
    assert_eq!(client.project_id().await.unwrap(), PROJECT);
    assert_eq!(sign_ins(&server), 1);
    assert_eq!(server.requests().len(), 4, "no GET /v3/projects");
}

#[tokio::test]
async fn callers_in_parallel_sign_in_once() {
    let server = Server::start().await.unwrap();
    server.route(|r| {
        Some(if is_sign_in(r) {
            fresh_token("t1").after(Duration::from_millis(50))
        } else {
            no_images()
        })
    });
    let client = with_password(&server);
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.image(&image()).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(sign_ins(&server), 1);
}

#[tokio::test]
async fn a_token_is_renewed_when_less_than_half_an_hour_is_left() {
    let day = 24 * 60;
    for (left, expected) in [(29, ["t1", "t2"]), (31, ["t1", "t1"])] {
        let server = Server::start().await.unwrap();
        server.push(token("t1", left - day, left));
        server.push(no_images());
        let client = with_password(&server);
        client.image(&image()).await.unwrap();
        if left < 30 {
            server.push(fresh_token("t2"));
        }
        server.push(no_images());
        client.image(&image()).await.unwrap();
        assert_eq!(tokens_used(&server), expected, "{left} minutes left");
    }
}

#[tokio::test]
async fn a_token_that_never_had_half_an_hour_is_not_renewed_by_each_call() {
    let server = Server::start().await.unwrap();
    server.route(|r| {
        Some(if is_sign_in(r) {
            token("t1", 0, 15)
        } else {
            no_images()
        })
    });
    let client = with_password(&server);
    for _ in 0..3 {
        client.image(&image()).await.unwrap();
    }
    assert_eq!(sign_ins(&server), 1);
}

#[tokio::test]
async fn an_old_token_is_used_while_signing_in_fails_for_a_passing_reason() {
    let server = Server::start().await.unwrap();
    server.push(token("t1", 10 - 24 * 60, 10));
    server.push(no_images());
    let client = with_password(&server);
    client.image(&image()).await.unwrap();
    server.push(Reply::status(503));
    server.push(no_images());
    client.image(&image()).await.unwrap();
    assert_eq!(tokens_used(&server), ["t1", "t1"]);
}

#[tokio::test]
async fn a_refused_token_is_renewed_exactly_once() {
    let server = Server::start().await.unwrap();
    server.push(fresh_token("t1"));
    server.push(Reply::json(
        401,
        r#"{"error_code":"APIGW.0301","error_msg":"decrypt token fail"}"#,
    ));
    server.push(fresh_token("t2"));
    server.push(no_images());
    let client = with_password(&server);
    client.image(&image()).await.unwrap();
    assert_eq!(tokens_used(&server), ["t1", "t2"]);

    server.push(Reply::status(401));
    server.push(fresh_token("t3"));
    server.push(Reply::status(401));
    let error = client.image(&image()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert_eq!(tokens_used(&server), ["t1", "t2", "t2", "t3"]);
    assert_eq!(server.unused(), 0);
}

#[tokio::test]
async fn twenty_callers_whose_token_is_refused_renew_it_once_together() {
    let server = Server::start().await.unwrap();
    let mut issued = 0;
    server.route(move |request| {
        if is_sign_in(request) {
            issued += 1;
            // Long enough for all to be refused before the new one is there.
            let token = fresh_token(&format!("t{issued}"));
            return Some(token.after(Duration::from_millis(100)));
        }
        Some(match request.header("x-auth-token") {
            Some("t2") => no_images(),
            _ => Reply::status(401).after(Duration::from_millis(20)),
        })
    });
    let client = with_password(&server);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.image(&image()).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(sign_ins(&server), 2, "the first token, and one renewal");
    let used = tokens_used(&server);
    let refused = used.iter().filter(|token| *token == "t1").count();
    assert_eq!((refused, used.len()), (20, 40));
}

#[tokio::test]
async fn an_import_is_repeated_after_a_refused_token_because_nothing_was_begun() {
    let server = Server::start().await.unwrap();
    server.push(fresh_token("t1"));
    server.push(Reply::status(401));
    server.push(fresh_token("t2"));
    server.push(started());
    let job = with_password(&server)
        .quick_import(&import())
        .await
        .unwrap();
    assert_eq!(job.as_str(), JOB);
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_not_tried_again() {
    let server = Server::start().await.unwrap();
    server.push(Reply::json(
        401,
        r#"{"error":{"code":401,"message":"The username or password is wrong.","title":"Unauthorized"}}"#,
    ));
    let error = with_password(&server).image(&image()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert_eq!(
        error.to_string(),
        "signing in was refused: The username or password is wrong (HTTP 401)"
    );
    assert!(
        error.hint().unwrap().contains("IAM user"),
        "{:?}",
        error.hint()
    );
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn signing_in_is_tried_again_when_the_service_is_busy() {
    let server = Server::start().await.unwrap();
    server.push(Reply::status(503));
    server.push(Reply::Reset);
    server.push(fresh_token("t1"));
    server.push(no_images());
    with_password(&server).image(&image()).await.unwrap();
    assert_eq!(sign_ins(&server), 3);
}

#[tokio::test]
async fn an_answer_without_a_token_is_an_error_and_odd_times_are_not() {
    let server = Server::start().await.unwrap();
    server.push(Reply::json(200, "{}"));
    let error = with_password(&server).image(&image()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadAnswer);
    for body in [
        "",
        "<html>",
        r#"{"token":7}"#,
        r#"{"token":{"expires_at":"tomorrow","project":{"id":"../x"}}}"#,
    ] {
        let server = Server::start().await.unwrap();
        server.push(Reply::text(201, body).header("X-Subject-Token", "t1"));
        server.push(no_images());
        server.push(no_images());
        let client = with_password(&server);
        client.image(&image()).await.unwrap();
        client.image(&image()).await.unwrap();
        assert_eq!(sign_ins(&server), 1, "{body}");
    }
}

#[tokio::test]
async fn a_token_from_elsewhere_is_used_and_never_renewed() {
    let server = Server::start().await.unwrap();
    server.push(no_images());
    server.push(Reply::status(401));
    let credentials = Credentials::Token("mine".into());
    let client = Client::new(options(&server, credentials)).unwrap();
    client.image(&image()).await.unwrap();
    let error = client.image(&image()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert_eq!(tokens_used(&server), ["mine", "mine"]);
    assert_eq!(sign_ins(&server), 0);
}

fn verified(request: &Recorded, now: OffsetDateTime) -> bool {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    let parts = Parts {
        method: &request.method,
        path,
        query,
        headers: &headers,
        body: &request.body,
    };
    verify(
        &parts,
        |id| (id == "AKIDEXAMPLE").then(|| SECRET_KEY.into()),
        now,
    )
    .is_ok()
}

#[tokio::test]
async fn signed_requests_verify_as_they_arrive() {
    let server = Server::start().await.unwrap();
    server.push(started());
    server.push(no_images());
    let client = signing(&server);
    client.quick_import(&import()).await.unwrap();
    client.image(&image()).await.unwrap();
    for request in server.requests() {
        assert!(verified(&request, OffsetDateTime::now_utc()), "{request:?}");
        let authorization = request.header("authorization").unwrap();
        let signed = if request.method == "POST" {
            "SignedHeaders=content-type;host;x-project-id;x-sdk-date,"
        } else {
            "SignedHeaders=host;x-project-id;x-sdk-date,"
        };
        assert!(authorization.contains(signed), "{authorization}");
        assert_eq!(request.header("x-auth-token"), None);
    }
}

#[tokio::test]
async fn each_attempt_is_signed_anew() {
    let server = Server::start().await.unwrap();
    server.push(Reply::status(503).after(Duration::from_millis(1100)));
    server.push(no_images());
    let mut options = options(&server, Credentials::AccessKey(access_key()));
    options.project_id = Some(PROJECT.into());
    options.http.request_timeout = Duration::from_secs(5);
    let client = Client::new(options).unwrap();
    client.image(&image()).await.unwrap();
    let distinct = |name| -> usize {
        let requests = server.requests();
        let values: HashSet<_> = requests.iter().map(|r| r.header(name).unwrap()).collect();
        values.len()
    };
    assert_eq!(distinct("x-sdk-date"), 2);
    assert_eq!(distinct("authorization"), 2);
    assert!(
        server
            .requests()
            .iter()
            .all(|r| verified(r, OffsetDateTime::now_utc()))
    );
}

#[tokio::test]
async fn temporary_keys_send_and_sign_their_session_token() {
    let server = Server::start().await.unwrap();
    server.push(no_images());
    let mut key = access_key();
    key.session_token = Some(SESSION_TOKEN.into());
    let mut options = options(&server, Credentials::AccessKey(key));
    options.project_id = Some(PROJECT.into());
    Client::new(options).unwrap().image(&image()).await.unwrap();
    let request = &server.requests()[0];
    assert_eq!(request.header("x-security-token"), Some(SESSION_TOKEN));
    assert!(
        request
            .header("authorization")
            .unwrap()
            .contains(";x-security-token,")
    );
    assert!(verified(request, OffsetDateTime::now_utc()));
}

/// Keys of an agency or a file: another one each time.
#[derive(Debug, Default)]
struct Agency(std::sync::atomic::AtomicU32);

impl net::credentials::KeySource for Agency {
    fn fetch(&self) -> net::credentials::Fetching<'_> {
        let number = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::pin(async move {
            let mut key = access_key();
            key.id = format!("AKID{number}");
            Ok(net::credentials::Lease {
                key,
                expires_at: None,
            })
        })
    }
}

#[tokio::test]
async fn a_refused_key_of_an_agency_is_renewed_exactly_once() {
    let server = Server::start().await.unwrap();
    let keys = net::credentials::Keys::renewed(Agency::default());
    let mut options = options(&server, Credentials::Keys(keys));
    options.project_id = Some(PROJECT.into());
    let client = Client::new(options).unwrap();
    let used = || -> Vec<String> {
        let requests = server.requests();
        let ids = requests.iter().map(|request| {
            let authorization = request.header("authorization").unwrap();
            let (_, rest) = authorization.split_once("Access=").unwrap();
            rest.split(',').next().unwrap().to_owned()
        });
        ids.collect()
    };
    server.push(Reply::status(401));
    server.push(no_images());
    client.image(&image()).await.unwrap();
    assert_eq!(used(), ["AKID0", "AKID1"]);

    server.push(Reply::status(401));
    server.push(Reply::status(401));
    let error = client.image(&image()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert_eq!(used(), ["AKID0", "AKID1", "AKID1", "AKID2"]);

    // A right that is missing is not given by another key.
    server.push(Reply::status(403));
    client.image(&image()).await.unwrap_err();
    assert_eq!(used().len(), 5);
    assert_eq!(server.unused(), 0);
}

#[tokio::test]
async fn a_wrong_clock_is_mended_by_the_servers_date() {
    let server = Server::start().await.unwrap();
    let server_time = || OffsetDateTime::now_utc() - time::Duration::hours(2);
    server.route(move |request| {
        let format = time::macros::format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        let date = server_time().format(format).unwrap();
        let reply = if verified(request, server_time()) {
            no_images()
        } else {
            Reply::json(401, r#"{"error_code":"APIGW.0301","error_msg":"clock"}"#)
        };
        Some(reply.header("Date", &date))
    });
    let client = signing(&server);
    client.image(&image()).await.unwrap();
    client.image(&image()).await.unwrap();
    assert_eq!(server.requests().len(), 3, "only the first one is refused");
}

#[tokio::test]
async fn a_wrong_signature_is_reported_with_the_servers_canonical_request() {
    let server = Server::start().await.unwrap();
    server.push(Reply::json(
        401,
        r#"{"error_msg":"Incorrect IAM authentication information: verify aksk signature fail,canonicalRequest:GET|/v2/cloudimages/|id=x|host:h||host|e3b0","error_code":"APIGW.0301","request_id":"r-9"}"#,
    ).header("X-Request-Id", "r-9"));
    let error = signing(&server).image(&image()).await.unwrap_err();
    assert_eq!(
        server.requests().len(),
        1,
        "the same key gives the same signature"
    );
    assert_eq!(error.code(), Some("APIGW.0301"));
    assert_eq!(error.request_id(), Some("r-9"));
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("GET\n/v2/cloudimages/\nid=x\nhost:h\n\nhost\ne3b0"),
        "{hint}"
    );
}

#[tokio::test]
async fn the_project_is_looked_up_once_by_the_regions_name() {
    let server = Server::start().await.unwrap();
    server.push(Reply::json(200, &json!({"links": {}, "projects": [
        {"id": PROJECT, "name": "eu-west-0", "domain_id": "d", "enabled": true, "is_domain": false}
    ]}).to_string()));
    server.push(no_images());
    server.push(no_images());
    let client = Client::new(options(&server, Credentials::AccessKey(access_key()))).unwrap();
    client.image(&image()).await.unwrap();
    client.image(&image()).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests[0].target, "/v3/projects?name=eu-west-0");
    assert_eq!(requests[0].header("x-project-id"), None);
    assert!(verified(&requests[0], OffsetDateTime::now_utc()));
    assert_eq!(requests[2].header("x-project-id"), Some(PROJECT));
    assert_eq!(requests.len(), 3);
}

#[tokio::test]
async fn no_project_and_several_projects_are_errors_that_say_what_to_do() {
    let project = |id: &str, name: &str| json!({"id": id, "name": name});
    for (projects, found, hint) in [
        (json!([]), "no project is named \"eu-west-0\"", "region"),
        (
            json!([project("x", "eu-west-0_sub")]),
            "no project is named",
            "HW_PROJECT_ID",
        ),
        (
            json!([project("p1", "eu-west-0"), project("p2", "eu-west-0")]),
            "2 projects are named",
            "p1, p2",
        ),
        (
            json!([project("../../v3", "eu-west-0")]),
            "no project is named",
            "HW_PROJECT_ID",
        ),
        (json!("odd"), "no project is named", "HW_PROJECT_ID"),
    ] {
        let server = Server::start().await.unwrap();
        server.push(Reply::json(200, &json!({"projects": projects}).to_string()));
        let credentials = Credentials::Token("mine".into());
        let client = Client::new(options(&server, credentials)).unwrap();
        let error = client.project_id().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(found), "{error}");
        assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
    }
    let server = Server::start().await.unwrap();
    let mut options = options(&server, password());
    options.project_id = Some("a/b".into());
    assert_eq!(Client::new(options).unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn temporary_keys_come_from_the_token_and_given_keys_are_passed_on() {
    let server = Server::start().await.unwrap();
    server.push(fresh_token("t1"));
    server.push(Reply::json(201, r#"{"credential":{"access":"TAK","secret":"TSK","securitytoken":"TST","expires_at":"2026-11-22T01:30:00.000000Z"}}"#));
    server.push(Reply::json(201, "{}"));
    let client = with_password(&server);
    let key = client.access_key(1).await.unwrap();
    assert_eq!(key.id, "TAK");
    assert_eq!(key.secret.expose_secret(), "TSK");
    assert_eq!(key.session_token.unwrap().expose_secret(), "TST");
    let request = &server.requests()[1];
    assert_eq!(request.target, "/v3.0/OS-CREDENTIAL/securitytokens");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(
        body,
        json!({"auth": {"identity": {"methods": ["token"], "token": {"duration_seconds": 900}}}})
    );
    let error = client.access_key(900).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadAnswer);

    let requests = server.requests().len();
    assert_eq!(
        signing(&server).access_key(900).await.unwrap().id,
        "AKIDEXAMPLE"
    );
    assert_eq!(server.requests().len(), requests);
}

#[tokio::test]
async fn addresses_with_credentials_are_refused_without_showing_them() {
    let server = Server::start().await.unwrap();
    let mut options = options(&server, password());
    options.endpoints.iam = "https://user:hunter2@iam.example.com".parse().unwrap();
    let error = Client::new(options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}
