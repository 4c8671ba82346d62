//! Where settings and credentials come from, run as a user runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod asking;
#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use common::cloud::Cloud;
use common::{DEBIAN, DEBIAN_TREE_DIGEST, Run, command, json_of, run, testdata};
use serde_json::Value;
use tempfile::TempDir;

/// The state of a check, and its detail.
#[track_caller]
fn check(json: &Value, name: &str) -> (String, String) {
    let check = json["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no check {name} in {json}"));
    let text = |field: &str| check[field].as_str().unwrap().to_owned();
    (text("state"), text("detail"))
}

/// A configuration directory with one file.
fn config_home(file: &str, text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    dir
}

/// The binary with a configuration directory and nothing else.
fn with_home(home: &TempDir) -> Command {
    let mut command = command();
    command.env("XDG_CONFIG_HOME", home.path());
    command
}

/// The binary without credentials, on a server whose metadata service is the sandbox's.
fn with_metadata(cloud: &Cloud) -> Command {
    let mut command = cloud.command();
    for variable in [
        "HW_ACCESS_KEY",
        "HW_SECRET_KEY",
        "HW_USER_NAME",
        "HW_USER_PASSWORD",
        "HW_DOMAIN_NAME",
    ] {
        command.env_remove(variable);
    }
    let metadata = cloud.variable("IMGFERRY_IAM_ENDPOINT");
    command.env("IMGFERRY_METADATA_ENDPOINT", metadata);
    command
}

fn addresses(cloud: &Cloud) -> String {
    ["IAM", "IMS", "OBS"]
        .map(|service| {
            let address = cloud.variable(&format!("IMGFERRY_{service}_ENDPOINT"));
            format!("{}_endpoint = '{address}'\n", service.to_lowercase())
        })
        .concat()
}

fn import(command: &mut Command, name: &str) -> Run {
    run(command
        .arg("import")
        .arg(testdata("debian-tree.qcow2"))
        .args(["--bucket", "images", "--os-version", DEBIAN, "--json"])
        .args(["--name", name]))
}

