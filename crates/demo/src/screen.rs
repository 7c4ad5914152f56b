//! The demo on standard output: a block that is redrawn in place on a terminal, plain lines elsewhere,
//! nothing with `--json`.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::block::{self, Line, Style};
use crate::live::{Snapshot, Told};
use crate::report::{Figures, Millis, Row, number};
use crate::stage::Stage;

/// A terminal with fewer rows gets plain lines: the block must not scroll.
const ROWS_MIN: u16 = 16;
/// A terminal with fewer columns, too.
const COLUMNS_MIN: u16 = 40;
/// Where a terminal does not say how wide it is.
const COLUMNS_USUAL: usize = 80;

const CURSOR_HIDE: &str = "\x1b[?25l";
const CURSOR_SHOW: &str = "\x1b[?25h";
/// A terminal that knows these draws what is between them at once; others do not mind.
const FRAME_BEGIN: &str = "\x1b[?2026h";
const FRAME_END: &str = "\x1b[?2026l";

/// See the module's documentation.
#[derive(Debug)]
pub(crate) enum Screen {
    Silent,
    Plain { every: Duration, last: Option<Instant> },
    Terminal(Terminal),
}

/// A block that stands at the bottom of what was printed.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Widths of the lines of the block that is there.
    block: Vec<usize>,
    utf8: bool,
    hidden: bool,
}

impl Screen {
    pub(crate) fn new(silent: bool, every: Duration) -> Screen {
        if silent {
            Screen::Silent
        } else if can_redraw() {
            Screen::Terminal(Terminal { block: Vec::new(), utf8: speaks_utf8(), hidden: false })
        } else {
            Screen::Plain { every, last: None }
        }
    }

    /// Says what this is.
    pub(crate) fn open(&mut self, broker: &str, page: Option<&str>) -> io::Result<()> {
        self.note("An order system on a message queue, in three acts.")?;
        self.note(&format!(
            "A broker runs in this process, at {broker}; its data goes at the end."
        ))?;
        self.note("  shop -> topic orders -> inventory, logistics, payment")?;
        match page {
            Some(page) => self.note(&format!("Live at {page}")),
            None => Ok(()),
        }
    }

    /// A line that stays.
    pub(crate) fn note(&mut self, text: &str) -> io::Result<()> {
        match self {
            Screen::Silent => Ok(()),
            Screen::Plain { .. } => write(&format!("{text}\n")),
            Screen::Terminal(terminal) => {
                terminal.draw(&[Line::from_iter([(Style::None, text.to_owned())])], Vec::new())
            }
        }
    }

    /// A frame: lines that stay, and what is to be seen now.
    pub(crate) fn draw(&mut self, snapshot: &Snapshot, told: Vec<Told>) -> io::Result<()> {
        match self {
            Screen::Silent => Ok(()),
            Screen::Plain { every, last } => {
                let mut text: String = told.iter().map(plain_told).collect();
                let due = last.is_none_or(|last| last.elapsed() >= *every);
                if due && snapshot.act > 0 {
                    text += &plain(snapshot);
                    *last = Some(Instant::now());
                }
                if text.is_empty() { Ok(()) } else { write(&text) }
            }
            Screen::Terminal(terminal) => {
                let lines: Vec<Line> = told.iter().flat_map(styled_told).collect();
                let block = block::lines(snapshot, columns(), terminal.utf8);
                terminal.draw(&lines, block)
            }
        }
    }

    /// The end: the table in place of the block.
    pub(crate) fn close(&mut self, stage: &Stage, figures: &Figures) -> io::Result<()> {
        let told = stage.live.take_told();
        match self {
            Screen::Silent => return Ok(()),
            Screen::Plain { .. } => write(&told.iter().map(plain_told).collect::<String>())?,
            Screen::Terminal(terminal) => {
                let lines: Vec<Line> = told.iter().flat_map(styled_told).collect();
                terminal.draw(&lines, Vec::new())?;
                terminal.show_cursor()?;
            }
        }
        write(&table(&figures.rows()))?;
        self.verdict(figures)
    }

    fn verdict(&mut self, figures: &Figures) -> io::Result<()> {
        let text = if figures.good() {
            let (orders, took) = (number(figures.orders_accepted), figures.seconds);
            format!("\n{orders} orders in {took:.0} s: none lost, none done twice.")
        } else {
            format!("\n{} lost, {} done twice: see below.", figures.lost, figures.twice)
        };
        write(&format!("{text}\n"))
    }
}

