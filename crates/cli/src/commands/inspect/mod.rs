//! `imgferry inspect`: what an image is, from its metadata and partition table; a picture or a page
//! of it; a check of the file against the rules of its format; a look into the installed system.

mod check;
mod eligibility;
mod facts;
mod guest;
mod html;
mod package;
mod svg;
mod table;

use std::path::Path;

use ::convert::{CancelToken, OutputFile, Overwrite, Sink};
use diskimg::BackingPolicy;
use diskimg::text::shown;

use crate::args::InspectArgs;
use crate::console::Console;
use ::import::{Chosen, open_package, open_packed, refuse_standard_input};
use cloud::{Class, Failure, Result};

pub(crate) fn run(args: &InspectArgs, console: Console, cancel: &CancelToken) -> Result {
    if args.rules {
        return guest::rules(console);
    }
    refuse_standard_input(args.image())?;
    let mut options = args.source.options();
    options.metadata_only = !args.guest;
    if args.source.backing.allow_backing.is_none() && !args.guest {
        options.backing = BackingPolicy::Describe;
    }
    let output = args.map.as_deref().or(args.html.as_deref());
    let disk = args.package.disk(args.image());
    let package = open_package(&disk, &options)?;
    // One disk of several must be named; without a picture, a page or a check the machine is shown.
    if let Some(package) = &package
        && disk.member.is_none()
        && output.is_none()
        && !args.check
        && !args.guest
    {
        return package::run(package, &options, console, cancel);
    }
    let chosen =
        package.map(|package| Chosen::of(&package, disk.member.as_deref(), &options, true));
    let chosen = chosen.transpose()?;
    if args.check {
        return check::run(args, chosen.as_ref(), console, cancel);
    }
    let to_stdout = output == Some(Path::new("-"));
    if to_stdout && (console.json || args.guest) {
        return Err(two_results(args, console));
    }
    // What cannot be written is refused before the disk is walked.
    let file = match output {
        Some(path) if !to_stdout => Some(OutputFile::create_from(
            &[args.image()],
            path,
            if args.force {
                Overwrite::Replace
            } else {
                Overwrite::Refuse
            },
        )?),
        _ => None,
    };
    // Warnings are part of the result here, so they are not told apart from it.
    let opened = match chosen {
        Some(mut chosen) => chosen.open()?,
        None => match open_packed(args.image(), &options, None, cancel)? {
            Some(opened) => opened,
            None => ::convert::open_with(args.image(), &options)?,
        },
    };
    let (mut inspection, map) = facts::inspect(&disk.name(), &opened, cancel)?;
    if !args.no_guest && args.map.is_none() {
        inspection.guest = Some(guest::look(opened.image.as_ref()));
    }
    let drawn = || match args.html {
        Some(_) => html::page(&map, &inspection),
        None => svg::draw(&map, &inspection),
    };
    if to_stdout {
        return console.raw(drawn().as_bytes());
    }
    if let Some(mut file) = file {
        let target = shown(file.target()).to_string();
        file.write(drawn().as_bytes())
            .map_err(::convert::Error::Sink)?;
        file.commit()?;
        console.notice(format_args!("written: {target}"));
    }
    guest::show(&inspection, args.guest, console)
}

/// The failure for a picture or a page on standard output, and another result beside it.
fn two_results(args: &InspectArgs, console: Console) -> Failure {
    let other = if console.json { "--json" } else { "--guest" };
    let (option, hint) = match args.html {
        Some(_) => ("--html", "write the page to a file: --html disk.html"),
        None => ("--map", "write the picture to a file: --map disk.svg"),
    };
    Failure::new(
        Class::Refused,
        format!("{other} and {option} - both want standard output"),
    )
    .hint(hint)
}
