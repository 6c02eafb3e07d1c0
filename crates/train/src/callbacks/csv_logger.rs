//! CSVLogger: one line an epoch in a file that any spreadsheet opens.

use super::callback::{Callback, EpochContext, TrainContext};
use crate::files::write_atomic;
use crate::{Result, TrainError};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Writes the logs of every epoch as a line of CSV. Keras' names and defaults. A resumed run goes on in the same
/// file, whatever `append` says; lines of epochs that are done again are replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct CSVLogger {
    filename: String,
    separator: String,
    append: bool,
    /// Columns after `epoch`, once they are known.
    #[serde(skip)]
    columns: Option<Vec<String>>,
}

impl Default for CSVLogger {
    fn default() -> Self {
        CSVLogger { filename: String::new(), separator: ",".into(), append: false, columns: None }
    }
}

impl CSVLogger {
    /// Writes to `filename`.
    pub fn new(filename: &str) -> Self {
        CSVLogger { filename: filename.into(), ..Self::default() }
    }
    /// What stands between columns.
    pub fn separator(mut self, separator: &str) -> Self {
        self.separator = separator.into();
        self
    }
    /// Keeps what is in the file.
    pub fn append(mut self, yes: bool) -> Self {
        self.append = yes;
        self
    }

    /// What is in the file, without the epochs from `first` on where a run goes on.
    fn earlier(&self, first: Option<usize>) -> Result<String> {
        let path = Path::new(&self.filename);
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(String::new()),
            Err(e) => return Err(TrainError::io("read", path)(e)),
        };
        let Some(first) = first else { return Ok(text) };
        let done = |line: &str| {
            let epoch = line.split(self.separator.as_str()).next().unwrap_or("");
            epoch == "epoch" || epoch.parse::<usize>().is_ok_and(|e| e < first)
        };
        Ok(text.lines().filter(|l| done(l)).fold(String::new(), |all, l| all + l + "\n"))
    }
}

impl Callback for CSVLogger {
    fn name(&self) -> String {
        format!("CSVLogger({})", self.filename)
    }

    fn on_train_begin(&mut self, c: &mut TrainContext<'_>) -> Result<()> {
        if self.filename.is_empty() || self.separator.is_empty() {
            return Err(TrainError::argument("CSVLogger needs a filename and a separator"));
        }
        let text = match (c.resumed, self.append) {
            (true, _) => self.earlier(Some(c.initial_epoch))?,
            (false, true) => self.earlier(None)?,
            (false, false) => String::new(),
        };
        self.columns = text
            .lines()
            .next()
            .map(|header| header.split(self.separator.as_str()).skip(1).map(str::to_owned).collect());
        write_atomic(Path::new(&self.filename), text.len() as u64, |w| w.write_all(text.as_bytes()))
    }

    fn on_epoch_end(&mut self, c: &mut EpochContext<'_>) -> Result<()> {
        let separator = self.separator.as_str();
        let mut lines = String::new();
        if self.columns.is_none() {
            let names = c.logs.names();
            lines = [&["epoch"], names.as_slice()].concat().join(separator) + "\n";
            self.columns = Some(names.into_iter().map(str::to_owned).collect());
        }
        lines += &c.epoch.to_string();
        for column in self.columns.iter().flatten() {
            lines += separator;
            // A column that this epoch has not is "NA", as in Keras.
            lines += &c.logs.get(column).map_or("NA".to_owned(), |v| v.to_string());
        }
        lines += "\n";
        let path = Path::new(&self.filename);
        let mut file =
            OpenOptions::new().create(true).append(true).open(path).map_err(TrainError::io("write", path))?;
        let needed = lines.len() as u64;
        file.write_all(lines.as_bytes()).map_err(|source| TrainError::Write {
            path: path.to_path_buf(),
            needed,
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rehearsal::Rehearsal;
    use super::*;

    #[test]
    fn writes_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/log.csv").display().to_string();
        let read = || fs::read_to_string(&file).unwrap();
        Rehearsal::new("val_loss", &[0.5, f64::NAN]).run(Box::new(CSVLogger::new(&file)));
        assert_eq!(read(), "epoch,loss,val_loss\n0,9,0.5\n1,9,NaN\n");
        // A run that was interrupted after epoch 2 but resumed from the checkpoint of epoch 1.
        let values = [0.1, 0.2, 0.3, 0.4];
        Rehearsal::new("val_loss", &values).interrupted(3, || Box::new(CSVLogger::new(&file)));
        assert_eq!(read(), "epoch,loss,val_loss\n0,9,0.1\n1,9,0.2\n2,9,0.3\n3,9,0.4\n");
        fs::write(&file, "epoch,loss,val_loss\n0,9,0.1\n1,9,9\n2,9,9\n").unwrap();
        let mut again = CSVLogger::new(&file);
        assert_eq!(again.earlier(Some(1)).unwrap(), "epoch,loss,val_loss\n0,9,0.1\n");
        again = again.append(true).separator(",");
        Rehearsal::new("val_loss", &[0.7]).run(Box::new(again));
        assert_eq!(read(), "epoch,loss,val_loss\n0,9,0.1\n1,9,9\n2,9,9\n0,9,0.7\n");
    }
}
