/// The product of `factors`, exactly, in decimal. Each factor is below 2^32.
pub(super) fn product(factors: impl Iterator<Item = usize>) -> String {
    const BASE: u64 = 1_000_000_000;
    let mut limbs = vec![1u64]; // least significant first, nine digits each
    for factor in factors {
        let mut carry = 0;
        for limb in &mut limbs {
            let value = *limb * factor as u64 + carry;
            (*limb, carry) = (value % BASE, value / BASE);
        }
        while carry > 0 {
            limbs.push(carry % BASE);
            carry /= BASE;
        }
    }
    let (first, rest) = limbs.split_last().expect("at least one limb");
    rest.iter().rev().fold(first.to_string(), |text, limb| format!("{text}{limb:09}"))
}

#[cfg(test)]
mod tests {
    use super::product;

    #[test]
    fn products_are_exact() {
        assert_eq!(product([].into_iter()), "1");
        assert_eq!(product([5; 6].into_iter()), "15625");
        let expected = 7u128.pow(30) * 6u128.pow(14);
        assert_eq!(product([vec![7; 30], vec![6; 14]].concat().into_iter()), expected.to_string());
        assert_eq!(product([10; 40].into_iter()), format!("1{}", "0".repeat(40)));
    }
}
