//! What only the cloud can tell: project, name, quota, operating systems, bucket and key.

use cloud::{Result, from_ims, from_obs, rejected};
use ims::{Architecture, Client as Images, Firmware, ImageKind, QuickImport};
use journal::registration::Found;
use nearest::nearest;
use obs::{Client as Storage, ErrorKind};

use super::bitmap::RawJob;
use super::checks::Findings;
use super::ledger::Ours;
use super::observe::Context;
use super::piece::{Form, Pieces};
use super::register::{Own, comes_from};
use super::send::Existing;
use super::spec::{ImportSpec, Register};

/// Names of operating systems that are suggested.
const SUGGESTED: usize = 3;

/// What the upload needs.
pub(crate) struct Checked {
    /// The client to upload with.
    pub(crate) storage: Storage,
    /// An object that has the key of the system's piece, and may hold its disk already.
    pub(crate) existing: Option<Existing>,
}

/// Asks the cloud. All broken rules are reported together; a cloud that cannot answer at all ends
/// it at once. `ours` is what may be this import's own doing, of each piece.
pub(crate) async fn preflight(
    spec: &ImportSpec,
    cx: Context<'_>,
    pieces: &Pieces,
    ours: &[Ours],
    warnings: &mut Vec<String>,
) -> Result<Checked> {
    let images = cx.session.images();
    let mut findings = Findings::default();
    if spec.registers() {
        image_service(spec, images, pieces, ours, &mut findings).await?;
    }
    let storage = match cx.storage {
        Some(storage) => storage.clone(),
        None => cx.session.storage().await?,
    };
    // Which buckets the image service takes does not matter without it.
    let region = spec
        .registers()
        .then_some(cx.session.cloud().region.as_str());
    bucket(&storage, region, &spec.bucket, &mut findings).await?;
    let mut existing = None;
    for (piece, ours) in pieces.all().zip(ours) {
        // The system's is the last.
        existing = key(spec, &storage, &piece.request, ours, &mut findings).await?;
        if let Form::Parts(_, raw) = &piece.form {
            bitmap_key(spec, &storage, raw, ours, &mut findings).await?;
        }
    }
    warnings.append(&mut findings.warnings);
    if findings.problems.is_empty() {
        return Ok(Checked { storage, existing });
    }
    Err(rejected(findings.problems))
}

/// Asks the image service whether it would take the images.
async fn image_service(
    spec: &ImportSpec,
    images: &Images,
    pieces: &Pieces,
    ours: &[Ours],
    findings: &mut Findings,
) -> Result {
    images.project_id().await.map_err(|e| from_ims(&e))?;
    let request = &pieces.system.request;
    // An image that is this import's own doing is no reason to reject it.
    let own = match ours.last() {
        Some(ours) => ours.registering() || made_before(spec, images, request, ours).await?,
        None => false,
    };
    if !own {
        name(spec, images, request, findings).await?;
        for piece in &pieces.data {
            name(spec, images, &piece.request, findings).await?;
        }
        let more = u64::try_from(pieces.data.len()).unwrap_or(u64::MAX);
        quota(spec, images, more.saturating_add(1), findings).await?;
    }
    os_version(spec, images, request, findings).await
}

/// Whether the image is there already because an earlier run of this import registered it.
async fn made_before(
    spec: &ImportSpec,
    images: &Images,
    request: &QuickImport,
    ours: &Ours,
) -> Result<bool> {
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
        two_steps: spec.register == Register::Glance,
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
    spec: &ImportSpec,
    images: &Images,
    request: &QuickImport,
    findings: &mut Findings,
) -> Result {
    let name = &request.name;
    match images.image_named(name).await {
        Ok(None) => {}
        // Its name is free again.
        Ok(Some(found)) if found.has_failed() => {}
        Ok(Some(found)) => findings.broken(
            "name-free",
            &spec.skip_checks,
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

async fn quota(spec: &ImportSpec, images: &Images, wanted: u64, findings: &mut Findings) -> Result {
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
                &spec.skip_checks,
                &format!("image quota: {used} of {most} used, {wanted} more needed"),
                "delete images that are not needed, or ask for a larger quota",
            );
        }
    }
    Ok(())
}

/// The list differs between regions and years, so it is asked for and never built in.
async fn os_version(
    spec: &ImportSpec,
    images: &Images,
    request: &QuickImport,
    findings: &mut Findings,
) -> Result {
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
        return os_version_fits(spec, images, request, wanted, findings).await;
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
        &spec.skip_checks,
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
    spec: &ImportSpec,
    images: &Images,
    request: &QuickImport,
    wanted: &str,
    findings: &mut Findings,
) -> Result {
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
            &spec.skip_checks,
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
) -> Result {
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
    spec: &ImportSpec,
    storage: &Storage,
    request: &QuickImport,
    ours: &Ours,
    findings: &mut Findings,
) -> Result<Option<Existing>> {
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
    if spec.force || ours.may_be(&found) {
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

/// A bitmap object that exists is not replaced unless the user says so.
async fn bitmap_key(
    spec: &ImportSpec,
    storage: &Storage,
    raw: &RawJob,
    ours: &Ours,
    findings: &mut Findings,
) -> Result {
    let (bucket, key) = (&spec.bucket, &raw.bitmap_key);
    match storage.object(bucket, key).await {
        // An earlier run or an earlier owner of this import has stored it.
        Ok(Some(_)) if ours.object.is_some() || ours.before.uploaded => {}
        Ok(Some(_)) if !spec.force => findings.problems.push(format!(
            "object {bucket}:{key} exists already; pass --force to replace it, or another key \
             with --key"
        )),
        Ok(_) => {}
        // Reported for the object itself.
        Err(error) if error.kind() == ErrorKind::AccessDenied => {}
        Err(error) => return Err(from_obs(&error)),
    }
    Ok(())
}
