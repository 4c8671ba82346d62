//! The files that become objects, opened, planned and checked before anything is sent.

use cloud::{Class, Failure, Hint, ImportHint, Problem, Result, StopToken};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::convert::holes::Misreported;
use ::convert::{Plan, PlanOptions, Target};
use ::guest::Report;
use diskimg::source::{is_disk, type_name};
use diskimg::text::{shell_path, shown};
use diskimg::{DiskImage, Format, OpenOptions, Opened, partitions};
use freespace::FreeSpace;
use ims::rules::{CommonFile, MAX_DATA_DISKS};
use ims::{ImageKind, ImageUrl, QuickImport};

use super::bitmap::{self, RawJob, with_holes};
use super::checks::{self, Findings};
use super::discard::without_free;
use super::disk::SourceDisk;
use super::guest;
use super::memory::{plan_based, plan_bytes, plan_parts, plan_stream};
use super::method::{By, Found, Method};
use super::observe::Observer;
use super::source::{Input, Reading, open_input, warn_of_more};
use super::spec::{ImportSpec, data_key, key_for};
use super::watch::Watch;

/// One file, its object, and the image that is made of it.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) disk: SourceDisk,
    /// The file that it begins in: the one that was named, or one of the package that was.
    pub(crate) file: PathBuf,
    /// Bytes of the file; of a device or a pipe, of its disk.
    pub(crate) size: u64,
    /// Whether quick import takes the file without a conversion.
    pub(crate) is_zvhd2: bool,
    pub(crate) form: Form,
    pub(crate) request: QuickImport,
    /// All files of the disk, where it was opened as one.
    pub(crate) watch: Watch,
}

/// How a file becomes an object.
#[derive(Debug)]
pub(crate) enum Form {
    /// Its bytes as they are; parts may take so much memory.
    Bytes(u64),
    /// The disk inside, as a ZVHD2 stream.
    Stream(Disk),
    /// The disk inside as a raw object, part by part, and its bitmap.
    Parts(Disk, RawJob),
    /// It was sent: its disk is not held in memory any more.
    Sent,
}

impl Form {
    /// The disk that is converted.
    pub(crate) fn disk(&self) -> Option<&Disk> {
        match self {
            Self::Stream(disk) | Self::Parts(disk, _) => Some(disk),
            Self::Bytes(_) | Self::Sent => None,
        }
    }

    /// What is left out of that disk.
    pub(crate) fn discarded(&self) -> Option<FreeSpace> {
        self.disk().and_then(|disk| disk.discarded.clone())
    }
}

/// A disk that is converted.
pub(crate) struct Disk {
    pub(crate) image: Arc<dyn DiskImage>,
    pub(crate) plan: Plan,
    pub(crate) misreported: Option<Misreported>,
    /// What of it is left out, where that was asked for.
    pub(crate) discarded: Option<FreeSpace>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// Everything that is uploaded.
#[derive(Debug)]
pub(crate) struct Pieces {
    pub(crate) method: Method,
    pub(crate) system: Piece,
    /// Data disks that are registered together with it.
    pub(crate) data: Vec<Piece>,
    /// What was found on the system's disk, if somebody looked.
    pub(crate) guest: Option<Report>,
    /// Warnings of the images, which the observer has received.
    pub(crate) told: Vec<String>,
    /// Warnings of the checks, which it has not.
    pub(crate) warnings: Vec<String>,
}

impl Pieces {
    /// All pieces, the system's last: when its object exists, everything does.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Piece> {
        self.data.iter().chain([&self.system])
    }

    /// The same, to be changed.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Piece> {
        self.data.iter_mut().chain([&mut self.system])
    }
}

/// Opens, checks and plans all files; everything that is wrong is reported together, `missing`
/// too. Plans fit the first of `budgets` that suffices.
pub(crate) fn prepare(
    spec: &ImportSpec,
    method: Method,
    provider: Option<ims::Cloud>,
    missing: &[Problem],
    budgets: &[PlanOptions],
    (observer, stop): (&dyn Observer, &StopToken),
) -> Result<Pieces> {
    if !method.converts() || !spec.data_disks.is_empty() {
        bitmap::refuse_raw(spec, method.converts())?;
    }
    check_options(spec, method)?;
    let look = Look {
        spec,
        method,
        provider,
        observer,
        stop,
    };
    let mut findings = Findings::default();
    let (system, found) = look.system(&mut findings)?;
    let mut data = Vec::new();
    for (number, disk) in (1_u32..).zip(&spec.data_disks) {
        data.push(look.data(disk, number, &system.request, &mut findings)?);
    }
    let mut problems = findings.problems;
    problems.extend_from_slice(missing);
    if !problems.is_empty() {
        let opened = system.opened.as_ref();
        let disk = opened.map(|opened| (opened.format, opened.image.virtual_size()));
        return Err(guest::rejected(problems, found.as_ref(), disk));
    }
    let mut told = Vec::new();
    let mut data_pieces = Vec::new();
    for found in data {
        data_pieces.push(look.plan(found, budgets, &mut told)?);
    }
    let system = look.plan(system, budgets, &mut told)?;
    Ok(Pieces {
        method,
        system,
        data: data_pieces,
        guest: found,
        told,
        warnings: findings.warnings,
    })
}

