//! The sums that a thread has, and where they go: finished to the result, or as they are to scratch memory.

use super::super::Writer;
use super::super::loops::within;
use super::seat::Seat;
use super::tile::Cut;
use super::{Task, finish};
use crate::gpu::ir::{Param, Value};

/// Sums of a thread.
pub struct Results {
    /// bool: whether the thread has any.
    pub has: Value,
    /// Rows in the tile. With a pooling behind, rows of one window follow each other.
    pub rows: Vec<Value>,
    /// First columns, in the tile, of runs that follow each other.
    pub columns: Vec<Value>,
    /// Columns of a run.
    pub run: usize,
    /// [rows][columns, run after run].
    pub values: Vec<Vec<Value>>,
}

/// Memory for the sums of pieces, [pieces, batches, m, n].
pub struct Scratch {
    /// The memory.
    pub to: Param,
    /// First element of this piece of this batch.
    pub first: Value,
}

impl Results {
    /// Stores them.
    pub fn store(&self, w: &mut Writer<'_>, t: &Task<'_>, seat: &Seat, cut: &Cut, scratch: Option<&Scratch>) {
        let open = w.open(self.has);
        let tile = cut.tile.size();
        for (i, rows) in self.rows.chunks(t.sizes.pooled).enumerate() {
            let values = &self.values[i * t.sizes.pooled..][..rows.len()];
            let m = w.add(seat.m0, rows[0]);
            let inside = within(w, m, t.sizes.m, tile[0]);
            let open = w.open(inside);
            let coordinates = match (scratch, t.sizes.pooled) {
                (None, 1) => t.operand.row(w, m),
                _ => Vec::new(),
            };
            for (j, column) in self.columns.iter().enumerate() {
                let n = w.add(seat.n0, *column);
                let of = |row: &Vec<Value>| row[j * self.run..][..self.run].to_vec();
                let run: Vec<Vec<Value>> = values.iter().map(of).collect();
                self.runs(w, t, (n, tile[1]), run, |w, n, run| match (scratch, t.sizes.pooled) {
                    (Some(s), _) => s.store(w, t, m, n, &run[0]),
                    (None, 1) => finish::singles(w, t, &seat.batch, &coordinates, n, &run[0]),
                    _ => finish::windows(w, t, &seat.batch, m, n, run),
                });
            }
            w.close(open);
        }
        w.close(open);
    }

    /// Calls `f` for the columns of a run that there are: all at once, or one after another where the last may be missing.
    fn runs(
        &self,
        w: &mut Writer<'_>,
        t: &Task<'_>,
        (n, tile): (Value, usize),
        run: Vec<Vec<Value>>,
        mut f: impl FnMut(&mut Writer<'_>, Value, &[Vec<Value>]),
    ) {
        if t.sizes.n.is_multiple_of(self.run) {
            let inside = within(w, n, t.sizes.n, tile);
            let open = w.open(inside);
            f(w, n, &run);
            w.close(open);
            return;
        }
        for i in 0..self.run {
            let n = w.add(n, Value::index(i));
            let inside = within(w, n, t.sizes.n, tile);
            let open = w.open(inside);
            let column: Vec<Vec<Value>> = run.iter().map(|row| vec![row[i]]).collect();
            f(w, n, &column);
            w.close(open);
        }
    }
}

impl Scratch {
    fn store(&self, w: &mut Writer<'_>, t: &Task<'_>, m: Value, n: Value, run: &[Value]) {
        let at = w.mul_add(m, Value::index(t.sizes.n), self.first);
        let at = w.add(at, n);
        match *run {
            [a, b, c, d] if t.sizes.n.is_multiple_of(4) => w.store4(self.to, at, [a, b, c, d]),
            _ => {
                for (i, &v) in run.iter().enumerate() {
                    let at = w.add(at, Value::index(i));
                    w.store(self.to, at, v);
                }
            }
        }
    }
}
