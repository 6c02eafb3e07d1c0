//! A safetensors file as a whole: opened lazily, written atomically.
//!
//! Input: a path or bytes. Output: metadata, the list of tensors, and each tensor when it is asked for. Invariant:
//! no size from the file is believed before it was compared with the file's real length.

use super::atomic::write_atomic;
use super::header::{Header, MAX_HEADER, TensorPlace};
use crate::{Result, Tensor, TrainError};
use std::fs::File;
use std::io::{Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const DAMAGED: &str = "the file is damaged or not a safetensors file; copy it again or use another";

/// An opened file.
pub struct Container {
    path: PathBuf,
    source: Box<dyn Source>,
    header: Header,
    /// Where the data begin in the file.
    data: u64,
}

/// What a container reads from.
trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

impl Container {
    /// Opens a file and checks its header.
    pub fn open(path: &Path) -> Result<Container> {
        let file = File::open(path).map_err(TrainError::io("read", path))?;
        let about = file.metadata().map_err(TrainError::io("read", path))?;
        if about.is_dir() {
            return Err(TrainError::file(path, "it is a folder", "give the .safetensors file itself"));
        }
        Container::new(path, Box::new(file), about.len())
    }

    /// The same from bytes in memory; `name` is for messages.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Container> {
        let length = bytes.len() as u64;
        Container::new(Path::new(name), Box::new(Cursor::new(bytes)), length)
    }

    fn new(path: &Path, mut source: Box<dyn Source>, length: u64) -> Result<Container> {
        let fault = |what: String| TrainError::file(path, what, DAMAGED);
        if length < 8 {
            return Err(fault(format!("it has {length} bytes, fewer than any safetensors file")));
        }
        let mut prefix = [0; 8];
        source.read_exact(&mut prefix).map_err(TrainError::io("read", path))?;
        let size = u64::from_le_bytes(prefix);
        if size > MAX_HEADER {
            return Err(fault(format!(
                "its header claims {size} bytes, more than the limit of {MAX_HEADER}"
            )));
        }
        if size > length - 8 {
            return Err(fault(format!(
                "its header claims {size} bytes, but only {} follow: it is truncated",
                length - 8
            )));
        }
        // Bounded by the limit and by the file itself.
        let mut json = vec![0; size as usize];
        source.read_exact(&mut json).map_err(TrainError::io("read", path))?;
        let data = 8 + size;
        let header = Header::parse(&json, length - data).map_err(fault)?;
        Ok(Container { path: path.to_path_buf(), source, header, data })
    }

    /// Where it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata of that name.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.header.metadata.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// All tensors.
    pub fn tensors(&self) -> &[TensorPlace] {
        &self.header.tensors
    }

    /// The place of the tensor of that name.
    pub fn place(&self, name: &str) -> Option<&TensorPlace> {
        self.header.tensors.iter().find(|t| t.name == name)
    }

    /// Reads a tensor of this file.
    pub fn read(&mut self, place: &TensorPlace) -> Result<Tensor> {
        let fault = |what: String| TrainError::file(&self.path, what, DAMAGED);
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(place.bytes).is_err() {
            return Err(TrainError::file(
                &self.path,
                format!("tensor '{}' needs {} bytes, more memory than there is", place.name, place.bytes),
                "use a machine with more memory",
            ));
        }
        self.source
            .seek(SeekFrom::Start(self.data + place.start))
            .map_err(TrainError::io("read", &self.path))?;
        // Through `take`: a file that shrank meanwhile gives fewer bytes, not a wait or a panic.
        match self.source.by_ref().take(place.bytes as u64).read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {}
            Err(e) => return Err(TrainError::io("read", &self.path)(e)),
        }
        let found = bytes.len();
        Tensor::from_bytes(place.dtype, &place.shape, bytes).ok_or_else(|| {
            fault(format!("tensor '{}' has {found} bytes instead of {}", place.name, place.bytes))
        })
    }
}

