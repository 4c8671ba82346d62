//! The settings: what each is called in the configuration file and in the environment.

/// A setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Item {
    Cloud,
    Region,
    ApiVersion,
    IamEndpoint,
    ImsEndpoint,
    ObsEndpoint,
    PathStyle,
    AllowHttp,
    ProjectId,
    ProjectName,
    EnterpriseProjectId,
    AccessKey,
    SecretKey,
    SecurityToken,
    UserName,
    UserPassword,
    DomainName,
    AuthToken,
    Agency,
    MetadataEndpoint,
    OsCloud,
}

/// What a setting is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub(crate) name: Item,
    /// In the configuration file, and in what `config` prints.
    pub(crate) key: &'static str,
    pub(crate) variable: Option<&'static str>,
    /// Never shown.
    pub(crate) secret: bool,
    /// The form of its value in the file.
    pub(crate) kind: Kind,
}

/// The form of a value in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Switch,
}

const fn text(name: Item, key: &'static str, variable: Option<&'static str>) -> Spec {
    Spec {
        name,
        key,
        variable,
        secret: false,
        kind: Kind::Text,
    }
}

const fn secret(name: Item, key: &'static str, variable: &'static str) -> Spec {
    Spec {
        secret: true,
        ..text(name, key, Some(variable))
    }
}

const fn switch(name: Item, key: &'static str, variable: Option<&'static str>) -> Spec {
    Spec {
        kind: Kind::Switch,
        ..text(name, key, variable)
    }
}

/// All settings, in the order in which they are shown.
pub(crate) const SPECS: &[Spec] = {
    use Item::*;
    &[
        text(Cloud, "cloud", Some("IMGFERRY_CLOUD")),
        text(Region, "region", Some("HW_REGION_NAME")),
        text(ApiVersion, "api_version", Some("IMGFERRY_API_VERSION")),
        text(IamEndpoint, "iam_endpoint", Some("IMGFERRY_IAM_ENDPOINT")),
        text(ImsEndpoint, "ims_endpoint", Some("IMGFERRY_IMS_ENDPOINT")),
        text(ObsEndpoint, "obs_endpoint", Some("IMGFERRY_OBS_ENDPOINT")),
        switch(PathStyle, "path_style", Some("IMGFERRY_PATH_STYLE")),
        switch(AllowHttp, "allow_http", None),
        text(ProjectId, "project_id", Some("HW_PROJECT_ID")),
        text(ProjectName, "project_name", Some("HW_PROJECT_NAME")),
        text(
            EnterpriseProjectId,
            "enterprise_project_id",
            Some("HW_ENTERPRISE_PROJECT_ID"),
        ),
        text(AccessKey, "access_key", Some("HW_ACCESS_KEY")),
        secret(SecretKey, "secret_key", "HW_SECRET_KEY"),
        secret(SecurityToken, "security_token", "HW_SECURITY_TOKEN"),
        text(UserName, "user_name", Some("HW_USER_NAME")),
        secret(UserPassword, "user_password", "HW_USER_PASSWORD"),
        text(DomainName, "domain_name", Some("HW_DOMAIN_NAME")),
        secret(AuthToken, "auth_token", "HW_AUTH_TOKEN"),
        switch(Agency, "agency", Some("IMGFERRY_AGENCY")),
        text(
            MetadataEndpoint,
            "metadata_endpoint",
            Some("IMGFERRY_METADATA_ENDPOINT"),
        ),
        text(OsCloud, "os_cloud", Some("OS_CLOUD")),
    ]
};

/// The setting with the name `key` in the file.
pub(crate) fn by_key(key: &str) -> Option<&'static Spec> {
    SPECS.iter().find(|spec| spec.key == key)
}

impl Item {
    pub(crate) fn spec(self) -> Option<&'static Spec> {
        SPECS.iter().find(|spec| spec.name == self)
    }
}
