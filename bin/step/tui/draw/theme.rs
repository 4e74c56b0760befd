//! Colours: as many as the terminal has.

use super::super::state::Scale;
use ratatui::style::{Color, Modifier, Style};

/// How many colours there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// None, or none are wanted.
    None,
    /// 256.
    Indexed,
    /// 16 million.
    True,
}

/// Decades that the logarithmic scale shows below the largest value.
const DECADES: f64 = 4.0;

/// Colours at -1, -1/2, 0, 1/2, 1: those of the page. Blue and orange differ in every common kind of colour blindness.
const STOPS: [[f64; 3]; 5] =
    [[150.0, 205.0, 255.0], [56.0, 118.0, 186.0], [30.0, 34.0, 40.0], [190.0, 102.0, 36.0], [255.0, 196.0, 128.0]];

impl Depth {
    /// By the environment: `NO_COLOR` (<https://no-color.org>), `COLORTERM`, `TERM`.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Depth {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let term = set("TERM").unwrap_or_default();
        if set("NO_COLOR").is_some() || term.starts_with("vt") || term == "dumb" {
            return Depth::None;
        }
        match set("COLORTERM").as_deref() {
            Some("truecolor" | "24bit") => Depth::True,
            _ => Depth::Indexed,
        }
    }
}

/// A value on the scale of colours, -1 to 1.
pub fn on_scale(x: f64, reach: f64, scale: Scale) -> f64 {
    if reach <= 0.0 {
        return 0.0;
    }
    if scale != Scale::Log {
        return (x / reach).clamp(-1.0, 1.0);
    }
    let floor = reach / 10f64.powf(DECADES);
    if x.abs() <= floor { 0.0 } else { x.signum() * ((x.abs() / floor).log10() / DECADES).min(1.0) }
}

fn shade(t: f64) -> [u8; 3] {
    let at = (t + 1.0) * 2.0;
    let i = (at as usize).min(3);
    let mix = |k: usize| STOPS[i][k] + (STOPS[i + 1][k] - STOPS[i][k]) * (at - i as f64);
    [0, 1, 2].map(|k| mix(k).round() as u8)
}

/// The nearest of the 6x6x6 cube and the greys.
fn indexed(rgb: [u8; 3]) -> u8 {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let distance = |a: [u8; 3]| a.iter().zip(rgb).map(|(a, b)| i32::from(a.abs_diff(b)).pow(2)).sum::<i32>();
    let level = |v: u8| (0..6).min_by_key(|&i| LEVELS[i].abs_diff(v)).unwrap_or(0);
    let at = rgb.map(level);
    let cube = (distance(at.map(|i| LEVELS[i])), 16 + 36 * at[0] as u8 + 6 * at[1] as u8 + at[2] as u8);
    let greys = (0..24u8).map(|i| (distance([8 + 10 * i; 3]), 232 + i));
    greys.fold(cube, |best, grey| if grey.0 < best.0 { grey } else { best }).1
}

/// The styles of everything.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// Colours there are.
    pub depth: Depth,
}

impl Theme {
    fn foreground(self, colour: Color) -> Style {
        if self.depth == Depth::None { Style::new() } else { Style::new().fg(colour) }
    }

    /// Less important.
    pub fn dim(self) -> Style {
        self.foreground(Color::Indexed(246))
    }

    /// A name to find.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// A pass: orange forward, blue back.
    pub fn pass(self, forward: bool) -> Style {
        self.foreground(Color::Indexed(if forward { 214 } else { 75 })).add_modifier(Modifier::BOLD)
    }

    /// What is chosen.
    pub fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What is to be noticed.
    pub fn notice(self) -> Style {
        self.foreground(Color::Indexed(214)).add_modifier(Modifier::BOLD)
    }

    /// What went well.
    pub fn good(self) -> Style {
        self.foreground(Color::Indexed(75)).add_modifier(Modifier::BOLD)
    }

    /// What did not, and numbers that are not finite.
    pub fn bad(self) -> Style {
        self.foreground(Color::Indexed(207)).add_modifier(Modifier::BOLD)
    }

    /// The colour of a value on the scale; none without colours.
    pub fn value(self, t: f64) -> Option<Color> {
        let rgb = shade(t);
        match self.depth {
            Depth::None => None,
            Depth::Indexed => Some(Color::Indexed(indexed(rgb))),
            Depth::True => Some(Color::Rgb(rgb[0], rgb[1], rgb[2])),
        }
    }

    /// Digits on the colour of their value.
    pub fn cell(self, t: f64) -> Style {
        let Some(colour) = self.value(t) else { return Style::new() };
        let linear = shade(t).map(|v| {
            let v = f64::from(v) / 255.0;
            if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        });
        let luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        Style::new().bg(colour).fg(Color::Indexed(if luminance > 0.18 { 16 } else { 231 }))
    }

    /// A value that is not finite.
    pub fn odd_cell(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.depth == Depth::None { style } else { style.bg(Color::Indexed(54)).fg(Color::Indexed(231)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_how_many_colours() {
        let with = |pairs: &'static [(&str, &str)]| {
            Depth::of(move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string()))
        };
        assert_eq!(with(&[("TERM", "xterm-256color")]), Depth::Indexed);
        assert_eq!(with(&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")]), Depth::True);
        assert_eq!(with(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor")]), Depth::None);
        assert_eq!(with(&[("NO_COLOR", ""), ("COLORTERM", "24bit")]), Depth::True, "an empty NO_COLOR is none");
        assert_eq!(with(&[("TERM", "vt100")]), Depth::None);
    }

    #[test]
    fn the_scale_is_symmetric_and_its_ends_are_blue_and_orange() {
        assert_eq!((shade(-1.0), shade(0.0), shade(1.0)), ([150, 205, 255], [30, 34, 40], [255, 196, 128]));
        assert_eq!(indexed([255, 255, 255]), 231);
        assert_eq!(indexed([95, 135, 175]), 67);
        for scale in [Scale::Linear, Scale::Log] {
            assert_eq!(on_scale(-2.0, 2.0, scale), -1.0);
            assert_eq!(on_scale(0.0, 2.0, scale), 0.0);
            assert_eq!(on_scale(1.0, 2.0, scale), -on_scale(-1.0, 2.0, scale));
        }
        assert!((on_scale(0.02, 2.0, Scale::Log) - 0.5).abs() < 1e-12, "two of four decades");
        assert_eq!(on_scale(1.0, 0.0, Scale::Linear), 0.0);
    }
}
