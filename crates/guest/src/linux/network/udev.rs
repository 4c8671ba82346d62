//! udev rules that give interfaces their names.

use crate::Seen;
use crate::known::Known;
use crate::linux::source::Source;
use crate::view::View;

/// Lines that name an interface by its MAC address or its place.
pub(crate) fn collect(view: &View) -> Known<Vec<Seen>> {
    let mut seen = Vec::new();
    let is_rules = |name: &[u8]| name.ends_with(b".rules");
    for file in Source::all(view, "/etc/udev/rules.d", is_rules)? {
        for (line, text) in file.lines() {
            if names_interface(text) {
                seen.push(Seen::line(&file.path, line, text));
            }
        }
    }
    Ok(seen)
}

/// Whether `rule` gives a name to the interface with a certain address or at a certain place.
pub(crate) fn names_interface(rule: &[u8]) -> bool {
    let rule = String::from_utf8_lossy(rule);
    if rule.starts_with('#') {
        return false;
    }
    let mut matches = false;
    let mut names = false;
    for part in rule.split(',').map(str::trim) {
        let Some((key, rest)) = part.split_once('=') else {
            continue;
        };
        let compares = rest.starts_with('=');
        let key = key.trim_end_matches(['!', '+', ':', '-']).trim();
        let by_place = [
            "ATTR{address}",
            "ATTRS{address}",
            "SYSFS{address}",
            "KERNELS",
            "ID",
        ];
        matches |= compares && by_place.contains(&key) && !rest.contains("\"?*\"");
        names |= !compares && key == "NAME";
    }
    matches && names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rules_that_name_one_interface_count() {
        for rule in [
            r#"SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{address}=="00:50:56:aa:bb:cc", ATTR{type}=="1", KERNEL=="eth*", NAME="eth0""#,
            r#"SUBSYSTEM=="net", KERNELS=="0000:02:01.0", NAME:="lan0""#,
            r#"KERNEL=="eth?", SYSFS{address}=="00:50:56:aa:bb:cc", NAME="eth0""#,
        ] {
            assert!(names_interface(rule.as_bytes()), "{rule}");
        }
        for rule in [
            "# SUBSYSTEM==\"net\", ATTR{address}==\"00:50\", NAME=\"eth0\"",
            "",
            r#"KERNEL=="sd*", ATTR{address}=="1", SYMLINK+="x""#,
            r#"SUBSYSTEM=="net", NAME=="eth0", ATTR{address}=="00:50", RUN+="/x""#,
            r#"SUBSYSTEM=="net", DRIVERS=="?*", KERNEL=="eth*", NAME="eth0""#,
        ] {
            assert!(!names_interface(rule.as_bytes()), "{rule}");
        }
    }
}
