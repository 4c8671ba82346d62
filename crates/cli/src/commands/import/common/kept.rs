//! The journals of an import of several files: one for each object. That of the system's is also
//! the one of the registration, which is one for all.

use obs::Client;

use super::files::{Content, Piece, Pieces};
use super::sending::Sent;
use crate::args::ImportArgs;
use crate::commands::import::resuming::{How, Input, Ours, Session};
use crate::commands::import::shared::Before;
use crate::console::Console;
use crate::exit::Outcome;
use cloud::Cloud;

/// Journals, in the order of the pieces.
pub(super) struct Kept {
    pub(super) system: Session,
    data: Vec<Session>,
}

impl Kept {
    /// Opens all of them; of a dry run, and of one that only looks, nothing is made or locked.
    pub(super) fn open(
        args: &ImportArgs,
        cloud: &Cloud,
        pieces: &Pieces,
        looks_only: bool,
        console: Console,
    ) -> Outcome<Self> {
        let of = |piece: &Piece, snapshot| {
            let url = &piece.request.image_url;
            let object = (url.bucket.as_str(), url.key.as_str());
            let input = Input {
                file: &piece.path,
                name: &piece.request.name,
                how: match &piece.content {
                    Content::AsItIs => How::AsItIs,
                    Content::Converted(converted) => How::Converted {
                        plan: &converted.plan,
                        snapshot,
                        layered: !converted.image.details().refers_to.is_empty(),
                    },
                },
            };
            let session = match looks_only {
                true => Session::peek(args, cloud, object, input, console),
                false => Session::open(args, cloud, object, input, console),
            };
            session.map(|session| session.watching(piece.watch.clone()))
        };
        let data = pieces.data.iter().map(|piece| of(piece, None));
        Ok(Self {
            data: data.collect::<Outcome<_>>()?,
            system: of(&pieces.system, args.source.part())?,
        })
    }

    /// What of the system's image may be this import's own doing.
    pub(super) fn ours(&self, before: Before) -> Ours {
        Ours {
            before,
            ..self.system.ours()
        }
    }

    /// The same of the data images, in the order of their pieces.
    pub(super) fn ours_beside(&self, before: Before) -> impl Iterator<Item = Ours> {
        self.data.iter().map(move |session| Ours {
            before,
            ..session.ours()
        })
    }

    /// The objects of an earlier run that has completed all of them, in the order of
    /// [`Pieces::all_mut`].
    pub(super) fn noted(&self, pieces: &Pieces) -> Option<Vec<Sent>> {
        let sessions = self.data.iter().chain([&self.system]);
        let noted = pieces.all().zip(sessions).map(|(piece, session)| {
            Some(Sent {
                object: piece.request.image_url.clone(),
                uploaded: session.noted_object()?,
                digest: session.noted_digest(),
            })
        });
        noted.collect()
    }

    /// In the order of [`Pieces::all_mut`].
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.data.iter_mut().chain([&mut self.system])
    }

    /// The image is there, and not of this upload: what there is of that is thrown away.
    pub(super) async fn finish_unused(
        &mut self,
        storage: &Client,
        image: &str,
        console: Console,
    ) -> Outcome {
        let unused = |state: &journal::State| state.completed.is_none();
        // One of which nothing is known yet begins, so that it can end.
        if self.system.state().is_none_or(unused) {
            self.system.forget();
            self.system.begin(storage, console).await?;
        }
        self.finish(Some(image), console);
        Ok(())
    }

    /// Everything is done. The system's journal ends first: while it is there, another run needs
    /// those of the data disks.
    pub(super) fn finish(&mut self, image: Option<&str>, console: Console) {
        self.system.finish(image, console);
        for session in &mut self.data {
            session.finish(None, console);
        }
    }
}
