//! What was measured, next to what is wanted.

use std::io::{self, Write};

/// The measures of a run, in their order.
#[derive(Default)]
pub struct Table(Vec<Row>);

struct Row {
    what: String,
    value: String,
    target: String,
    /// None where nothing is wanted of it.
    met: Option<bool>,
}

impl Table {
    /// Something that is wanted to be at most `most`.
    pub fn wanted(&mut self, what: impl Into<String>, value: f64, most: f64, unit: &str) {
        let (what, target) = (what.into(), format!("≤ {}{unit}", number(most)));
        self.add(Row { what, value: format!("{}{unit}", number(value)), target, met: Some(value <= most) });
    }

    /// Something that is told and not judged.
    pub fn told(&mut self, what: impl Into<String>, value: impl Into<String>) {
        self.add(Row { what: what.into(), value: value.into(), target: String::new(), met: None });
    }

    /// Said at once as well: a run takes minutes, and may be ended before its table.
    fn add(&mut self, row: Row) {
        line(&row.text());
        self.0.push(row);
    }

    /// The whole table, in Markdown.
    pub fn print(&self) {
        line("\n| measure | value | target | met |\n|---|---|---|---|");
        for row in &self.0 {
            let met = row.met.map_or("", |met| if met { "yes" } else { "**no**" });
            line(&format!("| {} | {} | {} | {met} |", row.what, row.value, row.target));
        }
    }
}

impl Row {
    fn text(&self) -> String {
        let target =
            if self.met == Some(false) { format!(", wanted: {}", self.target) } else { String::new() };
        format!("  {}: {}{target}", self.what, self.value)
    }
}

/// Print a line. A reader that is gone is no reason to stop.
pub fn line(text: &str) {
    writeln!(io::stdout().lock(), "{text}").ok();
}

fn number(value: f64) -> String {
    let digits = match value {
        value if value.fract() == 0.0 || value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}
