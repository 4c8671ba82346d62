//! What several tests need.

use crate::item::{Holes, IfExists, Item, Kind, Register, Role, Target};

/// An item of this name, with nothing said about it.
pub(crate) fn item(name: &str) -> Item {
    Item {
        id: name.to_owned(),
        group: None,
        role: Role::System,
        source: format!("{name}.qcow2").into(),
        source_text: format!("{name}.qcow2"),
        format: None,
        disk: None,
        ignore_manifest: false,
        snapshot: None,
        allow_backing: None,
        allow_backing_text: None,
        backing_format: None,
        name: name.to_owned(),
        bucket: "images".to_owned(),
        key: None,
        os_version: None,
        os_type: None,
        kind: Kind::Ecs,
        min_disk: None,
        description: None,
        tags: Vec::new(),
        architecture: None,
        firmware: None,
        enterprise_project_id: None,
        to: Target::Zvhd2,
        level: None,
        holes: Holes::Trust,
        discard_free: false,
        discard_swap: false,
        vhd_bitmap: None,
        register: Register::Auto,
        prepare: false,
        cmk_id: None,
        if_exists: IfExists::Adopt,
        base: None,
        warm: false,
        skip_check: Vec::new(),
        line: 1,
        unreadable: None,
    }
}
