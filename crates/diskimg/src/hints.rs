//! What a user can do about an error, where several places say the same.

/// A qcow2 image has rotten metadata.
pub(crate) const CHECK_QCOW2: &str = "list the damage with: qemu-img check IMAGE";

/// A qcow2 image needs other files.
pub(crate) const FLATTEN_QCOW2: &str =
    "make one plain image first: qemu-img convert -O qcow2 IMAGE flat.qcow2";

/// A VHDX file has rotten metadata.
pub(crate) const CHECK_VHDX: &str =
    "try to repair a copy of the file: qemu-img check -r all COPY.vhdx";
