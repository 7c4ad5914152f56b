//! The event log of a run: what happened, in order. Two runs of one seed have the same.
//!
//! In: one line at a time. Out: the lines, if anyone wants them: formatting them costs more than
//! the run itself.

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    Nowhere,
    #[cfg(test)]
    Kept,
    Printed,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Events {
    sink: Sink,
    #[cfg(test)]
    lines: Vec<String>,
}

impl Events {
    /// Drops every line.
    pub(crate) fn none() -> Self {
        Self::to(Sink::Nowhere)
    }

    /// Keeps every line.
    #[cfg(test)]
    pub(crate) fn kept() -> Self {
        Self::to(Sink::Kept)
    }

    /// Prints every line.
    pub(crate) fn printed() -> Self {
        Self::to(Sink::Printed)
    }

    fn to(sink: Sink) -> Self {
        Events {
            sink,
            #[cfg(test)]
            lines: Vec::new(),
        }
    }

    /// Adds a line; it is made only if someone wants it.
    pub(crate) fn add(&mut self, line: impl FnOnce() -> String) {
        match self.sink {
            Sink::Nowhere => {}
            #[cfg(test)]
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
