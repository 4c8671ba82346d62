use crate::Severity::WillNotBoot;
use crate::windows::testing::{Sample, control};
use testkit::guest::hive::Data;

#[test]
fn a_filter_without_service_or_file_is_found() {
    let id = "windows-storage-filter";
    let class = control(r"Control\Class\{71a27cdd-812a-11d0-bec7-08002be2092f}");
    let named = |name: &'static str| {
        let class = class.clone();
        Sample::sound().system(move |hive| {
            hive.value(&class, "LowerFilters", Data::texts(&[name]))
                .value(&control(r"Services\nofile"), "Start", Data::number(0))
        })
    };
    named("prl_strg").has(
        id,
        WillNotBoot,
        "LowerFilters",
        "prl_strg: there is no such service",
    );
    named("nofile").has(
        id,
        WillNotBoot,
        "LowerFilters",
        "drivers/nofile.sys is missing",
    );
    assert_eq!(named("partmgr").finding(id), None);
}
