//! The header of a safetensors file: names, types, shapes and places of tensors, and metadata strings.
//!
//! Input: the JSON text and the number of bytes that follow it. Output: [`Header`], or what is wrong with it.
//! Invariants: tensors lie one after another without gap or overlap and fill the data exactly; shapes and
//! places agree; no name comes twice. Own code rather than the `safetensors` crate, which keeps metadata in a
//! hash map (files would differ from run to run) and whose errors do not say which tensor, expected and found;
//! that crate is the oracle of the tests.

use crate::tensor::checked_bytes;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;
use thalweg_base::DType;

/// Longest header that is read: 100 MB, the format's own limit.
pub const MAX_HEADER: u64 = 100_000_000;

/// Where a tensor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPlace {
    /// Unique name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<usize>,
    /// First byte in the data.
    pub start: u64,
    /// Number of bytes.
    pub bytes: usize,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// Metadata in the order of the file.
    pub metadata: Vec<(String, String)>,
    /// Tensors by place.
    pub tensors: Vec<TensorPlace>,
}

/// The format's names of the types we have.
const DTYPES: [(&str, DType); 5] =
    [("BOOL", DType::Bool), ("U8", DType::U8), ("U32", DType::U32), ("I32", DType::I32), ("F32", DType::F32)];

/// One entry as it stands in the JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header as it stands in the JSON, its order kept and every name seen once.
struct Raw {
    metadata: Vec<(String, String)>,
    entries: Vec<(String, Entry)>,
}

impl Header {
    /// The header that these tensors (name, type, shape) get, packed in this order.
    pub fn pack<'a>(
        metadata: &[(&str, String)],
        tensors: impl IntoIterator<Item = (&'a str, DType, &'a [usize])>,
    ) -> Header {
        let mut start = 0;
        let tensors = tensors
            .into_iter()
            .map(|(name, dtype, shape)| {
                let bytes = shape.iter().product::<usize>() * dtype.size();
                let place = TensorPlace { name: name.to_owned(), dtype, shape: shape.to_vec(), start, bytes };
                start += bytes as u64;
                place
            })
            .collect();
        let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        Header { metadata, tensors }
    }

    /// The JSON text, padded so that the data begin at a multiple of 8.
    pub fn to_json(&self) -> String {
        let mut object = serde_json::Map::new();
        if !self.metadata.is_empty() {
            let map = self.metadata.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
            object.insert("__metadata__".into(), serde_json::Value::Object(map));
        }
        for t in &self.tensors {
            let name = DTYPES.iter().find(|(_, d)| *d == t.dtype).map_or("", |(n, _)| n);
            object.insert(
                t.name.clone(),
                serde_json::json!({
                    "dtype": name, "shape": t.shape, "data_offsets": [t.start, t.start + t.bytes as u64]
                }),
            );
        }
        let mut text = serde_json::Value::Object(object).to_string();
        while !text.len().is_multiple_of(8) {
            text.push(' ');
        }
        text
    }

    /// Bytes of all tensors.
    pub fn data_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.bytes as u64).sum()
    }

    /// Reads the JSON text of a file in which `data` bytes follow it.
    pub fn parse(json: &[u8], data: u64) -> Result<Header, String> {
        if json.first() != Some(&b'{') {
            return Err("its header does not begin with '{'".into());
        }
        let raw: Raw =
            serde_json::from_slice(json).map_err(|e| format!("its header is not valid JSON: {e}"))?;
        let mut tensors =
            raw.entries.into_iter().map(|(name, e)| place(name, &e)).collect::<Result<Vec<_>, _>>()?;
        tensors.sort_by_key(|t| (t.start, t.bytes));
        let mut end = 0;
        for t in &tensors {
            if t.start < end {
                return Err(format!(
                    "tensor '{}' begins at byte {}, inside the one before it, which ends at {end}",
                    t.name, t.start
                ));
            }
            if t.start > end {
                return Err(format!("{} unused bytes before tensor '{}'", t.start - end, t.name));
            }
            // No overflow: start + bytes was an offset of the header.
            end = t.start + t.bytes as u64;
            if end > data {
                return Err(format!(
                    "tensor '{}' ends at byte {end} of the data, but the file has {data}: it is truncated",
                    t.name
                ));
            }
        }
        if end != data {
            return Err(format!("{} bytes follow the last tensor", data - end));
        }
        Ok(Header { metadata: raw.metadata, tensors })
    }
}

