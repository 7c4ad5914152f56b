//! `bench batch`. In: arguments. Out: `produce` with many messages a request.

use std::process::ExitCode;

use crate::produce;

/// Arguments of `bench batch`.
// The group of `produce` has that name already.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    pub produce: produce::Args,
    /// Messages of a request. Brokers take 4 MiB at most.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..=4096))]
    pub batch: u32,
}

impl Args {
    /// What `produce` is to do.
    pub(crate) fn load(&self) -> produce::Args {
        produce::Args { batch: self.batch, ..self.produce.clone() }
    }
}

/// Runs to the end and prints.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    produce::run(&args.load())
}