/// Options that this method has no use for.
fn check_options(spec: &ImportSpec, method: Method) -> Result {
    let refused =
        |message: &str, hint: ImportHint| Err(Failure::new(Class::Refused, message).hint(hint));
    // A disk that is converted here is read as for other imports.
    let odd = spec.open.snapshot.is_some()
        || !matches!(spec.open.backing, diskimg::BackingPolicy::Refuse);
    if spec.discard_free.is_some() && !method.converts() {
        return refused(
            "the file is uploaded as it is: free space cannot be left out of it",
            ImportHint::UseQuickImport,
        );
    }
    if odd && !method.converts() {
        return refused(
            "the file is uploaded as it is: a snapshot or a directory of backing files has no \
             effect on it",
            ImportHint::UseQuickImport,
        );
    }
    let disks = spec.data_disks.len();
    if disks == 0 {
        return Ok(());
    }
    let iso = method.found == Found::Iso;
    if spec.kind == ImageKind::DataImage || iso || method.by == By::Glance {
        return refused(
            "data disks belong beside a system image",
            ImportHint::ImportDataDisksAlone,
        );
    }
    if spec.cmk_id.is_some() {
        return refused(
            "the key would encrypt the system image and not its data disks",
            ImportHint::ImportDataDisksAlone,
        );
    }
    if disks > MAX_DATA_DISKS {
        return Err(Failure::new(
            Class::Refused,
            format!(
                "{disks} data disks are given, the service takes at most {MAX_DATA_DISKS} together \
                 (IMG.0194)"
            ),
        )
        .hint(ImportHint::ImportDataDisksAlone));
    }
    Ok(())
}

/// How files are opened and checked.
struct Look<'a> {
    spec: &'a ImportSpec,
    method: Method,
    provider: Option<ims::Cloud>,
    observer: &'a dyn Observer,
    stop: &'a StopToken,
}

/// A file that was opened and checked.
struct Opening {
    disk: SourceDisk,
    file: PathBuf,
    size: u64,
    request: QuickImport,
    /// `None` where only the service reads the format.
    opened: Option<Opened>,
    raw: Option<RawJob>,
    watch: Watch,
    told: Vec<String>,
}

