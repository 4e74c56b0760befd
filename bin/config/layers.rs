//! Laying one source of values over another, and remembering which value came from where.

use super::Config;
use crate::failure::Failure;
use crate::nearest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;
use toml::{Table, Value};

/// A configuration in the making.
#[derive(Clone, Debug)]
pub struct Layers {
    values: Table,
    /// By dotted key, for values that are not defaults.
    origins: BTreeMap<String, String>,
}

impl Layers {
    /// The defaults.
    pub fn defaults() -> Result<Layers, Failure> {
        Layers::of(&Config::default())
    }

    /// The values of an existing configuration, of training or of anything else with values and sections of values.
    pub fn of(config: &impl Serialize) -> Result<Layers, Failure> {
        let values = Table::try_from(config).map_err(|e| Failure::input(format!("configuration: {e}")))?;
        Ok(Layers { values: tidy(values), origins: BTreeMap::new() })
    }

    /// Lays a TOML text over what is there. `origin` says in messages, and in the saved file, where it came from.
    pub fn lay_text(&mut self, text: &str, origin: &str) -> Result<(), Failure> {
        let table: Table = text.parse().map_err(|e: toml::de::Error| {
            Failure::input(format!("{origin}: not valid TOML: {}", e.to_string().trim_end().replace('\n', " ")))
        })?;
        self.lay_table(&table, "", origin)
    }

    /// Lays a TOML file over what is there.
    pub fn lay_file(&mut self, path: &Path) -> Result<(), Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| Failure::reading(path, &e))?;
        self.lay_text(&text, &path.display().to_string())
    }

    fn lay_table(&mut self, table: &Table, prefix: &str, origin: &str) -> Result<(), Failure> {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match value {
                Value::Table(inner) if prefix.is_empty() => self.lay_table(inner, &key, origin)?,
                value => self.lay(&key, value.clone(), origin)?,
            }
        }
        Ok(())
    }

    /// Lays `KEY=VALUE` over what is there. A value that is not TOML by itself is a string.
    pub fn lay_assignment(&mut self, assignment: &str) -> Result<(), Failure> {
        let origin = format!("--set {assignment}");
        let Some((key, text)) = assignment.split_once('=') else {
            return Err(Failure::input(format!("{origin}: expected KEY=VALUE, as in optimizer.lr=0.1")));
        };
        let (key, text) = (key.trim(), text.trim());
        let value = match format!("value = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("value")) {
            Some(value) => value,
            None => Value::String(text.into()),
        };
        self.lay(key, value, &origin)
    }

    /// Lays one value over what is there.
    pub fn lay(&mut self, key: &str, value: Value, origin: &str) -> Result<(), Failure> {
        let slot = match self.slot(key) {
            Some(Value::Table(_)) => {
                return Err(Failure::input(format!(
                    "{origin}: '{key}' is a section, not a value; set one of its fields"
                )));
            }
            Some(slot) => slot,
            None => return Err(self.unknown(key, origin)),
        };
        let value = match (&*slot, value) {
            (Value::Float(_), Value::Integer(n)) => Value::Float(n as f64),
            (_, value) => value,
        };
        if std::mem::discriminant(slot) != std::mem::discriminant(&value) {
            return Err(Failure::input(format!(
                "{origin}: {key} is {} {value}; it must be {} (as {slot})",
                a_kind(&value),
                a_kind(slot)
            )));
        }
        if *slot != value {
            *slot = value;
            self.origins.insert(key.into(), origin.into());
        }
        Ok(())
    }

    /// Puts another text for the same thing in the place of a text, and keeps where it came from.
    pub fn replace(&mut self, key: &str, text: String) {
        if let Some(slot) = self.slot(key) {
            *slot = Value::String(text);
        }
    }

    fn slot(&mut self, key: &str) -> Option<&mut Value> {
        match key.split_once('.') {
            None => self.values.get_mut(key),
            Some((table, field)) => self.values.get_mut(table)?.as_table_mut()?.get_mut(field),
        }
    }

    fn unknown(&self, key: &str, origin: &str) -> Failure {
        let keys = self.keys();
        // A bare field name of some section is the likeliest slip of all.
        let in_section = keys.iter().find(|k| k.split_once('.').is_some_and(|(_, field)| field == key));
        let hint = match in_section {
            Some(found) => format!("; did you mean '{found}'?"),
            None => nearest::hint(key, keys.iter().map(String::as_str)),
        };
        Failure::input(format!("{origin}: unknown key '{key}'{hint}"))
    }

    /// Every dotted key.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = vec![];
        for (name, value) in &self.values {
            match value {
                Value::Table(inner) => keys.extend(inner.keys().map(|field| format!("{name}.{field}"))),
                _ => keys.push(name.clone()),
            }
        }
        keys
    }

    /// The value under a dotted key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match key.split_once('.') {
            None => self.values.get(key),
            Some((table, field)) => self.values.get(table)?.as_table()?.get(field),
        }
    }

    /// The configuration, not yet [checked](Config::check).
    pub fn config(&self) -> Result<Config, Failure> {
        self.read()
    }

    /// The configuration, of the type that [`of`](Layers::of) was given.
    pub fn read<C: DeserializeOwned>(&self) -> Result<C, Failure> {
        self.values.clone().try_into().map_err(|e: toml::de::Error| {
            let message = e.to_string().trim_end().replace('\n', " ");
            let bad = ["optimizer.kind", "schedule.kind"].into_iter().find(|key| {
                self.get(key).and_then(Value::as_str).is_some_and(|value| message.contains(&format!("`{value}`")))
            });
            let origin = bad.and_then(|key| Some(format!("{}: {key}: ", self.origins.get(key)?))).unwrap_or_default();
            Failure::input(format!("{origin}{message}"))
        })
    }

    /// As a TOML file, each value that is not a default followed by where it came from.
    pub fn to_toml(&self) -> String {
        self.to_toml_of("train")
    }

    /// The same, for the subcommand `command`.
    pub fn to_toml_of(&self, command: &str) -> String {
        let mut text = format!("# A resolved configuration; `pleach {command} --config FILE` runs it again.\n");
        let (sections, top): (Vec<_>, Vec<_>) = self.values.iter().partition(|(_, value)| value.is_table());
        for (name, value) in top {
            self.write_line(&mut text, name, name, value);
        }
        for (section, value) in sections {
            text.push_str(&format!("\n[{section}]\n"));
            for (name, value) in value.as_table().into_iter().flatten() {
                self.write_line(&mut text, &format!("{section}.{name}"), name, value);
            }
        }
        text
    }

    fn write_line(&self, text: &mut String, key: &str, name: &str, value: &Value) {
        text.push_str(&format!("{name} = {value}"));
        if let Some(origin) = self.origins.get(key) {
            // A comment ends with its line, whatever a file name holds.
            text.push_str(&format!("  # {}", origin.replace(|c: char| c.is_control(), " ")));
        }
        text.push('\n');
    }
}

