//! `config check` against clouds that are not as they should be.

use sandbox::faults::Faults;
use sandbox::{Options, Sandbox};
use testkit::http::{Reply, Server};
use time::OffsetDateTime;

use crate::check;
use crate::common::{command, json_of, run};

#[test]
fn a_missing_right_to_import_is_told_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sandbox = runtime.block_on(async {
        let mut options = Options::new(dir.path());
        options.faults = Faults {
            may_only_look: true,
            ..Faults::default()
        };
        Sandbox::start(options).await.unwrap()
    });
    let run = run(command()
        .envs(sandbox.environment())
        .args(["config", "check", "--json"]));
    runtime.block_on(sandbox.shutdown());
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    let json = json_of(&run);
    assert_eq!(check(&json, "images").0, "ok");
    let (state, told) = check(&json, "import rights");
    assert_eq!(state, "failed");
    assert!(told.contains("IMG.0026"), "{told}");
    assert!(run.text().contains("ims:serverImages:create"));
}

#[test]
fn a_clock_that_is_off_is_told_by_how_much() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cloud = runtime.block_on(Server::start()).unwrap();
    cloud.route(|_| {
        let theirs = OffsetDateTime::now_utc() - time::Duration::minutes(20);
        let form = time::macros::format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        let body = r#"{"projects": [{"id": "p", "name": "r"}], "images": [], "quotas": {"resources": []}}"#;
        Some(Reply::json(200, body).header("Date", &theirs.format(form).unwrap()))
    });
    let run = run(command()
        .envs(
            ["IAM", "IMS", "OBS"]
                .map(|service| (format!("IMGFERRY_{service}_ENDPOINT"), cloud.url())),
        )
        .env("HW_REGION_NAME", "r")
        .env("HW_ACCESS_KEY", "AK")
        .env("HW_SECRET_KEY", "a-secret-key")
        .args(["config", "check", "--json"]));
    let (state, told) = check(&json_of(&run), "clock");
    assert_eq!(state, "warning", "{}", run.stderr);
    let seconds: i64 = told.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert!((1195..=1205).contains(&seconds), "{told}");
    assert!(told.contains("ahead of"), "{told}");
}
