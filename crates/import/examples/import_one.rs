//! Imports a disk into a sandbox in this process: `cargo run --example import_one -p import -- DISK`
#![expect(clippy::print_stdout, reason = "an example has no other printer")]

use cloud::{Session, SessionOptions, StopToken};
use import::{Context, GuestCheck, ImportSpec, Silent};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let disk = std::env::args_os().nth(1).ok_or("usage: import_one DISK")?;
    let options = SessionOptions {
        buckets: vec!["images".into()],
        ..Default::default()
    };
    let session = Session::local(None, options).await?;
    let spec = ImportSpec {
        // The disk's own system says which one it is; one that will not boot is imported too.
        guest_check: GuestCheck::Warn,
        ..ImportSpec::new(disk, "web01", "images")
    };
    let stop = StopToken::new();
    let ended = import::run(&spec, Context::new(&session, &Silent, &stop)).await;
    let outcome = session.close(ended).await?;
    println!("image {:?} is {:?}", outcome.image_id, outcome.status);
    Ok(())
}
