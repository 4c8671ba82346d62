//! The table of registrations, driven against a simulated cloud in which everything goes wrong that
//! can: gateways that answer for a service which acted, requests that arrive twice or late, answers
//! that are lost, lists and jobs that lag behind, pages instead of answers, processes that die
//! between any two steps, and journals that lose their last note.
//!
//! What happens is a tape of numbers: each question of "does this go wrong, and how" takes the next
//! one, and where the tape has ended nothing goes wrong any more. So a failing case shrinks to the
//! few faults that matter.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use journal::registration::{Action, End, Event, Found, Known, LOOKS, Note, Registration};
use proptest::prelude::*;

/// Runs with faults, and runs of a healthy cloud after them.
const FAULTY_RUNS: usize = 6;
const HEALTHY_RUNS: usize = 4;

/// Ticks until a job ends, and most ticks that something lags behind.
const JOB: u64 = 3;
const LAG: u64 = 8;

struct Tape<'a>(std::slice::Iter<'a, u8>);

impl Tape<'_> {
    /// One of so many things; 0, which is "as it should be", where the tape has ended.
    fn pick(&mut self, of: u8) -> u8 {
        self.0.next().map_or(0, |value| value % of)
    }

    fn lag(&mut self) -> u64 {
        match self.pick(3) {
            0 => 0,
            _ => u64::from(self.pick(9)).min(LAG),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Status {
    /// Without a file: the first half of two.
    Queued,
    Saving,
    Active,
    Killed,
}

#[derive(Clone, Debug)]
struct Image {
    status: Status,
    ours: bool,
    /// When lists begin to show it.
    listed: u64,
}

#[derive(Clone, Debug)]
struct Job {
    image: usize,
    ends: u64,
    fails: bool,
    /// When the service begins to know it.
    known: u64,
    /// Whether the service forgets it when it has ended.
    forgotten: bool,
}

/// A service whose image names are unique. There is one name that matters.
#[derive(Default)]
struct Cloud {
    now: u64,
    images: Vec<Image>,
    jobs: Vec<Job>,
    /// Requests that are still on their way, and when they arrive.
    late: Vec<u64>,
    two_steps: bool,
    /// Names are looked up where lists are: an image that is not listed yet does not hold its name.
    /// Such a cloud makes a second image for whoever asks too early.
    lax: bool,
}

enum Answer {
    Job(usize),
    Half(usize),
    NameTaken,
}

impl Cloud {
    /// Time passes: jobs end, late requests arrive.
    fn tick(&mut self, tape: &mut Tape<'_>) {
        self.now += 1;
        let now = self.now;
        for job in &self.jobs {
            let image = &mut self.images[job.image];
            if job.ends <= now && image.status == Status::Saving {
                image.status = match job.fails {
                    true => Status::Killed,
                    false => Status::Active,
                };
            }
        }
        let arrived = self.late.iter().filter(|at| **at <= now).count();
        self.late.retain(|at| *at > now);
        for _ in 0..arrived {
            self.create(tape);
        }
    }

    fn create(&mut self, tape: &mut Tape<'_>) -> Answer {
        let holds = |image: &Image| {
            image.status != Status::Killed && !(self.lax && image.listed > self.now)
        };
        if self.images.iter().any(holds) {
            return Answer::NameTaken;
        }
        self.images.push(Image {
            status: match self.two_steps {
                true => Status::Queued,
                false => Status::Saving,
            },
            ours: true,
            listed: self.now + tape.lag(),
        });
        let image = self.images.len() - 1;
        match self.two_steps {
            true => Answer::Half(image),
            false => Answer::Job(self.start(image, tape)),
        }
    }

    fn start(&mut self, image: usize, tape: &mut Tape<'_>) -> usize {
        self.images[image].status = Status::Saving;
        self.jobs.push(Job {
            image,
            ends: self.now + JOB,
            fails: tape.pick(6) == 5,
            known: self.now + tape.lag(),
            forgotten: tape.pick(4) == 3,
        });
        self.jobs.len() - 1
    }

    fn live(&self) -> usize {
        let live = |image: &&Image| image.status != Status::Killed;
        self.images.iter().filter(live).count()
    }

    fn listed(&self) -> Option<(usize, &Image)> {
        let shown = |(_, image): &(usize, &Image)| {
            image.listed <= self.now && image.status != Status::Killed
        };
        self.images.iter().enumerate().find(shown)
    }
}

/// A journal: the notes behind that of the complete object.
#[derive(Default)]
struct Journal {
    known: Vec<(Known, Option<usize>)>,
    /// Whether the run that made the object is over.
    old: bool,
}

impl Journal {
    fn begin(&self) -> (Known, Option<usize>) {
        let fresh = match self.old {
            true => Known::Perhaps,
            false => Known::Nothing,
        };
        self.known.last().copied().unwrap_or((fresh, None))
    }
}

#[derive(Debug, PartialEq)]
enum Ended {
    Died,
    With(End),
}

/// One run of the program.
fn run(cloud: &mut Cloud, journal: &mut Journal, tape: &mut Tape<'_>) -> Ended {
    let (known, id) = journal.begin();
    let (mut image, mut job) = match known {
        Known::Done => (id, None),
        _ => (None, id),
    };
    // The checks before the upload.
    if !known.may_have_an_image() && cloud.listed().is_some() {
        return Ended::With(End::NameTaken);
    }
    let mut machine = Registration::new(known);
    let mut step = machine.begin();
    for _ in 0..1000 {
        if tape.pick(12) == 11 {
            return Ended::Died;
        }
        match step.note {
            Some(Note::Sent) => journal.known.push((Known::Sent, None)),
            Some(Note::Job) => journal.known.push((Known::Job, job)),
            Some(Note::Declined) => journal.known.push((Known::Perhaps, None)),
            None => {}
        }
        if tape.pick(12) == 11 {
            return Ended::Died;
        }
        cloud.tick(tape);
        let event = match step.action {
            Action::End(end) => {
                if end == End::Active {
                    journal.known.push((Known::Done, image));
                }
                return Ended::With(end);
            }
            Action::Send | Action::GiveFile => {
                let (event, made) = request(cloud, step.action, image, tape);
                match made {
                    Some(Answer::Job(made)) => job = Some(made),
                    Some(Answer::Half(made)) => image = Some(made),
                    _ => {}
                }
                event
            }
            Action::Follow => {
                let (event, made) = follow(cloud, job.expect("a job to follow"), tape);
                image = made.or(image);
                event
            }
            Action::Look { .. } => match tape.pick(5) {
                4 => Event::NoAnswer,
                _ => match cloud.listed() {
                    None => Event::Listed(Found::Nothing),
                    Some((_, Image { ours: false, .. })) => Event::Listed(Found::Theirs),
                    Some((id, found)) => {
                        image = Some(id);
                        Event::Listed(match found.status {
                            Status::Queued => Found::Half,
                            _ => Found::Ours,
                        })
                    }
                },
            },
            Action::Await { .. } => match tape.pick(8) {
                7 => Event::NoAnswer,
                6 => Event::TimeUp,
                _ => {
                    let image = &cloud.images[image.expect("an image to wait for")];
                    match image.status {
                        _ if image.listed > cloud.now => Event::Missing,
                        Status::Active => Event::Active,
                        Status::Killed => Event::Gone,
                        Status::Queued | Status::Saving => Event::Making,
                    }
                }
            },
        };
        step = machine.next(event);
    }
    panic!("the run does not end: {machine:?}");
}

/// A request that makes something, through whatever is between here and the service.
fn request(
    cloud: &mut Cloud,
    action: Action,
    image: Option<usize>,
    tape: &mut Tape<'_>,
) -> (Event, Option<Answer>) {
    let act = |cloud: &mut Cloud, tape: &mut Tape<'_>| match action {
        Action::Send => cloud.create(tape),
        _ => {
            let image = image.expect("an image without a file");
            match cloud.images[image].status {
                Status::Queued => Answer::Job(cloud.start(image, tape)),
                _ => Answer::NameTaken,
            }
        }
    };
    let tell = |answer: Answer| match answer {
        Answer::Job(_) => (Event::Started, Some(answer)),
        Answer::Half(_) => (Event::Half, Some(answer)),
        Answer::NameTaken => (Event::NameTaken, None),
    };
    let fault = match tape.pick(10) {
        // What makes two images there, whatever the client does.
        3..=5 | 9 if cloud.lax => 1,
        fault => fault,
    };
    match fault {
        // Carried out, and the answer is lost.
        1 => {
            act(cloud, tape);
            (Event::Unclear, None)
        }
        // A gateway answered in its place before it was carried out.
        2 => (Event::Unclear, None),
        // Carried out, a gateway says 503, and the client tries again; or it is delivered twice,
        // and the second answer counts.
        3 | 4 => {
            act(cloud, tape);
            tell(act(cloud, tape))
        }
        // The same with another refusal: the quota, a right that was taken away.
        5 => {
            act(cloud, tape);
            (Event::Refused, None)
        }
        6 => (Event::Refused, None),
        7 => (Event::NotSent, None),
        // A page under status 200 or 404 after it was carried out.
        8 => {
            act(cloud, tape);
            (Event::NoAnswer, None)
        }
        // It arrives when nobody waits for it any more.
        9 if action == Action::Send => {
            cloud.late.push(cloud.now + 1 + tape.lag());
            (Event::Unclear, None)
        }
        _ => tell(act(cloud, tape)),
    }
}

fn follow(cloud: &mut Cloud, job: usize, tape: &mut Tape<'_>) -> (Event, Option<usize>) {
    let Job {
        known,
        ends,
        forgotten,
        ..
    } = cloud.jobs[job];
    let missing = known > cloud.now || (forgotten && ends + LAG < cloud.now);
    match tape.pick(8) {
        // For as long as the client asks, the service or a gateway says that there is no such job.
        _ if missing => (Event::JobMissing, None),
        1 => (Event::JobMissing, None),
        2 => (Event::NoAnswer, None),
        3 => (Event::GoesOn, None),
        fault => {
            while cloud.jobs[job].ends > cloud.now {
                cloud.tick(tape);
            }
            cloud.tick(tape);
            let Job { image, fails, .. } = cloud.jobs[job];
            match (fails, fault) {
                (true, _) => (Event::JobFailed, None),
                (false, 4) => (Event::Succeeded { named: false }, None),
                (false, _) => (Event::Succeeded { named: true }, Some(image)),
            }
        }
    }
}

/// Checks what must hold at every moment.
fn holds(cloud: &Cloud, journal: &Journal, ended: &Ended) -> Result<(), TestCaseError> {
    prop_assert!(cloud.live() <= 1, "two images: {:?}", cloud.images);
    if *ended == Ended::With(End::Active) {
        let Some((Known::Done, Some(id))) = journal.known.last() else {
            return Err(TestCaseError::fail("done, and the journal does not say so"));
        };
        let image = &cloud.images[*id];
        prop_assert!(image.ours && image.status == Status::Active, "{image:?}");
    }
    // Nobody else is there, so nobody else can have the name.
    prop_assert_ne!(ended, &Ended::With(End::NameTaken));
    Ok(())
}

/// Whether what a run sees of the image can be wrong from here on.
fn settle(cloud: &mut Cloud) {
    for _ in 0..=2 * LAG + JOB {
        cloud.tick(&mut Tape([].iter()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        max_shrink_iters: 100_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_goes_wrong_one_image_comes_of_it_and_repeated_runs_end_with_it(
        faults in prop::collection::vec(any::<u8>(), 0..200),
        (two_steps, lax) in any::<(bool, bool)>(),
        lost in any::<u8>(),
    ) {
        let mut cloud = Cloud { two_steps, lax, ..Cloud::default() };
        let mut journal = Journal::default();
        let mut tape = Tape(faults.iter());
        let mut done = false;
        for number in 0..FAULTY_RUNS {
            let ended = run(&mut cloud, &mut journal, &mut tape);
            holds(&cloud, &journal, &ended)?;
            journal.old = true;
            // The machine lost power, and the last note with it.
            if ended == Ended::Died && !lax && (lost >> number) & 1 == 1 {
                journal.known.pop();
            }
            done |= ended == Ended::With(End::Active);
        }
        if !done {
            settle(&mut cloud);
        }
        let mut last = Ended::Died;
        for _ in 0..HEALTHY_RUNS {
            last = run(&mut cloud, &mut journal, &mut Tape([].iter()));
            holds(&cloud, &journal, &last)?;
            if last == Ended::With(End::Active) {
                break;
            }
        }
        prop_assert_eq!(last, Ended::With(End::Active), "{:?} {:?}", &cloud.images, &journal.known);
        prop_assert_eq!(cloud.live(), 1);
        // And once more: it is done, and stays so.
        let again = run(&mut cloud, &mut journal, &mut Tape([].iter()));
        prop_assert_eq!(&again, &Ended::With(End::Active));
        holds(&cloud, &journal, &again)?;
    }

    /// A stranger takes the name while the request is on its way: that image is never this
    /// import's.
    #[test]
    fn an_image_of_somebody_else_is_never_taken_for_ones_own(
        faults in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut cloud = Cloud::default();
        cloud.images.push(Image { status: Status::Active, ours: false, listed: 0 });
        let mut journal = Journal::default();
        let mut tape = Tape(faults.iter());
        for _ in 0..FAULTY_RUNS {
            let ended = run(&mut cloud, &mut journal, &mut tape);
            prop_assert_ne!(&ended, &Ended::With(End::Active));
            prop_assert_eq!(cloud.images.len(), 1);
            journal.old = true;
        }
        let last = run(&mut cloud, &mut journal, &mut Tape([].iter()));
        prop_assert_eq!(last, Ended::With(End::NameTaken));
    }
}

/// Drives a machine through these events; its last step.
fn ends(known: Known, events: impl IntoIterator<Item = Event>) -> Action {
    let mut machine = Registration::new(known);
    let mut action = machine.begin().action;
    for event in events {
        action = machine.next(event).action;
    }
    action
}

#[test]
fn a_name_that_is_taken_after_ones_own_request_is_a_reason_to_look() {
    let look = ends(Known::Nothing, [Event::NameTaken]);
    assert_eq!(look, Action::Look { pause: false });
    let ours = [Event::NameTaken, Event::Listed(Found::Ours)];
    assert_eq!(ends(Known::Nothing, ours), Action::Await { pause: false });
}

#[test]
fn a_list_that_lags_behind_is_asked_for_a_while_and_then_nothing_is_known() {
    let nothing = Event::Listed(Found::Nothing);
    let looks =
        |count: u32| std::iter::once(Event::Unclear).chain((0..count).map(move |_| nothing));
    let still = ends(Known::Nothing, looks(LOOKS - 1));
    assert_eq!(still, Action::Look { pause: true });
    assert_eq!(
        ends(Known::Nothing, looks(LOOKS)),
        Action::End(End::Unknown)
    );
}

#[test]
fn only_the_word_of_the_service_ends_a_job() {
    for event in [Event::NoAnswer, Event::JobMissing, Event::JobFailed] {
        let next = ends(Known::Job, [event]);
        assert_eq!(next, Action::Look { pause: false }, "{event:?}");
    }
    assert_eq!(ends(Known::Job, [Event::GoesOn]), Action::End(End::Unknown));
}

#[test]
fn an_image_that_is_gone_is_made_anew() {
    let gone = [Event::Gone, Event::Listed(Found::Nothing)];
    assert_eq!(ends(Known::Done, gone), Action::Send);
}
