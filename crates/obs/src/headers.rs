//! Headers of an answer that the SDK does not model.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

/// Longest value that is kept, in bytes.
const MAX_VALUE: usize = 256;

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