/// Checks one entry by itself.
fn place(name: String, entry: &Entry) -> Result<TensorPlace, String> {
    let Some(&(_, dtype)) = DTYPES.iter().find(|(n, _)| *n == entry.dtype) else {
        return Err(format!(
            "tensor '{name}' has the type '{}'; known: BOOL, U8, U32, I32, F32",
            entry.dtype
        ));
    };
    let (start, end) = entry.data_offsets;
    let shape: Option<Vec<usize>> = entry.shape.iter().map(|&d| usize::try_from(d).ok()).collect();
    let sized = shape.and_then(|s| checked_bytes(dtype, &s).map(|b| (s, b)));
    let Some((shape, bytes)) = sized else {
        return Err(format!("tensor '{name}' has the shape {:?}, too large for any memory", entry.shape));
    };
    match end.checked_sub(start) {
        Some(n) if n == bytes as u64 => Ok(TensorPlace { name, dtype, shape, start, bytes }),
        _ => Err(format!(
            "tensor '{name}' of shape {shape:?} and type {} needs {bytes} bytes, but lies at {start} to {end}",
            entry.dtype
        )),
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_map(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut raw = Raw { metadata: Vec::new(), entries: Vec::new() };
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format_args!("'{key}' comes twice")));
            }
            if key == "__metadata__" {
                raw.metadata = map.next_value::<Strings>()?.0;
            } else {
                raw.entries.push((key, map.next_value()?));
            }
        }
        Ok(raw)
    }
}

/// An object of strings, its order kept and every name seen once.
struct Strings(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strings, D::Error> {
        deserializer.deserialize_map(StringsVisitor)
    }
}

struct StringsVisitor;

impl<'de> Visitor<'de> for StringsVisitor {
    type Value = Strings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strings, A::Error> {
        let mut strings: Vec<(String, String)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if strings.iter().any(|(k, _)| *k == key) {
                return Err(de::Error::custom(format_args!("metadata '{key}' comes twice")));
            }
            strings.push((key, value));
        }
        Ok(Strings(strings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str, data: u64) -> String {
        Header::parse(json.as_bytes(), data).unwrap_err()
    }

    #[test]
    fn what_is_packed_parses_back() {
        let shape = [2, 3];
        let header = Header::pack(
            &[("a", "1 \"quoted\"".into())],
            [("w", DType::F32, &shape[..]), ("n", DType::I32, &[][..]), ("e", DType::U8, &[0][..])],
        );
        let json = header.to_json();
        assert_eq!(json.len() % 8, 0);
        assert_eq!(Header::parse(json.as_bytes(), 28).unwrap(), header);
    }

    #[test]
    fn every_fault_is_named() {
        let one = |dtype: &str, shape: &str, at: &str| {
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{at}}}}}"#)
        };
        assert!(error("[]", 0).contains("does not begin with '{'"));
        assert!(error("{\"w\":", 0).contains("not valid JSON"));
        assert!(error(&one("F16", "[2]", "[0,4]"), 4).contains("'w' has the type 'F16'; known"));
        assert!(error(&one("F32", "[2]", "[0,4]"), 4).contains("needs 8 bytes, but lies at 0 to 4"));
        assert!(error(&one("F32", "[1]", "[4,0]"), 4).contains("lies at 4 to 0"));
        assert!(error(&one("F32", "[1]", "[4,8]"), 8).contains("4 unused bytes before tensor 'w'"));
        assert!(error(&one("F32", "[2]", "[0,8]"), 4).contains("ends at byte 8"));
        assert!(error(&one("F32", "[1]", "[0,4]"), 9).contains("5 bytes follow"));
        let huge = "[18446744073709551615,4]";
        assert!(error(&one("F32", huge, "[0,4]"), 4).contains("too large"));
        let far = "[18446744073709551611,18446744073709551615]";
        assert!(error(&one("F32", "[1]", far), 4).contains("unused bytes"));
        let two = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                      "b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#;
        assert!(error(two, 6).contains("tensor 'b' begins at byte 2, inside the one before it"));
        let twice = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                        "a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
        assert!(error(twice, 2).contains("'a' comes twice"));
        assert!(error(r#"{"__metadata__":{"k":1}}"#, 0).contains("expected a string"));
        let deep = format!("{{\"w\":{}", "[".repeat(100_000));
        assert!(!error(&deep, 0).is_empty());
    }
}
