//! Numbers with their nouns.

/// The noun for so many: `epoch` for 1, else `epochs`; `box` and `class` become `boxes` and `classes`.
pub fn plural(n: usize, one: &str) -> String {
    match n {
        1 => one.to_owned(),
        _ if one.ends_with(['s', 'x']) => format!("{one}es"),
        _ => format!("{one}s"),
    }
}

/// `1 epoch`, `2 epochs`.
pub fn counted(n: usize, one: &str) -> String {
    format!("{n} {}", plural(n, one))
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_and_many() {
        let said =
            [(1, "epoch"), (0, "epoch"), (2, "box"), (1, "class"), (3, "class")].map(|(n, w)| counted(n, w));
        assert_eq!(said, ["1 epoch", "0 epochs", "2 boxes", "1 class", "3 classes"]);
    }
}
