//! Which cloud is used, and with which credentials.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use cloud::{CloudOptions, SandboxDir};
use url::Url;

// The environment is read when this is resolved, not by the parser: a variable must not conflict
// with an option, nor be parsed when it is not used.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Cloud")]
pub(crate) struct CloudArgs {
    /// Cloud whose endpoints are used [env: IMGFERRY_CLOUD] [default: from the region]
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(ims::Cloud::ALL.map(ims::Cloud::name)))]
    pub(crate) cloud: Option<String>,
    /// Region, such as eu-west-0 [env: HW_REGION_NAME]
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// Profile of the configuration file [env: IMGFERRY_PROFILE] [default: the file's
    /// default_profile, else 'default']
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Configuration file [env: IMGFERRY_CONFIG] [default: ~/.config/imgferry/config.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Entry of OpenStack's clouds.yaml with the credentials and endpoints to use [env: OS_CLOUD]
    #[arg(long, value_name = "NAME")]
    pub(crate) os_cloud: Option<String>,
    /// Use the keys of this cloud server's agency [env: IMGFERRY_AGENCY]
    #[arg(long)]
    pub(crate) agency: bool,
    /// Endpoint of the identity service [env: IMGFERRY_IAM_ENDPOINT] [default: from cloud and
    /// region]
    #[arg(long, value_name = "URL", value_parser = net::endpoint::parse)]
    pub(crate) iam_endpoint: Option<Url>,
    /// Endpoint of the image service [env: IMGFERRY_IMS_ENDPOINT] [default: from cloud and region]
    #[arg(long, value_name = "URL", value_parser = net::endpoint::parse)]
    pub(crate) ims_endpoint: Option<Url>,
    /// Endpoint of the object storage [env: IMGFERRY_OBS_ENDPOINT] [default: from cloud and region]
    #[arg(long, value_name = "URL", value_parser = net::endpoint::parse)]
    pub(crate) obs_endpoint: Option<Url>,
    /// API version of the image service [env: IMGFERRY_API_VERSION] [default: v2]
    #[arg(long, value_name = "VERSION", value_parser = PossibleValuesParser::new(["v2", "v2.1"]))]
    pub(crate) api_version: Option<String>,
    /// Put the bucket in the path of the URL instead of the host name, for private installations
    /// and test servers [env: IMGFERRY_PATH_STYLE]
    #[arg(long)]
    pub(crate) path_style: bool,
    /// Allow endpoints without TLS on other machines
    #[arg(long)]
    pub(crate) allow_http: bool,
    /// Project id [env: HW_PROJECT_ID] [default: looked up from the region]
    #[arg(long, value_name = "ID")]
    pub(crate) project_id: Option<String>,
    /// Use a local cloud inside this process instead: it needs no account and no network. It stores
    /// its data in DIR, or in a temporary directory that is removed at the end
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        conflicts_with_all = [
            "cloud", "region", "profile", "config", "os_cloud", "agency", "iam_endpoint", "ims_endpoint",
            "obs_endpoint", "api_version", "path_style", "project_id",
        ]
    )]
    pub(crate) sandbox: Option<Option<PathBuf>>,
}

impl CloudArgs {
    /// The same for the library.
    pub(crate) fn options(&self) -> CloudOptions {
        CloudOptions {
            cloud: self.cloud.clone(),
            region: self.region.clone(),
            profile: self.profile.clone(),
            config: self.config.clone(),
            os_cloud: self.os_cloud.clone(),
            agency: self.agency,
            iam_endpoint: self.iam_endpoint.clone(),
            ims_endpoint: self.ims_endpoint.clone(),
            obs_endpoint: self.obs_endpoint.clone(),
            api_version: self.api_version.clone(),
            path_style: self.path_style,
            allow_http: self.allow_http,
            project_id: self.project_id.clone(),
            sandbox: self.sandbox.as_ref().map(|dir| match dir {
                None => SandboxDir::Temporary,
                Some(dir) => SandboxDir::Kept(dir.clone()),
            }),
        }
    }
}
