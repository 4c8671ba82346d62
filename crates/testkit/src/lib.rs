//! Test helpers: image makers, reference content, scripted servers.
