//! What is looked at: rows, tensors, the cursor, panels and prompts.

use super::{
    App,
    Effect::{self, Nothing},
    Panel,
};

impl App {
    pub(super) fn scroll_by(&mut self, by: isize) {
        self.scroll.set(self.scroll.get().saturating_add_signed(by));
    }

    pub(super) fn open(&mut self, panel: Panel) {
        self.panel = Some(panel);
        self.scroll.set(0);
    }

    pub(super) fn choose(&mut self, by: isize) {
        if self.panel.is_some() {
            self.scroll_by(by);
        } else if self.prompt.is_some() {
            self.choose_match(by);
        } else {
            self.chosen = self.chosen.saturating_add_signed(by).min(self.rows().len() - 1);
        }
    }

    /// Chooses the row of a tensor.
    pub(super) fn choose_tensor(&mut self, tensor: Option<usize>) {
        let rows = self.rows();
        if let Some(at) = tensor.and_then(|tensor| rows.iter().position(|row| self.tensor_of(row.item) == tensor)) {
            self.chosen = at;
        }
    }

    pub(super) fn enter(&mut self) -> Effect {
        if self.prompt.is_some() {
            return self.accept();
        }
        if self.panel.is_some() {
            self.escape();
        } else {
            self.look = Some(self.item()).filter(|&item| self.values(item).is_some());
            let (item, entry) = (self.item(), self.cursor(self.item()));
            self.cursors.insert(self.tensor_of(item), entry);
        }
        Nothing
    }

    pub(super) fn escape(&mut self) {
        if self.prompt.take().is_some() {
        } else if self.panel.take().is_some() {
            self.scroll.set(0);
            self.waiting.clear();
        } else if !self.waiting.is_empty() {
            self.waiting.clear();
            self.message = "no longer waited for".into();
        } else {
            self.look = None;
        }
    }

    pub(super) fn move_cursor(&mut self, to: impl Fn(&super::Plane, usize) -> usize) {
        let item = self.item();
        let tensor = self.tensor_of(item);
        let entry = to(&self.plane(tensor), self.cursor(item));
        self.cursors.insert(tensor, entry);
    }

    pub(super) fn sibling(&mut self) {
        let item = self.item();
        let entry = self.cursor(item);
        let all = self.siblings(item);
        if let (Some(_), Some(at)) = (self.look, all.iter().position(|&other| other == item)) {
            self.cursors.insert(self.tensor_of(item), entry);
            self.look = Some(all[(at + 1) % all.len()]);
        } else {
            self.message = "Enter looks into the chosen tensor first".into();
        }
    }
}
