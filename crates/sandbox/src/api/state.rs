//! What the calls share.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use url::Url;

use super::queue::Jobs;
use crate::credentials::Credentials;
use crate::faults::FaultState;
use crate::images::{ImageRecord, Images};
use crate::inventory;
use crate::s3::ObjectStore;

/// What the calls share.
pub(crate) struct Api {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) region: String,
    /// Where IAM and IMS are.
    pub(crate) endpoint: Url,
    /// Where the object storage is.
    pub(crate) obs_endpoint: Url,
    pub(crate) objects: ObjectStore,
    pub(crate) images: Images,
    pub(crate) jobs: Jobs,
    pub(crate) faults: Arc<FaultState>,
    /// Most images that are not killed.
    pub(crate) image_quota: usize,
    /// What the project replied to images that others share with it. Not kept across runs.
    pub(crate) replies: Mutex<BTreeMap<String, String>>,
}

impl Api {
    /// An image of the project's, or of others.
    pub(super) fn look_up(&self, id: &str) -> Option<ImageRecord> {
        self.images.image(id).or_else(|| {
            let mut others = inventory::images().into_iter();
            others.find(|image| image.id == id)
        })
    }

    /// What the project replied to an image that others share with it: `pending` at first.
    pub(super) fn reply_to(&self, id: &str) -> String {
        let replies = self.replies.lock();
        replies.get(id).map_or("pending", String::as_str).to_owned()
    }

    /// The projects that an image is shared with, and their replies.
    pub(super) fn members_of(&self, image: &ImageRecord) -> BTreeMap<String, String> {
        match image.more.owner.as_deref() {
            Some(inventory::OTHERS) => {
                let project = self.credentials.keys.project_id.clone();
                BTreeMap::from([(project, self.reply_to(&image.id))])
            }
            _ => image.more.members.clone(),
        }
    }

    /// Whether flow control refuses another import.
    pub(super) fn is_busy(&self) -> bool {
        self.faults
            .refuse_import(|| self.images.unfinished_jobs().len())
    }
}
