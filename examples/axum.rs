//! An axum app with the maintenance layer.
//!
//! ```console
//! $ cargo run --example axum --no-default-features --features layer
//! $ printf '[routes]\napp = "offline"\n' > maintenance.toml     # closes the app; removing the line opens it again
//! ```

use std::error::Error;

use axum::Router;
use axum::routing::get;
use backsoon::layer::MaintenanceLayer;
use tokio::net::TcpListener;

fn main() -> Result<(), Box<dyn Error>> {
    let flag_file = std::env::args().nth(1).unwrap_or_else(|| "maintenance.toml".to_owned());
    let maintenance = MaintenanceLayer::builder("app", &flag_file).brand("Example").always_open("/healthz").start()?;
    let app = Router::new().route("/", get(async || "The app is here.\n")).route("/healthz", get(async || "ok\n"));
    // Around the whole app: axum adds `Allow` to the answers of a layer that is inside of its routes.
    let app = Router::new().fallback_service(app).layer(maintenance);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:3000").await?;
        axum::serve(listener, app).await
    })?;
    Ok(())
}
