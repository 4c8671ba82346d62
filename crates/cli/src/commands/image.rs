//! `imgferry image`: looking after images.

mod change;
mod jobs;
mod show;

use ims::ImageId;

use crate::args::{CloudArgs, ImageArgs, ImageCommand};
use crate::console::Console;
use cloud::{Class, Failure, Result, Session, SessionOptions, StopToken};

pub(crate) async fn run(args: &ImageArgs, console: Console, stop: &StopToken) -> Result {
    let session = Session::open(&cloud(&args.command).options(), SessionOptions::default()).await?;
    let ended = dispatch(&session, &args.command, console, stop).await;
    session.close(ended).await
}

async fn dispatch(
    session: &Session,
    command: &ImageCommand,
    console: Console,
    stop: &StopToken,
) -> Result {
    let quick = async {
        match command {
            ImageCommand::List(args) => show::list(session, args, console).await,
            ImageCommand::Show(args) => show::show(session, args, console).await,
            ImageCommand::Set(args) => change::set(session, args, console).await,
            ImageCommand::Delete(args) => change::delete(session, args, console).await,
            ImageCommand::Tag(args) => change::tag(session, args, console).await,
            ImageCommand::Untag(args) => change::untag(session, args, console).await,
            ImageCommand::Members(args) => show::members(session, args, console).await,
            ImageCommand::Tags(args) => show::tags(session, args, console).await,
            // These start jobs: stopped halfway it would be unknown whether one has begun.
            command => jobs::run(session, command, console, stop).await,
        }
    };
    match command {
        ImageCommand::Copy(_)
        | ImageCommand::Export(_)
        | ImageCommand::Share(_)
        | ImageCommand::Unshare(_)
        | ImageCommand::Accept(_)
        | ImageCommand::Create(_) => quick.await,
        _ => stop.unless_asked(quick).await?,
    }
}

fn cloud(command: &ImageCommand) -> &CloudArgs {
    match command {
        ImageCommand::List(args) => &args.cloud,
        ImageCommand::Show(args) | ImageCommand::Members(args) => &args.cloud,
        ImageCommand::Tags(args) => &args.cloud,
        ImageCommand::Set(args) => &args.cloud,
        ImageCommand::Delete(args) => &args.cloud,
        ImageCommand::Tag(args) => &args.cloud,
        ImageCommand::Untag(args) => &args.cloud,
        ImageCommand::Copy(args) => &args.cloud,
        ImageCommand::Export(args) => &args.cloud,
        ImageCommand::Share(args) | ImageCommand::Unshare(args) => &args.cloud,
        ImageCommand::Accept(args) => &args.cloud,
        ImageCommand::Create(args) => &args.cloud,
    }
}

/// The id, checked before anything is sent.
pub(crate) fn image_id(text: &str) -> Result<ImageId> {
    text.parse()
        .map_err(|e| Failure::from_error(Class::Refused, &e).hint("imgferry image list shows ids"))
}

fn image_ids(texts: &[String]) -> Result<Vec<ImageId>> {
    texts.iter().map(|text| image_id(text)).collect()
}

/// There is no such image.
pub(crate) fn no_image(id: &ImageId) -> Failure {
    Failure::new(
        Class::Cloud,
        format!("there is no image {id} in this project"),
    )
    .hint("imgferry image list --owner all shows all images that can be seen")
}
