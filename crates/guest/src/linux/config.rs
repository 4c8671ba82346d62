//! How a Linux is configured: everything that rules ask about.

use crate::known::Known;
use crate::view::View;

use super::leftovers::Leftovers;
use super::login::Login;
use super::network::Network;
use super::storage::Storage;
use super::units::Units;

/// How a Linux is configured.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) units: Known<Units>,
    pub(crate) storage: Storage,
    pub(crate) network: Network,
    pub(crate) login: Login,
    pub(crate) leftovers: Leftovers,
}

impl Config {
    /// Reads the configuration of the guest that `view` shows.
    pub(crate) fn collect(view: &View) -> Self {
        let units = Units::collect(view);
        Self {
            storage: Storage::collect(view),
            network: Network::collect(view),
            login: Login::collect(view, units.as_ref().ok()),
            leftovers: Leftovers::collect(view, units.as_ref().ok()),
            units,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::linux::testing::facts;
    use crate::tree::memory::MemoryTree;

    /// One file of each kind that is read.
    const FILES: &[(&str, &str)] = &[
        (
            "/etc/fstab",
            "UUID=1 / ext4 defaults 0 1\nLABEL=\\040x none swap sw,nofail\n",
        ),
        ("/etc/crypttab", "data UUID=9 none luks,nofail\n"),
        (
            "/etc/lvm/lvm.conf",
            "filter = [ \"a|^/dev/sd[a-z]*|\",\n \"r|.*|\" ]\n",
        ),
        (
            "/etc/lvm/devices/system.devices",
            "IDTYPE=sys_wwid PVID=x\n",
        ),
        (
            "/etc/netplan/a.yaml",
            "network:\n  ethernets:\n    a: {match: {macaddress: x}, addresses: [1, 2]}\n",
        ),
        ("/usr/sbin/netplan", ""),
        (
            "/etc/network/interfaces",
            "source a/*\nauto /e*=x\niface x inet static\n address 1\n",
        ),
        (
            "/etc/sysconfig/network-scripts/ifcfg-a",
            "HWADDR='x\\'\nIPADDR1=1\nBOOTPROTO=none\n",
        ),
        (
            "/etc/sysconfig/network/ifcfg-eth-id-x",
            "IPADDR_1='1'\nBOOTPROTO='static'\n",
        ),
        (
            "/etc/NetworkManager/system-connections/a",
            "[connection]\ntype=ethernet\n[ipv4]\nmethod=manual\naddress1=1\n",
        ),
        (
            "/etc/systemd/network/a.network",
            "[Match]\nName=e*\n[Network]\nAddress=1\n",
        ),
        (
            "/etc/udev/rules.d/a.rules",
            "ATTR{address}==\"x\", NAME=\"eth0\"\n",
        ),
        ("/etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
        ("/etc/shadow", "root:$6$a$b:19700:0:99999:7:::\n"),
        ("/etc/group", "wheel:x:10:root,x\n"),
        (
            "/etc/cloud/cloud.cfg",
            "datasource_list: [None]\nnetwork: {config: disabled}\n",
        ),
        (
            "/etc/ssh/sshd_config",
            "Include a/*.conf\nListenAddress [::1]:22\nAllowUsers a*@b\n",
        ),
        (
            "/etc/X11/xorg.conf",
            "Section \"Device\"\nDriver \"x\"\nEndSection\n",
        ),
        ("/etc/adjtime", "0 0 0\n0\nLOCAL\n"),
    ];

    #[test]
    fn damaged_files_are_read_and_judged_to_an_end() {
        let seed = 7;
        println!("seed {seed}");
        let mut found = 0;
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            let tree = FILES.iter().fold(MemoryTree::new(), |tree, (path, text)| {
                let mut content = text.as_bytes().to_vec();
                for _ in 0..random.usize(0..4) {
                    if let Some(byte) = random.choice(&mut content) {
                        *byte = *random.choice(b"\0\n\\\"'=[]{}:,*| #\xff").unwrap();
                    }
                }
                let end = random.usize(0..=content.len());
                if random.u8(..) < 32 {
                    content.truncate(end);
                }
                tree.file(path, content)
            });
            let facts = facts(tree);
            for rule in crate::rules() {
                found += rule.judge(&facts).0.len();
            }
        }
        assert!(found > 1000, "the files were not read: {found} findings");
    }
}
