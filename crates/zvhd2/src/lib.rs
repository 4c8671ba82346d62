//! The ZVHD2 disk image format: encoder, reader and checker.
