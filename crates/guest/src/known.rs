//! What could be read, and what could not.

use crate::tree::TreeError;

/// A fact, or why it could not be read.
pub(crate) type Known<T> = Result<T, String>;

impl From<TreeError> for String {
    fn from(TreeError(reason): TreeError) -> Self {
        reason
    }
}
