//! What calls of a library answer: a number, 0 where all went well.

use crate::gpu::call::Refusal;
use std::ffi::{CStr, c_char, c_int};
use std::fmt::Display;

/// What a call answers.
pub type Status = c_int;

/// The library's words for a number.
pub type Words = unsafe extern "C" fn(Status) -> *const c_char;

/// A status as a result; `what` was called. `library`: its name and version; `lasting`: whether it never will do that.
///
/// # Safety
/// `words` returns a static string for any number, or null.
pub unsafe fn check(
    library: impl Display,
    what: &str,
    status: Status,
    words: Words,
    lasting: bool,
) -> Result<(), Refusal> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the caller vouches for it.
    let words = unsafe { words(status) };
    let words = match words.is_null() {
        true => "status".into(),
        // SAFETY: not null, and static, so it ends with a zero.
        false => unsafe { CStr::from_ptr(words) }.to_string_lossy(),
    };
    Err(Refusal { why: format!("{library}: {what}: {words} ({status})"), lasting })
}
