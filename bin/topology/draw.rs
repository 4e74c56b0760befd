//! A wiring in the terminal.

use nn::aggregation::Wiring;

/// Of a line of the terminal.
const COLUMNS: usize = 100;

/// Whether `path` takes the link.
pub fn takes(path: &[usize], from: usize, to: usize) -> bool {
    path.windows(2).any(|step| step == [to, from])
}

/// The stage as a chain, with each link that skips layers as a bracket under it; links that do not overlap share a line. Those that
/// `path` takes are drawn double. Nothing if it would not fit.
pub fn arcs(wiring: &Wiring, path: &[usize]) -> Vec<String> {
    const CELL: usize = 4;
    if (wiring.exit() + 1) * CELL > COLUMNS {
        return vec![];
    }
    let mut chain = String::new();
    for index in 0..=wiring.exit() {
        let name = if index == wiring.exit() { "out".into() } else { index.to_string() };
        let linked = index > 0 && wiring.sources(index).contains(&(index - 1));
        let stroke = match (linked, index > 0 && takes(path, index - 1, index)) {
            (_, true) => '═',
            (true, _) => '─',
            _ => ' ',
        };
        let fill = if index == 0 { ' ' } else { stroke };
        let width = if index == 0 { 2 } else { CELL };
        let used = name.chars().count().min(width);
        chain.extend(std::iter::repeat_n(fill, width - used));
        chain.push_str(&name);
    }
    let mut links: Vec<(usize, usize)> = (1..=wiring.exit())
        .flat_map(|to| wiring.sources(to).iter().map(move |&from| (from, to)))
        .filter(|&(from, to)| to - from > 1)
        .collect();
    links.sort_by_key(|&(from, to)| (to - from, from));
    let mut rows: Vec<Vec<(usize, usize)>> = vec![];
    for (from, to) in links {
        let free = |row: &&mut Vec<(usize, usize)>| row.iter().all(|&(a, b)| b < from || to < a);
        match rows.iter_mut().find(free) {
            Some(row) => row.push((from, to)),
            None => rows.push(vec![(from, to)]),
        }
    }
    let mut lines = vec![String::new(), "wiring".into(), chain];
    lines.extend(rows.into_iter().map(|row| {
        let mut line = vec![' '; (wiring.exit() + 1) * CELL];
        for (from, to) in row {
            let corners = if takes(path, from, to) { ['╚', '═', '╝'] } else { ['╰', '─', '╯'] };
            let (first, last) = (from * CELL + 1, to * CELL + 1);
            line[first..=last].fill(corners[1]);
            line[first] = corners[0];
            line[last] = corners[2];
        }
        line.into_iter().collect::<String>().trim_end().to_string()
    }));
    lines
}

/// The exploded view: a line for each layer, a column for each output that it could read, a dot where it does. Those that `path`
/// takes are marked. Nothing if it would not fit.
pub fn exploded(wiring: &Wiring, path: &[usize]) -> Vec<String> {
    const CELL: usize = 3;
    const NAME: usize = 6;
    if NAME + (wiring.exit() + 1) * CELL > COLUMNS + 20 {
        return vec![String::new(), "(too wide to draw here; --svg draws it)".into()];
    }
    let mut lines = vec![String::new(), "exploded: which outputs each layer gathers".into()];
    lines.push((0..wiring.exit()).fold(" ".repeat(NAME), |line, index| format!("{line}{index:>CELL$}")));
    for layer in 1..=wiring.exit() {
        let name = if layer == wiring.exit() { "out".into() } else { layer.to_string() };
        let cells = (0..layer).map(|source| match wiring.sources(layer).contains(&source) {
            true if takes(path, source, layer) => "  ◆",
            true => "  ●",
            false => "  ·",
        });
        lines.push(format!("{name:>5} {}", cells.collect::<String>()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use nn::aggregation::Gather;

    #[test]
    fn small_stages_are_drawn() {
        let wiring = Wiring::new(&Gather::Base(2), 4).unwrap_or_else(|e| panic!("{e}"));
        let path = wiring.path(5, 0).expect("connected");
        let chain = [
            " 0═══1───2───3───4─out",
            " ╰───────╯   ╰───────╯",
            "     ╰───────╯",
            "         ╰───────╯",
            " ╰───────────────╯",
            "     ╚═══════════════╝",
        ];
        assert_eq!(arcs(&wiring, &path)[2..], chain);
        let rows = [
            "        0  1  2  3  4",
            "    1   ◆",
            "    2   ●  ●",
            "    3   ·  ●  ●",
            "    4   ●  ·  ●  ●",
            "  out   ·  ◆  ·  ●  ●",
        ];
        assert_eq!(exploded(&wiring, &path)[2..], rows);
    }

    #[test]
    fn large_ones_are_left_to_files() {
        let wiring = Wiring::new(&Gather::All, 100).unwrap_or_else(|e| panic!("{e}"));
        assert!(arcs(&wiring, &[]).is_empty());
        assert!(exploded(&wiring, &[])[1].contains("--svg"));
    }
}
