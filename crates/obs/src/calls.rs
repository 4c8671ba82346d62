//! What surrounds every request: the retry layer, keys that may have expired, a clock that may be
//! wrong.

use std::future::Future;

use net::mask::mask;
use net::retry::{Policy, Verdict, retry};
use net::secret::ExposeSecret;

use crate::classify::{is_spent_key, no_key};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::hint::Hint;

impl Client {
    /// Runs `attempt` as `policy` says. A key that the server calls ended is read again from its
    /// source, and a clock that is off is corrected by the server's; then there is another attempt.
    ///
    /// # Errors
    /// The last attempt's.
    pub(crate) async fn call<T, F, Fut>(
        &self,
        policy: &Policy,
        what: &str,
        mut attempt: F,
    ) -> Result<T, Error>
    where
        F: FnMut(u32) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        retry(policy, what, |number| {
            // The SDK's futures are large, and would make those of all callers larger still.
            let sent = Box::pin(attempt(number));
            async move {
                let key = self.keys().current().await.map_err(|e| no_key(&e))?;
                if key.id.is_empty() || key.secret.expose_secret().is_empty() {
                    return Err(Error::new(ErrorKind::Refused, "the access key is empty")
                        .with_hint("set HW_ACCESS_KEY and HW_SECRET_KEY"));
                }
                match sent.await {
                    Err(error) => {
                        // A server may repeat what it was sent. Keys that were renewed meanwhile
                        // count too.
                        let secrets = self.keys().secrets().await;
                        let of_key = [Some(key.secret.clone()), key.session_token.clone()];
                        let secrets: Vec<_> = secrets
                            .into_iter()
                            .chain(of_key.into_iter().flatten())
                            .collect();
                        let error = error.with_texts(|text| mask(text, &secrets));
                        Err(self.reconsider(error, &key.id).await)
                    }
                    done => done,
                }
            }
        })
        .await
    }

    /// Makes a refusal worth another attempt if something can be fixed here. The SDK signs with
    /// the time of the server's last answer by itself; whether that is another time than before
    /// decides.
    async fn reconsider(&self, error: Error, key_id: &str) -> Error {
        if let Some(error) = self.elsewhere(&error) {
            return error;
        }
        let fixed = if is_spent_key(&error) {
            self.keys().refused(key_id).await
        } else if error.code() == Some("RequestTimeTooSkewed") {
            error
                .date()
                .is_some_and(|date| self.clock().learn_date(date))
        } else {
            false
        };
        if fixed {
            return error.with_verdict(Verdict::Retry);
        }
        error
    }

    /// What a refusal means that names another region than the client's: S3 answers 400 to HEAD
    /// then, and nothing else says why.
    fn elsewhere(&self, error: &Error) -> Option<Error> {
        let region = error.region().filter(|region| *region != self.region())?;
        let is_about_region = matches!(error.status(), Some(301 | 307))
            || (error.status() == Some(400)
                && matches!(error.code(), None | Some("AuthorizationHeaderMalformed")));
        let endpoint = || match error.hint() {
            Some(Hint::UseRegion { endpoint, .. }) => endpoint.clone(),
            _ => None,
        };
        is_about_region.then(|| {
            error
                .clone()
                .with_kind(ErrorKind::WrongRegion)
                .with_verdict(Verdict::Fatal)
                .with_hint(Hint::UseRegion {
                    endpoint: endpoint(),
                    region: Some(region.to_owned()),
                })
        })
    }
}
