use super::*;
use crate::Severity::{Advice, Degraded, NoLogin};
use crate::windows::testing::{Sample, account, control};
use testkit::guest::hive::{Data, HiveBuilder};

const VERSION: &str = r"Microsoft\Windows NT\CurrentVersion";

fn set(path: &str, name: &str, data: Data) -> Sample {
    Sample::sound().system(|hive| hive.value(&control(path), name, data))
}

#[test]
fn disks_stay_offline_by_policy_or_by_the_edition_s_default() {
    let id = "windows-san-policy";
    set(PARTMGR, "SanPolicy", Data::number(4)).has(id, Degraded, "partmgr", "SanPolicy = 4");
    let absent = |hive: HiveBuilder| hive.without_value(&control(PARTMGR), "SanPolicy");
    assert_eq!(Sample::sound().system(absent).finding(id), None);
    let datacenter =
        |hive: HiveBuilder| hive.value(VERSION, "EditionID", Data::text("ServerDatacenter"));
    let sample = Sample::sound().system(absent).software(datacenter);
    sample.has(id, Degraded, "partmgr", "missing");
}

#[test]
fn a_fixed_address_is_found_and_an_empty_one_is_not() {
    let id = "windows-static-ip";
    let with = |dhcp: u32, address: &str| {
        let path = control(&format!(r"{INTERFACES}\{{8f1c5d1e}}"));
        let address = Data::texts(&[address]);
        Sample::sound().system(move |hive| {
            hive.value(&path, "EnableDHCP", Data::number(dhcp))
                .value(&path, "IPAddress", address)
        })
    };
    with(0, "192.0.2.10").has(id, Degraded, "{8f1c5d1e}", "192.0.2.10");
    assert_eq!(with(0, "0.0.0.0").finding(id), None);
    assert_eq!(with(1, "192.0.2.10").finding(id), None);
}

#[test]
fn remote_desktop_can_be_off_in_three_places() {
    let id = "windows-rdp";
    let denied = set(TERMINAL_SERVER, "fDenyTSConnections", Data::number(1));
    denied.has(id, Degraded, "Terminal Server", "= 1");
    let disabled = set(r"Services\TermService", "Start", Data::number(4));
    disabled.has(id, Degraded, "TermService", "Start = 4");
    let rule = |active: &str| {
        let text = format!("v2.29|Action=Allow|Active={active}|Dir=In|Protocol=6|LPort=3389|");
        set(
            &format!(r"{FIREWALL}\FirewallRules"),
            "RemoteDesktop-UserMode-In-TCP",
            Data::text(&text),
        )
    };
    rule("FALSE").has(
        id,
        Degraded,
        "FirewallRules",
        "RemoteDesktop-UserMode-In-TCP",
    );
    assert_eq!(rule("TRUE").finding(id), None);
    let public = control(&format!(r"{FIREWALL}\PublicProfile"));
    let no_firewall =
        rule("FALSE").system(|hive| hive.value(&public, "EnableFirewall", Data::number(0)));
    assert_eq!(no_firewall.finding(id), None);
}

#[test]
fn a_disabled_administrator_matters_without_cloudbase_init() {
    let id = "windows-admin";
    let disabled = || {
        let mut sample = Sample::sound();
        sample.sam = sample
            .sam
            .value(ADMINISTRATOR, "F", Data::bytes(&account(0x0211)));
        sample
    };
    let service = control(r"Services\cloudbase-init");
    assert_eq!(disabled().finding(id), None);
    let without = |hive: HiveBuilder| hive.without(&service);
    disabled()
        .system(without)
        .has(id, NoLogin, "SAM", "disabled");
    assert_eq!(Sample::sound().system(without).finding(id), None);
    let mut no_account = Sample::sound().system(without);
    no_account.sam = HiveBuilder::new().key("SAM");
    assert!(no_account.judge(id).1.is_some());
}

#[test]
fn nothing_of_an_account_but_its_flag_is_kept() {
    let mut sample = Sample::sound();
    let mut account = account(0x0210);
    account[..6].copy_from_slice(b"secret");
    sample.sam = sample.sam.value(ADMINISTRATOR, "F", Data::bytes(&account));
    let facts = format!("{:?}", sample.facts());
    assert!(!facts.contains("secret") && !facts.contains("115, 101, 99"));
}

#[test]
fn cloudbase_init_must_be_there_and_ask_the_cloud() {
    let id = "windows-cloudbase-init";
    let service = control(r"Services\cloudbase-init");
    let sample = Sample::sound().system(|hive| hive.without(&service));
    sample.has(id, Advice, "cloudbase-init", "missing");
    set(r"Services\cloudbase-init", "Start", Data::number(4)).has(id, Advice, "cloud", "= 4");
    let configured = |services: &str| {
        let text = format!("[DEFAULT]\nmetadata_services={services}\n");
        Sample::sound().drive(|drive| drive.file(CLOUDBASE_FILE, text))
    };
    let ec2 = configured("cloudbaseinit.metadata.services.ec2service.EC2Service");
    let (_, seen) = ec2.finding(id).unwrap();
    assert_eq!(seen[0].line, Some(2));
    let http = configured("cloudbaseinit.metadata.services.httpservice.HttpService");
    assert_eq!(http.finding(id), None);
}

#[test]
fn a_first_start_without_answers_keeps_everybody_out() {
    let id = "windows-setup-state";
    let state = |state: &'static str| {
        Sample::sound().software(|hive| hive.value(SETUP_STATE, "ImageState", Data::text(state)))
    };
    let waits = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE";
    state(waits).has(id, NoLogin, "Setup", waits);
    let answered = "/Windows/Panther/unattend.xml";
    let sample = state(waits).drive(|drive| drive.file(answered, ""));
    assert_eq!(sample.finding(id), None);
    let sample = Sample::sound()
        .system(|hive| hive.value("Setup", "SystemSetupInProgress", Data::number(1)));
    sample.has(id, NoLogin, "Setup", "SystemSetupInProgress = 1");
    state("IMAGE_STATE_COMPLETE").has(id, Advice, "Setup", "IMAGE_STATE_COMPLETE");
}
