//! One call: each attempt is built, authenticated and sent from scratch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use net::http::header::CONTENT_TYPE;
use net::http::{Bytes, HeaderName, HeaderValue, Method, Request, Response, Url};
use net::retry::{Policy, chain, retry};
use net::secret::{AccessKey, ExposeSecret, SecretString};
use net::sign::{X_PROJECT_ID, sign};
use net::status::Repeat;
use serde::Serialize;
use serde_json::Value;

use crate::answer::complaint;
use crate::auth::Credentials;
use crate::client::{Client, Inner};
use crate::endpoint::{Service, join};
use crate::error::{Error, ErrorKind, Result};
use crate::foreign;
use crate::id::JobId;
use crate::token::{self, Scope, Token};
use crate::value;

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// A call as plain data.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// What it does, for messages: "registering the image".
    pub(crate) doing: &'static str,
    pub(crate) service: Service,
    pub(crate) method: Method,
    /// Path after the endpoint's; made of ids and fixed text.
    pub(crate) path: String,
    pub(crate) query: &'a [(&'a str, &'a str)],
    /// JSON in most calls, or nothing.
    pub(crate) body: Option<Bytes>,
    /// Of the body.
    pub(crate) content_type: &'static str,
    pub(crate) repeat: Repeat,
    pub(crate) policy: Policy,
    /// A status beside 2xx that is a good answer.
    pub(crate) also: Option<u16>,
}

impl<'a> Call<'a> {
    /// A call that reads.
    pub(crate) fn get(
        client: &Client,
        doing: &'static str,
        service: Service,
        path: String,
    ) -> Self {
        Self {
            doing,
            service,
            method: Method::GET,
            path,
            query: &[],
            body: None,
            content_type: "application/json",
            repeat: Repeat::Safe,
            policy: client.0.options.policy,
            also: None,
        }
    }

    /// An idempotent call of the image service with `body` as JSON.
    pub(crate) fn with(
        client: &Client,
        doing: &'static str,
        method: Method,
        path: String,
        body: &impl Serialize,
    ) -> Result<Self> {
        let body = serde_json::to_string(body).map_err(|e| {
            Error::new(
                ErrorKind::Invalid,
                format!("{doing}: the request has no JSON form"),
            )
            .caused_by(e)
        })?;
        Ok(Self {
            method,
            body: Some(body.into()),
            ..Self::get(client, doing, Service::Ims, path)
        })
    }

    /// The same for a call that is not idempotent.
    pub(crate) fn once(mut self) -> Self {
        self.repeat = Repeat::Unsafe;
        self
    }

    /// The same with a query.
    pub(crate) fn query(mut self, query: &'a [(&'a str, &'a str)]) -> Self {
        self.query = query;
        self
    }
}

impl Client {
    /// Makes `call` inside the project; looks the project up before, where signatures need it.
    pub(crate) async fn call_in_project(&self, call: &Call<'_>) -> Result<Response> {
        let project = match self.0.options.credentials {
            Credentials::AccessKey(_) | Credentials::Keys(_) => Some(self.project_id().await?),
            _ => None,
        };
        self.call(call, project).await
    }

    /// Makes `call` inside the project; the JSON of its answer.
    pub(crate) async fn fetch(&self, call: &Call<'_>) -> Result<Value> {
        json(call.doing, &self.call_in_project(call).await?)
    }

    /// An idempotent call without a body, whose answer carries no data.
    pub(crate) async fn execute_empty(
        &self,
        doing: &'static str,
        method: Method,
        path: String,
    ) -> Result<()> {
        let call = Call {
            method,
            ..Call::get(self, doing, Service::Ims, path)
        };
        self.execute(&call).await
    }

    /// Makes `call` inside the project; its answer carries no data.
    pub(crate) async fn execute(&self, call: &Call<'_>) -> Result<()> {
        self.call_in_project(call).await.map(drop)
    }

    /// Makes `call`, whose answer names a job. `look` says how to find the outcome of a request
    /// whose answer was lost.
    pub(crate) async fn start(&self, call: &Call<'_>, look: impl Fn() -> String) -> Result<JobId> {
        let answer = match self.call_in_project(call).await {
            Err(error) if error.kind() == ErrorKind::Ambiguous => {
                return Err(error.with_hint(look()));
            }
            other => other?,
        };
        let job = json(call.doing, &answer)
            .ok()
            .and_then(|body| value::text(&body, "job_id"))
            .and_then(|id| id.parse().ok());
        if let Some(job) = job {
            return Ok(job);
        }
        // Some gateways answer 200 whatever happened.
        let said = complaint(&answer.body, &self.0.secrets().await);
        let why = match (said.code, said.message.as_str()) {
            (Some(code), message) => format!("the answer names no job, but {code}: {message}"),
            (None, _) => "the service accepted it, but named no job".to_owned(),
        };
        Err(Error::ambiguous(call.doing, &why).with_hint(look()))
    }

