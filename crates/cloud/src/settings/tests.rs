use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::*;

impl Environment for HashMap<&str, &str> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).map(|value| (*value).to_owned())
    }
}

fn args(region: Option<&str>) -> CloudOptions {
    CloudOptions {
        region: region.map(Into::into),
        ..CloudOptions::default()
    }
}

const KEY: [(&str, &str); 2] = [("HW_ACCESS_KEY", "a"), ("HW_SECRET_KEY", "hunter2")];

/// Messages and hints, a line each.
fn words(Missing(missing): &Missing) -> String {
    let lines: Vec<String> = missing
        .iter()
        .map(|problem| format!("{} {:?}", problem.message, problem.hint))
        .collect();
    lines.join("\n")
}

fn refusal(args: &CloudOptions, env: &dyn Environment) -> String {
    words(&resolve(args, env).unwrap_err())
}

/// A configuration directory, as XDG_CONFIG_HOME.
struct Home {
    dir: TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    fn write(&self, file: &str, mode: u32, text: &str) {
        let path = self.dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn config(&self, text: &str) {
        self.write("imgferry/config.toml", 0o600, text);
    }

    fn env<'a>(&'a self, more: &[(&'a str, &'a str)]) -> HashMap<&'a str, &'a str> {
        let mut env = HashMap::from([("XDG_CONFIG_HOME", self.path())]);
        env.extend(more.iter().copied());
        env
    }
}

fn origin<'a>(resolved: &'a Resolved, name: &str) -> (&'a str, &'a str) {
    let setting = resolved
        .settings
        .iter()
        .find(|setting| setting.name == name)
        .unwrap_or_else(|| panic!("no {name} in {:?}", resolved.settings));
    let origin = match &setting.origin {
        Origin::Options => "options",
        Origin::Elsewhere(words) => words,
    };
    (&setting.value, origin)
}

#[test]
fn everything_missing_is_reported_together() {
    let Missing(missing) = resolve(&args(None), &HashMap::new()).unwrap_err();
    assert_eq!(missing.len(), 2, "{missing:?}");
}

#[test]
fn half_a_key_pair_is_named() {
    let env = HashMap::from([("HW_ACCESS_KEY", "a")]);
    assert_eq!(
        refusal(&args(Some("eu-west-0")), &env),
        "HW_ACCESS_KEY is set, HW_SECRET_KEY is not None"
    );
}

#[test]
fn endpoints_follow_cloud_and_region_unless_given() {
    let env = HashMap::from(KEY);
    let mut args = args(Some("eu-de"));
    args.obs_endpoint = Url::parse("https://oss.example.org").ok();
    let cloud = resolve(&args, &env).unwrap();
    assert_eq!(cloud.provider, Some(ims::Cloud::Otc));
    assert_eq!(cloud.iam.as_str(), "https://iam.eu-de.otc.t-systems.com/");
    assert_eq!(cloud.obs.as_str(), "https://oss.example.org/");
    assert!(!format!("{cloud:?}").contains("hunter2"));
}

