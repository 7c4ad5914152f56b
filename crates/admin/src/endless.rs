//! Commands that go on until somebody ends them.

/// Does something that may go on for ever, until it is done, the process is asked to end, or nobody reads
/// what it prints.
pub(crate) async fn until_signal(
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
        () = output_closed() => Ok(()),
    }
}

/// Waits until the reader of standard output is gone: a command that has nothing to print would not notice.
/// Never, if it is a file.
async fn output_closed() {
    use std::os::fd::AsFd as _;
    use tokio::io::Interest;
    use tokio::net::unix::pipe::Sender;
    // Not the checked way: that one makes standard output non-blocking, for this and other processes.
    let output = std::io::stdout().as_fd().try_clone_to_owned();
    if let Ok(output) = output.and_then(Sender::from_owned_fd_unchecked)
        && output.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
