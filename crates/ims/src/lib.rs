//! Client of the Image Management Service: sign in, register an image, follow the job.
