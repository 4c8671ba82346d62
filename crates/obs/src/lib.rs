//! Uploads to OBS and other S3-compatible object storage, streaming and verified.