#[test]
fn a_check_tells_each_step_and_leaves_nothing_behind() {
    let cloud = Cloud::start(&["images"]);
    let run = run(cloud
        .command()
        .args(["config", "check", "--bucket", "images", "--json"]));
    run.success();
    let json = json_of(&run);
    for name in [
        "sign-in",
        "project",
        "images",
        "import rights",
        "quota",
        "os versions",
        "storage keys",
        "bucket",
        "bucket rights",
        "clock",
    ] {
        assert_eq!(check(&json, name).0, "ok", "{name}: {json}");
    }
    let origins: Vec<_> = json["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|setting| (setting["name"].as_str().unwrap(), &setting["origin"]))
        .collect();
    assert!(
        origins.contains(&("region", &"HW_REGION_NAME".into())),
        "{origins:?}"
    );
    assert_eq!(cloud.uploads(), 0);
    assert_eq!(cloud.objects("images"), Vec::<String>::new());
}

#[test]
fn a_check_that_writes_tells_what_the_storage_does_and_leaves_nothing_behind() {
    let cloud = Cloud::start(&["images"]);
    let check_it = |bucket: &str| {
        let mut command = cloud.command();
        run(command.args(["config", "check", "--write", "--json", "--bucket", bucket]))
    };
    let run = check_it("images");
    run.success();
    let json = json_of(&run);
    for name in [
        "bucket",
        "upload",
        "part ETags",
        "Content-MD5",
        "part list",
        "complete",
        "read back",
        "server copy",
        "clean-up",
    ] {
        assert_eq!(check(&json, name).0, "ok", "{name}: {json}");
    }
    assert_eq!(cloud.uploads(), 0);
    assert_eq!(cloud.objects("images"), Vec::<String>::new());
    let missing = check_it("no-such-bucket");
    assert_eq!(missing.code, Some(3), "{}", missing.stderr);
    assert_eq!(check(&json_of(&missing), "trial").0, "skipped");
}

#[test]
fn an_endpoint_without_a_scheme_is_taken_wherever_it_stands() {
    let home = config_home(
        "imgferry/config.toml",
        "[profile.default]\nregion = 'eu-de'\nims_endpoint = 'IMS.example.com:8443/'\n",
    );
    let shown = run(with_home(&home)
        .env("IMGFERRY_IAM_ENDPOINT", "iam.example.com")
        .env("HW_ACCESS_KEY", "AK")
        .env("HW_SECRET_KEY", "SK")
        .args(["config", "show", "--json"])
        .args(["--obs-endpoint", "obs.example.com"]));
    shown.success();
    let json = json_of(&shown);
    assert_eq!(json["missing"], serde_json::json!([]), "{json}");
    let local = run(with_home(&home).args(["config", "show", "--obs-endpoint", "localhost:9000"]));
    assert_eq!(local.code, Some(2));
    let told = "write http://localhost:9000 or https://localhost:9000";
    assert!(local.stderr.contains(told), "{}", local.stderr);
    let local = run(with_home(&home)
        .env("IMGFERRY_OBS_ENDPOINT", "localhost:9000")
        .args(["config", "check"]));
    assert_eq!(local.code, Some(2));
    assert!(
        local.stderr.contains("IMGFERRY_OBS_ENDPOINT"),
        "{}",
        local.stderr
    );
    assert!(local.stderr.contains(told), "{}", local.stderr);
}

#[test]
fn a_check_by_password_gets_a_token_and_temporary_keys() {
    let cloud = Cloud::start(&["images"]);
    let (user, password, domain) = cloud.password();
    let run = run(cloud
        .command()
        .env_remove("HW_ACCESS_KEY")
        .env_remove("HW_SECRET_KEY")
        .env_remove("HW_PROJECT_ID")
        .env("HW_USER_NAME", user)
        .env("HW_USER_PASSWORD", password)
        .env("HW_DOMAIN_NAME", domain)
        .args(["config", "check", "--bucket", "images"]));
    run.success();
    let text = run.text();
    for expected in [
        "gave a token",
        "looked up",
        "temporary keys",
        "HW_USER_PASSWORD",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn a_check_says_what_fails_and_goes_on_with_what_does_not_depend_on_it() {
    let cloud = Cloud::start(&["images"]);
    let of = |command: &mut Command| run(command.args(["config", "check", "--json"]));

    let wrong = of(cloud
        .command()
        .env("HW_SECRET_KEY", "wrong-secret-0123456789")
        .args(["--quiet"]));
    assert_eq!(wrong.code, Some(3), "{}", wrong.stderr);
    let json = json_of(&wrong);
    assert_eq!(check(&json, "project").0, "failed");
    assert_eq!(check(&json, "images").0, "skipped");
    assert!(!wrong.text().contains("wrong-secret-0123456789"));
    assert!(!wrong.stderr.contains("wrong-secret-0123456789"));

    let run_check = |bucket: &str| {
        run(cloud
            .command()
            .args(["config", "check", "--json", "--bucket", bucket]))
    };
    let bucket = run_check("no-such-bucket");
    assert_eq!(bucket.code, Some(3), "{}", bucket.stderr);
    let json = json_of(&bucket);
    assert_eq!(check(&json, "images").0, "ok");
    assert_eq!(check(&json, "bucket").0, "failed");
    assert_eq!(check(&json, "bucket rights").0, "skipped");

    let project = of(cloud
        .command()
        .env("HW_PROJECT_ID", "0123456789abcdef0123456789abcdef"));
    assert_eq!(project.code, Some(3), "{}", project.stderr);
    assert_eq!(check(&json_of(&project), "project").0, "warning");

    let nobody = of(cloud
        .command()
        .env("IMGFERRY_IMS_ENDPOINT", "ftp://127.0.0.1"));
    assert_eq!(nobody.code, Some(2), "{}", nobody.stderr);
}

#[test]
fn what_is_missing_is_told_at_once_with_how_to_give_it() {
    let run = run(command().args(["config", "check"]));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    for expected in ["HW_ACCESS_KEY", "--region", "config example"] {
        assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
    }
}

#[test]
fn settings_are_shown_with_their_origin_and_without_secrets() {
    let home = config_home(
        "imgferry/config.toml",
        "[profile.work]\nregion = 'eu-de'\naccess_key = 'AKID'\nsecret_key = 'hunter22'\n",
    );
    let shown = run(with_home(&home).env("HW_PROJECT_ID", "p-1").args([
        "config",
        "show",
        "--json",
        "--profile",
        "work",
    ]));
    shown.success();
    let json = json_of(&shown);
    let setting = |name: &str| {
        json["settings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|setting| setting["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(setting("secret_key")["value"], "***");
    assert_eq!(setting("project_id")["origin"], "HW_PROJECT_ID");
    assert_eq!(setting("cloud")["value"], "otc");
    assert_eq!(
        setting("obs_endpoint")["value"],
        "https://obs.eu-de.otc.t-systems.com/"
    );
    assert!(!shown.text().contains("hunter22"));
    let path = run(with_home(&home).args(["config", "path"]));
    assert!(path.text().trim_end().ends_with("imgferry/config.toml"));
}

#[test]
fn the_printed_example_is_accepted_as_a_file() {
    let example = run(command().args(["config", "example"]));
    example.success();
    let home = config_home("imgferry/config.toml", &example.text());
    let shown = run(with_home(&home).args(["config", "show", "--json"]));
    shown.success();
    assert_eq!(json_of(&shown)["missing"], serde_json::json!([]));
}

#[test]
fn an_import_runs_on_a_profile_alone() {
    let cloud = Cloud::start(&["images"]);
    let home = config_home(
        "imgferry/config.toml",
        &format!(
            "[profile.box]\nregion = '{}'\naccess_key = '{}'\nsecret_key = '{}'\npath_style = true\n{}",
            cloud.variable("HW_REGION_NAME"),
            cloud.variable("HW_ACCESS_KEY"),
            cloud.variable("HW_SECRET_KEY"),
            addresses(&cloud),
        ),
    );
    let imported = import(with_home(&home).env("IMGFERRY_PROFILE", "box"), "a");
    imported.success();
    assert_eq!(json_of(&imported)["image_digest"], DEBIAN_TREE_DIGEST);
}

#[test]
fn an_import_runs_on_the_keys_of_an_agency() {
    let cloud = Cloud::start(&["images"]);
    let imported = import(with_metadata(&cloud).arg("--quiet"), "a");
    assert_eq!(imported.code, Some(2), "only when asked for");
    let imported = import(with_metadata(&cloud).env("IMGFERRY_AGENCY", "1"), "a");
    imported.success();
    assert_eq!(json_of(&imported)["image_digest"], DEBIAN_TREE_DIGEST);
}

#[test]
fn a_profile_names_the_project_and_the_enterprise_project() {
    let cloud = Cloud::start(&["images"]);
    let (user, password, domain) = cloud.password();
    let region = cloud.variable("HW_REGION_NAME");
    let profile = |project: &str| {
        let text = format!(
            "[profile.web]\nregion = '{region}'\npath_style = true\nuser_name = '{user}'\nuser_password = '{password}'\ndomain_name = '{domain}'\nproject_name = '{project}'\nenterprise_project_id = 'ep-web'\n{}",
            addresses(&cloud)
        );
        config_home("imgferry/config.toml", &text)
    };
    let home = profile(&region);
    let imported = import(with_home(&home).env("IMGFERRY_PROFILE", "web"), "a");
    imported.success();
    let id = json_of(&imported)["image_id"].as_str().unwrap().to_owned();
    let shown = run(with_home(&home).args(["--json", "image", "show", &id, "--profile", "web"]));
    shown.success();
    assert_eq!(json_of(&shown)["enterprise_project_id"], "ep-web");
    // The name of the project is what is signed in to.
    let elsewhere = profile("nowhere");
    let refused = import(with_home(&elsewhere).env("IMGFERRY_PROFILE", "web"), "b");
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert_eq!(cloud.objects("images"), ["a.zvhd2"]);
}

#[test]
fn an_import_runs_on_a_cloud_of_openstack() {
    let cloud = Cloud::start(&["images"]);
    let (user, password, domain) = cloud.password();
    let iam = cloud.variable("IMGFERRY_IAM_ENDPOINT");
    let home = config_home(
        "openstack/clouds.yaml",
        &format!(
            "clouds:\n  box:\n    region_name: {region}\n    image_endpoint_override: {ims}\n    object_store_endpoint_override: {obs}\n    auth:\n      auth_url: {iam}v3\n      username: {user}\n      password: {password}\n      user_domain_name: {domain}\n      project_name: {region}\n",
            region = cloud.variable("HW_REGION_NAME"),
            ims = cloud.variable("IMGFERRY_IMS_ENDPOINT"),
            obs = cloud.variable("IMGFERRY_OBS_ENDPOINT"),
        ),
    );
    let imported = import(
        with_home(&home)
            .args(["--quiet"])
            .env("OS_CLOUD", "box")
            .env("IMGFERRY_PATH_STYLE", "1"),
        "a",
    );
    imported.success();
    assert_eq!(json_of(&imported)["image_digest"], DEBIAN_TREE_DIGEST);
    let named = run(with_home(&home).args(["config", "show", "--os-cloud", "bax"]));
    assert!(
        named.text().contains("did you mean \"box\"?"),
        "{}",
        named.text()
    );
}

/// A run of hexadecimal digits that only a token has.
fn token_in(text: &str) -> Option<&str> {
    text.split(|c: char| !c.is_ascii_hexdigit())
        .find(|word| word.len() > 200)
}

/// One request to the sandbox's API, which needs no credentials; the whole answer.
fn plain_request(cloud: &Cloud, request: &str) -> String {
    use std::io::{Read as _, Write as _};
    let address = cloud.variable("IMGFERRY_IAM_ENDPOINT");
    let host = address.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let request = request.replace("HOST", host);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Id and secret of a temporary key, and its session token.
fn temporary_key(cloud: &Cloud) -> ((String, String), String) {
    let answer = plain_request(
        cloud,
        "GET /openstack/latest/securitykey HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
    );
    let body = &answer[answer.find('{').unwrap()..=answer.rfind('}').unwrap()];
    let told: Value = serde_json::from_str(body).unwrap();
    let text = |name: &str| told["credential"][name].as_str().unwrap().to_owned();
    ((text("access"), text("secret")), text("securitytoken"))
}

/// A token of the sandbox's user.
fn sign_in(cloud: &Cloud, user: &str, password: &str, domain: &str) -> String {
    let body = serde_json::json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {
            "name": user, "password": password, "domain": {"name": domain},
        }}},
        "scope": {"project": {"name": "sandbox-1"}},
    }})
    .to_string();
    let answer = plain_request(
        cloud,
        &format!(
            "POST /v3/auth/tokens HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    let lines = answer.lines();
    let mut tokens = lines.filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("x-subject-token")
            .then_some(value)
    });
    tokens.next().unwrap().to_owned()
}

fn files_below(dir: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files_below(&path, files),
            false => files.push(path),
        }
    }
}

