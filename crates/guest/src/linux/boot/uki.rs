//! Unified kernel images: programs for UEFI with a kernel, its command line and an initramfs.

use super::entry::{BootFile, Entry, Menu};
use super::places::Places;
use crate::budget::MAX_KERNELS;
use crate::linux::command_line::CommandLine;
use crate::linux::pe;
use crate::tree::Result;

/// The images below `top`, newest first; `None` without any.
pub(super) fn menu(places: &Places<'_>, top: &[u8]) -> Result<Option<Menu>> {
    let dir = [top, b"/EFI/Linux"].concat();
    let mut names: Vec<Vec<u8>> = places
        .view
        .list(&dir)?
        .into_iter()
        .map(|entry| entry.name)
        .filter(|name| name.to_ascii_lowercase().ends_with(b".efi"))
        .collect();
    names.sort_by(|a, b| crate::linux::version::compare(b, a));
    let mut menu = Menu::default();
    for name in names.into_iter().take(MAX_KERNELS) {
        let path = [dir.as_slice(), b"/", &name].concat();
        let Some(file) = places.view.open(&path)? else {
            continue;
        };
        let command_line = pe::text(&file, ".cmdline")?.unwrap_or_default();
        menu.entries.push(Entry {
            title: name,
            path: path.clone(),
            text: command_line.clone(),
            kernel: Some(BootFile {
                written: path.clone(),
                line: 0,
                path: Some(path),
            }),
            command_line: CommandLine::parse(&command_line),
            ..Entry::default()
        });
    }
    let names: Vec<&[u8]> = menu.entries.iter().map(|it| it.title.as_slice()).collect();
    menu.default = super::bls::wanted(places, top, &names)?.or(Some(0));
    Ok((!menu.entries.is_empty()).then_some(menu))
}
