//! Signs that a search has found nothing.

use nas::search::Alphas;
use nas::{Arch, Op};

/// A policy whose entropy is above this share of that of uniform choices has hardly decided anything.
const UNDECIDED: f64 = 0.9;

/// What is wrong with `arch` and the policy that it is the most probable network of; empty if nothing is.
pub fn alarms(arch: &Arch, alphas: &Alphas) -> Vec<String> {
    let mut found = of_choices(arch);
    let open: Vec<f64> = alphas.candidates().into_iter().filter(|&k| k > 1).map(|k| (k as f64).ln()).collect();
    let uniform = open.iter().sum::<f64>() / alphas.edges().max(1) as f64;
    if !open.is_empty() && alphas.entropy() > UNDECIDED * uniform {
        found.push(format!(
            "the entropy did not fall: {:.3} nats an edge, of {uniform:.3} where all is equally probable; the choices are close to \
             random: search for more epochs, or with a higher --alpha-lr",
            alphas.entropy()
        ));
    }
    found
}

/// What is wrong with the choices.
fn of_choices(arch: &Arch) -> Vec<String> {
    let space = arch.space();
    let edges = space.edges();
    // An edge that has no choice says nothing.
    let open: Vec<(&Op, &Vec<Op>)> =
        arch.choices().iter().zip(edges.iter().map(|e| &e.candidates)).filter(|(_, c)| c.len() > 1).collect();
    let is_free = |op: &Op| matches!(op, Op::Zero | Op::Skip);
    let can_be_free: Vec<&Op> = open.iter().filter(|(_, c)| c.iter().any(is_free)).map(|(op, _)| *op).collect();
    let mut found = vec![];
    if can_be_free.len() > 1 && can_be_free.iter().all(|op| is_free(op)) {
        found.push(format!(
            "collapse: all {} edges that can be {} are; nothing is learned there",
            can_be_free.len(),
            if can_be_free.iter().all(|op| **op == Op::Zero) { "zero" } else { "skipped" }
        ));
    }
    let first = open.first().map(|(op, _)| *op);
    if let Some(op) = first
        && open.len() > 2
        && open.iter().all(|(other, _)| *other == op)
        && !is_free(op)
    {
        found.push(format!(
            "one operation everywhere: all {} choices are {op}; the search may have followed what trains fastest",
            open.len()
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use nas::Space;

    fn arch(choose: impl Fn(&[Op]) -> Op) -> Arch {
        let space = Space::named("mbconv-small").expect("built in");
        let choices = space.edges().iter().map(|edge| choose(&edge.candidates)).collect();
        Arch::new(&space, choices).expect("candidates")
    }

    #[test]
    fn every_kind_of_collapse_is_named_and_a_mixture_is_none() {
        let zeros = arch(|c| if c.contains(&Op::Zero) { Op::Zero } else { c[0].clone() });
        assert!(of_choices(&zeros)[0].contains("all 6 edges that can be zero are"));
        let same = arch(|c| c[0].clone());
        assert!(of_choices(&same)[0].contains("all 9 choices are mb3x3e6"));
        let space = Space::named("mbconv-small").expect("built in");
        assert_eq!(of_choices(&space.random(0, 1)), Vec::<String>::new());
        let sizes: Vec<usize> = space.edges().iter().map(|edge| edge.candidates.len()).collect();
        let mut alphas = Alphas::new(&sizes, 0);
        assert!(alarms(&space.random(0, 1), &alphas)[0].contains("the entropy did not fall"));
        for (edge, &k) in sizes.iter().enumerate() {
            let mut values = vec![0.0; k];
            values[0] = 4.0;
            alphas.set(edge, &values);
        }
        assert_eq!(alarms(&space.random(0, 1), &alphas), Vec::<String>::new());
    }
}
