//! Two other qcow2 readers that share no code with ours.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, Storage, StorageOpenOptions};
use qcow2_rs::dev::Qcow2DevParams;
use qcow2_rs::utils::qcow2_setup_dev_sync;

/// An image opened by `imago`.
pub(crate) struct Imago(FormatAccess<File>);

impl Imago {
    /// `None` when it does not open the image.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let storage = File::open(StorageOpenOptions::new().filename(path)).ok()?;
        let image = Qcow2::<File>::builder(storage)
            .open(DenyImplicitOpenGate::default())
            .ok()?;
        Some(Self(FormatAccess::new(image)))
    }

    pub(crate) fn size(&self) -> u64 {
        self.0.size()
    }

    pub(crate) fn read(&self, at: u64, len: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.0.read(&mut bytes, at)?;
        Ok(bytes)
    }
}

/// The disk as `qcow2-rs` reads it. It does not read every image; see the callers.
pub(crate) fn qcow2_rs(path: &Path, len: usize) -> Vec<u8> {
    let params = Qcow2DevParams::new(9, None, None, true, false);
    let device = qcow2_setup_dev_sync(path, &params).expect("qcow2-rs opens the image");
    ready(device.qcow2_prep_io()).expect("qcow2-rs starts");
    let mut bytes = vec![0; len];
    for (index, piece) in bytes.chunks_mut(1 << 20).enumerate() {
        let at = (index as u64) << 20;
        let got = ready(device.read_at(piece, at)).expect("qcow2-rs reads");
        assert_eq!(got, piece.len(), "qcow2-rs reads all of it");
    }
    bytes
}

/// The result of a future that never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("synchronous I/O waits"),
    }
}
