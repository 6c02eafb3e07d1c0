//! Commands that a person may paste into a shell.

/// A word of a command, in quotes where a shell would read it as something else.
pub fn pasted(word: &str) -> String {
    let separator = if cfg!(windows) { '\\' } else { '/' };
    let plain = |c: char| c.is_alphanumeric() || c == separator || "_-./:=+,@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false if cfg!(windows) => format!("\"{word}\""),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(all(test, not(windows)))]
mod tests {
    use super::pasted;

    #[test]
    fn what_shells_read_is_quoted() {
        let words = ["./target/release/thalweg", "my runs/a", "it's", ""].map(pasted);
        assert_eq!(words, ["./target/release/thalweg", "'my runs/a'", "'it'\\''s'", "''"]);
    }
}
