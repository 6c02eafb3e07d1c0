//! A kernel being written together with the arguments of its launch.

use crate::gpu::build::Builder;
use crate::gpu::ir::{Kernel, Param};
use crate::gpu::launch::Argument;
use crate::plan::{BufferId, Plan};
use std::ops::{Deref, DerefMut};
use thalweg_base::DType;

/// A [`Builder`] that knows which buffer each parameter is.
pub struct Writer<'a> {
    plan: &'a Plan,
    builder: Builder,
    buffers: Vec<(BufferId, Param)>,
    arguments: Vec<Argument>,
}

impl<'a> Writer<'a> {
    /// An empty kernel.
    pub fn new(plan: &'a Plan, name: impl Into<String>, threads: u32) -> Self {
        let (buffers, arguments) = (Vec::new(), Vec::new());
        Writer { plan, builder: Builder::new(name, threads), buffers, arguments }
    }

    /// The parameter of a buffer; the same for the same buffer.
    pub fn buffer(&mut self, id: BufferId, written: bool) -> Param {
        if let Some(&(_, param)) = self.buffers.iter().find(|(b, _)| *b == id) {
            self.builder.mark(param, written);
            return param;
        }
        let buffer = self.plan.buffer(id);
        let param =
            self.argument(Argument { place: buffer.place, bytes: buffer.bytes() }, buffer.dtype, written);
        self.buffers.push((id, param));
        param
    }

    /// The parameter of a buffer whose memory is taken for elements of another type, which fill it exactly.
    pub fn buffer_as(&mut self, id: BufferId, dtype: DType, written: bool) -> Param {
        let buffer = self.plan.buffer(id);
        if buffer.dtype == dtype {
            return self.buffer(id, written);
        }
        self.argument(Argument { place: buffer.place, bytes: buffer.bytes() }, dtype, written)
    }

    /// A parameter for memory that is no buffer of the plan.
    pub fn argument(&mut self, argument: Argument, dtype: DType, written: bool) -> Param {
        self.arguments.push(argument);
        self.builder.param(dtype, written)
    }

    /// The same; once for memory that was passed already.
    pub fn argument_once(&mut self, argument: Argument, dtype: DType, written: bool) -> Param {
        match self.arguments.iter().position(|a| *a == argument) {
            Some(at) => Param(at as u32),
            None => self.argument(argument, dtype, written),
        }
    }

    /// The kernel, and an argument per parameter.
    pub fn finish(self) -> (Kernel, Vec<Argument>) {
        (self.builder.finish(), self.arguments)
    }
}

impl Deref for Writer<'_> {
    type Target = Builder;
    fn deref(&self) -> &Builder {
        &self.builder
    }
}

impl DerefMut for Writer<'_> {
    fn deref_mut(&mut self) -> &mut Builder {
        &mut self.builder
    }
}
