//! Reading one line from left to right: words, names, numbers, types. Names that are not plain words are
//! quoted, with `\\`, `\"` and `\n` escaped. Problems come back as text; the parser adds the line number.

use crate::Type;
use std::fmt;

/// Bound on extents and element counts (256 GiB of f32), so that no product of two numbers overflows.
const MOST: u64 = 1 << 36;

/// A name as the text form writes it.
pub struct Name<'a>(pub &'a str);

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | '+')
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() && self.0.chars().all(plain) {
            return f.write_str(self.0);
        }
        write!(f, "\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
    }
}

/// The unread rest of a line.
pub struct Line<'a> {
    rest: &'a str,
}

impl<'a> Line<'a> {
    pub fn new(text: &'a str) -> Self {
        Line { rest: text.trim() }
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes `token` and the space after it, if it is next.
    pub fn eat(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else { return false };
        self.rest = rest.trim_start();
        true
    }

    /// Takes `token` or fails.
    pub fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(format!("expected '{token}' at '{}'", self.rest)) }
    }

    /// Fails unless all is read.
    pub fn end(&self) -> Result<(), String> {
        if self.is_done() { Ok(()) } else { Err(format!("unexpected '{}'", self.rest)) }
    }

    /// Everything up to the first of `stops`, without surrounding space.
    pub fn until(&mut self, stops: &[char]) -> &'a str {
        let at = self.rest.find(stops).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(at);
        self.rest = rest;
        text.trim()
    }

    /// A plain word.
    pub fn word(&mut self, what: &str) -> Result<&'a str, String> {
        let at = self.rest.find(|c| !plain(c)).unwrap_or(self.rest.len());
        if at == 0 {
            return Err(format!("expected {what} at '{}'", self.rest));
        }
        let (word, rest) = self.rest.split_at(at);
        self.rest = rest.trim_start();
        Ok(word)
    }

    /// A name, plain or quoted.
    pub fn name(&mut self) -> Result<String, String> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            return self.word("a name").map(str::to_string);
        };
        let mut name = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = quoted[at + 1..].trim_start();
                    return Ok(name);
                }
                '\\' => name.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, c @ ('"' | '\\'))) => c,
                    _ => return Err("a '\\' in a name escapes '\\', '\"' or 'n'".into()),
                }),
                c => name.push(c),
            }
        }
        Err("the closing '\"' is missing".into())
    }

    /// A node's label, after its `%`.
    pub fn label(&mut self) -> Result<&'a str, String> {
        self.expect("%")?;
        self.word("a label")
    }

    /// A type: `f32[2,3]`.
    pub fn ty(&mut self) -> Result<Type, String> {
        let dtype = self.word("a type such as f32[2,3]")?.parse()?;
        self.expect("[")?;
        let list = self.until(&[']']);
        self.expect("]")?;
        let shape = list_of(list, number)?;
        let mut len = 1u64;
        for &n in &shape {
            // Zeros count as one here: what matters is that no partial product overflows.
            len = len.saturating_mul(n.max(1) as u64);
        }
        if len > MOST {
            return Err(format!("a tensor of [{list}] is too large"));
        }
        Ok(Type { dtype, shape })
    }
}

/// A whole number.
pub fn number(text: &str) -> Result<usize, String> {
    match text.trim().parse::<u64>() {
        Ok(n) if n <= MOST => Ok(n as usize),
        _ => Err(format!("'{text}' is not a number from 0 to {MOST}")),
    }
}

/// Items between commas; none in an empty text.
pub fn list_of<T>(text: &str, item: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|t| item(t.trim())).collect()
}
