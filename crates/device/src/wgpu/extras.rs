//! What an adapter can do beyond what WebGPU promises, as far as it is told or used: 16-bit floats, subgroups, cooperative
//! matrices.
//!
//! Cooperative matrices are taken where somebody asks for them: in wgpu they are experimental, and no real GPU has run ours yet
//! (Mesa's lavapipe has, from versions after Debian 12's on). naga's WGSL has square ones of 8 or 16, of f16 and f32, and ours
//! add up in f32; so bf16, integers and NVIDIA's 16 x 8 are left out. wgpu lets the driver choose how large subgroups are, within
//! what the adapter says, so kernels are made for the largest and let subgroups wait that are too many.
//!
//! Subgroup operations are told, not used: with their size, the order of a sum would be the driver's choice for each shader, and
//! a gain over sums in shared memory could be shown nowhere.
//!
//! Invariant: [`Extras::matrices`] are there only where all that kernels with them need is there, and their subgroups are never
//! larger than it says.

use crate::gpu::launch::Matrices;
use ::wgpu::{Backend, CooperativeMatrixProperties, CooperativeScalarType, Features};
use std::fmt;

/// Threads of an Apple GPU's subgroup. Metal does not say; only Apple's GPUs have its matrices.
const APPLE: [u32; 2] = [32, 32];
/// Threads of a subgroup, at most, that kernels with matrices are made for.
const LARGEST: u32 = 128;

/// What kernels with cooperative matrices need.
pub const FOR_MATRICES: Features = Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(Features::SUBGROUP);
/// What those of f16 need besides: their elements are put together from bits.
pub const FOR_HALVES: Features = Features::SHADER_F16.union(Features::SHADER_I16);

/// What an adapter can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extras {
    /// Whether shaders may compute in f16.
    f16: bool,
    /// Threads of a subgroup, least and most.
    subgroups: Option<[u32; 2]>,
    /// Cooperative matrices that kernels can be made for.
    pub matrices: Option<Matrices>,
}

impl Extras {
    /// Of an adapter.
    pub fn of(adapter: &wgpu::Adapter) -> Extras {
        let (features, info) = (adapter.features(), adapter.get_info());
        let subgroup = match info.backend {
            Backend::Metal if features.contains(FOR_MATRICES) => APPLE,
            Backend::Metal
            | Backend::Noop
            | Backend::Vulkan
            | Backend::Dx12
            | Backend::Gl
            | Backend::BrowserWebGpu => [info.subgroup_min_size, info.subgroup_max_size],
        };
        Extras {
            f16: features.contains(Features::SHADER_F16),
            subgroups: features.contains(Features::SUBGROUP).then_some(subgroup),
            matrices: matrices(features, subgroup, &adapter.cooperative_matrix_properties()),
        }
    }

    /// The features that a device with these matrices has to be opened with.
    pub fn needed(matrices: &Matrices) -> Features {
        if matrices.f16.is_some() { FOR_MATRICES | FOR_HALVES } else { FOR_MATRICES }
    }
}

/// The matrices that kernels can be made for: square ones, of 8 or 16, with sums in f32; the larger where there are two.
fn matrices(features: Features, subgroup: [u32; 2], all: &[CooperativeMatrixProperties]) -> Option<Matrices> {
    let usual = subgroup.iter().all(|n| n.is_power_of_two() && *n <= LARGEST) && subgroup[0] <= subgroup[1];
    if !features.contains(FOR_MATRICES) || !usual {
        return None;
    }
    let of = |ty: CooperativeScalarType| {
        let square = |p: &&CooperativeMatrixProperties| {
            let sizes = [p.m_size, p.n_size, p.k_size];
            [[8; 3], [16; 3]].contains(&sizes) && p.ab_type == ty && p.cr_type == CooperativeScalarType::F32
        };
        all.iter().filter(square).map(|p| p.m_size as usize).max()
    };
    let f16 = of(CooperativeScalarType::F16).filter(|_| features.contains(FOR_HALVES));
    let f32 = of(CooperativeScalarType::F32);
    (f16.is_some() || f32.is_some()).then_some(Matrices { f16, f32, subgroup })
}

impl fmt::Display for Extras {
    /// `f16, subgroups of 32, matrices of f16 (16 x 16)`; nothing where there is nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.f16 {
            parts.push("f16".to_owned());
        }
        if let Some([least, most]) = self.subgroups {
            let size = if least == most { least.to_string() } else { format!("{least} to {most}") };
            parts.push(format!("subgroups of {size}"));
        }
        let sizes = self.matrices.iter().flat_map(|m| [("f16", m.f16), ("f32", m.f32)]);
        let sizes = sizes.filter_map(|(name, size)| size.map(|n| format!("{name} ({n} x {n})")));
        let sizes: Vec<String> = sizes.collect();
        if !sizes.is_empty() {
            parts.push(format!("cooperative matrices of {}", sizes.join(" and ")));
        }
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CooperativeScalarType::{F16, F32, I32};

    fn one(
        sizes: [u32; 3],
        ab_type: CooperativeScalarType,
        cr_type: CooperativeScalarType,
    ) -> CooperativeMatrixProperties {
        let [m_size, n_size, k_size] = sizes;
        CooperativeMatrixProperties {
            m_size,
            n_size,
            k_size,
            ab_type,
            cr_type,
            saturating_accumulation: false,
        }
    }

    #[test]
    fn square_matrices_with_sums_in_f32_are_taken() {
        let nvidia = [
            one([16, 16, 16], F16, F16),
            one([16, 16, 16], F16, F32),
            one([16, 8, 16], F16, F32),
            one([16; 3], I32, I32),
        ];
        let found = matrices(Features::all(), [32, 32], &nvidia);
        assert_eq!(found, Some(Matrices { f16: Some(16), f32: None, subgroup: [32, 32] }));
        let apple = [one([8; 3], F32, F32), one([8; 3], F16, F16), one([8; 3], F16, F32)];
        let both = Some(Matrices { f16: Some(8), f32: Some(8), subgroup: [32, 32] });
        assert_eq!(matrices(Features::all(), [32, 32], &apple), both);
        let without_halves = matrices(Features::all() - Features::SHADER_I16, [32, 32], &apple);
        assert_eq!(without_halves.map(|m| (m.f16, m.f32)), Some((None, Some(8))));
    }

    #[test]
    fn others_are_not() {
        let good = [one([16; 3], F16, F32)];
        assert!(matrices(Features::all(), [32, 64], &good).is_some());
        assert_eq!(
            matrices(Features::all(), [32, 256], &good),
            None,
            "they are larger than any that we know"
        );
        assert_eq!(matrices(Features::all(), [24, 24], &good), None);
        assert_eq!(matrices(Features::all() - Features::SUBGROUP, [32, 32], &good), None);
        assert_eq!(
            matrices(Features::all(), [32, 32], &[one([16; 3], F16, F16), one([8, 16, 16], F16, F32)]),
            None
        );
    }

    #[test]
    fn what_there_is_is_told() {
        let matrices = Some(Matrices { f16: Some(16), f32: None, subgroup: [32, 64] });
        let all = Extras { f16: true, subgroups: Some([32, 64]), matrices };
        assert_eq!(all.to_string(), "f16, subgroups of 32 to 64, cooperative matrices of f16 (16 x 16)");
        assert_eq!(Extras { f16: false, subgroups: None, matrices: None }.to_string(), "");
    }
}
