//! Tenants that are gone, or that another proxy has: the status site of a host tells nothing of them.

use crate::support::{Backsoon, LISTEN, Response, Upstream, request, wait};

fn news(proxy: &Backsoon, path: &str) -> Response {
    let fields = "Host: a.test\r\nAccept: text/html\r\n";
    request(proxy.address(), &format!("GET /.backsoon/news{path} HTTP/1.1\r\n{fields}\r\n"))
}

fn window(id: &str, route: &str) -> String {
    format!(
        "[[windows]]\nid = \"{id}\"\ntitle = \"{id} of {route}\"\nstarts = 2020-01-01T00:00:00Z\n\
         ends = 2090-01-01T00:00:00Z\nroutes = {{ {route} = \"offline\" }}\n"
    )
}

#[test]
fn a_host_is_not_told_of_routes_that_are_gone_or_elsewhere() {
    let app = Upstream::ok();
    let route = |name: &str, host: &str| format!("[routes.{name}]\nhost = \"{host}\"\nupstream = \"{}\"\n", app.url());
    let own = format!("{LISTEN}{}", route("web", "a.test"));
    let proxy = Backsoon::start(&format!("{own}{}", route("api", "b.test")));
    proxy.flag(&window("GONE", "api"));
    wait("the route of the other tenant is closed", || proxy.route("api")["phase"] == "closed");
    proxy.unflag();
    wait("it is open", || proxy.route("api")["phase"] == "open");
    proxy.config(&own);
    wait("the other tenant is gone", || proxy.status()["routes"].as_array().is_some_and(|routes| routes.len() == 1));
    // The flag file is shared with a proxy that has a route `shop`.
    proxy.flag(&format!("{}{}", window("ELSEWHERE", "shop"), window("OWN", "web")));
    wait("the own window is told", || news(&proxy, "/feed.rss").body.contains("OWN"));
    for path in ["/", "/history", "/feed.rss", "/history.atom", "/api/v2/summary.json", "/api/v2/incidents.json"] {
        let body = news(&proxy, path).body;
        for other in ["GONE", "ELSEWHERE"] {
            assert!(!body.contains(other), "{path} tells of {other}: {body}");
        }
    }
    assert_eq!(news(&proxy, "/incidents/ELSEWHERE").status, 404);
    assert_eq!(news(&proxy, "/incidents/OWN").status, 200);
}
