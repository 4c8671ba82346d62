//! The buffers of parts that are built in memory: used again and again, and counted until the last
//! byte of them is let go.
//!
//! Buffers of some MiB that many threads allocate and free are kept by the allocator in several
//! heaps, far beyond what is in use at any time.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::budget::{Budget, Permit};

/// Buffers of one size, as many as the budget allows.
#[derive(Debug)]
pub(crate) struct Buffers {
    budget: Arc<Budget>,
    /// Bytes of each.
    size: usize,
    /// Those that nobody uses. Each was made under a permit, so there are never more than those.
    idle: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    /// Buffers of `size` bytes, whose sum stays inside `budget`.
    pub(crate) fn new(budget: Arc<Budget>, size: usize) -> Arc<Self> {
        Arc::new(Self {
            budget,
            size,
            idle: Mutex::default(),
        })
    }

    /// Waits for a buffer, and returns it with `len` zeros in it. `None` once the budget is closed,
    /// and when a buffer is too small.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Option<Buffer> {
        if len > self.size {
            return None;
        }
        let permit = self
            .budget
            .acquire(u64::try_from(self.size).unwrap_or(u64::MAX))?;
        let idle = self.idle.lock().pop();
        let bytes = match idle {
            Some(mut bytes) => {
                bytes.clear();
                bytes.resize(len, 0);
                bytes
            }
            None => {
                let mut bytes = vec![0; self.size];
                bytes.truncate(len);
                bytes
            }
        };
        Some(Buffer {
            bytes,
            home: Arc::clone(self),
            _permit: permit,
        })
    }
}

/// A buffer in use. It goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    home: Arc<Buffers>,
    // Dropped after the buffer is back, so that whoever gets the permit finds it.
    _permit: Permit,
}

impl Buffer {
    /// As the body of a request; goes back when its last clone is dropped.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut idle = self.home.idle.lock();
        idle.push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_holds_zeros_again() {
        let budget = Budget::new(200);
        let buffers = Buffers::new(Arc::clone(&budget), 100);
        let mut first = buffers.take(100).unwrap();
        first.as_mut().fill(7);
        let address = first.as_ref().as_ptr();
        let body = first.into_bytes();
        let clone = body.clone();
        drop(body);
        assert_eq!(budget.free(), 100, "a clone still holds it");
        drop(clone);
        assert_eq!(budget.free(), 200);
        let again = buffers.take(60).unwrap();
        assert_eq!(again.as_ref(), [0; 60]);
        assert_eq!(again.as_ref().as_ptr(), address);
        assert!(buffers.take(101).is_none());
        budget.close();
        assert!(buffers.take(1).is_none());
    }
}
