use std::rc::Rc;

use super::*;
use crate::tree::memory::MemoryTree;

fn collected(tree: MemoryTree) -> Leftovers {
    let view = View::new(Rc::new(tree), 0);
    let units = Units::collect(&view).unwrap();
    Leftovers::collect(&view, Some(&units))
}

#[test]
fn only_filled_identities_count() {
    let paths = |tree| {
        let seen = collected(tree).identities.unwrap();
        seen.into_iter().map(|is| is.path).collect::<Vec<_>>()
    };
    let twin = MemoryTree::new()
        .file("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        .file("/etc/ssh/ssh_host_rsa_key", "x")
        .file("/etc/ssh/ssh_host_rsa_key.pub", "x")
        .file("/var/lib/dbus/machine-id", "x")
        .file("/var/lib/dhclient/dhclient-eth0.leases", "lease {}");
    assert_eq!(
        paths(twin),
        [
            "/etc/machine-id",
            "/var/lib/dbus/machine-id",
            "/etc/ssh/ssh_host_rsa_key",
            "/var/lib/dhclient/dhclient-eth0.leases"
        ]
    );
    let fresh = MemoryTree::new()
        .file("/etc/machine-id", "uninitialized\n")
        .link("/var/lib/dbus/machine-id", "/etc/machine-id");
    assert!(paths(fresh).is_empty());
}

#[test]
fn agents_that_set_up_accounts_are_told_apart() {
    let tree = MemoryTree::new()
        .file("/usr/sbin/waagent", "")
        .file("/etc/waagent.conf", "# x\nProvisioning.Enabled=y\n")
        .file("/usr/sbin/VBoxService", "");
    let agents = collected(tree).agents.unwrap();
    assert_eq!(agents.len(), 2);
    assert!(!agents[0].provisions && agents[1].provisions);
    assert_eq!(agents[1].seen.line, Some(2));
    let quiet = MemoryTree::new()
        .file("/usr/sbin/waagent", "")
        .file("/etc/waagent.conf", "Provisioning.Enabled=n\n");
    assert!(!collected(quiet).agents.unwrap()[0].provisions);
}

#[test]
fn clocks_drivers_and_histories() {
    let left = collected(
        MemoryTree::new()
            .file("/etc/adjtime", "0.0 0 0.0\n0\nLOCAL\n")
            .file(
                "/etc/X11/xorg.conf",
                "Section \"InputDevice\"\nDriver \"kbd\"\nEndSection\nSection \"Device\"\n\
                 Driver \"vmware\"\nEndSection\n",
            )
            .file("/root/.bash_history", "ls\n")
            .file("/home/a/.bash_history", "")
            .file("/var/log/messages", "x")
            .file("/var/log/messages.1", "x"),
    );
    assert_eq!(left.local_clock.unwrap().unwrap().line, Some(3));
    assert_eq!(left.xorg.unwrap()[0].line, Some(5));
    let logs: Vec<_> = left.logs.unwrap().into_iter().map(|is| is.path).collect();
    assert_eq!(logs, ["/root/.bash_history", "/var/log/messages.1"]);
}

#[test]
fn agents_are_known_by_their_services_too() {
    let tree = MemoryTree::new()
        .file("/usr/lib/systemd/system/hypervkvpd.service", "[Unit]")
        .file(
            "/usr/lib/systemd/system/google-guest-agent.service",
            "[Unit]",
        )
        .file("/lib/systemd/system/open-vm-tools.service", "[Unit]");
    let left = collected(tree);
    let agents = left.agents.unwrap();
    assert_eq!(
        agents[0].seen,
        Seen::at("/usr/lib/systemd/system/hypervkvpd.service")
    );
    assert!(!agents[0].provisions && agents[1].provisions);
    assert!(left.vmware.unwrap().is_some());
}

#[test]
fn an_agent_with_the_name_of_a_server_is_registered() {
    let named = |text: &str| {
        let tree = MemoryTree::new().file("/etc/zabbix/zabbix_agentd.conf", text);
        collected(tree).registrations.unwrap().len()
    };
    assert_eq!(named("# Hostname=a\nHostname=web1\n"), 1);
    assert_eq!(named("# Hostname=a\nHostname=\n"), 0);
}
