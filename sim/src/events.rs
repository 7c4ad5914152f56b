//! The event log of a run: what happened, in order. Two runs of one seed have the same.
//!
//! In: one line at a time. Out: the lines, if anyone wants them: formatting them costs more than
//! the run itself.

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    Nowhere,
    Kept,
    Printed,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Events {
    sink: Sink,
    lines: Vec<String>,
}

impl Events {
    /// Drops every line.
    pub(crate) fn none() -> Self {
        Events { sink: Sink::Nowhere, lines: Vec::new() }
    }

    /// Keeps every line.
    #[cfg(test)]
    pub(crate) fn kept() -> Self {
        Events { sink: Sink::Kept, lines: Vec::new() }
    }

    /// Prints every line.
    pub(crate) fn printed() -> Self {
        Events { sink: Sink::Printed, lines: Vec::new() }
    }

    /// Adds a line; it is made only if someone wants it.
    pub(crate) fn add(&mut self, line: impl FnOnce() -> String) {
        match self.sink {
            Sink::Nowhere => {}
            Sink::Kept => self.lines.push(line()),
            Sink::Printed => crate::campaign::say(&line()),
        }
    }

    /// The lines that were kept.
    #[cfg(test)]
    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }
}
