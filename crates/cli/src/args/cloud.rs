//! Which cloud is meant, and who we are there.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use url::Url;

// The environment is read when this is resolved, not by the parser: a variable must not conflict
// with an option, nor be parsed when it is not used.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Cloud")]
pub(crate) struct CloudArgs {
    /// Cloud whose addresses are used [env: IMGFERRY_CLOUD] [default: by the region]
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
    /// Cloud of OpenStack's clouds.yaml to take credentials and addresses from [env: OS_CLOUD]
    #[arg(long, value_name = "NAME")]
    pub(crate) os_cloud: Option<String>,
    /// Use the keys of the agency that this server runs with [env: IMGFERRY_AGENCY]
    #[arg(long)]
    pub(crate) agency: bool,
    /// Identity service [env: IMGFERRY_IAM_ENDPOINT] [default: by cloud and region]
    #[arg(long, value_name = "URL", value_parser = net::endpoint::parse)]
    pub(crate) iam_endpoint: Option<Url>,
    /// Image service [env: IMGFERRY_IMS_ENDPOINT] [default: by cloud and region]
    #[arg(long, value_name = "URL", value_parser = net::endpoint::parse)]
    pub(crate) ims_endpoint: Option<Url>,
    /// Object storage [env: IMGFERRY_OBS_ENDPOINT] [default: by cloud and region]
    #[arg(long, value_name = "URL", value_parser = net::endpoint::parse)]
    pub(crate) obs_endpoint: Option<Url>,
    /// Release of the image service's calls [env: IMGFERRY_API_VERSION] [default: v2]
    #[arg(long, value_name = "VERSION", value_parser = PossibleValuesParser::new(["v2", "v2.1"]))]
    pub(crate) api_version: Option<String>,
    /// Put the bucket into the path instead of the host name (private installations, test servers)
    /// [env: IMGFERRY_PATH_STYLE]
    #[arg(long)]
    pub(crate) path_style: bool,
    /// Allow endpoints without TLS that are not on this machine
    #[arg(long)]
    pub(crate) allow_http: bool,
    /// Project id [env: HW_PROJECT_ID] [default: looked up by region]
    #[arg(long, value_name = "ID")]
    pub(crate) project_id: Option<String>,
    /// Use a cloud on this machine instead: no account, nothing leaves it. It lives in DIR, or in a
    /// temporary directory that is removed at the end
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
