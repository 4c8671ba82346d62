//! A client, and the answers of a cloud that behaves.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it, and none exports it"
)]

use std::time::Duration;

use ims::{Client, ClientOptions, Credentials, Endpoints, ImageUrl, QuickImport};
use net::retry::Policy;
use net::secret::AccessKey;
use testkit::http::{Recorded, Reply, Server};

pub const PROJECT: &str = "0605768a3300d5762f2ac0186c5e1234";
pub const JOB: &str = "8a12fc664fb4daa3014fb4e581380005";
pub const IMAGE: &str = "e9e91bff-14b6-4a0b-8377-4ed0813e3360";
pub const PASSWORD: &str = "correct-horse-battery";
pub const SECRET_KEY: &str = "wJalrXUtnFEMIK7MDENG-secret";
pub const SESSION_TOKEN: &str = "session-token-gQpjbi1ub3J0aC0";

pub fn options(server: &Server, credentials: Credentials) -> ClientOptions {
    let url: url::Url = server.url().parse().unwrap();
    let mut options = ClientOptions::new(
        Endpoints {
            iam: url.clone(),
            ims: url,
        },
        "eu-west-0",
        credentials,
    );
    options.http.request_timeout = Duration::from_secs(1);
    options.flow_control_rounds = 0;
    options.policy = Policy {
        max_attempts: 3,
        base_delay: Duration::from_millis(2),
        max_delay: Duration::from_millis(5),
        budget: Duration::from_secs(20),
    };
    options
}

pub fn password() -> Credentials {
    Credentials::Password {
        user: "alice".into(),
        password: PASSWORD.into(),
        domain: "acme".into(),
    }
}

pub fn access_key() -> AccessKey {
    AccessKey {
        id: "AKIDEXAMPLE".into(),
        secret: SECRET_KEY.into(),
        session_token: None,
    }
}

/// A client that signs, for a given project: nothing but the call itself is sent.
pub fn signing(server: &Server) -> Client {
    let mut options = options(server, Credentials::AccessKey(access_key()));
    options.project_id = Some(PROJECT.into());
    Client::new(options).unwrap()
}

pub fn with_password(server: &Server) -> Client {
    Client::new(options(server, password())).unwrap()
}

/// An answer to signing in; lifetimes are relative to now, in minutes.
pub fn token(value: &str, issued: i64, expires: i64) -> Reply {
    let time = |minutes: i64| {
        let time = time::OffsetDateTime::now_utc() + time::Duration::minutes(minutes);
        let text = time
            .format(&time::format_description::well_known::Rfc3339)
            .unwrap();
        assert!(text.ends_with('Z'));
        text
    };
    let body = serde_json::json!({"token": {
        "issued_at": time(issued),
        "expires_at": time(expires),
        "methods": ["password"],
        "project": {"id": PROJECT, "name": "eu-west-0", "domain": {"id": "d", "name": "acme"}},
        "roles": [], "user": {"name": "alice"},
    }});
    Reply::json(201, &body.to_string()).header("X-Subject-Token", value)
}

/// A token that has its whole day before it.
pub fn fresh_token(value: &str) -> Reply {
    token(value, 0, 24 * 60)
}

pub fn is_sign_in(request: &Recorded) -> bool {
    request.method == "POST" && request.path() == "/v3/auth/tokens"
}

pub fn started() -> Reply {
    Reply::json(200, &format!(r#"{{"job_id": "{JOB}"}}"#))
}

pub fn no_images() -> Reply {
    Reply::json(200, r#"{"images": []}"#)
}

pub fn import() -> QuickImport {
    let url = ImageUrl {
        bucket: "ims-image".into(),
        key: "centos70.zvhd2".into(),
    };
    QuickImport {
        os_version: Some("CentOS 7.0 64bit".into()),
        ..QuickImport::new("ims_test_file", url, 40)
    }
}
