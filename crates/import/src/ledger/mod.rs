//! The ledger of an import: one journal for each object. That of the system's object is also the
//! one of the registration, which is one for all.

mod begin;
mod earlier;
mod entry;
mod noted;
mod notes;

use cloud::{Result, Session};
use obs::Client;

pub use self::begin::{command_line, identity};
pub(crate) use self::begin::{directory, now};
pub(crate) use self::entry::{Entry, is_unfinished, state_dir};
use self::entry::{How, Input};
pub use self::entry::{level_of, upload_of};
pub(crate) use self::noted::Ours;
pub(crate) use self::notes::Notes;
use super::observe::{Before, Context, Observer};
use super::piece::{Piece, Pieces};
use super::spec::ImportSpec;

/// How one journal is opened.
type Open = fn(&ImportSpec, &Session, (&str, &str), Input<'_>, &dyn Observer) -> Result<Entry>;

/// The journals of an import, in the order of its pieces.
pub(crate) struct Ledger {
    pub(crate) system: Entry,
    data: Vec<Entry>,
}

impl Ledger {
    /// Opens and locks all journals.
    pub(crate) fn open(spec: &ImportSpec, cx: Context<'_>, pieces: &Pieces) -> Result<Self> {
        Self::with(spec, cx, pieces, Entry::open)
    }

    /// Looks at all journals; nothing is created or locked.
    pub(crate) fn peek(spec: &ImportSpec, cx: Context<'_>, pieces: &Pieces) -> Result<Self> {
        Self::with(spec, cx, pieces, Entry::peek)
    }

    fn with(spec: &ImportSpec, cx: Context<'_>, pieces: &Pieces, open: Open) -> Result<Self> {
        let of = |piece: &Piece, part, data_disks| {
            let url = &piece.request.image_url;
            let object = (url.bucket.as_str(), url.key.as_str());
            let input = Input {
                file: &piece.file,
                name: &piece.request.name,
                watch: &piece.watch,
                data_disks,
                how: match piece.form.disk() {
                    None => How::AsItIs,
                    Some(disk) => {
                        let details = disk.image.details();
                        How::Converted {
                            plan: &disk.plan,
                            part,
                            member: piece.disk.member.as_deref(),
                            discarded: disk.discarded.as_ref().map(|free| free.map_sha256.as_str()),
                            layered: piece.watch.has_more_files() || !details.refers_to.is_empty(),
                        }
                    }
                },
            };
            open(spec, cx.session, object, input, cx.observer)
        };
        let data = pieces.data.iter().map(|piece| of(piece, None, 0));
        Ok(Self {
            data: data.collect::<Result<_>>()?,
            system: of(&pieces.system, spec.part(), pieces.data.len())?,
        })
    }

    /// What of the cloud's state may be this import's own doing, for each piece in the order of
    /// [`Pieces::all`].
    pub(crate) fn ours(&self, before: Before) -> Vec<Ours> {
        let entries = self.data.iter().chain([&self.system]);
        let ours = entries.map(|entry| Ours {
            before,
            ..entry.ours()
        });
        ours.collect()
    }

    /// All journals, in the order of [`Pieces::all`].
    pub(crate) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.data.iter().chain([&self.system])
    }

    /// All journals, in the order of [`Pieces::all_mut`].
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.data.iter_mut().chain([&mut self.system])
    }

    /// The image exists and was not made from this run's upload: what there is of that is thrown
    /// away.
    pub(crate) async fn finish_unused(
        &mut self,
        storage: &Client,
        image: &str,
        cx: Context<'_>,
    ) -> Result {
        let unused = |state: &journal::State| state.completed.is_none();
        // A journal that records nothing yet begins, so that it can end.
        if self.system.state().is_none_or(unused) {
            self.system.forget();
            self.system.begin(storage, cx.observer).await?;
        }
        self.finish(Some(image), cx);
        Ok(())
    }

    /// Everything is done. The system's journal ends first: while it exists, another run needs
    /// those of the data disks.
    pub(crate) fn finish(&mut self, image: Option<&str>, cx: Context<'_>) {
        self.system.finish(image, cx.observer);
        for entry in &mut self.data {
            entry.finish(None, cx.observer);
        }
    }
}
