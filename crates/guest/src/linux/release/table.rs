//! Release files of systems without os-release.

/// A file whose first line names the system.
pub(super) struct File {
    pub(super) path: &'static str,
    /// Words of the line, and the `ID` that os-release would have. The first match counts; no
    /// words match every line.
    pub(super) systems: &'static [(&'static str, &'static str)],
}

/// In the order in which they are asked: those that others have as well come last.
pub(super) const RELEASES: &[File] = &[
    File {
        path: "/etc/euleros-release",
        systems: &[("EulerOS", "euleros")],
    },
    File {
        path: "/etc/hce-release",
        systems: &[("", "hce")],
    },
    File {
        path: "/etc/openEuler-release",
        systems: &[("", "openEuler")],
    },
    File {
        path: "/etc/neokylin-release",
        systems: &[("", "neokylin")],
    },
    File {
        path: "/etc/kylin-release",
        systems: &[("", "kylin")],
    },
    File {
        path: "/etc/rocky-release",
        systems: &[("", "rocky")],
    },
    File {
        path: "/etc/almalinux-release",
        systems: &[("", "almalinux")],
    },
    File {
        path: "/etc/oracle-release",
        systems: &[("", "ol")],
    },
    File {
        path: "/etc/enterprise-release",
        systems: &[("", "ol")],
    },
    File {
        path: "/etc/centos-release",
        systems: &[("", "centos")],
    },
    File {
        path: "/etc/fedora-release",
        systems: &[("Fedora", "fedora")],
    },
    File {
        path: "/etc/redhat-release",
        systems: &[
            ("Red Hat", "rhel"),
            ("CentOS", "centos"),
            ("Fedora", "fedora"),
            ("Oracle", "ol"),
            ("Scientific", "scientific"),
        ],
    },
    File {
        path: "/etc/system-release",
        systems: &[("Amazon Linux", "amzn")],
    },
    File {
        path: "/etc/SuSE-release",
        systems: &[
            ("SUSE Linux Enterprise Desktop", "sled"),
            ("SUSE Linux Enterprise", "sles"),
            ("openSUSE", "opensuse"),
        ],
    },
    File {
        path: "/etc/alpine-release",
        systems: &[("", "alpine")],
    },
    File {
        path: "/etc/arch-release",
        systems: &[("", "arch")],
    },
    File {
        path: "/etc/gentoo-release",
        systems: &[("", "gentoo")],
    },
    File {
        path: "/etc/slackware-version",
        systems: &[("", "slackware")],
    },
    File {
        path: "/etc/debian_version",
        systems: &[("", "debian")],
    },
];