/// A key must not reach another operator, so nothing is guessed.
#[test]
fn the_operator_is_known_or_named_and_never_guessed() {
    let env = HashMap::from(KEY);
    let iam = |cloud: Option<&str>, region: &str| {
        let mut args = args(Some(region));
        args.cloud = cloud.map(Into::into);
        let resolved = resolve(&args, &env).map(|cloud| cloud.iam.host_str().unwrap().to_owned());
        resolved.map_err(|missing| words(&missing))
    };
    for (cloud, region, expected) in [
        (None, "EU-DE", "iam.eu-de.otc.t-systems.com"),
        (None, "eu-ch2", "iam-pub.eu-ch2.sc.otc.t-systems.com"),
        (None, "eu-west-102", "iam.eu-west-102.myhuaweicloud.eu"),
        (None, "ru-moscow-1", "iam.ru-moscow-1.hc.sbercloud.ru"),
        (None, "cn-north-4", "iam.cn-north-4.myhuaweicloud.com"),
        (Some("otc"), "eu-de", "iam.eu-de.otc.t-systems.com"),
        // A region that is newer than this program: whose it is was said.
        (
            Some("huawei"),
            "cn-north-77",
            "iam.cn-north-77.myhuaweicloud.com",
        ),
        (
            Some("otc-swiss"),
            "eu-ch3",
            "iam-pub.eu-ch3.sc.otc.t-systems.com",
        ),
    ] {
        assert_eq!(iam(cloud, region).as_deref(), Ok(expected), "{region}");
    }
    for (cloud, region, why) in [
        (None, "cn-north-77", "unknown region"),
        (None, "RegionOne", "unknown region"),
        (Some("huawei"), "eu-de", "region eu-de belongs to otc"),
        (Some("otc"), "eu-ch2", "ChangeOperator(Some(OtcSwiss))"),
        (Some("huawei"), "eu-west-101", "belongs to huawei-eu"),
        (Some("huawei"), "ru-moscow-1", "belongs to sbercloud"),
    ] {
        let refused = iam(cloud, region).unwrap_err();
        assert!(refused.contains(why), "{region}: {refused}");
    }
    let unknown = iam(None, "moon-1").unwrap_err();
    for expected in ["GiveOperator", "otc-swiss: eu-ch2"] {
        assert!(unknown.contains(expected), "{unknown}");
    }
}

#[test]
fn addresses_of_two_operators_are_not_mixed() {
    let env = HashMap::from(KEY);
    let of = |cloud: Option<&str>, region: &str, iam: &str| {
        let mut args = args(Some(region));
        args.cloud = cloud.map(Into::into);
        args.iam_endpoint = Url::parse(iam).ok();
        resolve(&args, &env).map(|cloud| cloud.provider)
    };
    let otc = "https://iam.eu-de.otc.t-systems.com";
    assert_eq!(of(None, "eu-de", otc), Ok(Some(ims::Cloud::Otc)));
    // The address names the operator of a region that is not known.
    assert_eq!(of(None, "eu-de-9", otc), Ok(Some(ims::Cloud::Otc)));
    let own = "https://iam.example.org";
    assert_eq!(of(Some("otc"), "eu-de", own), Ok(Some(ims::Cloud::Otc)));
    for (cloud, region, iam) in [
        (None, "cn-north-4", otc),
        (None, "eu-ch2", otc),
        (Some("huawei"), "cn-north-4", otc),
        (None, "eu-de", own),
    ] {
        assert!(of(cloud, region, iam).is_err(), "{region} {iam}");
    }
}

#[test]
fn an_address_without_a_scheme_belongs_to_an_operator_too() {
    for (variable, key, address, region, fits) in [
        (
            "IMGFERRY_IAM_ENDPOINT",
            "iam_endpoint",
            "iam.eu-de.otc.t-systems.com",
            "eu-de",
            true,
        ),
        (
            "IMGFERRY_IAM_ENDPOINT",
            "iam_endpoint",
            "iam.eu-de.otc.t-systems.com",
            "cn-north-4",
            false,
        ),
        (
            "IMGFERRY_IAM_ENDPOINT",
            "iam_endpoint",
            "iam.example.org",
            "eu-de",
            false,
        ),
        (
            "IMGFERRY_IMS_ENDPOINT",
            "ims_endpoint",
            "ims.eu-de.otc.t-systems.com:443",
            "eu-de",
            true,
        ),
        (
            "IMGFERRY_IMS_ENDPOINT",
            "ims_endpoint",
            "ims.eu-de.otc.t-systems.com:443",
            "cn-north-4",
            false,
        ),
        (
            "IMGFERRY_OBS_ENDPOINT",
            "obs_endpoint",
            "//OBS.eu-de.otc.t-systems.com/",
            "cn-north-4",
            false,
        ),
    ] {
        let mut env = HashMap::from(KEY);
        env.insert(variable, address);
        let home = Home::new();
        home.config(&format!("[profile.default]\n{key} = '{address}'\n"));
        for env in [env, home.env(&KEY)] {
            let resolved = resolve(&args(Some(region)), &env);
            assert_eq!(
                resolved.is_ok(),
                fits,
                "{address} in {region}: {resolved:?}"
            );
        }
    }
}

