//! What only the cloud can tell: project, name, quota, operating systems, bucket and key.

mod base;
mod exists;

use std::sync::Arc;

use cloud::{Hint, ImportHint, Result, from_ims, from_obs};
use ims::{Architecture, Client as Images, Firmware, ImageId, ImageKind, QuickImport};
use nearest::nearest;
use obs::{Client as Storage, ErrorKind};

use self::exists::{Named, Place, bitmap_key};
pub(crate) use self::exists::{Skipped, to_skip};
use super::checks::Findings;
use super::guest;
use super::ledger::Ours;
use super::observe::Context;
use super::piece::{Form, Piece, Pieces};
use super::send::{Base, Existing};
use super::spec::ImportSpec;

/// Names of operating systems that are suggested.
const SUGGESTED: usize = 3;

/// What the upload needs.
pub(crate) struct Checked {
    /// The client to upload with.
    pub(crate) storage: Storage,
    /// Objects that exist and may hold the pieces already, in the order of [`Pieces::all`].
    pub(crate) existing: Vec<Option<Existing>>,
    /// The image of the system's name that exists.
    pub(crate) image: Option<ImageId>,
    /// Whether the images were created from the existing objects: if those hold the disks, nothing
    /// is left to do.
    pub(crate) made: bool,
    /// The earlier object that most of the disk is copied from.
    pub(crate) base: Option<Arc<Base>>,
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
    let mut findings = Findings::default();
    let mut named = Named::default();
    if spec.registers() {
        let images = cx.session.images();
        images.project_id().await.map_err(|e| from_ims(&e))?;
        named = Named::look(spec, images, pieces, ours, &mut findings).await?;
        os_version(spec, images, &pieces.system.request, &mut findings).await?;
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
    let mut places = Vec::new();
    for (piece, ours) in pieces.all().zip(ours) {
        places.push(Place::look(spec, &storage, piece, ours, &mut findings).await?);
    }
    let made = named.come_from(pieces, &places);
    if !made {
        named.check(spec, pieces, &places, &mut findings);
        if spec.registers() && !named.own {
            let wanted = u64::try_from(pieces.all().count()).unwrap_or(u64::MAX);
            quota(spec, cx.session.images(), wanted, &mut findings).await?;
        }
        for ((piece, ours), place) in pieces.all().zip(ours).zip(&places) {
            place.check(spec, piece, ours, &mut findings);
            if let Form::Parts(_, raw) = &piece.form {
                bitmap_key(spec, &storage, raw, ours, &mut findings).await?;
            }
        }
    }
    warnings.append(&mut findings.warnings);
    if !findings.problems.is_empty() {
        let disk = pieces.system.form.disk().map(|disk| &disk.plan);
        let disk = disk.map(|plan| (plan.source_format, plan.virtual_size));
        let report = pieces.guest.as_ref();
        return Err(guest::rejected(findings.problems, report, disk));
    }
    let usable = |(piece, place): (&Piece, Place)| place.existing(piece, made);
    let base = match &spec.base {
        Some(named) => Some(Arc::new(
            base::find(spec, cx, &storage, pieces, named).await?,
        )),
        None => None,
    };
    Ok(Checked {
        base,
        storage,
        existing: pieces.all().zip(places).map(usable).collect(),
        image: named.system().map(|image| image.id.clone()),
        made,
    })
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
    let similar = similar.iter().map(ToString::to_string).collect();
    findings.broken(
        "os-version-known",
        &spec.skip_checks,
        &format!(
            "the region has no operating system named {wanted:?} among its {}",
            known.len()
        ),
        ImportHint::ChooseOsVersion(similar),
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
            ImportHint::ListOsVersions(tag),
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
            Hint::ChooseBucket("a plain bucket"),
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
            Hint::ChooseBucket("a bucket of class STANDARD"),
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
            ImportHint::MatchRegion,
        );
    }
    Ok(())
}
