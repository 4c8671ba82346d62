//! A plan for people.

use std::fmt;

use diskimg::units::human;

use super::Plan;
use crate::level::{AUTO_LEVELS, Level};
use crate::target::Target;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "source  {}, virtual size {}, {} of data in {} of {} blocks",
            self.source_format,
            human(self.virtual_size),
            human(self.data_bytes),
            self.data_blocks,
            self.total_blocks
        )?;
        match self.target {
            Target::Zvhd2 => {
                writeln!(f, "target  zvhd2, at most {}", human(self.worst_case_bytes))?
            }
            Target::Raw => writeln!(
                f,
                "target  raw, {} long, at most {} on disk",
                human(self.virtual_size),
                human(self.worst_case_bytes)
            )?,
        }
        let s = if self.threads == 1 { "" } else { "s" };
        write!(f, "work    {} thread{s}", self.threads)?;
        if let Some(level) = self.level {
            write!(f, ", zstd level {level}")?;
            if level == Level::Auto {
                let [least, .., most] = AUTO_LEVELS;
                write!(f, " ({least} to {most})")?;
            }
            write!(f, ", window of {} blocks", self.window)?;
        }
        let memory = &self.memory;
        write!(
            f,
            "\nmemory  at most {} of {}:",
            human(memory.total()),
            human(memory.budget)
        )?;
        let parts = [
            ("image", memory.image),
            ("workers", memory.workers),
            ("window", memory.window),
            ("index", memory.index),
            ("sink", memory.sink),
            ("reserved", memory.reserved),
            ("program", memory.program),
        ];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(name, bytes)| format!("{name} {}", human(bytes)))
            .collect();
        write!(f, " {}", parts.join(", "))?;
        for note in &self.notes {
            write!(f, "\nnote    {note}")?;
        }
        Ok(())
    }
}
