//! Passes over slices that the compiler vectorises by itself once it may use wide registers.

use pulp::{Arch, Simd, WithSimd};

/// `y[i] += x[i]`. Panics if the lengths differ.
pub fn add_assign(y: &mut [f32], x: &[f32]) {
    assert_eq!(x.len(), y.len(), "add_assign: x and y differ in length");
    dispatch(|| y.iter_mut().zip(x).for_each(|(y, x)| *y += x));
}

/// Runs a loop compiled for the widest instruction set of this machine.
#[inline(always)]
pub fn dispatch<T>(f: impl FnOnce() -> T) -> T {
    struct Wide<F>(F);
    impl<T, F: FnOnce() -> T> WithSimd for Wide<F> {
        type Output = T;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _simd: S) -> T {
            (self.0)()
        }
    }
    Arch::new().dispatch(Wide(f))
}
