//! The files that are uploaded, checked before anything is sent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::convert::{CancelToken, Plan};
use diskimg::Opened;
use diskimg::partitions;
use diskimg::source::{is_disk, type_name};
use diskimg::text::shown;
use diskimg::units::human;
use diskimg::{DiskImage, Format};
use ims::rules::{CommonFile, MAX_DATA_DISKS};
use ims::{ImageKind, ImageUrl, QuickImport};
use serde_json::{Value, json};

use super::super::upload::plan;
use super::super::{checks, request};
use super::Way;
use crate::args::{ImageType, ImportArgs};
use crate::commands::convert::options as options_of;
use crate::commands::input::open_named;
use crate::commands::watch::Watch;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use cloud::Cloud;

/// One file, and the image that becomes of it.
pub(super) struct Piece {
    pub(super) path: PathBuf,
    /// Bytes of the file.
    pub(super) size: u64,
    /// Whether quick import takes it without being converted.
    pub(super) zvhd2: bool,
    pub(super) content: Content,
    pub(super) request: QuickImport,
    /// All files of the disk, where it was opened as one.
    pub(super) watch: Watch,
}

/// What is uploaded of a file.
#[derive(Clone)]
pub(super) enum Content {
    /// Its bytes.
    AsItIs,
    /// The disk inside, as ZVHD2.
    Converted(Converted),
}

/// A disk that is converted.
#[derive(Clone)]
pub(super) struct Converted {
    pub(super) image: Arc<dyn DiskImage>,
    pub(super) plan: Plan,
}

impl Piece {
    /// What would be done with it.
    pub(super) fn would(&self) -> String {
        let (path, object) = (shown(&self.path), &self.request.image_url);
        let min_disk = self.request.min_disk;
        match &self.content {
            Content::AsItIs => format!(
                "would upload {path} as {object} as it is ({}), min_disk {min_disk} GiB",
                human(self.size)
            ),
            Content::Converted(converted) => format!(
                "would convert {path} to {object} (at most {}, memory {}), min_disk {min_disk} GiB",
                human(converted.plan.worst_case_bytes),
                human(converted.plan.memory.total())
            ),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "source": self.path.display().to_string(),
            "name": self.request.name,
            "bucket": self.request.image_url.bucket,
            "key": self.request.image_url.key,
            "min_disk": self.request.min_disk,
            "size": self.size,
        })
    }
}

/// Everything that is uploaded.
pub(super) struct Pieces {
    pub(super) system: Piece,
    /// Data disks that are registered together with it.
    pub(super) data: Vec<Piece>,
    pub(super) warnings: Vec<String>,
}

impl Pieces {
    /// The same, to be changed.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Piece> {
        self.data.iter_mut().chain([&mut self.system])
    }

    /// All files, the system's last: when it is there, everything is.
    pub(super) fn all(&self) -> impl Iterator<Item = &Piece> {
        self.data.iter().chain([&self.system])
    }
}

/// Looks at all files, and holds them against the rules; all that is wrong is told together.
pub(super) fn prepare(
    args: &ImportArgs,
    way: Way,
    cloud: &Cloud,
    console: Console,
    cancel: &CancelToken,
) -> Outcome<Pieces> {
    options(args, way)?;
    let mut findings = checks::Findings::default();
    let enterprise = args
        .enterprise_project_id
        .clone()
        .or_else(|| cloud.enterprise_project_id.clone());
    let look = Look {
        args,
        way,
        cloud,
        console,
        cancel,
    };
    let mut system = look.system(&mut findings)?;
    system.request.enterprise_project_id = enterprise;
    let mut data = Vec::new();
    for (number, path) in (1_u32..).zip(&args.registering.data_disks) {
        data.push(look.data(path, number, &system.request, &mut findings)?);
    }
    if !findings.problems.is_empty() {
        return Err(cloud::rejected(findings.problems));
    }
    Ok(Pieces {
        system,
        data,
        warnings: findings.warnings,
    })
}

