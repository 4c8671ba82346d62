//! Free space, held against the programs that file systems come with: what they call free is what
//! is discarded, and after that they find nothing wrong and every file as it was.

mod common;
mod ext;
mod others;
mod xfs;
