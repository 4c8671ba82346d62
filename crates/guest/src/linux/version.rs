//! Which of two versions is newer.

use std::cmp::Ordering;

/// Compares as rpm does: runs of digits as numbers, runs of letters as text, anything else only
/// separates; digits are newer than letters, and `~` is older than the end.
pub(super) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        (a, b) = (skipped(a), skipped(b));
        match (a.first(), b.first()) {
            (Some(b'~'), Some(b'~')) => {
                (a, b) = (rest(a, 1), rest(b, 1));
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() != y.is_ascii_digit() => {
                return x.is_ascii_digit().cmp(&y.is_ascii_digit());
            }
            (Some(x), Some(_)) => {
                let digits = x.is_ascii_digit();
                let (run_a, rest_a) = run(a, digits);
                let (run_b, rest_b) = run(b, digits);
                let order = if digits {
                    let (x, y) = (significant(run_a), significant(run_b));
                    x.len().cmp(&y.len()).then_with(|| x.cmp(y))
                } else {
                    run_a.cmp(run_b)
                };
                if order != Ordering::Equal {
                    return order;
                }
                (a, b) = (rest_a, rest_b);
            }
        }
    }
}

/// The numbers at the beginning of a version: 3, 10, 0, 1160 of `3.10.0-1160.el7`.
pub(crate) fn numbers(version: &str) -> Vec<u64> {
    let end = version
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-')
        .unwrap_or(version.len());
    version
        .get(..end)
        .unwrap_or_default()
        .split(['.', '-'])
        .map_while(|part| part.parse().ok())
        .collect()
}

fn rest(text: &[u8], from: usize) -> &[u8] {
    text.get(from..).unwrap_or_default()
}

fn skipped(text: &[u8]) -> &[u8] {
    let separators = text
        .iter()
        .take_while(|byte| !byte.is_ascii_alphanumeric() && **byte != b'~')
        .count();
    rest(text, separators)
}

fn run(text: &[u8], digits: bool) -> (&[u8], &[u8]) {
    let in_run = |byte: &&u8| {
        if digits {
            byte.is_ascii_digit()
        } else {
            byte.is_ascii_alphabetic()
        }
    };
    let len = text.iter().take_while(in_run).count();
    text.split_at_checked(len).unwrap_or((text, b""))
}

fn significant(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    rest(digits, zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_rpm_orders_them() {
        for (older, newer) in [
            (
                "5.14.0-162.6.1.el9_1.x86_64",
                "5.14.0-284.11.1.el9_2.x86_64",
            ),
            ("0-rescue-0123", "5.14.0"),
            ("5.9", "5.10"),
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0.1"),
            ("1.a", "1.1"),
            ("1.009", "1.10"),
        ] {
            let order = compare(older.as_bytes(), newer.as_bytes());
            assert_eq!(order, Ordering::Less, "{older} {newer}");
            let order = compare(newer.as_bytes(), older.as_bytes());
            assert_eq!(order, Ordering::Greater, "{newer} {older}");
        }
        assert_eq!(compare(b"1.0-2", b"1.0.2"), Ordering::Equal);
        assert_eq!(compare(b"", b""), Ordering::Equal);
    }

    #[test]
    fn the_numbers_of_a_version_end_before_its_words() {
        assert_eq!(
            numbers("3.10.0-1160.25.1.el7.x86_64"),
            [3, 10, 0, 1160, 25, 1]
        );
        assert_eq!(numbers("4.4.0-151-generic"), [4, 4, 0, 151]);
        assert_eq!(numbers("x"), Vec::<u64>::new());
    }
}
