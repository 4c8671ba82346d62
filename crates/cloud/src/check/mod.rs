//! Checks whether a cloud accepts its settings, step by step: a step that fails is reported, and
//! those that do not depend on it are taken all the same.

mod step;
mod trial;

use ims::Client as Images;
use obs::{Client as Storage, UploadOptions};

pub use self::step::{Check, CheckState};
use crate::error::{Class, Failure, Result, from_ims, from_obs};
use crate::hint::Hint;
use crate::session::Session;
use crate::settings::Cloud;
use crate::stop::StopToken;

/// A name that no image has; looking for it proves the right to list.
const NO_IMAGE: &str = "imgferry config check";

/// Asks the services of `session` for what an import through `bucket` needs. With `write`, tiny
/// objects are stored too, and removed, also when a stop is requested.
///
/// # Errors
/// When a stop was requested. Steps that fail are no errors.
pub async fn check(
    session: &Session,
    bucket: Option<&str>,
    write: bool,
    stop: &StopToken,
) -> Result<Vec<Check>> {
    let asking = asking(session, bucket, write);
    let mut checks = stop.unless_asked(asking).await?;
    if let Some(bucket) = bucket.filter(|_| write) {
        let is_usable = |check: &Check| check.name == BUCKET && !check.failed();
        checks.extend(match checks.iter().any(is_usable) {
            true => trial::run(session, bucket, stop).await?,
            false => vec![Check::skipped("trial", "the bucket cannot be used")],
        });
    }
    Ok(checks)
}

/// What is asked without storing anything, in the order in which an import would need it.
async fn asking(session: &Session, bucket: Option<&str>, write: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    let (cloud, images) = (session.cloud(), session.images());
    let provider = match cloud.provider {
        Some(provider) => format!("{provider}, region {}", cloud.region),
        None => format!("not a public one, region {}", cloud.region),
    };
    checks.push(Check::new("cloud", CheckState::Ok, provider));
    let sign_in = Check::of("sign-in", sign_in(images).await);
    let signed_in = !sign_in.failed();
    checks.push(sign_in);
    if signed_in {
        let project = project(images, cloud).await;
        let in_project = !project.failed();
        checks.push(project);
        if in_project {
            checks.extend(image_service(images).await);
        } else {
            checks.push(Check::skipped("images", "the project is not known"));
        }
        checks.extend(storage(session, bucket, write).await);
    } else {
        for name in ["project", "images", "storage"] {
            checks.push(Check::skipped(name, "not signed in"));
        }
    }
    checks.push(clock(images));
    checks
}

/// A token, a key of the agency, or nothing to ask for.
async fn sign_in(images: &Images) -> Result<String> {
    match images.keys() {
        Some(keys) => {
            let key = keys.current().await?;
            let temporary = match key.session_token {
                Some(_) => "temporary key",
                None => "key",
            };
            Ok(format!("{temporary} {}; each request is signed", key.id))
        }
        None => {
            images.sign_in().await?;
            Ok("the identity service gave a token".to_owned())
        }
    }
}

/// The project; one that was given is compared with what the identity service lists.
async fn project(images: &Images, cloud: &Cloud) -> Check {
    const NAME: &str = "project";
    let Some(given) = &cloud.project_id else {
        let found = images.project_id().await.map_err(|e| from_ims(&e));
        return Check::of(NAME, found.map(|id| format!("{id}, looked up")));
    };
    match images.projects().await {
        Ok(found) if found.contains(given) => {
            Check::new(NAME, CheckState::Ok, format!("{given}, as given"))
        }
        Ok(found) => Check::new(
            NAME,
            CheckState::Warning,
            format!(
                "{given} is given, the identity service lists {} for {:?}",
                if found.is_empty() {
                    "none".to_owned()
                } else {
                    found.join(", ")
                },
                images.project_name()
            ),
        ),
        // A user without rights in the identity service may still use the others.
        Err(error) if error.status() == Some(403) => Check::new(
            NAME,
            CheckState::Warning,
            format!("{given} is given; it could not be compared: {error}"),
        ),
        Err(error) => Check::of(NAME, Err(from_ims(&error))),
    }
}

async fn image_service(images: &Images) -> Vec<Check> {
    let listed = images.image_named(NO_IMAGE).await;
    let listed = Check::of(
        "images",
        listed
            .map(|_| "images can be listed (ims:images:list)".to_owned())
            .map_err(|e| from_ims(&e)),
    );
    if listed.failed() {
        return vec![listed];
    }
    vec![
        listed,
        import_rights(images).await,
        quota(images).await,
        os_versions(images).await,
    ]
}

/// Whether images may be made. A service that does not tell has not said no.
async fn import_rights(images: &Images) -> Check {
    const NAME: &str = "import rights";
    match images.may_import().await {
        Ok(true) => Check::new(
            NAME,
            CheckState::Ok,
            "images may be imported; an import of nothing was refused for what it lacks",
        ),
        Ok(false) => Check {
            hints: vec![
                "the account needs the right ims:serverImages:create (data disks: \
                 ims:dataImages:create), and Tenant Administrator for OBS"
                    .into(),
            ],
            class: Some(Class::Cloud),
            ..Check::new(
                NAME,
                CheckState::Failed,
                "images may not be imported (IMG.0026)",
            )
        },
        Err(error) => Check::new(NAME, CheckState::Warning, error.to_string()),
    }
}

