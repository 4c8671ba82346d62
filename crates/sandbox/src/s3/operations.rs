//! The S3 operations: here from protocol to store and back, rules elsewhere.

use std::collections::HashMap;
use std::io::{Seek as _, SeekFrom};
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::dto::*;
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::checks::{attributes, check_put_object, check_upload_part};
use super::conditions::{check_reading, check_replacing};
use super::error::{blocking, disk};
use super::objects::{Object, ObjectStore};
use super::receive::{receive, receive_part};
use super::uploads::UploadMeta;

/// Most objects of one batch of deletions.
const MAX_DELETED: usize = 1000;

/// Bytes that a download reads at a time.
const READ_BUFFER: usize = 256 * 1024;

#[async_trait::async_trait]
impl S3 for ObjectStore {
    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let bucket = req.input.bucket;
        let class = req.headers.get("x-default-storage-class");
        let class = class.and_then(|class| class.to_str().ok().map(str::to_owned));
        let store = self.clone();
        blocking(move || {
            match std::fs::create_dir(store.0.layout.objects().join(&bucket)) {
                Ok(()) => {}
                // OBS takes the request again and keeps the bucket as it is: obs_04_0021.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    return Ok(S3Response::new(CreateBucketOutput::default()));
                }
                Err(error) => return Err(disk("create the bucket")(error)),
            }
            if class.is_some() {
                store
                    .describe_bucket(&bucket, class.as_ref(), None)
                    .map_err(S3Error::internal_error)?;
            }
            Ok(S3Response::new(CreateBucketOutput::default()))
        })
        .await
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        let store = Arc::clone(&self.0);
        blocking(move || {
            let bucket = &req.input.bucket;
            let dir = store.bucket_dir(bucket)?;
            // Removing the directory fails when it is not empty, which is S3's rule too.
            match std::fs::remove_dir(dir) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
                    return Err(s3_error!(BucketNotEmpty, "the bucket is not empty"));
                }
                Err(error) => return Err(disk("delete the bucket")(error)),
            }
            let _ = std::fs::remove_dir_all(store.layout.meta().join(bucket));
            Ok(S3Response::new(DeleteBucketOutput {}))
        })
        .await
    }

    async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        let bucket = req.input.bucket;
        let region = self.0.bucket_region(&bucket)?;
        let class = self.0.storage_class(&bucket)?;
        let headers = headers([
            ("x-default-storage-class", class.as_str()),
            ("x-amz-bucket-region", &region),
        ]);
        Ok(S3Response::with_headers(
            HeadBucketOutput::default(),
            headers,
        ))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        let region = self.0.bucket_region(&req.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput {
            location_constraint: Some(BucketLocationConstraint::from(region)),
        }))
    }

    async fn list_buckets(
        &self,
        _: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let store = Arc::clone(&self.0);
        blocking(move || store.list_buckets().map(S3Response::new)).await
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let store = Arc::clone(&self.0);
        blocking(move || store.list_objects(req.input).map(S3Response::new)).await
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let store = Arc::clone(&self.0);
        blocking(move || store.list_objects_v2(req.input).map(S3Response::new)).await
    }

    async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        let store = Arc::clone(&self.0);
        let attributes = check_put_object(&store, &input)?;
        let received = receive(
            &store.layout.tmp(),
            input.body,
            input.content_md5.as_deref(),
        )
        .await?;
        blocking(move || {
            let (bucket, key) = (&input.bucket, &input.key);
            // Nobody may store between the look and the store.
            let _alone = store.conditional.lock();
            if !store.faults.ignores_conditions() {
                check_replacing(&store, bucket, key, &input.if_match, &input.if_none_match)?;
            }
            let etag = received.md5;
            store.commit(bucket, key, received.file, etag.clone(), None, attributes)?;
            Ok(S3Response::new(PutObjectOutput {
                e_tag: Some(ETag::Strong(etag)),
                ..PutObjectOutput::default()
            }))
        })
        .await
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let store = Arc::clone(&self.0);
        let input = req.input;
        let (bucket, key) = (input.bucket, input.key);
        let object = blocking(move || store.object(&bucket, &key)).await?;
        check_reading(&object, &input.if_match, &input.if_none_match)?;
        let headers = upload_id_header(&object);
        let attributes = object.meta.attributes;
        let output = HeadObjectOutput {
            content_length: Some(length(object.size)?),
            content_type: attributes.content_type,
            last_modified: Some(object.modified.into()),
            e_tag: Some(ETag::Strong(object.meta.etag)),
            metadata: some_metadata(attributes.metadata),
            storage_class: Some(StorageClass::from(attributes.storage_class)),
            accept_ranges: Some("bytes".to_owned()),
            ..HeadObjectOutput::default()
        };
        Ok(S3Response::with_headers(output, headers))
    }

    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let store = Arc::clone(&self.0);
        let input = req.input;
        let (bucket, key) = (input.bucket, input.key);
        let mut object = blocking(move || store.object(&bucket, &key)).await?;
        check_reading(&object, &input.if_match, &input.if_none_match)?;
        let headers = upload_id_header(&object);
        let all = 0..object.size;
        let range = match &input.range {
            Some(range) => range.check(object.size)?,
            None => all.clone(),
        };
        let content_range = input.range.is_some().then(|| {
            let last = range.end.saturating_sub(1);
            format!("bytes {}-{last}/{}", range.start, object.size)
        });
        let count = range.end.saturating_sub(range.start);
        object
            .file
            .seek(SeekFrom::Start(range.start))
            .map_err(disk("read the object"))?;
        let file = tokio::fs::File::from_std(object.file).take(count);
        let attributes = object.meta.attributes;
        let output = GetObjectOutput {
            body: Some(StreamingBlob::wrap(ReaderStream::with_capacity(
                file,
                READ_BUFFER,
            ))),
            content_length: Some(length(count)?),
            content_range,
            content_type: attributes.content_type,
            last_modified: Some(object.modified.into()),
            e_tag: Some(ETag::Strong(object.meta.etag)),
            metadata: some_metadata(attributes.metadata),
            storage_class: Some(StorageClass::from(attributes.storage_class)),
            accept_ranges: Some("bytes".to_owned()),
            ..GetObjectOutput::default()
        };
        Ok(S3Response::with_headers(output, headers))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let store = Arc::clone(&self.0);
        blocking(move || store.delete(&req.input.bucket, &req.input.key)).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let store = Arc::clone(&self.0);
        blocking(move || {
            let mut output = DeleteObjectsOutput::default();
            store.bucket_dir(&req.input.bucket)?;
            let delete = req.input.delete;
            // OBS API reference, obs_04_0086; so is the quiet mode.
            if delete.objects.len() > MAX_DELETED {
                return Err(s3_error!(
                    MalformedXML,
                    "{} objects; at most {MAX_DELETED} are deleted at a time",
                    delete.objects.len()
                ));
            }
            for object in delete.objects {
                match store.delete(&req.input.bucket, &object.key) {
                    Ok(()) if delete.quiet == Some(true) => {}
                    Ok(()) => output.deleted.get_or_insert_default().push(DeletedObject {
                        key: Some(object.key),
                        ..DeletedObject::default()
                    }),
                    Err(error) => output.errors.get_or_insert_default().push(s3s::dto::Error {
                        key: Some(object.key),
                        code: Some(error.code().as_str().to_owned()),
                        message: error.message().map(str::to_owned),
                        version_id: None,
                    }),
                }
            }
            Ok(S3Response::new(output))
        })
        .await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        let store = Arc::clone(&self.0);
        blocking(move || {
            store.object_path(&input.bucket, &input.key)?;
            let attributes = attributes(
                &store,
                &input.bucket,
                input.storage_class,
                input.content_type,
                input.metadata,
            )?;
            let id = store.uploads.begin(&UploadMeta {
                bucket: input.bucket.clone(),
                key: input.key.clone(),
                initiated: SystemTime::now(),
                attributes,
            })?;
            Ok(S3Response::new(CreateMultipartUploadOutput {
                bucket: Some(input.bucket),
                key: Some(input.key),
                upload_id: Some(id),
                ..CreateMultipartUploadOutput::default()
            }))
        })
        .await
    }

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = req.input;
        let store = Arc::clone(&self.0);
        check_upload_part(&store, &input)?;
        let place = match input.content_length.and_then(|len| len.try_into().ok()) {
            Some(len) => {
                let (store, id) = (Arc::clone(&store), input.upload_id.clone());
                blocking(move || store.uploads.place(&id, input.part_number, len)).await?
            }
            None => None,
        };
        let arrived = receive_part(
            &store.layout.tmp(),
            place,
            input.body,
            input.content_md5.as_deref(),
        )
        .await?;
        blocking(move || {
            let etag = arrived.md5.clone();
            store
                .uploads
                .add_part(&input.upload_id, input.part_number, arrived)?;
            Ok(S3Response::new(UploadPartOutput {
                e_tag: Some(ETag::Strong(etag)),
                ..UploadPartOutput::default()
            }))
        })
        .await
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let store = Arc::clone(&self.0);
        blocking(move || store.copy_part(&req.input).map(S3Response::new)).await
    }

    async fn copy_object(
        &self,
        req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let store = Arc::clone(&self.0);
        blocking(move || store.copy_object(req.input).map(S3Response::new)).await
    }

    async fn list_parts(
        &self,
        req: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let store = Arc::clone(&self.0);
        blocking(move || store.list_parts(req.input).map(S3Response::new)).await
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let store = Arc::clone(&self.0);
        blocking(move || store.list_uploads(req.input).map(S3Response::new)).await
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let store = Arc::clone(&self.0);
        let lose_answer = store.faults.lose_complete_answer();
        blocking(move || {
            let (bucket, key) = (&input.bucket, &input.key);
            let _alone = store.conditional.lock();
            if !store.faults.ignores_conditions() {
                check_replacing(&store, bucket, key, &input.if_match, &input.if_none_match)?;
            }
            let etag = store.complete(&input)?;
            if lose_answer {
                return Err(s3_error!(InternalError, "injected fault"));
            }
            Ok(S3Response::new(CompleteMultipartUploadOutput {
                location: Some(format!("/{bucket}/{key}")),
                bucket: Some(input.bucket),
                key: Some(input.key),
                e_tag: Some(ETag::Strong(etag)),
                ..CompleteMultipartUploadOutput::default()
            }))
        })
        .await
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let store = Arc::clone(&self.0);
        blocking(move || {
            let input = req.input;
            store.bucket_dir(&input.bucket)?;
            store
                .uploads
                .meta(&input.bucket, &input.key, &input.upload_id)?;
            store.uploads.abort(&input.upload_id)?;
            Ok(S3Response::new(AbortMultipartUploadOutput::default()))
        })
        .await
    }
}

/// By this header a client learns that its Complete, whose answer it lost, made the object.
fn upload_id_header(object: &Object) -> HeaderMap {
    match &object.meta.upload_id {
        Some(id) => headers([("x-obs-uploadid", id.as_str())]),
        None => HeaderMap::new(),
    }
}

fn headers<const N: usize>(pairs: [(&'static str, &str); N]) -> HeaderMap {
    pairs
        .into_iter()
        .filter_map(|(name, value)| {
            let value = HeaderValue::from_str(value).ok()?;
            Some((HeaderName::from_static(name), value))
        })
        .collect()
}

fn length(bytes: u64) -> S3Result<i64> {
    i64::try_from(bytes).map_err(S3Error::internal_error)
}

fn some_metadata(metadata: HashMap<String, String>) -> Option<HashMap<String, String>> {
    Some(metadata).filter(|metadata| !metadata.is_empty())
}
