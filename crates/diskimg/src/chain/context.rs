//! What a driver gets besides the bytes: the options, and whether it may open other files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::below::Below;
use super::handles::Handles;
use super::inside::Inside;
use super::names::{NamedPath, candidates};
use super::wanted::{Role, Wanted, format_named};
use crate::disguise::Disguise;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Format;
use crate::hint::Hint;
use crate::image::DiskImage;
use crate::limits::{
    CHAINED_CACHE_SHARE, MAX_CHAIN_FILES, MAX_CHAINED_BYTES, MAX_CHAINED_SLICE_BYTES,
};
use crate::named::Named;
use crate::options::{BackingPolicy, OpenOptions};
use crate::source::{FileId, ReadAt};
use crate::text::{shell_path, shown};
use crate::units::human;
use crate::unpack::Pool;
use crate::work::Steps;

/// Opens the file in a source, which an image names, as an image of the format that somebody said.
pub(crate) type Opener =
    Arc<dyn Fn(Format, Arc<dyn ReadAt>, &Context) -> Result<Box<dyn DiskImage>> + Send + Sync>;

/// What a [`crate::Driver`] gets besides the bytes.
#[derive(Clone, Default)]
pub struct Context {
    options: OpenOptions,
    /// Opens images below this one; without it none is.
    opener: Option<Opener>,
    /// The files from the one that the user named to the one that is being opened.
    chain: Vec<Link>,
    /// Whether the file that the user named is called otherwise than its content says.
    disguise: Option<Disguise>,
    shared: Arc<Shared>,
}

/// What the files of a chain hold together.
#[derive(Default)]
pub(crate) struct Shared {
    /// Bytes that files below the first one hold whole.
    whole: AtomicU64,
    /// Most bytes that opening one of the files takes for a moment, before anything is read from
    /// it.
    opening: AtomicU64,
    /// Files below the first one that were opened.
    files: Mutex<Vec<PathBuf>>,
    /// Files that hold parts of a disk.
    pub(super) handles: Arc<Handles>,
    /// What unpacks qcow2's clusters and VMDK's grains: a thread reads from one file at a time.
    pub(crate) unpackers: Pool,
    /// Counts the work of finding out what lies where.
    steps: Steps,
}

impl Shared {
    /// Files below the first one that were opened.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.files.lock().clone()
    }
}

/// What opening the files of a chain took for a moment; the first one accounts for all of them.
pub(crate) struct Opening(Option<Arc<Shared>>);

impl Opening {
    pub(crate) fn of(context: &Context) -> Self {
        Self(context.is_first().then(|| Arc::clone(&context.shared)))
    }

    /// Most bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let shared = self.0.as_ref();
        shared.map_or(0, |shared| shared.opening.load(Ordering::Relaxed))
    }
}

/// A file that is being opened.
#[derive(Clone, Debug)]
struct Link {
    path: Option<PathBuf>,
    id: Option<FileId>,
}

