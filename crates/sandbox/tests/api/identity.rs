//! Who asks: tokens, signatures, temporary keys, and what a client is told of itself.

use std::time::Duration;

use net::http::{Method, Request};
use net::secret::{AccessKey, ExposeSecret as _};
use serde_json::json;
use time::OffsetDateTime;

use crate::cloud::{Cloud, answer};

#[tokio::test]
async fn tokens_are_for_the_right_password_and_last_a_day() {
    let cloud = Cloud::start().await;
    let login = cloud.login_body();
    let answer = cloud.post_plain("v3/auth/tokens", login.to_string()).await;
    let (_, body) = self::answer(answer).await;
    assert_eq!(body["token"]["project"]["id"], cloud.sandbox.project_id());
    let parse = |name: &str| {
        let text = body["token"][name].as_str().unwrap();
        let format = time::format_description::well_known::Rfc3339;
        OffsetDateTime::parse(text, &format).unwrap()
    };
    assert_eq!((parse("expires_at") - parse("issued_at")).whole_hours(), 24);

    for (field, value) in [
        ("/auth/identity/password/user/password", "wrong"),
        ("/auth/identity/password/user/name", "nobody"),
        ("/auth/identity/password/user/domain/name", "elsewhere"),
        ("/auth/scope/project/name", "elsewhere-1"),
    ] {
        let mut wrong = login.clone();
        *wrong.pointer_mut(field).unwrap() = value.into();
        let refused = cloud.post_plain("v3/auth/tokens", wrong.to_string()).await;
        let (status, body) = self::answer(refused).await;
        assert_eq!(status, 401, "{field}");
        assert_eq!(body["error"]["code"], 401);
        assert_eq!(body["error"]["title"], "Unauthorized");
    }
    let refused = cloud.post_plain("v3/auth/tokens", "{".to_owned()).await;
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn tokens_end_and_unknown_ones_are_refused() {
    let cloud = Cloud::start_with(|options| options.token_lifetime = Duration::ZERO).await;
    for token in [cloud.token.as_str(), "unknown", ""] {
        let path = "v3/projects";
        let (status, body) = cloud.send(Method::GET, path, token, String::new()).await;
        assert_eq!(status, 401);
        assert_eq!(body["error_code"], "APIGW.0301");
        assert!(
            body["error_msg"]
                .as_str()
                .unwrap()
                .contains("decrypt token fail")
        );
        assert_eq!(body["request_id"].as_str().unwrap().len(), 32);
    }
}

#[tokio::test]
async fn a_token_without_a_project_cannot_import() {
    let cloud = Cloud::start().await;
    let mut login = cloud.login_body();
    login["auth"].as_object_mut().unwrap().remove("scope");
    let answer = cloud.post_plain("v3/auth/tokens", login.to_string()).await;
    let token = answer.headers()["x-subject-token"].to_str().unwrap();
    let get = |path: &'static str| cloud.send(Method::GET, path, token, String::new());
    assert_eq!(get("v3/projects").await.0, 200);
    let (status, body) = get("v2/cloudimages").await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("IMG.0030")));
}

#[tokio::test]
async fn the_project_is_found_by_the_name_of_its_region() {
    let cloud = Cloud::start().await;
    let (_, found) = cloud.get("v3/projects?name=sandbox-1").await;
    assert_eq!(found["projects"][0]["id"], cloud.sandbox.project_id());
    assert_eq!(found["projects"].as_array().unwrap().len(), 1);
    let (_, none) = cloud.get("v3/projects?name=elsewhere").await;
    assert_eq!(none["projects"], json!([]));
    let (_, domains) = cloud.get("v3/auth/domains").await;
    assert_eq!(domains["domains"][0]["name"], cloud.sandbox.domain());
}

#[tokio::test]
async fn signatures_are_checked() {
    let cloud = Cloud::start().await;
    let key = cloud.sandbox.access_key().clone();
    let path = "v3/projects?name=sandbox-1";
    let (status, body) = cloud.signed(&key, path, |_| {}).await;
    assert_eq!(status, 200, "{body}");

    let wrong = AccessKey {
        secret: "wrong".into(),
        ..key.clone()
    };
    let unknown = AccessKey {
        id: "NOBODY".to_owned(),
        ..key.clone()
    };
    let session = AccessKey {
        session_token: Some("made-up".into()),
        ..key.clone()
    };
    for (key, expected) in [
        (
            &wrong,
            "verify aksk signature fail,canonicalRequest:GET|/v3/projects/|name=sandbox-1|host:",
        ),
        (&unknown, "Get secretKey failed"),
        (&session, "verify security token fail"),
    ] {
        let (status, body) = cloud.signed(key, path, |_| {}).await;
        assert_eq!(status, 401);
        assert_eq!(body["error_code"], "APIGW.0301");
        let message = body["error_msg"].as_str().unwrap();
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains(key.secret.expose_secret()));
    }
    let tampered = |request: &mut Request| request.url.set_query(Some("name=other"));
    assert_eq!(cloud.signed(&key, path, tampered).await.0, 401);
    let tampered = |request: &mut Request| request.body = "{}".into();
    assert_eq!(cloud.signed(&key, path, tampered).await.0, 401);
    let foreign = |request: &mut Request| {
        let project = "0".repeat(32).parse().unwrap();
        request.headers.insert("x-project-id", project);
    };
    assert_eq!(cloud.signed(&key, path, foreign).await.0, 401);
    let unsigned = |request: &mut Request| request.headers.clear();
    let (status, body) = cloud.signed(&key, path, unsigned).await;
    assert_eq!((status, &body["error_code"]), (401, &json!("APIGW.0301")));
}

#[tokio::test]
async fn temporary_keys_work_only_with_their_session_token() {
    let cloud = Cloud::start().await;
    let ask = |seconds: u64| {
        json!({"auth": {"identity": {
            "methods": ["token"],
            "token": {"duration_seconds": seconds},
        }}})
    };
    let path = "v3.0/OS-CREDENTIAL/securitytokens";
    let send = |seconds| cloud.send(Method::POST, path, &cloud.token, ask(seconds).to_string());
    let (status, body) = send(900).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(send(899).await.0, 400);
    let text = |name: &str| body["credential"][name].as_str().unwrap().to_owned();
    let key = AccessKey {
        id: text("access"),
        secret: text("secret").into(),
        session_token: Some(text("securitytoken").into()),
    };
    assert_eq!(cloud.signed(&key, "v3/projects", |_| {}).await.0, 200);
    assert!(cloud.head_bucket(&key).await);
    let alone = AccessKey {
        session_token: None,
        ..key
    };
    assert_eq!(cloud.signed(&alone, "v3/projects", |_| {}).await.0, 401);
    assert!(!cloud.head_bucket(&alone).await);
}

#[tokio::test]
async fn the_environment_holds_what_a_client_needs() {
    let cloud = Cloud::start().await;
    let names: Vec<_> = cloud
        .sandbox
        .environment()
        .into_iter()
        .map(|(name, value)| {
            assert!(!value.is_empty());
            name
        })
        .collect();
    assert_eq!(
        names,
        [
            "HW_ACCESS_KEY",
            "HW_SECRET_KEY",
            "HW_REGION_NAME",
            "HW_PROJECT_ID",
            "IMGFERRY_OBS_ENDPOINT",
            "IMGFERRY_IAM_ENDPOINT",
            "IMGFERRY_IMS_ENDPOINT",
        ]
    );
}