#[test]
fn an_auth_url_of_another_operator_than_the_regions_is_refused() {
    let home = Home::new();
    home.write(
        "openstack/clouds.yaml",
        0o600,
        "clouds:\n  otc:\n    region_name: eu-de\n    auth: {auth_url: 'https://iam.eu-de.otc.t-systems.com/v3', token: hunter2}\n",
    );
    let mut args = args(Some("cn-north-4"));
    args.os_cloud = Some("otc".into());
    let refused = refusal(&args, &home.env(&[]));
    assert!(
        refused.contains("auth_url") || refused.contains("iam_endpoint"),
        "{refused}"
    );
    assert!(
        refused.contains("otc") && refused.contains("huawei"),
        "{refused}"
    );
    assert!(!refused.contains("hunter2"), "{refused}");
}

#[test]
fn a_command_about_objects_needs_the_address_of_the_storage_only() {
    let env = HashMap::from(KEY);
    let mut args = args(Some("us-east-1"));
    args.obs_endpoint = Url::parse("https://minio.example.org").ok();
    assert!(refusal(&args, &env).contains("unknown region"));
    let cloud = resolve_storage(&args, &env).unwrap();
    assert_eq!(cloud.obs.as_str(), "https://minio.example.org/");
    assert_eq!(cloud.iam, cloud.obs, "keys go nowhere else");
}

#[test]
fn a_cloud_of_which_all_addresses_are_given_is_a_private_one() {
    let env = HashMap::from(KEY);
    let mut args = args(Some("eu-de"));
    for endpoint in [
        &mut args.iam_endpoint,
        &mut args.ims_endpoint,
        &mut args.obs_endpoint,
    ] {
        *endpoint = Url::parse("https://cloud.example.org").ok();
    }
    assert_eq!(resolve(&args, &env).unwrap().provider, None);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let home = Home::new();
    home.config(
        "[profile.default]\nregion = 'cn-north-1'\nproject_id = 'p-file'\naccess_key = 'f'\nsecret_key = 'g'\npath_style = true\n",
    );
    let mut env = home.env(&[]);
    let resolved = examine(&args(None), &env);
    let cloud = resolved.cloud.as_ref().unwrap();
    assert!(cloud.path_style);
    assert_eq!(cloud.region, "cn-north-1");
    assert!(
        origin(&resolved, "region")
            .1
            .starts_with("profile default in ")
    );
    assert_eq!(origin(&resolved, "secret_key").0, "***");

    env.extend([("HW_REGION_NAME", "eu-nl"), ("IMGFERRY_PATH_STYLE", "no")]);
    env.extend(KEY);
    let resolved = examine(&args(None), &env);
    let cloud = resolved.cloud.as_ref().unwrap();
    assert!(!cloud.path_style);
    assert_eq!(origin(&resolved, "region"), ("eu-nl", "HW_REGION_NAME"));
    assert_eq!(origin(&resolved, "access_key"), ("a", "HW_ACCESS_KEY"));
    assert_eq!(cloud.project_id.as_deref(), Some("p-file"));

    let resolved = examine(&args(Some("la-south-2")), &env);
    assert_eq!(origin(&resolved, "region"), ("la-south-2", "options"));
}

#[test]
fn credentials_of_two_places_are_never_mixed() {
    let home = Home::new();
    home.config("[profile.default]\nregion = 'eu-nl'\naccess_key = 'f'\nsecret_key = 'g'\nsecurity_token = 't'\n");
    // The pair of the environment is complete: the token of the file is not for it.
    let env = home.env(&KEY);
    let resolved = examine(&args(None), &env);
    assert_eq!(
        origin(&resolved, "credentials"),
        ("access key", "environment")
    );
    // Half a pair in the environment is not completed from the file.
    let env = home.env(&[("HW_SECRET_KEY", "x")]);
    assert_eq!(
        refusal(&args(None), &env),
        "HW_SECRET_KEY is set, HW_ACCESS_KEY is not None"
    );
}