impl Look<'_> {
    fn system(&self, findings: &mut Findings) -> Result<(Opening, Option<Report>)> {
        let (spec, converts) = (self.spec, self.method.converts());
        let found = self.method.found;
        let file_size = match converts {
            // Alone it may be a device or a pipe, and counts as its disk; so does one of a package.
            true if spec.data_disks.is_empty() || spec.disk.member.is_some() => None,
            true => std::fs::metadata(&spec.disk.path)
                .ok()
                .filter(std::fs::Metadata::is_file)
                .map(|file| file.len()),
            false => Some(size_of(&spec.disk.path)?),
        };
        let input = match found {
            Found::Iso | Found::Foreign => None,
            Found::Other if converts => Some(self.open(&spec.disk, &spec.open, spec.pipe_size)?),
            Found::Other => Some(
                self.open(&spec.disk, &spec.open, spec.pipe_size)
                    .map_err(alone)?,
            ),
        };
        // Unknown for formats that only the service reads.
        let virtual_size = match (&input, found) {
            (Some(input), _) => Some(input.opened.image.virtual_size()),
            (None, Found::Iso) => file_size,
            (None, _) => None,
        };
        if virtual_size.is_none() && spec.min_disk.is_none() {
            findings.problems.push(Problem::new(
                "the size of the disk inside is not known",
                ImportHint::GiveMinDisk,
            ));
        }
        let size = file_size.or(virtual_size).unwrap_or_default();
        let mut request = spec.request(virtual_size.unwrap_or(size));
        if spec.key.is_none() && !converts {
            request.image_url.key = key_for(&request.image_url.key, "", &spec.disk.path);
        }
        let file = CommonFile {
            size,
            virtual_size,
            iso: found == Found::Iso,
        };
        let guest = input
            .as_ref()
            .and_then(|input| guest::look(spec, &mut request, input, self.provider, findings));
        self.check(&request, &file, findings);
        let mut raw = None;
        if let Some(input) = &input {
            self.check_disk(input, &request, guest.is_some(), findings);
            if converts {
                checks::key(&request, format_of(spec.target), findings);
                let (key, format) = (&request.image_url.key, input.opened.format);
                raw = bitmap::prepare(spec, key, format, &mut findings.problems);
            }
            if input.opened.image.details().streamed && raw.is_some() {
                findings.problems.push(Problem::new(
                    "the parts of a raw object are sent in any order, and a pipe or a compressed \
                     disk is read front to back",
                    ImportHint::LeaveRawOrSave,
                ));
            }
        }
        Ok((Opening::new(&spec.disk, size, request, input, raw), guest))
    }

    fn data(
        &self,
        disk: &SourceDisk,
        number: u32,
        system: &QuickImport,
        findings: &mut Findings,
    ) -> Result<Opening> {
        size_of(&disk.path)?;
        let input = self
            .open(disk, &OpenOptions::of(None), None)
            .map_err(|failure| no_data_disk(failure, &disk.path))?;
        let virtual_size = input.opened.image.virtual_size();
        let size = input.opened.file_len;
        let suffix = format!("-data{number}");
        let url = ImageUrl {
            bucket: system.image_url.bucket.clone(),
            key: data_key(
                &system.image_url.key,
                number,
                &disk.path,
                self.method.converts(),
            ),
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
        let mut found = Findings::default();
        self.check(&request, &file, &mut found);
        self.check_disk(&input, &request, false, &mut found);
        let name = disk.name();
        let of = |text: String| format!("{}: {text}", shown(&name));
        let problems = found.problems.into_iter().map(|problem| Problem {
            message: of(problem.message),
            ..problem
        });
        findings.problems.extend(problems);
        findings.warnings.extend(found.warnings.into_iter().map(of));
        Ok(Opening::new(disk, size, request, Some(input), None))
    }

    /// Opens a disk; what is on a pipe or compressed has `size` bytes.
    fn open(&self, disk: &SourceDisk, options: &OpenOptions, size: Option<u64>) -> Result<Input> {
        let reading = Reading {
            size,
            threads: self.spec.work.threads,
            observer: self.observer,
            cancel: self.stop.token(),
            force_share: self.spec.force_share,
            ignore_manifest: self.spec.ignore_manifest,
        };
        let input = open_input(disk, options, reading)?;
        if self.method.converts() {
            return Ok(input);
        }
        let files = input.opened.files.len().saturating_add(1);
        let why = if input.is_packaged {
            "the file would be uploaded unchanged, and the service does not read packages"
                .to_owned()
        } else if input.opened.image.details().streamed {
            "the file would be uploaded unchanged, and the service does not unpack compressed files"
                .to_owned()
        } else if files > 1 {
            format!("the disk is in {files} files, and only this one would be uploaded")
        } else {
            return Ok(input);
        };
        let message = format!("{}: {why}", shown(&disk.name()));
        Err(Failure::new(Class::Refused, message).hint(ImportHint::UseQuickImport))
    }

    /// The rules of the method.
    fn check(&self, request: &QuickImport, file: &CommonFile, findings: &mut Findings) {
        match (self.method.by, file.virtual_size) {
            (By::Nothing, _) => findings.add(checks::unregistered(request)),
            (By::Quick, Some(size)) => findings.add(checks::local(request, size, self.provider)),
            _ => checks::common(request, file, self.provider, findings),
        }
    }

    /// What the disk begins with; how it boots only where nobody has looked into it.
    fn check_disk(
        &self,
        input: &Input,
        request: &QuickImport,
        inspected: bool,
        findings: &mut Findings,
    ) {
        let image = input.opened.image.as_ref();
        let table = match image.details().streamed {
            // Only its beginning is at hand.
            true => partitions::read_front(image),
            false => partitions::read(image),
        };
        checks::disk(
            table,
            (image.virtual_size(), inspected),
            request,
            self.spec,
            findings,
        );
    }

    /// Decides the form of a file, and plans it.
    fn plan(
        &self,
        opening: Opening,
        budgets: &[PlanOptions],
        told: &mut Vec<String>,
    ) -> Result<Piece> {
        let Opening {
            disk: source,
            file,
            size,
            request,
            opened,
            raw,
            watch,
            told: mut own,
        } = opening;
        let is_zvhd2 = opened
            .as_ref()
            .is_some_and(|opened| opened.format == Format::Zvhd2);
        let form = match opened.filter(|_| self.method.converts()) {
            None => Form::Bytes(plan_bytes(size, budgets)?),
            Some(opened) => {
                let (image, misreported) = with_holes(opened.image, self.spec.verify_holes);
                let cancel = self.stop.token();
                let wanted = self.spec.discard_free;
                let (image, discarded) =
                    without_free(image, &source.name(), wanted, self.observer, cancel)?;
                let plan = self.plan_disk(image.as_ref(), raw.as_ref(), &watch, budgets)?;
                let more = warn_of_more(image.as_ref(), &source.name(), &own, self.observer);
                own.extend(more);
                let disk = Disk {
                    image: Arc::from(image),
                    plan,
                    misreported,
                    discarded,
                };
                match raw {
                    Some(raw) => Form::Parts(disk, raw),
                    None => Form::Stream(disk),
                }
            }
        };
        told.append(&mut own);
        Ok(Piece {
            disk: source,
            file,
            size,
            is_zvhd2,
            form,
            request,
            watch,
        })
    }

    fn plan_disk(
        &self,
        image: &dyn DiskImage,
        raw: Option<&RawJob>,
        watch: &Watch,
        budgets: &[PlanOptions],
    ) -> Result<Plan> {
        let concurrency = self.spec.concurrency;
        let mut refused = Failure::new(Class::Refused, "there is no memory for it");
        for budget in budgets {
            let plan = match raw {
                None if self.spec.base.is_some() || self.spec.warm.is_some() => {
                    plan_based(image, concurrency, budget.clone())
                }
                None => plan_stream(image, concurrency, budget.clone()),
                Some(raw) => {
                    let based = self.spec.base.is_some();
                    plan_parts(image, &raw.bitmap, concurrency, budget.clone(), based)
                }
            };
            match plan {
                Ok(plan) => return Ok(plan),
                Err(error @ ::convert::Error::Source(_)) => return Err(watch.cause(error)),
                Err(error) => refused = error.into(),
            }
        }
        Err(too_little(refused, budgets))
    }
}

