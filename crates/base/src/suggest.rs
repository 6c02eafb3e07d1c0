//! The nearest right word for a wrong one, and the sentence that says so.
//!
//! In: a word somebody wrote and the words that are known. Out: one line in the form that every message of
//! Thalweg uses. Invariant: the known words keep the order they were given in.

/// The known word nearest to `word`, or `None` where none is near enough to be meant.
///
/// Compared without regard to case, `_`, `-` and spaces, so `Max-Pooling2d` finds `MaxPooling2D`.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |s: &str| -> String {
        s.chars().filter(|c| !"_- ".contains(*c)).flat_map(char::to_lowercase).collect()
    };
    let wanted = plain(word);
    known
        .iter()
        .map(|&k| {
            let k_plain = plain(k);
            // A word that merely leaves something out ("pool" for "max_pool") is nearer than its length says.
            let part = wanted.len() >= 3 && (k_plain.contains(&wanted) || wanted.contains(&k_plain));
            let score = strsim::jaro_winkler(&wanted, &k_plain);
            let distance = strsim::damerau_levenshtein(&wanted, &k_plain);
            (k, if part { score.max(0.8) } else { score }, distance)
        })
        .filter(|(k, score, distance)| *score >= 0.75 || *distance <= 1.max(k.len() / 3))
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.2.cmp(&a.2)))
        .map(|(k, ..)| k)
}

/// Words of a file in one line, without terminal codes.
pub fn plain(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `optimizer 'nvq' is not known; did you mean 'nadam'? known: ...`
pub fn unknown(kind: &str, word: &str, known: &[&str]) -> String {
    format!("{kind} '{}' is not known; {}", plain(word), among(word, known))
}

/// `Conv2D has no argument 'filtrs'; did you mean 'filters'? known: ...`
pub fn no_argument(owner: &str, word: &str, known: &[&str]) -> String {
    format!("{owner} has no argument '{}'; {}", plain(word), among(word, known))
}

/// `did you mean 'nadam'? known: ...`: what stands behind the name that was refused.
pub fn among(word: &str, known: &[&str]) -> String {
    let list = plain(&known.join(", "));
    match nearest(word, known) {
        // What is known but not built in is no suggestion.
        Some(near) if near != word => format!("did you mean '{}'? known: {list}", plain(near)),
        _ => format!("known: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["Conv2D", "DepthwiseConv2D", "Dense", "MaxPooling2D", "Flatten"];
        assert_eq!(nearest("conv2d", &known), Some("Conv2D"));
        assert_eq!(nearest("Max_Pooling2d", &known), Some("MaxPooling2D"));
        assert_eq!(nearest("Flaten", &known), Some("Flatten"));
        assert_eq!(nearest("Dnese", &known), Some("Dense"));
        assert_eq!(nearest("xyzzy", &known), None);
    }

    #[test]
    fn sentences() {
        assert_eq!(
            unknown("optimizer", "adm", &["sgd", "adam"]),
            "optimizer 'adm' is not known; did you mean 'adam'? known: sgd, adam"
        );
        assert_eq!(unknown("metric", "zzz", &["accuracy"]), "metric 'zzz' is not known; known: accuracy");
        assert_eq!(
            no_argument("Conv2D", "filtrs", &["filters"]),
            "Conv2D has no argument 'filtrs'; did you mean 'filters'? known: filters"
        );
    }
}