#[test]
fn white_space_around_values_is_no_part_of_them() {
    let cloud = Cloud::start(&["images"]);
    let mut command = cloud.command();
    for name in ["HW_ACCESS_KEY", "HW_SECRET_KEY", "HW_REGION_NAME"] {
        command.env(name, format!(" {}\n", cloud.variable(name)));
    }
    run(command.args(["config", "check", "--bucket", "images"])).success();
    let (user, password, domain) = cloud.password();
    run(cloud
        .command()
        .env_remove("HW_ACCESS_KEY")
        .env_remove("HW_SECRET_KEY")
        .env("HW_USER_NAME", user)
        .env("HW_USER_PASSWORD", format!("{password}\r\n"))
        .env("HW_DOMAIN_NAME", domain)
        .args(["config", "check", "--bucket", "images"]))
    .success();
}

/// The ways to sign in, all at the most verbose.
struct Doors<'a> {
    cloud: &'a Cloud,
    secret: String,
    user: String,
    password: String,
    domain: String,
    /// A temporary key and its token, as somebody else would hand them out.
    temporary: (String, String),
    session: String,
    token: String,
    /// With a clouds.yaml.
    home: tempfile::TempDir,
}

impl<'a> Doors<'a> {
    fn of(cloud: &'a Cloud) -> Self {
        let (user, password, domain) = cloud.password();
        let (temporary, session) = temporary_key(cloud);
        let iam = cloud.variable("IMGFERRY_IAM_ENDPOINT");
        let home = config_home(
            "openstack/clouds.yaml",
            &format!(
                "clouds:\n  box:\n    region_name: sandbox-1\n    auth:\n      auth_url: {iam}v3\n      username: {user}\n      password: {password}\n      user_domain_name: {domain}\n      project_name: sandbox-1\n"
            ),
        );
        Self {
            cloud,
            secret: cloud.variable("HW_SECRET_KEY"),
            temporary,
            session,
            token: sign_in(cloud, &user, &password, &domain),
            user,
            password,
            domain,
            home,
        }
    }