/// Options that this way of registering has no use for.
fn options(args: &ImportArgs, way: Way) -> Outcome {
    let refused =
        |message: &str, hint: &'static str| Err(Failure::new(Exit::Refused, message).hint(hint));
    // What is converted here is read as other imports read it.
    let odd = args.source.snapshot.is_some() || args.source.backing.allow_backing.is_some();
    if odd && !way.quick {
        return refused(
            "the file is uploaded as it is: --snapshot and --allow-backing have no effect on it",
            "pass --register quick, or make one file of it first with imgferry convert",
        );
    }
    let disks = args.registering.data_disks.len();
    if disks == 0 {
        return Ok(());
    }
    if args.kind == ImageType::DataImage || way.iso || way.glance {
        return refused(
            "--data-disk stands beside a system image",
            "import a data disk on its own with --type DataImage",
        );
    }
    if args.registering.cmk_id.is_some() {
        return refused(
            "--cmk-id would encrypt the system image and not its data disks",
            "import the data disks on their own, with --type DataImage and --cmk-id",
        );
    }
    if disks > MAX_DATA_DISKS {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{disks} data disks are given, the service takes at most {MAX_DATA_DISKS} together (IMG.0194)"
            ),
        )
        .hint("import the others on their own with --type DataImage"));
    }
    Ok(())
}

/// How files are looked at.
struct Look<'a> {
    args: &'a ImportArgs,
    way: Way,
    cloud: &'a Cloud,
    console: Console,
    cancel: &'a CancelToken,
}

impl Look<'_> {
    fn system(&self, findings: &mut checks::Findings) -> Outcome<Piece> {
        let (args, way) = (self.args, self.way);
        let size = size_of(&args.disk)?;
        let opened = match way.iso || way.foreign {
            true => None,
            false => Some(open_named(
                &args.disk,
                &args.source.options(),
                self.console,
                self.cancel,
            )?),
        };
        // Unknown for formats that only the service reads.
        let virtual_size = match (&opened, way.iso) {
            (Some(opened), _) => Some(opened.image.virtual_size()),
            (None, iso) => iso.then_some(size),
        };
        if virtual_size.is_none() && args.min_disk.is_none() {
            findings.problems.push(
                "the size of the disk inside is not known; name at least its size in GiB, such as --min-disk 40"
                    .to_owned(),
            );
        }
        let mut request = request::build(args, virtual_size.unwrap_or(size));
        if args.key.is_none() && !way.quick {
            request.image_url.key = key(&request.image_url.key, "", &args.disk);
        }
        let file = CommonFile {
            size,
            virtual_size,
            iso: way.iso,
        };
        self.check(&request, &file, findings);
        if let Some(opened) = &opened {
            let image = opened.image.as_ref();
            let size = image.virtual_size();
            checks::disk(partitions::read(image), size, &request, args, findings);
        }
        Ok(Piece {
            watch: self.watch(&args.disk, opened.as_ref())?,
            path: args.disk.clone(),
            size,
            zvhd2: opened
                .as_ref()
                .is_some_and(|opened| opened.format == Format::Zvhd2),
            content: self.content(opened)?,
            request,
        })
    }

    fn data(
        &self,
        path: &Path,
        number: u32,
        system: &QuickImport,
        findings: &mut checks::Findings,
    ) -> Outcome<Piece> {
        let size = size_of(path)?;
        let options = diskimg::OpenOptions::of(None);
        let opened = open_named(path, &options, self.console, self.cancel).map_err(|failure| {
            failure.hint(
                "a data disk that only the service reads goes on its own, with --type DataImage",
            )
        })?;
        let virtual_size = opened.image.virtual_size();
        let suffix = format!("-data{number}");
        let url = ImageUrl {
            bucket: system.image_url.bucket.clone(),
            key: match self.way.quick {
                true => key(&system.image_url.key, &suffix, Path::new("disk.zvhd2")),
                false => key(&system.image_url.key, &suffix, path),
            },
        };
        let min_disk = u32::try_from(ims::min_disk_gib(virtual_size)).unwrap_or(u32::MAX);
        let mut request = QuickImport::new(format!("{}{suffix}", system.name), url, min_disk);
        request.kind = ImageKind::DataImage;
        request.tags.clone_from(&system.tags);
        let file = CommonFile {
            size,
            virtual_size: Some(virtual_size),
            iso: false,
        };
        let mut found = checks::Findings::default();
        self.check(&request, &file, &mut found);
        let table = partitions::read(opened.image.as_ref());
        checks::disk(table, virtual_size, &request, self.args, &mut found);
        let of = |text: String| format!("{}: {text}", shown(&path));
        findings.problems.extend(found.problems.into_iter().map(of));
        findings.warnings.extend(found.warnings.into_iter().map(of));
        Ok(Piece {
            watch: self.watch(path, Some(&opened))?,
            path: path.to_owned(),
            size,
            zvhd2: opened.format == Format::Zvhd2,
            content: self.content(Some(opened))?,
            request,
        })
    }

    fn watch(&self, path: &Path, opened: Option<&Opened>) -> Outcome<Watch> {
        let force_share = self.args.source.share.force_share;
        opened.map_or_else(
            || Ok(Watch::default()),
            |opened| Watch::begin(path, opened, force_share),
        )
    }

    /// The rules of the way that it goes.
    fn check(&self, request: &QuickImport, file: &CommonFile, findings: &mut checks::Findings) {
        let cloud = self.cloud.provider;
        match file.virtual_size {
            Some(size) if self.way.quick => findings.add(checks::local(request, size, cloud)),
            _ => checks::common(request, file, cloud, findings),
        }
    }

    fn content(&self, opened: Option<Opened>) -> Outcome<Content> {
        let Some(opened) = opened.filter(|_| self.way.quick) else {
            return Ok(Content::AsItIs);
        };
        let mut options = options_of(&self.args.work);
        if self.args.cloud.sandbox.is_some() {
            options.reserved_memory = ::sandbox::memory_bound();
        }
        let plan = plan(opened.image.as_ref(), self.args.pace.concurrency, options)?;
        Ok(Content::Converted(Converted {
            image: Arc::from(opened.image),
            plan,
        }))
    }
}

