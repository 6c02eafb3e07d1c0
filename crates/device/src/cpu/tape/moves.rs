//! What only moves lanes: loads with any strides, spreading, stores.
//!
//! Contiguous 32-bit loads are not here: they are used where they lie. Invariant: lanes are written in order, and
//! nothing outside the block is read.

/// Gathers rows x cols elements into dense lanes, widening each.
///
/// # Safety
/// The elements are readable; `dst` has rows * cols lanes and does not overlap them.
#[inline(always)]
pub unsafe fn gather<T: Copy>(
    dst: *mut u32,
    src: *const T,
    [row, col]: [isize; 2],
    [rows, cols]: [usize; 2],
    widen: impl Fn(T) -> u32,
) {
    // SAFETY: as the caller vouches; every index is inside the block.
    unsafe {
        if row == col * cols as isize || rows == 1 {
            line(dst, src, col, rows * cols, &widen);
        } else if rows > cols && (row == 1 || col != 1) {
            // Down the longer side, a column at a time.
            for c in 0..cols {
                let s = src.offset(c as isize * col);
                for r in 0..rows {
                    dst.add(r * cols + c).write(widen(s.offset(r as isize * row).read_unaligned()));
                }
            }
        } else {
            for r in 0..rows {
                line(dst.add(r * cols), src.offset(r as isize * row), col, cols, &widen);
            }
        }
    }
}

/// `n` elements at a stride.
#[inline(always)]
unsafe fn line<T: Copy>(dst: *mut u32, src: *const T, stride: isize, n: usize, widen: &impl Fn(T) -> u32) {
    // SAFETY: as in `gather`.
    unsafe {
        if stride == 1 {
            for i in 0..n {
                dst.add(i).write(widen(src.add(i).read()));
            }
        } else {
            for i in 0..n {
                dst.add(i).write(widen(src.offset(i as isize * stride).read()));
            }
        }
    }
}

/// One lane to `n`.
///
/// # Safety
/// `dst` has `n` lanes.
#[inline(always)]
pub unsafe fn splat(dst: *mut u32, lane: u32, n: usize) {
    for i in 0..n {
        // SAFETY: within `n`.
        unsafe { dst.add(i).write(lane) }
    }
}

/// A row of lanes to every row.
///
/// # Safety
/// `src` has `cols` lanes, `dst` rows * cols; no overlap.
#[inline(always)]
pub unsafe fn repeat_row(dst: *mut u32, src: *const u32, rows: usize, cols: usize) {
    // SAFETY: both stay in their lanes: what is copied was written before, and never past the last row.
    unsafe {
        dst.copy_from_nonoverlapping(src, cols);
        let (mut done, lanes) = (cols, rows * cols);
        while done < lanes {
            let n = done.min(lanes - done);
            dst.add(done).copy_from_nonoverlapping(dst, n);
            done += n;
        }
    }
}

/// A column of lanes to every column.
///
/// # Safety
/// `src` has `rows` lanes, `dst` rows * cols; no overlap.
#[inline(always)]
pub unsafe fn repeat_col(dst: *mut u32, src: *const u32, rows: usize, cols: usize) {
    for r in 0..rows {
        // SAFETY: row r is inside both.
        unsafe { splat(dst.add(r * cols), *src.add(r), cols) }
    }
}

/// Stores dense lanes with any strides, narrowing each.
///
/// # Safety
/// `lanes` has rows * cols lanes; the elements are writable. They may be where the lanes are, with dense strides.
#[inline(always)]
pub unsafe fn store<T: Copy>(
    lanes: *const u32,
    out: *mut T,
    [row, col]: [isize; 2],
    [rows, cols]: [usize; 2],
    narrow: impl Fn(u32) -> T,
) {
    // SAFETY: as the caller vouches; every index is inside the block.
    unsafe {
        let (rows, cols) = if row == col * cols as isize { (1, rows * cols) } else { (rows, cols) };
        for r in 0..rows {
            let from = lanes.add(r * cols);
            let to = out.offset(r as isize * row);
            if col == 1 && size_of::<T>() == 4 {
                to.cast::<u32>().copy_from(from, cols);
            } else if col == 1 {
                for c in 0..cols {
                    to.add(c).write(narrow(*from.add(c)));
                }
            } else {
                for c in 0..cols {
                    to.offset(c as isize * col).write(narrow(*from.add(c)));
                }
            }
        }
    }
}
