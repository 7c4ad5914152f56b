//! What a command prints: text as mqadmin writes it, or JSON, one value a line.
//!
//! Much of it was written by others: bodies, tags, keys, names, remarks. A terminal obeys control characters, so
//! none is printed as it is, wherever the output goes: text has `\u{1b}` for ESC, and in the cells of tables
//! and the fields of messages also `\n` for a line's end. Only what may have lines (bodies, remarks, stacks)
//! keeps its tabs and lines. JSON escapes by itself, and here what it need not, too.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, BufWriter, Write};

use serde::Serialize;
use serde_json::{Map, Value};

/// A text in one line: every control character is written out.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, char::is_control)
}

/// A text that may have several lines: every control character but tabs and ends of lines is written out.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c.is_control() && !matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_bad) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match is_bad(char) {
            true => line.extend(char.escape_default()),
            false => line.push(char),
        }
    }
    line.into()
}

/// Escapes what JSON may hold as it is and a terminal obeys: DEL, and the second set of control characters.
fn plain_json(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() {
            true => _ = write!(line, "\\u{:04x}", u32::from(char)),
            false => line.push(char),
        }
    }
    line
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// As it stands in the first line.
    pub title: &'static str,
    /// As JSON calls it.
    pub name: &'static str,
    pub width: usize,
    right: bool,
    /// Blanks behind it.
    gap: usize,
}

impl Column {
    /// Left-aligned, two blanks behind it.
    pub const fn left(title: &'static str, name: &'static str, width: usize) -> Column {
        Column { title, name, width, right: false, gap: 2 }
    }

    /// Right-aligned, one blank behind it.
    pub const fn right(title: &'static str, name: &'static str, width: usize) -> Column {
        Column { title, name, width, right: true, gap: 1 }
    }

    /// With so many blanks behind it.
    pub const fn gap(self, gap: usize) -> Column {
        Column { gap, ..self }
    }

    fn put(&self, text: &str, line: &mut String) {
        let (text, width, gap) = (one_line(text), self.width, self.gap);
        let _ = match self.right {
            true => write!(line, "{text:>width$}{:gap$}", ""),
            false => write!(line, "{text:<width$}{:gap$}", ""),
        };
    }
}

/// A value in a table: JSON, and how text shows it.
#[derive(Debug, Clone)]
pub struct Cell {
    value: Value,
    text: String,
}

impl Cell {
    /// A value that text shows in another way than JSON.
    pub fn shown(value: impl Into<Value>, text: impl Into<String>) -> Cell {
        Cell { value: value.into(), text: text.into() }
    }

    /// A number with so many digits behind the point.
    pub fn float(value: f64, digits: usize) -> Cell {
        Cell::shown(value, format!("{value:.digits$}"))
    }

    /// A text, cut where it is longer than `max` characters.
    pub fn cut(text: &str, max: usize) -> Cell {
        Cell::shown(text, text.chars().take(max).collect::<String>())
    }
}

impl<T: Into<Value>> From<T> for Cell {
    fn from(value: T) -> Cell {
        let value = value.into();
        let text = match &value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        Cell { value, text }
    }
}

/// See the module's documentation.
pub struct Out {
    json: bool,
    to: Box<dyn Write>,
    /// Nobody reads any more.
    closed: bool,
}

impl Out {
    /// To standard output.
    pub fn new(json: bool) -> Out {
        Out { json, to: Box::new(BufWriter::new(io::stdout())), closed: false }
    }

    /// Whether JSON is wanted.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Nobody reads any more: a command that goes on for ever may end.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn put(&mut self, text: &str) {
        if self.closed {
            return;
        }
        // A reader that has had enough is no failure.
        self.closed = writeln!(self.to, "{text}").is_err();
    }

    /// A line of text; JSON has none of it.
    pub fn line(&mut self, text: impl Display) {
        if !self.json {
            self.put(&lines(&text.to_string()));
        }
    }

    /// A value; text has none of it.
    pub fn value(&mut self, value: impl Serialize) {
        if self.json {
            let text = serde_json::to_string(&value).unwrap_or_default();
            self.put(&plain_json(&text));
        }
    }

    /// A line of text, or a value.
    pub fn say(&mut self, text: impl Display, value: Value) {
        self.line(text);
        self.value(value);
    }

    /// That something is done: one line if all have done it, else one for each that has.
    pub fn done(&mut self, text: &str, by: &[impl Display], result: &anyhow::Result<()>) {
        match result {
            Ok(()) => self.line(text),
            Err(_) => by.iter().for_each(|who| self.line(format!("{who}: {text}"))),
        }
    }

    /// The first line of a table, for one whose rows come later.
    pub fn head(&mut self, columns: &[Column]) {
        if !self.json {
            let mut line = String::new();
            columns.iter().for_each(|column| column.put(column.title, &mut line));
            self.put(line.trim_end());
        }
    }

    /// A row; in JSON an object of its own.
    pub fn row(&mut self, columns: &[Column], row: &[Cell]) {
        if self.json {
            self.value(object(columns, row));
        } else {
            let mut line = String::new();
            columns.iter().zip(row).for_each(|(column, cell)| column.put(&cell.text, &mut line));
            self.put(line.trim_end());
        }
    }

    /// A whole table; in JSON one list.
    pub fn table(&mut self, columns: &[Column], rows: &[Vec<Cell>]) {
        if self.json {
            self.value(list(columns, rows));
        } else {
            self.head(columns);
            rows.iter().for_each(|row| self.row(columns, row));
        }
    }

    /// Writes what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        match self.to.flush() {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other,
        }
    }
}

/// A row as JSON knows it.
pub fn object(columns: &[Column], row: &[Cell]) -> Value {
    let fields = columns.iter().zip(row);
    let fields = fields.map(|(column, cell)| (column.name.to_owned(), cell.value.clone()));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Rows as JSON knows them.
pub fn list(columns: &[Column], rows: &[Vec<Cell>]) -> Value {
    Value::Array(rows.iter().map(|row| object(columns, row)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_is_left_to_a_terminal() {
        let bad = "a\tb\nc\r\u{1b}[2J\u{7}\u{7f}\u{9b}ä";
        assert_eq!(one_line(bad), r"a\tb\nc\r\u{1b}[2J\u{7}\u{7f}\u{9b}ä");
        assert_eq!(lines(bad), "a\tb\nc\\r\\u{1b}[2J\\u{7}\\u{7f}\\u{9b}ä");
        let json = plain_json(&serde_json::to_string(bad).unwrap());
        assert!(!json.contains(char::is_control), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), bad);
    }
}