    /// Makes `call`, as often as its policy says, and returns the successful answer.
    pub(crate) async fn call(&self, call: &Call<'_>, project: Option<&str>) -> Result<Response> {
        let reached = AtomicBool::new(false);
        let reached = &reached;
        let attempt = |number| async move {
            let ended = self.attempt(call, project).await;
            ended.map_err(|error| {
                if error.kind() != ErrorKind::Network {
                    reached.store(true, Ordering::Relaxed);
                }
                let error = error.after(reached.load(Ordering::Relaxed));
                match error.code() {
                    // "Not carried out" is believed, but some gateways are wrong.
                    Some("IMG.0009") if number > 1 && call.repeat == Repeat::Unsafe => error.with_hint(
                        "an earlier attempt of this run may have been carried out all the same: \
                         look at the image of this name first",
                    ),
                    _ => error,
                }
            })
        };
        retry(&call.policy, call.doing, attempt).await
    }

    /// One attempt; one more if the credentials had expired, which says nothing about the call
    /// itself.
    async fn attempt(&self, call: &Call<'_>, project: Option<&str>) -> Result<Response> {
        let inner = &*self.0;
        let mut refreshed = false;
        loop {
            let mut request = Request::new(call.method.clone(), inner.url(call));
            if let Some(body) = &call.body {
                request = request.with_json(body.clone());
                request
                    .headers
                    .insert(CONTENT_TYPE, HeaderValue::from_static(call.content_type));
            }
            let used = inner.authenticate(&mut request, project).await?;
            let answer = inner
                .send(call.doing, request)
                .await
                .map_err(|e| Error::network(call.doing, call.repeat, e))?;
            if let Some(error) = foreign::refuse(call.doing, call.service, &answer, call.repeat) {
                return Err(error);
            }
            let clock_moved = inner.clock.learn(&answer.headers);
            if answer.status.is_success() || call.also == Some(answer.status.as_u16()) {
                return Ok(answer);
            }
            if answer.status == 401 && !refreshed {
                refreshed = match &used {
                    Used::CachedToken(token) => {
                        inner.tokens.refused(token.number).await;
                        true
                    }
                    Used::Signature => clock_moved,
                    // With the right time the same key may be good.
                    Used::RenewedKey(_) if clock_moved => true,
                    Used::RenewedKey(id) => inner.renew_key(id).await,
                    Used::GivenToken => false,
                };
                if refreshed {
                    tracing::debug!("{}: not accepted, authenticating again", call.doing);
                    continue;
                }
            }
            let mut secrets = inner.secrets().await;
            if let Used::CachedToken(token) = used {
                // Another caller may have replaced it meanwhile.
                secrets.push(token.value);
            }
            return Err(Error::from_answer(
                call.doing,
                &answer,
                call.repeat,
                &secrets,
                inner.clock.now(),
            ));
        }
    }

    /// The token of password credentials, cached or new; other credentials have none.
    pub(crate) async fn token(&self) -> Result<Option<Token>> {
        match &self.0.options.credentials {
            Credentials::Password {
                user,
                password,
                domain,
            } => self.0.sign_in(user, password, domain).await.map(Some),
            _ => Ok(None),
        }
    }
}

/// What an attempt was authenticated with.
enum Used {
    Signature,
    /// A signature by the key with this id, which can be replaced.
    RenewedKey(String),
    /// A token of ours, which can be replaced.
    CachedToken(Token),
    /// A token from elsewhere.
    GivenToken,
}

impl Inner {
    fn url(&self, call: &Call<'_>) -> Url {
        let endpoints = &self.options.endpoints;
        let base = match call.service {
            Service::Iam => &endpoints.iam,
            Service::Ims => &endpoints.ims,
        };
        join(base, &call.path, call.query)
    }

    async fn authenticate(&self, request: &mut Request, project: Option<&str>) -> Result<Used> {
        match &self.options.credentials {
            Credentials::AccessKey(key) => {
                self.sign(request, key, project)?;
                Ok(Used::Signature)
            }
            Credentials::Keys(keys) => {
                let key = keys.current().await.map_err(Error::no_key)?;
                self.sign(request, &key, project)?;
                Ok(Used::RenewedKey(key.id))
            }
            Credentials::Token(token) => {
                set_token(request, token)?;
                Ok(Used::GivenToken)
            }
            Credentials::Password {
                user,
                password,
                domain,
            } => {
                let token = self.sign_in(user, password, domain).await?;
                set_token(request, &token.value)?;
                Ok(Used::CachedToken(token))
            }
        }
    }

