//! Signatures against vectors made with the SDKs for Python and Go, and the two sides against each
//! other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

use std::path::Path;

use net::clock::parse_sdk_date;
use net::http::{HeaderMap, HeaderName, Method, Request, Url};
use net::secret::{AccessKey, SecretString};
use net::sign::{Parts, SignatureError, encode_query, sign, signature, verify};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

struct Vector {
    json: Value,
    headers: HeaderMap,
    key: AccessKey,
    query: String,
}

impl Vector {
    fn text(&self, field: &str) -> &str {
        self.json[field].as_str().unwrap()
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            method: self.text("method"),
            path: self.text("path"),
            query: &self.query,
            headers: &self.headers,
            body: self.text("body").as_bytes(),
        }
    }

    fn time(&self) -> OffsetDateTime {
        parse_sdk_date(self.text("date")).unwrap()
    }
}

fn vectors() -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/sign/sign-vectors.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let vectors: Vec<Vector> = all["sdk_hmac_sha256"]
        .as_array()
        .unwrap()
        .iter()
        .map(|json| {
            let mut headers = HeaderMap::new();
            for (name, value) in json["headers_to_sign"].as_object().unwrap() {
                let name: HeaderName = name.parse().unwrap();
                headers.insert(name, value.as_str().unwrap().parse().unwrap());
            }
            let pairs: Vec<(&str, &str)> = json["query"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
                .collect();
            Vector {
                headers,
                key: AccessKey {
                    id: json["access_key"].as_str().unwrap().to_owned(),
                    secret: json["secret_key"].as_str().unwrap().into(),
                    session_token: None,
                },
                query: encode_query(&pairs),
                json: json.clone(),
            }
        })
        .collect();
    assert_eq!(vectors.len(), 13);
    vectors
}

#[test]
fn every_field_of_every_vector_is_reproduced() {
    for vector in vectors() {
        let name = vector.text("name").to_owned();
        let names: Vec<&str> = vector.headers.keys().map(HeaderName::as_str).collect();
        let made = signature(&vector.parts(), &names, &vector.key, vector.text("date"));
        assert_eq!(
            made.canonical_request,
            vector.text("canonical_request"),
            "{name}"
        );
        assert_eq!(made.string_to_sign, vector.text("string_to_sign"), "{name}");
        assert_eq!(made.signed_headers, vector.text("signed_headers"), "{name}");
        assert_eq!(made.signature, vector.text("signature"), "{name}");
        assert_eq!(made.authorization, vector.text("authorization"), "{name}");
    }
}

/// A request as a client would build it: everything but what signing itself adds.
fn request(vector: &Vector) -> Request {
    let mut url = Url::parse(&format!(
        "https://{}{}",
        vector.text("host"),
        vector.text("path")
    ))
    .unwrap();
    if !vector.query.is_empty() {
        url.set_query(Some(&vector.query));
    }
    let mut request = Request::new(
        Method::from_bytes(vector.text("method").as_bytes()).unwrap(),
        url,
    );
    request.body = vector.text("body").to_owned().into();
    for (name, value) in &vector.headers {
        if ![
            "host",
            "x-sdk-date",
            "x-security-token",
            "x-sdk-content-sha256",
        ]
        .contains(&name.as_str())
        {
            request.headers.insert(name, value.clone());
        }
    }
    request
}

#[test]
fn signing_a_request_adds_what_the_sdks_add_and_sends_what_was_signed() {
    for mut vector in vectors() {
        let name = vector.text("name").to_owned();
        if name.starts_with("go_sdk") {
            // These sign no Host; a request of ours always does.
            continue;
        }
        if let Some(token) = vector.headers.get("x-security-token") {
            vector.key.session_token = Some(token.to_str().unwrap().into());
        }
        let mut request = request(&vector);
        sign(&mut request, &vector.key, vector.time()).unwrap();
        assert_eq!(
            request.headers["authorization"],
            vector.text("authorization"),
            "{name}"
        );
        let mut target = request.url.path().to_owned();
        if let Some(query) = request.url.query() {
            target.push('?');
            target.push_str(query);
        }
        assert_eq!(target, vector.text("request_uri"), "{name}");
    }
}

