//! A trial of a storage: everything that an import needs of it, with a few bytes.

use std::collections::BTreeMap;

use aws_sdk_s3::primitives::ByteStream;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use md5::{Digest, Md5};
use net::retry::Policy;

use crate::classify::from_sdk;
use crate::client::Client;
use crate::confirmed::{Confirmed, Expected};
use crate::error::{Error, ErrorKind};
use crate::etag;
use crate::hashing::Hashes;
use crate::info::ObjectInfo;
use crate::multipart::{Target, Traffic};

/// What is stored.
const CONTENT: &[u8] = b"imgferry config check --write";

/// How a step ended.
#[derive(Clone, Debug)]
pub enum Found {
    /// As with S3 and OBS.
    AsExpected(String),
    /// Otherwise, with what that means for an import.
    Different(String),
    /// It failed.
    Failed(Error),
    /// An earlier step that it needs has failed.
    Skipped(&'static str),
}

/// One step of a trial.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was tried.
    pub name: &'static str,
    /// The outcome.
    pub found: Found,
}

impl Step {
    fn of(name: &'static str, result: Result<Found, Error>) -> Self {
        let found = result.unwrap_or_else(Found::Failed);
        Self { name, found }
    }
}

/// Names of the steps.
const UPLOAD: &str = "upload";
const PART_ETAGS: &str = "part ETags";
const CONTENT_MD5: &str = "Content-MD5";
const PART_LIST: &str = "part list";
const COMPLETE: &str = "complete";
const READ_BACK: &str = "read back";
const COPY: &str = "server copy";
const CLEAN_UP: &str = "clean-up";

/// A trial. Whatever happens, call [`Trial::clean_up`] at its end.
#[derive(Debug)]
pub struct Trial<'a> {
    client: &'a Client,
    bucket: &'a str,
    /// Used by this trial only: everything that it stores begins with it.
    key: String,
    uploads: Vec<(String, String)>,
}

impl<'a> Trial<'a> {
    /// A trial of `bucket` with objects whose keys begin with `key`, which must be used by nothing
    /// else. Sends nothing.
    #[must_use]
    pub fn new(client: &'a Client, bucket: &'a str, key: String) -> Self {
        Self {
            client,
            bucket,
            key,
            uploads: Vec::new(),
        }
    }

    /// Stores an object in one part, reads it back, and has another one made of it by the server. A
    /// step that fails does not end the trial if others can do without it.
    pub async fn run(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        let (target, mut parts) = match self.begin_and_send().await {
            Ok((target, part)) => {
                steps.push(Step::of(UPLOAD, Ok(Found::AsExpected(self.payload()))));
                steps.push(Step::of(PART_ETAGS, Ok(etags(&part))));
                (target, [part])
            }
            Err(error) => {
                steps.push(Step::of(UPLOAD, Err(error)));
                let rest = [
                    PART_ETAGS,
                    CONTENT_MD5,
                    PART_LIST,
                    COMPLETE,
                    READ_BACK,
                    COPY,
                ];
                steps.extend(rest.map(|name| Step::of(name, Ok(Found::Skipped(UPLOAD)))));
                return steps;
            }
        };
        steps.push(Step::of(CONTENT_MD5, self.damaged(&target).await));
        steps.push(Step::of(PART_LIST, self.listed(&target).await));
        let completed = self.complete(&target, &mut parts).await;
        let is_there = !matches!(completed, Err(_) | Ok(Found::Failed(_)));
        steps.push(Step::of(COMPLETE, completed));
        if is_there {
            steps.push(Step::of(READ_BACK, self.read_back().await));
            steps.push(Step::of(COPY, self.copied().await));
        } else {
            let rest = [READ_BACK, COPY];
            steps.extend(rest.map(|name| Step::of(name, Ok(Found::Skipped(COMPLETE)))));
        }
        steps
    }