    fn sign(&self, request: &mut Request, key: &AccessKey, project: Option<&str>) -> Result<()> {
        if let Some(project) = project {
            let value =
                HeaderValue::from_str(project).map_err(|e| unsendable("the project id", e))?;
            request.headers.insert(X_PROJECT_ID, value);
        }
        sign(request, key, self.clock.now()).map_err(|e| {
            Error::new(ErrorKind::Invalid, "the request cannot be signed")
                .caused_by(e)
                .with_hint("check the access key for stray characters")
        })?;
        Ok(())
    }

    /// The key with this id was refused; whether there may be another one.
    async fn renew_key(&self, id: &str) -> bool {
        match &self.options.credentials {
            Credentials::Keys(keys) => keys.refused(id).await,
            _ => false,
        }
    }

    /// The cached token, or a new one.
    async fn sign_in(&self, user: &str, password: &SecretString, domain: &str) -> Result<Token> {
        let fetch = async || {
            const DOING: &str = "signing in";
            let url = join(
                &self.options.endpoints.iam,
                "/v3/auth/tokens",
                &[("nocatalog", "true")],
            );
            let scope = match &self.options.project_id {
                Some(id) => Scope::ProjectId(id),
                None => Scope::ProjectName(
                    self.options
                        .project_name
                        .as_deref()
                        .unwrap_or(&self.options.region),
                ),
            };
            let request = token::request(url, user, password, domain, &scope);
            let answer = self
                .send(DOING, request)
                .await
                .map_err(|e| Error::network(DOING, Repeat::Safe, e))?;
            // Nobody else sends a token, whatever is around it.
            if !answer.headers.contains_key(token::HEADER)
                && let Some(error) = foreign::refuse(DOING, Service::Iam, &answer, Repeat::Safe)
            {
                return Err(error);
            }
            self.clock.learn(&answer.headers);
            if answer.status.is_success() {
                return token::from_answer(&answer, self.clock.now());
            }
            Err(Error::from_answer(
                DOING,
                &answer,
                Repeat::Safe,
                std::slice::from_ref(password),
                self.clock.now(),
            ))
        };
        self.tokens.get(self.clock.now(), fetch).await
    }

    async fn send(
        &self,
        doing: &str,
        request: Request,
    ) -> std::result::Result<Response, net::http::HttpError> {
        let start = Instant::now();
        let method = request.method.clone();
        let path = request.url.path().to_owned();
        let result = self.http.send(request).await;
        let took = start.elapsed().as_millis();
        match &result {
            Ok(answer) => {
                tracing::debug!(
                    "{doing}: {method} {path}: HTTP {} in {took} ms",
                    answer.status.as_u16()
                );
            }
            Err(error) => {
                tracing::debug!("{doing}: {method} {path}: {} after {took} ms", chain(error))
            }
        }
        result
    }

    /// Everything that must not be shown when a server repeats it.
    pub(crate) async fn secrets(&self) -> Vec<SecretString> {
        let mut secrets: Vec<SecretString> = self.tokens.peek().await.into_iter().collect();
        match &self.options.credentials {
            Credentials::AccessKey(key) => {
                secrets.push(key.secret.clone());
                secrets.extend(key.session_token.clone());
            }
            Credentials::Keys(keys) => secrets.extend(keys.secrets().await),
            Credentials::Password { password, .. } => secrets.push(password.clone()),
            Credentials::Token(token) => secrets.push(token.clone()),
        }
        secrets
    }
}

fn set_token(request: &mut Request, token: &SecretString) -> Result<()> {
    let mut value =
        HeaderValue::from_str(token.expose_secret()).map_err(|e| unsendable("the token", e))?;
    value.set_sensitive(true);
    request.headers.insert(X_AUTH_TOKEN, value);
    Ok(())
}

fn unsendable(what: &str, source: net::http::header::InvalidHeaderValue) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("{what} has characters that no HTTP header can carry"),
    )
    .caused_by(source)
}

/// The JSON of a successful answer.
pub(crate) fn json(doing: &str, answer: &Response) -> Result<Value> {
    serde_json::from_slice(&answer.body).map_err(|e| {
        Error::new(
            ErrorKind::BadAnswer,
            format!("the answer to {doing} is not JSON"),
        )
        .caused_by(e)
        .with_hint("check the address of the service")
    })
}
