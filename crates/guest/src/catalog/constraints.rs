//! What the cloud's documents ask of an image file, each with the rules and the tests that stand
//! for it.

/// A constraint of the documents.
pub(crate) struct Constraint {
    /// What is asked for, in our words.
    pub(crate) text: &'static str,
    /// Who asks for it.
    pub(crate) by: &'static str,
    /// The rules that a disk is held against. None: no rule can tell, or another check does.
    pub(crate) rules: &'static [&'static str],
    /// Tests that break when the constraint is not looked after.
    pub(crate) tests: &'static [&'static str],
    /// What else there is to say: which other check there is, or why there is none.
    pub(crate) note: &'static str,
}

/// The API's "creating an image", constraints of image files of Windows and Linux.
const API: &str = "API";
/// The user guide of Open Telekom Cloud, by the number of the topic.
macro_rules! otc {
    ($topic:literal) => {
        concat!("OTC ", $topic)
    };
}
/// The user guide of Huawei Cloud, by the name of the page.
macro_rules! huawei {
    ($page:literal) => {
        concat!("Huawei ", $page)
    };
}

const fn asked(
    text: &'static str,
    by: &'static str,
    rules: &'static [&'static str],
    tests: &'static [&'static str],
) -> Constraint {
    Constraint {
        text,
        by,
        rules,
        tests,
        note: "",
    }
}

const fn noted(constraint: Constraint, note: &'static str) -> Constraint {
    Constraint { note, ..constraint }
}

/// The parts of the table, with their titles.
pub(crate) const CONSTRAINTS: &[(&str, &[Constraint])] =
    &[("All systems", ALL), ("Linux", LINUX), ("Windows", WINDOWS)];

const ALL: &[Constraint] = &[
    noted(
        asked(
            "a qcow2 file is not encrypted",
            API,
            &[],
            &["an_encrypted_image_is_described_and_the_way_to_decrypt_it_can_be_typed"],
        ),
        "opening the image refuses it",
    ),
    asked(
        "no encryption of the disk's own that keeps servers from starting",
        API,
        &["disk-encrypted", "linux-crypttab"],
        &[
            "an_encrypted_disk_without_a_root_does_not_boot",
            "passphrases_stop_the_start_and_keys_do_not",
        ],
    ),
    noted(
        asked(
            "the file has at most 128 GB",
            API,
            &[],
            &[
                "a_disk_beyond_the_size_limit_is_refused",
                "each_way_to_register_has_its_own_limit_of_size",
            ],
        ),
        "a check of the import",
    ),
    noted(
        asked(
            "bucket and object are of the storage class Standard",
            API,
            &[],
            &["upload_begins_in_storage_class_standard"],
        ),
        "every upload",
    ),
    asked(
        "the file has the system disk, and that disk alone",
        API,
        &["inspect-no-os", "lvm-missing-pv", "md-missing-member"],
        &[
            "a_system_disk_must_have_a_system_unless_it_may_be_hidden",
            "what_the_root_lacks_keeps_it_from_booting_and_what_others_lack_does_not",
        ],
    ),
    asked(
        "boot partition and system partition are on one disk",
        API,
        &["boot-none", "boot-mbr-code", "windows-boot-files"],
        &[
            "a_disk_without_any_loader_does_not_boot_unless_it_holds_data",
            "a_first_sector_without_code_starts_nothing",
            "boot_files_are_missing_where_a_bios_looks",
        ],
    ),
    asked(
        "the disk boots by BIOS, or by UEFI where the image says so",
        "API; OTC 0161870891, 0290353431",
        &["boot-firmware-mismatch"],
        &["the_firmware_that_is_asked_for_has_to_suit_the_disk"],
    ),
    asked(
        "UEFI is supported for the named system",
        otc!("0170853315"),
        &["boot-firmware-os"],
        &["a_name_that_the_region_does_not_offer_for_uefi_is_found"],
    ),
    noted(
        asked(
            "the initial password has four kinds of characters",
            API,
            &["linux-password-rules"],
            &["passwords_end_and_weak_ones_are_named"],
        ),
        "a hash does not show it: always unknown, weak hashes are named; of Windows nothing is seen",
    ),
    noted(
        asked(
            "the system does not depend on particular hardware",
            API,
            &["boot-root-by-name", "linux-net-mac", "linux-net-udev-rules"],
            &[
                "names_of_the_old_machine_do_not_travel",
                "red_hat_files_bind_to_macs_and_addresses",
                "only_rules_that_name_one_interface_count",
            ],
        ),
        "as far as the configuration names hardware",
    ),
    noted(
        asked(
            "the system supports full virtualization",
            API,
            &[
                "arch-mismatch",
                "arch-32bit",
                "linux-kernel-too-old",
                "windows-32bit",
            ],
            &[
                "the_kernel_decides_which_machine_it_needs",
                "a_kernel_of_32_bits_is_degraded_and_one_of_64_below_old_programs_is_not",
                "kernels_must_be_there_start_and_be_new_enough",
                "licences_and_widths_are_judged",
            ],
        ),
        "by processor and kernel; kernels for Xen alone are `linux-xen-only-kernel`",
    ),
    asked(
        "the system was shut down in order",
        otc!("0030713198"),
        &["fs-dirty"],
        &["dirty_file_systems_are_named_but_for_those_of_windows"],
    ),
    asked(
        "the system is one that the cloud supports, and is named so",
        otc!("0030713143, 0030713193, 0030713198"),
        &[
            "cloud-os-unsupported",
            "cloud-os-version-differs",
            "windows-version",
        ],
        &[
            "a_system_that_only_other_fits_is_unsupported",
            "a_given_name_must_mean_the_same_family_and_major_version",
            "a_release_of_windows_without_a_name_is_found",
        ],
    ),
    asked(
        "the system partition has room for the cloud's programs",
        otc!("0000001447815605"),
        &["disk-free-space"],
        &["little_room_is_told"],
    ),
];

