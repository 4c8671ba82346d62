//! What an import does next about its registration, whatever the cloud answered: the one table for
//! all ways to register.
//!
//! A registration that was sent once may have made an image, whoever said otherwise: a gateway
//! answers 503 after the service acted, a proxy delivers a request twice, a list lags behind. So
//! only the service's own word ends one, and even after a "no" the image of this name is looked at:
//! one that comes from this very object is this import's own.
//!
//! | state | answer | next |
//! |---|---|---|
//! | nothing was sent | | note it, send |
//! | perhaps sent: by an earlier owner, or refused before | | look once |
//! | sent, answer unknown | | look for a while |
//! | job known | | follow the job |
//! | done | | ask for the image |
//! | sending | job named | note it, follow the job |
//! | | no clear answer, or the name is taken | look for a while |
//! | | another refusal | look once |
//! | | not sent | end: failed |
//! | following | succeeded | ask for the image, or look for it if the job names none |
//! | | failed | look once |
//! | | 404 from the service | look for a while; then forget the job: the next run looks, and sends again |
//! | | no answer that makes sense | look for a while |
//! | looking | ours | wait for the image |
//! | | ours, without its file | give it the file |
//! | | another's | end: the name is taken |
//! | | nothing, earlier run | send |
//! | | nothing, refused or failed | note the refusal, end: refused or failed |
//! | | nothing, answer unknown | end: not known |
//! | waiting | active | end: done |
//! | | failed | note it, end: failed |
//!
//! Names are unique in the cloud, which is what makes sending again safe: a request for a name that
//! has an image is refused, and a refusal is a reason to look.
//!
//! The machine is pure. Whoever drives it writes the note of a [`Step`] before the action of that
//! step, does the action, and passes on what came of it. A run may end between any two of these.

/// How often an image that is not listed yet is asked for: lists lag behind.
pub const LOOKS: u32 = 10;

/// How many questions in a row may stay without an answer.
const BLIND: u32 = 3;

/// How often a run gives a file to an image that waits for one.
const GIVES: u32 = 2;

/// What is known of the registration when a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// This object was not there before this run, so nothing can have been made of it.
    Nothing,
    /// Something may have been made: by an earlier owner, by a run whose last note was lost, or by
    /// a request that was refused.
    Perhaps,
    /// A request was sent, and its answer is not known.
    Sent,
    /// The service named a job.
    Job,
    /// The image was active.
    Done,
}

impl Known {
    /// Whether an image of the name may be this import's own before this run has sent anything.
    /// Otherwise the name must be free.
    #[must_use]
    pub fn may_have_an_image(self) -> bool {
        self != Self::Nothing
    }
}

/// Whose the image of the import's name is, as far as the service tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No image has the name, or one that has failed.
    Nothing,
    /// It is made of this object.
    Ours,
    /// It is the first half of a registration in two steps, and waits for its file.
    Half,
    /// It is made of something else, or was there before this import asked.
    Theirs,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// List the images of this name; if `pause`, after a while.
    Look {
        /// Whether to wait before.
        pause: bool,
    },
    /// Send the registration.
    Send,
    /// Give the image that waits for a file its file.
    GiveFile,
    /// Follow the job until it ends, or until nobody tells.
    Follow,
    /// Ask for the image by its id; if `pause`, after a while.
    Await {
        /// Whether to wait before.
        pause: bool,
    },
    /// Nothing is left to do in this run.
    End(End),
}

/// How a run's registration ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The image is active.
    Active,
    /// The service refused, and there is no image of this object.
    Refused,
    /// The request never left this machine.
    NotSent,
    /// Another image has the name.
    NameTaken,
    /// The job failed, or the image did, by the service's own word.
    Failed,
    /// Not known yet: the next run looks again.
    Unknown,
    /// The run was asked to stop.
    Stopped,
}

