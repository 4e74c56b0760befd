//! Numbers in few characters.

use engine::Shape;

/// A number in at most `width` characters (6 or more), with as many digits as fit.
pub fn brief(x: f64, width: usize) -> String {
    if !x.is_finite() {
        return odd(x).into();
    }
    let shortest = (x as f32).to_string();
    if shortest.len() <= width {
        return shortest;
    }
    let size = x.abs();
    let plain = (1e-3..10f64.powi(width as i32 - 1)).contains(&size);
    let decimals = || (0..width).rev();
    let fits = |text: &String| text.len() <= width;
    let fixed = || decimals().map(|d| format!("{x:.d$}")).find(fits);
    let scientific = || decimals().map(|d| format!("{x:.d$e}")).find(fits);
    let text = if plain { fixed().or_else(scientific) } else { scientific() };
    text.unwrap_or_else(|| format!("{x:.0e}"))
}

/// A number to eight digits, about what `f32` holds: two that should agree are compared by eye.
pub fn eight(x: f64) -> String {
    if !x.is_finite() {
        return odd(x).into();
    }
    if (1e-4..1e7).contains(&x.abs()) {
        let decimals = 7 - x.abs().log10().floor() as i32;
        return format!("{x:.0$}", decimals.max(0) as usize);
    }
    if x == 0.0 { "0".into() } else { format!("{x:.7e}") }
}

/// What is not a finite number.
pub fn odd(x: f64) -> &'static str {
    match x {
        x if x.is_nan() => "NaN",
        x if x > 0.0 => "inf",
        _ => "-inf",
    }
}

/// A value of a tensor, every digit it has.
pub fn exact(x: f32) -> String {
    format!("{x:?}")
}

/// A share in percent.
pub fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.0}%", share * 100.0) } else { "?%".into() }
}

/// Extents, as in `2×32×32×16`.
pub fn extents(shape: &Shape) -> String {
    let parts: Vec<String> = shape.iter().map(ToString::to_string).collect();
    if parts.is_empty() { "scalar".into() } else { parts.join("×") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_and_keep_their_digits() {
        for (x, text) in [
            (0.0, "0"),
            (-1.5, "-1.5"),
            (-0.462_117_16, "-0.462"),
            (std::f64::consts::PI, "3.1416"),
            (12_345.678, "12346"),
            (1.234_567e-7, "1.2e-7"),
            (-1.234_567e-12, "-1e-12"),
            (1.234_567e30, "1.2e30"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(brief(x, 6), text);
        }
        for (x, text) in [
            (0.0, "0"),
            (4.061_908_2, "4.0619082"),
            (-0.077_853_478, "-0.077853478"),
            (1.5e-9, "1.5000000e-9"),
            (123_456.5, "123456.50"),
        ] {
            assert_eq!(eight(x), text);
        }
        assert_eq!((percent(0.666), exact(0.1), exact(f32::NAN)), ("67%".into(), "0.1".into(), "NaN".into()));
        assert_eq!(extents(&Shape::from([2, 3])), "2×3");
    }
}
