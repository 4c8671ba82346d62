//! Everything that can be refused, before the first byte is uploaded.

use ims::{Client as Images, QuickImport};
use obs::{Client as Storage, ErrorKind};

use super::errors::{from_ims, from_obs};
use crate::args::ImportArgs;
use crate::connect;
use crate::exit::{Exit, Failure, Outcome};
use crate::settings::Cloud;

/// One failure for all problems together, so that they are mended together.
pub(crate) fn refused(problems: Vec<String>) -> Failure {
    let mut problems = problems.into_iter();
    match (problems.len(), problems.next()) {
        (1, Some(only)) => Failure::new(Exit::Refused, only),
        (count, first) => first.into_iter().chain(problems).fold(
            Failure::new(
                Exit::Refused,
                format!("{count} things are wrong; nothing was uploaded"),
            ),
            Failure::note,
        ),
    }
}

/// The rules of the service, held against the request.
pub(super) fn local(request: &QuickImport, virtual_size: u64) -> Vec<String> {
    request
        .violations(virtual_size)
        .into_iter()
        .map(|violation| {
            let code = violation.code.map(|code| format!(" ({code})"));
            let option = option_for(violation.field).map(|option| format!(" ({option})"));
            format!(
                "{}{}; {}{}",
                violation.message,
                code.unwrap_or_default(),
                violation.hint,
                option.unwrap_or_default()
            )
        })
        .collect()
}

/// The option that sets a field of the request.
fn option_for(field: &str) -> Option<&'static str> {
    Some(match field {
        "name" => "--name",
        "image_url.bucket" => "--bucket",
        "image_url.key" => "--key",
        "min_disk" => "--min-disk",
        "os_version" => "--os-version",
        "os_type" => "--os-type",
        "description" => "--description",
        "tags" => "--tag",
        "architecture" => "--architecture",
        "firmware" => "--firmware",
        _ => return None,
    })
}

/// What the service takes, but the user should think about.
pub(super) fn local_warnings(request: &QuickImport) -> Vec<String> {
    request
        .warnings()
        .into_iter()
        .map(|warning| warning.message)
        .collect()
}

/// Asks the cloud: who we are, the project, the bucket, the key. Returns the client to upload with.
pub(super) async fn remote(
    args: &ImportArgs,
    cloud: &Cloud,
    images: &Images,
    request: &QuickImport,
    warnings: &mut Vec<String>,
) -> Outcome<Storage> {
    images.project_id().await.map_err(|e| from_ims(&e))?;
    name(images, &request.name, warnings).await?;
    let storage = connect::storage(cloud, images).await?;
    bucket(&storage, &cloud.region, &request.image_url.bucket, warnings).await?;
    key(args, &storage, request, warnings).await?;
    Ok(storage)
}

/// Names are unique. Asking also proves endpoint, credentials and project to the service that
/// registers the image, before anything is uploaded.
async fn name(images: &Images, name: &str, warnings: &mut Vec<String>) -> Outcome {
    match images.image_named(name).await {
        Ok(None) => Ok(()),
        Ok(Some(found)) => Err(Failure::new(
            Exit::Refused,
            format!(
                "image {} has the name {name:?} already (IMG.0009)",
                found.id
            ),
        )
        .hint("choose another name with --name, or delete that image")),
        Err(error) if error.status() == Some(403) => {
            warnings.push(format!(
                "whether an image is named {name:?} already could not be looked up: {error}"
            ));
            Ok(())
        }
        Err(error) => Err(from_ims(&error)),
    }
}

/// The service imports from buckets of its region and of class STANDARD only.
async fn bucket(
    storage: &Storage,
    region: &str,
    bucket: &str,
    warnings: &mut Vec<String>,
) -> Outcome {
    let refused =
        |message: String, hint: &str| Err(Failure::new(Exit::Refused, message).hint(hint));
    let info = match storage.bucket(bucket).await {
        Ok(info) => info,
        Err(error) if error.kind() == ErrorKind::AccessDenied => {
            warnings.push(format!(
                "bucket {bucket} could not be looked at (normal for keys that may only write objects); \
                 its region and storage class are not checked"
            ));
            return Ok(());
        }
        Err(error) => {
            return Err(
                from_obs(&error).note(format!("the object storage is {}", storage.endpoint()))
            );
        }
    };
    if info.parallel_file_system {
        return refused(
            format!("bucket {bucket} is a parallel file system, expected a plain bucket"),
            "name a plain bucket with --bucket",
        );
    }
    match info.storage_class.as_deref() {
        Some("STANDARD") => {}
        Some(class) => {
            return refused(
                format!("bucket {bucket} has storage class {class}, expected STANDARD"),
                "name a bucket of class STANDARD with --bucket",
            );
        }
        None => warnings.push(format!(
            "bucket {bucket} does not tell its storage class; the service takes STANDARD only"
        )),
    }
    match info.region.as_deref() {
        Some(found) if found != region => refused(
            format!(
                "bucket {bucket} is in region {found}, the image would be in {region} (IMG.0058)"
            ),
            "name a bucket of the same region with --bucket, or another region with --region",
        ),
        _ => Ok(()),
    }
}

/// An object that exists is not replaced unless the user says so.
async fn key(
    args: &ImportArgs,
    storage: &Storage,
    request: &QuickImport,
    warnings: &mut Vec<String>,
) -> Outcome {
    let url = &request.image_url;
    match storage.object(&url.bucket, &url.key).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) if args.force => Ok(()),
        Ok(Some(found)) => Err(Failure::new(
            Exit::Refused,
            format!("object {url} exists already, with {} bytes", found.size),
        )
        .hint("pass --force to replace it, or another key with --key")),
        Err(error) if error.kind() == ErrorKind::AccessDenied => {
            warnings.push(format!(
                "whether object {url} exists could not be looked up; it would be replaced"
            ));
            Ok(())
        }
        Err(error) => Err(from_obs(&error)),
    }
}
