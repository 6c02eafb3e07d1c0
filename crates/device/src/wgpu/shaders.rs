//! Compiled shaders, each kernel once per pattern of memories.

use super::guarded;
use crate::DeviceError;
use crate::gpu::ir::Kernel;
use crate::gpu::wgsl;
use ::wgpu::{
    BindGroupLayout, BindGroupLayoutEntry, BindingType, BufferBindingType, ComputePipeline, PipelineLayout,
    ShaderStages,
};
use std::collections::HashMap;

/// Pipelines and their layouts.
#[derive(Default)]
pub struct Shaders {
    pipelines: HashMap<(Kernel, Vec<usize>), ComputePipeline>,
    /// By number of memories.
    layouts: HashMap<usize, (BindGroupLayout, PipelineLayout)>,
}

impl Shaders {
    /// The layout of bindings for so many memories: the record, then they.
    pub fn layout(&mut self, device: &wgpu::Device, memories: usize) -> &(BindGroupLayout, PipelineLayout) {
        self.layouts.entry(memories).or_insert_with(|| {
            let entry = |i: usize| BindGroupLayoutEntry {
                binding: i as u32,
                visibility: ShaderStages::COMPUTE,
                ty: BindingType::Buffer {
                    ty: match i {
                        0 => BufferBindingType::Uniform,
                        _ => BufferBindingType::Storage { read_only: false },
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            };
            let entries: Vec<_> = (0..=memories).map(entry).collect();
            let groups = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: None,
                entries: &entries,
            });
            let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&groups)],
                immediate_size: 0,
            });
            (groups, layout)
        })
    }

    /// The pipeline of a kernel whose parameters lie in these memories.
    pub fn pipeline(
        &mut self,
        device: &wgpu::Device,
        name: &str,
        kernel: &Kernel,
        memories: &[usize],
    ) -> Result<ComputePipeline, DeviceError> {
        let key = (kernel.clone(), memories.to_vec());
        if let Some(found) = self.pipelines.get(&key) {
            return Ok(found.clone());
        }
        let text = wgsl::render(kernel, memories);
        let count = memories.iter().max().map_or(0, |m| m + 1);
        let layout = self.layout(device, count).1.clone();
        let what = format!("shader {}", kernel.name);
        let pipeline = guarded(device, name, (text.len(), &what), || {
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(&kernel.name),
                source: wgpu::ShaderSource::Wgsl(text.into()),
            });
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&kernel.name),
                layout: Some(&layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Every element of shared memory is stored before it is read.
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            })
        })?;
        self.pipelines.insert(key, pipeline.clone());
        Ok(pipeline)
    }
}
