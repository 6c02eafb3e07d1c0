//! `Conv2D`.

use super::class::{Call, Layer, WeightSpec, layer};
use crate::activations::{Activation, LINEAR};
use crate::arguments::{Choice, Count, Pair, Words};
use crate::initializers::InitializerArg;
use crate::{LayerError, Shape};
use thalweg_graph::derived::{Geometry, Padding as Pad};
use thalweg_graph::{NodeId, Op};

/// Keras' `padding`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Padding(pub Pad);

impl Words for Padding {
    const KIND: &'static str = "padding";
    const WORDS: &'static [(&'static str, Self)] =
        &[("valid", Padding(Pad::Valid)), ("same", Padding(Pad::Same))];
}

layer! {
    /// 2D convolution (<https://keras.io/api/layers/convolution_layers/convolution2d/>).
    ///
    /// `[N, h, w, c]` to `[N, oh, ow, filters]`. Weights: `kernel` `[kh, kw, c / groups, filters]`, `bias` `[filters]`.
    Conv2D
    required {
        filters: Count, "Number of output channels.";
        kernel_size: Pair, "Extent of the window: one integer or (rows, columns).";
    }
    optional {
        strides: Pair = Pair(1, 1), "Step of the window; default 1.";
        padding: Choice<Padding> = Choice::of("valid"), "`valid` (none; default) or `same`.";
        dilation_rate: Pair = Pair(1, 1), "Step between the elements of the window; default 1.";
        groups: Count = Count(1), "Groups of channels that are convolved apart; default 1.";
        activation: Choice<Activation> = LINEAR, "Applied to the result; default `linear`.";
        use_bias: bool = true, "Whether a bias is added; default true.";
        kernel_initializer: InitializerArg = "glorot_uniform".into(), "First kernel; default `glorot_uniform`.";
        bias_initializer: InitializerArg = "zeros".into(), "First bias; default `zeros`.";
    }
}

/// The extents of a window over an image, or the fix where the image is smaller.
pub(super) fn outputs(
    layer: &(impl Layer + Sized),
    geometry: &Geometry,
    inputs: &[Shape],
) -> Result<(usize, usize), LayerError> {
    let [h, w, _] = layer.image(inputs)?;
    geometry.outputs(h, w).ok_or_else(|| {
        let (r, c) = geometry.size;
        let fix = format!(
            "its window of {r} x {c} does not fit into {h} x {w}; use a larger image, fewer poolings before it, \
             or padding=\"same\""
        );
        layer.refuse(inputs, fix)
    })
}

/// Strides and dilation exclude each other, as in Keras.
pub(super) fn check_geometry(strides: Pair, dilation: Pair) -> Result<(), String> {
    if strides != Pair(1, 1) && dilation != Pair(1, 1) {
        return Err(format!(
            "strides {:?} and dilation_rate {:?} cannot both be above 1",
            (strides.0, strides.1),
            (dilation.0, dilation.1)
        ));
    }
    Ok(())
}

impl Conv2D {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: (self.kernel_size.0, self.kernel_size.1),
            strides: (self.strides.0, self.strides.1),
            dilation: (self.dilation_rate.0, self.dilation_rate.1),
            padding: self.padding.get().0,
        }
    }
}

impl Layer for Conv2D {
    fn check(&self) -> Result<(), String> {
        if !self.filters.0.is_multiple_of(self.groups.0) {
            return Err(format!("{} filters cannot form {} groups", self.filters.0, self.groups.0));
        }
        check_geometry(self.strides, self.dilation_rate)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape, LayerError> {
        let [_, _, c] = self.image(inputs)?;
        if !c.is_multiple_of(self.groups.0) {
            return Err(self.refuse(inputs, format!("{c} channels cannot form {} groups", self.groups.0)));
        }
        let (oh, ow) = outputs(self, &self.geometry(), inputs)?;
        Ok(vec![oh, ow, self.filters.0])
    }

    fn weights(&self, inputs: &[Shape]) -> Vec<WeightSpec> {
        let (c, k) = (inputs[0][2] / self.groups.0, self.filters.0);
        let kernel = [self.kernel_size.0, self.kernel_size.1, c, k];
        let mut all = vec![WeightSpec::new("kernel", &kernel, self.kernel_initializer.get())];
        if self.use_bias {
            all.push(WeightSpec::new("bias", &[k], self.bias_initializer.get()));
        }
        all
    }

    fn call(&self, cx: &mut Call, inputs: &[NodeId]) -> NodeId {
        let y = convolve(cx, &self.geometry(), inputs[0], cx.weights[0], self.groups.0);
        let y = if self.use_bias { cx.graph.add(y, cx.weights[1]) } else { y };
        self.activation.get().apply(cx, y)
    }
}

/// The convolution of an image whose shape the layer has accepted.
pub(super) fn convolve(
    cx: &mut Call,
    geometry: &Geometry,
    x: NodeId,
    kernel: NodeId,
    groups: usize,
) -> NodeId {
    let &[n, h, w, c] = cx.graph.shape(x) else { unreachable!("the layer accepted an image") };
    let k = cx.graph.shape(kernel)[3];
    match geometry.conv([n, h, w, c], k, groups) {
        Some(dims) => cx.graph.op(Op::Conv(dims), &[x, kernel]),
        None => unreachable!("the layer accepted the image's size"),
    }
}
