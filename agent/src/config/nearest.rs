//! "Did you mean": the word of a list that a misspelt one is nearest to.

/// Finds the nearest candidate, if it is near enough to be meant.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(LONGEST).map(fold).collect();
    let allowed = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters that people exchange in keys count as the same.
fn fold(letter: char) -> char {
    if letter == '-' {
        '_'
    } else {
        letter.to_ascii_lowercase()
    }
}

/// Insertions, deletions, changes and swaps of neighbours between the two.
fn distance(word: &[char], candidate: &str) -> usize {
    let candidate: Vec<char> = candidate.chars().map(fold).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=candidate.len()).collect();
    for (i, a) in word.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in candidate.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *a == candidate[j - 1] && word[i - 1] == *b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[candidate.len()]
}

const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_the_one_it_was_meant_to_be() {
        let words = [
            "ack_timeout",
            "app_ack_timeout",
            "charset",
            "url",
            "name",
            "hold",
        ];
        for (word, expected) in [
            ("ack_timout", Some("ack_timeout")),
            ("ack-timeout", Some("ack_timeout")),
            ("ack_timeout_ms", Some("ack_timeout")),
            ("Charset", Some("charset")),
            ("chasret", Some("charset")),
            ("ulr", Some("url")),
            ("uri", Some("url")),
            ("hodl", Some("hold")),
            ("baud", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), words), None);
    }
}
