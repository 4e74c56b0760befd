//! Which values make sense. Every message names the field, the value and the rule.

use super::{Config, ScheduleKind};
use crate::failure::Failure;
use std::fmt::Display;

fn wrong(field: &str, value: impl Display, rule: &str) -> Result<(), Failure> {
    Err(Failure::input(format!("{field} is {value}; it must be {rule}")))
}

fn positive(field: &str, value: f32) -> Result<(), Failure> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { wrong(field, value, "a finite number above 0") }
}

fn not_negative(field: &str, value: f32) -> Result<(), Failure> {
    if value.is_finite() && value >= 0.0 { Ok(()) } else { wrong(field, value, "a finite number, 0 or more") }
}

fn below_1(field: &str, value: f32) -> Result<(), Failure> {
    if (0.0..1.0).contains(&value) { Ok(()) } else { wrong(field, value, "at least 0 and below 1") }
}

fn fraction(field: &str, value: f32) -> Result<(), Failure> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { wrong(field, value, "between 0 and 1") }
}

fn at_least_1(field: &str, value: usize) -> Result<(), Failure> {
    if value >= 1 { Ok(()) } else { wrong(field, value, "1 or more") }
}

pub fn check(config: &Config) -> Result<(), Failure> {
    if config.model.is_empty() {
        return Err(Failure::input("model is empty; `pleach models` lists the names"));
    }
    if config.data.source.is_empty() {
        return Err(Failure::input(
            "data.source is empty: this recipe does not say which images; add --data DIR (a folder with the binary \
             files of CIFAR-10 or CIFAR-100, or with one folder of images a class) or --data builtin",
        ));
    }
    if i64::try_from(config.seed).is_err() {
        return wrong("seed", config.seed, "at most 9223372036854775807, the largest integer of TOML");
    }
    if config.threads > 1024 {
        return wrong("threads", config.threads, "at most 1024 (0 takes one for each core)");
    }
    let t = &config.training;
    at_least_1("training.epochs", t.epochs)?;
    if t.epochs > 1_000_000 {
        return wrong("training.epochs", t.epochs, "at most 1000000");
    }
    at_least_1("training.batch", t.batch)?;
    at_least_1("training.eval_every", t.eval_every)?;
    below_1("training.label_smoothing", t.label_smoothing)?;
    not_negative("training.clip", t.clip)?;
    if !(t.checkpoint_minutes.is_finite() && t.checkpoint_minutes >= 0.0) {
        return wrong("training.checkpoint_minutes", t.checkpoint_minutes, "a finite number, 0 or more");
    }

    let o = &config.optimizer;
    positive("optimizer.lr", o.lr)?;
    below_1("optimizer.momentum", o.momentum)?;
    not_negative("optimizer.weight_decay", o.weight_decay)?;
    below_1("optimizer.beta1", o.beta1)?;
    below_1("optimizer.beta2", o.beta2)?;
    positive("optimizer.eps", o.eps)?;
    if o.nesterov && o.momentum == 0.0 && o.kind == super::OptimizerKind::Sgd {
        return Err(Failure::input(
            "optimizer.nesterov is true with optimizer.momentum 0; give a momentum or --set optimizer.nesterov=false",
        ));
    }

    let s = &config.schedule;
    positive("schedule.gamma", s.gamma)?;
    for &milestone in &s.milestones {
        fraction("schedule.milestones", milestone)?;
    }
    if s.milestones.windows(2).any(|pair| pair[0] > pair[1]) {
        return wrong("schedule.milestones", format!("{:?}", s.milestones), "in rising order");
    }
    fraction("schedule.final_fraction", s.final_fraction)?;
    fraction("schedule.start_fraction", s.start_fraction)?;
    fraction("schedule.end_fraction", s.end_fraction)?;
    if s.kind == ScheduleKind::OneCycle && !(s.rise > 0.0 && s.rise < 1.0) {
        return wrong("schedule.rise", s.rise, "above 0 and below 1");
    }

    let a = &config.augmentation;
    not_negative("augmentation.mixup", a.mixup)?;
    for (field, value) in [("augmentation.pad_crop", a.pad_crop), ("augmentation.cutout", a.cutout)] {
        if value > 1024 {
            return wrong(field, value, "at most 1024 pixels");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_value_is_named_with_its_rule() {
        let message = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            check(&config).expect_err("the value is refused").to_string()
        };
        assert_eq!(message(|c| c.optimizer.lr = f32::NAN), "optimizer.lr is NaN; it must be a finite number above 0");
        assert_eq!(message(|c| c.training.epochs = 0), "training.epochs is 0; it must be 1 or more");
        assert_eq!(
            message(|c| c.training.label_smoothing = 1.0),
            "training.label_smoothing is 1; it must be at least 0 and below 1"
        );
        assert!(message(|c| c.schedule.milestones = vec![0.7, 0.2]).contains("in rising order"));
        assert!(message(|c| c.data.source = String::new()).contains("--data DIR"));
        assert!(message(|c| c.seed = u64::MAX).contains("TOML"));
        assert!(message(|c| c.optimizer.momentum = 0.0).contains("nesterov"));
        check(&Config::default()).expect("the defaults are sound");
    }
}
