//! Which ways into the cloud an image can take, and why.

use diskimg::units::human;
use diskimg::{Details, Format, Reference};
use ims::rules::{MAX_COMMON_FILE, MAX_VIRTUAL_SIZE};
use serde::Serialize;

/// Yes or no, and why.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Yes.
    pub possible: bool,
    /// Why.
    pub reason: String,
}

impl Verdict {
    fn yes(reason: impl Into<String>) -> Self {
        Self {
            possible: true,
            reason: reason.into(),
        }
    }

    fn no(reason: impl Into<String>) -> Self {
        Self {
            possible: false,
            reason: reason.into(),
        }
    }
}

/// Whether a quick import takes the disk.
#[derive(Debug, Serialize)]
pub struct QuickImport {
    /// After imgferry converted it, which `import` does on the way.
    #[serde(flatten)]
    pub converted: Verdict,
    /// The file as it is.
    pub as_it_is: Verdict,
}

/// Whether an import by the service's own conversion takes the file.
#[derive(Debug, Serialize)]
pub struct CommonImport {
    /// The file as it is.
    #[serde(flatten)]
    pub as_it_is: Verdict,
}

/// What the rules are about.
pub(crate) struct Disk<'a> {
    pub(crate) details: &'a Details,
    pub(crate) virtual_size: u64,
    pub(crate) file_size: u64,
}

impl Disk<'_> {
    pub(crate) fn quick_import(&self) -> QuickImport {
        QuickImport {
            converted: self.converted(),
            as_it_is: self.quick_as_it_is(),
        }
    }

    fn converted(&self) -> Verdict {
        if let Some(how) = &self.details.encryption {
            return Verdict::no(format!("the image is encrypted ({how}); decrypt it first"));
        }
        if let Err(too_large) = self.quick_size() {
            return Verdict::no(too_large);
        }
        // Its parent is named by a UUID alone.
        if self.details.format == Format::Vdi
            && let Some(parent) = self.needs()
        {
            return Verdict::no(format!(
                "the disk is not complete without {parent}, and imgferry does not look for files \
                 by UUID; merge them first"
            ));
        }
        let size = format!(
            "quick import takes disks of up to {}, this one has {}",
            human(MAX_VIRTUAL_SIZE),
            human(self.virtual_size)
        );
        Verdict::yes(match self.unopened() {
            None => size,
            Some(name) => format!("{size}; give the folder of {name} with --allow-backing DIR"),
        })
    }

    fn quick_as_it_is(&self) -> Verdict {
        if let Err(too_large) = self.quick_size() {
            return Verdict::no(too_large);
        }
        if let Some(packed) = self.packed() {
            return Verdict::no(packed);
        }
        match self.details.format {
            Format::Zvhd2 => Verdict::yes("ZVHD2 is what quick import takes"),
            Format::Raw => Verdict::no(
                "quick import takes RAW only together with a bitmap file (.mf): imgferry import --to raw makes and uploads one",
            ),
            format => Verdict::no(format!(
                "quick import takes ZVHD2 and RAW, this is {format}"
            )),
        }
    }

    fn quick_size(&self) -> Result<(), String> {
        if self.virtual_size <= MAX_VIRTUAL_SIZE {
            return Ok(());
        }
        Err(format!(
            "quick import takes disks of up to {}, this one has {}",
            human(MAX_VIRTUAL_SIZE),
            human(self.virtual_size)
        ))
    }

    pub(crate) fn common_import(&self) -> CommonImport {
        CommonImport {
            as_it_is: self.common_as_it_is(),
        }
    }

    fn common_as_it_is(&self) -> Verdict {
        if let Some(how) = &self.details.encryption {
            return Verdict::no(format!("the image is encrypted ({how}); decrypt it first"));
        }
        if let Some(packed) = self.packed() {
            return Verdict::no(packed);
        }
        if let Some(name) = self.needs() {
            return Verdict::no(format!("the file is not complete without {name}"));
        }
        if self.file_size > MAX_COMMON_FILE {
            return Verdict::no(format!(
                "common import takes files of up to {}, this one has {}",
                human(MAX_COMMON_FILE),
                human(self.file_size)
            ));
        }
        let fits = format!(
            "common import takes {} files of up to {}, this one has {}",
            self.details.format,
            human(MAX_COMMON_FILE),
            human(self.file_size)
        );
        Verdict::yes(if self.virtual_size > MAX_COMMON_FILE {
            format!(
                "{fits}; regions that count the disk, of {}, refuse it",
                human(self.virtual_size)
            )
        } else {
            fits
        })
    }

    /// Why the service cannot read the file, when it is compressed as a whole.
    fn packed(&self) -> Option<String> {
        let how = self
            .details
            .compression
            .as_ref()
            .filter(|_| self.details.streamed)?;
        Some(format!(
            "the service does not unpack files, this one is compressed ({how})"
        ))
    }

    /// The first other file that the disk needs.
    fn needs(&self) -> Option<String> {
        self.details.refers_to.first().map(called)
    }

    /// The first other file that was not opened, or may not be without permission.
    fn unopened(&self) -> Option<String> {
        // The length of a part of the disk is known when it was opened.
        let mut others = self.details.refers_to.iter();
        others.find(|other| other.bytes.is_none()).map(called)
    }
}

/// What a message calls another file.
fn called(other: &Reference) -> String {
    format!("its {} {}", other.role, other.name)
}
