//! One file over HTTP, going on where an earlier attempt stopped.
//!
//! Input: an address and the MD5 sum of the file. Output: the whole file, synced, under the name
//! `<file>.part` in the work folder. Invariant: it is returned only if its checksum is right; a `.part` with a wrong
//! one is removed, so that the next attempt starts anew.

use super::place;
use super::progress::Progress;
use crate::error::{DataError, Result};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// A host that does not answer in this time is unreachable.
const CONNECT: Duration = Duration::from_secs(5);
/// From the request to the head of the response.
const RESPONSE: Duration = Duration::from_secs(20);
/// One request's body; a slower download goes on with another request, a stalled one ends.
const BODY: Duration = Duration::from_secs(120);
/// Attempts in a row that brought nothing new before the download is given up.
const FRUITLESS: u32 = 3;
/// Between two reports.
const REPORT: Duration = Duration::from_millis(100);

/// What is to be downloaded.
pub(super) struct Download<'a> {
    pub(super) url: &'a str,
    pub(super) md5: &'a str,
    /// What the user can do when it fails.
    pub(super) fix: &'a str,
}

/// How an attempt ended short of an error that ends all.
enum Attempt {
    Complete,
    Broken(String),
}

impl Download<'_> {
    /// Downloads, or goes on; returns the path of the whole file.
    pub(super) fn run(&self, work: &Path, report: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
        let part = work.join(format!("{}.part", self.file_name()));
        let agent = self.agent();
        let (mut best, mut fruitless) = (length(&part), 0);
        let mut resumed = best > 0;
        loop {
            match self.attempt(&agent, &part, report)? {
                Attempt::Complete => match place::expect_md5(&part, self.md5) {
                    Ok(()) => return Ok(part),
                    Err(e) => {
                        fs::remove_file(&part).map_err(DataError::io("remove", &part))?;
                        // What lay there may have been of another file: once from the start.
                        if !std::mem::take(&mut resumed) {
                            return Err(e);
                        }
                        best = 0;
                    }
                },
                Attempt::Broken(why) => {
                    let now = length(&part);
                    fruitless = if now > best { 0 } else { fruitless + 1 };
                    best = best.max(now);
                    if fruitless >= FRUITLESS {
                        return Err(self.failed(format!("{why}, after {now} bytes; they are kept")));
                    }
                    resumed = true;
                    std::thread::sleep(Duration::from_millis(200) * fruitless);
                }
            }
        }
    }

    fn agent(&self) -> Agent {
        // The machine's own certificate authorities: where a company's proxy reads along, only they know its.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        Agent::config_builder()
            .tls_config(tls)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(RESPONSE))
            .timeout_recv_body(Some(BODY))
            .http_status_as_error(false)
            .user_agent(concat!("thalweg/", env!("CARGO_PKG_VERSION")))
            .build()
            .into()
    }

    /// One request for what is missing. An error where another attempt would not help.
    fn attempt(&self, agent: &Agent, part: &Path, report: &mut dyn FnMut(Progress)) -> Result<Attempt> {
        let have = length(part);
        report(Progress::Connecting { url: self.url.to_owned(), have });
        let mut request = agent.get(self.url);
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let response = match request.call() {
            Ok(response) => response,
            // A connection that was never made will not be made a second later.
            Err(e) if have == 0 => return Err(self.failed(e.to_string())),
            Err(e) => return Ok(Attempt::Broken(e.to_string())),
        };
        let start = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(have) => have,
            // Nothing is missing, or the part is of another file: the checksum tells.
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(Attempt::Complete),
            status => return Err(self.failed(format!("the server answered {status}"))),
        };
        self.receive(response, part, start, report)
    }

    /// Appends the body to the first `start` bytes of the part.
    fn receive(
        &self,
        mut response: Response<Body>,
        part: &Path,
        start: u64,
        report: &mut dyn FnMut(Progress),
    ) -> Result<Attempt> {
        let total = response.body().content_length().map(|n| n + start);
        let file = self.file_name().to_owned();
        let mut out = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(part)
            .map_err(DataError::io("create", part))?;
        let write = || DataError::io("write", part);
        out.set_len(start).map_err(write())?;
        out.seek(SeekFrom::Start(start)).map_err(write())?;
        let mut body = response.body_mut().as_reader();
        let (mut done, mut buffer) = (start, vec![0; 1 << 16]);
        let mut reported = Instant::now();
        let mut ending = Attempt::Complete;
        loop {
            let n = match body.read(&mut buffer) {
                Ok(n) => n,
                Err(e) => {
                    ending = Attempt::Broken(e.to_string());
                    0
                }
            };
            if n == 0 {
                break;
            }
            out.write_all(&buffer[..n]).map_err(write())?;
            done += n as u64;
            if reported.elapsed() >= REPORT {
                reported = Instant::now();
                report(Progress::Downloading { file: file.clone(), done, total });
            }
        }
        out.sync_all().map_err(write())?;
        report(Progress::Downloading { file, done, total });
        if matches!(ending, Attempt::Complete) && total.is_some_and(|t| done < t) {
            ending = Attempt::Broken("the connection ended too early".into());
        }
        Ok(ending)
    }

    /// The last part of the address.
    fn file_name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or("download")
    }

    fn failed(&self, why: String) -> DataError {
        DataError::Download { url: self.url.to_owned(), why, fix: self.fix.to_owned() }
    }
}

/// Bytes of a file; 0 when there is none.
fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

/// The first byte that a partial response brings: `Content-Range: bytes 10-99/100`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