impl Opening {
    fn new(
        disk: &SourceDisk,
        size: u64,
        request: QuickImport,
        input: Option<Input>,
        raw: Option<RawJob>,
    ) -> Self {
        let (opened, file, watch, told) = match input {
            Some(input) => (Some(input.opened), input.file, input.watch, input.warnings),
            None => (None, disk.path.clone(), Watch::default(), Vec::new()),
        };
        Self {
            disk: disk.clone(),
            file,
            size,
            request,
            opened,
            raw,
            watch,
            told,
        }
    }
}

/// Why a disk fits into no budget. One that shares its budget with others needs more than the plan
/// says: the program takes its part.
fn too_little(refused: Failure, budgets: &[PlanOptions]) -> Failure {
    let is_shared = budgets.iter().any(|budget| budget.program_memory == 0);
    if !is_shared || refused.class() != Class::Refused {
        return refused;
    }
    Failure::new(Class::Refused, refused.line()).hint(ImportHint::MoreMemoryForBatch)
}

/// Why an image cannot be opened of which only one file is uploaded: to allow others is no help.
fn alone(failure: Failure) -> Failure {
    let others = failure.hints().iter().any(|hint| {
        matches!(
            hint,
            Hint::Disk(diskimg::Hint::AllowBacking { .. } | diskimg::Hint::NameBackingDir { .. })
        )
    });
    match others {
        true => failure.only_hint(ImportHint::MergeFiles),
        false => failure,
    }
}

/// Why a disk cannot be opened that is to be registered with its system.
fn no_data_disk(failure: Failure, path: &Path) -> Failure {
    let choose = failure.hints().iter().find_map(|hint| match hint {
        Hint::ChooseDisk(disks) => Some(disks.clone()),
        _ => None,
    });
    match choose {
        // Only of the system's package a disk can be named.
        Some(disks) => failure.only_hint(ImportHint::ConvertDiskOfPackage {
            package: shell_path(path),
            disks,
        }),
        None => alone(failure).hint(ImportHint::ImportDataDisksAlone),
    }
}

/// The format of the object.
const fn format_of(target: Target) -> Format {
    match target {
        Target::Zvhd2 => Format::Zvhd2,
        Target::Raw => Format::Raw,
    }
}

/// Bytes of a regular file.
fn size_of(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path).map_err(|e| {
        Failure::from_error(Class::Refused, &e).context(format!("{} cannot be read", shown(&path)))
    })?;
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    let failure = Failure::new(
        Class::Refused,
        format!(
            "{} is {}; only regular files are uploaded as they are",
            shown(&path),
            type_name(metadata.file_type())
        ),
    );
    Err(match is_disk(metadata.file_type()) {
        true => failure.hint(ImportHint::UseQuickImport),
        false => failure,
    })
}