    fn secrets(&self) -> [&str; 5] {
        [
            &self.secret,
            &self.password,
            &self.temporary.1,
            &self.session,
            &self.token,
        ]
    }

    /// A command without the sandbox's own key.
    fn without_key(&self) -> Command {
        let mut command = self.cloud.command();
        command
            .env_remove("HW_ACCESS_KEY")
            .env_remove("HW_SECRET_KEY")
            .arg("-vvv");
        command
    }

    fn by_key(&self) -> Command {
        let mut command = self.cloud.command();
        command.arg("-vvv");
        command
    }

    fn by_password(&self) -> Command {
        let mut command = self.without_key();
        command
            .env_remove("HW_PROJECT_ID")
            .env("HW_USER_NAME", &self.user)
            .env("HW_USER_PASSWORD", &self.password)
            .env("HW_DOMAIN_NAME", &self.domain);
        command
    }

    fn by_agency(&self) -> Command {
        let mut command = with_metadata(self.cloud);
        command.arg("-vvv").env("IMGFERRY_AGENCY", "1");
        command
    }

    fn by_session(&self) -> Command {
        let mut command = self.by_key();
        command
            .env("HW_ACCESS_KEY", &self.temporary.0)
            .env("HW_SECRET_KEY", &self.temporary.1)
            .env("HW_SECURITY_TOKEN", &self.session);
        command
    }