#[test]
fn profiles_are_chosen_by_name_and_mistyped_names_find_the_nearest() {
    let home = Home::new();
    home.config(
        "default_profile = 'home'\n[profile.home]\nregion = 'eu-de'\n[profile.work]\nregion = 'eu-nl'\n",
    );
    let env = home.env(&KEY);
    assert_eq!(resolve(&args(None), &env).unwrap().region, "eu-de");
    let mut named = args(None);
    named.profile = Some("work".into());
    assert_eq!(resolve(&named, &env).unwrap().region, "eu-nl");
    named.profile = Some("wrok".into());
    let text = refusal(&named, &env);
    assert!(text.contains("did you mean \"work\"?"), "{text}");
    let env = Home::new();
    let text = refusal(&named, &env.env(&KEY));
    assert!(text.contains("there is no configuration file"), "{text}");
}

#[test]
fn a_file_with_secrets_that_others_can_read_is_refused() {
    let home = Home::new();
    let text = "[profile.default]\nregion = 'eu-nl'\naccess_key = 'f'\nsecret_key = 'g'\n";
    for mode in [0o644, 0o640, 0o604] {
        home.write("imgferry/config.toml", mode, text);
        let text = refusal(&args(None), &home.env(&[]));
        assert!(text.contains("chmod 600"), "{mode:o}: {text}");
    }
    // Without secrets anybody may read it.
    home.write(
        "imgferry/config.toml",
        0o644,
        "[profile.default]\nregion = 'eu-nl'\naccess_key = 'f'\n",
    );
    let env = home.env(&KEY);
    assert_eq!(resolve(&args(None), &env).unwrap().region, "eu-nl");
}

