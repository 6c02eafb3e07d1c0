//! Chromium without a window, on its software adapter.

use crate::server::Server;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Names it goes by.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// The software adapter takes a second or more for each shader of the detector, and a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(600);

const FLAGS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--enable-unsafe-webgpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
];

/// The browser on the path.
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    NAMES.iter().flat_map(|n| folders.iter().map(move |f| f.join(n))).find(|p| p.is_file())
}

/// Opens the page and waits for what it tells.
pub fn visit(browser: &Path, server: &Server, profile: &Path) -> Value {
    fs::create_dir_all(profile).unwrap();
    let log = profile.join("log");
    let mut child = Command::new(browser)
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("{}/page.html", server.address))
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let told = server.told.recv_timeout(PATIENCE);
    child.kill().unwrap();
    child.wait().unwrap();
    let Ok(told) = told else {
        let log = fs::read_to_string(&log).unwrap_or_default();
        let console: Vec<&str> = log.lines().filter(|l| l.contains("CONSOLE")).collect();
        panic!("the page told nothing in {PATIENCE:?}; its console:\n{}", console.join("\n"));
    };
    serde_json::from_str(&told).unwrap()
}