/// Numbers as people write them: an `f32` of 0.2 widened to `f64` would read 0.20000000298023224.
fn tidy(values: Table) -> Table {
    values.into_iter().map(|(name, value)| (name, tidy_value(value))).collect()
}

fn tidy_value(value: Value) -> Value {
    match value {
        Value::Float(v) => Value::Float((v as f32).to_string().parse().unwrap_or(v)),
        Value::Array(items) => Value::Array(items.into_iter().map(tidy_value).collect()),
        Value::Table(inner) => Value::Table(tidy(inner)),
        other => other,
    }
}

/// The kind of a value, with its article.
fn a_kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Layers {
        Layers::defaults().expect("the defaults serialise")
    }

    #[test]
    fn later_layers_win_and_are_named() {
        let mut layers = defaults();
        layers.lay_text("model = 'resnet8'\n[training]\nepochs = 3", "preset x").expect("sound");
        layers.lay("training.epochs", Value::Integer(4), "--epochs").expect("sound");
        layers.lay_assignment("optimizer.lr=1").expect("an integer serves as a number");
        let config = layers.config().expect("sound");
        assert_eq!((config.model.as_str(), config.training.epochs, config.optimizer.lr), ("resnet8", 4, 1.0));
        let text = layers.to_toml();
        assert!(text.contains("epochs = 4  # --epochs"), "{text}");
        assert!(text.contains("model = \"resnet8\"  # preset x"), "{text}");
    }

    #[test]
    fn what_was_saved_reads_back_the_same() {
        let mut layers = defaults();
        layers.lay_assignment("optimizer.weight_decay=0.0001").expect("sound");
        layers.lay_assignment("data.source=a \"b\" # c").expect("sound");
        let mut again = defaults();
        again.lay_text(&layers.to_toml(), "config.toml").expect("our own file parses");
        assert_eq!(again.config().expect("sound"), layers.config().expect("sound"));
        assert!(layers.to_toml().contains("weight_decay = 0.0001"));
    }

    #[test]
    fn slips_are_named_with_what_was_meant() {
        let message = |assignment: &str| defaults().lay_assignment(assignment).expect_err("refused").to_string();
        assert!(message("epochs=3").ends_with("unknown key 'epochs'; did you mean 'training.epochs'?"));
        assert!(message("optimizer.lrr=3").contains("did you mean 'optimizer.lr'?"));
        assert!(message("training.epochs=many").contains("must be a whole number"));
        assert!(message("training=3").contains("is a section"));
        assert!(message("epochs").contains("expected KEY=VALUE"));
        let mut layers = defaults();
        layers.lay_assignment("schedule.kind=linear").expect("a text");
        let message = layers.config().expect_err("refused").to_string();
        assert!(message.contains("schedule.kind") && message.contains("one-cycle"), "{message}");
        assert!(
            defaults().lay_text("a = [", "x.toml").expect_err("refused").to_string().starts_with("x.toml: not valid")
        );
    }
}
