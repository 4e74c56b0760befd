//! The learning rate as a function of the step.

use super::{decimal, setting_error};
use crate::error::Error;
use serde::{Deserialize, Serialize};

/// A shape of the learning rate over a run. Everything is a fraction, of the run or of the base rate, so that a recipe fits a run of
/// any length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// The base rate throughout.
    Constant,
    /// Times `gamma` once each milestone has passed: `torch.optim.lr_scheduler.MultiStepLR`.
    Step {
        /// Fractions of the run, as in `[0.5, 0.75]`.
        milestones: Vec<f32>,
        /// The factor, as in 0.1.
        gamma: f32,
    },
    /// Half a cosine from the base rate to `final_fraction` of it: `CosineAnnealingLR`, stepped after every batch.
    Cosine {
        /// Fraction of the base rate that it ends at.
        final_fraction: f32,
    },
    /// Up from `start_fraction` of the base rate over the first `rise` of the run, then down to `end_fraction`. Starting and ending at 0
    /// it is `min(step / rise, (total - step) / (total - rise))`, steps counted from 1.
    OneCycle {
        /// Fraction of the run in which the rate rises.
        rise: f32,
        /// Fraction of the base rate to start from.
        start_fraction: f32,
        /// Fraction of the base rate to end at.
        end_fraction: f32,
        /// Whether both slopes are half cosines instead of lines.
        cosine: bool,
    },
}

impl Schedule {
    /// The rate of step `step`, counted from 1, of a run of `total_steps`.
    pub fn lr_at(&self, step: u64, total_steps: u64, base_lr: f32) -> f32 {
        let (step, total) = (step as f64, total_steps.max(1) as f64);
        let factor = match self {
            Schedule::Constant => 1.0,
            Schedule::Step { milestones, gamma } => {
                let passed = milestones.iter().filter(|&&m| step > (f64::from(m) * total).round()).count();
                libm::pow(f64::from(*gamma), passed as f64)
            }
            Schedule::Cosine { final_fraction } => {
                between(1.0, f64::from(*final_fraction), half_cosine((step - 1.0) / total))
            }
            Schedule::OneCycle { rise, start_fraction, end_fraction, cosine } => {
                let rise = decimal(*rise) * total;
                let bend = |t: f64| if *cosine { half_cosine(t) } else { t };
                if step <= rise {
                    between(f64::from(*start_fraction), 1.0, bend(step / rise))
                } else {
                    between(f64::from(*end_fraction), 1.0, bend((total - step).max(0.0) / (total - rise)))
                }
            }
        };
        (f64::from(base_lr) * factor) as f32
    }

    /// # Errors
    /// If a fraction lies outside 0..=1 or a factor is not a positive number.
    pub fn check(&self) -> Result<(), Error> {
        let fraction = |setting, value: f32| {
            let rule = "it must be a fraction from 0 to 1";
            if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(setting_error(setting, value, rule)) }
        };
        match self {
            Schedule::Constant => Ok(()),
            Schedule::Step { milestones, gamma } => {
                milestones.iter().try_for_each(|&m| fraction("a milestone of the schedule", m))?;
                let rule = "it must be a number above 0";
                if *gamma > 0.0 && gamma.is_finite() { Ok(()) } else { Err(setting_error("gamma", *gamma, rule)) }
            }
            Schedule::Cosine { final_fraction } => fraction("final_fraction", *final_fraction),
            Schedule::OneCycle { rise, start_fraction, end_fraction, .. } => {
                fraction("rise", *rise)?;
                fraction("start_fraction", *start_fraction)?;
                fraction("end_fraction", *end_fraction)
            }
        }
    }
}

/// A [`Schedule`] behind a linear warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LrSchedule {
    /// The shape.
    pub schedule: Schedule,
    /// Over the first so many steps the rate is also multiplied by `step / warmup_steps`.
    #[serde(default)]
    pub warmup_steps: u64,
}