    /// Removes everything that the trial has stored, also what it has no answer about.
    pub async fn clean_up(self) -> Step {
        let Self {
            client,
            bucket,
            key,
            mut uploads,
        } = self;
        // A request whose answer was lost may have begun one.
        if let Ok(listed) = client.list_uploads(bucket, Some(&key)).await {
            let ours = listed
                .into_iter()
                .filter(|upload| upload.key.starts_with(&key));
            uploads.extend(ours.map(|upload| (upload.key, upload.upload_id)));
        }
        let mut failed: Option<Error> = None;
        let mut note = |result: Result<(), Error>| {
            if let Err(error) = result {
                failed = Some(match failed.take() {
                    None => error,
                    Some(first) => first.with_note(error.to_string()),
                });
            }
        };
        for (key, id) in &uploads {
            note(client.abort_upload(bucket, key, id).await);
        }
        for key in [key.clone(), copy_of(&key)] {
            note(client.delete_object(bucket, &key).await);
        }
        let found = match failed {
            None => Found::AsExpected("nothing is left in the bucket".into()),
            Some(error) => Found::Failed(error.with_hint(format!(
                "delete what begins with {key} in bucket {bucket}, and see imgferry uploads list \
                 {bucket}"
            ))),
        };
        Step {
            name: CLEAN_UP,
            found,
        }
    }

    fn payload(&self) -> String {
        match self.client.signs_bodies() {
            true => "a part was accepted; over http its payload is signed".to_owned(),
            false => "a part was accepted with an unsigned payload".to_owned(),
        }
    }

    async fn begin(&mut self, key: String) -> Result<Target, Error> {
        let none = BTreeMap::new();
        let upload_id = self
            .client
            .create_upload(self.bucket, &key, "text/plain", &none)
            .await?;
        self.uploads.push((key.clone(), upload_id.clone()));
        Ok(Target {
            bucket: self.bucket.to_owned(),
            key,
            upload_id,
        })
    }

    async fn begin_and_send(&mut self) -> Result<(Target, Confirmed), Error> {
        let target = self.begin(self.key.clone()).await?;
        let hashes = Hashes {
            md5: Md5::digest(CONTENT).into(),
            sha256: None,
        };
        let body = Bytes::from_static(CONTENT);
        let part = self
            .client
            .upload_part(&target, 1, body, &hashes, &Traffic::default())
            .await?;
        Ok((target, part))
    }

    /// Sends a part with the MD5 of other bytes, which must be refused.
    async fn damaged(&self, target: &Target) -> Result<Found, Error> {
        let md5 = BASE64.encode(Md5::digest(b"other bytes"));
        let sent = self
            .client
            .call(&Policy::never(), "a damaged part", |_| async {
                let request = self.client.s3().upload_part();
                let request = request.bucket(&target.bucket).key(&target.key);
                let request = request.upload_id(&target.upload_id).part_number(2);
                let body = ByteStream::from_static(CONTENT);
                let request = request.content_md5(&md5).body(body);
                request.send().await.map_err(from_sdk)
            })
            .await;
        match sent {
            Ok(_) => Ok(Found::Different(
                "a part with a wrong Content-MD5 was accepted: damage in transit is detected only \
                 if ETags \
                 are MD5s"
                    .to_owned(),
            )),
            Err(error) if error.status() == Some(400) => {
                Ok(Found::AsExpected("a damaged part was refused".to_owned()))
            }
            Err(error) => Err(error.doing("sending a damaged part")),
        }
    }

    async fn listed(&self, target: &Target) -> Result<Found, Error> {
        let Target {
            bucket,
            key,
            upload_id,
        } = target;
        let size = u64::try_from(CONTENT.len()).unwrap_or(u64::MAX);
        match self.client.list_parts(bucket, key, upload_id).await {
            Ok(parts) => Ok(
                match parts
                    .iter()
                    .any(|part| part.number == 1 && part.size == size)
                {
                    true => Found::AsExpected("interrupted uploads can be resumed".to_owned()),
                    false => Found::Different(
                        "the list lacks the part: interrupted uploads start over".to_owned(),
                    ),
                },
            ),
            Err(error) => Ok(Found::Different(format!(
                "interrupted uploads cannot be resumed: {error}"
            ))),
        }
    }

