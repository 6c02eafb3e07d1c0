//! The command as scripts and people run it: the real binary, on tiny data, in folders of its own.

#[cfg(unix)]
mod interruption;
mod life;
mod mistakes;
mod support;
