//! Services, which drivers are, and the files they are in.

use super::registry::Registry;
use crate::known::Known;
use crate::view::View;

/// Services below the control set.
pub(super) const SERVICES: &str = "Services";

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// 0 at boot, 1 at system start, 2 automatic, 3 on demand, 4 never.
    pub(crate) start: Option<u32>,
    /// What `StartOverride` makes of it.
    pub(crate) overridden: Option<u32>,
    /// Path of its file in the guest.
    pub(crate) file: String,
    /// The file is there.
    pub(crate) present: bool,
}

impl Service {
    /// It is loaded by the boot loader, before any disk is seen.
    pub(crate) fn starts_at_boot(&self) -> bool {
        self.start == Some(0) && self.overridden.is_none_or(|start| start == 0)
    }

    /// It is never started.
    pub(crate) fn disabled(&self) -> bool {
        self.start == Some(4)
    }
}

/// The service `name`, if there is one.
pub(super) fn service(
    registry: &Registry,
    view: &View,
    directory: &str,
    name: &str,
) -> Known<Option<Service>> {
    let Some(key) = registry.control(&format!(r"{SERVICES}\{name}"))? else {
        return Ok(None);
    };
    let file = image(directory, name, key.text("ImagePath")?.as_deref());
    Ok(Some(Service {
        start: key.number("Start")?,
        present: view.exists(&file)?,
        file,
        name: name.to_owned(),
        // Values with other names are for other hardware profiles.
        overridden: match key.key("StartOverride")? {
            Some(key) => key.number("0")?,
            None => None,
        },
    }))
}

/// Where the file of service `name` is, by its `ImagePath`.
fn image(directory: &str, name: &str, path: Option<&str>) -> String {
    let path = path
        .unwrap_or_default()
        .trim_matches('"')
        .replace('\\', "/");
    let path = path.strip_prefix("/??/").unwrap_or(&path);
    if path.is_empty() {
        return format!("{directory}/System32/drivers/{name}.sys");
    }
    for root in ["/SystemRoot/", "%SystemRoot%/", "%windir%/"] {
        if let Some((head, rest)) = path.split_at_checked(root.len())
            && head.eq_ignore_ascii_case(root)
        {
            return format!("{directory}/{rest}");
        }
    }
    match path.split_once(":/") {
        Some((drive, rest)) if drive.len() == 1 => format!("/{rest}"),
        _ => format!("{directory}/{}", path.trim_start_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_image_path_leads_into_the_guest() {
        for path in [
            None,
            Some(r"System32\drivers\viostor.sys"),
            Some(r"\SystemRoot\System32\drivers\viostor.sys"),
            Some(r"%systemroot%\System32\drivers\viostor.sys"),
            Some(r"\??\C:\Windows\System32\drivers\viostor.sys"),
            Some(r#""C:\Windows\System32\drivers\viostor.sys""#),
        ] {
            let file = image("/Windows", "viostor", path);
            assert_eq!(file, "/Windows/System32/drivers/viostor.sys", "{path:?}");
        }
    }
}
