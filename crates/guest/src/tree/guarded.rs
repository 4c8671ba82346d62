//! A tree whose reader may panic: what it was asked for is an error then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::{Entry, Result, Stat, Subvolume, Tree, TreeError};

/// Why something could not be read whose reader panicked.
pub(crate) const PANIC: &str = "its reader stopped at an error of its own";

/// Runs parsers of other people, whose panics are errors.
pub(crate) fn guarded<T, E: From<String>>(
    run: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(PANIC.to_owned().into()))
}

impl From<String> for TreeError {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

/// A tree that does not panic.
pub(crate) struct Guarded(pub(crate) Rc<dyn Tree>);

impl Tree for Guarded {
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>> {
        guarded(|| self.0.stat(path))
    }

    fn read_at(&self, path: &[u8], at: u64, buf: &mut [u8]) -> Result<usize> {
        guarded(|| self.0.read_at(path, at, buf))
    }

    fn list(&self, path: &[u8]) -> Result<Vec<Entry>> {
        guarded(|| self.0.list(path))
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        guarded(|| self.0.read_link(path))
    }

    fn ignores_case(&self) -> bool {
        self.0.ignores_case()
    }

    fn free(&self) -> Option<u64> {
        self.0.free()
    }

    fn subvolumes(&self) -> Result<Vec<Subvolume>> {
        guarded(|| self.0.subvolumes())
    }

    fn subvolume(&self, id: u64) -> Result<Rc<dyn Tree>> {
        let tree = guarded(|| self.0.subvolume(id))?;
        Ok(Rc::new(Self(tree)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that panics whatever it is asked.
    struct Panics;

    impl Tree for Panics {
        fn stat(&self, _: &[u8]) -> Result<Option<Stat>> {
            panic!("on purpose")
        }

        fn read_at(&self, _: &[u8], _: u64, _: &mut [u8]) -> Result<usize> {
            panic!("on purpose")
        }

        fn list(&self, _: &[u8]) -> Result<Vec<Entry>> {
            panic!("on purpose")
        }

        fn read_link(&self, _: &[u8]) -> Result<Vec<u8>> {
            panic!("on purpose")
        }
    }

    #[test]
    fn a_panic_of_a_reader_is_an_error_of_what_was_asked_for() {
        let tree = Guarded(Rc::new(Panics));
        let error = TreeError(PANIC.into());
        assert_eq!(tree.stat(b"/a"), Err(error.clone()));
        assert_eq!(tree.read_at(b"/a", 0, &mut [0]), Err(error.clone()));
        assert_eq!(tree.list(b"/"), Err(error.clone()));
        assert_eq!(tree.read_link(b"/a"), Err(error));
        assert_eq!(guarded(|| Ok::<_, String>(1)), Ok(1));
    }
}
