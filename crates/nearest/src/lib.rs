//! The known words that are nearest to a mistyped one.
//!
//! ```
//! assert_eq!(nearest::nearest("regoin", ["region", "cloud"], 1), ["region"]);
//! ```

/// `, did you mean "region"?` for the nearest of `known`, or nothing when none is near.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, known, 1).first() {
        Some(best) => format!(", did you mean {best:?}?"),
        None => String::new(),
    }
}

/// Longest part of a word that is compared, in characters: the cost grows with its square.
const MAX_COMPARED: usize = 128;

/// At most `count` of `known` that resemble `word`, the nearest first: those a few changes away, and
/// those that share words with it. Case is ignored.
#[must_use]
pub fn nearest<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    let wanted = folded(word);
    let words: Vec<String> = words(word);
    let mut ranked: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|candidate| {
            let letters = folded(candidate);
            let distance = strsim::osa_distance(&wanted, &letters);
            let length = wanted.chars().count().max(letters.chars().count());
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

fn folded(text: &str) -> String {
    text.chars()
        .take(MAX_COMPARED)
        .flat_map(char::to_lowercase)
        .collect()
}

/// The significant words of a text: runs of letters and digits, with numbers split at dots.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && *word != "64bit" && *word != "32bit")
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
