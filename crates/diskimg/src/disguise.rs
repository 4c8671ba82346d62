//! Files named like raw disks whose content is an image.

use crate::error::{Error, ErrorKind};
use crate::format::Format;
use crate::hint::Hint;
use crate::options::OpenOptions;
use crate::source::ReadAt;

/// A file whose name says that it is a raw disk and whose content says that it is an image. The
/// guest of a raw disk can do that by writing an image's header into its first sector.
#[derive(Clone, Debug)]
pub(crate) struct Disguise {
    extension: String,
    format: Format,
}

impl Disguise {
    /// Extensions of raw disks.
    const RAW: [&'static str; 5] = ["raw", "img", "dd", "hdd", "bin"];

    /// `None` when name and content agree, when the name says nothing, or when the user named the
    /// format.
    pub(crate) fn of(source: &dyn ReadAt, options: &OpenOptions, format: Format) -> Option<Self> {
        if options.format.is_some() || format == Format::Raw {
            return None;
        }
        let extension = source.path()?.extension()?.to_str()?.to_ascii_lowercase();
        Self::RAW
            .contains(&extension.as_str())
            .then_some(Self { extension, format })
    }

    /// For people who see the image's warnings.
    pub(crate) fn warning(&self) -> String {
        let Self { extension, format } = self;
        format!(
            "the name ends in .{extension}, as that of a raw disk, but the content is {format} \
             and is read as {format}; if the guest of a raw disk wrote it, it must be read as raw"
        )
    }

    /// The refusal of opening a file that such an image names: `named` describes it.
    pub(crate) fn refusal(&self, named: &str) -> Error {
        let Self { extension, format } = self;
        Error::new(
            ErrorKind::Ambiguous,
            format!(
                "the name ends in .{extension}, as that of a raw disk, but the content is {format} \
                 and has {named}; the guest of a raw disk could have written that to read another \
                 file"
            ),
        )
        .with_hint(Hint::NameFormat(vec![Format::Raw, *format]))
    }
}
