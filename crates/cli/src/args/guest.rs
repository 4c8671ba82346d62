//! Options about the system on a disk.

use clap::{Args, ValueEnum};

/// What follows from what is found on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum GuestCheck {
    /// Reject the disk for everything but advice
    Strict,
    /// Reject the disk if its server will not boot
    #[default]
    Default,
    /// Only report
    Warn,
    /// Do not look into the disk
    Off,
}

#[derive(Debug, Default, Args)]
pub(crate) struct GuestArgs {
    /// What to do about problems of the system on the disk: it may not boot, or come up without a
    /// network or a login
    #[arg(long, value_enum, default_value_t = GuestCheck::Default, env = "IMGFERRY_GUEST_CHECK",
        hide_env_values = true)]
    pub(crate) guest_check: GuestCheck,
    /// Import although the system breaks this rule; may be repeated. 'imgferry inspect --rules'
    /// lists the rules
    #[arg(long = "allow", value_name = "RULE", value_parser = rule)]
    pub(crate) allowed_rules: Vec<String>,
}

/// Rules that are named instead of an unknown one.
const NEAREST: usize = 3;

/// The name of a rule.
fn rule(text: &str) -> Result<String, String> {
    let known = || guest::rules().map(|rule| rule.id);
    if known().any(|id| id == text) {
        return Ok(text.to_owned());
    }
    let nearest = nearest::nearest(text, known(), NEAREST);
    let nearest = match nearest.is_empty() {
        true => String::new(),
        false => format!("; the nearest: {}", nearest.join(", ")),
    };
    Err(format!(
        "no rule has this name{nearest}; 'imgferry inspect --rules' lists all"
    ))
}

impl GuestArgs {
    /// As the import library has it.
    pub(crate) const fn check(&self) -> ::import::GuestCheck {
        match self.guest_check {
            GuestCheck::Strict => ::import::GuestCheck::Strict,
            GuestCheck::Default => ::import::GuestCheck::Default,
            GuestCheck::Warn => ::import::GuestCheck::Warn,
            GuestCheck::Off => ::import::GuestCheck::Off,
        }
    }
}
