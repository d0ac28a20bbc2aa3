//! A site of its own machine: a proxy without routes, which reads the flag file of the others.

use super::super::super::{Site, SiteResource};
use super::*;

const SITE: &str = r#"
listen = [{ address = "127.0.0.1:8080" }]
[status]
host = "status.example.com"
services = [{ name = "Shop", routes = ["web", "checkout"] }, { name = "API", routes = ["api"] }]
"#;

fn statuses(world: &World) -> Vec<String> {
    let summary = world.json("/api/v2/summary.json");
    let components = summary["components"].as_array().unwrap().iter();
    components.map(|one| one["status"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_proxy_without_routes_tells_the_state_of_services_and_the_past() {
    let mut world = World::new("2026-05-01T00:00:00Z");
    world.configure(SITE, &[]);
    let window = "[[windows]]\nid = \"MNT-1\"\ntitle = \"Disks\"\nroutes = { web = \"offline\", checkout = \"offline\" }\n\
                  starts = 2026-05-10T02:00:00Z\nends = 2026-05-10T03:00:00Z\n";
    world.edit(window).look("2026-05-10T02:00:00Z");
    assert_eq!(statuses(&world), ["under_maintenance", "operational"]);
    world.look("2026-05-10T03:00:00Z");
    assert_eq!(statuses(&world), ["operational", "operational"]);
    world.edit("[routes]\nweb = \"offline\"\n").look("2026-05-11T03:00:00Z");
    assert_eq!(statuses(&world), ["partial_outage", "operational"], "a part of it");
    world.edit("[routes]\n\"*\" = \"offline\"\n").look("2026-05-11T04:00:00Z");
    assert_eq!(statuses(&world), ["major_outage", "major_outage"]);
    world.edit("").look("2026-05-11T05:00:00Z");
    let news = News::new(&world.config, &world.ledger, &world.flags.windows);
    let site = Site::render(1, &news, &world.renderer, &Site::default());
    let Some(SiteResource::Page(front)) = site.find("/") else { panic!("no front page") };
    let text = String::from_utf8(front.languages[0].text.whole.to_vec()).unwrap();
    assert!(text.contains("Disks") && text.matches("incidents/").count() == 2, "{text}");
}
