//! A cloud on one machine: OBS, IAM and IMS stand-ins that check what they are given.
