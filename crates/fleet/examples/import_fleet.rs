//! Imports the disks of a manifest into a sandbox in this process:
//! `cargo run --example import_fleet -p fleet -- crates/fleet/examples/two_disks.yaml`
#![expect(clippy::print_stdout, reason = "an example has no other printer")]

use std::path::PathBuf;
use std::sync::Arc;

use cloud::{Session, StopToken};
use fleet::{Context, FleetSpec, Silent};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manifest = std::env::args_os().nth(1).map(PathBuf::from);
    let manifest = manifest.ok_or("usage: import_fleet MANIFEST")?;
    let spec = FleetSpec {
        // Systems that will not boot are imported too.
        guest_check: import::GuestCheck::Warn,
        ..FleetSpec::read(&manifest)?
    };
    let session = Session::local(None, spec.session_options()).await?;
    let cx = Context::new(session, Arc::new(Silent), &StopToken::new());
    let ended = fleet::run(&spec, &cx).await;
    let outcome = cx.close(ended).await?;
    for disk in &outcome.report.items {
        println!("{}: {}, image {:?}", disk.id, disk.state, disk.image_id);
    }
    Ok(())
}
