//! The three acts, one after the other. In: the stage. Out: figures.

mod asynchrony;
mod decoupling;
mod levelling;

use std::time::Instant;

use crate::report::Figures;
use crate::stage::Stage;

/// Plays all of them.
pub(crate) async fn play(stage: &Stage) -> anyhow::Result<Figures> {
    let begin = Instant::now();
    let mut figures =
        Figures { decoupling: Some(decoupling::play(stage).await?), ..Figures::default() };
    stage.live.set_figures(&figures, false);
    figures.asynchrony = Some(asynchrony::play(stage).await?);
    stage.live.set_figures(&figures, false);
    figures.levelling = Some(levelling::play(stage).await?);
    for service in stage.services() {
        service.stop().await;
    }
    figures.close(stage, begin.elapsed()).await?;
    stage.live.set_figures(&figures, true);
    Ok(figures)
}
