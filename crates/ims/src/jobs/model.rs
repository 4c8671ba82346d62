//! What the service reports about a job. Every field may be missing, and numbers may be text.
//!
//! Source: Image Management Service API Reference, "Querying the Status of an Asynchronous Job";
//! the failure fields of `entities` from the newer SDKs' model of the same answer.

use serde_json::Value;

use crate::answer::tidy;
use crate::id::ImageId;
use crate::value;

/// Deepest nesting of sub-jobs that is read. The service nests once.
const MAX_DEPTH: u32 = 2;

/// Most sub-jobs and results that are read. Ours: an import has a handful.
const MAX_SUB_JOBS: usize = 64;

/// Longest reason of a failure that is shown, in characters.
const MAX_REASON: usize = 500;

/// State of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobStatus {
    /// Not started.
    Init,
    /// In progress.
    Running,
    /// Done.
    Success,
    /// Failed.
    Fail,
    /// Something newer than this program, or missing: neither the end nor a failure.
    Other(String),
}

impl JobStatus {
    fn parse(text: &str) -> Self {
        match text.to_ascii_uppercase().as_str() {
            "INIT" => Self::Init,
            "RUNNING" => Self::Running,
            "SUCCESS" => Self::Success,
            "FAIL" => Self::Fail,
            _ => Self::Other(tidy(text, 64)),
        }
    }

    /// The service's word for it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Init => "INIT",
            Self::Running => "RUNNING",
            Self::Success => "SUCCESS",
            Self::Fail => "FAIL",
            Self::Other(text) => text,
        }
    }
}

/// A job or sub-job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Id.
    pub job_id: Option<String>,
    /// State.
    pub status: JobStatus,
    /// Type, such as `imsImportImageJob`.
    pub job_type: Option<String>,
    /// Begin, in a form that differs between releases.
    pub begin_time: Option<String>,
    /// End, likewise.
    pub end_time: Option<String>,
    /// Code of a failure.
    pub error_code: Option<String>,
    /// Reason of a failure.
    pub fail_reason: Option<String>,
    /// What the job is about.
    pub entities: JobEntities,
}

/// What a job is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobEntities {
    /// The image that the job makes.
    pub image_id: Option<String>,
    /// Its name.
    pub image_name: Option<String>,
    /// Step that the job is in.
    pub current_task: Option<String>,
    /// Share that is done, 0 to 1.
    pub process_percent: Option<f64>,
    /// Results of the job's parts.
    pub results: Vec<JobResult>,
    /// Sub-jobs.
    pub sub_jobs: Vec<Job>,
    /// Names and texts of all failure fields that are set.
    pub failures: Vec<(String, String)>,
}

/// Result of a part of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobResult {
    /// Image.
    pub image_id: Option<String>,
    /// State, in lower case in some releases.
    pub status: Option<String>,
}

impl Job {
    pub(super) fn parse(value: &Value) -> Self {
        Self::parse_within(value, MAX_DEPTH)
    }

    fn parse_within(value: &Value, depth: u32) -> Self {
        let text = |name| value::text(value, name);
        Self {
            job_id: text("job_id"),
            status: JobStatus::parse(&text("status").unwrap_or_default()),
            job_type: text("job_type"),
            begin_time: text("begin_time"),
            end_time: text("end_time"),
            error_code: text("error_code"),
            fail_reason: text("fail_reason"),
            entities: value
                .get("entities")
                .map(|entities| JobEntities::parse(entities, depth))
                .unwrap_or_default(),
        }
    }

    /// Share that is done, 0 to 1.
    #[must_use]
    pub fn progress(&self) -> Option<f64> {
        self.entities.process_percent
    }

    /// The image that the job made: its own, or that of its results or sub-jobs.
    #[must_use]
    pub fn image_id(&self) -> Option<ImageId> {
        let entities = &self.entities;
        let own = entities.image_id.iter();
        let results = entities.results.iter().filter_map(|r| r.image_id.as_ref());
        own.chain(results)
            .find_map(|id| id.parse().ok())
            .or_else(|| entities.sub_jobs.iter().find_map(Self::image_id))
    }

    /// Everything that the job and its sub-jobs say of a failure, each once.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let mut said = Vec::new();
        self.collect_failures("", &mut said);
        said
    }

    fn collect_failures(&self, prefix: &str, said: &mut Vec<String>) {
        let mut say = |text: String| {
            let text = format!("{prefix}{}", tidy(&text, MAX_REASON));
            if !said.contains(&text) {
                said.push(text);
            }
        };
        match (self.code(), &self.fail_reason) {
            (Some(code), Some(reason)) => say(format!("{code}: {reason}")),
            (Some(text), None) => say(text),
            (None, Some(text)) => say(text.clone()),
            (None, None) => {}
        }
        for (name, text) in &self.entities.failures {
            say(format!("{name}: {text}"));
        }
        for sub in &self.entities.sub_jobs {
            let id = sub.job_id.as_deref().unwrap_or("without id");
            sub.collect_failures(&format!("sub-job {}: ", tidy(id, 64)), said);
        }
    }

    /// The first service code in the job or its sub-jobs.
    #[must_use]
    pub fn failure_code(&self) -> Option<String> {
        self.code()
            .or_else(|| {
                let mut failures = self.entities.failures.iter();
                failures
                    .find_map(|(name, text)| name.ends_with("code").then(|| without_spaces(text)))
            })
            .or_else(|| self.entities.sub_jobs.iter().find_map(Self::failure_code))
    }

    fn code(&self) -> Option<String> {
        self.error_code.as_deref().map(without_spaces)
    }
}

/// Documents print some codes with a space inside.
fn without_spaces(code: &str) -> String {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    tidy(&code, 64)
}

impl JobEntities {
    fn parse(value: &Value, depth: u32) -> Self {
        let text = |name| value::text(value, name);
        let depth = depth.checked_sub(1);
        let sub_jobs = depth.map_or_else(Vec::new, |depth| {
            value::list(value, "sub_jobs_result")
                .iter()
                .take(MAX_SUB_JOBS)
                .map(|sub| Job::parse_within(sub, depth))
                .collect()
        });
        Self {
            image_id: text("image_id"),
            image_name: text("image_name"),
            current_task: text("current_task"),
            process_percent: value::number(value, "process_percent").map(share),
            results: value::list(value, "results")
                .iter()
                .take(MAX_SUB_JOBS)
                .map(|result| JobResult {
                    image_id: value::text(result, "image_id"),
                    status: value::text(result, "status"),
                })
                .collect(),
            sub_jobs,
            failures: failures(value),
        }
    }
}

/// The documented value goes from 0 to 1; one release shows 0 to 100.
fn share(percent: f64) -> f64 {
    let share = if percent > 1.0 {
        percent / 100.0
    } else {
        percent
    };
    share.clamp(0.0, 1.0)
}

fn failures(entities: &Value) -> Vec<(String, String)> {
    [
        "error_code",
        "error_msg",
        "fail_reason",
        "addition_error_code",
        "addition_error_msg",
        "error",
        "alarm_code",
    ]
    .into_iter()
    .filter_map(|name| {
        let text = match entities.get(name)? {
            object @ Value::Object(_) => {
                value::text(object, "message").or_else(|| value::text(object, "code"))?
            }
            _ => value::text(entities, name)?,
        };
        Some((name.to_owned(), text))
    })
    .collect()
}
