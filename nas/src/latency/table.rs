//! Measured block latencies in a file that knows where they are from.

use super::error::Error;
use super::machine::Machine;
use super::measure::Timing;
use crate::BlockKey;
use crate::search::Latency;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Of the file.
const FORMAT: u32 = 1;

/// How latencies are measured: together with the machine, what a table holds for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Name of the search space.
    pub space: String,
    /// Images a forward pass.
    pub batch: usize,
    /// Worker threads.
    pub threads: usize,
    /// The machine.
    pub machine: Machine,
}

/// One block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which.
    pub block: BlockKey,
    /// How long its forward pass takes within a network.
    #[serde(flatten)]
    pub timing: Timing,
}

/// An affine map from the sum of the blocks to the latency of the whole: `scale * sum + offset_ms`.
///
/// Fitted on networks that are neither those which filled the table nor those which validate it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// Factor of the sum.
    pub scale: f64,
    /// What is added, in ms.
    pub offset_ms: f64,
    /// Networks it was fitted on.
    pub networks: usize,
}

/// Measured latencies of every block of a space. The latency of a network is the sum of its blocks, corrected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    format: u32,
    /// What it holds for.
    pub setting: Setting,
    /// The blocks, in the order of their keys.
    pub blocks: Vec<Row>,
    /// From sums to whole networks.
    pub correction: Option<Correction>,
}

impl Table {
    /// A table of what was measured.
    pub fn new(setting: Setting, blocks: BTreeMap<BlockKey, Timing>) -> Table {
        let blocks = blocks.into_iter().map(|(block, timing)| Row { block, timing }).collect();
        Table { format: FORMAT, setting, blocks, correction: None }
    }

    /// Latency of a block, in ms; `None` if it was not measured.
    pub fn block_ms(&self, block: &BlockKey) -> Option<f64> {
        let place = self.blocks.binary_search_by(|row| row.block.cmp(block)).ok()?;
        Some(self.blocks[place].timing.ms)
    }

    /// The sum of the latencies of `blocks`, in ms, without the correction; `None` if one was not measured.
    pub fn sum_ms<'a>(&self, blocks: impl IntoIterator<Item = &'a BlockKey>) -> Option<f64> {
        blocks.into_iter().map(|block| self.block_ms(block)).sum()
    }

    /// The latency of a network of these blocks, in ms; `None` if one was not measured.
    pub fn predict_ms<'a>(&self, blocks: impl IntoIterator<Item = &'a BlockKey>) -> Option<f64> {
        Some(self.corrected(self.sum_ms(blocks)?))
    }

    /// The latency of a whole network from the sum of its parts, in ms.
    pub fn corrected(&self, sum_ms: f64) -> f64 {
        self.correction.map_or(sum_ms, |c| c.scale * sum_ms + c.offset_ms)
    }

    /// The table as text.
    ///
    /// # Errors
    /// If a value cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string_pretty(self)
            .map(|text| text + "\n")
            .map_err(|e| Error::Unreadable { path: "the latency table".into(), reason: e.to_string() })
    }

    /// Reads a table, whatever machine and space it is of.
    ///
    /// # Errors
    /// If the file cannot be read, or is no latency table.
    pub fn read(path: &Path) -> Result<Table, Error> {
        let unreadable = |reason: String| Error::Unreadable { path: path.display().to_string(), reason };
        let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
        let table: Table = serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
        if table.format != FORMAT {
            let reason = format!("it has format {}, this pleach reads {FORMAT}", table.format);
            return Err(unreadable(reason));
        }
        if table.blocks.iter().any(|row| !row.timing.ms.is_finite() || row.timing.ms < 0.0) {
            return Err(unreadable("a latency in it is no number of at least 0".into()));
        }
        if table.blocks.windows(2).any(|pair| pair[0].block >= pair[1].block) {
            return Err(unreadable("its blocks are not in rising order, each once".into()));
        }
        Ok(table)
    }

    /// Reads the table at `path`, which must be of `setting` and hold every one of `blocks`.
    ///
    /// # Errors
    /// If it is of another machine, space or setting, or lacks a block: the message says what differs and what to run.
    pub fn open(path: &Path, setting: &Setting, blocks: &[BlockKey]) -> Result<Table, Error> {
        let table = Table::read(path)?;
        let mut differences = vec![];
        if table.setting.space != setting.space {
            differences.push(format!("space is '{}' there and '{}' here", table.setting.space, setting.space));
        }
        differences.extend(table.setting.machine.differences(&setting.machine));
        let numbers = |s: &Setting| [("batch", s.batch), ("threads", s.threads)];
        let pairs = numbers(&table.setting).into_iter().zip(numbers(setting));
        differences.extend(
            pairs.filter(|(a, b)| a != b).map(|((name, a), (_, b))| format!("{name} is {a} there and {b} here")),
        );
        if differences.is_empty()
            && let Some(missing) = blocks.iter().find(|block| table.block_ms(block).is_none())
        {
            differences.push(format!("it has no block {missing}"));
        }
        if differences.is_empty() {
            return Ok(table);
        }
        let Setting { space, batch, threads, .. } = setting;
        let path = path.display().to_string();
        let command = format!("pleach latency --space {space} --batch {batch} --threads {threads} --table {path}");
        Err(Error::Elsewhere { path, differences: differences.join(", "), command })
    }
}

