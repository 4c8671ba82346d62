//! `imgferry inspect --guest`: the installed system, and what would keep its servers from working.

use ::guest::Severity;
use inspection::Inspection;

use crate::console::Console;
use cloud::{Class, Failure, Result};

/// Shows what was found. If it is `strict`, a disk that will not boot is a failure.
pub(super) fn show(inspection: &Inspection, strict: bool, console: Console) -> Result {
    let text = inspection.text(strict);
    let report = inspection.guest.as_ref().filter(|_| strict);
    let fatal = report.map_or(0, |report| report.count(Severity::WillNotBoot));
    if fatal == 0 {
        return console.result(text, inspection);
    }
    let rules = match fatal {
        1 => "a rule is broken that keeps".to_owned(),
        _ => format!("{fatal} rules are broken that keep"),
    };
    let failure = Failure::new(
        Class::Refused,
        format!("{}: {rules} servers from booting", inspection.path),
    );
    if console.json {
        return Err(failure.data("guest", &report));
    }
    console.result(text, &())?;
    Err(failure)
}

/// Lists the rules.
pub(super) fn rules(console: Console) -> Result {
    let rules: Vec<_> = ::guest::rules()
        .map(|rule| {
            serde_json::json!({
                "id": rule.id,
                "severity": rule.severity,
                "source": rule.source,
                "documents": rule.cite,
                "text": rule.text,
                "mended_by": rule.mended_by(),
            })
        })
        .collect();
    let text: Vec<String> = ::guest::rules()
        .map(|rule| format!("{} ({})\n  {}", rule.id, rule.severity.name(), rule.text))
        .collect();
    console.result(text.join("\n"), &rules)
}
