//! Rust text seen by rules: comments and literals blanked, test code marked. No parser, only enough of a lexer
//! for rules about words; it knows strings, raw strings, characters, lifetimes and nested comments.

/// A line of code.
#[derive(Debug, PartialEq)]
pub struct CodeLine {
    /// Number, from 1.
    pub number: usize,
    /// Text, with comments and the insides of literals as spaces.
    pub code: String,
    /// Whether it belongs to an item under `#[cfg(test)]`.
    pub test: bool,
}

/// The lines of a file.
pub fn lines(text: &str) -> Vec<CodeLine> {
    let blanked = blank(text);
    let tests = test_lines(&blanked);
    blanked
        .lines()
        .enumerate()
        .map(|(i, code)| CodeLine { number: i + 1, code: code.to_string(), test: tests.contains(&i) })
        .collect()
}

/// Whether `word` occurs in `code` with no letter, digit or `_` beside it.
pub fn has_word(code: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(inside);
        let after = code[at + word.len()..].chars().next().is_some_and(inside);
        !before && !after
    })
}

/// Comments and literals as spaces, line breaks kept.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = token_end(&chars, at);
        match end {
            Some(end) => {
                for &c in &chars[at..end] {
                    out.push(if c == '\n' { '\n' } else { ' ' });
                }
                at = end;
            }
            None => {
                out.push(chars[at]);
                at += 1;
            }
        }
    }
    out
}

/// Where the comment or literal that starts here ends; `None` where neither starts.
fn token_end(chars: &[char], at: usize) -> Option<usize> {
    let is = |i: usize, c: char| chars.get(i) == Some(&c);
    let before = at.checked_sub(1).map(|i| chars[i]);
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match chars[at] {
        '/' if is(at + 1, '/') => Some(find(chars, at, |i| is(i, '\n'))),
        '/' if is(at + 1, '*') => Some(comment_end(chars, at)),
        '"' => Some(string_end(chars, at + 1)),
        'r' if !in_word || before == Some('b') => raw_end(chars, at + 1),
        '\'' if is(at + 1, '\\') => Some((find(chars, at + 3, |i| is(i, '\'')) + 1).min(chars.len())),
        // A character, not a lifetime: the quote closes after one.
        '\'' if is(at + 2, '\'') => Some(at + 3),
        _ => None,
    }
}

fn find(chars: &[char], from: usize, mut stop: impl FnMut(usize) -> bool) -> usize {
    (from..chars.len()).find(|&i| stop(i)).unwrap_or(chars.len())
}

fn comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut i: usize) -> usize {
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// After `r`: any number of `#`, then the quoted text up to `"` and as many `#`.
fn raw_end(chars: &[char], at: usize) -> Option<usize> {
    let quote = find(chars, at, |i| chars[i] != '#');
    if chars.get(quote) != Some(&'"') {
        return None;
    }
    let hashes = quote - at;
    let closes = |i: usize| {
        chars[i] == '"' && i + hashes < chars.len() && chars[i + 1..=i + hashes].iter().all(|&c| c == '#')
    };
    Some((find(chars, quote + 1, closes) + 1 + hashes).min(chars.len()))
}

/// Indices of the lines of items under `#[cfg(test)]`: up to `;`, or the brace that closes the item.
fn test_lines(blanked: &str) -> Vec<usize> {
    let mut out = Vec::new();
    let line_of = |at: usize| blanked[..at].matches('\n').count();
    let mut from = 0;
    while let Some(found) = blanked[from..].find("#[cfg(test)]") {
        let start = from + found;
        let mut depth = 0;
        let mut end = blanked.len();
        for (i, c) in blanked[start..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(c, ';' | '}') {
                end = start + i;
                break;
            }
        }
        out.extend(line_of(start)..=line_of(end));
        from = (end + 1).min(blanked.len());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank() {
        let text = "let a = \"unsafe // \\\" x\"; // unsafe\nlet b = r#\"unsafe \" \"#; /* unsafe /* */ */ f::<'a>('\"', '\\'', b'x');";
        let code: Vec<String> = lines(text).into_iter().map(|l| l.code).collect();
        assert!(code.iter().all(|c| !has_word(c, "unsafe")), "{code:?}");
        assert!(code[1].contains("f::<'a>(") && code[1].ends_with(");"), "{code:?}");
    }

    #[test]
    fn test_modules_are_marked() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { \"}\" }\n}\nfn c() {}\n#[cfg(test)]\nmod more;\nfn d() {}";
        let marked: Vec<bool> = lines(text).into_iter().map(|l| l.test).collect();
        assert_eq!(marked, [false, true, true, true, true, false, true, true, false]);
    }

    #[test]
    fn words_have_borders() {
        assert!(has_word("unsafe {", "unsafe"));
        assert!(!has_word("#[deny(unsafe_op)]", "unsafe"));
    }
}