impl Terminal {
    /// Takes the block away, prints `lines` where it stood, and `block` below.
    fn draw(&mut self, lines: &[Line], block: Vec<Line>) -> io::Result<()> {
        let columns = columns();
        let mut frame = String::from(FRAME_BEGIN);
        if !self.hidden {
            frame += CURSOR_HIDE;
            self.hidden = true;
        }
        // A terminal that has become narrower since has broken lines of the block.
        let rows: usize = self.block.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        if rows > 0 {
            frame += &format!("\r\x1b[{rows}A");
        }
        // Overwritten and not erased first, so that nothing flickers.
        for line in lines {
            frame += &line.ansi(usize::MAX);
            frame += "\x1b[K\n";
        }
        for line in &block {
            frame += &line.ansi(columns - 1);
            frame += "\x1b[K\n";
        }
        frame += "\x1b[J";
        frame += FRAME_END;
        self.block = block.iter().map(|line| line.width().min(columns - 1)).collect();
        write(&frame)
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.hidden) {
            return Ok(());
        }
        write(CURSOR_SHOW)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = self.show_cursor();
    }
}

/// Standard output is a terminal that can be drawn on, and nobody asked for less.
fn can_redraw() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let size = rustix::termios::tcgetwinsize(io::stdout());
    // 0: it does not say.
    let fits = |has: u16, wanted: u16| has == 0 || has >= wanted;
    let large = size.is_ok_and(|s| fits(s.ws_row, ROWS_MIN) && fits(s.ws_col, COLUMNS_MIN));
    io::stdout().is_terminal() && large && !dumb && !set("NO_COLOR")
}

fn speaks_utf8() -> bool {
    // The first that is set counts, as in POSIX.
    let mut names = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let locale = names.find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    locale.is_some_and(|text| {
        let text = text.to_ascii_lowercase();
        text.contains("utf-8") || text.contains("utf8")
    })
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    match size.map_or(0, |size| size.ws_col) {
        0 => COLUMNS_USUAL,
        columns => usize::from(columns).max(2),
    }
}

/// Writes to standard output.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| {
        let why = format!("standard output: {error}; nobody would see the demo, so it ends");
        io::Error::new(error.kind(), why)
    })
}

fn plain_told(told: &Told) -> String {
    match told {
        Told::Title(text) => format!("\n{text}\n"),
        Told::Line(text) => format!("  {text}\n"),
    }
}

fn styled_told(told: &Told) -> Vec<Line> {
    let line = |style, text| Line::from_iter([(style, text)]);
    match told {
        Told::Title(text) => vec![Line::default(), line(Style::Bold, text.clone())],
        Told::Line(text) => vec![line(Style::None, format!("  {text}"))],
    }
}

/// One moment in one line.
fn plain(snapshot: &Snapshot) -> String {
    let waiting = snapshot.services.each_ref().map(|service| {
        let down = if service.down { " (down)" } else { "" };
        format!("{} {}{down}", service.name, number(service.lag))
    });
    let mut text = format!("  accepted {}", number(snapshot.accepted));
    if let Some(answers) = snapshot.answers {
        let time = |time: Option<Millis>| time.map_or("...".to_owned(), |time| time.to_string());
        text += &format!(
            "; answers: one by one {}, parallel {}, queue {}",
            time(answers.one_after_the_other),
            time(answers.in_parallel),
            time(answers.with_the_queue)
        );
    } else {
        text += &format!("; waiting: {}", waiting.join(", "));
    }
    text + "\n"
}

/// What is claimed, and below it what was counted.
fn table(rows: &[Row]) -> String {
    let what = rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        if !row.about.is_empty() {
            text += &format!("\n{}\n", row.about);
        }
        text += &format!("  {:what$}  {}\n", row.what, row.figure);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_its_columns_under_each_other() {
        let row = |about, what: &str, figure: &str| Row {
            about,
            what: what.to_owned(),
            figure: figure.to_owned(),
        };
        let rows = [row("Act", "a", "1"), row("", "longer", "2")];
        assert_eq!(table(&rows), "\nAct\n  a       1\n  longer  2\n");
    }
}