/// Writes a file of these tensors. Four-byte elements come first, so that every tensor is aligned.
pub fn write(path: &Path, metadata: &[(&str, String)], tensors: &[(String, &Tensor)]) -> Result<()> {
    let mut order: Vec<&(String, &Tensor)> = tensors.iter().collect();
    order.sort_by_key(|(_, t)| std::cmp::Reverse(t.dtype().size()));
    let header = Header::pack(metadata, order.iter().map(|(n, t)| (n.as_str(), t.dtype(), t.shape())));
    let json = header.to_json();
    let needed = 8 + json.len() as u64 + header.data_bytes();
    if json.len() as u64 > MAX_HEADER {
        return Err(TrainError::file(
            path,
            format!("its header would have {} bytes, more than the format's {MAX_HEADER}", json.len()),
            "shorten the recipe or the class names",
        ));
    }
    write_atomic(path, needed, |w| {
        w.write_all(&(json.len() as u64).to_le_bytes())?;
        w.write_all(json.as_bytes())?;
        order.iter().try_for_each(|(_, t)| w.write_all(t.bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use thalweg_base::DType;

    fn sample(path: &Path) {
        let w = Tensor::f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        let m = Tensor::from_bytes(DType::U8, &[3], vec![1, 2, 3]).unwrap();
        let n = Tensor::from_bytes(DType::I32, &[], vec![7, 0, 0, 0]).unwrap();
        let tensors = [("a".to_owned(), &m), ("b/kernel".to_owned(), &w), ("n".to_owned(), &n)];
        write(path, &[("z", "last".into()), ("a", "{}".into())], &tensors).unwrap();
    }

    #[test]
    fn what_is_written_reads_back_and_the_reference_crate_agrees() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        sample(&path);
        let mut file = Container::open(&path).unwrap();
        assert_eq!(file.metadata("z"), Some("last"));
        let place = file.place("b/kernel").unwrap().clone();
        assert_eq!(file.read(&place).unwrap().to_f32(), [1.0, 2.0, 3.0, 4.0]);
        let bytes = fs::read(&path).unwrap();
        let other = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(other.tensor("a").unwrap().data(), [1, 2, 3]);
        assert_eq!(other.tensor("n").unwrap().shape(), [0usize; 0]);
        sample(&path);
        assert_eq!(fs::read(&path).unwrap(), bytes, "a file is a function of what it holds");
    }

    #[test]
    fn files_of_the_reference_crate_are_read() {
        let data: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &data).unwrap();
        let bytes = safetensors::serialize([("w", view)], None).unwrap();
        let mut file = Container::from_bytes("memory", bytes).unwrap();
        let place = file.tensors()[0].clone();
        assert_eq!(file.read(&place).unwrap().to_f32(), [1.5, -2.0]);
    }

    #[test]
    fn broken_files_are_one_clear_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        sample(&path);
        let good = fs::read(&path).unwrap();
        let error = |bytes: Vec<u8>| match Container::from_bytes("x.safetensors", bytes) {
            Ok(_) => panic!("accepted"),
            Err(e) => e.to_string(),
        };
        for cut in [0, 7] {
            assert!(error(good[..cut].to_vec()).contains("fewer than any safetensors file"));
        }
        assert!(error(good[..20].to_vec()).contains("it is truncated"));
        assert!(error(good[..good.len() - 1].to_vec()).contains("it is truncated"));
        assert!(error([&u64::MAX.to_le_bytes()[..], b"{}"].concat()).contains("more than the limit"));
        assert!(error([&50u64.to_le_bytes()[..], b"{}"].concat()).contains("claims 50 bytes, but only 2"));
        for cut in 0..good.len() {
            let line = error(good[..cut].to_vec());
            assert!(!line.contains('\n') && line.starts_with("x.safetensors: "), "{line}");
        }
        let missing = Container::open(&folder.path().join("no")).err().unwrap().to_string();
        assert!(missing.contains("cannot read"), "{missing}");
        assert!(Container::open(folder.path()).err().unwrap().to_string().contains("it is a folder"));
    }
}
