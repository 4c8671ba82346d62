//! Windows: which one it is, and whether it starts on the cloud's machine and can be reached.

pub(crate) mod boot;
mod disk;
pub(crate) mod filters;
pub(crate) mod hive;
pub(crate) mod leftovers;
pub(crate) mod pagefile;
mod product;
mod registry;
mod services;
pub(crate) mod settings;
#[cfg(test)]
mod testing;
pub(crate) mod virtio;

pub(crate) use self::disk::Disk;
use crate::Os;
use crate::known::Known;
use crate::view::View;

/// Names of the directory that Windows is in.
const DIRECTORIES: [&str; 4] = ["Windows", "WINNT", "WIN32", "WIN"];

/// What is known of an installed Windows.
#[derive(Debug)]
pub(crate) struct Windows {
    pub(crate) product: Known<product::Product>,
    /// Paths of the hives, and whether all changes of them are in them.
    pub(crate) hives: Vec<(String, Known<bool>)>,
    pub(crate) drivers: virtio::Drivers,
    pub(crate) lost_filters: Known<Vec<filters::LostFilter>>,
    pub(crate) boot: boot::Boot,
    pub(crate) settings: settings::Settings,
    pub(crate) pagefiles: Known<Vec<pagefile::Pagefile>>,
    pub(crate) leftovers: leftovers::Leftovers,
}

impl Windows {
    /// Version of the kernel, such as 10.0, when it is known.
    pub(crate) fn kernel(&self) -> Option<(u32, u32)> {
        self.product.as_ref().ok()?.kernel
    }
}

/// The directory of the Windows in `view`, or `None` when there is none.
pub(crate) fn directory(view: &View) -> Known<Option<String>> {
    for name in DIRECTORIES {
        let directory = format!("/{name}");
        if view.exists(format!("{directory}/System32/config"))?
            && view.exists(format!("{directory}/System32/cmd.exe"))?
        {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}

/// The Windows in `directory` of `view`: what it is, and all that its rules ask for.
pub(crate) fn collect(view: &View, directory: &str, disk: &Disk) -> (Os, Windows) {
    let registry = registry::Registry::open(view, directory);
    let product = product::collect(&registry);
    let os = product::os(view, directory, &registry, &product);
    let drive = product.as_ref().ok().and_then(|product| product.drive);
    let windows = Windows {
        drivers: virtio::collect(&registry, view, directory),
        lost_filters: filters::collect(&registry, view, directory),
        boot: boot::collect(&registry, view, disk),
        settings: settings::collect(&registry, view, directory),
        pagefiles: pagefile::collect(&registry, disk, drive),
        leftovers: leftovers::collect(&registry, view),
        hives: registry.hives,
        product,
    };
    (os, windows)
}

#[cfg(test)]
mod tests;
