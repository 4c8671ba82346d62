//! What happens to an answer before the SDK reads it: headers that it does not model are kept, and a
//! body that is too long is cut off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeDeserializationInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use http_body_util::Limited;

/// Longest value that is kept, in bytes.
const MAX_VALUE: usize = 256;
/// Longest body of an answer, in bytes. What this crate asks for is answered in a few hundred.
const MAX_BODY: usize = 1 << 20;
/// The same of a range of an object. Nobody here asks for more.
const MAX_RANGE: usize = 16 << 20;

/// Some headers of the last answer.
#[derive(Clone, Debug)]
pub(crate) struct Headers {
    names: &'static [&'static str],
    values: Arc<Mutex<HashMap<&'static str, String>>>,
}

impl Headers {
    /// Will hold the headers `names`, which are in lower case.
    pub(crate) fn of(names: &'static [&'static str]) -> Self {
        Self {
            names,
            values: Arc::default(),
        }
    }

    /// What fills this, to be added to a request.
    pub(crate) fn interceptor(&self) -> impl Intercept + 'static {
        self.clone()
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(name).cloned()
    }
}

impl Intercept for Headers {
    fn name(&self) -> &'static str {
        "Headers"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.clear();
        for name in self.names {
            if let Some(value) = context.response().headers().get(name) {
                let is_short = value.len() <= MAX_VALUE && !value.chars().any(char::is_control);
                if is_short {
                    values.insert(name, value.to_owned());
                }
            }
        }
        Ok(())
    }
}

/// Ends an answer with an error where its body gets longer than what was asked for can be: the SDK would take
/// all of it into memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitBody;

impl Intercept for LimitBody {
    fn name(&self) -> &'static str {
        "LimitBody"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let most = match response.status().as_u16() {
            206 => MAX_RANGE,
            _ => MAX_BODY,
        };
        let body = response.take_body();
        *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, most));
        Ok(())
    }
}