impl LrSchedule {
    /// The rate of step `step`, counted from 1, of a run of `total_steps`.
    pub fn lr_at(&self, step: u64, total_steps: u64, base_lr: f32) -> f32 {
        let lr = self.schedule.lr_at(step, total_steps, base_lr);
        if step < self.warmup_steps { lr * (step as f64 / self.warmup_steps as f64) as f32 } else { lr }
    }
}

fn between(from: f64, to: f64, t: f64) -> f64 {
    from + (to - from) * t
}

/// 0 to 1 as `t` goes from 0 to 1, flat at both ends.
fn half_cosine(t: f64) -> f64 {
    0.5 * (1.0 - libm::cos(std::f64::consts::PI * t))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(a: f32, b: f64) {
        assert!((f64::from(a) - b).abs() <= 1e-7 * b.abs().max(1e-3), "{a} against {b}");
    }

    #[test]
    fn one_cycle_is_the_recipe_of_the_comparison_runs() {
        let schedule = Schedule::OneCycle { rise: 0.2, start_fraction: 0.0, end_fraction: 0.0, cosine: false };
        let total = 390 * 16;
        let rise = 0.2 * f64::from(total);
        for step in [1, 100, 1247, 1248, 1249, 3000, total - 1, total] {
            let s = f64::from(step);
            let expected = 0.2 * (s / rise).min((f64::from(total) - s) / (f64::from(total) - rise));
            close(schedule.lr_at(step as u64, total as u64, 0.2), expected);
        }
    }

    #[test]
    fn one_cycle_meets_its_fractions() {
        let schedule = Schedule::OneCycle { rise: 0.25, start_fraction: 0.2, end_fraction: 0.1, cosine: true };
        close(schedule.lr_at(25, 100, 1.0), 1.0);
        close(schedule.lr_at(100, 100, 1.0), 0.1);
        // Half-way up, a cosine has risen by half of the way.
        close(schedule.lr_at(50, 400, 1.0), 0.6);
        let only_down = Schedule::OneCycle { rise: 0.0, start_fraction: 0.0, end_fraction: 0.0, cosine: false };
        close(only_down.lr_at(1, 4, 1.0), 0.75);
        let only_up = Schedule::OneCycle { rise: 1.0, start_fraction: 0.0, end_fraction: 0.0, cosine: false };
        close(only_up.lr_at(4, 4, 1.0), 1.0);
    }

    #[test]
    fn steps_fall_after_the_milestone() {
        let schedule = Schedule::Step { milestones: vec![0.5, 0.75], gamma: 0.1 };
        close(schedule.lr_at(50, 100, 0.1), 0.1);
        close(schedule.lr_at(51, 100, 0.1), 0.01);
        close(schedule.lr_at(76, 100, 0.1), 0.001);
    }

    #[test]
    fn cosine_and_warm_up() {
        // torch CosineAnnealingLR(T_max=10): step 6 has seen five updates.
        let schedule = Schedule::Cosine { final_fraction: 0.0 };
        close(schedule.lr_at(1, 10, 0.1), 0.1);
        close(schedule.lr_at(6, 10, 0.1), 0.05);
        let warm = LrSchedule { schedule: Schedule::Constant, warmup_steps: 4 };
        let rates: Vec<f32> = (1..=5).map(|s| warm.lr_at(s, 100, 1.0)).collect();
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0, 1.0]);
    }

    #[test]
    fn impossible_fractions_are_refused() {
        let bad = Schedule::OneCycle { rise: 1.5, start_fraction: 0.0, end_fraction: 0.0, cosine: false };
        let message = bad.check().expect_err("1.5 is no fraction").to_string();
        assert_eq!(message, "rise is 1.5, but it must be a fraction from 0 to 1");
        assert!(Schedule::Step { milestones: vec![0.5], gamma: f32::NAN }.check().is_err());
        assert!(Schedule::Cosine { final_fraction: 0.0 }.check().is_ok());
    }
}