/// What came of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The list of images of this name.
    Listed(Found),
    /// The service named a job.
    Started,
    /// The first of two calls made an image without a file.
    Half,
    /// The request may have been carried out or not.
    Unclear,
    /// The service refused, because the name is taken.
    NameTaken,
    /// The service refused for another reason.
    Refused,
    /// The request never left this machine.
    NotSent,
    /// The job succeeded; whether it named its image.
    Succeeded {
        /// Whether its image is known.
        named: bool,
    },
    /// The job failed, by the service's own word.
    JobFailed,
    /// The service does not know the job.
    JobMissing,
    /// The job works on, or the service cannot be reached: not this run's to see the end of.
    GoesOn,
    /// The image is active.
    Active,
    /// The image is being made.
    Making,
    /// The image is not listed, or is in a state that nobody knows.
    Missing,
    /// The image has failed or was deleted.
    Gone,
    /// An answer that is none: a web page, a refusal of the question, no JSON.
    NoAnswer,
    /// The time for waiting is over.
    TimeUp,
    /// The run is asked to stop.
    Stop,
}

/// What is written down before the action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A registration is sent next, or was sent to nobody knows what effect.
    Sent,
    /// The job that the service named.
    Job,
    /// The service said no. What was sent stays known: the next run looks before it sends again.
    Declined,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Written first, if anything.
    pub note: Option<Note>,
    /// Done then.
    pub action: Action,
}

/// Why the image is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// An earlier run, or an earlier owner.
    Earlier,
    /// This run's request had no clear answer.
    Unclear,
    /// This run's request was refused: an image has the name.
    NameTaken,
    /// This run's request was refused for another reason.
    Refused,
    /// Giving the file had no clear answer.
    FileUnclear,
    /// Giving the file was refused.
    FileRefused,
    /// The job failed.
    Failed,
    /// The service does not know the job.
    JobMissing,
    /// Nobody tells what became of the job.
    JobUnclear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Begin(Known),
    Looking(Why),
    Sending,
    Giving,
    Following,
    /// Waiting for the image; whether its job has failed, and whether an earlier run saw it active.
    Awaiting {
        failed: bool,
        done: bool,
    },
    Ended,
}

/// The registration of one object in one run.
#[derive(Clone, Debug)]
pub struct Registration {
    at: At,
    /// Looks that are left.
    looks: u32,
    /// Questions in a row without an answer.
    blind: u32,
    /// How often a file was given.
    gives: u32,
}

impl Registration {
    /// A run that begins with what is known.
    #[must_use]
    pub fn new(known: Known) -> Self {
        Self {
            at: At::Begin(known),
            looks: 0,
            blind: 0,
            gives: 0,
        }
    }

    /// The first step.
    pub fn begin(&mut self) -> Step {
        let At::Begin(known) = self.at else {
            return self.end(End::Unknown);
        };
        match known {
            Known::Nothing => self.send(),
            Known::Perhaps => self.look(Why::Earlier, 1),
            Known::Sent => self.look(Why::Earlier, LOOKS),
            Known::Job => self.follow(None),
            Known::Done => self.wait(false, true),
        }
    }

    /// What comes after `event`.
    pub fn next(&mut self, event: Event) -> Step {
        if event == Event::Stop {
            return self.end(End::Stopped);
        }
        if event == Event::NoAnswer {
            return self.unanswered();
        }
        self.blind = 0;
        match (self.at, event) {
            (At::Looking(why), Event::Listed(found)) => self.looked(why, found),

            (At::Sending | At::Giving, Event::Started) => self.follow(Some(Note::Job)),
            (At::Sending, Event::Half) => self.give(),
            (At::Sending, Event::Unclear) => self.look(Why::Unclear, LOOKS),
            (At::Sending, Event::NameTaken) => self.look(Why::NameTaken, LOOKS),
            (At::Sending, Event::Refused) => self.look(Why::Refused, 1),
            (At::Sending, Event::NotSent) => self.noted(Note::Declined, End::NotSent),

            (At::Giving, Event::Unclear) => self.look(Why::FileUnclear, LOOKS),
            (At::Giving, Event::NameTaken | Event::Refused) => self.look(Why::FileRefused, 1),
            (At::Giving, Event::NotSent) => self.end(End::NotSent),

            (At::Following, Event::Succeeded { named: true }) => self.wait(false, false),
            (At::Following, Event::Succeeded { named: false }) => self.look(Why::JobUnclear, LOOKS),
            (At::Following, Event::JobFailed) => self.look(Why::Failed, 1),
            (At::Following, Event::JobMissing) => self.look(Why::JobMissing, LOOKS),

            (At::Awaiting { .. }, Event::Active) => self.end(End::Active),
            (At::Awaiting { failed: false, .. }, Event::Making) => {
                self.at = At::Awaiting {
                    failed: false,
                    done: false,
                };
                Step::of(Action::Await { pause: true })
            }
            (At::Awaiting { failed, done }, Event::Making | Event::Missing) => {
                match self.looks.checked_sub(1) {
                    Some(left) => {
                        self.looks = left;
                        Step::of(Action::Await { pause: true })
                    }
                    None if failed => self.noted(Note::Declined, End::Failed),
                    None if done => self.look(Why::Earlier, 1),
                    None => self.end(End::Unknown),
                }
            }
            (At::Awaiting { done: true, .. }, Event::Gone) => self.look(Why::Earlier, 1),
            (At::Awaiting { .. }, Event::Gone) => self.noted(Note::Declined, End::Failed),

            // What makes no sense, and what is not this run's to see the end of.
            _ => self.end(End::Unknown),
        }
    }

