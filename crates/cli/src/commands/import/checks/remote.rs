//! What only the cloud can tell: project, name, quota, operating systems, bucket and key.

use batch::nearest::nearest;
use cloud::{from_ims, from_obs, rejected};
use ims::{Architecture, Client as Images, Firmware, ImageKind, QuickImport};
use journal::registration::Found;
use obs::{Client as Storage, ErrorKind};

use super::super::attach::{Own, comes_from};
use super::super::resuming::Ours;
use super::super::reuse::Existing;
use super::super::shared::Shared;
use super::Findings;
use crate::args::{ImportArgs, RegisterBy};
use crate::exit::Outcome;

/// Names of operating systems that are suggested.
const SUGGESTED: usize = 3;

/// What the upload needs.
pub(in super::super) struct Checked {
    /// The client to upload with.
    pub(in super::super) storage: Storage,
    /// An object that has the key, and may hold the disk already.
    pub(in super::super) existing: Option<Existing>,
}

/// Asks the cloud. All broken rules are told together; what the cloud cannot answer at all ends it
/// at once. `beside` are images that are made together with that of `request`, in the same bucket,
/// and what of them is this import's own doing.
pub(in super::super) async fn remote(
    args: &ImportArgs,
    shared: Shared<'_>,
    (request, beside): (&QuickImport, &[(&QuickImport, Ours)]),
    ours: &Ours,
    warnings: &mut Vec<String>,
) -> Outcome<Checked> {
    let (cloud, images) = (shared.session.cloud(), shared.session.images());
    let mut findings = Findings::default();
    let registers = args.registering.register != RegisterBy::None;
    if registers {
        image_service(args, images, (request, beside), ours, &mut findings).await?;
    }
    let storage = match shared.storage {
        Some(storage) => storage.clone(),
        None => shared.session.storage().await?,
    };
    // Which buckets the image service takes does not matter without it.
    let region = registers.then_some(cloud.region.as_str());
    bucket(&storage, region, &request.image_url.bucket, &mut findings).await?;
    let existing = key(args, &storage, request, ours, &mut findings).await?;
    for (data, ours) in beside {
        key(args, &storage, data, ours, &mut findings).await?;
    }
    warnings.append(&mut findings.warnings);
    if findings.problems.is_empty() {
        return Ok(Checked { storage, existing });
    }
    Err(rejected(findings.problems))
}

/// Asks the image service whether it would take the images.
async fn image_service(
    args: &ImportArgs,
    images: &Images,
    (request, beside): (&QuickImport, &[(&QuickImport, Ours)]),
    ours: &Ours,
    findings: &mut Findings,
) -> Outcome {
    images.project_id().await.map_err(|e| from_ims(&e))?;
    // An image that is this import's own doing is no reason to refuse it.
    if !ours.registering() && !made_before(args, images, request, ours).await? {
        name(args, images, request, findings).await?;
        for (data, _) in beside {
            name(args, images, data, findings).await?;
        }
        let wanted = u64::try_from(beside.len()).map_or(u64::MAX, |more| more.saturating_add(1));
        quota(args, images, wanted, findings).await?;
    }
    os_version(args, images, request, findings).await
}

/// Whether the image is there already because an earlier run of this import registered it.
async fn made_before(
    args: &ImportArgs,
    images: &Images,
    request: &QuickImport,
    ours: &Ours,
) -> Outcome<bool> {
    if !ours.before.registered && !ours.known.may_have_an_image() {
        return Ok(false);
    }
    let named = match images.images_named(&request.name).await {
        // Told below.
        Err(error) if may_not_list(&error) => return Ok(false),
        named => named.map_err(|e| from_ims(&e))?,
    };
    let own = Own {
        request,
        two_steps: args.registering.register == RegisterBy::Glance,
        since: ours.since,
        stored: None,
        trusting: false,
    };
    Ok(matches!(own.among(named).0, Found::Ours | Found::Half))
}

/// Whether the caller lacks the right to look.
fn may_not_list(error: &ims::Error) -> bool {
    error.status() == Some(403) && !error.is_foreign()
}

/// Names are unique. Asking also proves endpoint, credentials and project to the service that
/// registers the image, before anything is uploaded.
async fn name(
    args: &ImportArgs,
    images: &Images,
    request: &QuickImport,
    findings: &mut Findings,
) -> Outcome {
    let name = &request.name;
    match images.image_named(name).await {
        Ok(None) => {}
        // Its name is free again.
        Ok(Some(found)) if found.has_failed() => {}
        Ok(Some(found)) => findings.broken(
            "name-free",
            &args.skip_check,
            &format!(
                "image {} has the name {name:?} already{}",
                found.id,
                match comes_from(&found, request) {
                    Some(true) => ", and was made of the object that this import would write",
                    _ => "",
                }
            ),
            "choose another name with --name",
        ),
        Err(error) if may_not_list(&error) => findings.warnings.push(format!(
            "whether an image is named {name:?} already could not be looked up: {error}"
        )),
        Err(error) => return Err(from_ims(&error)),
    }
    Ok(())
}

/// Whether an error of a call that is only asked for advice ends the import: one that the next call
/// meets as well does.
fn is_fatal(error: &ims::Error) -> bool {
    matches!(
        error.kind(),
        ims::ErrorKind::Credentials | ims::ErrorKind::Network | ims::ErrorKind::Foreign
    )
}

