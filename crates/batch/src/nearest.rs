//! The nearest match of a mistyped word.

/// `, did you mean "region"?` for the nearest of `known`, or nothing when none is near.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, known, 1).first() {
        Some(best) => format!(", did you mean {best:?}?"),
        None => String::new(),
    }
}

/// Most characters of a word that are compared: the cost grows with their square.
const MAX_COMPARED: usize = 128;

/// At most `count` of `known` that are like `word`, the nearest first: those that need few changes,
/// or have the same words in them. Case does not count.
#[must_use]
pub fn nearest<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    let wanted: Vec<char> = folded(word);
    let words: Vec<String> = words(word);
    let mut ranked: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|candidate| {
            let letters = folded(candidate);
            let distance = distance(&wanted, &letters);
            let length = wanted.len().max(letters.len());
            let mut shared = self::words(candidate);
            shared.retain(|word| words.contains(word));
            let named = shared.iter().any(|word| word.contains(char::is_alphabetic));
            let shared = shared.len();
            // A third of the letters changed, or half of the words are there: not only numbers.
            let near = distance.saturating_mul(3) <= length
                || (named && shared.saturating_mul(2) >= words.len());
            // A shared word outweighs some letters.
            let rank = distance.saturating_sub(shared.saturating_mul(2));
            near.then_some((rank, candidate))
        })
        .collect();
    ranked.sort();
    ranked
        .into_iter()
        .take(count)
        .map(|(_, candidate)| candidate)
        .collect()
}

fn folded(text: &str) -> Vec<char> {
    text.chars()
        .take(MAX_COMPARED)
        .flat_map(char::to_lowercase)
        .collect()
}

/// The words of a text that tell something: letters and digits in a row, numbers split at dots.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && *word != "64bit" && *word != "32bit")
        .map(str::to_lowercase)
        .collect()
}

/// Changes between two words: insertions, deletions, replacements, and neighbours that changed
/// places.
fn distance(a: &[char], b: &[char]) -> usize {
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i.saturating_add(1)];
        for (j, to) in b.iter().enumerate() {
            let replaced = at(&above, j).saturating_add(usize::from(from != to));
            let inserted = at(&row, j).saturating_add(1);
            let deleted = at(&above, j.saturating_add(1)).saturating_add(1);
            let mut least = replaced.min(inserted).min(deleted);
            if let (Some(i), Some(j)) = (i.checked_sub(1), j.checked_sub(1))
                && a.get(i) == Some(to)
                && b.get(j) == Some(from)
            {
                least = least.min(at(&before, j).saturating_add(1));
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        let between = |a: &str, b: &str| distance(&folded(a), &folded(b));
        assert_eq!(between("kitten", "sitting"), 3);
        assert_eq!(between("", "abc"), 3);
        assert_eq!(between("abc", ""), 3);
        assert_eq!(between("same", "SAME"), 0);
        assert_eq!(between("wrok", "work"), 1);
        assert_eq!(between("ca", "abc"), 3);
    }

    #[test]
    fn a_mistyped_key_finds_the_right_one_and_nonsense_finds_none() {
        let known = ["region", "cloud", "access_key", "secret_key"];
        assert_eq!(did_you_mean("regoin", known), ", did you mean \"region\"?");
        assert_eq!(
            did_you_mean("acces_key", known),
            ", did you mean \"access_key\"?"
        );
        assert_eq!(did_you_mean("xyzzy", known), "");
        assert_eq!(did_you_mean("", known), "");
    }

    #[test]
    fn an_operating_system_finds_its_other_spellings_first() {
        let known = [
            "CentOS 7.9 64bit",
            "CentOS 7.0 64bit",
            "Debian GNU/Linux 12.0.0 64bit",
            "Ubuntu 22.04 server 64bit",
            "Windows Server 2019 Standard 64bit",
        ];
        assert_eq!(nearest("centos 7.0", known, 1), ["CentOS 7.0 64bit"]);
        assert_eq!(
            nearest("Debian 12", known, 2).first(),
            Some(&"Debian GNU/Linux 12.0.0 64bit")
        );
        assert_eq!(
            nearest("Ubuntu 22.04", known, 1),
            ["Ubuntu 22.04 server 64bit"]
        );
        assert_eq!(
            nearest("Windows 2019", known, 1),
            ["Windows Server 2019 Standard 64bit"]
        );
        assert!(nearest("Plan 9", known, 3).is_empty());
    }
}
