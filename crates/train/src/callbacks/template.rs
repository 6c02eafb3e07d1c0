//! File names with numbers in them, as Python's `format` makes them: `{epoch:02d}-{val_loss:.2f}`.
//!
//! Input: a template and logs. Output: the name, or what is wrong with the template. Invariant: `{{` and `}}`
//! stand for braces; a name that is not a log is refused with those that are.

use crate::Logs;
use thalweg_base::suggest;

/// `template` with the epoch (from 1) and the logs put in.
pub fn fill(template: &str, epoch: usize, logs: &Logs) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
        } else if brace == "}" {
            return Err(format!("'{template}' has a '}}' without its '{{'; write '}}}}' for a brace"));
        } else {
            let Some(end) = rest.find('}') else {
                return Err(format!("'{template}' has a '{{' without its '}}'"));
            };
            let (name, spec) = rest[..end].split_once(':').unwrap_or((&rest[..end], ""));
            let value = match name {
                "epoch" => Some(epoch as f64),
                _ => logs.get(name),
            };
            let Some(value) = value else {
                let known: Vec<&str> = std::iter::once("epoch").chain(logs.names()).collect();
                let known = suggest::among(name, &known);
                return Err(format!("'{template}': there is no log '{name}'; {known}"));
            };
            out.push_str(&number(value, spec).ok_or_else(|| {
                format!(
                    "'{template}': the format ':{spec}' is not known; use forms like ':02d', ':.2f', ':.1e'"
                )
            })?);
            rest = &rest[end + 1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// A number in the form `[0][width][.precision][d|f|e]`.
fn number(value: f64, spec: &str) -> Option<String> {
    let (body, kind) = match spec.chars().last() {
        Some(c @ ('d' | 'f' | 'e')) => (&spec[..spec.len() - 1], c),
        _ => (spec, ' '),
    };
    let (width, precision) = body.split_once('.').map_or((body, None), |(w, p)| (w, Some(p)));
    let small = |s: &str| s.parse::<usize>().ok().filter(|&n| n <= 40);
    let zeros = width.starts_with('0');
    let width = if width.is_empty() { 0 } else { small(width)? };
    let precision = precision.map(small).map_or(Some(None), |p| p.map(Some))?;
    let text = match (kind, precision) {
        ('d', None) if value == value.trunc() => format!("{value:.0}"),
        ('f', p) => format!("{value:.*}", p.unwrap_or(6)),
        ('e', p) => exponent(&format!("{value:.*e}", p.unwrap_or(6))),
        (' ', Some(p)) => format!("{value:.p$}"),
        (' ', None) => format!("{value}"),
        _ => return None,
    };
    Some(match text.strip_prefix('-') {
        Some(digits) if zeros => format!("-{digits:0>width$}", width = width.saturating_sub(1)),
        None if zeros => format!("{text:0>width$}"),
        _ => format!("{text:>width$}"),
    })
}

/// Python writes at least two digits and a sign: 1.5e-04.
fn exponent(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_pythons() {
        let logs: Logs = [("val_loss", 0.126), ("learning_rate", 1.5e-4)].into_iter().collect();
        let is = |t: &str| fill(t, 7, &logs).unwrap();
        assert_eq!(is("weights.{epoch:02d}-{val_loss:.2f}.safetensors"), "weights.07-0.13.safetensors");
        assert_eq!(is("{epoch}{{x}}{learning_rate:.1e}"), "7{x}1.5e-04");
        assert_eq!(is("{epoch:4d}|{val_loss:08.3f}|{val_loss:f}"), "   7|0000.126|0.126000");
        assert_eq!(is("plain"), "plain");
        let error = |t: &str| fill(t, 7, &logs).unwrap_err();
        assert!(
            error("{loss}")
                .contains("no log 'loss'; did you mean 'val_loss'? known: epoch, val_loss, learning_rate")
        );
        assert!(error("{epoch").contains("without its '}'"));
        assert!(error("epoch}").contains("without its '{'"));
        assert!(error("{epoch:q}").contains("':q' is not known"));
        assert!(error("{val_loss:d}").contains("':d' is not known"));
        assert!(error("{val_loss:.99999f}").contains("not known"));
    }
}
