//! An S3 server in memory, on a real socket, whose answers a test can replace.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use md5::{Digest, Md5};
use net::retry::Policy;
use net::secret::AccessKey;
use obs::parts::{Schedule, Tier};
use obs::{Client, Config, Layout, UploadOptions};
use testkit::http::{Recorded, Reply, Server};

/// Small parts, so that tests send kilobytes: 1000, 2000 and 5000 bytes.
pub(super) const TINY: Schedule = Schedule::new(&[
    Tier {
        parts: 3,
        size: 1000,
    },
    Tier {
        parts: 3,
        size: 2000,
    },
    Tier {
        parts: 10,
        size: 5000,
    },
]);

/// Parts on a page of a listing.
pub(super) const LIST_PAGE: usize = 2;

pub(super) const SECRET: &str = "s3cr3t-key-material";
pub(super) const TOKEN: &str = "t0ken-material";

#[derive(Default)]
pub(super) struct Store {
    /// Parts by upload id and number.
    pub(super) uploads: HashMap<String, BTreeMap<u32, Vec<u8>>>,
    /// Content and ETag by path.
    pub(super) objects: HashMap<String, (Vec<u8>, String)>,
    created: u32,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Create,
    Part(u32),
    Complete,
    Abort,
    Head,
    List,
}

impl Op {
    pub(super) fn of(request: &Recorded) -> Self {
        match request.method.as_str() {
            "HEAD" => Self::Head,
            "GET" => Self::List,
            "DELETE" => Self::Abort,
            "PUT" => Self::Part(param(request, "partNumber").parse().unwrap()),
            _ if request.target.contains("uploadId=") => Self::Complete,
            _ => Self::Create,
        }
    }
}

fn param<'a>(request: &'a Recorded, name: &str) -> &'a str {
    let (_, query) = request.target.split_once('?').unwrap();
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        .unwrap()
}

pub(super) fn md5(bytes: &[u8]) -> Vec<u8> {
    Md5::digest(bytes).to_vec()
}

impl Store {
    /// Does what the request asks for, and answers.
    pub(super) fn handle(&mut self, request: &Recorded) -> Reply {
        let path = request.path().to_owned();
        match Op::of(request) {
            Op::Create => {
                self.created += 1;
                let id = format!("upload-{}", self.created);
                self.uploads.insert(id.clone(), BTreeMap::new());
                xml(format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ))
            }
            Op::Part(number) => {
                let Some(parts) = self.uploads.get_mut(param(request, "uploadId")) else {
                    return error(404, "NoSuchUpload");
                };
                parts.insert(number, request.body.clone());
                let etag = hex::encode(md5(&request.body));
                Reply::status(200).header("ETag", &format!("\"{etag}\""))
            }
            Op::Complete => {
                let Some(parts) = self.uploads.remove(param(request, "uploadId")) else {
                    return error(404, "NoSuchUpload");
                };
                let list = request.text();
                let numbers: Vec<u32> = list
                    .split("<PartNumber>")
                    .skip(1)
                    .map(|rest| rest.split('<').next().unwrap().parse().unwrap())
                    .collect();
                assert!(numbers.is_sorted(), "{numbers:?}");
                let listed = numbers.iter().map(|number| parts.get(number).unwrap());
                let content = listed.clone().flatten().copied().collect();
                let md5s: Vec<u8> = listed.flat_map(|part| md5(part)).collect();
                let etag = format!("{}-{}", hex::encode(md5(&md5s)), numbers.len());
                self.objects.insert(path, (content, etag.clone()));
                xml(format!(
                    "<CompleteMultipartUploadResult><ETag>\"{etag}\"</ETag></CompleteMultipartUploadResult>"
                ))
            }
            Op::Abort => match self.uploads.remove(param(request, "uploadId")) {
                Some(_) => Reply::status(204),
                None => error(404, "NoSuchUpload"),
            },
            Op::List => {
                let Some(parts) = self.uploads.get(param(request, "uploadId")) else {
                    return error(404, "NoSuchUpload");
                };
                let marker = match request.target.contains("part-number-marker=") {
                    true => param(request, "part-number-marker").parse().unwrap(),
                    false => 0,
                };
                let rest: Vec<_> = parts.range(marker + 1..).collect();
                let page = &rest[..rest.len().min(LIST_PAGE)];
                let listed: String = page
                    .iter()
                    .map(|(number, body)| {
                        format!(
                            "<Part><PartNumber>{number}</PartNumber><ETag>\"{}\"</ETag><Size>{}</Size></Part>",
                            hex::encode(md5(body)),
                            body.len()
                        )
                    })
                    .collect();
                xml(format!(
                    "<ListPartsResult><IsTruncated>{}</IsTruncated>{listed}</ListPartsResult>",
                    page.len() < rest.len()
                ))
            }
            Op::Head => match self.objects.get(&path) {
                // The server sets Content-Length from the body, which the client does not read.
                Some((content, etag)) => {
                    Reply::text(200, &"x".repeat(content.len())).header("ETag", etag)
                }
                None => Reply::status(404),
            },
        }
    }
}

