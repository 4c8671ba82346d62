//! The file of a hive, read in pages: lookups come back to the same ones again and again.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::rc::Rc;

use lru::LruCache;

use crate::known::Known;
use crate::view::File;

/// Bytes that are read and kept together.
const PAGE: usize = 16 << 10;
/// Pages that are kept.
const PAGES: NonZeroUsize = NonZeroUsize::new(64).unwrap();

pub(super) struct Pages {
    file: File,
    kept: RefCell<LruCache<u64, Rc<[u8]>>>,
}

impl Pages {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            kept: RefCell::new(LruCache::new(PAGES)),
        }
    }

    /// `length` bytes from `at`. The caller has held `length` against a cap.
    pub(super) fn read(&self, mut at: u64, length: usize) -> Known<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let page = self.page(at / PAGE as u64)?;
            let start = usize::try_from(at % PAGE as u64).unwrap_or_default();
            let piece: &[u8] = page.get(start..).unwrap_or_default();
            let piece = piece.get(..length - bytes.len()).unwrap_or(piece);
            if piece.is_empty() {
                return Err(format!("the hive ends at {at:#x}, before its last cell"));
            }
            bytes.extend_from_slice(piece);
            at += piece.len() as u64;
        }
        Ok(bytes)
    }

    fn page(&self, number: u64) -> Known<Rc<[u8]>> {
        if let Some(page) = self.kept.borrow_mut().get(&number) {
            return Ok(Rc::clone(page));
        }
        let mut page = vec![0; PAGE];
        let mut filled = 0;
        while let Some(rest) = page.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = (number * PAGE as u64).saturating_add(filled as u64);
            match self.file.read_at(at, rest)? {
                0 => break,
                read => filled += read,
            }
        }
        page.truncate(filled);
        let page: Rc<[u8]> = page.into();
        self.kept.borrow_mut().put(number, Rc::clone(&page));
        Ok(page)
    }
}