#[test]
fn signing_again_replaces_date_and_signature() {
    let vector = &vectors()[0];
    let mut request = request(vector);
    let first = sign(&mut request, &vector.key, vector.time()).unwrap();
    let later = vector.time() + Duration::seconds(5);
    let second = sign(&mut request, &vector.key, later).unwrap();
    assert_ne!(first.signature, second.signature);
    assert_eq!(request.headers["x-sdk-date"], "20261122T013005Z");
    assert_eq!(request.headers.get_all("authorization").iter().count(), 1);
    sign(&mut request, &vector.key, vector.time()).unwrap();
    assert_eq!(
        request.headers["authorization"],
        vector.text("authorization"),
        "the former signature is no part of the next one"
    );
}

#[test]
fn queries_and_headers_with_odd_characters_are_signed_as_they_are_sent() {
    let key = key();
    let url =
        Url::parse("http://127.0.0.1:8443/v2/cloudimages?name=a%20b%2Bc&id=%c3%a9&x").unwrap();
    let mut request = Request::new(Method::GET, url);
    sign(&mut request, &key, now()).unwrap();
    assert_eq!(request.url.query(), Some("id=%C3%A9&name=a%20b%2Bc&x="));
    assert_eq!(request.headers["host"], "127.0.0.1:8443");
    assert_eq!(check(&request, now()), Ok("AK1".into()));
}

#[test]
fn a_key_that_no_header_can_carry_is_an_error_without_the_secret() {
    let mut bad = key();
    bad.session_token = Some("line\nbreak-s3cr3t".into());
    let mut request = Request::new(Method::GET, Url::parse("https://h/").unwrap());
    let error = sign(&mut request, &bad, now()).unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("s3cr3t"),
        "{error:?}"
    );
    assert!(error.to_string().contains("security token"), "{error}");
}

fn key() -> AccessKey {
    AccessKey {
        id: "AK1".into(),
        secret: "the-secret".into(),
        session_token: None,
    }
}

fn now() -> OffsetDateTime {
    parse_sdk_date("20261122T013000Z").unwrap()
}