async fn quota(
    args: &ImportArgs,
    images: &Images,
    wanted: u64,
    findings: &mut Findings,
) -> Outcome {
    let quotas = match images.quotas().await {
        Ok(quotas) => quotas,
        Err(error) if is_fatal(&error) => return Err(from_ims(&error)),
        Err(error) => {
            findings.warnings.push(format!(
                "the quota of images could not be looked up: {error}"
            ));
            return Ok(());
        }
    };
    for quota in quotas.iter().filter(|quota| quota.kind == "image") {
        if let (Some(used), Some(most)) = (quota.used, quota.quota)
            && used.saturating_add(wanted) > most
        {
            findings.broken(
                "quota",
                &args.skip_check,
                &format!("{used} of {most} images that the account may have are there, {wanted} more would be made"),
                "delete images that are not needed, or ask for a larger quota",
            );
        }
    }
    Ok(())
}

/// The list differs between regions and years, so it is asked for and never built in.
async fn os_version(
    args: &ImportArgs,
    images: &Images,
    request: &QuickImport,
    findings: &mut Findings,
) -> Outcome {
    let Some(wanted) = request.os_version.as_deref() else {
        return Ok(());
    };
    if request.kind == ImageKind::DataImage {
        return Ok(());
    }
    let known = match images.os_versions(None).await {
        Ok(known) => known,
        Err(error) if is_fatal(&error) => return Err(from_ims(&error)),
        Err(error) => {
            findings.warnings.push(format!(
                "the region's names of operating systems could not be looked up: {error}"
            ));
            return Ok(());
        }
    };
    let names = || known.iter().map(|version| version.os_version.as_str());
    // An empty list says nothing.
    if known.is_empty() {
        return Ok(());
    }
    if names().any(|name| name == wanted) {
        return os_version_fits(args, images, request, wanted, findings).await;
    }
    let similar = nearest(wanted, names(), SUGGESTED);
    let hint = if similar.is_empty() {
        "list the names with 'imgferry os-versions'".to_owned()
    } else {
        let similar: Vec<String> = similar.iter().map(|name| format!("'{name}'")).collect();
        format!("pass --os-version {}", similar.join(" or "))
    };
    findings.broken(
        "os-version-known",
        &args.skip_check,
        &format!(
            "the region has no operating system named {wanted:?} among its {}",
            known.len()
        ),
        &hint,
    );
    Ok(())
}

/// Whether the region has the system for the architecture and firmware that are asked for. Regions
/// that cannot tell say nothing.
async fn os_version_fits(
    args: &ImportArgs,
    images: &Images,
    request: &QuickImport,
    wanted: &str,
    findings: &mut Findings,
) -> Outcome {
    let (tag, what) = match (request.architecture, request.firmware) {
        (Some(Architecture::Arm), _) => ("arm", "ARM"),
        (_, Some(Firmware::Uefi)) => ("uefi,x86", "UEFI"),
        _ => return Ok(()),
    };
    let fitting = match images.os_versions(Some(tag)).await {
        Ok(fitting) => fitting,
        Err(error) if is_fatal(&error) => return Err(from_ims(&error)),
        Err(_) => return Ok(()),
    };
    let mut names = fitting.iter().map(|version| version.os_version.as_str());
    if !fitting.is_empty() && !names.any(|name| name == wanted) {
        findings.broken(
            "os-version-fits",
            &args.skip_check,
            &format!("the region does not have {wanted:?} for {what}"),
            &format!("list those that fit with 'imgferry os-versions --tag {tag}'"),
        );
    }
    Ok(())
}

/// Whether the bucket can be used. The image service imports from buckets of its `region` and of
/// class STANDARD only.
async fn bucket(
    storage: &Storage,
    region: Option<&str>,
    bucket: &str,
    findings: &mut Findings,
) -> Outcome {
    let info = match storage.bucket(bucket).await {
        Ok(info) => info,
        Err(error) if error.kind() == ErrorKind::AccessDenied => {
            findings.warnings.push(format!(
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
        findings.broken(
            "bucket-plain",
            &[],
            &format!("bucket {bucket} is a parallel file system, expected a plain bucket"),
            "name a plain bucket with --bucket",
        );
    }
    let Some(region) = region else {
        return Ok(());
    };
    match info.storage_class.as_deref() {
        Some("STANDARD") => {}
        Some(class) => findings.broken(
            "bucket-class",
            &[],
            &format!("bucket {bucket} has storage class {class}, expected STANDARD"),
            "name a bucket of class STANDARD with --bucket",
        ),
        None => findings.warnings.push(format!(
            "bucket {bucket} does not tell its storage class; the service takes STANDARD only"
        )),
    }
    if let Some(found) = info.region.as_deref().filter(|found| *found != region) {
        findings.broken(
            "bucket-region",
            &[],
            &format!("bucket {bucket} is in region {found}, the image would be in {region}"),
            "name a bucket of the same region with --bucket, or another region with --region",
        );
    }
    Ok(())
}

/// An object that exists is not replaced unless the user says so. One that is known to hold some
/// disk is returned: its content is compared later.
async fn key(
    args: &ImportArgs,
    storage: &Storage,
    request: &QuickImport,
    ours: &Ours,
    findings: &mut Findings,
) -> Outcome<Option<Existing>> {
    let url = &request.image_url;
    let found = match storage.object(&url.bucket, &url.key).await {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::AccessDenied => {
            findings.warnings.push(format!(
                "whether object {url} exists could not be looked up; it would be replaced"
            ));
            return Ok(None);
        }
        Err(error) => return Err(from_obs(&error)),
    };
    if args.force || ours.may_be(&found) {
        return Ok(None);
    }
    let existing = match ours.disk {
        Some(virtual_size) => Existing::find(storage, url, &found, virtual_size).await?,
        None => None,
    };
    if existing.is_none() && !ours.before.uploaded {
        findings.problems.push(format!(
            "object {url} exists already, with {} bytes; pass --force to replace it, or another key with --key",
            found.size
        ));
    }
    Ok(existing)
}