impl Link {
    fn new(source: &dyn ReadAt) -> Self {
        Self {
            path: source.path().map(Path::to_owned),
            id: source.id(),
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("options", &self.options)
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

/// A file that an image names, if it may be opened.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub(crate) enum Referred {
    /// It may not, and the image is opened all the same, to be described.
    Unopened,
    /// It was opened; nothing of it has been read.
    Found(Found),
}

/// A file that an image names, opened.
pub(crate) struct Found {
    pub(crate) source: Arc<dyn ReadAt>,
    /// For opening it as an image.
    pub(crate) context: Context,
    /// A warning, when it is not where the image says, and only its name suggests that it is
    /// the one.
    pub(crate) moved: Option<String>,
}

impl Found {
    /// Where it was found.
    pub(crate) fn path(&self) -> PathBuf {
        self.source.path().map(Path::to_owned).unwrap_or_default()
    }

    /// `image`, which was opened from it, below the image that named it as `wanted`.
    pub(crate) fn below(&self, wanted: &Wanted, image: Box<dyn DiskImage>) -> Below {
        let image = Box::new(Named::new(image, &self.source));
        // The first file's bound holds for those that build on each other below it.
        Below::image(wanted.reference(), image, self.context.is_second())
    }
}

impl Context {
    /// For an image that the user named, somewhere.
    #[must_use]
    pub fn new(options: &OpenOptions) -> Self {
        Self {
            options: options.clone(),
            ..Self::default()
        }
    }

    /// For the image in `source`, which the user named.
    pub(crate) fn of(options: &OpenOptions, source: &dyn ReadAt, opener: Opener) -> Self {
        Self {
            opener: Some(opener),
            chain: vec![Link::new(source)],
            ..Self::new(options)
        }
    }

    /// The same for a file that is called otherwise than its content says: it opens no other file.
    pub(crate) fn with_disguise(self, disguise: Option<Disguise>) -> Self {
        Self { disguise, ..self }
    }

    /// For the image in `source`, of which only the metadata are wanted: of the files that it names
    /// those are opened that need no permission.
    pub(crate) fn describing(source: &dyn ReadAt) -> Self {
        Self {
            chain: vec![Link::new(source)],
            ..Self::describe()
        }
    }

    /// For an image of which only the metadata are wanted: no file that it names is opened.
    #[must_use]
    pub fn describe() -> Self {
        Self {
            options: OpenOptions {
                backing: BackingPolicy::Describe,
                metadata_only: true,
                ..OpenOptions::default()
            },
            ..Self::default()
        }
    }

    /// What happens with the files that the image names.
    #[must_use]
    pub fn policy(&self) -> &BackingPolicy {
        &self.options.backing
    }

    /// Name or id of the internal snapshot that is to be read instead of the active disk. Only the
    /// image that the user named is ever asked for one.
    #[must_use]
    pub fn snapshot(&self) -> Option<&str> {
        self.options.snapshot.as_deref()
    }

    /// Whether an image that cannot be read is opened all the same, to be described. Only the image
    /// that the user named ever is.
    pub(crate) fn metadata_only(&self) -> bool {
        self.options.metadata_only
    }

    /// Whether clear bits of a dynamic VHD's sector bitmaps mean nothing.
    pub(crate) fn ignores_vhd_bitmaps(&self) -> bool {
        self.options.ignore_vhd_bitmaps
    }

    /// Whether the image is the one that the user named, which accounts for what all files of its
    /// chain share.
    pub(crate) fn is_first(&self) -> bool {
        self.chain.len() <= 1
    }

    /// Whether the image is the one right below that.
    pub(crate) fn is_second(&self) -> bool {
        self.chain.len() == 2
    }

    /// What the files of the chain share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Counts the work of finding out what lies where, in all files of the chain.
    pub(crate) fn steps(&self) -> &Steps {
        &self.shared.steps
    }

    /// How much of a cache of `bytes` an image gets: all those of a chain are in memory at once.
    pub(crate) fn cache(&self, bytes: u64) -> u64 {
        if self.is_first() {
            bytes
        } else {
            bytes / CHAINED_CACHE_SHARE
        }
    }

    /// How much of a table is read at once where a file that stands alone would read `bytes`.
    pub(crate) fn slice(&self, bytes: u64) -> u64 {
        if self.is_first() {
            bytes
        } else {
            bytes.min(MAX_CHAINED_SLICE_BYTES)
        }
    }

    /// Notes that opening the image takes `bytes` for a moment, which are given back before
    /// anything is read from it.
    pub(crate) fn takes_for_a_moment(&self, bytes: u64) {
        self.shared.opening.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Notes that the image keeps `len` bytes of `structure` at `at` in memory, before it
    /// reads them. What the first file keeps has the caps of its format alone.
    ///
    /// # Errors
    /// `Limit` when it is more than the files below the first one may keep together.
    pub(crate) fn keep(&self, structure: &'static str, at: u64, len: u64) -> Result<()> {
        if self.is_first() {
            return Ok(());
        }
        let before = self.shared.whole.fetch_add(len, Ordering::Relaxed);
        if before.saturating_add(len) <= MAX_CHAINED_BYTES {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Limit,
            format!(
                "it is {len} bytes long; files below another one may keep {} in memory together, \
                 and those below this one keep {before} bytes",
                human(MAX_CHAINED_BYTES)
            ),
        )
        .at(structure, at)
        .with_hint(
            "make one image of a part of the chain first: qemu-img convert -O qcow2 IMAGE \
            flat.qcow2",
        ))
    }

    /// Finds a file that the image in question names, by the policy.
    ///
    /// # Errors
    /// `Unsupported` when the policy does not allow it, `Limit` when too many files stand on each
    /// other, `Corrupt` when they stand on themselves, `Io` when it is not there.
    pub(crate) fn refer(&self, wanted: &Wanted) -> Result<Referred> {
        let dir = match (&self.options.backing, &self.disguise) {
            (BackingPolicy::Describe, _) => return Ok(Referred::Unopened),
            (_, Some(disguise)) => return Err(disguise.refusal(&wanted.describe())),
            (BackingPolicy::Sealed, None) => return Err(wanted.sealed()),
            (BackingPolicy::Refuse, None) => return Err(self.refusal(wanted)),
            (BackingPolicy::Inside(dir), None) => dir,
        };
        if self.chain.len() >= MAX_CHAIN_FILES {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "the image has {}, and is the last of {MAX_CHAIN_FILES} files that build on \
                     each other; more are not opened",
                    wanted.describe()
                ),
            ));
        }
        let inside = Inside::new(dir)?;
        let namer = self.namer();
        let mut refused = None;
        for named in &wanted.paths {
            let elsewhere = matches!(named, NamedPath::Foreign(_)) && wanted.role != Role::Parent;
            // A parent has an identifier. Of other files only the path says which one it is, and a
            // path that leads to a file says it.
            if elsewhere && refused.is_some() {
                break;
            }
            for path in candidates(named, namer, inside.dir()) {
                match inside.open(&path?) {
                    Ok(Some(source)) => {
                        let moved = elsewhere.then(|| wanted.moved_to(&source));
                        return self.found(wanted, Arc::new(source), moved);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        refused.get_or_insert(error);
                    }
                }
            }
        }
        Err(match refused {
            Some(error) => wanted.unopenable(error),
            None => Error::io(
                format!(
                    "the image has {}, which is not in {} or below it, where it is looked for",
                    wanted.describe(),
                    shown(dir)
                ),
                std::io::ErrorKind::NotFound.into(),
            )
            .with_hint(wanted.missing_hint()),
        })
    }

    fn found(
        &self,
        wanted: &Wanted,
        source: Arc<dyn ReadAt>,
        moved: Option<String>,
    ) -> Result<Referred> {
        let link = Link::new(source.as_ref());
        if self.is_in_chain(source.as_ref()) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the image has {}, which is built on this image itself: a loop",
                    wanted.describe()
                ),
            ));
        }
        self.note_file(source.as_ref());
        let mut context = self.clone();
        context.options.snapshot = None;
        context.options.metadata_only = false;
        context.chain.push(link);
        Ok(Referred::Found(Found {
            source,
            context,
            moved,
        }))
    }

    /// Whether the file in `source` is one of those from the one that the user named to this one.
    pub(super) fn is_in_chain(&self, source: &dyn ReadAt) -> bool {
        let link = Link::new(source);
        self.chain.iter().any(|known| match (known.id, link.id) {
            (Some(known), Some(id)) => known == id,
            _ => known.path.is_some() && known.path == link.path,
        })
    }

    /// Notes that the file in `source` was opened because an image names it.
    pub(super) fn note_file(&self, source: &dyn ReadAt) {
        if let Some(path) = source.path() {
            self.shared.files.lock().push(path.to_owned());
        }
    }

    /// The file that names others, when it has a path.
    pub(super) fn namer(&self) -> Option<&Path> {
        self.chain.last()?.path.as_deref()
    }

    /// Whether the file that the user named is called otherwise than its content says.
    pub(super) fn disguise(&self) -> Option<&Disguise> {
        self.disguise.as_ref()
    }

    /// Opens a file that an image names as `declared`, the name of a format, or, when there is
    /// none, as the format that the user named for this case. Its content is not asked.
    ///
    /// # Errors
    /// `Unsupported` when the format is not read, or neither declared nor named; those of opening
    /// it.
    pub(crate) fn open_declared(&self, wanted: &Wanted, found: Found) -> Result<Below> {
        let format = match wanted.format.as_deref() {
            Some(declared) => format_named(declared).ok_or_else(|| {
                Error::unsupported(format!(
                    "the image has {}, a format that imgferry does not read there",
                    wanted.describe()
                ))
            })?,
            None => self.options.backing_format.ok_or_else(|| {
                Error::unsupported(format!(
                    "the image has {}, and does not say of which format that is; it is never \
                     guessed",
                    wanted.describe()
                ))
                .with_hint(Hint::NameBackingFormat)
            })?,
        };
        let opener = self.opener.as_ref().ok_or_else(|| {
            Error::unsupported(format!(
                "the image has {}, and is opened by itself",
                wanted.describe()
            ))
        })?;
        let image = opener(format, Arc::clone(&found.source), &found.context)
            .map_err(|error| wanted.unopenable(error.in_file(&found.path())))?;
        Ok(found.below(wanted, image))
    }

    fn refusal(&self, wanted: &Wanted) -> Error {
        let hint = Hint::AllowBacking {
            dir: self.dir_for(wanted),
            or: Some(wanted.whole_hint.to_owned()).filter(|whole| !whole.is_empty()),
        };
        let this = match wanted.role {
            Role::Parent => "this is a differencing disk: it has",
            Role::Snapshot => "this is a snapshot: it has",
            Role::Backing | Role::Data | Role::Extent => "the image has",
        };
        Error::unsupported(format!(
            "{this} {}, which imgferry does not open unless it is allowed to",
            wanted.describe()
        ))
        .with_hint(hint)
    }

    /// The directory that would have to be allowed, when the name itself says so. Of an absolute
    /// path it may be one of another machine.
    pub(super) fn dir_for(&self, wanted: &Wanted) -> Option<String> {
        let Some(NamedPath::Here(path)) = wanted.paths.first() else {
            return None;
        };
        let namer = self.namer()?;
        path.file_name()?;
        let dir = namer.parent()?.join(path.parent()?);
        let dir = match dir.as_os_str().is_empty() {
            true => Path::new("."),
            false => &dir,
        };
        let word = shell_path(dir)?;
        Some(match path.is_absolute() {
            true => format!("{word}, or the directory to which it was copied"),
            false => word,
        })
    }
}