/// How many images there may be. Not needed for an import, so that its failure is a warning.
async fn quota(images: &Images) -> Check {
    const NAME: &str = "quota";
    let quotas = match images.quotas().await {
        Ok(quotas) => quotas,
        Err(error) => return Check::new(NAME, CheckState::Warning, error.to_string()),
    };
    let of_images = quotas.iter().find(|quota| quota.kind == "image");
    match of_images.and_then(|quota| quota.used.zip(quota.quota)) {
        Some((used, most)) if used >= most => Check {
            hints: vec!["delete images that are not needed, or ask for a larger quota".into()],
            ..Check::new(
                NAME,
                CheckState::Warning,
                format!("all {most} images are used (IMG.0015)"),
            )
        },
        Some((used, most)) => Check::new(
            NAME,
            CheckState::Ok,
            format!("{used} of {most} images are used"),
        ),
        None => Check::new(
            NAME,
            CheckState::Warning,
            "the service tells none for images",
        ),
    }
}

/// The names of operating systems, which `--os-version` is held against.
async fn os_versions(images: &Images) -> Check {
    const NAME: &str = "os versions";
    match images.os_versions(None).await {
        Ok(known) => Check::new(
            NAME,
            CheckState::Ok,
            format!("{} names of operating systems are known", known.len()),
        ),
        Err(error) => Check::new(NAME, CheckState::Warning, error.to_string()),
    }
}

/// The check of a bucket.
const BUCKET: &str = "bucket";

async fn storage(session: &Session, bucket: Option<&str>, write: bool) -> Vec<Check> {
    let (cloud, images) = (session.cloud(), session.images());
    let storage = match session.storage().await {
        Ok(storage) => storage,
        Err(failure) => return vec![Check::of("storage keys", Err(failure))],
    };
    let keys = match images.keys() {
        Some(_) => "the same key signs for the object storage",
        None => "the identity service gave temporary keys",
    };
    let mut checks = vec![Check::new("storage keys", CheckState::Ok, keys)];
    let Some(bucket) = bucket else {
        let hints = vec![Hint::NameBucket];
        let skipped = Check::skipped(BUCKET, "none is named");
        checks.push(Check { hints, ..skipped });
        return checks;
    };
    let looked = look_at_bucket(&storage, &cloud.region, bucket).await;
    // Keys that may only write cannot look.
    let reachable = !looked.failed();
    checks.push(looked);
    match reachable {
        // The trial shows more.
        true if write => {}
        true => checks.push(write_to_bucket(&storage, bucket).await),
        false => checks.push(Check::skipped("bucket rights", "the bucket cannot be used")),
    }
    checks
}

async fn look_at_bucket(storage: &Storage, region: &str, bucket: &str) -> Check {
    const NAME: &str = BUCKET;
    let info = match storage.bucket(bucket).await {
        Ok(info) => info,
        Err(error) if error.kind() == obs::ErrorKind::AccessDenied => {
            return Check::new(
                NAME,
                CheckState::Warning,
                format!(
                    "{bucket} could not be looked at, which is normal for keys that may only write"
                ),
            );
        }
        Err(error) => return Check::of(NAME, Err(from_obs(&error))),
    };
    let problem = |detail: String, other: &'static str| {
        let failure = Failure::new(Class::Refused, detail);
        Check::of(NAME, Err(failure.hint(Hint::ChooseBucket(other))))
    };
    if info.parallel_file_system {
        return problem(
            format!("{bucket} is a parallel file system, expected a plain bucket"),
            "a plain bucket",
        );
    }
    if let Some(found) = info.region.as_deref().filter(|found| *found != region) {
        return problem(
            format!("{bucket} is in region {found}, expected {region} (IMG.0058)"),
            "a bucket of the same region",
        );
    }
    match info.storage_class.as_deref() {
        Some("STANDARD") => Check::new(
            NAME,
            CheckState::Ok,
            format!(
                "{bucket}: class STANDARD{}",
                info.region
                    .map(|region| format!(", region {region}"))
                    .unwrap_or_default()
            ),
        ),
        Some(class) => problem(
            format!("{bucket} has storage class {class}, expected STANDARD"),
            "a bucket of class STANDARD",
        ),
        None => Check::new(
            NAME,
            CheckState::Warning,
            format!("{bucket} does not tell its storage class; the service takes STANDARD only"),
        ),
    }
}

/// Begins an upload and aborts it: the right to write, without writing anything.
async fn write_to_bucket(storage: &Storage, bucket: &str) -> Check {
    const NAME: &str = "bucket rights";
    let key = format!(".imgferry-check-{}", uuid::Uuid::new_v4());
    let options = UploadOptions::default();
    let mut upload = match storage.start_upload(bucket, &key, &options).await {
        Ok((sink, upload)) => {
            drop(sink);
            upload
        }
        Err(error) => return Check::of(NAME, Err(from_obs(&error))),
    };
    match upload.abort().await {
        Ok(()) => Check::new(
            NAME,
            CheckState::Ok,
            "objects can be written: an upload was begun and aborted",
        ),
        Err(error) => Check::new(
            NAME,
            CheckState::Warning,
            format!(
                "an upload can be begun, but upload {} of {key} could not be aborted: {error}",
                upload.upload_id()
            ),
        ),
    }
}

fn clock(images: &Images) -> Check {
    const NAME: &str = "clock";
    let skew = images.clock_skew().whole_seconds();
    match skew {
        0 => Check::new(
            NAME,
            CheckState::Ok,
            "agrees with the service's within a minute",
        ),
        _ => Check {
            hints: vec!["set this machine's clock, for example with NTP".into()],
            ..Check::new(
                NAME,
                CheckState::Warning,
                format!(
                    "this machine is {} s {} the service; signatures are refused beyond 900 s, so requests to the image service carry the service's time",
                    skew.unsigned_abs(),
                    if skew > 0 { "behind" } else { "ahead of" }
                ),
            )
        },
    }
}