    fn looked(&mut self, why: Why, found: Found) -> Step {
        match (found, why) {
            (Found::Ours, why) => self.wait(why == Why::Failed, false),
            (Found::Half, Why::FileRefused) => self.end(End::Refused),
            (Found::Half, _) if self.gives < GIVES => self.give(),
            (Found::Half, _) => self.end(End::Unknown),
            (Found::Theirs, Why::Refused) => self.noted(Note::Declined, End::Refused),
            (Found::Theirs, Why::Failed) => self.noted(Note::Declined, End::Failed),
            (Found::Theirs, _) => self.noted(Note::Declined, End::NameTaken),
            (Found::Nothing, why) => match self.looks.checked_sub(1) {
                Some(left) => {
                    self.looks = left;
                    Step::of(Action::Look { pause: true })
                }
                None => self.nowhere(why),
            },
        }
    }

    /// No image of the name is listed, however often that was asked for.
    fn nowhere(&mut self, why: Why) -> Step {
        match why {
            Why::Earlier => self.send(),
            Why::Refused => self.noted(Note::Declined, End::Refused),
            Why::Failed => self.noted(Note::Declined, End::Failed),
            Why::FileRefused => self.end(End::Refused),
            // There is nothing to follow any more. The next run looks again, and only then sends.
            Why::JobMissing => self.noted(Note::Sent, End::Unknown),
            Why::Unclear | Why::NameTaken | Why::FileUnclear | Why::JobUnclear => {
                self.end(End::Unknown)
            }
        }
    }

    fn unanswered(&mut self) -> Step {
        self.blind = self.blind.saturating_add(1);
        match self.at {
            At::Looking(_) if self.blind < BLIND => Step::of(Action::Look { pause: true }),
            At::Awaiting { .. } if self.blind < BLIND => Step::of(Action::Await { pause: true }),
            // The list may tell what the job does not.
            At::Following => self.look(Why::JobUnclear, LOOKS),
            At::Sending => self.look(Why::Unclear, LOOKS),
            At::Giving => self.look(Why::FileUnclear, LOOKS),
            _ => self.end(End::Unknown),
        }
    }

    fn send(&mut self) -> Step {
        self.at = At::Sending;
        Step {
            note: Some(Note::Sent),
            action: Action::Send,
        }
    }

    fn give(&mut self) -> Step {
        self.at = At::Giving;
        self.gives = self.gives.saturating_add(1);
        Step {
            note: Some(Note::Sent),
            action: Action::GiveFile,
        }
    }

    fn follow(&mut self, note: Option<Note>) -> Step {
        self.at = At::Following;
        Step {
            note,
            action: Action::Follow,
        }
    }

    fn look(&mut self, why: Why, looks: u32) -> Step {
        self.at = At::Looking(why);
        self.looks = looks.saturating_sub(1);
        self.blind = 0;
        Step::of(Action::Look { pause: false })
    }

    fn wait(&mut self, failed: bool, done: bool) -> Step {
        self.at = At::Awaiting { failed, done };
        self.looks = LOOKS.saturating_sub(1);
        self.blind = 0;
        Step::of(Action::Await { pause: false })
    }

    fn noted(&mut self, note: Note, end: End) -> Step {
        self.at = At::Ended;
        Step {
            note: Some(note),
            action: Action::End(end),
        }
    }

    fn end(&mut self, end: End) -> Step {
        self.at = At::Ended;
        Step::of(Action::End(end))
    }
}

impl Step {
    const fn of(action: Action) -> Self {
        Self { note: None, action }
    }
}