const LINUX: &[Constraint] = &[
    asked(
        "`/etc/fstab` mounts no other disk at the start",
        "API; OTC 0030713179, 0030713216",
        &["linux-fstab-other-disk", "linux-swap-other-disk"],
        &[
            "what_is_on_no_volume_of_the_disk_is_elsewhere",
            "network_mounts_and_swap_may_be_missing_when_the_line_says_so",
        ],
    ),
    asked(
        "`/etc/fstab` and the boot loader name file systems by UUID",
        otc!("0034220644, 0086020895, 0086024961"),
        &["linux-fstab-by-name", "boot-root-by-name"],
        &[
            "names_of_devices_matter_by_what_is_mounted",
            "names_of_the_old_machine_do_not_travel",
        ],
    ),
    asked(
        "there is a way to log in: a password, a key, or cloud-init",
        "API; OTC 0030713198",
        &["linux-no-login", "linux-cloud-init-missing"],
        &[
            "somebody_must_be_able_to_log_in",
            "a_centos_7_on_lvm_lacks_drivers_and_names_devices",
        ],
    ),
    asked(
        "root has a password and can log in",
        API,
        &["linux-root-password"],
        &["root_should_have_a_password_when_others_can_log_in"],
    ),
    asked(
        "drivers of the cloud's disks and networks are there and load at the start",
        "API; OTC 0000001120952155",
        &[
            "linux-virtio-missing",
            "linux-virtio-initramfs",
            "linux-virtio-scsi",
            "linux-virtio-net",
            "linux-no-kernel",
        ],
        &[
            "a_kernel_without_the_drivers_does_not_boot_and_an_unknown_one_is_not_judged",
            "drivers_that_are_modules_must_be_in_the_initramfs",
            "a_network_driver_that_is_kept_away_is_found",
            "kernels_must_be_there_start_and_be_new_enough",
        ],
    ),
    asked(
        "drivers of Xen, where servers run on it",
        huawei!("安装原生的XEN和KVM驱动"),
        &["linux-xen-drivers"],
        &["xens_drivers_matter_only_where_xen_is_wanted_and_data_disks_are_not_judged"],
    ),
    asked(
        "no kernel that is known to fail in the cloud",
        huawei!("已知问题"),
        &["linux-kernel-known-bad"],
        &["only_the_kernels_that_are_named_are_bad"],
    ),
    asked(
        "files cannot be injected into a root on LVM",
        "API; OTC 0030713198",
        &["linux-lvm-root"],
        &["a_root_on_lvm_and_a_disk_that_does_not_grow_are_named"],
    ),
    asked(
        "no rules that bind names to the old network cards, in the initramfs neither",
        otc!("0030713216, 0069904570"),
        &["linux-net-udev-rules", "linux-initramfs-net-rules"],
        &[
            "only_rules_that_name_one_interface_count",
            "old_udev_rules_in_the_initramfs_are_found",
        ],
    ),
    asked(
        "addresses by DHCP, and no MAC address in the configuration",
        otc!("0030713176, 0030713198, 0132216287"),
        &["linux-net-static", "linux-net-mac", "linux-net-none"],
        &[
            "a_leftover_of_a_service_that_does_not_start_binds_nothing",
            "red_hat_files_bind_to_macs_and_addresses",
            "a_service_that_does_not_start_sets_nothing_up",
        ],
    ),
    asked(
        "DHCP clients keep asking, and no route hides the metadata service",
        otc!("0030713176, 0122876047"),
        &["linux-net-lease", "linux-net-zeroconf"],
        &["scripts_of_release_7_are_asked_for_leases_and_routes"],
    ),
    asked(
        "several queues of network cards need a new kernel",
        otc!("0085214115"),
        &["linux-net-multiqueue"],
        &["several_queues_need_a_kernel_of_2_6_35"],
    ),
    asked(
        "cloud-init reads the cloud's metadata and has not run before",
        otc!("0122876047"),
        &["linux-cloud-init-datasource", "linux-cloud-init-state"],
        &[
            "a_source_that_is_not_the_cloud_is_found",
            "a_first_run_leaves_its_state",
        ],
    ),
    asked(
        "the SSH server is installed, starts, lets users in, and no firewall is before it",
        otc!("0030713211, 0122876047"),
        &["linux-sshd", "linux-sshd-config", "linux-firewall"],
        &[
            "the_server_must_be_installed_and_start",
            "a_configuration_that_shuts_everybody_out_is_found",
            "firewalls_count_when_they_are_loaded",
        ],
    ),
    asked(
        "passwords do not expire",
        otc!("0122876047"),
        &["linux-password-expired"],
        &["passwords_end_and_weak_ones_are_named"],
    ),
    asked(
        "the password agent is installed, and the account `linux` is left to the cloud",
        huawei!("one-click password reset, configuring Cloud-Init"),
        &["linux-password-plugin", "linux-user-linux"],
        &["names_and_agents_of_the_cloud"],
    ),
    asked(
        "programs and drivers of the old platform are removed",
        "OTC 0032307025; Huawei uninstalling the PV driver",
        &["linux-vmware-tools", "linux-pv-driver", "linux-xorg"],
        &[
            "tools_of_the_archive_weigh_more_than_those_of_the_distribution",
            "what_is_left_is_advice",
        ],
    ),
    asked(
        "histories and logs are removed",
        otc!("0125076462"),
        &["linux-logs"],
        &["what_is_left_is_advice"],
    ),
    asked(
        "the console is on the serial line, and the boot loader does not wait long",
        otc!("0057450886, 0117142739"),
        &["boot-no-serial-console", "boot-timeout"],
        &[
            "the_serial_console_of_the_processor_must_be_on_the_command_line",
            "long_waits_of_the_boot_loader_are_told",
        ],
    ),
];