fn signed_post() -> Request {
    let url = Url::parse("https://ims.example.com/v2/x?b=2&a=1").unwrap();
    let mut request = Request::new(Method::POST, url).with_json(r#"{"a":1}"#);
    request
        .headers
        .insert("x-project-id", "p1".parse().unwrap());
    sign(&mut request, &key(), now()).unwrap();
    request
}

fn check(request: &Request, now: OffsetDateTime) -> Result<String, SignatureError> {
    let parts = Parts {
        method: request.method.as_str(),
        path: request.url.path(),
        query: request.url.query().unwrap_or_default(),
        headers: &request.headers,
        body: &request.body,
    };
    let lookup = |id: &str| (id == "AK1").then(|| SecretString::from("the-secret"));
    verify(&parts, lookup, now)
}

#[test]
fn the_server_side_accepts_every_vector() {
    for mut vector in vectors() {
        let authorization = vector.text("authorization").parse().unwrap();
        vector.headers.insert("authorization", authorization);
        // Added on the way, not signed.
        vector
            .headers
            .insert("accept-encoding", "gzip".parse().unwrap());
        let secret = vector.key.secret.clone();
        let id = verify(&vector.parts(), |_| Some(secret.clone()), vector.time());
        assert_eq!(id.as_deref(), Ok(vector.text("access_key")));
    }
}

#[test]
fn a_changed_request_does_not_verify() {
    let mismatch = |change: &dyn Fn(&mut Request)| {
        let mut request = signed_post();
        change(&mut request);
        let result = check(&request, now());
        assert!(
            matches!(result, Err(SignatureError::Mismatch { .. })),
            "{result:?}"
        );
    };
    mismatch(&|r| r.body = r#"{"a":2}"#.into());
    mismatch(&|r| r.method = Method::PUT);
    mismatch(&|r| r.url.set_path("/v2/y"));
    mismatch(&|r| r.url.set_query(Some("a=1&b=3")));
    mismatch(&|r| {
        r.headers.insert("x-project-id", "p2".parse().unwrap());
    });
    mismatch(&|r| {
        r.headers.append("x-project-id", "p2".parse().unwrap());
    });
    mismatch(&|r| {
        r.headers
            .insert("x-sdk-date", "20261122T013100Z".parse().unwrap());
    });
    mismatch(&|r| {
        // Leaving the body out must be signed to count.
        r.headers
            .insert("x-sdk-content-sha256", "UNSIGNED-PAYLOAD".parse().unwrap());
        r.body = "other".into();
    });
    assert_eq!(check(&signed_post(), now()), Ok("AK1".into()));
}

#[test]
fn a_shortened_signature_does_not_verify() {
    let mut request = signed_post();
    let header = request.headers["authorization"]
        .to_str()
        .unwrap()
        .to_owned();
    for keep in [header.len() - 2, header.len() - 62] {
        request
            .headers
            .insert("authorization", header[..keep].parse().unwrap());
        let result = check(&request, now());
        assert!(
            matches!(result, Err(SignatureError::Mismatch { .. })),
            "{result:?}"
        );
    }
}

#[test]
fn requests_signed_more_than_15_minutes_away_are_refused() {
    let request = signed_post();
    for minutes in [-15, 0, 15] {
        assert!(check(&request, now() + Duration::minutes(minutes)).is_ok());
    }
    for seconds in [-901, 901] {
        let result = check(&request, now() + Duration::seconds(seconds));
        assert_eq!(result, Err(SignatureError::Skew(901)));
    }
}

#[test]
fn what_is_wrong_with_a_signature_is_named() {
    let with = |name: &'static str, value: Option<&str>| {
        let mut request = signed_post();
        match value {
            Some(value) => drop(request.headers.insert(name, value.parse().unwrap())),
            None => drop(request.headers.remove(name)),
        }
        check(&request, now()).unwrap_err()
    };
    assert_eq!(with("authorization", None), SignatureError::Missing);
    assert_eq!(
        with("authorization", Some("Basic YTpi")),
        SignatureError::Malformed("algorithm SDK-HMAC-SHA256")
    );
    assert_eq!(
        with(
            "authorization",
            Some("SDK-HMAC-SHA256 Access=AK1, Signature=00")
        ),
        SignatureError::Malformed("SignedHeaders")
    );
    assert_eq!(
        with(
            "authorization",
            Some("SDK-HMAC-SHA256 Access=AK1, SignedHeaders=host, Signature=00")
        ),
        SignatureError::Date,
        "an unsigned date could be replayed forever"
    );
    assert_eq!(
        with(
            "authorization",
            Some("SDK-HMAC-SHA256 Access=AK2, SignedHeaders=x-sdk-date, Signature=00")
        ),
        SignatureError::UnknownKey("AK2".into())
    );
    assert_eq!(
        with(
            "authorization",
            Some("SDK-HMAC-SHA256 Access=AK1, SignedHeaders=x-sdk-date, Signature=zz")
        ),
        SignatureError::Malformed("hexadecimal Signature")
    );
    assert_eq!(
        with("x-project-id", None),
        SignatureError::HeaderMissing("x-project-id".into())
    );
    assert_eq!(with("x-sdk-date", Some("today")), SignatureError::Date);
}

proptest::proptest! {
    #[test]
    fn verifying_never_panics_on_any_header(header in "(SDK-HMAC-SHA256 )?[ -~]{0,80}", date in "[ -~]{0,20}") {
        let mut request = signed_post();
        request.headers.insert("authorization", header.parse().unwrap());
        request.headers.insert("x-sdk-date", date.parse().unwrap());
        proptest::prop_assert!(check(&request, now()).is_err());
    }

    #[test]
    fn what_we_sign_verifies(
        path in "(/[a-zA-Z0-9._~ é%-]{1,8}){1,4}",
        pairs in proptest::collection::vec(("\\PC{1,6}", "\\PC{0,6}"), 0..4),
        body in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
    ) {
        let mut url = Url::parse("https://h.example").unwrap();
        url.set_path(&path.replace('%', "%25"));
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        if !pairs.is_empty() {
            url.set_query(Some(&encode_query(&pairs)));
        }
        let mut request = Request::new(Method::PUT, url);
        request.body = body.into();
        sign(&mut request, &key(), now()).unwrap();
        proptest::prop_assert_eq!(check(&request, now()), Ok("AK1".to_owned()));
    }
}