    async fn complete(&self, target: &Target, parts: &mut [Confirmed]) -> Result<Found, Error> {
        self.client.settle(target, parts).await?;
        let expected = Expected::of(parts);
        let reported = self
            .client
            .complete_upload(target, parts, &expected, false)
            .await?;
        let found = self.client.object(&target.bucket, &target.key).await?;
        let found = found.ok_or_else(|| {
            Error::new(
                ErrorKind::Integrity,
                "the server confirmed the object, but then reported that it does not exist",
            )
        })?;
        let is_proved = expected.check(reported.as_deref(), &found)?;
        Ok(match is_proved {
            true => Found::AsExpected(format!(
                "the object has the ETag that its parts make{}",
                weak(&found)
            )),
            false => Found::Different(format!(
                "the object has the right length, but {}",
                match found.etag.as_deref() {
                    None => "no ETag".to_owned(),
                    Some(etag) => format!("an ETag that proves nothing ({etag:?})"),
                }
            )),
        })
    }

    async fn read_back(&self) -> Result<Found, Error> {
        let most = u64::try_from(CONTENT.len()).unwrap_or(u64::MAX);
        let found = self.client.small_object(self.bucket, &self.key, most).await;
        match found {
            Ok(Some(bytes)) if bytes == CONTENT => Ok(Found::AsExpected(
                "a range has the bytes that were sent".into(),
            )),
            Ok(_) => Err(Error::new(
                ErrorKind::Integrity,
                "the object has other bytes than were sent",
            )),
            Err(error) if error.kind() == ErrorKind::AccessDenied => Ok(Found::Different(
                "the key may not read objects: 'imgferry verify' cannot work".to_owned(),
            )),
            Err(error) => Err(error),
        }
    }

    /// Has the server make a part of the object.
    async fn copied(&mut self) -> Result<Found, Error> {
        let target = self.begin(copy_of(&self.key)).await?;
        let md5 = Md5::digest(CONTENT).into();
        let size = u64::try_from(CONTENT.len()).unwrap_or(u64::MAX);
        let copied = self
            .client
            .copy_part(&target, 1, &self.key, size, size, md5);
        match copied.await {
            Ok(part) => {
                let parts = [part];
                let expected = Expected::of(&parts);
                self.client
                    .complete_upload(&target, &parts, &expected, false)
                    .await?;
                Ok(Found::AsExpected(
                    "zeros of a raw disk are copied by the server".to_owned(),
                ))
            }
            Err(error) => Ok(Found::Different(format!(
                "the server does not copy parts, so the zeros of a raw disk are sent: {error}"
            ))),
        }
    }
}

/// Key of the object that the server makes.
fn copy_of(key: &str) -> String {
    format!("{key}.copy")
}

fn weak(found: &ObjectInfo) -> &'static str {
    match found.weak_etag {
        true => ", and calls it weak",
        false => "",
    }
}

/// What the ETag of the part shows.
fn etags(part: &Confirmed) -> Found {
    const SO: &str = "Content-MD5 protects parts in transit, and lengths are compared";
    match (part.etag_is_md5, part.etag.as_str()) {
        (true, _) => Found::AsExpected("they are MD5s, which are compared".to_owned()),
        (false, "") => Found::Different(format!("there are none: {SO}")),
        (false, etag) if etag::is_md5(etag) => Found::Different(format!(
            "they are other hashes ({etag}), as with encrypting storage: {SO}"
        )),
        (false, etag) => Found::Different(format!("they are not MD5s ({etag:?}): {SO}")),
    }
}