pub(super) fn xml(text: String) -> Reply {
    Reply::text(200, &text).header("Content-Type", "application/xml")
}

pub(super) fn error(status: u16, code: &str) -> Reply {
    Reply::text(
        status,
        &format!("<Error><Code>{code}</Code><Message>as scripted.</Message></Error>"),
    )
    .header("x-amz-request-id", "REQ-1")
}

/// The server, its store, and a client for it.
pub(super) struct Fake {
    pub(super) server: Server,
    pub(super) store: Arc<Mutex<Store>>,
    pub(super) client: Client,
}

impl Fake {
    /// A server that does everything right.
    pub(super) async fn start() -> Self {
        Self::with(|store, request| store.handle(request)).await
    }

    /// A server that answers as `answer` says.
    pub(super) async fn with(
        mut answer: impl FnMut(&mut Store, &Recorded) -> Reply + Send + 'static,
    ) -> Self {
        let server = Server::start().await.unwrap();
        let store = Arc::<Mutex<Store>>::default();
        server.route({
            let store = Arc::clone(&store);
            move |request| Some(answer(&mut store.lock().unwrap(), request))
        });
        let client = Client::new(config(&server.url())).unwrap();
        Self {
            server,
            store,
            client,
        }
    }

    /// How many requests of this kind arrived.
    pub(super) fn count(&self, wanted: impl Fn(Op) -> bool) -> usize {
        let requests = self.server.requests();
        requests.iter().filter(|r| wanted(Op::of(r))).count()
    }

    pub(super) fn object(&self, key: &str) -> Option<Vec<u8>> {
        let store = self.store.lock().unwrap();
        let (content, _) = store.objects.get(&format!("/bucket/{key}"))?;
        Some(content.clone())
    }

    pub(super) fn open_uploads(&self) -> usize {
        self.store.lock().unwrap().uploads.len()
    }
}

pub(super) fn config(endpoint: &str) -> Config {
    let key = AccessKey {
        id: "AKID".into(),
        secret: SECRET.into(),
        session_token: Some(TOKEN.into()),
    };
    Config {
        path_style: true,
        retry: Policy {
            max_attempts: 4,
            base_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(5),
            budget: Duration::from_secs(30),
        },
        ..Config::new(endpoint.parse().unwrap(), "region-1", key)
    }
}

pub(super) fn options(expected_max: u64) -> UploadOptions {
    UploadOptions {
        memory: 20_000,
        expected_max,
        max_in_flight: 3,
        layout: Layout::Stream(TINY),
        ..UploadOptions::default()
    }
}

/// Bytes that do not repeat with any part size.
pub(super) fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from(i % 251).unwrap() ^ u8::try_from(i / 251 % 256).unwrap())
        .collect()
}