    fn by_token(&self) -> Command {
        let mut command = self.without_key();
        command.env("HW_AUTH_TOKEN", &self.token);
        command
    }

    fn by_clouds_yaml(&self) -> Command {
        let mut command = self.without_key();
        command
            .env_remove("HW_USER_NAME")
            .env_remove("HW_USER_PASSWORD")
            .env_remove("HW_DOMAIN_NAME")
            .env("XDG_CONFIG_HOME", self.home.path())
            .env("OS_CLOUD", "box");
        command
    }
}

#[test]
fn no_output_at_the_most_verbose_has_a_secret_in_it() {
    let cloud = Cloud::start(&["images"]);
    let doors = Doors::of(&cloud);
    let (password, session, token) = (&doors.password, &doors.session, &doors.token);
    let wrong = format!("{}-not", doors.secret);
    let check = ["config", "check", "--bucket", "images"];
    let runs = [
        import(&mut doors.by_key(), "by key"),
        import(&mut doors.by_password(), "by password"),
        import(&mut doors.by_agency(), "by agency"),
        run(doors.by_key().args(check)),
        run(doors.by_password().args(check)),
        run(doors.by_agency().args(check)),
        run(doors.by_key().args(["config", "show"])),
        // The image exists, and is proven to be of this disk, or may not exist.
        import(doors.by_key().arg("-v"), "by key"),
        import(doors.by_key().args(["-v", "--if-exists", "fail"]), "by key"),
        // Failures: the key is wrong, the bucket is not there, the password is wrong.
        import(doors.by_key().env("HW_SECRET_KEY", &wrong), "wrong"),
        run(doors.by_key().env("HW_SECRET_KEY", &wrong).args(check)),
        run(doors
            .by_password()
            .args(["config", "check", "--bucket", "no-such-bucket"])),
        run(doors
            .by_password()
            .env("HW_USER_PASSWORD", format!("{password}-not"))
            .args(check)),
        import(&mut doors.by_session(), "by session"),
        run(doors.by_session().args(check)),
        run(doors
            .by_session()
            .env("HW_SECURITY_TOKEN", format!("{session}-not"))
            .args(check)),
        import(&mut doors.by_token(), "by token"),
        run(doors
            .by_token()
            .env("HW_AUTH_TOKEN", format!("{token}-not"))
            .args(check)),
        import(&mut doors.by_clouds_yaml(), "by clouds.yaml"),
        run(doors.by_clouds_yaml().args(["config", "show", "--json"])),
        run(doors.by_key().args(["image", "list"])),
        run(doors
            .by_key()
            .args(["upload", "Cargo.toml", "obs://no-such-bucket/a"])),
        // The object storage shows what it computed of a wrong signature.
        run(doors.by_session().env("HW_SECRET_KEY", &wrong).args([
            "upload",
            "Cargo.toml",
            "obs://images/a",
        ])),
        run(doors
            .by_session()
            .env("HW_SECURITY_TOKEN", format!("{session}-not"))
            .args(["upload", "Cargo.toml", "obs://images/a"])),
    ];
    assert_eq!(
        runs.each_ref().map(|run| run.code),
        [
            0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 3, 3, 3, 0, 0, 3, 0, 3, 0, 0, 0, 3, 3, 3
        ]
        .map(Some),
        "{:?}",
        runs.each_ref().map(|run| run.stderr.lines().last())
    );
    for (number, run) in runs.iter().enumerate() {
        for (stream, text) in [("stdout", run.text()), ("stderr", run.stderr.clone())] {
            for hidden in doors.secrets() {
                assert!(!text.contains(hidden), "run {number}, {stream}: {text}");
            }
            assert_eq!(token_in(&text), None, "run {number}, {stream}");
        }
    }
    expect_no_secret_in_files(&cloud, &doors);
    assert!(
        runs[0].stderr.contains("DEBUG"),
        "the most verbose was asked for: {}",
        runs[0].stderr
    );
}

/// Nor in what is left behind: journals, and the manifests beside the objects.
fn expect_no_secret_in_files(cloud: &Cloud, doors: &Doors<'_>) {
    let mut files = Vec::new();
    files_below(&cloud.state(), &mut files);
    files_below(cloud.object_path("images", "").as_path(), &mut files);
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for hidden in doors.secrets() {
            assert!(!text.contains(hidden), "{}", file.display());
        }
    }
}
