//! One region of a cloud, ready to use: settings, credentials, the clients of its services, and
//! the error type of everything that works with them.
//!
//! ```text
//! CloudOptions ─▶ resolve ─▶ Cloud ─▶ Session ─┬─▶ images():  ims::Client
//!  environment, files        plain data        └─▶ storage(): obs::Client
//!                   sandbox in this process ─▶ Session
//! ```
//!
//! A [`Session`] is either a real cloud or a sandbox in this process; its users cannot tell the
//! difference. A [`Failure`] carries a [`Class`], causes, notes, and hints as data ([`Hint`]): which
//! option or command a hint means is for the program to say.

mod check;
mod connect;
mod error;
mod hint;
mod import_hint;
mod local;
mod session;
mod settings;
mod stop;

pub use check::{Check, CheckState, check};
pub use error::{
    Class, Failure, Result, from_ims, from_journal, from_obs, is_wrong_path, rejected,
};
pub use hint::{Hint, Problem};
pub use import_hint::ImportHint;
pub use local::InProcess;
pub use session::{Session, SessionOptions};
pub use settings::{
    Cloud, CloudOptions, EXAMPLE, Environment, Identity, Missing, Origin, ProcessEnvironment,
    Resolved, SandboxDir, Setting, config_path, examine, resolve, resolve_storage,
};
pub use stop::{StopToken, stopped};
