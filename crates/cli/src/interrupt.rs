//! SIGINT and SIGTERM: the first asks every stage to stop, the second ends the program at once.

use std::io;

use convert::CancelToken;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::console::Console;
use crate::exit::Exit;

/// Listens for the rest of the program's life. Must be called inside a tokio runtime.
///
/// # Errors
/// When the system lets no handler be installed.
pub(crate) fn listen(console: Console, cancel: CancelToken) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        cancel.cancel();
        console.notice("stopping; once more ends at once");
        either(&mut interrupt, &mut terminate).await;
        #[expect(clippy::exit, reason = "the user asked twice: nothing may delay the end")]
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(())
}

async fn either(a: &mut Signal, b: &mut Signal) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}