/// For a search: the correction is shared out, its factor to the blocks and its offset to the overhead.
impl Latency for Table {
    fn of(&self, block: &BlockKey) -> Option<f64> {
        Some(self.correction.map_or(1.0, |c| c.scale) * self.block_ms(block)?)
    }

    fn overhead(&self) -> f64 {
        self.correction.map_or(0.0, |c| c.offset_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(op: &str) -> BlockKey {
        let (input, output) = ([8, 8, 4], [8, 8, 4]);
        BlockKey { op: op.into(), input, output, expansion: 1, kernel: 3, stride: 1, skip: false }
    }

    fn setting() -> Setting {
        Setting { space: "a 01".into(), batch: 1, threads: 1, machine: Machine::here() }
    }

    fn table() -> Table {
        let timing = |ms| Timing { ms, samples: 9, ..Timing::default() };
        let blocks = [(key("y"), timing(2.0)), (key("x"), timing(1.0))];
        Table::new(setting(), blocks.into_iter().collect())
    }

    #[test]
    fn predictions_are_corrected_sums() {
        let mut table = table();
        let (x, y) = (key("x"), key("y"));
        assert_eq!(table.predict_ms([&x, &y, &y]), Some(5.0));
        assert_eq!(table.predict_ms([&x, &key("z")]), None);
        table.correction = Some(Correction { scale: 1.5, offset_ms: 0.25, networks: 3 });
        assert_eq!(table.predict_ms([&x, &y]), Some(4.75));
        assert_eq!(table.overhead() + table.of(&x).expect("there") + table.of(&y).expect("there"), 4.75);
    }

    #[test]
    fn opens_for_what_it_was_measured_for_and_for_nothing_else() {
        let folder = std::env::temp_dir().join(format!("pleach-table-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("t.json");
        std::fs::write(&path, table().to_json().expect("JSON")).expect("written");
        let keys = [key("x"), key("y")];
        assert_eq!(Table::open(&path, &setting(), &keys), Ok(table()));
        let refused =
            |setting: &Setting, keys: &[BlockKey]| Table::open(&path, setting, keys).expect_err("refused").to_string();
        let other = Machine { cpu: "an abacus".into(), ..Machine::here() };
        let message = refused(&Setting { machine: other, ..setting() }, &keys);
        assert!(message.contains("and 'an abacus' here") && message.contains("`pleach latency"), "{message}");
        let message = refused(&Setting { batch: 32, threads: 2, ..setting() }, &keys);
        assert!(message.contains("batch is 1 there and 32 here, threads is 1 there and 2 here"), "{message}");
        let message = refused(&Setting { space: "b 02".into(), ..setting() }, &keys);
        assert!(message.contains("space is 'a 01' there and 'b 02' here"), "{message}");
        assert!(refused(&setting(), &[key("z")]).contains("it has no block z 8x8x4"));
        for damage in ["", "{}", "{\"format\": 1"] {
            std::fs::write(&path, damage).expect("written");
            assert!(refused(&setting(), &keys).contains("not a latency table"));
        }
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
