//! The arguments of `kerolox demo`.

use clap::value_parser;

/// `kerolox demo`
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Shorten the acts: a few seconds in all
    #[arg(long)]
    pub quick: bool,
    /// Print nothing but the final figures, as one JSON object
    #[arg(long, conflicts_with = "web")]
    pub json: bool,
    /// Show the same live in a browser; the page stays until Ctrl-C
    #[arg(long)]
    pub web: bool,
    /// Port of the page; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 8088, requires = "web")]
    pub http_port: u16,
    /// Orders a second in the first act
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = value_parser!(u32).range(10..=2000))]
    pub rate: u32,
    /// Seconds for which logistics is down in the first act [default: 4]
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32).range(1..=60))]
    pub down: Option<u32>,
    /// Orders a second in the burst of the third act
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = value_parser!(u32).range(100..=20_000))]
    pub burst: u32,
    /// Seconds that the burst lasts [default: 3]
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32).range(1..=30))]
    pub burst_seconds: Option<u32>,
    /// What the store behind inventory can do in the third act, in orders a second
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = value_parser!(u32).range(100..=20_000))]
    pub store: u32,
}
