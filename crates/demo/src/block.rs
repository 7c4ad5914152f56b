//! The block that is redrawn on a terminal. In: a moment, a width. Out: lines that fit it.

use crate::live::{Answers, ServiceView, Snapshot};
use crate::report::{Millis, number};

/// No bar is longer: on a wide screen the eye would not find its end.
const BAR_MAX: usize = 60;
/// Before a bar.
const LABEL: usize = 22;
/// Behind it.
const FIGURE: usize = 22;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    None,
    Bold,
    Dim,
    /// Waits.
    Yellow,
    /// Is down.
    Red,
    /// Is fast.
    Green,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::None => "",
            Style::Bold => "\x1b[1m",
            Style::Dim => "\x1b[2m",
            Style::Yellow => "\x1b[33m",
            Style::Red => "\x1b[31m",
            Style::Green => "\x1b[32m",
        }
    }
}

/// A line of pieces. Each of its characters takes one column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line(Vec<(Style, String)>);

impl FromIterator<(Style, String)> for Line {
    fn from_iter<I: IntoIterator<Item = (Style, String)>>(pieces: I) -> Line {
        Line(pieces.into_iter().collect())
    }
}

impl Line {
    /// Columns it takes.
    pub(crate) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// Its text for a terminal, cut to `columns`.
    pub(crate) fn ansi(&self, columns: usize) -> String {
        let mut room = columns;
        let mut out = String::new();
        for (style, text) in &self.0 {
            let cut: String = text.chars().take(room).collect();
            room -= cut.chars().count();
            match style {
                Style::None => out += &cut,
                _ => out += &format!("{}{cut}\x1b[0m", style.code()),
            }
        }
        out
    }
}

/// The lines of a moment.
pub(crate) fn lines(snapshot: &Snapshot, columns: usize, utf8: bool) -> Vec<Line> {
    if snapshot.act == 0 {
        return Vec::new();
    }
    let ink = Ink {
        length: columns.saturating_sub(LABEL + FIGURE + 1).clamp(8, BAR_MAX),
        full: if utf8 { '█' } else { '#' },
        rest: if utf8 { '░' } else { '.' },
    };
    let mut lines = vec![Line::default()];
    if let Some(answers) = &snapshot.answers {
        lines.extend(ink.answers(answers));
    }
    let accepted = format!("{:>7}", number(snapshot.accepted));
    lines.push(Line::from_iter([
        (Style::None, format!("  {:<w$}", "orders accepted", w = LABEL - 2)),
        (Style::Bold, accepted),
    ]));
    lines.extend(snapshot.services.iter().map(|service| ink.service(service, snapshot.scale)));
    lines
}

/// What bars are made of.
struct Ink {
    length: usize,
    full: char,
    rest: char,
}

impl Ink {
    fn service(&self, service: &ServiceView, scale: u64) -> Line {
        let (style, what) = match service.down {
            false => (Style::Yellow, "waiting"),
            true => (Style::Red, "DOWN, waiting"),
        };
        let figure = format!(" {:>6} {what}", number(service.lag));
        self.line(service.name, service.lag as f64 / scale as f64, style, figure)
    }

    fn answers(&self, answers: &Answers) -> [Line; 3] {
        let slowest = answers.slowest();
        let line = |label: &str, time: Option<Millis>, style| {
            let part = time.map_or(0.0, |time| time.0 / slowest);
            let time = time.map_or_else(String::new, |time| time.to_string());
            self.line(label, part, style, format!(" {time:>9}"))
        };
        [
            line("one after the other", answers.one_after_the_other, Style::Yellow),
            line("all in parallel", answers.in_parallel, Style::Yellow),
            line("with the queue", answers.with_the_queue, Style::Green),
        ]
    }

    /// `part`: how much of the bar is full; what is there at all is to be seen.
    fn line(&self, label: &str, part: f64, style: Style, figure: String) -> Line {
        let full = (part * self.length as f64).ceil().clamp(0.0, self.length as f64) as usize;
        let repeat = |c: char, n: usize| std::iter::repeat_n(c, n).collect::<String>();
        Line::from_iter([
            (Style::None, format!("  {label:<w$}", w = LABEL - 2)),
            (style, repeat(self.full, full)),
            (Style::Dim, repeat(self.rest, self.length - full)),
            (Style::None, figure),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(act: u8) -> Snapshot {
        let service = |name, down, lag| ServiceView { name, down, done: 0, lag };
        Snapshot {
            act,
            title: "",
            say: String::new(),
            scale: 800,
            accepted: 1_234_567,
            services: [
                service("inventory", false, 0),
                service("logistics", true, 99_999),
                service("payment", false, 1),
            ],
            answers: Some(Answers {
                one_after_the_other: Some(Millis(950.0)),
                in_parallel: Some(Millis(450.0)),
                with_the_queue: None,
            }),
            table: Vec::new(),
            ended: false,
        }
    }

    #[test]
    fn a_block_fits_into_80_columns() {
        for utf8 in [true, false] {
            for line in lines(&moment(1), 80, utf8) {
                assert!(line.width() < 80, "{line:?}");
            }
        }
        assert!(lines(&moment(0), 80, true).is_empty(), "there is nothing to see before the acts");
    }

    #[test]
    fn bars_are_as_long_as_what_they_show() {
        let ink = Ink { length: 10, full: '#', rest: '.' };
        let bar = |part| ink.line("", part, Style::None, String::new()).0[1].1.len();
        assert_eq!([0.0, 0.001, 0.5, 1.0, 7.0].map(bar), [0, 1, 5, 10, 10]);
    }

    #[test]
    fn a_line_is_cut_without_its_colours() {
        let line = Line::from_iter([(Style::None, "ab".to_owned()), (Style::Red, "cd".to_owned())]);
        assert_eq!(line.ansi(3), "ab\x1b[31mc\x1b[0m");
        assert_eq!(line.width(), 4);
    }
}