const WINDOWS: &[Constraint] = &[
    asked(
        "Windows is imported by the common import on Huawei Cloud",
        "API of 2024; the provider of Terraform",
        &["windows-quick-import"],
        &["quick_import_of_windows_is_named_for_huawei_cloud_only"],
    ),
    asked(
        "Administrator is there and can log in, or Cloudbase-Init is configured",
        "API; OTC 0030730602",
        &["windows-admin", "windows-cloudbase-init"],
        &[
            "a_disabled_administrator_matters_without_cloudbase_init",
            "cloudbase_init_must_be_there_and_ask_the_cloud",
        ],
    ),
    asked(
        "drivers of the cloud's disks and networks are there and load at the start",
        "API; OTC 0000001841305273, 0047501112",
        &[
            "windows-virtio-block",
            "windows-virtio-scsi",
            "windows-virtio-net",
        ],
        &[
            "a_service_or_its_file_is_missing",
            "the_driver_is_not_started_at_boot",
        ],
    ),
    asked(
        "no OEM edition",
        API,
        &["windows-oem"],
        &["licences_and_widths_are_judged"],
    ),
    asked(
        "the disk is no dynamic disk",
        "frequently asked questions",
        &["windows-dynamic-disk"],
        &["dynamic_disks_and_gaps_in_the_table_are_found"],
    ),
    asked(
        "addresses by DHCP",
        otc!("0030713152"),
        &["windows-static-ip"],
        &["a_fixed_address_is_found_and_an_empty_one_is_not"],
    ),
    asked(
        "the remote desktop is switched on",
        otc!("0030713155"),
        &["windows-rdp"],
        &["remote_desktop_can_be_off_in_three_places"],
    ),
    asked(
        "other disks come online, and the clock is UTC",
        otc!("0030730602"),
        &["windows-san-policy", "windows-rtc"],
        &[
            "disks_stay_offline_by_policy_or_by_the_edition_s_default",
            "the_clock_and_the_version_of_the_tools_are_judged",
        ],
    ),
    asked(
        "a generalized system has its answers with it",
        otc!("0093887081"),
        &["windows-setup-state"],
        &["a_first_start_without_answers_keeps_everybody_out"],
    ),
    asked(
        "no group policy keeps drivers out",
        otc!("0113403127"),
        &["windows-group-policy"],
        &["policies_count_when_one_was_applied"],
    ),
    asked(
        "tools of the old platform are removed, and the cloud's are new enough",
        "OTC 0000001447815605; Huawei user guide",
        &["windows-foreign-tools", "windows-driver-leak"],
        &[
            "tools_of_other_platforms_are_named",
            "the_clock_and_the_version_of_the_tools_are_judged",
        ],
    ),
];

#[cfg(test)]
mod tests;
