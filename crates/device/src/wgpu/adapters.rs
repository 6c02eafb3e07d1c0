//! Which adapters there are.
//!
//! In: nothing. Out: the adapters this system offers, best first, each with what it is. Invariant: asking never fails;
//! without a graphics library there are none.

use super::extras::Extras;
use ::wgpu::{Backends, DeviceType, Instance, InstanceDescriptor};
use std::cmp::Reverse;

/// What kind of device an adapter is, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// A program on the processor that behaves like a GPU.
    Software,
    /// Nothing is known of it.
    Other,
    /// A GPU of another machine or shared among several.
    Virtual,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU with memory of its own.
    Discrete,
}

/// An adapter.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// The adapter.
    pub inner: wgpu::Adapter,
    /// What kind it is.
    pub class: Class,
    /// Name, interface, driver.
    pub description: String,
    /// What it can do beyond what every adapter can.
    pub extras: Extras,
}

/// All adapters, best first; those of one class in the system's order. A browser has one or none.
pub async fn search() -> Vec<Adapter> {
    let mut descriptor = InstanceDescriptor::new_without_display_handle();
    descriptor.backends = Backends::PRIMARY;
    let instance = Instance::new(descriptor);
    let found = instance.enumerate_adapters(Backends::PRIMARY).await;
    let mut all: Vec<Adapter> = found.into_iter().map(described).collect();
    all.sort_by_key(|a| Reverse(a.class));
    all
}

fn described(inner: wgpu::Adapter) -> Adapter {
    let info = inner.get_info();
    let class = match info.device_type {
        DeviceType::Cpu => Class::Software,
        DeviceType::Other => Class::Other,
        DeviceType::VirtualGpu => Class::Virtual,
        DeviceType::IntegratedGpu => Class::Integrated,
        DeviceType::DiscreteGpu => Class::Discrete,
    };
    let software = if class == Class::Software { ", software" } else { "" };
    // Browsers keep some of it to themselves.
    let name = if info.name.trim().is_empty() { "a GPU" } else { info.name.trim() };
    let driver = [info.driver.as_str(), info.driver_info.as_str()].join(" ");
    let driver = if driver.trim().is_empty() { String::new() } else { format!(" ({})", driver.trim()) };
    let description = format!("{name} through {:?}{software}{driver}", info.backend);
    let extras = Extras::of(&inner);
    Adapter { inner, class, description, extras }
}
