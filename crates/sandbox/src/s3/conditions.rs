//! If-Match and If-None-Match. Conditions on times are not looked at.

use s3s::dto::{ETag, ETagCondition};
use s3s::{S3ErrorCode, S3Result, s3_error};

use super::objects::{Inner, Object};

/// The conditions of a request that replaces an object.
pub(super) fn check_replacing(
    store: &Inner,
    bucket: &str,
    key: &str,
    if_match: &Option<ETagCondition>,
    if_none_match: &Option<ETagCondition>,
) -> S3Result<()> {
    if if_match.is_none() && if_none_match.is_none() {
        return Ok(());
    }
    let present = match store.object(bucket, key) {
        Ok(object) => Some(ETag::Strong(object.meta.etag)),
        Err(error) if *error.code() == S3ErrorCode::NoSuchKey => None,
        Err(error) => return Err(error),
    };
    let is = |condition: &ETagCondition| match (&present, condition) {
        (None, _) => false,
        (Some(_), ETagCondition::Any) => true,
        (Some(present), ETagCondition::ETag(etag)) => present.strong_cmp(etag),
    };
    let met = if_match.as_ref().is_none_or(is) && !if_none_match.as_ref().is_some_and(is);
    if met {
        Ok(())
    } else {
        Err(s3_error!(
            PreconditionFailed,
            "a precondition does not hold"
        ))
    }
}

/// The conditions of a request that reads an object.
pub(super) fn check_reading(
    object: &Object,
    if_match: &Option<ETagCondition>,
    if_none_match: &Option<ETagCondition>,
) -> S3Result<()> {
    let present = ETag::Strong(object.meta.etag.clone());
    let is = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => present.weak_cmp(etag),
    };
    if !if_match.as_ref().is_none_or(is) {
        return Err(s3_error!(
            PreconditionFailed,
            "a precondition does not hold"
        ));
    }
    if if_none_match.as_ref().is_some_and(is) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}
