//! What is to be seen now. In: what the acts tell. Out: snapshots, for the screen and the page alike, and
//! lines that stay.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::report::{Figures, Millis, Row};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Live(Mutex<Scene>);

#[derive(Debug, Default)]
struct Scene {
    act: u8,
    title: &'static str,
    say: String,
    scale: u64,
    answers: Option<Answers>,
    told: Vec<Told>,
    table: Vec<Row>,
    ended: bool,
}

/// A line that stays on the screen.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// The title of an act.
    Title(String),
    Line(String),
}

/// Medians of the answer times in the second act, in ms, as far as there are any.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Answers {
    pub(crate) one_after_the_other: Option<Millis>,
    pub(crate) in_parallel: Option<Millis>,
    pub(crate) with_the_queue: Option<Millis>,
}

impl Answers {
    /// The slowest, in ms, but at least 1: the scale of their bars.
    pub(crate) fn slowest(&self) -> f64 {
        let all = [self.one_after_the_other, self.in_parallel, self.with_the_queue];
        all.into_iter().flatten().fold(1.0, |slowest, time| time.0.max(slowest))
    }
}

/// A service as it is seen.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ServiceView {
    pub(crate) name: &'static str,
    pub(crate) down: bool,
    pub(crate) done: u64,
    pub(crate) lag: u64,
}

/// One moment.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Snapshot {
    /// 0 before the first.
    pub(crate) act: u8,
    pub(crate) title: &'static str,
    pub(crate) say: String,
    /// The lag for which a bar has its full length.
    pub(crate) scale: u64,
    pub(crate) accepted: u64,
    pub(crate) services: [ServiceView; 3],
    pub(crate) answers: Option<Answers>,
    /// Rows of the acts that are over.
    pub(crate) table: Vec<Row>,
    pub(crate) ended: bool,
}

impl Live {
    /// An act begins.
    pub(crate) fn begin_act(&self, act: u8, title: &'static str, scale: u64) {
        let mut scene = self.scene();
        (scene.act, scene.title, scene.scale, scene.answers) = (act, title, scale.max(1), None);
        scene.say.clear();
        scene.told.push(Told::Title(format!("Act {act} of 3: {title}")));
    }

    /// What happens at present.
    pub(crate) fn say(&self, text: impl Into<String>) {
        let text = text.into();
        let mut scene = self.scene();
        scene.told.push(Told::Line(text.clone()));
        scene.say = text;
    }

    /// Answer times so far.
    pub(crate) fn set_answers(&self, answers: Answers) {
        self.scene().answers = Some(answers);
    }

    /// What is known by now.
    pub(crate) fn set_figures(&self, figures: &Figures, ended: bool) {
        let mut scene = self.scene();
        scene.table = figures.rows();
        scene.ended = ended;
    }

    /// Lines told since the last time.
    pub(crate) fn take_told(&self) -> Vec<Told> {
        std::mem::take(&mut self.scene().told)
    }

    pub(crate) fn snapshot(&self, accepted: u64, services: [ServiceView; 3]) -> Snapshot {
        let scene = self.scene();
        Snapshot {
            act: scene.act,
            title: scene.title,
            say: scene.say.clone(),
            scale: scene.scale.max(1),
            accepted,
            services,
            answers: scene.answers,
            table: scene.table.clone(),
            ended: scene.ended,
        }
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        // No code that holds the lock can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