#[test]
fn unknown_keys_are_refused_with_line_and_nearest_match() {
    let home = Home::new();
    for (text, line, expected) in [
        (
            "[profile.default]\nregoin = 'x'\n",
            2,
            "did you mean \"region\"?",
        ),
        (
            "[profil.default]\nregion = 'x'\n",
            1,
            "did you mean \"profile\"?",
        ),
        ("region = 'x'\n", 1, "settings stand in a profile"),
        (
            "[profile.default]\nregion = 5\n",
            2,
            "expected text in quotes",
        ),
        (
            "[profile.default]\n\npath_style = 'yes'\n",
            3,
            "expected true or false",
        ),
        ("profile = 1\n", 1, "expected a table"),
    ] {
        home.config(text);
        let error = refusal(&args(None), &home.env(&KEY));
        assert!(error.contains(&format!("line {line}")), "{text}: {error}");
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_broken_file_is_refused_without_quoting_a_secret_of_it() {
    let home = Home::new();
    for text in [
        "[profile.default]\nsecret_key = hunter2\n",
        "[profile.default]\nsecret_key = \"hunter2\n",
        "[profile.default]\nsecret_key = 'hunter2' junk\n",
        "[profile.default]\nhunter2\n",
    ] {
        home.config(text);
        let error = refusal(&args(None), &home.env(&KEY));
        assert!(error.contains("line 2"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_switch_of_the_environment_is_a_yes_or_a_no() {
    let home = Home::new();
    let with = |value| {
        let mut pairs = KEY.to_vec();
        pairs.extend([("HW_REGION_NAME", "eu-de"), ("IMGFERRY_PATH_STYLE", value)]);
        examine(&args(None), &home.env(&pairs)).cloud
    };
    assert!(with("Yes").unwrap().path_style);
    assert!(!with("off").unwrap().path_style);
    let wrong = with("maybe").unwrap_err();
    let wrong: Vec<_> = wrong.0.iter().map(|problem| &problem.message).collect();
    let expected = "IMGFERRY_PATH_STYLE is \"maybe\", expected true or false";
    assert_eq!(wrong, [expected]);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let env = HashMap::from([("IMGFERRY_CONFIG", "/nonexistent/x.toml")]);
    let text = refusal(&args(Some("eu-nl")), &env);
    assert!(
        text.contains("no configuration file /nonexistent/x.toml"),
        "{text}"
    );
}

#[test]
fn the_example_is_a_configuration_without_errors() {
    let home = Home::new();
    home.config(EXAMPLE);
    let location = file::location(None, &home.env(&[])).unwrap();
    for profile in ["work", "otc", "server", "private"] {
        assert!(file::profile(&location, Some(profile)).unwrap().is_some());
    }
    // Every setting stands in it, so that nobody has to look elsewhere.
    for spec in SPECS {
        assert!(
            EXAMPLE.contains(&format!("{} = ", spec.key)),
            "{}",
            spec.key
        );
    }
}

#[test]
fn a_cloud_of_openstack_stands_behind_the_place_that_names_it() {
    let home = Home::new();
    home.write(
        "openstack/clouds.yaml",
        0o600,
        "clouds:\n  otc:\n    region_name: eu-de\n    auth:\n      auth_url: https://iam.eu-de.otc.t-systems.com/v3\n      username: alice\n      password: 0123456\n      user_domain_name: OTC-EU-DE-0001\n      project_name: eu-de_web\n      project_id: 0605e12\n",
    );
    let mut by_flag = args(None);
    by_flag.os_cloud = Some("otc".into());
    let env = home.env(&[("HW_REGION_NAME", "eu-nl")]);
    let resolved = examine(&by_flag, &env);
    let cloud = resolved.cloud.as_ref().unwrap();
    assert_eq!(
        cloud.region, "eu-de",
        "the option wins over the environment"
    );
    assert_eq!(cloud.iam.as_str(), "https://iam.eu-de.otc.t-systems.com/");
    assert_eq!(cloud.project_name.as_deref(), Some("eu-de_web"));
    assert_eq!(cloud.project_id.as_deref(), Some("0605e12"), "ids are text");
    let Identity::Password {
        user,
        password,
        domain,
    } = &cloud.identity
    else {
        panic!("{:?}", cloud.identity);
    };
    assert_eq!(
        (user.as_str(), domain.as_str()),
        ("alice", "OTC-EU-DE-0001")
    );
    assert_eq!(
        net::secret::ExposeSecret::expose_secret(password),
        "0123456"
    );
    assert_eq!(origin(&resolved, "user_password").0, "***");
    let (_, place) = origin(&resolved, "credentials");
    assert!(place.starts_with("cloud otc in "), "{place}");

    let env = home.env(&[("HW_REGION_NAME", "eu-nl"), ("OS_CLOUD", "otc")]);
    assert_eq!(resolve(&args(None), &env).unwrap().region, "eu-nl");
}

#[test]
fn a_chosen_profile_is_not_mixed_with_the_cloud_of_openstacks_tools() {
    let home = Home::new();
    home.config("[profile.work]\nregion = 'eu-nl'\naccess_key = 'f'\nsecret_key = 'g'\n");
    let env = home.env(&[("OS_CLOUD", "not-there")]);
    let mut named = args(None);
    named.profile = Some("work".into());
    assert_eq!(resolve(&named, &env).unwrap().region, "eu-nl");
    assert!(refusal(&args(None), &env).contains("no clouds.yaml"));
}

#[test]
fn secrets_and_tokens_of_openstack_are_taken_from_both_files() {
    let home = Home::new();
    home.write(
        "openstack/clouds.yaml",
        0o600,
        "clouds:\n  keys: {region_name: eu-nl, ak: AK}\n  token: {region_name: eu-nl, auth_type: token, auth: {token: tok, username: x}}\n  odd: {region_name: eu-nl, auth_type: v3oidcpassword}\n  temporary:\n    region_name: eu-nl\n    auth: {access_key: A, secret_key: S, security_token: T}\n",
    );
    home.write(
        "openstack/secure.yaml",
        0o600,
        "clouds:\n  keys: {sk: SK}\n",
    );
    let env = home.env(&[]);
    let of = |name: &str| {
        let mut args = args(None);
        args.os_cloud = Some(name.into());
        examine(&args, &env)
    };
    assert_eq!(origin(&of("keys"), "credentials").0, "access key");
    assert_eq!(origin(&of("token"), "credentials").0, "token");
    assert_eq!(
        origin(&of("temporary"), "credentials").0,
        "temporary access key"
    );
    let Missing(missing) = of("odd").cloud.unwrap_err();
    assert!(missing[0].message.contains("v3oidcpassword"), "{missing:?}");
    let Missing(missing) = of("toke").cloud.unwrap_err();
    assert!(
        missing[0].message.contains("did you mean \"token\"?"),
        "{missing:?}"
    );
}

#[test]
fn hostile_yaml_is_refused_without_quoting_it() {
    let home = Home::new();
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let last = format!("*a{}", n - 1);
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![last; 10].join(", ")));
    }
    let deep = format!("clouds: {}\n", "[".repeat(100_000));
    for text in [
        "clouds: [hunter2\n",
        "clouds:\n  otc: hunter2\n",
        "\t- hunter2: *x\n",
        &bomb,
        &deep,
    ] {
        home.write("openstack/clouds.yaml", 0o600, text);
        let env = home.env(&[("OS_CLOUD", "otc")]);
        let error = refusal(&args(Some("eu-nl")), &env);
        assert!(error.contains("clouds.yaml"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn temporary_keys_of_a_profile_are_read_again_when_they_are_refused() {
    let home = Home::new();
    let write = |id: &str| {
        home.config(&format!(
            "[profile.default]\nregion = 'eu-nl'\naccess_key = '{id}'\nsecret_key = 's'\nsecurity_token = 't'\n"
        ));
    };
    write("K0");
    let cloud = resolve(&args(None), &home.env(&[])).unwrap();
    let Identity::Keys(keys) = cloud.identity else {
        panic!("no keys");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        assert_eq!(keys.current().await.unwrap().id, "K0");
        write("K1");
        assert_eq!(keys.current().await.unwrap().id, "K0");
        assert!(keys.refused("K0").await);
        assert_eq!(keys.current().await.unwrap().id, "K1");
    });
}

#[test]
fn a_broken_address_in_the_environment_is_named() {
    let mut env = HashMap::from(KEY);
    env.insert("IMGFERRY_OBS_ENDPOINT", "nonsense");
    let text = refusal(&args(Some("eu-de")), &env);
    assert!(text.contains("IMGFERRY_OBS_ENDPOINT"), "{text}");
}

#[test]
fn a_region_cannot_smuggle_another_host_in() {
    let env = HashMap::from(KEY);
    for region in ["evil.example/", "a@b", "x:80", ""] {
        assert!(resolve(&args(Some(region)), &env).is_err(), "{region}");
    }
}

#[test]
fn a_password_in_an_address_is_not_shown() {
    for (address, expected) in [
        (
            "https://me:hunter22@obs.example.org",
            "https://me:***@obs.example.org/",
        ),
        (
            "me:hunter22@obs.example.org",
            "https://me:***@obs.example.org/",
        ),
        (
            "me:hunter22@obs.example.org:8443",
            "https://me:***@obs.example.org:8443/",
        ),
        // What is no address.
        ("me:hunter22@storage", "***"),
        ("me:hunter22@localhost:9000", "***"),
        ("me:hunter22@obs.example.org:99999", "***"),
        ("ftp://me:hunter22@obs.example.org", "***"),
        ("obs.example.org:8443", "obs.example.org:8443"),
    ] {
        for variable in ["IMGFERRY_IAM_ENDPOINT", "IMGFERRY_OBS_ENDPOINT"] {
            let mut env = HashMap::from(KEY);
            env.insert(variable, address);
            let resolved = examine(&args(Some("eu-nl")), &env);
            let key = variable.trim_start_matches("IMGFERRY_").to_lowercase();
            assert_eq!(origin(&resolved, &key).0, expected, "{variable}={address}");
            if let Err(missing) = resolved.cloud {
                let missing = words(&missing);
                assert!(!missing.contains("hunter22"), "{address}: {missing}");
            }
        }
    }
}

#[test]
fn the_file_is_looked_for_where_the_system_says() {
    let at = |env: &[(&str, &str)]| {
        let env: HashMap<&str, &str> = env.iter().copied().collect();
        config_path(&CloudOptions::default(), &env)
    };
    assert_eq!(at(&[]), None);
    assert_eq!(
        at(&[("HOME", "/h")]).as_deref(),
        Some(Path::new("/h/.config/imgferry/config.toml"))
    );
    assert_eq!(
        at(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]).as_deref(),
        Some(Path::new("/x/imgferry/config.toml"))
    );
    assert_eq!(
        at(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "relative")]).as_deref(),
        Some(Path::new("/h/.config/imgferry/config.toml"))
    );
}
