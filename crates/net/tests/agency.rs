//! Keys of an agency, from a metadata service as the documents describe it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use net::agency::Agency;
use net::credentials::{KeySource as _, Keys};
use net::secret::ExposeSecret as _;
use testkit::http::{Reply, Server};

const SECRET: &str = "agency-secret-wJalrXUtnFEMI";
const TOKEN: &str = "agency-session-gQpjbi1ub3J0";

fn credential(id: &str, minutes: i64) -> Reply {
    let end = time::OffsetDateTime::now_utc() + time::Duration::minutes(minutes);
    let end = end
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    let body = serde_json::json!({"credential": {
        "access": id, "secret": SECRET, "securitytoken": TOKEN, "expires_at": end,
    }});
    Reply::json(200, &body.to_string())
}

fn agency(server: &Server) -> Agency {
    Agency::new(server.url().parse().unwrap(), false).unwrap()
}

#[tokio::test]
async fn the_keys_are_read_from_the_documented_path_and_kept_while_they_last() {
    let server = Server::start().await.unwrap();
    server.push(credential("K0", 60));
    let keys = Keys::renewed(agency(&server));
    for _ in 0..3 {
        let key = keys.current().await.unwrap();
        assert_eq!(key.id, "K0");
        assert_eq!(key.secret.expose_secret(), SECRET);
        assert_eq!(key.session_token.unwrap().expose_secret(), TOKEN);
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].method, "GET");
    assert_eq!(requests[0].path(), "/openstack/latest/securitykey");
}

#[tokio::test]
async fn keys_that_are_about_to_end_are_read_again() {
    let server = Server::start().await.unwrap();
    server.push(credential("K0", 0));
    server.push(credential("K1", 60));
    let keys = Keys::renewed(agency(&server));
    assert_eq!(keys.current().await.unwrap().id, "K0");
    assert_eq!(keys.current().await.unwrap().id, "K1");
    assert_eq!(keys.current().await.unwrap().id, "K1");
}

#[tokio::test]
async fn a_service_that_wants_a_token_first_gets_one() {
    let server = Server::start().await.unwrap();
    server.route(|request| {
        Some(match (request.method.as_str(), request.path()) {
            ("PUT", "/meta-data/latest/api/token") => {
                assert!(request.header("x-metadata-token-ttl-seconds").is_some());
                Reply::text(200, "meta-token\n")
            }
            ("GET", "/openstack/latest/securitykey") => match request.header("x-metadata-token") {
                Some("meta-token") => credential("K0", 60),
                _ => Reply::text(401, "Unauthorized"),
            },
            _ => Reply::text(404, ""),
        })
    });
    let lease = agency(&server).fetch().await.unwrap();
    assert_eq!(lease.key.id, "K0");
}

#[tokio::test]
async fn a_server_without_an_agency_is_told_so_with_what_to_do() {
    let server = Server::start().await.unwrap();
    server.route(|request| {
        Some(match request.method.as_str() {
            "PUT" => Reply::text(404, "Not Found"),
            _ => Reply::text(401, "Please configure Cloud Service Agency first\u{1b}[31m"),
        })
    });
    let error = agency(&server).fetch().await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("HTTP 401") && text.contains("Agency first"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert!(error.hint().unwrap().contains("agency"));
}

#[tokio::test]
async fn a_busy_service_is_asked_again_and_nonsense_is_an_error_without_secrets() {
    let server = Server::start().await.unwrap();
    server.push(Reply::text(503, "busy"));
    server.push(credential("K0", 60));
    assert_eq!(agency(&server).fetch().await.unwrap().key.id, "K0");
    let half = serde_json::json!({"credential": {"secret": SECRET}}).to_string();
    for body in ["", "[]", "{}", "<html>", half.as_str()] {
        server.push(Reply::json(200, body));
        let error = agency(&server).fetch().await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(SECRET), "{body}");
    }
}

#[tokio::test]
async fn keys_are_not_fetched_over_plain_http_from_another_network() {
    let far = Agency::new("http://10.1.2.3/".parse().unwrap(), false).unwrap();
    let error = far.fetch().await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("without TLS"), "{cause}");
}
