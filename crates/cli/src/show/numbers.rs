//! Numbers as people read them.

use thalweg::base::plural;

/// 167562 as "167,562".
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A number with its noun: "1 image", "2,000 images".
pub fn counted(n: usize, one: &str) -> String {
    format!("{} {}", grouped(n as u64), plural(n, one))
}

fn scaled(n: f64, units: &[&str]) -> String {
    let mut n = n;
    let mut at = 0;
    while n >= 999.5 && at + 1 < units.len() {
        n /= 1000.0;
        at += 1;
    }
    match (at, n) {
        (0, _) => format!("{n:.0} {}", units[0]),
        (_, n) if n < 9.995 => format!("{n:.2} {}", units[at]),
        (_, n) if n < 99.95 => format!("{n:.1} {}", units[at]),
        _ => format!("{n:.0} {}", units[at]),
    }
}

/// Bytes: "654 kB", "1.20 MB".
pub fn short_bytes(n: u64) -> String {
    scaled(n as f64, &["B", "kB", "MB", "GB", "TB"])
}

/// Floating-point operations: "8.08 MFLOP".
pub fn short_flops(n: u64) -> String {
    scaled(n as f64, &["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"])
}

/// A time: "0.8s", "2:05", "1:02:05".
pub fn short_seconds(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        _ if seconds < 9.95 => format!("{seconds:.1}s"),
        0..60 => format!("{s}s"),
        60..3600 => format!("{}:{:02}", s / 60, s % 60),
        _ => format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60),
    }
}

/// Millions of bytes, to two places.
pub fn megabytes(bytes: u64) -> f64 {
    rounded(bytes as f64 / 1e6, 2)
}

/// To so many places, for JSON that people may read too.
pub fn rounded(x: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (x * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            (grouped(0), grouped(999), grouped(167_562)),
            ("0".into(), "999".into(), "167,562".into())
        );
        assert_eq!((counted(1, "image"), counted(2000, "image")), ("1 image".into(), "2,000 images".into()));
        assert_eq!(
            (short_bytes(999), short_bytes(1000), short_bytes(670_248)),
            ("999 B".into(), "1.00 kB".into(), "670 kB".into())
        );
        assert_eq!(short_flops(8_083_456), "8.08 MFLOP");
        assert_eq!(
            ["0.3s", "10s", "2:05", "1:02:05"],
            [0.31, 10.2, 125.0, 3725.0].map(short_seconds).each_ref().map(String::as_str)
        );
        assert_eq!(rounded(1.23456, 2), 1.23);
    }
}
