//! What a latency table was measured on.

use serde::{Deserialize, Serialize};

/// A machine, as far as speed depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Processor model, as the system names it.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Instruction set that the kernels run on: `avx512`, `avx2`, `neon` or `portable`.
    pub simd: String,
    /// Target architecture and operating system.
    pub platform: String,
    /// Version of pleach: another may have other kernels.
    pub pleach: String,
    /// How it was compiled: a build with debug assertions is slower.
    pub build: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        Machine {
            cpu: cpu_model(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            simd: simd().into(),
            platform: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            pleach: env!("CARGO_PKG_VERSION").into(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
        }
    }

    /// What sets `other` apart, as in `cpu is 'A' there and 'B' here`; empty if nothing does.
    pub fn differences(&self, other: &Machine) -> Vec<String> {
        let fields = |machine: &Machine| {
            [
                ("cpu", machine.cpu.clone()),
                ("cores", machine.cores.to_string()),
                ("simd", machine.simd.clone()),
                ("platform", machine.platform.clone()),
                ("pleach", machine.pleach.clone()),
                ("build", machine.build.clone()),
            ]
        };
        let pairs = fields(self).into_iter().zip(fields(other));
        pairs
            .filter(|((_, a), (_, b))| a != b)
            .map(|((name, a), (_, b))| format!("{name} is '{a}' there and '{b}' here"))
            .collect()
    }
}

/// The processor's name, where the system tells.
fn cpu_model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| Some(line.split_once(':')?.1.trim().to_string())).unwrap_or_else(|| "unknown".into())
}

/// By the width of a vector.
fn simd() -> &'static str {
    use engine::kernels::simd::{Level, lanes};
    match (lanes(Level::Native), cfg!(target_arch = "aarch64")) {
        (16, _) => "avx512",
        (4, true) => "neon",
        (8, false) if cfg!(any(target_arch = "x86", target_arch = "x86_64")) && has_avx2() => "avx2",
        _ => "portable",
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
fn has_avx2() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_told_apart() {
        let here = Machine::here();
        assert!(here.differences(&here).is_empty());
        let there = Machine {
            cpu: "an abacus".into(),
            cores: here.cores + 1,
            simd: "beads".into(),
            platform: "wood".into(),
            pleach: "0.0.0".into(),
            build: "none".into(),
        };
        assert_eq!(there.differences(&here).len(), 6);
        let found = Machine { cpu: "an abacus".into(), ..here.clone() }.differences(&here);
        assert_eq!(found, [format!("cpu is 'an abacus' there and '{}' here", here.cpu)]);
    }
}
