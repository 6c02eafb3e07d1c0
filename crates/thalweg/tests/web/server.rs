//! A web server for one page: files of some folders, and the one message that the page sends back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What files are, by their ends; a browser takes a module as nothing else.
const TYPES: [(&str, &str); 3] =
    [("html", "text/html; charset=utf-8"), ("js", "text/javascript"), ("wasm", "application/wasm")];

pub struct Server {
    pub address: String,
    /// What the page sent to `/told`.
    pub told: Receiver<String>,
}

impl Server {
    /// Serves the files of these folders until the test ends.
    pub fn start(folders: Vec<PathBuf>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, told) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folders, sender) = (folders.clone(), sender.clone());
                std::thread::spawn(move || answer(stream, &folders, &sender));
            }
        });
        Server { address, told }
    }
}

/// Answers one request and closes; a browser that goes away meanwhile is nobody's fault.
fn answer(mut stream: TcpStream, folders: &[PathBuf], told: &Sender<String>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()?;
            }
            Some(_) => {}
            None => break,
        }
    }
    let path = request.split(' ').nth(1)?.split('?').next()?.trim_start_matches('/').to_owned();
    if path == "told" {
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        told.send(String::from_utf8(body).ok()?).ok()?;
        return respond(&mut stream, "204 No Content", "text/plain", b"");
    }
    // Names alone: nothing outside the folders is asked for.
    let found = folders.iter().map(|f| f.join(&path)).find(|f| !path.contains('/') && f.is_file());
    match found.and_then(|f| Some((kind(&f), std::fs::read(&f).ok()?))) {
        Some((kind, bytes)) => respond(&mut stream, "200 OK", kind, &bytes),
        None => respond(&mut stream, "404 Not Found", "text/plain", b"not here"),
    }
}

fn kind(file: &Path) -> &'static str {
    let end = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
    TYPES.iter().find(|(e, _)| *e == end).map_or("application/octet-stream", |(_, t)| t)
}

fn respond(stream: &mut TcpStream, status: &str, kind: &str, body: &[u8]) -> Option<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    stream.write_all(body).ok()
}