/// Bytes of a regular file.
fn size_of(path: &Path) -> Outcome<u64> {
    let metadata = std::fs::metadata(path).map_err(|e| {
        Failure::from_error(Exit::Refused, &e).context(format!("{} cannot be read", shown(&path)))
    })?;
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    let failure = Failure::new(
        Exit::Refused,
        format!(
            "{} is {}; only regular files are uploaded as they are",
            shown(&path),
            type_name(metadata.file_type())
        ),
    );
    Err(match is_disk(metadata.file_type()) {
        true => failure.hint("--register quick converts devices too"),
        false => failure,
    })
}

/// `base` with `suffix`, and with the extension of the file that is uploaded.
pub(in super::super) fn key(base: &str, suffix: &str, file: &Path) -> String {
    let stem = match base.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('/') && !suffix.is_empty() => stem,
        _ => base.strip_suffix(".zvhd2").unwrap_or(base),
    };
    match file.extension().and_then(|extension| extension.to_str()) {
        Some(extension) if extension.chars().all(|c| c.is_ascii_alphanumeric()) => {
            format!("{stem}{suffix}.{extension}")
        }
        _ => format!("{stem}{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_extension_of_the_file_that_is_uploaded() {
        let of = |base, suffix, file: &str| key(base, suffix, Path::new(file));
        assert_eq!(of("web.01.zvhd2", "", "disk.qcow2"), "web.01.qcow2");
        assert_eq!(of("web.zvhd2", "", "disk"), "web");
        assert_eq!(of("a.b/web.raw", "-data1", "d.vhd"), "a.b/web-data1.vhd");
        assert_eq!(of("a.b/web", "-data2", "d"), "a.b/web-data2");
    }
}
